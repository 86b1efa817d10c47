"""What training does in detectors, segmenters and pose networks, beside formulae written after the releases."""

import math
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas import registry
from convatlas.architectures.detection.fast_rcnn import Trunk
from convatlas.architectures.detection.faster_rcnn import FasterRCNN
from convatlas.architectures.detection.spp import SPPDetector
from convatlas.architectures.detection.yolo import Grid, yolo_losses
from convatlas.blocks.mean_field import MeanField
from convatlas.blocks.region_search import RegionSearch
from convatlas.data.pose.transform import ChannelGain, RandomTurnAndScale
from convatlas.data.preprocess import normalise
from convatlas.errors import UsageError
from convatlas.evaluation.pose import summarise
from convatlas.records import Objects, Preprocessing
from convatlas.training import stages
from convatlas.training.effective import EffectiveRecipe, effective_recipe
from convatlas.training.effective.verify import verify_recipes
from convatlas.training.own_losses import LossesOf, OwnLosses
from convatlas.training.prepare import make_optimizer
from convatlas.training.recipe import Recipe
from convatlas.training.recipes import PUBLISHED, find


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
    flat = torch.tensor(output, requires_grad=True)
    torch.stack(list(yolo_losses(Grid(classes)(flat), targets, (448, 448)).values())).sum().backward()
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


def effect_of(network: str, variant: str = "published") -> EffectiveRecipe:
    return effective_recipe(registry.card(network), find(network, variant))


def reaching(effect: EffectiveRecipe, name: str) -> tuple[float, float]:
    """(learning rate, decay) of one parameter."""
    group = next(group for group in effect.groups if name in group.names)
    return group.learning_rate, group.weight_decay


FEW = ("rcnn_alexnet_voc_finetune", "faster_rcnn_zf", "ssd300", "segnet_basic", "crf_rnn_fcn8s_voc", "yolov1")


@pytest.mark.parametrize("networks", [FEW, pytest.param((), marks=pytest.mark.slow)], ids=["few", "all"])
def test_every_row_of_these_tasks_holds_or_is_explained(networks: tuple[str, ...]) -> None:
    dense = [recipe for recipe in PUBLISHED.values() if registry.card(recipe.network).task != "classification"]
    rows = verify_recipes([recipe for recipe in dense if recipe.network in networks or not networks])
    assert [(row.network, row.quantity, row.of) for row in rows if row.verdict in ("fails", "uncovered")] == []
    assert all(row.reason for row in rows if row.verdict == "differs")
    assert sum(row.verdict == "holds" for row in rows) > (100 if networks else 600)


def test_what_the_solvers_of_the_region_networks_say() -> None:
    rcnn = effect_of("rcnn_alexnet_voc_finetune")
    assert [change.step for change in rcnn.changes] == [0, 20_000, 40_000, 60_000]
    assert (rcnn.steps, reaching(rcnn, "fc8.weight"), reaching(rcnn, "fc8.bias")) == (70_000, (0.01, 5e-4), (0.02, 0))
    faster = effect_of("faster_rcnn_vgg16")
    assert (faster.batch, faster.parts, faster.steps) == (2, 2, 70_000)
    assert reaching(faster, "fc6.bias") == (0.002, 5e-4)
    assert reaching(effect_of("fast_rcnn_vgg16"), "fc6.bias") == (0.002, 0)
    spp = effect_of("sppnet_zf5", "published-svms").optimizer_settings
    assert (spp["box_iou"], spp["ridge"]) == (0.5, 4000)


def test_segnet_basic_sees_raw_values_that_its_normalisation_changes() -> None:
    for variant in ("published", "release"):
        effect = effect_of("segnet_basic", variant)
        assert (effect.input.white, effect.input.channel_order) == ((255.0,) * 3, "bgr")
        assert (effect.groups[1].learning_rate, effect.steps) == (pytest.approx(0.1), 10_000)
    recipe = find("segnet_basic", "release").preprocessing
    assert recipe is not None
    image = torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    values = normalise(image, recipe)
    torch.testing.assert_close(values, image.flip(1).float())
    norm = registry.build("segnet_basic").get_submodule("norm")
    assert (norm(values) / values.clamp(min=1)).amin() < 0.6


