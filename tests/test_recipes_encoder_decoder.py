"""The recipes of the encoder-decoder networks: the papers' constants, and torch's RMSprop for the hourglass."""

import pytest
import torch
from torch import nn

from convatlas import registry
from convatlas.records import Preprocessing
from convatlas.training import find, variants
from convatlas.training.prepare import make_optimizer

GREY, COLOUR = Preprocessing(size=(572, 572), channels=1), Preprocessing(size=(360, 480))
NAMES = [
    "unet", "unet_phseg_v5_release", "segnet_camvid", "segnet_basic", "fcn_basic_camvid", "enet_cityscapes_512",
    "enet_640x360", "enet_relu_decoder_512", "deconvnet_voc", "decouplednet_voc", "stacked_hourglass_1",
    "stacked_hourglass_2", "stacked_hourglass_8",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_each_has_a_published_recipe_for_its_task(name: str) -> None:
    assert "published" in variants(name)
    recipe = find(name, "published", preprocessing=COLOUR)
    expected = {"decouplednet_voc": "OwnLosses", "pose": "HeatmapSquaredError", "segmentation": "CrossEntropy"}
    assert type(recipe.loss).__name__.endswith(expected.get(name) or expected[registry.card(name).task])


def test_u_net_s_constants() -> None:
    recipe = find("unet", "published", preprocessing=GREY)
    assert (recipe.batch_size, recipe.optimizer.momentum) == (1, 0.99)  # pyright: ignore
    assert (recipe.loss.w0, recipe.loss.sigma_px) == (10, 5)  # pyright: ignore
    assert [(step.grid, step.sigma_px) for step in recipe.augment if hasattr(step, "grid")] == [(3, 10.0)]  # pyright: ignore


def test_passes_are_the_solvers_steps() -> None:
    release = find("segnet_camvid", "release", preprocessing=COLOUR)
    assert (release.stated_steps, release.batch_size) == (40_000, 4)
    stage1, stage2 = (find("deconvnet_voc", v, preprocessing=COLOUR) for v in ("published-stage1", "published"))
    rates = [stage1.schedule.rate(0.01, step, 20_000) for step in (8_999, 9_000, 17_999, 18_000)]
    assert rates == pytest.approx([1e-2, 1e-3, 1e-3, 1e-4])
    rates = [stage2.schedule.rate(0.01, step, 40_000) for step in (9_999, 10_000, 20_000, 30_000)]
    assert rates == pytest.approx([1e-2, 1e-3, 1e-4, 1e-5])


def test_classes_weigh_by_their_rarity() -> None:
    weights = {name: find(name, "published", preprocessing=COLOUR).class_weights for name in ("segnet_basic", "enet")}
    assert weights == {"segnet_basic": "median_frequency", "enet": "inverse_log"}


def test_rmsprop_in_torch_s_form_by_hand() -> None:
    net, recipe = nn.Linear(1, 1, bias=False), find("stacked_hourglass_1", "published", preprocessing=COLOUR)
    nn.init.ones_(net.weight)
    optimizer = make_optimizer(recipe, net)
    assert optimizer is not None
    net.weight.grad = torch.tensor([[3.0]])
    optimizer.step()  # s = 0.01 * 9 from 0, so that the first step is lr * 3 / 0.3
    assert net.weight.item() == pytest.approx(1 - 2.5e-4 * 3 / 0.3)
