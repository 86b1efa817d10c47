"""Detectors as ONNX models with decoding and suppression inside, so that boxes come out."""

import inspect
import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from convatlas.errors import ConvatlasError, UsageError
from convatlas.inference.engines.backends import outputs_in_onnx_runtime, require
from convatlas.inference.engines.graph import INPUT, OPSET, quietly
from convatlas.records import Detections, Shape

OUTPUTS = ("boxes", "labels", "scores")
_SAME_BOX, _SAME_SCORE = 0.1, 1e-3  # differences, in pixels and of scores
_MOST_DIFFERENT = 0.01  # part of the detections: equal scores may change places by rounding


class WithSuppression(nn.Module):
    """A detector's `detect` as a forward pass, with fixed thresholds.  (1, C, H, W) -> (N, 4), (N,), (N,)

    Raises:
        UsageError: `detect` has no such threshold.
    """

    def __init__(self, net: nn.Module, thresholds: Mapping[str, float]) -> None:
        super().__init__()
        known = inspect.signature(_detect_of(net)).parameters
        for name in thresholds:
            if name not in known or known[name].kind is not inspect.Parameter.KEYWORD_ONLY:
                allowed = [key for key, value in known.items() if value.kind is inspect.Parameter.KEYWORD_ONLY]
                raise UsageError(f"threshold is {name!r}; {type(net).__name__}.detect has {', '.join(allowed)}")
        self.net = net
        self.thresholds = dict(thresholds)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found: Detections = _detect_of(self.net)(x, **self.thresholds)[0]
        return found.boxes, found.labels, found.scores


def _detect_of(net: nn.Module) -> Any:
    return net.detect


def detector_to_onnx(net: nn.Module, input_shape: Shape, *, dtype: torch.dtype = torch.float32) -> bytes:
    """The serialised model of a `WithSuppression`, perhaps behind its normalisation, for one image at a time.

    Raises:
        ConvatlasError: a package is missing, or the exporter can't express the network.
    """
    require("onnx")
    require("onnxscript")
    model: Any = io.BytesIO()  # which the exporter takes, whatever its annotation says
    try:
        with quietly(), torch.no_grad():
            torch.onnx.export(
                net, (torch.zeros(1, *input_shape, dtype=dtype),), model, dynamo=False, opset_version=OPSET,
                input_names=[INPUT], output_names=list(OUTPUTS), dynamic_axes={name: {0: "found"} for name in OUTPUTS},
            )  # fmt: skip
    except Exception as error:  # the exporter raises what the operators in it happen to raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConvatlasError(f"no ONNX model can be made of the detector: {reason}") from error
    return model.getvalue()


def compare_detections(model: bytes, net: nn.Module, images: Tensor) -> float:
    """The part of the detections on the images, (B, C, H, W), that model and network don't share.

    Raises:
        ConvatlasError: it is more than rounding can explain.
    """
    require("onnxruntime")
    run = outputs_in_onnx_runtime(model)
    alone, every = 0, 0
    with torch.inference_mode():
        for image in images:
            found, expected = Detections(*run(image[None])), Detections(*net(image[None]))
            alone += _without_partner(found, expected) + _without_partner(expected, found)
            every += len(found.labels) + len(expected.labels)
    difference = alone / max(every, 1)
    if difference > _MOST_DIFFERENT:
        raise ConvatlasError(f"the exported detector does not share {difference:.1%} of the network's detections")
    return difference


def _without_partner(found: Detections, others: Detections) -> int:
    """How many have none of the same class, box and score among the others."""
    same_class = found.labels[:, None] == others.labels
    same_score = (found.scores[:, None] - others.scores).abs() <= _SAME_SCORE
    same_box = (found.boxes[:, None] - others.boxes).abs().amax(-1) <= _SAME_BOX
    return int((~(same_class & same_score & same_box).any(1)).sum())
