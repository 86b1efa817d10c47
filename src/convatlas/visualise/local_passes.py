"""Forward passes of images that differ from one image only in a square: early layers compute only what changes.

The early maps of the whole image are kept. For each place of the square a stage (`analysis.stages`) computes the
window of its output that the square reaches, from the window of its input which that reads. Behind the last stage for
which this pays, the changed window is pasted into the kept map and the rest of the network runs whole. The answers are
those of whole passes up to the rounding of floats. Where a network's first layers are no stages, all passes are whole.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from convatlas.analysis.stages import Places, Stage, Windows, leading_stages
from convatlas.analysis.trace import find_layer, trace_of


class LocalPasses:
    """A network's answers for one image x (1, C, H, W) with a square at some place, in eval mode, without gradients.

    Args:
        places: upper and left edges of the squares, (N, 2).
        size: height and width of the squares, which the image's edges may cut.
        until: a layer that always runs on whole maps, so that hooks see them.
        batch_size: squares per pass.
    """

    def __init__(
        self, net: nn.Module, x: Tensor, places: Places, size: tuple[int, int], *, until: str, batch_size: int
    ) -> None:
        records = trace_of(net, x)
        end = find_layer(records, until).index
        stages = leading_stages(net, records, tuple(x.shape[1:]), before=end)
        self.net, self.x = net, x
        self.windows = list(_windows(stages, places, size))
        self.stages = stages[: _cheapest(stages, self.windows)]
        self.maps = [x.contiguous(memory_format=torch.channels_last)]  # the whole input of each stage, and of the rest
        for stage in self.stages:
            self.maps.append(_run(stage, self.maps[-1]))
        self.edges = [places, *(np.stack([rows.kept, columns.kept], 1) for rows, columns in self.windows)]  # in `maps`
        self.batch = self._empty(min(batch_size, len(places)), *self.maps[-1].shape[1:])
        self.batch.copy_(self.maps[-1])

    def __call__(self, indices: Sequence[int], square: Tensor) -> Tensor:
        """The network's output where the square, (C, h, w), lies at each of these places."""
        changed = [square] * len(indices)
        for depth, stage in enumerate(self.stages):
            rows, columns = self.windows[depth]
            out = _run(stage, self._read(depth, indices, changed))
            changed = [
                sample[:, top : top + rows.kept_length, left : left + columns.kept_length]
                for sample, top, left in zip(out, rows.skipped[indices], columns.skipped[indices], strict=True)
            ]
        batch, whole, edges = self.batch[: len(indices)], self.maps[-1][0], self.edges[len(self.stages)][indices]
        for sample, part, (top, left) in zip(batch, changed, edges, strict=True):
            _paste(sample, part, int(top), int(left))
        answers = self._rest(batch)
        for sample, part, (top, left) in zip(batch, changed, edges, strict=True):
            there = np.s_[:, top : top + part.shape[1], left : left + part.shape[2]]
            sample[there] = whole[there]
        return answers

    def _read(self, depth: int, indices: Sequence[int], changed: Sequence[Tensor]) -> Tensor:
        """What a stage reads for each place: a window of its whole input, with what changed there."""
        whole, (rows, columns) = self.maps[depth][0], self.windows[depth]
        read = self._empty(len(indices), len(whole), rows.length, columns.length)
        starts = np.stack([rows.start, columns.start], 1)
        for sample, part, index in zip(read, changed, indices, strict=True):
            top, left = starts[index]
            sample.copy_(whole[:, top : top + rows.length, left : left + columns.length])
            _paste(sample, part, *(self.edges[depth][index] - starts[index]).tolist())
        return read

    def _empty(self, *shape: int) -> Tensor:
        empty = torch.empty(shape, dtype=self.x.dtype, device=self.x.device)
        return empty.contiguous(memory_format=torch.channels_last)

    def _rest(self, maps: Tensor) -> Tensor:
        """What the network makes of the last stage's maps."""
        if not self.stages:
            return self.net(maps)
        modules = [module for stage in self.stages for module in stage.modules]
        with _handing_through(modules, maps):
            return self.net(self.x.expand(len(maps), -1, -1, -1))


def _run(stage: Stage, x: Tensor) -> Tensor:
    for module in stage.modules:
        x = module(x)
    return x


def _paste(target: Tensor, part: Tensor, top: int, left: int) -> None:
    """Puts what lies in the target there; the part's edges may lie outside."""
    height, width = target.shape[1:]
    inside = part[:, max(-top, 0) : max(height - top, 0), max(-left, 0) : max(width - left, 0)]
    top, left = max(top, 0), max(left, 0)
    target[:, top : top + inside.shape[1], left : left + inside.shape[2]] = inside


@contextmanager
def _handing_through(modules: Sequence[nn.Module], maps: Tensor) -> Iterator[None]:
    """These modules compute nothing meanwhile; the last one gives the maps."""
    with ExitStack() as stack:
        for module in modules:
            module.forward = (lambda _: maps) if module is modules[-1] else (lambda x: x)
            stack.callback(delattr, module, "forward")
        yield


def _windows(stages: Iterable[Stage], places: Places, size: tuple[int, int]) -> Iterator[tuple[Windows, Windows]]:
    """The windows of each stage along both axes, up to the first that would read its whole input."""
    (top, left), (height, width) = places.T, size
    for stage in stages:
        rows, columns = stage.axes[0].windows(top, height), stage.axes[1].windows(left, width)
        if (rows.length, columns.length) == (stage.axes[0].extent, stage.axes[1].extent):
            return
        top, left, height, width = rows.kept, columns.kept, rows.kept_length, columns.kept_length
        yield rows, columns


def _cheapest(stages: Sequence[Stage], windows: Sequence[tuple[Windows, Windows]]) -> int:
    """How many stages run on windows, so that multiply-adds are fewest; of equals the most, whose maps are smaller."""
    saved = [0.0]
    for stage, along in zip(stages, windows, strict=False):
        shares = [window.length / axis.extent for axis, window in zip(stage.axes, along, strict=True)]
        saved.append(saved[-1] + stage.multiply_adds * (1 - shares[0] * shares[1]))
    best = max(saved)
    return max(count for count, value in enumerate(saved) if value == best) if best > 0 else 0
