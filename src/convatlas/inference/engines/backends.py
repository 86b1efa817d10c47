"""The engines themselves: each takes a network on the CPU and gives a function of its inputs.

A function takes float32 (B, ...) and gives (B, K). `eager`, `fused` and ONNX Runtime take any B as it comes; the
other two are compiled for one batch size, and get what is left over filled up with zeros.
"""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

from convatlas.allocator import keep_freed_memory
from convatlas.errors import ConvatlasError
from convatlas.inference.engines.fused import fuse
from convatlas.inference.engines.graph import to_onnx
from convatlas.records import ExportedProgram, Shape

Run = Callable[[Tensor], Tensor]
Builder = Callable[[nn.Module, Shape, int], Run]

PATIENCE_S = 60  # a large network takes some seconds
TRIAL = """
import json, sys, openvino
core = openvino.Core()
model = core.read_model(sys.stdin.buffer.read())
shape = model.inputs[0].get_partial_shape()
shape[0] = int(sys.argv[1])
model.reshape({model.inputs[0]: shape})
core.compile_model(model, "CPU", json.loads(sys.argv[2]))
"""


def eager(net: nn.Module, input_shape: Shape, batch_size: int) -> Run:
    """PyTorch as it is."""
    return net.eval()


def fused(net: nn.Module, input_shape: Shape, batch_size: int) -> Run:
    """PyTorch with folded normalisations, packed convolutions and ReLUs in them, channels last."""
    _check_layers(net)
    keep_freed_memory()
    return _channels_last(fuse(net, input_shape, batch_size=batch_size))


def compiled(net: nn.Module, input_shape: Shape, batch_size: int) -> Run:
    """torch.compile with the weights frozen into the code; takes tens of seconds to build."""
    _check_layers(net)
    if all(shutil.which(name) is None for name in ("c++", "g++", "clang++", "cl")):
        raise ConvatlasError("torch.compile needs a C++ compiler")
    from torch._inductor import config

    keep_freed_memory()
    with config.patch(freezing=True):
        run = torch.compile(_channels_last(fuse(net, input_shape, batch_size=batch_size, pack=False)), dynamic=False)
        run(torch.zeros(batch_size, *input_shape))
    return in_batches_of(batch_size, run)


def onnx_runtime(net: nn.Module, input_shape: Shape, batch_size: int) -> Run:
    """ONNX Runtime on its CPU provider."""
    require("onnxruntime")
    return run_in_onnx_runtime(_model(net, input_shape))


def open_vino(net: nn.Module, input_shape: Shape, batch_size: int) -> Run:
    """OpenVINO on its CPU device, in float32."""
    require("openvino")
    return run_in_open_vino(_model(net, input_shape), batch_size)


BUILDERS: dict[str, Builder] = {
    "eager": eager,
    "fused": fused,
    "compile": compiled,
    "onnxruntime": onnx_runtime,
    "openvino": open_vino,
}


def run_in_onnx_runtime(model: bytes) -> Run:
    """A model's first output. Raises ConvatlasError for a model that it refuses."""
    run = outputs_in_onnx_runtime(model)
    return lambda x: run(x)[0]


def outputs_in_onnx_runtime(model: bytes) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """A session with as many threads as torch uses. Raises ConvatlasError for a model that it refuses."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ConvatlasError(f"ONNX Runtime refuses the model: {str(error).splitlines()[0]}") from error
    source = session.get_inputs()[0]
    cast = _to_uint8 if source.type == "tensor(uint8)" else Tensor.contiguous
    return lambda x: tuple(map(torch.from_numpy, session.run(None, {source.name: cast(x).numpy()})))


def run_in_open_vino(model: bytes, batch_size: int) -> Run:
    """A model compiled for one batch size. Raises ConvatlasError for a model that it refuses."""
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # it would take bfloat16 where the processor has it
    }
    if b"QuantizeLinear" in model:
        _try_apart(model, batch_size, settings)
    try:
        read = core.read_model(model)
        shape = read.inputs[0].get_partial_shape()
        shape[0] = batch_size
        read.reshape({read.inputs[0]: shape})
        cast = _to_uint8 if read.inputs[0].get_element_type().get_type_name() == "u8" else Tensor.contiguous
        request = core.compile_model(read, "CPU", settings).create_infer_request()
    except Exception as error:
        raise ConvatlasError(f"OpenVINO refuses the model: {str(error).strip().splitlines()[-1]}") from error

    def run(x: Tensor) -> Tensor:
        result = request.infer([cast(x).numpy()], share_inputs=True, share_outputs=True)
        return torch.from_numpy(result[0].copy())  # the request writes over its outputs

    return in_batches_of(batch_size, run)


def _try_apart(model: bytes, batch_size: int, settings: dict[str, object]) -> None:
    """Some quantised networks OpenVINO 2026.4 never finishes compiling, or dies of: not this process.

    Raises:
        ConvatlasError: it did so in a process of its own.
    """
    command = [sys.executable, "-c", TRIAL, str(batch_size), json.dumps(settings)]
    try:
        tried = subprocess.run(command, input=model, capture_output=True, check=False, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired as error:
        raise ConvatlasError(f"OpenVINO has not compiled the model in {PATIENCE_S} s") from error
    if tried.returncode < 0:
        raise ConvatlasError(f"OpenVINO dies of the model (signal {-tried.returncode})")


def in_batches_of(batch_size: int, run: Run) -> Run:
    """For a function that takes `batch_size` samples and no other number: any number of them."""

    def any_number(x: Tensor) -> Tensor:
        if len(x) == batch_size:
            return run(x)
        parts = []
        for part in x.split(batch_size):
            padding = part.new_zeros(batch_size - len(part), *part.shape[1:])
            parts.append(run(torch.cat([part, padding]))[: len(part)])
        return torch.cat(parts)

    return any_number


def require(package: str) -> None:
    """Raises ConvatlasError, with the way to get it, where a package is not installed."""
    if importlib.util.find_spec(package) is None:
        raise ConvatlasError(f"{package} is not installed; get it: pip install 'convatlas[deploy]'")


def _model(net: nn.Module, input_shape: Shape) -> bytes:
    """The ONNX model of a network; an exported file is one already."""
    if isinstance(net, ExportedProgram):
        return net.onnx_model
    return to_onnx(fuse(net, input_shape, batch_size=1, pack=False), input_shape)


def _check_layers(net: nn.Module) -> None:
    if isinstance(net, ExportedProgram):
        raise ConvatlasError("an exported file has no PyTorch layers; expected onnxruntime or openvino")


def _to_uint8(x: Tensor) -> Tensor:
    """For models that normalise by themselves."""
    return x.round().to(torch.uint8).contiguous()


def _channels_last(net: nn.Module) -> Run:
    if not any(parameter.ndim == 4 for parameter in net.parameters()):
        return net
    net = net.to(memory_format=torch.channels_last)
    return lambda x: net(x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x)
