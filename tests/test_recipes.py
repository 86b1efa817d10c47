"""Recipes as values: they survive their file, state where they come from, and follow the papers' schedules."""

from dataclasses import replace

import pytest
import torch

from convatlas import registry
from convatlas.data import AffineDistortion, HorizontalFlip, PadCrop
from convatlas.errors import ConvatlasError, UsageError
from convatlas.records import Preprocessing
from convatlas.training import DataSource, adapted, find, variants
from convatlas.training import recipe as recipes
from convatlas.training.prepare import parameter_groups
from convatlas.training.recipe import SGD, length
from convatlas.training.recipes import PUBLISHED
from convatlas.training.schedules import Constant, Cosine, Drops, Inverse, Passes, Plateau, Polynomial, Staircase

GREY = Preprocessing(size=(32, 32), channels=1, resize="fit", resize_to=28, mean=(0.1,), std=(0.5,))


@pytest.mark.parametrize("recipe", PUBLISHED.values(), ids=lambda r: f"{r.network}-{r.variant}")
def test_a_published_recipe_survives_its_file_and_names_source_and_result(recipe, tmp_path):
    path = tmp_path / "recipe.toml"
    full = replace(recipe, preprocessing=GREY, data=DataSource("mnist", root="somewhere"), seed=7)
    path.write_text(recipes.to_toml(full))
    assert recipes.read(path) == full
    assert recipe.source
    assert recipe.expected
    assert registry.card(recipe.network).name == recipe.network


# Nobody published these as networks of their own: they exist to be compared with.
WITHOUT_RECIPE = {"alexnet_ungrouped"}


def test_every_network_has_a_published_and_a_modern_recipe():
    for name in registry.names("classification"):
        assert ("published" in variants(name)) != (name in WITHOUT_RECIPE), name
        assert variants(name)[-1] == "modern"
        assert find(name, "modern", preprocessing=GREY).network == name


def test_the_modern_recipe_mirrors_photographs_but_not_digits():
    digits = find("lenet5", "modern", preprocessing=GREY)
    small = find("cifar_resnet20", "modern", preprocessing=Preprocessing(size=(32, 32)))
    assert digits.augment == ()
    assert small.augment == (PadCrop(4), HorizontalFlip())


def test_an_alias_finds_the_recipe_of_its_network():
    found = find("resnet50_v1_5", "published", preprocessing=Preprocessing(size=(224, 224)))
    assert found.network == "resnet50_stride3x3"


def test_an_unknown_variant_names_the_known_ones():
    with pytest.raises(UsageError, match="published, published-distortions, modern"):
        find("lenet5", "ancient", preprocessing=GREY)


def test_lenet5_learns_by_the_papers_constants():
    recipe = find("lenet5", "published", preprocessing=GREY)
    assert recipe.epochs == 20
    assert (recipe.optimizer.mu, recipe.optimizer.patterns) == (0.02, 500)
    rates = [recipe.schedule.rate(0.0, epoch, 20) for epoch in range(20)]
    assert rates == [5e-4] * 2 + [2e-4] * 3 + [1e-4] * 3 + [5e-5] * 4 + [1e-5] * 8
    assert find("lenet5", "published-distortions", preprocessing=GREY).augment == (AffineDistortion(originals=0.1),)


def test_small_sets_get_more_passes_and_a_note():
    recipe = find("lenet5", "published", preprocessing=GREY)
    small = adapted(recipe, 1438)
    assert small.epochs == recipe.small_data_epochs
    assert "1,438 samples" in small.notes[-1]
    assert adapted(recipe, 60_000) is recipe


def test_schedules_by_hand():
    assert Constant().rate(0.1, 5, 10) == 0.1
    assert [Passes((3.0, 2.0, 1.0)).rate(0, step, 6) for step in range(6)] == [3, 3, 2, 2, 1, 1]
    drops = Drops(at=(0.5, 0.75), warm_up=0.1)
    assert [drops.rate(1.0, step, 100) for step in (0, 9, 10, 49, 50, 74, 75, 99)] == pytest.approx(
        [0.1, 0.1, 1, 1, 0.1, 0.1, 0.01, 0.01]
    )
    assert Inverse(1e-4, 0.75, 10_000).rate(0.01, 5_000, 10_000) == pytest.approx(0.01 * 1.5**-0.75)
    cosine = Cosine(warm_up=0.1)
    assert cosine.rate(1.0, 4, 100) == pytest.approx(0.5)
    assert cosine.rate(1.0, 54, 100) == pytest.approx(0.5)
    assert cosine.rate(1.0, 99, 100) == pytest.approx(0.0)


