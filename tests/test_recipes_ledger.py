"""The published recipes against the ledger: settings, printed results, and the way of testing that belongs to them."""

import dataclasses
import re

import pytest

from convatlas import facts, registry
from convatlas.evaluation import OneCrop
from convatlas.evaluation.protocols import describe, with_scales
from convatlas.records import Preprocessing
from convatlas.report.published import same_protocol
from convatlas.training.recipe import OwnRule
from convatlas.training.recipes import PUBLISHED

RECIPES = list(PUBLISHED.values())

# These follow the release that their source names, where the ledger's entry is the paper's.
OF_A_RELEASE = {
    "caffenet", "nin_imagenet", "highway32_cifar10", "googlenet_bn", "resnet50_stride3x3", "resnet101_stride3x3",
    "resnet152_stride3x3", "crf_rnn_fcn8s_voc",
}  # fmt: skip
OF_THIS_PROJECT = {"decouplednet_voc-published-stage1"}  # the ledger's solver is that of the other branch
# Their results are a release's too, and stand in no entry of the ledger.
RESULT_OF_A_RELEASE = {"resnet50_stride3x3", "resnet101_stride3x3", "resnet152_stride3x3", "googlenet_bn"}

NUMBER = r"(\d[\d.]*(?:e-?\d+)?)"
PRINTED = {
    "batch_size": rf"batch {NUMBER}|SGD {NUMBER} on",
    "epochs": rf"epochs (?:roughly )?{NUMBER}|(?<!every ){NUMBER} (?:epochs|passes|total)",
    "lr": rf"\b(?:base_)?lr {NUMBER}|BN-x5 {NUMBER}, BN-x30 {NUMBER}",
    "momentum": rf"(?:momentum|Nesterov) {NUMBER}",
    "weight_decay": rf"(?:wd|weight_decay) {NUMBER}",
}


def name(recipe) -> str:
    return f"{recipe.network}-{recipe.variant}"


def entries(recipe) -> str:
    """What the ledger prints of the training of a network: "batch 128; momentum 0.9; ..."."""
    printed = facts.paper(registry.card(recipe.network).paper).recipe
    wanted = "cifar" if "cifar" in recipe.network else "imagenet"
    chosen = {wanted: printed[wanted]} if wanted in printed else printed
    return "; ".join(f"{key} {value}" for key, value in chosen.items())


def numbers(pattern: str, text: str) -> set[float]:
    return {
        float(number)
        for groups in re.findall(pattern, text)
        for number in ([groups] if isinstance(groups, str) else groups)
        if number
    }


def settings(recipe) -> dict[str, float]:
    own = {"batch_size": recipe.batch_size, "epochs": recipe.epochs}
    return own | {
        field: getattr(recipe.optimizer, field)
        for field in ("lr", "momentum", "weight_decay")
        if hasattr(recipe.optimizer, field)
    }


def test_settings_are_the_ledgers() -> None:
    compared = 0
    for recipe in RECIPES:
        if recipe.network in OF_A_RELEASE or name(recipe) in OF_THIS_PROJECT:
            continue
        text = entries(recipe)
        for field, value in settings(recipe).items():
            if found := numbers(PRINTED[field], text):
                assert any(value == pytest.approx(number) for number in found), (recipe.network, field, value, text)
                compared += 1
    assert compared > 100


@pytest.mark.parametrize("recipe", [r for r in RECIPES if r.network not in RESULT_OF_A_RELEASE], ids=name)
def test_printed_results_are_the_ledgers(recipe) -> None:
    paper = facts.paper(registry.card(recipe.network).paper)
    text = str(
        [
            value
            for field in dataclasses.fields(paper)
            if field.name != "networks" and (value := getattr(paper, field.name))
        ]
    )
    held = {float(number) for number in re.findall(r"(?<![\d.])\d+(?:\.\d+)?(?![\d])", text)}
    held |= {float(digits[1]) for digits in re.finditer(r"(0\.\d+)", text)}
    for result in recipe.results:
        for error in filter(None, (result.top1_error, result.top5_error)):
            printed = float(error)
            as_accuracy = {100 - printed, 1 - printed / 100}
            assert any(
                number == pytest.approx(value, abs=1e-6) for number in held for value in (printed, *as_accuracy)
            ), error


@pytest.mark.parametrize("recipe", RECIPES, ids=name)
def test_a_recipe_tests_as_its_first_result_was_reached(recipe) -> None:
    large = Preprocessing((224, 224), resize="short_side", resize_to=256)
    protocol = (
        recipe.test_time
        if recipe.test_time == OneCrop()
        else with_scales(recipe.test_time, recipe.preprocessing or large)
    )
    several = recipe.results and re.search(r"\d+ networks|coarse stride", recipe.results[0].protocol)
    if recipe.results and not several:
        assert same_protocol(recipe.results[0], describe(protocol))


def test_every_network_that_learns_by_gradient_says_what_it_expects_and_costs() -> None:
    for recipe in RECIPES:
        assert recipe.source
        assert recipe.expected
        if not isinstance(recipe.optimizer, OwnRule):
            assert recipe.cost, recipe.network
