"""A layout: how the layers of one release become those of one network, and what its images were."""

import hashlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import torch
from torch import Tensor, nn

from convatlas import registry
from convatlas.blocks.dims import BATCH_NORMS, CONVS
from convatlas.records import Preprocessing
from convatlas.weights.cards import make_card
from convatlas.weights.layouts.classes import class_names
from convatlas.weights.layouts.naming import rename_layers

_MAX_HEAD = 3  # layers: VGG's three
Translated = tuple[dict[str, Tensor], dict[str, object]]


@dataclass(frozen=True)
class Layout:
    """One release. Two layers of theirs may make one of ours: Caffe's BatchNorm and Scale are a `BatchNorm2d`."""

    release: str  # what the authors call it
    network: str  # our registered name
    counts: tuple[int, ...]  # of layers with weights in a file: with auxiliary heads, and without
    table: Callable[[], Mapping[str, str]]  # theirs -> ours; made when a file has so many layers, since it takes time
    preprocessing: Preprocessing | None
    classes: str | None = "imagenet"  # a key of `class_names`
    settings: Mapping[str, Mapping[str, float | bool]] = field(default_factory=dict)
    called: str | None = None  # the network's name in the file, where layers alone do not tell
    folds_biases: bool = False  # convolutions have biases that ours leave to the normalisation behind them
    normalised: bool = False  # normalisations hold a scale and a shift, with the statistics already in them
    channels_last: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # our fc -> (H, W) of the map it reads
    conversions: Mapping[str, Preprocessing] = field(default_factory=dict)  # of others: SHA-256 of the first filters

    @cached_property
    def layers(self) -> Mapping[str, str]:
        """Their layers -> ours."""
        return self.table()

    @cached_property
    def dotted(self) -> Mapping[str, str]:
        """The same with dots for slashes, which converters took for each other."""
        return {theirs.replace("/", "."): ours for theirs, ours in self.layers.items()}

    def recognises(self, names: frozenset[str], *, head: bool = True) -> bool:
        """Whether a file's layers are these, with or without those of auxiliary heads; or those before the head."""
        if head and len(names) not in self.counts:
            return False
        if not head and not any(0 < count - len(names) <= _MAX_HEAD for count in self.counts):
            return False
        names = frozenset(name.replace("/", ".") for name in names)
        rest = {theirs for theirs, ours in self.dotted.items() if not _aux(ours)}
        if head:
            return names == self.dotted.keys() or names == rest
        top = {name.rpartition(".")[0] for name in headless(skeleton(self.network))}
        return names == {theirs for theirs in rest if self.dotted[theirs] not in top}

    def overlap(self, names: frozenset[str]) -> float:
        """The share of layers, of the file's and this layout's together, that both have."""
        return len(names & self.dotted.keys()) / max(1, len(names | self.dotted.keys()))

    def translate(self, tensors: Mapping[str, Tensor], *, format_name: str, stated: Preprocessing | None) -> Translated:
        """Our names and shapes, and the card. What does not fit keeps its shape, or its own name.

        `tensors` have dots in their names, no slashes.
        """
        ours = rename_layers(tensors, self.dotted)
        for name, (height, width) in self.channels_last.items():
            if f"{name}.weight" in ours:
                ours[f"{name}.weight"] = channels_first(ours[f"{name}.weight"], height, width)
        net = skeleton(self.network)
        if self.folds_biases:
            fold_biases(net, ours)
        if self.normalised:
            add_statistics(net, ours)
        complete_norms(net, ours)
        match_axes(net, ours)
        return ours, card_for(
            self.network,
            ours,
            classes=self.classes,
            preprocessing=stated or self._images(tensors),
            settings=self.settings,
            source=f"{format_name}: {self.release}",
        )

    def _images(self, tensors: Mapping[str, Tensor]) -> Preprocessing | None:
        """Of the release, or of a conversion that has the same names and is known by its first filters."""
        first = next((tensors[f"{layer}.weight"] for layer in self.dotted if f"{layer}.weight" in tensors), None)
        if not self.conversions or first is None:
            return self.preprocessing
        checksum = hashlib.sha256(first.float().cpu().contiguous().numpy().tobytes()).hexdigest()
        return self.conversions.get(checksum, self.preprocessing)


def _aux(layer: str) -> bool:
    return layer.partition(".")[0] in ("aux", "aux1", "aux2")


@lru_cache(maxsize=8)
def skeleton(network: str) -> nn.Module:
    """The published network without memory for its tensors, to read names and shapes from."""
    with torch.device("meta"):
        return registry.build(network)


