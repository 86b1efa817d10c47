"""What training does in detectors, segmenters and pose networks, beside formulae written after the releases."""

import math

import numpy as np
import pytest
import torch

from convatlas import registry
from convatlas.architectures.detection.yolo import yolo_losses
from convatlas.records import Objects
from convatlas.training.effective import effective_recipe
from convatlas.training.recipes import find


def darknet_delta(output: np.ndarray, truths: dict[int, tuple[int, tuple[float, ...]]], classes: int) -> np.ndarray:
    """`forward_detection_layer` of src/detection_layer.c for one image: what it adds to the gradient, minus sign.

    `truths` holds for a location the class and x, y (in the cell), w and h (of the image).
    """
    side, num = 7, 2
    locations, delta = side * side, np.zeros_like(output)

    def box(values: np.ndarray) -> tuple[float, ...]:
        return values[0] / side, values[1] / side, values[2] ** 2, values[3] ** 2

    def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
        across, down = (
            min(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2) - max(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2)
            for i in (0, 1)
        )
        shared = max(across, 0) * max(down, 0)
        return shared / (a[2] * a[3] + b[2] * b[3] - shared)

    for i in range(locations):
        confidences = locations * classes + i * num + np.arange(num)
        delta[confidences] = 0.5 * (0 - output[confidences])
        if i not in truths:
            continue
        label, (x, y, w, h) = truths[i]
        wanted = np.eye(classes)[label]
        delta[i * classes : (i + 1) * classes] = wanted - output[i * classes : (i + 1) * classes]
        truth = (x / side, y / side, w, h)
        places = [locations * (classes + num) + (i * num + j) * 4 for j in range(num)]
        overlaps = [iou(box(output[place : place + 4]), truth) for place in places]
        best = int(np.argmax(overlaps))
        assert overlaps[best] > 0
        delta[confidences[best]] = overlaps[best] - output[confidences[best]]
        target = np.array([x, y, math.sqrt(w), math.sqrt(h)])
        delta[places[best] : places[best] + 4] = 5 * (target - output[places[best] : places[best] + 4])
    return delta


def test_yolos_gradient_is_darknets() -> None:
    rng, classes = np.random.default_rng(0), 3
    output = rng.random((2, 49 * (classes + 10)))
    boxes = [[(10, 20, 200, 260, 2), (300, 300, 440, 420, 0)], [(150, 60, 330, 400, 1)]]
    deltas, targets = [], []
    for row, marked in zip(output, boxes, strict=True):
        truths = {}
        for left, top, right, bottom, label in marked:
            x, y = (left + right) / 2 / 448 * 7, (top + bottom) / 2 / 448 * 7
            size = ((right - left) / 448, (bottom - top) / 448)
            truths[int(y) * 7 + int(x)] = (label, (x % 1, y % 1, *size))
        deltas.append(darknet_delta(row, truths, classes))
        values = torch.tensor([b[:4] for b in marked], dtype=torch.float64)
        labels = torch.tensor([b[4] for b in marked])
        targets.append(Objects(values, labels, torch.zeros(len(marked), dtype=torch.bool)))
    net = registry.build("yolov1_fast_tiny_2015cfg", num_classes=classes)
    flat = torch.tensor(output, requires_grad=True)
    torch.stack(list(yolo_losses(net.get_submodule("grid")(flat), targets, (448, 448)).values())).sum().backward()
    assert flat.grad is not None
    np.testing.assert_allclose(-flat.grad.numpy(), np.stack(deltas) / 2, atol=1e-12)  # the mean over two images


@pytest.mark.parametrize("variant", ["published", "release"])
@pytest.mark.parametrize("network", ["yolov1", "yolov1_fast_tiny_2015cfg"])
def test_yolo_learns_as_darknet(network: str, variant: str) -> None:
    effect = effective_recipe(registry.card(network), find(network, variant))
    assert effect.input.channel_order == "rgb"
    assert (effect.input.black, effect.input.white) == ((-1.0,) * 3, (1.0,) * 3)
    groups = {group.kind: group for group in effect.groups}
    assert max(groups["weights"].decay_a_step) == pytest.approx(0.01 * 0.0005)
    assert set(groups["biases"].decay_a_step) == {0.0}
    assert effect.augmentation[0].name == "ShuffleObjects"


def test_darknets_steps() -> None:
    effect = effective_recipe(registry.card("yolov1"), find("yolov1", "release"))
    assert effect.steps == 40_000
    assert [change.step for change in effect.changes] == [0, 200, 400, 600, 20_000, 30_000]
    assert [change.rate for change in effect.changes] == pytest.approx([0.001, 0.0025, 0.005, 0.01, 0.001, 0.0001])
