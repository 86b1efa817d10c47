"""Which networks of the atlas may be near: the shapes of all their weights, made once and kept in the user's cache."""

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from torch import nn

from convatlas import registry
from convatlas.analysis.trace import build_on_meta
from convatlas.caches import cache_folder
from convatlas.io import write_file

WeightShapes = Counter[tuple[int, ...]]  # of the weights of convolutions and fully connected layers

FINALISTS = 6
NEAR = 0.6  # of the best overlap: what is less alike is not looked at
VIEWS: tuple[tuple[float, Callable[[tuple[int, ...]], object]], ...] = (
    (0.5, lambda shape: shape),
    (0.2, lambda shape: (shape[0], shape[2:])),  # another input or fewer groups
    (0.3, lambda shape: shape[2:] or "fc"),  # other widths
)  # how much two weights count as one, from the very shape to the window


def weight_shapes(tensors: Iterable[tuple[int, ...]]) -> WeightShapes:
    """Counts weights by their shape; biases and what normalisations hold have one axis, and don't count."""
    return Counter(shape for shape in tensors if len(shape) > 1)


def shapes_of(net: nn.Module) -> WeightShapes:
    return weight_shapes(tuple(parameter.shape) for parameter in net.parameters())


def finalists(
    shapes: WeightShapes, *, count: int = FINALISTS, on_progress: Callable[[int, int], None] | None = None
) -> list[str]:
    """The registered networks whose weights are most alike, the nearest first."""
    scores = {name: overlap(shapes, known) for name, known in index(on_progress=on_progress).items()}
    best = max(scores.values())
    near = [name for name, score in scores.items() if score >= NEAR * best]
    return sorted(near, key=lambda name: -scores[name])[:count]


def overlap(first: WeightShapes, second: WeightShapes) -> float:
    """From 0 to 1: Dice's coefficient, by the shapes, by kernels with their number of maps, and by windows alone."""
    return sum(weight * _dice(_seen(first, view), _seen(second, view)) for weight, view in VIEWS)


def _seen(shapes: WeightShapes, view: Callable[[tuple[int, ...]], object]) -> Counter[object]:
    counts: Counter[object] = Counter()
    for shape, count in shapes.items():
        counts[view(shape)] += count
    return counts


def _dice(first: Counter[object], second: Counter[object]) -> float:
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 0.0


_made: dict[str, WeightShapes] = {}  # of this process


def index(*, on_progress: Callable[[int, int], None] | None = None) -> Mapping[str, WeightShapes]:
    """The weights' shapes of all registered networks; some seconds the first time, then from the cache."""
    if not _made:
        _made.update(_read() or _make(on_progress))
    return _made


def _read() -> dict[str, WeightShapes] | None:
    with suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(_place().read_text(encoding="utf-8"))
        return {name: Counter({tuple(shape): count for shape, count in rows}) for name, rows in kept.items()}
    return None


def _make(on_progress: Callable[[int, int], None] | None) -> dict[str, WeightShapes]:
    names = registry.names()
    shapes: dict[str, WeightShapes] = {}
    for done, name in enumerate(names, start=1):
        shapes[name] = shapes_of(build_on_meta(name))
        if on_progress is not None:
            on_progress(done, len(names))
    text = json.dumps(
        {name: [[list(shape), count] for shape, count in counts.items()] for name, counts in shapes.items()}
    )
    with suppress(OSError):  # then it is made again the next time
        _place().parent.mkdir(parents=True, exist_ok=True)
        write_file(_place(), text.encode())
    return shapes


def is_made() -> bool:
    """Whether the index is in the cache."""
    return _place().is_file()


def _place() -> Path:
    return cache_folder() / f"weight_shapes_{_version()}.json"


@functools.cache
def _version() -> str:
    """Changes with any file that networks are built of."""
    digest = hashlib.sha256()
    package = resources.files("convatlas")
    for part in ("architectures", "blocks"):
        for file in sorted(_sources(package / part), key=str):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _sources(folder: Traversable) -> Iterable[Traversable]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _sources(entry)
        elif entry.name.endswith(".py"):
            yield entry
