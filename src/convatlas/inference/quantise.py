"""Eight-bit networks by static quantisation: the ranges of all maps are taken from images.

Weights get a scale a channel, activations one each, as ONNX's QuantizeLinear and DequantizeLinear (QDQ), which ONNX
Runtime and OpenVINO both compute in integers. Where normalisations remain that no convolution could take in (a
DenseNet's), only convolutions and fully connected layers are quantised: OpenVINO 2026.4 dies of the concatenations.
Ranges leave out the outermost 0.001% of the values: on SqueezeNet 1.1 that kept more images right than ranges from
the least to the greatest value, or those of least entropy.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from convatlas.data import normalise
from convatlas.errors import ConvatlasError, UsageError
from convatlas.inference.engines.backends import require, run_in_onnx_runtime
from convatlas.inference.engines.fused import fuse
from convatlas.inference.engines.graph import INPUT, OPSET, quietly, to_onnx
from convatlas.inference.exported import ExportedNet, WithNormalisation
from convatlas.inference.exporting import Exported, card_of, check_format, with_card, write_program
from convatlas.inference.images import Images, collect_images
from convatlas.inference.predict import read_ahead
from convatlas.inference.trained import TrainedNetwork
from convatlas.io import write_file
from convatlas.records import Problem

CALIBRATION_IMAGES = 64  # of a folder; more change little, and their maps are all kept in memory


@dataclass(frozen=True)
class Quantised:
    """An int8 file, and how far it agrees with the network on the images that set its ranges."""

    exported: Exported
    images: int
    agreement: float  # the part of them whose most probable class stayed
    problems: tuple[Problem, ...]


def quantise(
    source: TrainedNetwork,
    path: str | Path,
    calibration: Images,
    *,
    pixels: bool = False,
    licence: str | None = None,
    on_step: Callable[[str], None] = lambda _: None,
) -> Quantised:
    """Writes an int8 ONNX file. Arguments and errors are those of `export`, and:

    Args:
        calibration: images like those to come, as for `collect_images`; 64 of them, evenly spaced, are used.
        on_step: told what is being done, in a few words.

    Raises:
        ConvatlasError: no image can be read.
    """
    path = Path(path)
    check_format("onnx", path)
    require("onnxruntime")
    if isinstance(source.net, ExportedNet):
        raise UsageError(f"{source.name} comes from an exported file; expected a run folder or a network with weights")
    images, problems = _images(source, calibration)
    shape = (source.preprocessing.channels, *source.preprocessing.size)
    net = fuse(source.net.cpu(), shape, batch_size=1, pack=False)
    if pixels:
        net = WithNormalisation(net, source.preprocessing).eval()
    inputs = images if pixels else normalise(images, source.preprocessing)
    on_step("writing the float model")
    model = to_onnx(net, shape, dtype=inputs.dtype)
    on_step(f"taking the ranges of {len(images)} images")
    model = with_card(_quantise(model, inputs), card_of(source, pixels=pixels, licence=licence, int8=True))
    on_step("comparing")
    run = run_in_onnx_runtime(model)
    with torch.inference_mode():
        same = [run(part).argmax(1) == net(part).argmax(1) for part in inputs.split(16)]
    program = write_program(path, source.task)
    write_file(path, model)
    exported = Exported(path, "onnx", OPSET, len(model), float("nan"), program=program)
    return Quantised(exported, len(images), torch.cat(same).double().mean().item(), tuple(problems))


def _images(source: TrainedNetwork, calibration: Images) -> tuple[Tensor, list[Problem]]:
    """uint8 (N, C, H, W), and what could not be read."""
    readable, problems = collect_images(calibration)
    count = min(len(readable), CALIBRATION_IMAGES)
    chosen = [readable[index * len(readable) // count] for index in range(count)]
    read = [item for _, item in read_ahead(chosen, source.preprocessing, ahead=8)]
    problems += [item for item in read if isinstance(item, Problem)]
    good = [item for item in read if isinstance(item, Tensor)]
    if not good:
        reason = f": {problems[0].path}: {problems[0].reason}" if problems else ""
        raise ConvatlasError(f"calibration has no image that can be read{reason}")
    return torch.stack(good), problems


def _quantise(model: bytes, inputs: Tensor) -> bytes:
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,  # fmt: skip
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.parts = iter(inputs.split(1))

        def get_next(self) -> dict[str, object]:
            part = next(self.parts, None)
            return {} if part is None else {INPUT: part.numpy()}

    with tempfile.TemporaryDirectory() as folder, quietly():
        plain, prepared, quantised = (str(Path(folder, name)) for name in ("plain", "prepared", "int8"))
        Path(plain).write_bytes(model)
        quant_pre_process(plain, prepared)
        normalised = any(node.op_type == "BatchNormalization" for node in onnx.load(prepared).graph.node)
        quantize_static(
            prepared, quantised, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "Gemm"] if normalised else None,
            calibrate_method=CalibrationMethod.Percentile, extra_options={"CalibPercentile": 99.999},
        )  # fmt: skip
        return Path(quantised).read_bytes()
