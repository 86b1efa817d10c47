"""Losses of maps by hand, what a batch and its parts have in common, and class weights from masks."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.data import Batch
from convatlas.data.segmentation.weight_map import weight_map
from convatlas.errors import UsageError
from convatlas.records import VOID
from convatlas.training import Recipe
from convatlas.training.dense_losses import BorderCrossEntropy, HeatmapSquaredError, PixelCrossEntropy
from convatlas.training.dense_weights import mask_class_weights
from convatlas.training.distributed import Processes
from convatlas.training.losses import per_sample
from convatlas.training.mistakes import wrong_joints, wrong_pixels
from convatlas.training.recipe import SGD
from convatlas.training.step import Learner
from masks import read_masks_folder, write_parts

LN = math.log


def two_pixels(masks: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Images of two pixels: probabilities 3/4 and 1/4 at the first, 1/2 and 1/2 at the second."""
    logits = torch.tensor([[[[LN(3), 0.0]], [[0.0, 0.0]]]]).expand(len(masks), -1, -1, -1)
    return logits, torch.tensor(masks)[:, None]


def test_cross_entropy_of_pixels_by_hand():
    logits, masks = two_pixels([[0, 1], [1, VOID]])
    first, second = (-LN(0.75) - LN(0.5)) / 2, -LN(0.25)  # void is no pixel
    assert PixelCrossEntropy()(logits, masks).item() == pytest.approx((first + second) / 2)
    summed = -LN(0.75) - LN(0.5) - LN(0.25)
    assert PixelCrossEntropy(normalise=False)(logits, masks).item() == pytest.approx(summed)
    assert per_sample(PixelCrossEntropy(normalise=False))(logits, masks).item() == pytest.approx(summed / 2)
    assert (PixelCrossEntropy().reduction, PixelCrossEntropy(normalise=False).reduction) == ("mean", "sum")


def test_class_weights_multiply_and_do_not_divide():
    logits, masks = two_pixels([[0, 1]])
    weights = torch.tensor([10.0, 3.0])
    assert PixelCrossEntropy()(logits, masks, weights).item() == pytest.approx((-10 * LN(0.75) - 3 * LN(0.5)) / 2)
    found = PixelCrossEntropy(normalise=False)(logits, masks, class_weights=weights)
    assert found.item() == pytest.approx(-10 * LN(0.75) - 3 * LN(0.5))


def test_a_image_of_void_costs_nothing_and_moves_nothing():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    for loss in (PixelCrossEntropy(), PixelCrossEntropy(normalise=False)):
        value = loss(logits, torch.full((1, 2, 2), VOID))
        (gradient,) = torch.autograd.grad(value, logits)
        assert (value.item(), gradient.abs().sum().item()) == (0, 0)


@pytest.mark.parametrize("loss", [PixelCrossEntropy(), PixelCrossEntropy(normalise=False), BorderCrossEntropy()])
def test_a_smaller_output_is_the_middle_s(loss):
    masks, logits = torch.randint(0, 2, (2, 9, 12)), torch.randn(2, 2, 5, 6)
    assert torch.equal(loss(logits, masks), loss(logits, masks[:, 2:7, 3:9]))


def test_border_cross_entropy_against_its_formula():
    masks = torch.zeros(2, 8, 9, dtype=torch.long)
    masks[0, 1:6, 1:4], masks[0, 1:6, 5:8], masks[0, 7, 0] = 1, 1, VOID
    masks[1, 3:, 2:6] = 1
    logits = torch.randn(2, 2, 8, 9)
    loss = BorderCrossEntropy(w0=7.0, sigma_px=3.0)
    weights = torch.stack([weight_map(mask, w0=7.0, sigma_px=3.0) for mask in masks])
    probability = logits.softmax(1).gather(1, masks.clamp_max(1)[:, None])[:, 0]
    expected = sum(float((-w * p.log()).sum() / 72) for w, p in zip(weights, probability, strict=True)) / 2
    assert loss(logits, masks).item() == pytest.approx(expected, rel=1e-5)
    gap, inside = weights[0, 3, 4], weights[0, 3, 2]
    zeros, ones = int((masks[0] == 0).sum()), int((masks[0] == 1).sum())
    assert weights[0, 7, 0] == 0
    assert inside.item() == pytest.approx((zeros + ones) / (2 * ones))
    assert gap.item() == pytest.approx((zeros + ones) / (2 * zeros) + 7 * math.exp(-(2**2) / 18))  # d1 = d2 = 1


def test_squared_error_of_maps_by_hand():
    maps, truth = torch.tensor([1.0, 3.0, 5.0, 7.0]).view(1, 2, 1, 2), torch.tensor([0.0, 1.0, 0.0, 0.0])
    truth = truth.view(1, 2, 1, 2).clone()
    assert HeatmapSquaredError()(maps, truth).item() == (1 + 4 + 25 + 49) / 4
    truth[0, 1] = math.nan
    maps.requires_grad_()
    value = HeatmapSquaredError()(maps, truth)
    assert value.item() == (1 + 4) / 4
    (gradient,) = torch.autograd.grad(value, maps)
    assert gradient.flatten().tolist() == [0.5, 1, 0, 0]