def test_the_matrices_of_crf_rnn_move() -> None:
    effect = effect_of("crf_rnn_fcn8s_voc")
    rates = [reaching(effect, f"crf.{name}")[0] for name in ("bilateral_weights", "spatial_weights", "compatibility")]
    assert rates == pytest.approx([1e-9, 1e-9, 1e-10])

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.crf = nn.Conv2d(3, 4, 1), MeanField(4, iterations=2)

        def forward(self, x: Tensor) -> Tensor:
            return self.crf(self.conv(x), x)

    torch.manual_seed(0)
    net = Small()
    images, masks = torch.randn(1, 3, 60, 60) * 60, torch.randint(4, (1, 60, 60))
    optimizer = make_optimizer(find("crf_rnn_fcn8s_voc"), net)
    assert optimizer is not None
    for group in optimizer.param_groups:
        group["lr"] = 1e-13 * group["lr_scale"]
    before = {name: value.detach().double() for name, value in net.named_parameters()}
    F.cross_entropy(net(images), masks, reduction="sum").backward()
    optimizer.step()
    moved = {name: (value.detach().double() - before[name]).abs().max() for name, value in net.named_parameters()}
    assert all(moved[f"crf.{name}"] > 0 for name in ("bilateral_weights", "spatial_weights"))


def test_fcn_and_its_kin_see_blue_first() -> None:
    networks = ("fcn8s_vgg16_voc", "deeplab_largefov_voc", "crf_rnn_fcn8s_voc", "ssd300", "deconvnet_voc")
    assert {effect_of(name).input.channel_order for name in networks} == {"bgr"}


