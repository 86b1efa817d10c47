"""The boxes of a drawing: a trace with small operations fused, modules folded, and equal neighbours counted."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import networkx as nx

from convatlas.records import LayerRecord, Shape

INPUT = -1
FUSED = {
    "relu": "ReLU", "leaky_relu": "leaky ReLU", "prelu": "PReLU", "elu": "ELU", "tanh": "tanh", "sigmoid": "sigmoid",
    "batchnorm": "BN", "dropout": "dropout", "dropout2d": "dropout", "softmax": "softmax",
    "flatten": "", "view": "", "identity": "", "slice": "", "crop": "crop", "contiguous": "",
}  # fmt: skip
TRANSPARENT = ("identity", "contiguous")  # the edge goes on behind them
JOINS = {"add": "+", "cat": "concat", "mul": "x", "mean": "mean", "stack": "stack"}


@dataclass(frozen=True)
class Box:
    """One box: a layer with what is fused into it, or a folded module."""

    key: str  # the module path, or a path and a function; unique
    kind: str  # of the layer; "module" of a folded one
    title: str
    lines: tuple[str, ...]
    output_shape: Shape
    records: tuple[int, ...]  # indices of the trace
    parameters: int = 0
    signature: tuple[object, ...] = ()  # equal for boxes that compute the same in the same sizes
    count: int = 1  # equal boxes in a row


@dataclass
class Drawing:
    """Boxes and edges between them, without a cycle."""

    boxes: dict[str, Box] = field(default_factory=dict)
    edges: nx.DiGraph = field(default_factory=nx.DiGraph)
    sizes: dict[str, tuple[float, float]] = field(default_factory=dict)  # of the boxes in pixels, once laid out


def build(records: Sequence[LayerRecord], fold: int) -> Drawing:
    """The drawing of a trace.

    Args:
        records: of one forward pass.
        fold: how many parts of a name stay: 1 draws the network's own modules as boxes, 0 draws every layer.
    """
    owners = fuse(records)
    keys = fold_keys(records, owners, fold)
    drawing = assemble(records, owners, keys)
    return merge_repeats(drawing)


def fuse(records: Sequence[LayerRecord]) -> list[int]:
    """For each record the one whose box it belongs to: activations and the like go to what they work on."""
    consumers = Counter(source for record in records for source in set(record.inputs))
    owners = list(range(len(records)))
    for index, record in enumerate(records):
        sources = set(record.inputs)
        if record.kind in FUSED and len(sources) == 1:
            (source,) = sources
            if source != INPUT and (consumers[source] == 1 or record.kind in TRANSPARENT):
                owners[index] = owners[source]
    return owners


def path_of(record: LayerRecord) -> tuple[str, ...]:
    """The modules around an operation, itself included where it is one."""
    return tuple(part for part in record.name.partition("/")[0].split(".") if part)


def fold_keys(records: Sequence[LayerRecord], owners: Sequence[int], fold: int) -> list[str]:
    """The key of the box of each record. A fold that would close a cycle is dissolved one level."""
    depths: dict[int, int] = dict.fromkeys(range(len(records)), fold)
    while True:
        keys = [_key(records[owner], depths[owner]) for owner in owners]
        parts = nx.strongly_connected_components(_edges(records, keys))
        tangled = {key for part in parts if len(part) > 1 for key in part}
        again = [index for index, key in enumerate(keys) if key in tangled]
        if not again:
            return keys
        for index in again:
            depths[index] = depths[index] + 1 if depths[index] and depths[index] < 8 else 0


def _key(record: LayerRecord, depth: int) -> str:
    path = path_of(record)
    inside = len(path) > depth or ("/" in record.name and len(path) >= depth)
    return ".".join(path[:depth]) if depth and inside and path[:depth] else record.name


def _edges(records: Sequence[LayerRecord], keys: Sequence[str]) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(dict.fromkeys(keys))
    for index, record in enumerate(records):
        for source in record.inputs:
            if source != INPUT and keys[source] != keys[index]:
                graph.add_edge(keys[source], keys[index])
    return graph


def assemble(records: Sequence[LayerRecord], owners: Sequence[int], keys: Sequence[str]) -> Drawing:
    """Boxes with their texts, and an input box where the network begins."""
    members: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        members.setdefault(key, []).append(index)
    drawing = Drawing(edges=_edges(records, keys))
    for key, indices in members.items():
        owned = {owners[index] for index in indices}
        group = [records[index] for index in indices]
        drawing.boxes[key] = leaf_box(key, group) if len(owned) == 1 else module_box(key, group)
    first = [records[index] for index in range(len(records)) if INPUT in records[index].inputs]
    shape = first[0].input_shapes[0] if first and first[0].input_shapes else ()
    drawing.boxes["input"] = Box("input", "input", "input", (show(shape),) if shape else (), shape, ())
    drawing.edges.add_edges_from(("input", keys[record.index]) for record in first)
    unfed = [key for key in members if drawing.edges.in_degree(key) == 0]  # they make their values themselves
    drawing.edges.add_edges_from(("input", key) for key in unfed)
    return drawing


def leaf_box(key: str, group: Sequence[LayerRecord]) -> Box:
    """One layer, and in its second line what is fused into it."""
    main = group[0]
    shape = next(record.output_shape for record in reversed(group) if record is main or FUSED.get(record.kind))
    extras = [FUSED[record.kind] for record in group[1:] if FUSED.get(record.kind)]
    title = JOINS.get(main.kind, key.rpartition("/")[2] if "/" in key else key)
    lines = tuple(filter(None, (describe(main), ", ".join(extras), show(shape))))
    return Box(
        key, main.kind, title, lines, shape, tuple(record.index for record in group),
        sum(record.parameters for record in group), signature(group),
    )  # fmt: skip


def module_box(key: str, group: Sequence[LayerRecord]) -> Box:
    """A folded module: how many layers of which kind it holds."""
    kinds = Counter(record.kind for record in group if record.kind not in FUSED)
    held = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3))
    return Box(
        key, "module", key, tuple(filter(None, (held, show(group[-1].output_shape)))), group[-1].output_shape,
        tuple(record.index for record in group), sum(record.parameters for record in group), signature(group),
    )  # fmt: skip


def describe(record: LayerRecord) -> str:
    """ "3x3 conv 64, /2": window, kind, channels, stride and groups."""
    if record.kind in JOINS:
        return ""
    window = "x".join(map(str, record.kernel)) if record.kernel else ""
    out = str(record.output_shape[0]) if record.kind in ("conv", "deconv", "sparse_conv", "fc", "local") else ""
    words = " ".join(filter(None, (window, record.kind, out)))
    stride = max(record.stride) if record.stride else 1
    notes = [f"/{stride}"] if stride > 1 and record.kind != "avgpool" else []
    notes += [f"{record.groups} groups"] if record.groups and record.groups > 1 else []
    notes += [f"dilated {max(record.dilation)}"] if record.dilation and max(record.dilation) > 1 else []
    return ", ".join([words, *notes])


def levels(records: Sequence[LayerRecord]) -> list[int]:
    """How often each operation's input was halved on its way: from strides, not from sizes, which padding changes."""
    halvings: list[int] = []
    for record in records:
        before = max((halvings[source] for source in record.inputs if source != INPUT), default=0)
        halvings.append(before + _halving(record))
    return halvings


