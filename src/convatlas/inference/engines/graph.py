"""A network as an ONNX model with any batch size, by whichever of torch's two exporters takes it."""

import contextlib
import importlib.util
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from convatlas.errors import ConvatlasError
from convatlas.records import Shape

OPSET = 17
INPUT, OUTPUT = "input", "logits"


def to_onnx(net: nn.Module, input_shape: Shape, *, dtype: torch.dtype = torch.float32) -> bytes:
    """The serialised ONNX model of a network in evaluation mode on the CPU: `input` (B, *input_shape) to `logits`.

    The older exporter is asked first, since it takes a tenth of the time; the newer one knows networks that compute
    with shapes.

    Raises:
        ConvatlasError: a package is missing, or neither exporter can express the network.
    """
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConvatlasError(f"{' and '.join(missing)} not installed; get it: pip install 'convatlas[deploy]'")
    sample = torch.zeros(2, *input_shape, dtype=dtype)
    reasons = []
    for export in (_by_tracing, _by_graph):
        try:
            with quietly(), torch.no_grad():
                model = export(net, sample)
            if not reads_its_input(model):
                raise ConvatlasError("it computes outside PyTorch, where an exporter sees nothing")
            return model
        except Exception as error:  # the exporters raise what the operators in them happen to raise
            reasons.append((str(error).strip().splitlines() or [type(error).__name__])[0])
    raise ConvatlasError(f"no ONNX model can be made of {type(net).__name__}: {'; '.join(dict.fromkeys(reasons))}")


def reads_its_input(model: bytes) -> bool:
    import onnx

    graph = onnx.load_model_from_string(model).graph
    return any(INPUT in node.input for node in graph.node)


def _by_tracing(net: nn.Module, sample: torch.Tensor) -> bytes:
    model: Any = io.BytesIO()  # which the exporter takes, whatever its annotation says
    batch = {INPUT: {0: "batch"}, OUTPUT: {0: "batch"}}
    torch.onnx.export(
        net, (sample,), model, dynamo=False, input_names=[INPUT], output_names=[OUTPUT], dynamic_axes=batch,
        opset_version=OPSET,
    )  # fmt: skip
    return model.getvalue()


def _by_graph(net: nn.Module, sample: torch.Tensor) -> bytes:
    program = torch.onnx.export(
        net, (sample,), dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False,
        dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
    )  # fmt: skip
    if program is None:
        raise ConvatlasError("the exporter gave nothing")
    return program.model_proto.SerializeToString()


@contextlib.contextmanager
def _without_native_output() -> Iterator[None]:
    """The exporter's C++ prints a network that it can't express, line by line, past Python's own streams."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(stream, os.dup(stream)) for stream in (1, 2)]
    try:
        with open(os.devnull, "wb") as nothing:
            for stream, _ in kept:
                os.dup2(nothing.fileno(), stream)
        yield
    finally:
        for stream, copy in kept:
            os.dup2(copy, stream)
            os.close(copy)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without the exporters' advice to those who maintain them."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    getattr(torch._C, "_jit_set_onnx_log_enabled", lambda _: None)(False)  # it would print the network on failure
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _without_native_output():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