def test_decouplednet_learns_what_it_looks_at() -> None:
    torch.manual_seed(0)
    effect = effect_of("decouplednet_voc")
    assert (effect.batch, effect.parts, effect.steps) == (64, 16, 17_500)
    with torch.device("meta"):
        net = registry.build("decouplednet_voc", num_classes=3)
    shown: list[Tensor] = []

    class Evidence(NamedTuple):
        scores: Tensor

        def probabilities(self) -> Tensor:
            return torch.tensor([[0.25, 0.75]])

    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cls_score_voc = nn.Conv2d(1, 1, 1)

        def forward(self, _: Tensor) -> Evidence:
            return Evidence(torch.zeros(1, 2, 1, 1))

    def segment(_: object, labels: Tensor) -> Tensor:
        shown.append(labels)
        return torch.zeros(1, 2, 4, 4, requires_grad=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(net, "classification", Branch())
        patch.setattr(net, "segment", segment)
        net.losses(torch.zeros(1, 3, 4, 4), torch.full((1, 4, 4), 2))  # pyright: ignore[reportCallIssue]
    assert shown[0].tolist() == [[0, 0.75]]


def test_the_hourglass_draws_as_pose_lua() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = [RandomTurnAndScale().draw(generator) for _ in range(3000)]
    turned = np.array([degrees for degrees, _ in draws if degrees])
    growth = np.log2([factor for _, factor in draws])
    assert len(turned) / len(draws) == pytest.approx(0.4, abs=0.03)
    assert (np.abs(turned).max(), np.abs(growth).max()) == pytest.approx((60, 0.5))
    # A normal deviate that is cut off at twice its deviation has 0.9594 of it.
    assert (turned.std(), growth.std()) == pytest.approx((30 * 0.9594, 0.25 * 0.9594), rel=0.05)
    grey = torch.full((3, 1, 1), 100, dtype=torch.uint8)
    gains = torch.stack([ChannelGain()(grey, generator).flatten() for _ in range(300)]).float()
    assert (gains.min(), gains.max()) == (pytest.approx(60, abs=2), pytest.approx(140, abs=2))
    assert gains.std(1).min() > 0
    assert effect_of("stacked_hourglass_1").input.white == (1.0,) * 3


def test_both_means_of_pckh() -> None:
    distances = torch.tensor([[0.1, 0.1, 0.9], [0.1, float("nan"), 0.1]])
    scores = summarise(distances, 0.0, ("pelvis", "thorax", "head top"), 1.0).scores()
    assert scores == {"pck": pytest.approx(4 / 5), "pck_without_trunk": 0.5}
    assert summarise(distances, 0.0, ("nose", "left eye", "right eye"), 1.0).scores().keys() == {"pck"}


def test_sppnet_learns_at_any_scale_and_tests_at_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        net = registry.build("sppnet_zf5", num_classes=2)
    assert isinstance(net, SPPDetector)
    sizes: set[int] = set()
    features = torch.zeros(1, 256, 6, 6)
    monkeypatch.setattr(net, "features", lambda image: (sizes.add(min(image.shape[2:])), features)[1])
    image, boxes = torch.zeros(3, 60, 60), torch.tensor([[0.0, 0, 50, 50]]).repeat(64, 1)
    net.pyramids(image, boxes)
    assert sizes == {480} or len(sizes) == 1
    net.pyramids(image, boxes, random_scale=True)
    assert sizes == {480, 576, 688, 864, 1200}


def test_selective_search_gets_the_decoded_image() -> None:
    shown = Preprocessing((4, 5), mean=(0.48, 0.45, 0.4), std=(1 / 255,) * 3, channel_order="bgr")
    image = torch.randint(0, 256, (1, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    net, seen = RegionSearch(), list[Tensor]()
    net.shown = shown
    net.regions(normalise(image, shown), None, search=lambda image: (seen.append(image), torch.zeros(0, 4))[1])
    torch.testing.assert_close(seen[0], image[0].float(), rtol=0, atol=0)


def small_detector() -> FasterRCNN:
    encoder = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(3, 8, 4, stride=4), relu1=nn.ReLU(), conv2=nn.Conv2d(8, 16, 4, stride=4)
    )
    head = OrderedDict[str, nn.Module](fc6=nn.Linear(16 * 9, 12), relu6=nn.ReLU())
    return FasterRCNN(Trunk(encoder, head, bins=3), num_classes=2, width=(16, 8), scales=(2, 3, 4))


def test_the_four_steps_of_faster_rcnn() -> None:
    """Which layers learn in each step, by which losses, in the order of train_faster_rcnn_alt_opt.py."""
    torch.manual_seed(0)
    images = torch.randn(2, 3, 96, 128)
    mark = Objects(torch.tensor([[16.0, 16, 80, 80]]), torch.tensor([1]), torch.zeros(1).bool())
    wanted = {
        "alternating-rpn-1": {"conv1", "conv2", "rpn_conv", "rpn_cls_score", "rpn_bbox_pred"},
        "alternating-fast-1": {"conv1", "conv2", "fc6", "cls_score", "bbox_pred"},
        "alternating-rpn-2": {"rpn_conv", "rpn_cls_score", "rpn_bbox_pred"},
        "published-alternating": {"fc6", "cls_score", "bbox_pred"},
    }
    recipe: Recipe | None = find("faster_rcnn_zf", "published-alternating")
    order = []
    while recipe is not None:
        order.append(recipe.variant)
        net = small_detector()
        optimizer = make_optimizer(recipe, net)
        assert optimizer is not None
        assert isinstance(recipe.loss, OwnLosses)
        before = {name: value.clone() for name, value in net.named_parameters()}
        LossesOf(net, recipe.loss)(images, [mark, mark]).backward()
        optimizer.step()
        moved = {name.split(".")[0] for name, value in net.named_parameters() if not torch.equal(value, before[name])}
        assert moved == wanted[recipe.variant]
        recipe = stages.stage_before(recipe) if recipe.after else None
    assert order == list(wanted)[::-1]


def test_the_stage_before_is_trained_first_and_once(tmp_path: Path) -> None:
    calls, notes = [], []

    def fit(recipe: Recipe, folder: Path, **_: bool) -> None:
        calls.append((recipe.variant, folder.name, recipe.epochs))
        (folder / "checkpoints" / "last").mkdir(parents=True)
        (folder / "summary.json").write_text("{}")

    short = replace(find("faster_rcnn_zf", "published-alternating"), epochs=2)
    recipe = stages.train_before(short, tmp_path / "run", fit, notes.append, overwrite=False)  # pyright: ignore
    assert calls == [("alternating-rpn-2", "run-alternating-rpn-2", 2)]
    assert recipe.fine_tune is not None
    assert recipe.fine_tune.anew == ("cls_score", "bbox_pred")
    assert stages.goes_on(recipe, tmp_path / "run")
    assert not stages.goes_on(short, tmp_path / "run")
    stages.train_before(short, tmp_path / "run", fit, notes.append, overwrite=False)  # pyright: ignore
    assert len(calls) == 1
    fast = stages.stage_before(stages.stage_before(short))
    out = tmp_path / "run-alternating-fast-1"
    recipe = stages.train_before(fast, out, fit, notes.append, overwrite=False)  # pyright: ignore
    assert calls[1][1] == "run-alternating-rpn-1"
    assert isinstance(recipe.loss, OwnLosses)
    assert (recipe.fine_tune, "run-alternating-rpn-1" in recipe.loss.proposals) == (None, True)
    assert "which is trained first" in notes[0]


class WithLosses(nn.Module):
    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {}


def test_a_part_of_the_losses_needs_a_proposal_network() -> None:
    with pytest.raises(UsageError, match=r"loss\.part is regions; WithLosses has no proposal network: expected all"):
        LossesOf(WithLosses(), OwnLosses(part="regions"))
