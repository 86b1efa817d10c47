"""An exported ONNX file as a network: it carries its card, so that a prediction needs nothing else."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from convatlas import registry, weights
from convatlas.data import normalise
from convatlas.errors import ConvatlasError
from convatlas.inference.engines.backends import Run, outputs_in_onnx_runtime, require, run_in_onnx_runtime
from convatlas.records import Detections, Preprocessing
from convatlas.weights.cards import check_card

KEY = "convatlas"  # of the metadata


class ExportedNet(nn.Module):
    """A model that ONNX Runtime computes.  (B, C, H, W) -> (B, K) logits, or (B, K, h, w) of a segmenter"""

    def __init__(self, model: bytes, *, quantised: bool, margin_px: int = 0) -> None:
        super().__init__()
        self.onnx_model = model
        self.quantised = quantised
        self.margin_px = margin_px  # on each side, where a segmenter gives no class
        self._run: Run | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self._run is None:
            self._run = run_in_onnx_runtime(self.onnx_model)
        return self._in_tiles(self._run, x) if self.margin_px else self._run(x)

    def _in_tiles(self, run: Run, x: Tensor) -> Tensor:
        """The class of every pixel, borders included, by tiles of the mirrored image."""
        margin, (height, width) = self.margin_px, x.shape[2:]
        inner = (height - 2 * margin, width - 2 * margin)
        mirrored = functional.pad(x, (margin, margin, margin, margin), mode="reflect")
        tops, lefts = (
            [*range(0, side - part, part), side - part] for side, part in zip((height, width), inner, strict=True)
        )
        whole: Tensor | None = None
        for top in tops:
            for left in lefts:
                part = run(mirrored[:, :, top : top + height, left : left + width].contiguous())
                whole = part.new_empty(*part.shape[:2], height, width) if whole is None else whole
                whole[:, :, top : top + inner[0], left : left + inner[1]] = part
        assert whole is not None  # there is one tile at least
        return whole


class ExportedDetector(nn.Module):
    """A detector that ONNX Runtime computes, suppression and its thresholds included."""

    def __init__(self, model: bytes) -> None:
        super().__init__()
        self.onnx_model, self.quantised = model, False
        self._run: Callable[[Tensor], tuple[Tensor, ...]] | None = None

    def detect(self, images: Tensor) -> list[Detections]:
        """(B, C, H, W) -> B; the file takes one image at a time."""
        if self._run is None:
            self._run = outputs_in_onnx_runtime(self.onnx_model)
        return [Detections(*self._run(image[None])) for image in images]


def read_exported(path: Path) -> tuple[ExportedNet | ExportedDetector, dict[str, Any], Preprocessing]:
    """The network of a file that `convatlas export` wrote, its card, and how it wants its images.

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
        plain: dict[str, Any] = {"mean": (0.0,), "std": (1 / 255,), "channel_order": "rgb", "mean_image": None}
        preprocessing = replace(preprocessing, **plain)
    if registry.card(card["network"]).task == "detection":
        return ExportedDetector(content).eval(), card, preprocessing
    margin = card.get("interface", {}).get("output_margin_px", 0)
    return ExportedNet(content, quantised=bool(card.get("int8")), margin_px=margin).eval(), card, preprocessing


class WithNormalisation(nn.Module):
    """A network behind its normalisation and channel order.  uint8 (B, C, H, W), RGB -> (B, K) logits"""

    factor: Tensor  # float32 (1, C, 1, 1), in the network's order of channels
    offset: Tensor  # the same, or (1, C, H, W) with a mean image

    def __init__(self, net: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.net = net
        self.reversed = preprocessing.channel_order == "bgr"
        black = torch.zeros(1, preprocessing.channels, *preprocessing.size)
        offset = normalise(black, preprocessing)
        std = torch.tensor(preprocessing.std, dtype=torch.float64).expand(preprocessing.channels)
        factor = (1 / (255 * (std.flip(0) if self.reversed else std))).float().view(1, -1, 1, 1)
        self.register_buffer("factor", factor)
        self.register_buffer("offset", offset if preprocessing.mean_image else offset[:, :, :1, :1].clone())

    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels.to(torch.float32)
        x = x.flip(1) if self.reversed else x
        return self.net(x * self.factor + self.offset)
