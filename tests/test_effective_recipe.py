"""The effective recipe, its ledger and the two commands."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from convatlas import registry
from convatlas.cli import main
from convatlas.data import DataSet
from convatlas.errors import UsageError
from convatlas.facts import LedgerError
from convatlas.facts.recipes import parse_recipes, recipe_ledger
from convatlas.records import Preprocessing
from convatlas.training import load_data
from convatlas.training.effective import EffectiveRecipe, effective_recipe
from convatlas.training.effective.updates import decay_of
from convatlas.training.effective.verify import agrees, compare, number
from convatlas.training.optimizers import KrizhevskySGD
from convatlas.training.recipe import SGD, Adam, AdamW, DataSource, Recipe
from convatlas.training.recipes import PUBLISHED, find
from convatlas.training.schedules import Cosine, Drops

ENTRY = """
[[recipes]]
network = "lenet5"
variant = "published"
follows = "paper"
rows = [{row}]
"""


def effect_of(name: str, **changes: object) -> EffectiveRecipe:
    recipe = replace(find(name), **changes)  # pyright: ignore[reportArgumentType]
    return effective_recipe(registry.card(name), recipe)


def verdicts(row: str, recipe: Recipe | None = None) -> list[str]:
    (entry,) = parse_recipes("test", ENTRY.replace("{row}", row))
    return [row.verdict for row in compare(entry, effective_recipe(registry.card("lenet5"), recipe or find("lenet5")))]


def test_caffenet_is_what_its_files_say() -> None:
    effect = effect_of("caffenet")
    groups = {group.kind: group for group in effect.groups}
    assert (groups["weights"].learning_rate, groups["biases"].learning_rate) == (0.01, 0.02)
    assert groups["weights"].decay_a_step[0] == pytest.approx(5e-6)
    assert set(groups["biases"].decay_a_step) == {0.0}
    assert len(groups["weights"].decay_a_step) == len(effect.changes) == 5
    assert [change.rate for change in effect.changes] == pytest.approx([1e-2, 1e-3, 1e-4, 1e-5, 1e-6])


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (SGD(0.1, momentum=0.9, weight_decay=0.01), 1e-3),
        (SGD(0.1, momentum=0.9, weight_decay=0.01, nesterov=True), 1e-3),
        (SGD(0.1, momentum=0.9, weight_decay=0.01, form="krizhevsky"), 1e-3),
        (AdamW(0.1, weight_decay=0.01), 1e-3),
        (Adam(0.1, weight_decay=0.01), 1e-3),
    ],
)
def test_decay_a_step(optimizer: SGD | AdamW | Adam, expected: float) -> None:
    effect = effect_of("caffe_lenet", optimizer=optimizer, groups=(), schedule=Drops(at=(0.5,)))
    assert effect.groups[0].decay_a_step == pytest.approx((expected, expected / 10))


def test_the_decay_is_that_of_the_rule_not_of_the_field() -> None:
    class Doubled(KrizhevskySGD):
        @torch.no_grad()
        def step(self, closure: None = None) -> None:
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter -= 2 * group["lr"] * group["weight_decay"] * parameter

    optimizer = Doubled([nn.Parameter(torch.ones(3))], lr=0.1, momentum=0.9, weight_decay=0.5)
    assert decay_of(optimizer, optimizer.param_groups[0], 0.1) == pytest.approx(0.1)
    assert optimizer.param_groups[0]["params"][0].tolist() == [1, 1, 1]


def test_drops_stand_at_their_exact_steps() -> None:
    effect = effect_of("caffe_lenet", schedule=Drops(at=(0.33, 0.5, 0.501)), epochs=10)
    assert effect.steps == 10 * 938
    schedule, steps = Drops(at=(0.33, 0.5, 0.501)), effect.steps
    rates = [schedule.rate(0.01, step, steps) for step in range(steps)]
    assert [c.step for c in effect.changes[1:]] == [i for i in range(1, steps) if rates[i] != rates[i - 1]]
    assert effect_of("caffe_lenet", schedule=Cosine()).continuous


def test_the_input_is_what_the_network_gets() -> None:
    caffe = Preprocessing((32, 32), mean=(0.4, 0.5, 0.6), std=(1 / 255,) * 3, channel_order="bgr")
    shown = effect_of("cifar_resnet20", preprocessing=caffe, augment=()).input
    assert shown.channel_order == "bgr"
    assert shown.black == pytest.approx((-153, -127.5, -102))
    assert shown.white == pytest.approx((102, 127.5, 153))
    assert effect_of("lenet5").input.black == pytest.approx((-0.1,))
    assert effect_of("lenet5").input.channel_order == "grey"


def test_initialisation_is_that_of_the_constructor() -> None:
    words = {entry.name: str(entry) for entry in effect_of("alexnet").initialisation}
    assert words["conv1.weight"] == "normal 0.01"
    assert (words["conv1.bias"], words["conv2.bias"]) == ("constant 0", "constant 1")
    net = registry.build("inception_v3")
    drawn = {entry.name: entry for entry in effect_of("inception_v3").initialisation}
    for name, parameter in net.named_parameters():
        entry = drawn[name]
        assert entry.std is not None
        assert float(parameter.detach().std(correction=0)) == pytest.approx(entry.std, rel=0.25, abs=1e-6), name


def test_every_published_recipe_of_a_classifier_with_digits_has_an_effect() -> None:
    for (name, _), recipe in PUBLISHED.items():
        if registry.card(name).paper in ("lecun1998", "lecun1989", "ciresan2010", "fukushima1980_neocognitron"):
            effect = effective_recipe(registry.card(name), recipe, samples=1000)
            assert effect.samples == 1000
            assert json.loads(json.dumps(effect.to_json()))["network"] == name


def test_data_give_samples_and_classes() -> None:
    data: DataSet = load_data(DataSource("digits"), "lenet5")
    effect = effective_recipe(registry.card("lenet5"), find("lenet5"), data=data)
    assert effect.samples == len(data.train)
    with pytest.raises(UsageError, match="samples is 0"):
        effective_recipe(registry.card("lenet5"), find("lenet5"), samples=0)


def test_verdicts() -> None:
    read = 'paper_place = "p", paper_confidence = "stated"'
    assert verdicts(f'{{quantity = "batch", paper = "10", {read}}}') == ["holds"]
    assert verdicts('{quantity = "batch", paper = "10", paper_place = "p"}') == ["recalled"]
    assert verdicts(f'{{quantity = "batch", paper = "11", {read}}}') == ["fails"]
    assert verdicts(f'{{quantity = "batch", paper = "11", {read}, departs = "why"}}') == ["differs"]
    assert verdicts(f'{{quantity = "batch", paper = "a few", {read}}}') == ["not comparable"]
    assert verdicts(f'{{quantity = "hardware", paper = "SPARC", {read}}}') == ["not comparable"]
    other = f'{{quantity = "batch", paper = "11", {read}, release = "10", release_place = "r", follows = "release"}}'
    assert verdicts(other) == ["recalled"]
    assert verdicts(f'{{quantity = "batch", paper = "10", {read}}}', replace(find("lenet5"), batch_size=9)) == ["fails"]


def test_printed_values_are_read() -> None:
    assert [number(text) for text in ("1,281,167", "1/4", "5e-6", "50%", "few")] == [1281167, 0.25, 5e-6, 0.5, None]
    assert agrees("32000 48000", (32000, 48000), "numbers")
    assert not agrees("32000 48000", (32000,), "numbers")
    assert agrees("normal 0.01", "normal 0.01", "words")
    assert not agrees("normal 0.01", "uniform 0.01", "words")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{quantity = "colour", paper = "1", paper_place = "p"}', "quantity is 'colour'"),
        ('{quantity = "batch", paper = "1"}', "paper_place is missing"),
        ('{quantity = "batch"}', "neither the paper nor the release"),
        (
            '{quantity = "batch", paper = "1", paper_place = "p", paper_confidence = "sure"}',
            "paper_confidence is 'sure'",
        ),
        ('{quantity = "batch", papier = "1"}', "unknown field 'papier'"),
        ("", "at least one row"),
    ],
)
def test_a_slip_in_the_ledger_is_named(row: str, message: str) -> None:
    with pytest.raises(LedgerError, match=message):
        parse_recipes("test", ENTRY.replace("{row}", row))


def test_the_ledger_holds_entries_of_recipes_that_exist() -> None:
    assert set(recipe_ledger()) <= set(PUBLISHED)


def test_networks_share_rows_defaults_fill_them_and_releases_are_named_once() -> None:
    text = """
