"""An ONNX file as records of layers: its graph is read, not run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from convatlas.analysis.trace import INPUT
from convatlas.errors import ConvatlasError, UsageError
from convatlas.inference.engines.backends import require
from convatlas.inference.foreign.model import Model
from convatlas.records import LayerRecord, Shape

if TYPE_CHECKING:
    import onnx

KINDS = {
    **dict.fromkeys(("Conv", "ConvInteger", "QLinearConv"), "conv"),
    "ConvTranspose": "deconv",
    **dict.fromkeys(("Gemm", "MatMul"), "fc"),
    **dict.fromkeys(("MaxPool", "GlobalMaxPool"), "maxpool"),
    **dict.fromkeys(("AveragePool", "GlobalAveragePool"), "avgpool"),
    "BatchNormalization": "batchnorm",
    "LRN": "lrn",
    "GroupNormalization": "groupnorm",
    "LayerNormalization": "layernorm",
    "Relu": "relu",
    "LeakyRelu": "leaky_relu",
    "PRelu": "prelu",
    "Elu": "elu",
    "Gelu": "gelu",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "HardSwish": "hardswish",
    "HardSigmoid": "hardsigmoid",
    "Dropout": "dropout",
    "Add": "add",
    "Mul": "mul",
    "Sub": "sub",
    "Div": "div",
    "Concat": "cat",
    "ReduceMean": "mean",
    "ReduceMax": "amax",
    "Resize": "interpolate",
    "Upsample": "interpolate",
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    "Identity": "identity",
    "Flatten": "flatten",
}
CONSTANTS = {
    "BatchNormalization": (("epsilon", "eps", 1e-5),),
    "LRN": (("alpha", "alpha", 1e-4), ("beta", "beta", 0.75), ("bias", "k", 1.0)),
}
Attributes = dict[str, object]


@dataclass
class _Graph:
    """What is known of the values of a graph."""

    shapes: dict[str, Shape]  # with the batch axis
    weights: dict[str, Shape]
    made: dict[str, int] = field(default_factory=dict)  # value -> index of its record
    records: list[LayerRecord] = field(default_factory=list)
    constants: dict[int, tuple[tuple[str, str], ...]] = field(default_factory=dict)


def onnx_model(path: Path) -> Model:
    """The graph of an ONNX file.

    Raises:
        ConvatlasError: ONNX is not installed, or the file is damaged or has no shapes.
        UsageError: the file does not exist.
    """
    require("onnx")
    import onnx

    if not path.is_file():
        raise UsageError(f"{path} does not exist; expected an ONNX file")
    try:
        model = onnx.load_model(path, load_external_data=False)
        model = onnx.shape_inference.infer_shapes(model)
    except Exception as error:  # protobuf's own DecodeError
        raise ConvatlasError(f"{path} is no ONNX file, or damaged") from error
    graph = _graph(model)
    inputs = [value for value in model.graph.input if value.name not in graph.weights]
    for value in inputs:
        graph.made[value.name] = INPUT
    for node in model.graph.node:
        _read(graph, node)
    shape = graph.shapes.get(inputs[0].name, ()) if inputs else ()
    used = {name: shape for name, shape in graph.weights.items() if len(shape) > 1}
    return Model(
        source=str(path),
        title=path.name,
        records=tuple(graph.records),
        constants=graph.constants,
        tensors=used,
        parameters=sum(record.parameters for record in graph.records),
        input_shape=shape[1:] if len(shape) > 1 and 0 not in shape[1:] else None,
        notes=("an exporter may have folded normalisation into convolutions and left dropout out",),
    )


def _graph(model: "onnx.ModelProto") -> _Graph:
    graph = model.graph
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                weights[node.output[0]] = tuple(attribute.t.dims)
    shapes = dict(weights)
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
    return _Graph(shapes, weights)


def _read(graph: _Graph, node: "onnx.NodeProto") -> None:
    """Adds the record of a node that computes with the input; of any other nothing."""
    if node.op_type == "Constant":
        return
    if not any(name in graph.made for name in node.input):
        if all(name in graph.weights for name in node.input if name) and node.input:
            _rename(graph, node)  # a weight that is only seen in another way, as after dequantisation
        return
    attributes = dict(_attributes(node))
    index = len(graph.records)
    sources = [name for name in node.input if name in graph.made]
    own = [name for name in node.input if name in graph.weights]
    kind = KINDS.get(node.op_type, "view")
    kind = "view" if kind == "fc" and not own else kind
    kernel, groups = _kernel(graph, node, attributes, own), attributes.get("group")
    axes = len(kernel) if kernel else 0
    record = LayerRecord(
        index=index,
        name=_name(node, own),
        kind=kind,
        kernel=kernel,
        stride=_sides(attributes.get("strides"), axes, 1),
        padding=_padding(attributes, kernel),
        dilation=_sides(attributes.get("dilations"), axes, 1),
        groups=groups if isinstance(groups, int) else 1 if kind == "conv" else None,
        inputs=tuple(graph.made[name] for name in sources),
        input_shapes=tuple(graph.shapes.get(name, ())[1:] for name in sources),
        output_shape=graph.shapes.get(node.output[0], ())[1:],
        parameters=_learned(graph, kind, own),
        connections=None,
        multiply_adds=None,
        output_bytes=0,
    )
    graph.records.append(record)
    known = [(ours, f"{attributes.get(theirs, usual):.6g}") for theirs, ours, usual in CONSTANTS.get(node.op_type, ())]
    if kind in ("conv", "deconv", "fc"):
        known.append(("bias", str(len(own) > 1)))
    graph.constants[index] = tuple(known)
    for name in node.output:
        graph.made[name] = index


def _rename(graph: _Graph, node: "onnx.NodeProto") -> None:
    for name in node.output:
        graph.weights[name] = graph.shapes.get(name) or graph.weights[node.input[0]]


def _attributes(node: "onnx.NodeProto") -> Iterator[tuple[str, object]]:
    for attribute in node.attribute:
        if attribute.ints:
            yield attribute.name, tuple(attribute.ints)
        elif attribute.type == 2:  # an integer
            yield attribute.name, int(attribute.i)
        elif attribute.type == 1:
            yield attribute.name, float(attribute.f)


def _kernel(graph: _Graph, node: "onnx.NodeProto", attributes: Attributes, own: Sequence[str]) -> Shape | None:
    said = attributes.get("kernel_shape")
    if isinstance(said, tuple):
        return said
    if node.op_type.startswith("Global"):
        return graph.shapes.get(node.input[0], ())[2:] or None
    if node.op_type in ("Conv", "ConvTranspose") and own:
        return graph.weights[own[0]][2:]
    return None


def _sides(said: object, axes: int, usual: int) -> tuple[int, ...] | None:
    return said if isinstance(said, tuple) else (usual,) * axes or None


def _padding(attributes: Attributes, kernel: Shape | None) -> tuple[int, ...] | None:
    """Where both sides of an axis have the same; None where they have not."""
    said = attributes.get("pads")
    if kernel is None:
        return None
    if not isinstance(said, tuple):
        return (0,) * len(kernel)
    before, after = said[: len(kernel)], said[len(kernel) :]
    return before if before == after else None


def _learned(graph: _Graph, kind: str, own: Sequence[str]) -> int:
    """Values that were learned; of normalisation the scale and the offset, and not the running statistics."""
    if kind not in ("conv", "deconv", "fc", "batchnorm", "groupnorm", "layernorm", "prelu"):
        return 0
    total = 0
    for name in own[:2]:
        size = 1
        for side in graph.weights[name]:
            size *= side
        total += size
    return total


def _name(node: "onnx.NodeProto", own: Sequence[str]) -> str:
    """The module that a weight's name tells, else the node's own name."""
    name = own[0].rpartition(".")[0] if own and "." in own[0] else ""
    return name or node.name.strip("/").replace("/", ".") or node.output[0]