def _halving(record: LayerRecord) -> int:
    stride = max(record.stride or (1,))
    if record.kind in ("deconv", "unpool"):
        return -round(math.log2(stride)) if stride > 1 else 0
    if record.kind in ("conv", "maxpool", "avgpool", "subsampling"):
        return round(math.log2(stride)) if stride > 1 else 0
    if record.kind in ("upsample", "interpolate") and record.input_shapes and record.input_shapes[0][-1]:
        return -round(math.log2(max(record.output_shape[-1] / record.input_shapes[0][-1], 1e-9)))
    return 0


def show(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def signature(group: Iterable[LayerRecord]) -> tuple[object, ...]:
    return tuple(
        (record.kind, record.kernel, record.stride, record.groups, record.output_shape, record.parameters)
        for record in group
        if record.kind not in TRANSPARENT  # a shortcut's identity belongs to the box that it starts from
    )


def merge_repeats(drawing: Drawing) -> Drawing:
    """Equal modules in a row become one box with their number."""
    graph = drawing.edges
    for key in list(nx.topological_sort(graph)):
        if key not in drawing.boxes or drawing.boxes[key].kind != "module":
            continue
        while (after := _twin(drawing, key)) is not None:
            box = drawing.boxes[key]
            drawing.boxes[key] = replace(box, count=box.count + 1, records=box.records + drawing.boxes[after].records,
                                         parameters=box.parameters + drawing.boxes[after].parameters)  # fmt: skip
            for target in list(graph.successors(after)):
                graph.add_edge(key, target)
            graph.remove_node(after)
            del drawing.boxes[after]
    return drawing


def _twin(drawing: Drawing, key: str) -> str | None:
    """The one box behind a module, where it is another of the same."""
    followers = list(drawing.edges.successors(key))
    if len(followers) != 1 or drawing.edges.in_degree(followers[0]) != 1:
        return None
    box, after = drawing.boxes[key], drawing.boxes[followers[0]]
    return after.key if after.kind == "module" and after.signature == box.signature else None
