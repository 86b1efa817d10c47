"""A traced network as layers that can be compared with those of another implementation.

Names and order of execution are the implementation's own; what a layer computes and where it stands are not. So
a network becomes *levels*: all convolutions, fully connected layers, poolings and sums that lie equally many such
layers behind the input, along the longest path. Normalisations, activations and dropout belong to the layer that they
follow, or where that is a branching point to the one that they precede.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from convatlas.analysis.diff import settings
from convatlas.records import LayerRecord, Shape

WEIGHTED = frozenset({"conv", "deconv", "fc"})
POOLS = frozenset({"maxpool", "avgpool"})
NORMS = frozenset({"batchnorm", "lrn", "groupnorm", "layernorm", "l2norm"})
ACTIVATIONS = frozenset(
    {"relu", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid", "hardswish", "hardsigmoid"}
)
ATTACHED = NORMS | ACTIVATIONS | {"dropout"}
CLEAR = frozenset(
    {"identity", "view", "flatten", "slice", "cat", "join", "clone", "contiguous", "crop", "zeros_like", "new_zeros"}
    | {"softmax", "log_softmax"}
)  # operations that change no value, or only order them
SAME_KIND = {"batch_norm": "batchnorm", "group_norm": "groupnorm", "layer_norm": "layernorm", "sparse_conv": "conv"}
SAME_KIND |= {"mean": "avgpool", "amax": "maxpool", "iadd": "add"}


@dataclass(frozen=True)
class Attached:
    """A normalisation, an activation or dropout, with its constants; without any where they can't be seen."""

    kind: str
    settings: tuple[tuple[str, str], ...] = ()
    name: str = field(default="", compare=False)


@dataclass(frozen=True)
class Part:
    """One layer: a convolution, a fully connected layer, a pooling, a sum, or whatever else computes."""

    name: str
    kind: str
    kernel: tuple[int, ...] | None = None  # None: not known, or none
    stride: tuple[int, ...] | None = None
    padding: tuple[int, ...] | None = None
    dilation: tuple[int, ...] | None = None
    groups: int | None = None
    fan_in: int | None = None  # channels or features that it reads
    maps: int | None = None  # channels or features that it makes
    bias: bool | None = None
    settings: tuple[tuple[str, str], ...] = ()
    before: tuple[Attached, ...] = ()
    after: tuple[Attached, ...] = ()
    shortcut: bool = False  # a convolution beside a residual branch, in front of its sum
    whole: bool = False  # a pooling over all positions
    parameters: int = 0
    multiply_adds: int = 0
    output_shape: Shape = ()


Level = tuple[Part, ...]


def levels(records: Sequence[LayerRecord], constants: Mapping[int, tuple[tuple[str, str], ...]]) -> tuple[Level, ...]:
    """The levels of a traced network, from the input on.

    Args:
        records: of one forward pass.
        constants: what the records do not hold, by their index: ("eps", "0.001"), ("bias", "False").
    """
    return _Reading(records, constants).levels()


def constants_of(net: nn.Module, records: Sequence[LayerRecord]) -> dict[int, tuple[tuple[str, str], ...]]:
    """Constants of the modules behind records; a function in a module that is a layer of its own has that one's."""
    modules = dict(net.named_modules())
    found: dict[int, tuple[tuple[str, str], ...]] = {}
    for record in records:
        path, _, function = record.name.partition("/")
        kind = "batchnorm" if function.startswith("batch_norm") else record.kind
        if not function or kind == "batchnorm":
            found[record.index] = settings(modules.get(path), record.kind)
    return found


def kind_of(record: LayerRecord) -> str:
    """The kind of a record, whoever wrote it: `mean` over both sides is an average pooling."""
    kind = SAME_KIND.get(record.kind, record.kind)
    if record.kind in ("mean", "amax"):
        flattened = record.input_shapes and len(record.input_shapes[0]) == 3 and _positions(record.output_shape) == 1
        return kind if flattened else record.kind
    return kind