def headless(net: nn.Module) -> set[str]:
    """The parameters of the head, which released files may lack: the fully connected layers, or else the last layer.

    Auxiliary heads are none of them.
    """
    paths = [path for path in layer_names(net) if not _aux(path)]
    top = [path for path in paths if isinstance(net.get_submodule(path), nn.Linear)] or paths[-1:]
    return {f"{path}.{name}" for path in top for name, _ in net.get_submodule(path).named_parameters(recurse=False)}


def layer_names(net: nn.Module) -> list[str]:
    """The paths of the layers with weights, in the order in which they were registered."""
    return [path for path, layer in net.named_modules() if next(layer.parameters(recurse=False), None) is not None]


def card_for(
    network: str,
    tensors: Mapping[str, Tensor],
    *,
    classes: str | None,
    preprocessing: Preprocessing | None,
    settings: Mapping[str, Mapping[str, float | bool]],
    source: str,
) -> dict[str, object]:
    """The card of tensors under our names; the last and first layer tell the numbers of classes and channels."""
    net, published = skeleton(network), registry.card(network)
    weights = [name for name, parameter in net.named_parameters() if parameter.ndim > 1]
    first, last = tensors.get(weights[0]), tensors.get(weights[-1])
    axis = int(isinstance(net.get_submodule(weights[-1].rpartition(".")[0]), nn.ConvTranspose2d))  # in, then out
    num_classes = last.shape[axis] if last is not None and last.ndim > axis else published.num_classes
    in_channels = first.shape[1] if first is not None and first.ndim > 1 else published.input_shape[0]
    names = class_names(classes) if classes else None
    return make_card(
        network,
        num_classes=num_classes,
        in_channels=in_channels,
        classes=names if names is not None and last is not None and len(names) == num_classes else None,
        preprocessing=preprocessing,
        settings=settings,
        source=source,
    )


def channels_first(weight: Tensor, height: int, width: int) -> Tensor:
    """Reorders what a fully connected layer reads from (H, W, C) to torch's (C, H, W).  (N, H W C) -> (N, C H W)"""
    if weight.ndim != 2 or weight.shape[1] % (height * width):
        return weight
    return weight.reshape(len(weight), height, width, -1).permute(0, 3, 1, 2).flatten(1)


def fold_biases(net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Moves biases of convolutions into the means of the normalisation behind: (x + b) - m = x - (m - b)."""
    for conv, norm in pairs(net):
        bias, mean = tensors.get(f"{conv}.bias"), tensors.get(f"{norm}.running_mean")
        if bias is not None and mean is not None and bias.shape == mean.shape:
            tensors[f"{norm}.running_mean"] = mean - bias
            del tensors[f"{conv}.bias"]


def pairs(net: nn.Module) -> list[tuple[str, str]]:
    """Each convolution without biases whose next layer with weights is its normalisation."""
    layers = [(path, layer) for path, layer in net.named_modules() if isinstance(layer, (*CONVS, *BATCH_NORMS))]
    return [
        (conv_path, norm_path)
        for (conv_path, conv), (norm_path, norm) in itertools.pairwise(layers)
        if isinstance(conv, CONVS) and conv.bias is None and isinstance(norm, BATCH_NORMS)
    ]


def complete_norms(net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Scales of 1 and biases of 0 for normalisations that were trained without."""
    for path, layer in net.named_modules():
        mean = tensors.get(f"{path}.running_mean")
        if isinstance(layer, BATCH_NORMS) and mean is not None:
            tensors.setdefault(f"{path}.weight", torch.ones_like(mean))
            tensors.setdefault(f"{path}.bias", torch.zeros_like(mean))


def add_statistics(net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Statistics under which a normalisation in eval mode only scales and shifts."""
    for path, layer in net.named_modules():
        scale = tensors.get(f"{path}.weight")
        if isinstance(layer, BATCH_NORMS) and scale is not None:
            tensors.setdefault(f"{path}.running_mean", torch.zeros_like(scale))
            tensors.setdefault(f"{path}.running_var", torch.full_like(scale, 1 - layer.eps))


def match_axes(net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Fully connected layers that were stored as convolutions, or the other way round, and axes of 1."""
    for name, expected in net.state_dict().items():
        found = tensors.get(name)
        if found is None or found.ndim == 0 or found.shape == expected.shape or expected.ndim < 1:
            continue
        rest = torch.Size(expected.shape[1:]).numel()
        if found[0].numel() == rest:
            tensors[name] = found.reshape(found.shape[0], *expected.shape[1:])