[sources]
caffe = "BVLC/caffe@9b89154"

[[recipes]]
networks = ["lenet5", "caffe_lenet"]
variant = "published"
follows = "release"
defaults = {release_place = "caffe:a/solver.prototxt", release_confidence = "verified"}
rows = [{quantity = "batch", release = "64"}]

[[recipes]]
network = "lenet5"
variant = "published"
follows = "release"
rows = [{quantity = "momentum", paper = "0.9", paper_place = "section 1"}]
"""
    first, second = parse_recipes("test", text)
    assert [(entry.network, len(entry.rows)) for entry in (first, second)] == [("lenet5", 2), ("caffe_lenet", 1)]
    row = second.rows[0]
    assert (row.release_place, row.release_confidence) == ("BVLC/caffe@9b89154 a/solver.prototxt", "verified")
    with pytest.raises(LedgerError, match="an entry before says 'release'"):
        parse_recipes("test", text.replace('follows = "release"\nrows', 'follows = "paper"\nrows'))


def test_nin_decays_as_cuda_convnet_does() -> None:
    """wc x epsW of a weight a step, whatever the coeff of the loss; nothing of the biases."""
    effect = effect_of("nin_cifar10")
    taken = {name: group.decay_a_step[0] for group in effect.groups for name in group.names}
    assert taken["conv1.weight"] == pytest.approx(1e-5)
    assert taken["cccp6.weight"] == pytest.approx(1e-6)
    assert taken["conv1.bias"] == taken["cccp6.bias"] == 0


def test_cifar_resnets_take_64k_steps_whatever_is_loaded() -> None:
    for samples in (3_000, 45_000, 50_000):
        effect = effective_recipe(registry.card("cifar_resnet110"), find("cifar_resnet110"), samples=samples)
        assert effect.steps == 64_000
        assert [change.step for change in effect.changes] == [0, 400, 32_000, 48_000]


def test_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "lenet5", "--json", "--samples", "1000"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 2000
    assert main(["recipe", "lenet5", "--format", "markdown"]) == 0
    assert capsys.readouterr().out.startswith("## lenet5: recipe published\n\n| what | training does |")
    assert main(["recipe", "lenet5", "--recipe", "none"]) == 2
    assert main(["recipe", "lenet5", "--data", "digits", "--samples", "3"]) == 2
    capsys.readouterr()
    assert main(["verify", "--recipes", "alexnet", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["summary"]["fails"] == 0
    assert {row["verdict"] for row in document["rows"]} <= {"holds", "recalled", "differs", "not comparable"}
