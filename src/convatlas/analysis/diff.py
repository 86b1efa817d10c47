"""What differs between two networks: their layers laid side by side, and what changed in each pair."""

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TypeVar

from torch import nn

from convatlas import registry
from convatlas.analysis.cost import Cost, cost
from convatlas.analysis.kinds import VIEWS
from convatlas.analysis.quantities import is_weight_layer, weight_layers
from convatlas.analysis.receptive_field import ReceptiveField, receptive_fields
from convatlas.analysis.trace import build_on_meta, trace_network
from convatlas.records import LayerRecord, Shape

T = TypeVar("T")

SETTING = re.compile(r"(\w+)=(\([^)]*\)|[^,]+)")
IN_THE_RECORD = {"kernel_size", "stride", "padding", "dilation", "groups", "in_features", "out_features", "output_size"}
WITHOUT_EFFECT = {"inplace", "affine", "track_running_stats", "return_indices"}
WEIGHTED = {"conv", "deconv", "fc", "sparse_conv"}  # kinds whose number of maps is a choice, not a consequence
ROLES = {
    "sparse_conv": "conv",
    "rbf": "fc",
    **dict.fromkeys(("maxpool", "avgpool", "subsampling"), "pool"),
    **dict.fromkeys(("batchnorm", "lrn", "groupnorm", "layernorm", "l2norm"), "norm"),
    **dict.fromkeys(("relu", "leaky_relu", "prelu", "elu", "selu", "gelu", "tanh", "sigmoid"), "activation"),
}  # kinds that do the same work in different ways; any other is a role of its own


@dataclass(frozen=True)
class Layer:
    """One operation of one of the networks."""

    record: LayerRecord
    field: ReceptiveField | None
    settings: tuple[tuple[str, str], ...]  # constants that the record does not hold: ("p", "0.5"), ("eps", "1e-05")


@dataclass(frozen=True)
class Change:
    """One quantity that a layer has in both networks, with different values."""

    quantity: str
    before: str
    after: str


@dataclass(frozen=True)
class Pair:
    """A layer of the first network and its counterpart in the second; None where there is none."""

    before: Layer | None
    after: Layer | None
    changes: tuple[Change, ...] = ()  # choices of the designers, not what follows from them
    moved: bool = False  # it stands in another place of the order


@dataclass(frozen=True)
class Network:
    """One side of a comparison."""

    name: str
    input_shape: Shape
    cost: Cost
    weight_layers: int
    depth: int  # weight layers on the longest path
    layers: tuple[Layer, ...]

    @property
    def last_field(self) -> ReceptiveField | None:
        """What one unit of the last map sees."""
        maps = [layer.field for layer in self.layers if len(layer.record.output_shape) > 1 and layer.field]
        return maps[-1] if maps else None


@dataclass(frozen=True)
class Difference:
    """Two networks side by side, the layers in the order of the first."""

    before: Network
    after: Network
    pairs: tuple[Pair, ...]


def diff(before: str, after: str, *, input_shape: Shape | None = None) -> Difference:
    """Compares two registered networks.

    Args:
        before: a name.
        after: another.
        input_shape: (C, H, W) for both; None: the published ones.

    Raises:
        UsageError: unknown name, or an input that one of them can't take.
    """
    first, second = network(before, input_shape), network(after, input_shape)
    return Difference(first, second, pair(first.layers, second.layers))


def network(name: str, input_shape: Shape | None = None) -> Network:
    """A registered network with all that is compared of it; at its published input if none is given.

    Raises:
        UsageError: unknown name, or an input that it can't take.
    """
    card = registry.card(name)
    shape = input_shape or card.input_shape
    records = trace_network(card, input_shape)
    modules = dict(build_on_meta(card, in_channels=shape[0]).named_modules())
    layers = tuple(
        Layer(record, field, settings(modules.get(record.name), record.kind))
        for record, field in zip(records, receptive_fields(records), strict=True)
        if not (record.kind in VIEWS and "/" in record.name)
    )
    with_weights = sum(map(is_weight_layer, records))
    sums = cost(records, shape)
    return Network(card.name, shape, sums, with_weights, weight_layers(records), layers)


