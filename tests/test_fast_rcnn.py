"""Fast R-CNN: what its layers are, what it learns from, what it finds, and its fully connected layers cut down."""

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from convatlas import registry
from convatlas.architectures.detection.fast_rcnn import FastRCNN, RegionOutputs, Trunk
from convatlas.data import DataSet
from convatlas.data.detection.annotations import Annotated
from convatlas.data.detection.split import DetectionSplit
from convatlas.errors import UsageError
from convatlas.ops.low_rank import compress_fully_connected
from convatlas.records import Objects, Preprocessing
from convatlas.training import find
from convatlas.training.distributed import Processes
from convatlas.training.setup import set_up

BOXES = torch.tensor([[16.0, 16, 80, 80], [64, 32, 128, 96], [0, 0, 48, 48], [20, 18, 90, 76]])


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def small(num_classes: int = 3) -> FastRCNN:
    """Two convolutions and two fully connected layers, with proposals that do not depend on the image."""
    encoder = OrderedDict(conv1=nn.Conv2d(3, 8, 4, stride=4), relu1=nn.ReLU(), conv2=nn.Conv2d(8, 16, 4, stride=4))
    head = OrderedDict(fc6=nn.Linear(16 * 9, 32), relu6=nn.ReLU(), fc7=nn.Linear(32, 24), relu7=nn.ReLU())
    trunk = Trunk(encoder, head, bins=3)
    return FastRCNN(trunk, num_classes=num_classes, frozen=("conv1",), propose=BOXES.to)


def truth() -> Objects:
    return Objects(BOXES[:1].clone(), torch.tensor([2]), torch.tensor([False]))


def test_training_says_that_it_searches(tmp_path: Path) -> None:
    Image.new("RGB", (120, 100)).save(tmp_path / "a.png")
    split = DetectionSplit(
        [Annotated(str(tmp_path / "a.png"), (100, 120), BOXES, torch.zeros(4).long(), BOXES[:, 0] < 0)]
    )
    for name, expected in (("fast_rcnn_caffenet", 1), ("faster_rcnn_squeezenet", 0)):
        recipe = find(name, "published", preprocessing=Preprocessing((100, 120)))
        notes: list[str] = []
        parts = DataSet("one", split, split, ("thing",), "made here")
        set_up(recipe, parts, Processes(torch.device("cpu")), on_note=notes.append)
        assert len([note for note in notes if "selective search" in note]) == expected


@pytest.mark.parametrize("name", ["fast_rcnn_vgg16", "fast_rcnn_caffenet"])
def test_shapes_of_the_published(name: str) -> None:
    with torch.device("meta"):
        net = registry.build(name, num_classes=4)
        outputs = net(torch.empty(2, 3, 480, 640))
    assert isinstance(outputs, RegionOutputs)
    assert outputs.scores.shape == (2, 5)
    assert outputs.codes.shape == (2, 20)


@pytest.mark.parametrize(
    ("name", "frozen"),
    [("fast_rcnn_vgg16", ["conv1_1", "conv1_2", "conv2_1", "conv2_2"]), ("fast_rcnn_caffenet", ["conv1"])],
)
def test_the_first_layers_are_frozen(name: str, frozen: list[str]) -> None:
    with torch.device("meta"):
        net = registry.build(name)
    still = [key for key, parameter in net.named_parameters() if not parameter.requires_grad]
    assert still == [f"{layer}.{kind}" for layer in frozen for kind in ("weight", "bias")]


def test_the_heads_begin_as_printed() -> None:
    net = small(num_classes=400)
    assert net.cls_score.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert net.bbox_pred.weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert net.cls_score.bias.count_nonzero() == net.bbox_pred.bias.count_nonzero() == 0


def test_a_gradient_reaches_all_that_is_not_frozen() -> None:
    net = small()
    sum(net.losses(torch.randn(2, 3, 96, 128), [truth(), truth()]).values()).backward()  # pyright: ignore
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == ["conv1.weight", "conv1.bias"]


def test_a_image_is_learnt_by_heart() -> None:
    net, images, targets = small(), torch.randn(2, 3, 96, 128), [truth(), truth()]
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=3e-3)
    for _ in range(80):
        optimizer.zero_grad()
        sum(net.losses(images, targets).values()).backward()  # pyright: ignore
        optimizer.step()
    for found in net.eval().detect(images):
        assert found.labels[0] == 2
        assert found.scores[0] > 0.9
        torch.testing.assert_close(found.boxes[0], BOXES[0], atol=4, rtol=0)


def test_all_scores_are_kept_when_they_are_asked_for() -> None:
    (found,) = small().detect(torch.randn(1, 3, 96, 128), score_above=0.0, iou_above=1.0)
    assert len(found.boxes) == 3 * len(BOXES)
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert found.boxes.min() >= 0
    assert found.boxes[:, 2].max() <= 128
    assert found.boxes[:, 3].max() <= 96


def test_proposals_that_are_given_are_used() -> None:
    net, images = small(), torch.randn(1, 3, 96, 128)
    (found,) = net.detect(images, [BOXES[:1]], score_above=0.0)
    assert len(found.boxes) == 3
    (nothing,) = net.detect(images, [torch.zeros(0, 4)])
    assert len(nothing.boxes) == 0
    with pytest.raises(UsageError, match="proposals are of 2 images; expected 1"):
        net.detect(images, [BOXES, BOXES])


def test_a_full_rank_changes_nothing_and_a_lower_one_is_the_best() -> None:
    net, images = small().eval(), torch.randn(1, 3, 96, 128)
    before, weight = net(images), net.get_submodule("fc6").get_parameter("weight").detach().clone()
    compress_fully_connected(net, fc6=32)
    torch.testing.assert_close(net(images), before, atol=1e-5, rtol=1e-4)
    net = small()
    net.get_submodule("fc6").get_parameter("weight").data.copy_(weight)
    compress_fully_connected(net, fc6=5)
    first, second = (net.get_submodule(f"fc6.{part}").get_parameter("weight") for part in ("svd", "full"))
    u, s, v = torch.linalg.svd(weight, full_matrices=False)
    torch.testing.assert_close(second @ first, u[:, :5] * s[:5] @ v[:5], atol=1e-5, rtol=1e-4)


def test_the_papers_ranks_save_what_it_says() -> None:
    with torch.device("meta"):
        net = registry.build("fast_rcnn_vgg16")
        compress_fully_connected(net, fc6=1024, fc7=256)
    sizes = {name: sum(p.numel() for p in net.get_submodule(name).parameters()) for name in ("fc6", "fc7")}
    assert sizes == {"fc6": 1024 * (25088 + 4096) + 4096, "fc7": 256 * 8192 + 4096}


def test_what_cannot_be_compressed_is_said() -> None:
    with pytest.raises(UsageError, match="conv1 is Conv2d; expected a fully connected layer"):
        compress_fully_connected(small(), conv1=3)
    with pytest.raises(UsageError, match="fc6 is 33; expected a rank of 1 to 32"):
        compress_fully_connected(small(), fc6=33)