class _Reading:
    """Works out levels from records."""

    def __init__(self, records: Sequence[LayerRecord], constants: Mapping[int, tuple[tuple[str, str], ...]]) -> None:
        self.records, self.constants = records, constants
        self.kinds = [kind_of(record) for record in records]
        self.readers: dict[int, list[int]] = defaultdict(list)
        for record in records:
            for source in dict.fromkeys(record.inputs):
                self.readers[source].append(record.index)
        self.claimed: set[int] = set()

    def levels(self) -> tuple[Level, ...]:
        depths: list[int] = []  # of the last layer at or before each record
        places: dict[int, list[int]] = defaultdict(list)
        for record in self.records:
            depth = max((depths[source] for source in record.inputs if source >= 0), default=0)
            if self._is_part(record):
                depth += 1
                places[depth].append(record.index)
            depths.append(depth)
        indices = [index for depth in sorted(places) for index in places[depth]]
        after = {index: self._after(index) for index in indices}
        parts = {index: self._part(self.records[index], after[index]) for index in indices}
        return tuple(tuple(parts[index] for index in places[depth]) for depth in sorted(places))

    def _is_part(self, record: LayerRecord) -> bool:
        kind = self.kinds[record.index]
        if kind in WEIGHTED:
            return True
        if kind in ATTACHED | CLEAR:
            return False
        if kind in ("add", "mul", "sub", "div"):
            return len(record.inputs) > 1  # else a constant is added
        if kind in POOLS:  # one of a single position does nothing
            return not record.input_shapes or _positions(record.input_shapes[0]) != 1
        return record.parameters > 0 or kind in ("interpolate", "subsample", "unpool", "matmul")

    def _after(self, index: int) -> tuple[Attached, ...]:
        """Follows the only reader of each output."""
        attached: list[Attached] = []
        while len(self.readers[index]) == 1:
            index = self.readers[index][0]
            kind = self.kinds[index]
            if kind in ATTACHED:
                attached += self._attached(index)
            elif kind not in CLEAR or len(self.records[index].inputs) > 1 or kind in ("cat", "join"):
                break
        return tuple(attached)

    def _before(self, record: LayerRecord) -> tuple[Attached, ...]:
        attached: list[Attached] = []
        source = record.inputs[0] if record.inputs else -1
        while source >= 0 and source not in self.claimed:
            kind = self.kinds[source]
            if kind in ATTACHED:
                attached += self._attached(source)
            elif kind not in CLEAR or len(self.records[source].inputs) > 1:
                break
            source = self.records[source].inputs[0] if self.records[source].inputs else -1
        return tuple(reversed(attached))

    def _attached(self, index: int) -> list[Attached]:
        """One, or none where dropout has a probability of 0."""
        self.claimed.add(index)
        settings = tuple(pair for pair in self.constants.get(index, ()) if pair[0] not in ("bias", "device", "dtype"))
        if self.kinds[index] == "dropout" and any(key == "p" and float(value) == 0 for key, value in settings):
            return []
        return [Attached(self.kinds[index], settings, self.records[index].name)]

    def _part(self, record: LayerRecord, after: tuple[Attached, ...]) -> Part:
        kind = self.kinds[record.index]
        known = dict(self.constants.get(record.index, ()))
        along = record.reads.along if record.reads else ()
        kernel, stride, padding = record.kernel, record.stride, record.padding
        if kernel is None and kind in POOLS and along and all(axis.rule == "window" for axis in along):
            kernel, stride, padding = (tuple(getattr(axis, name) for axis in along) for name in WINDOW)
        whole = kind in POOLS and _positions(record.output_shape) == 1
        source = record.input_shapes[0] if record.input_shapes else ()
        return Part(
            name=record.name,
            kind=kind,
            kernel=None if kind == "fc" else kernel,
            stride=stride,
            padding=None if padding is None else tuple(padding),
            dilation=record.dilation,
            groups=record.groups if kind in WEIGHTED else None,
            fan_in=_features(source, kind),
            maps=_features(record.output_shape, kind),
            bias=known["bias"] == "True" if "bias" in known and kind in WEIGHTED else None,
            settings=tuple((key, value) for key, value in known.items() if key in ("ceil_mode", "count_include_pad")),
            before=self._before(record),
            after=after,
            shortcut=kind == "conv" and self._is_shortcut(record),
            whole=whole,
            parameters=record.parameters,
            multiply_adds=record.multiply_adds or 0,
            output_shape=record.output_shape,
        )

    def _is_shortcut(self, record: LayerRecord) -> bool:
        """Whether its output, normalised at most, goes into a sum, and its input into another layer as well."""
        index = record.index
        while len(self.readers[index]) == 1:
            index = self.readers[index][0]
            if self.kinds[index] == "add":
                break
            if self.kinds[index] not in NORMS | CLEAR:
                return False
        else:
            return False
        reader, source = record.index, record.inputs[0] if record.inputs else -1
        while source >= 0 and len(self.readers[source]) == 1 and self.kinds[source] in POOLS | CLEAR:
            reader, source = source, self.records[source].inputs[0]  # a shortcut that is pooled first
        others = [other for other in self.readers[source] if other != reader]
        return any(self.kinds[other] != "add" for other in others)


WINDOW = ("kernel", "stride", "padding")


def _positions(shape: Shape) -> int:
    count = 1
    for side in shape[1:]:
        count *= side
    return count


def _features(shape: Shape, kind: str) -> int | None:
    if not shape:
        return None
    return shape[-1] if kind == "fc" else shape[0]