def settings(module: nn.Module | None, kind: str) -> tuple[tuple[str, str], ...]:
    """What a layer says of itself and the trace does not: the probability of dropout, the constants of a norm."""
    if module is None:
        return ()
    said = dict(SETTING.findall(module.extra_repr()))
    if kind in ("conv", "deconv"):
        said.setdefault("bias", "True")  # torch mentions it only where there is none
    return tuple((key, value.strip()) for key, value in said.items() if key not in IN_THE_RECORD | WITHOUT_EFFECT)


def pair(before: Sequence[Layer], after: Sequence[Layer]) -> tuple[Pair, ...]:
    """Lays two sequences of layers side by side.

    Layers of the same name belong together as far as their order allows; between those, layers of the same kind,
    window and number of maps; between those, of the same role. A name that is left on both sides has moved.
    """
    couples = align(before, after, (lambda layer: layer.record.name, signature, role))
    alone_after = {layer.record.name: layer for old, layer in couples if old is None and layer is not None}
    alone_before = {layer.record.name for layer, new in couples if new is None and layer is not None}
    moved = alone_before & alone_after.keys()
    pairs: list[Pair] = []
    for old, new in couples:
        if old is None and new is not None and new.record.name in moved:
            continue  # told with its counterpart
        here = old is not None and old.record.name in moved and new is None
        if here and old is not None:
            new = alone_after[old.record.name]
        changed = changes(old, new) if old is not None and new is not None else ()
        pairs.append(Pair(old, new, changed, moved=here))
    return tuple(pairs)


def signature(layer: Layer) -> Hashable:
    record = layer.record
    return record.kind, record.kernel, record.stride, record.output_shape[0] if record.output_shape else None


def role(layer: Layer) -> str:
    return ROLES.get(layer.record.kind, layer.record.kind)


def align(
    before: Sequence[T], after: Sequence[T], keys: Sequence[Callable[[T], Hashable]]
) -> list[tuple[T | None, T | None]]:
    """Couples in the order of both sequences: those equal by the first key, then between them by the next."""
    if not keys or not before or not after:
        return [*((old, None) for old in before), *((None, new) for new in after)]
    key, *rest = keys
    matcher = SequenceMatcher(None, [key(old) for old in before], [key(new) for new in after], autojunk=False)
    couples: list[tuple[T | None, T | None]] = []
    start, other = 0, 0
    for i, j, size in matcher.get_matching_blocks():
        couples += align(before[start:i], after[other:j], rest)
        couples += zip(before[i : i + size], after[j : j + size], strict=True)
        start, other = i + size, j + size
    return couples


def changes(before: Layer, after: Layer) -> tuple[Change, ...]:
    """What was chosen differently. Sizes of maps, parameters and multiply-adds only follow from it."""
    old, new = before.record, after.record
    found = [Change("operation", old.kind, new.kind)] if old.kind != new.kind else []
    for quantity in ("kernel", "stride", "padding", "dilation", "groups"):
        values = getattr(old, quantity), getattr(new, quantity)
        if values[0] != values[1] and None not in values:
            found.append(Change(quantity, *(_sides(value, always=quantity == "kernel") for value in values)))
    channels = [str(next(iter(record.output_shape))) for record in (old, new)]
    if {old.kind, new.kind} <= WEIGHTED and channels[0] != channels[1]:
        found.append(Change("maps" if len(old.output_shape) > 1 else "units", *channels))
    if old.kind == new.kind:
        first, second = dict(before.settings), dict(after.settings)
        found += [Change(key, first[key], second[key]) for key in first if key in second and first[key] != second[key]]
    return tuple(found)


def _sides(value: int | tuple[int, ...], *, always: bool) -> str:
    if isinstance(value, int):
        return str(value)
    return str(value[0]) if len(set(value)) == 1 and not always else " x ".join(map(str, value))
