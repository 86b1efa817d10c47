"""Sizes and batches at which a network can't train are refused before the first step, for any network."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from convatlas import registry, sizes, training
from convatlas.errors import UsageError
from convatlas.training import trainable
from convatlas.training.recipes import of_large_images


def recipe_of(name: str, size: int, **more) -> training.Recipe:
    usual = replace(of_large_images(registry.card(name)), size=(size, size))
    variant = training.variants(name)[0]
    return replace(training.find(name, variant, preprocessing=usual), preprocessing=usual, **more)


def check(recipe: training.Recipe, samples: int | None = None, processes: int = 1) -> None:
    assert recipe.preprocessing is not None
    trainable.check(recipe, recipe.preprocessing, samples, processes)


@pytest.mark.parametrize(
    ("samples", "processes", "accumulate", "sentence"),
    [
        (17, 1, 1, "batch_size is 8, which leaves 1 of 17 images for the last one"),
        (16, 8, 1, "can't train on 1 at 64 x 64 pixels"),
        (16, 1, 8, "can't train on 1 at 64 x 64 pixels"),
        (1, 1, 1, "expected at least 2 images"),
    ],
)
def test_a_last_batch_or_share_of_one_is_refused(samples, processes, accumulate, sentence):
    recipe = recipe_of("stacked_hourglass_1", 64, batch_size=8, accumulate=accumulate)
    with pytest.raises(UsageError, match=sentence):
        check(recipe, samples, processes)


def test_the_batch_size_that_is_named_trains():
    recipe = recipe_of("stacked_hourglass_1", 64, batch_size=8)
    with pytest.raises(UsageError, match="such as 9"):
        check(recipe, 17)
    check(replace(recipe, batch_size=9), 17)


def test_what_trains_passes():
    check(recipe_of("stacked_hourglass_1", 64, batch_size=8), 18)
    check(recipe_of("stacked_hourglass_1", 128, batch_size=8), 17)  # 2 x 2 values a map are enough of one image
    check(recipe_of("caffe_lenet", 28, batch_size=1), 1)  # no batch normalisation


def test_a_size_that_the_network_cant_train_on_is_refused():
    with pytest.raises(UsageError, match="size has the height 16; googlenet trains on at least 31 pixels"):
        check(recipe_of("googlenet", 16, batch_size=8))


def test_auxiliary_heads_with_batch_normalisation_ask_for_two_images():
    with pytest.raises(UsageError, match="can't train on 1 at 299 x 299 pixels"):
        check(recipe_of("inception_v3", 299, batch_size=8), 17)


@pytest.mark.parametrize(
    ("name", "side"), [("cifar_resnet20", 4), ("stacked_hourglass_1", 64), ("squeezenet_v1_1", 64)]
)
def test_a_trial_on_meta_agrees_with_a_step(name, side):
    """What is refused without values fails with them, and what is not trains."""
    channels = registry.card(name).input_shape[0]
    net: nn.Module = registry.build(name).train()
    for count in (1, 2):
        x = torch.zeros(count, channels, side, side)
        try:
            net(x)
            trains = True
        except (ValueError, UsageError):
            trains = False
        assert sizes.runs(sizes.bare_copy(net), tuple(x.shape)) is trains
