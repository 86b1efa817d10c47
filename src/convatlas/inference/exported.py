"""An exported ONNX file as a network: it carries its card, so that a prediction needs nothing else."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convatlas import registry, weights
from convatlas.inference.engines.backends import Run, outputs_in_onnx_runtime, require, run_in_onnx_runtime
from convatlas.structures import ConvatlasError, Detections, Preprocessing
from convatlas.weights.cards import check_card

KEY = "convatlas"  # of the metadata


class ExportedNet(nn.Module):
    """A model that ONNX Runtime computes.  (B, C, H, W) -> (B, K) logits, or (B, K, h, w) of a segmenter"""

    def __init__(self, model: bytes, *, quantised: bool) -> None:
        super().__init__()
        self.onnx_model = model
        self.quantised = quantised
        self._run: Run | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self._run is None:
            self._run = run_in_onnx_runtime(self.onnx_model)
        return self._run(x)


class ExportedDetector(nn.Module):
    """A detector that ONNX Runtime computes, suppression and its thresholds included."""

    def __init__(self, model: bytes) -> None:
        super().__init__()
        self.onnx_model, self.quantised = model, False
        self._run: Callable[[Tensor], tuple[Tensor, ...]] | None = None

    def detect(self, images: Tensor) -> list[Detections]:
        """(B, C, H, W) -> B; the file takes one picture at a time."""
        if self._run is None:
            self._run = outputs_in_onnx_runtime(self.onnx_model)
        return [Detections(*self._run(image[None])) for image in images]


def read_exported(path: Path) -> tuple[ExportedNet | ExportedDetector, dict[str, Any], Preprocessing]:
    """The network of a file that `convatlas export` wrote, its card, and how it wants its pictures.

    A file that normalises by itself takes values of 0 to 255.

    Raises:
        ConvatlasError: ONNX is not installed, or the file is damaged or carries no card.
    """
    require("onnx")
    require("onnxruntime")
    import onnx

    content = path.read_bytes()
    try:
        model = onnx.load_model_from_string(content)
        entries = {entry.key: entry.value for entry in model.metadata_props}
        card = json.loads(entries[KEY])
    except KeyError as error:
        raise ConvatlasError(f"{path} carries no card; expected what `convatlas export` wrote") from error
    except Exception as error:  # protobuf's own DecodeError, or damaged JSON
        raise ConvatlasError(f"{path} is no ONNX file, or damaged") from error
    preprocessing = weights.preprocessing_of(check_card(card, path))
    if preprocessing is None:
        raise ConvatlasError(f"the card of {path} has no preprocessing")
    if card.get("input") == "uint8":
        preprocessing = replace(preprocessing, mean=(0.0,), std=(1 / 255,), channel_order="rgb")
    if registry.card(card["network"]).task == "detection":
        return ExportedDetector(content).eval(), card, preprocessing
    return ExportedNet(content, quantised=bool(card.get("int8"))).eval(), card, preprocessing


class WithNormalisation(nn.Module):
    """A network behind its normalisation and channel order.  uint8 (B, C, H, W), RGB -> (B, K) logits"""

    factor: Tensor  # float32 (1, C, 1, 1)
    offset: Tensor

    def __init__(self, net: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.net = net
        self.reversed = preprocessing.channel_order == "bgr"
        mean = torch.tensor(preprocessing.mean, dtype=torch.float64).view(1, -1, 1, 1)
        std = torch.tensor(preprocessing.std, dtype=torch.float64).view(1, -1, 1, 1)
        self.register_buffer("factor", (1 / (255 * std)).float())
        self.register_buffer("offset", (-mean / std).float())

    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels.to(torch.float32) * self.factor + self.offset
        return self.net(x.flip(1) if self.reversed else x)