def test_wrong_pixels_and_joints_by_hand():
    logits, masks = two_pixels([[0, 0], [1, VOID], [VOID, VOID]])
    logits = logits + torch.tensor([0.0, 0.1])[:, None, None]  # the second pixel leans to class 1
    assert wrong_pixels(logits, masks).item() == 0.5 + 1
    maps, truth = torch.zeros(2, 3, 20, 20), torch.zeros(2, 3, 20, 20)
    truth[0, 0, 5, 5] = truth[0, 1, 5, 5] = truth[1, 0, 5, 5] = 1
    maps[0, 0, 5, 7] = maps[0, 1, 5, 8] = maps[1, 0, 5, 5] = maps[1, 1, 0, 9] = 1
    assert wrong_joints(maps, truth).item() == 0.5  # two pixels are a tenth of the map, three are more


# --- the parts of a batch ---


class Pixels(nn.Module):
    """Three classes from each pixel alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Tanh(), nn.Conv2d(4, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


RECIPE = Recipe("fcn8s_squeezenet", "test", "a test", 1, 6, SGD(0.1), loss=PixelCrossEntropy())


def step(recipe: Recipe, batch: Batch, weights: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
    """The parameters after one step, and the sums that it gives."""
    net, wrong = Pixels(), wrong_joints if isinstance(recipe.loss, HeatmapSquaredError) else wrong_pixels
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    learner = Learner(
        recipe, net, optimizer, Processes(torch.device("cpu")), steps=1, wrong=wrong, class_weights=weights
    )
    learner.begin_pass(0)
    sums, _ = learner.learn(batch, 0, 0.1)
    return [p.detach() for p in net.parameters()], sums


def batch_of(loss) -> Batch:
    torch.manual_seed(1)
    masks: Tensor = torch.randint(0, 2, (6, 6, 5))
    masks[0, :3], masks[1] = VOID, VOID  # the images have different numbers of pixels that count
    if isinstance(loss, HeatmapSquaredError):
        masks = torch.rand(6, 3, 6, 5)
    return Batch(torch.randn(6, 3, 6, 5), masks, torch.arange(6), 6)


@pytest.mark.parametrize(
    ("loss", "weights"),
    [
        (PixelCrossEntropy(), None),
        (PixelCrossEntropy(), torch.tensor([1.0, 5.0, 0.2])),
        (PixelCrossEntropy(normalise=False), None),
        (BorderCrossEntropy(w0=3.0), None),
        (HeatmapSquaredError(), None),
    ],
)
@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_a_batch_move_as_the_whole(loss, weights, parts):
    batch, recipe = batch_of(loss), replace(RECIPE, loss=loss)
    whole, sums = step(recipe, batch, weights)
    some, others = step(replace(recipe, accumulate=parts), batch, weights)
    for a, b in zip(whole, some, strict=True):
        assert torch.allclose(a, b, atol=2e-6)
    assert torch.allclose(sums, others, rtol=1e-4)


# --- class weights ---


@pytest.fixture
def split(tmp_path):
    return read_masks_folder(write_parts(tmp_path, 3, 1))[0]


def test_class_weights_are_counted_over_the_training_masks(split):
    counts = torch.bincount(torch.cat([split.read_pair(i)[1].flatten() for i in range(3)]).long(), minlength=3)
    share = counts / counts.sum()
    found = mask_class_weights(replace(RECIPE, class_weights="inverse_log"), split, 3)
    assert torch.allclose(found, 1 / torch.log(1.02 + share))
    found = mask_class_weights(replace(RECIPE, class_weights="inverse_frequency"), split, 3)
    assert torch.allclose(found * share, torch.full((3,), 1 / 3))  # so that the mean pixel weighs 1
    assert torch.allclose(mask_class_weights(replace(RECIPE, class_weights=(1.0, 2.0, 3.0)), split, 3),
                          torch.tensor([1.0, 2.0, 3.0]))  # fmt: skip
    assert mask_class_weights(RECIPE, split, 3) is None


def test_a_mask_that_cannot_be_read_is_not_counted(split):
    before = mask_class_weights(replace(RECIPE, class_weights="median_frequency"), split.select([0, 2]), 3)
    with open(split.masks[1], "wb") as stream:
        stream.write(b"no image")
    assert torch.equal(mask_class_weights(replace(RECIPE, class_weights="median_frequency"), split, 3), before)


def test_weights_that_do_not_fit_are_refused(split):
    with pytest.raises(UsageError, match="class_weights has 2 entries; expected 3, one a class"):
        mask_class_weights(replace(RECIPE, class_weights=(1.0, 2.0)), split, 3)
    with pytest.raises(UsageError, match="need the loss PixelCrossEntropy; the recipe has BorderCrossEntropy"):
        mask_class_weights(replace(RECIPE, loss=BorderCrossEntropy(), class_weights="inverse_log"), split, 3)


def test_the_loss_of_a_batch_is_what_torch_computes():
    batch = batch_of(PixelCrossEntropy())
    logits = Pixels()(batch.images)
    kept = [i for i in range(6) if i != 1]
    each = [F.cross_entropy(logits[i : i + 1], batch.labels[i : i + 1], ignore_index=VOID) for i in kept]
    assert PixelCrossEntropy()(logits, batch.labels).item() == pytest.approx(sum(each).item() / 6)
