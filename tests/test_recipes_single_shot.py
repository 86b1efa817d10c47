"""The recipes of SSD and YOLO: the papers' steps and rates, and which layers learn."""

import pytest
import torch

from convatlas import registry
from convatlas.records import Preprocessing
from convatlas.training import find
from convatlas.training.own_losses import OwnLosses
from convatlas.training.prepare import make_optimizer

IMAGES = Preprocessing((300, 300))


@pytest.mark.parametrize("name", ["ssd300", "ssd512", "yolov1", "yolov1_fast_tiny_2015cfg"])
def test_each_has_a_published_recipe_for_images_of_its_size(name: str) -> None:
    recipe = find(name, "published", preprocessing=IMAGES)
    assert recipe.loss == OwnLosses()
    assert recipe.preprocessing is not None
    assert recipe.preprocessing.size == registry.card(name).input_shape[1:]


def test_ssd_s_steps_and_rates() -> None:
    recipe = find("ssd300", "published", preprocessing=IMAGES)
    assert recipe.stated_steps == 120_000
    rates = [recipe.schedule.rate(1e-3, step, 120_000) for step in (79_999, 80_000, 99_999, 100_000)]
    assert rates == pytest.approx([1e-3, 1e-4, 1e-4, 1e-5])


def test_yolo_s_rates_are_the_printed_ones() -> None:
    recipe = find("yolov1", "published", preprocessing=IMAGES)
    rates = [recipe.schedule.rate(1, step, recipe.epochs) for step in range(recipe.epochs)]
    assert rates[0] == pytest.approx(1e-3)
    assert [rates.count(rate) for rate in (1e-2, 1e-3, 1e-4)] == [75, 31, 30]
    assert rates[:7] == sorted(rates[:7])


def test_the_small_one_learns_fast_where_it_is_new() -> None:
    recipe = find("ssd300_squeezenet", "bccd", preprocessing=IMAGES)
    with torch.device("meta"):
        net = registry.build("ssd300_squeezenet", num_classes=3)
    optimizer = make_optimizer(recipe, net)
    assert optimizer is not None
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    learns = {names[id(p)]: group.get("lr_scale", 1) for group in optimizer.param_groups for p in group["params"]}
    assert learns["fire5_norm_mbox_loc.weight"] == learns["fire9_norm.scale"] == 1
    assert learns["fire4.squeeze1x1.weight"] == learns["fire9.expand3x3.bias"] == 0.2
    assert not any(name.startswith(("conv1.", "fire2.", "fire3.")) for name in learns)
