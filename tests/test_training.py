"""The loop: what it leaves behind, what it repeats bit for bit, and how it fails."""

import json
import shutil
from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from convatlas import data, inference, weights
from convatlas.data import ArraySplit, DataSet
from convatlas.errors import ConvatlasError, UsageError
from convatlas.evaluation import TenCrops, evaluate_views
from convatlas.records import AuxiliaryOutputs, Preprocessing
from convatlas.training import find, fit, open_run
from convatlas.training import run as runs
from convatlas.training.prepare import few_threads
from convatlas.training.recipe import SGD, AdamW, OwnRule, Recipe, RMSProp
from convatlas.training.schedules import Plateau
from convatlas.training.setup import joins_statistics
from convatlas.training.step import forward

LENET = Preprocessing(size=(32, 32), channels=1, resize="fit", resize_to=28, mean=(0.0784,), std=(0.7843,))
CIFAR = Preprocessing(size=(32, 32))


@pytest.fixture(scope="module")
def digits() -> DataSet:
    whole = data.load("digits")
    return DataSet("digits", whole.train.select(range(160)), whole.test.select(range(60)), whole.classes, whole.source)


@pytest.fixture(scope="module")
def colours() -> DataSet:
    """Three classes of 32 x 32 noise, each with a colour of its own."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(48) % 3
    images = torch.randint(0, 80, (48, 3, 32, 32), generator=draw, dtype=torch.uint8)
    images[torch.arange(48), labels] += 150
    split = ArraySplit(images, labels)
    return DataSet("colours", split, split.select(range(24)), ("red", "green", "blue"), "made here")


def lenet(**changes):
    return replace(find("lenet5", "published", preprocessing=LENET), epochs=2, preprocessing=LENET, **changes)


def test_a_run_is_a_folder(digits, tmp_path):
    seen = []
    trained = fit(lenet(), digits, tmp_path / "run", device="cpu", on_epoch=seen.append)
    run = open_run(tmp_path / "run")
    assert [row["epoch"] for row in run.rows()] == [1, 2]
    assert run.rows() == seen
    assert run.rows()[-1]["test_error"] == trained.evaluation.top1_error
    assert len(json.loads((run.path / "classes.json").read_text())) == 10
    assert json.loads((run.path / "environment.json").read_text())["torch"] == torch.__version__
    assert list(run.path.glob("events.out.tfevents.*"))
    card = weights.read_card(run.weights("best"))
    assert card is not None
    assert (card["network"], card["num_classes"], card["preprocessing"]["size"]) == ("lenet5", 10, [32, 32])


def test_the_same_seed_gives_the_same_weights_bit_for_bit_and_another_does_not(colours, tmp_path):
    recipe = find("cifar_resnet20", "published", preprocessing=CIFAR)
    recipe = replace(recipe, epochs=1, batch_size=16, preprocessing=CIFAR)
    found = []
    for index, seed in enumerate((3, 3, 4)):
        fit(replace(recipe, seed=seed), colours, tmp_path / str(index), device="cpu")
        found.append(load_file(runs.RunFolder(tmp_path / str(index)).weights("last")))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not torch.equal(found[0]["conv1.weight"], found[2]["conv1.weight"])


def test_dropout_is_a_function_of_the_seed_not_of_what_ran_before(tmp_path, colours):
    recipe = find("squeezenet_v1_1", "modern", preprocessing=CIFAR)
    recipe = replace(recipe, epochs=1, batch_size=8, preprocessing=CIFAR, augment=())
    few = DataSet("few", colours.train.select(range(8)), colours.test.select(range(8)), colours.classes, "made here")
    for index in range(2):
        torch.rand(index * 5)  # the global generator is elsewhere each time
        fit(recipe, few, tmp_path / str(index), device="cpu")
    first, second = (load_file(runs.RunFolder(tmp_path / str(i)).weights("last")) for i in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_learns_what_is_easy(colours, tmp_path):
    recipe = find("cifar_resnet20", "modern", preprocessing=CIFAR)
    recipe = replace(recipe, epochs=6, batch_size=16, preprocessing=CIFAR, optimizer=AdamW(lr=3e-3))
    assert fit(recipe, colours, tmp_path / "run", device="cpu").evaluation.top1_error == 0


def test_the_rate_falls_where_the_test_error_stands_still(digits, tmp_path):
    recipe = lenet(optimizer=RMSProp(lr=1e-12), schedule=Plateau(patience=1))
    trained = fit(replace(recipe, epochs=3), digits, tmp_path / "run", device="cpu")
    assert [row["learning_rate"] for row in trained.run.rows()] == pytest.approx([1e-12, 1e-12, 1e-13], abs=0)


def test_the_finished_network_is_tested_in_the_recipes_way(digits, tmp_path):
    notes = []
    trained = fit(lenet(test_time=TenCrops((36,))), digits, tmp_path / "run", device="cpu", on_note=notes.append)
    assert trained.evaluation.protocol == "10 crops at 36 px"
    assert notes[-1] == "testing by 10 crops at 36 px"
    source = inference.open_source(str(tmp_path / "run"))
    expected = evaluate_views(source.net, digits.test, LENET, TenCrops((36,)), classes=digits.classes)
    assert torch.allclose(trained.evaluation.probabilities, expected.probabilities, atol=1e-5)


def test_a_way_of_testing_that_does_not_suit_the_images_is_refused_before_the_training(digits, tmp_path):
    with pytest.raises(UsageError, match="expected scales="):
        fit(lenet(test_time=TenCrops()), digits, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_best_keeps_the_best_epoch_and_last_the_last(digits, tmp_path):
    kept = {}
    for keep in ("best", "last"):
        trained = fit(lenet(keep=keep), digits, tmp_path / keep, device="cpu")
        errors = [row["test_error"] for row in trained.run.rows()]
        kept[keep] = (trained.evaluation.top1_error, errors)
    assert kept["best"][0] == min(kept["best"][1])
    assert kept["last"][0] == kept["last"][1][-1]


def test_a_loss_that_is_not_finite_ends_the_run_and_leaves_nothing(digits, tmp_path):
    recipe = find("caffe_lenet", "published", preprocessing=LENET)
    size = Preprocessing(size=(28, 28), channels=1, resize="fit", resize_to=28, mean=(0.0,), std=(1.0,))
    recipe = replace(recipe, epochs=1, preprocessing=size, optimizer=SGD(lr=1e20))
    with pytest.raises(ConvatlasError, match="smaller learning rate"):
        fit(recipe, digits, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_full_disk_leaves_the_checkpoint_before(digits, tmp_path, monkeypatch):
    save, calls = weights.save, []

    def fails_in_the_second_epoch(path, *rest):
        calls.append(path)
        if len(calls) > 2:  # the last and the best weights of the first epoch
            raise OSError(28, "No space left on device")
        save(path, *rest)

    monkeypatch.setattr(weights, "save", fails_in_the_second_epoch)
    with pytest.raises(ConvatlasError, match=r"No space left.*last good checkpoint"):
        fit(lenet(), digits, tmp_path / "run", device="cpu")
    assert weights.read_card(tmp_path / "run" / "checkpoints" / "last" / "weights.safetensors") is not None


def test_an_out_folder_that_is_no_run_is_left_alone(digits, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="is not empty"):
            fit(lenet(), digits, tmp_path / "mine", device="cpu", overwrite=overwrite)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_overwrite_replaces_an_earlier_run_only_when_asked(digits, tmp_path):
    fit(lenet(), digits, tmp_path / "run", device="cpu")
    with pytest.raises(UsageError, match="overwrite=True"):
        fit(lenet(), digits, tmp_path / "run", device="cpu")
    fit(replace(lenet(), epochs=1), digits, tmp_path / "run", device="cpu", overwrite=True)
    assert len(open_run(tmp_path / "run").rows()) == 1


def test_an_out_that_cant_be_written_is_a_usage_error(digits, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="can't be written"):
        fit(lenet(), digits, tmp_path / "file" / "run", device="cpu")


def test_a_device_that_is_not_there_is_named(digits, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(UsageError, match="cuda"):
        fit(lenet(), digits, tmp_path / "run", device="cuda")


def test_a_folder_without_recipe_is_no_run(tmp_path):
    with pytest.raises(ConvatlasError, match="no run folder"):
        open_run(tmp_path)


def test_small_steps_run_on_one_thread_and_the_number_comes_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with few_threads(10 * 416_520):
            assert torch.get_num_threads() == 1
        with few_threads(128 * 41_000_000):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_lenet5_on_digits_reaches_the_error_that_the_demo_promises(tmp_path):
    whole = data.load("digits")
    recipe = replace(lenet(), epochs=50)
    trained = fit(recipe, whole, tmp_path / "run", device="cpu")
    assert trained.evaluation.top1_error <= 0.03
    shutil.rmtree(tmp_path / "run")


class TwoHeads(nn.Module):
    def forward(self, x):
        logits = torch.stack((x, -x), dim=1)
        return AuxiliaryOutputs(logits, (2 * logits, 3 * logits)) if self.training else logits


def test_each_auxiliary_head_adds_its_weighted_loss():
    recipe = find("cifar_resnet20", "published", preprocessing=CIFAR)
    x, labels, loss = torch.tensor([0.5]), torch.tensor([1]), recipe.loss
    logits = torch.stack((x, -x), dim=1)
    expected = loss(logits, labels) + 0.3 * (loss(2 * logits, labels) + loss(3 * logits, labels))
    seen, found = forward(TwoHeads(), replace(recipe, auxiliary_weight=0.3), x, labels)
    assert torch.equal(seen, logits)
    assert found.item() == pytest.approx(expected.item())


def test_a_network_without_a_rule_of_its_own_cant_learn_by_it(digits, tmp_path):
    with pytest.raises(UsageError, match="rule of its own"):
        fit(lenet(optimizer=OwnRule()), digits, tmp_path / "run", device="cpu")


def test_a_network_without_gradient_refuses_a_recipe_that_needs_one(digits, tmp_path):
    recipe = find("neocognitron", "modern", preprocessing=LENET)
    with pytest.raises(UsageError, match="needs gradients"):
        fit(recipe, digits, tmp_path / "run", device="cpu")


@pytest.mark.parametrize(
    ("setting", "processes", "joined"),
    [("auto", 1, False), (True, 1, False), ("auto", 2, False), ("auto", 4, True), (False, 4, False), (True, 2, True)],
)
def test_processes_join_their_statistics_where_each_has_few_samples(setting: Any, processes: int, joined: bool) -> None:
    recipe = Recipe("cifar_resnet20", "test", "a test", 1, 64, SGD(0.1), sync_batchnorm=setting)
    assert joins_statistics(recipe, processes) is joined
