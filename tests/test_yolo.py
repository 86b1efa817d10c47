"""YOLO: the grid, the loss and the decoding by hand, and Darknet's file."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from convatlas import registry, weights
from convatlas.analysis.verify import verify
from convatlas.architectures.detection import yolo
from convatlas.architectures.detection.yolo import Grid, cells, mark, responsible, yolo_detections, yolo_losses
from convatlas.errors import UsageError
from convatlas.records import Objects
from convatlas.weights.layouts.rows import darknet_steps
from foreign import darknet_file

NETWORKS = ("yolov1", "yolov1_fast_tiny_2015cfg")
SIZE = (140, 70)  # cells of 20 x 10 pixels


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def objects(boxes: list[list[float]], labels: list[int], difficult: list[int] | None = None) -> Objects:
    hard = torch.tensor(difficult or [0] * len(labels)).bool()
    return Objects(torch.tensor(boxes).reshape(-1, 4), torch.tensor(labels).long(), hard)


def on_meta(name: str, num_classes: int | None = None) -> nn.Module:
    with torch.device("meta"):
        return registry.build(name, num_classes=num_classes)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_row_of_the_ledger_fails(name: str) -> None:
    assert [row for row in verify(name) if row.verdict != "holds"] == []


@pytest.mark.parametrize("name", NETWORKS)
def test_classes_and_channels(name: str) -> None:
    with torch.device("meta"):
        net, x = registry.build(name, num_classes=3, in_channels=1), torch.empty(2, 1, 448, 448)
    assert net(x).shape == (2, 7, 7, 13)


def test_a_size_of_another_grid_is_refused_with_the_right_ones() -> None:
    with pytest.raises(UsageError, match=r"input is 300 x 300 pixels; YOLO takes 415 to 478 pixels"):
        on_meta("yolov1")(torch.empty(1, 3, 300, 300, device="meta"))


def test_activations_and_dropout() -> None:
    net = on_meta("yolov1")
    assert {layer.negative_slope for layer in net.modules() if isinstance(layer, nn.LeakyReLU)} == {0.1}
    assert sum(isinstance(layer, nn.LeakyReLU) for layer in net.modules()) == 25
    assert list(net._modules)[-6:] == ["flatten", "fc1", "leaky_fc1", "drop", "fc2", "grid"]
    fast = on_meta("yolov1_fast_tiny_2015cfg")
    assert list(fast._modules)[-7:] == ["flatten", "fc1", "fc2", "leaky_fc2", "drop", "fc3", "grid"]


def test_darknets_initialisation() -> None:
    net = registry.build("yolov1_fast_tiny_2015cfg", num_classes=2)
    for name, fan_in, bias in (("conv2", 16 * 9, 0.0), ("fc2", 256, math.sqrt(2 / 256))):
        layer = net.get_submodule(name)
        assert layer.get_parameter("weight").abs().max().item() == pytest.approx(math.sqrt(2 / fan_in), rel=1e-2)
        torch.testing.assert_close(layer.get_parameter("bias"), torch.full_like(layer.get_parameter("bias"), bias))


def test_the_grid_gathers_what_darknet_keeps_apart() -> None:
    x = torch.arange(49 * 13).float()[None]  # 3 classes: 147 of classes, 98 confidences, 392 of boxes
    grid = Grid(3)(x)
    assert grid[0, 0, 1].tolist() == [3, 4, 5, 149, 150, *range(253, 261)]
    assert grid[0, 6, 6].tolist() == [144, 145, 146, 243, 244, *range(629, 637)]


def test_boxes_of_a_cell_by_hand() -> None:
    grid = torch.zeros(1, 7, 7, 11)
    grid[0, 2, 3, 3:7] = torch.tensor([0.5, 0.25, 0.5, 0.1])  # x, y, sqrt(w), sqrt(h) of the first box
    box = cells(grid).boxes()[0, 2, 3, 0]
    x, y = 3.5 / 7, 2.25 / 7
    torch.testing.assert_close(box, torch.tensor([x - 0.125, y - 0.005, x + 0.125, y + 0.005]))


def test_an_object_marks_the_cell_of_its_centre() -> None:
    first = objects(
        [[20, 60, 40, 100], [22, 58, 42, 98], [0, 0, 10, 20], [60, 130, 80, 150]], [4, 5, 6, 7], [0, 0, 1, 0]
    )
    found = mark([objects([], []), first], SIZE)
    # The centres (30, 80) and (32, 78) are in rows 4 and 3; the third object is difficult.
    assert [place.tolist() for place in found.places] == [[1, 1, 1], [4, 3, 6], [3, 3, 6]]
    assert found.labels.tolist() == [4, 5, 7]
    torch.testing.assert_close(found.boxes[0], torch.tensor([2 / 7, 3 / 7, 4 / 7, 5 / 7]))


def test_the_first_of_two_objects_in_a_cell_counts() -> None:
    found = mark([objects([[20, 62, 40, 102], [22, 61, 42, 101]], [4, 5])], SIZE)
    assert (found.labels.tolist(), len(found.boxes)) == ([4], 1)


def test_the_responsible_box_overlaps_most_or_else_is_nearest() -> None:
    marked = torch.tensor([[0.0, 0, 0.2, 0.2]]).repeat(3, 1)
    far, near, inside = [0.5, 0.5, 0.9, 0.9], [0.3, 0, 0.5, 0.2], [0.1, 0.1, 0.2, 0.2]
    predicted = torch.tensor([[far, inside], [inside, near], [far, near]])
    assert responsible(predicted, marked).tolist() == [1, 0, 1]


def test_loss_by_hand() -> None:
    grid = torch.zeros(2, 7, 7, 12)  # 2 classes
    grid[0, 0, 0] = torch.tensor([0.75, 0.5, 0.3, 0.2, 0, 0, 0.1, 0.1, 0.5, 0.5, 0.4, 0.5])
    grid[0, 5, 5, 2] = 0.4
    target = objects([[0, 0, 17.5, 22.4]], [1])  # of 70 x 140 pixels: 0.25 x 0.16, centre 0.125, 0.08
    losses = yolo_losses(grid, [target, objects([], [])], SIZE)
    # The second box is 0.16 x 0.25 around (0.5 / 7, 0.5 / 7).
    left, top, right, bottom = 0.5 / 7 - 0.08, 0.5 / 7 - 0.125, 0.5 / 7 + 0.08, 0.5 / 7 + 0.125
    shared = min(right, 0.25) * min(bottom, 0.16)
    assert left < 0
    assert top < 0
    overlap = shared / (0.16 * 0.25 + 0.25 * 0.16 - shared)
    expected = {
        "centre": 5 * ((0.5 - 0.875) ** 2 + (0.5 - 0.56) ** 2),
        "size": 5 * ((0.4 - 0.5) ** 2 + (0.5 - 0.4) ** 2),
        "object": (0.2 - overlap) ** 2,
        "no_object": 0.5 * (0.3**2 + 0.4**2),
        "class": 0.75**2 + 0.5**2,
    }
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(
        {k: v / 4 for k, v in expected.items()}
    )


def test_no_objects_at_all() -> None:
    losses = yolo_losses(torch.ones(1, 7, 7, 12), [objects([], [])], SIZE)
    assert sum(loss.item() for loss in losses.values()) == 0.25 * 98


def test_no_gradient_through_the_wanted_confidence() -> None:
    grid = torch.rand(1, 7, 7, 12, requires_grad=True)
    yolo_losses(grid, [objects([[0, 0, 35, 70]], [0])], SIZE)["object"].backward()
    assert grid.grad is not None
    assert grid.grad.flatten().nonzero().numel() == 1


def test_detections_by_hand() -> None:
    grid = torch.zeros(1, 7, 7, 12)
    grid[0, 0, 0] = torch.tensor([0.5, 0.25, 0.8, 0.4, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.45])
    (found,) = yolo_detections(grid, SIZE, score_above=0.15, iou_above=0.5, most=None)
    # Class 0: 0.4 and, suppressed, 0.2; class 1: 0.2, and 0.1 which is not enough.
    assert found.labels.tolist() == [0, 1]
    torch.testing.assert_close(found.scores, torch.tensor([0.4, 0.2]))
    # Centre (5, 10), 17.5 x 35 pixels, clipped at the corner.
    torch.testing.assert_close(found.boxes, torch.tensor([[0.0, 0, 13.75, 27.5]]).repeat(2, 1))


def test_twenty_convolutions_start_the_detector() -> None:
    with torch.device("meta"):
        classifier, net = yolo.pretraining_net(num_classes=5), registry.build("yolov1", num_classes=2)
        assert classifier(torch.empty(1, 3, 224, 224)).shape == (1, 5)
        trained = {name: value for name, value in classifier.state_dict().items() if not name.startswith("fc.")}
        copied = net.start_from(trained)  # type: ignore[operator]
    assert {name.rpartition(".")[0] for name in copied} == {f"conv{place}" for place in range(1, 21)}
    assert set(copied) == {name for name in net.state_dict() if not name.startswith(net.own_layers)}  # type: ignore[arg-type]


def test_the_fast_net_does_not_start_from_it() -> None:
    net = on_meta("yolov1_fast_tiny_2015cfg")
    with torch.device("meta"), pytest.raises(UsageError, match=r"the weights' conv1.weight is \(64, 3, 7, 7\)"):
        net.start_from(yolo.pretraining_net().state_dict())  # type: ignore[operator]


@pytest.mark.slow
def test_darknets_file_of_the_fast_net_comes_back(tmp_path: Path) -> None:
    net = registry.build("yolov1_fast_tiny_2015cfg")
    path = tmp_path / "yolo-tiny.weights"
    path.write_bytes(darknet_file(net, darknet_steps(net)))
    tensors, card = weights.read(path)
    assert card is not None
    assert (card["network"], card["preprocessing"]["size"]) == ("yolov1_fast_tiny_2015cfg", [448, 448])
    assert all(torch.equal(tensors[name], value) for name, value in net.state_dict().items())


def test_a_gradient_reaches_every_parameter_of_the_fast_net() -> None:
    net = registry.build("yolov1_fast_tiny_2015cfg", num_classes=2)
    target = objects([[0, 0, 200, 300]], [1])
    sum(net.losses(torch.randn(1, 3, 448, 448), [target]).values()).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []
