"""Exported detectors find what the network finds, suppression done, and the file opens by its card."""

from pathlib import Path

import pytest
import torch
from torch import nn

from convatlas import inference, registry
from convatlas.data import normalise
from convatlas.errors import ConvatlasError, UsageError
from convatlas.inference.exported import ExportedDetector
from convatlas.inference.exporting_detectors import WithSuppression, compare_detections, detector_to_onnx
from convatlas.inference.source import Source
from convatlas.records import Preprocessing

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

CAFFE = (123 / 255, 117 / 255, 104 / 255)


def source(name: str) -> Source:
    """A random network whose detections are many and of different scores."""
    torch.manual_seed(0)
    net = registry.build(name, num_classes=3).eval()
    side = registry.card(name).input_shape[1]
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d) and layer.out_channels % 4 == 0 and name.startswith("ssd"):
            nn.init.normal_(layer.get_parameter("bias"), std=0.3)
        if isinstance(layer, nn.Linear) and layer.out_features == 49 * 13:
            nn.init.normal_(layer.bias, std=0.5)
    preprocessing = Preprocessing((side, side), 3, "stretch", side, CAFFE, (1 / 255,) * 3, "bgr")
    if name.startswith("yolo"):
        preprocessing = Preprocessing((side, side), 3, "stretch", side, (0.0,) * 3, (1.0,) * 3)
    return Source(net, name, ("a", "b", "c"), preprocessing, None)


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("ssd300_squeezenet", False),
        pytest.param("ssd300_squeezenet", True, marks=pytest.mark.slow),
        pytest.param("ssd300", False, marks=pytest.mark.slow),
        pytest.param("ssd512", False, marks=pytest.mark.slow),
        pytest.param("yolov1_fast_tiny_2015cfg", False, marks=pytest.mark.slow),
        pytest.param("yolov1", False, marks=pytest.mark.slow),
    ],
)
def test_a_file_finds_what_the_network_finds(name: str, pixels: bool, tmp_path: Path) -> None:
    given, path = source(name), tmp_path / "net.onnx"
    limits = {"score_above": 0.3 if name.startswith("ssd") else 0.001}
    exported = inference.export(given, path, pixels=pixels, thresholds=limits, licence="CC0-1.0")
    assert exported.difference <= 0.01
    opened = inference.open_source(str(path))
    assert isinstance(opened.net, ExportedDetector)
    assert (opened.name, opened.classes) == (name, ("a", "b", "c"))
    size = given.preprocessing.size
    image = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(7))
    found = opened.net.detect(normalise(image, opened.preprocessing))
    expected = given.net.detect(normalise(image, given.preprocessing), **limits)  # type: ignore[operator]
    assert sum(len(one.labels) for one in expected) > 10
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.labels, other.labels)
        torch.testing.assert_close(one.scores, other.scores, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(one.boxes, other.boxes, rtol=1e-3, atol=0.05)


@pytest.mark.slow
def test_a_image_without_detections_and_another_network() -> None:
    first, second = source("ssd300_squeezenet").net, source("ssd300_squeezenet").net
    model = detector_to_onnx(WithSuppression(first, {"score_above": 0.999}).eval(), (3, 300, 300))
    (found,) = ExportedDetector(model).detect(torch.zeros(1, 3, 300, 300))
    assert (found.boxes.shape, found.labels.dtype, found.scores.shape) == ((0, 4), torch.int64, (0,))
    with pytest.raises(ConvatlasError, match="does not share"):
        compare_detections(model, WithSuppression(second, {}).eval(), torch.rand(1, 3, 300, 300))


def test_what_can_not_be_asked_for(run_folder: Path, tmp_path: Path) -> None:
    given = source("yolov1_fast_tiny_2015cfg")
    with pytest.raises(UsageError, match=r"threshold is 'score'; YOLO.detect has score_above, iou_above, most"):
        inference.export(given, tmp_path / "x.onnx", thresholds={"score": 0.5})
    with pytest.raises(UsageError, match="expected onnx, which knows suppression"):
        inference.export(given, tmp_path / "x.pt2", format="torch-export")
    with pytest.raises(UsageError, match="is no detector"):
        inference.export(inference.open_source(str(run_folder)), tmp_path / "x.onnx", thresholds={"most": 3})
    assert list(tmp_path.iterdir()) == []