def test_the_linear_and_the_polynomial_schedule_by_hand():
    assert [Polynomial().rate(0.04, step, 4) for step in range(4)] == pytest.approx([0.04, 0.03, 0.02, 0.01])
    assert Polynomial(power=2).rate(1.0, 3, 4) == 0.0625


def test_four_percent_every_eight_passes_by_hand():
    published = Staircase(factor=0.96, every=8, passes=24)
    rates = [published.rate(1.0, step, 24) for step in range(24)]
    assert rates == pytest.approx([1.0] * 8 + [0.96] * 8 + [0.96**2] * 8)
    assert published.rate(1.0, 1, 3) == pytest.approx(0.96)  # in a run of three steps each is a stair


def test_a_plateau_by_hand():
    plateau = Plateau(patience=2, drops=2)
    history = [0.9, 0.8, 0.8, 0.85, 0.7, 0.7, 0.71, 0.7, 0.7, 0.7, 0.7]  # stands still at the 4th, 7th, 9th, 11th
    rates = [plateau.rate(1.0, 0, 1, history[:passes]) for passes in range(len(history) + 1)]
    assert rates == pytest.approx([1.0] * 4 + [0.1] * 3 + [0.01] * 5)


def test_a_plateau_is_where_torch_sees_it():
    draw = torch.Generator().manual_seed(0)
    errors = torch.rand(60, generator=draw).tolist()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=3, threshold=0, min_lr=0, eps=0)
    ours = Plateau(patience=4, drops=100)  # theirs is the number of passes that are still borne
    for passes in range(1, 61):
        theirs.step(errors[passes - 1])
        assert ours.rate(1.0, 0, 1, errors[:passes]) == pytest.approx(optimizer.param_groups[0]["lr"])


def test_resnet20_follows_64k_steps_of_the_paper():
    recipe = find("cifar_resnet20", "published", preprocessing=Preprocessing(size=(32, 32)))
    assert recipe.optimizer == SGD(lr=0.1, momentum=0.9, weight_decay=1e-4)
    for steps_an_epoch in (1, 24, 352, 391):  # however many images are loaded
        epochs, steps = length(recipe, steps_an_epoch)
        assert steps == 64_000
        assert (epochs - 1) * steps_an_epoch < 64_000 <= epochs * steps_an_epoch
    rates = [recipe.schedule.rate(0.1, step, 64_000) for step in (0, 31_999, 32_000, 47_999, 48_000, 63_999)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    deep = find("cifar_resnet110").schedule
    assert [deep.rate(0.1, step, 64_000) for step in (399, 400)] == pytest.approx([0.01, 0.1])
    assert length(replace(recipe, epochs=3), 10) == (3, 30)  # whoever sets epochs gets them


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("format = 99\n", "recipe format 99"),
        ("format = 1\nnetwork = 'lenet5'\n", "not a recipe"),
        ("= nonsense", "not a recipe"),
        ("format = 1\n[optimizer]\nkind = 'Magic'\n", "not a recipe"),
    ],
)
def test_a_file_that_is_no_recipe_says_so(tmp_path, text, problem):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(ConvatlasError, match=problem):
        recipes.read(path)


def test_an_absent_recipe_says_so(tmp_path):
    with pytest.raises(ConvatlasError, match="no recipe to read"):
        recipes.read(tmp_path / "recipe.toml")


@pytest.mark.parametrize("recipe", [recipe for recipe in PUBLISHED.values() if recipe.groups], ids=lambda r: r.network)
def test_every_group_of_a_recipe_fits_its_network(recipe):
    with torch.device("meta"):
        net = registry.build(recipe.network)
    found, learning = parameter_groups(net, recipe.groups), [group for group in recipe.groups if not group.frozen]
    assert len(found) == len(learning) + 1
    assert {group["lr_scale"] for group in found} == {group.lr_scale for group in learning} | {1.0}
