"""Options of `train` and `eval`: what they change, and contradictions, which are refused before anything is trained."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from convatlas import training
from convatlas.cli import main
from convatlas.data.augment import RandomResizedCrop
from convatlas.errors import UsageError
from convatlas.evaluation.threshold import at_threshold, decide, decide_prediction
from convatlas.facts.comparable import results_beside
from convatlas.records import (
    DetectionEvaluation,
    Evaluation,
    PrecisionRecall,
    Prediction,
    Preprocessing,
    PublishedResult,
)
from convatlas.report.published import same_data
from convatlas.training.asked import Asked, parse_class_weights, parse_size
from convatlas.training.mechanisms import EarlyStopping
from convatlas.training.options import with_size
from convatlas.training.plan import default_recipe, prepare
from convatlas.training.recipe import SGD, Adam, AdamW, RMSProp, read


@pytest.fixture(scope="module")
def pets(tmp_path_factory) -> Path:
    """Ten colour images of cats and six of dogs."""
    folder, draw = tmp_path_factory.mktemp("data") / "pets", torch.Generator().manual_seed(0)
    for name, low, count in (("cats", 0, 10), ("dogs", 120, 6)):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            image = torch.randint(low, low + 100, (48, 40, 3), generator=draw, dtype=torch.uint8)
            Image.fromarray(image.numpy()).save(folder / name / f"{i:02}.png")
    return folder


def plan(**more) -> training.Recipe:
    return prepare(Asked(**{"network": "caffe_lenet", **more})).load()[0]


def size_of(recipe: training.Recipe) -> tuple[int, int]:
    assert recipe.preprocessing is not None
    return recipe.preprocessing.size


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"balance": True}, lambda r: r.sampling == "balanced"),
        ({"class_weights": "balanced"}, lambda r: r.class_weights == "balanced"),
        ({"class_weights": "1,2.5"}, lambda r: r.class_weights == (1.0, 2.5)),
        ({"early_stopping": 4}, lambda r: r.stop == EarlyStopping(4) and r.keep == "best"),
        ({"size": "30"}, lambda r: size_of(r) == (30, 30) and "30 x 30" in r.notes[-1]),
        ({"batch_size": 128, "scale_lr": True}, lambda r: r.optimizer.lr == 0.02 and "0.02" in r.notes[-1]),
        ({"batch_size": 16, "scale_lr": True, "settings": ("optimizer.lr=3",)}, lambda r: r.optimizer.lr == 3),
        ({"val_fraction": 0.1, "fraction": 0.5}, lambda r: (r.data.val_fraction, r.data.fraction) == (0.1, 0.5)),
        ({"folds": 4}, lambda r: (r.data.folds, r.data.fold) == (4, 1)),
    ],
)
def test_an_option_changes_its_field(asked, found):
    assert found(plan(**asked))


def test_crops_follow_the_size(pets):
    recipe = plan(network="squeezenet_v1_1", recipe="modern", data=str(pets), size="96x64")
    assert size_of(recipe) == (96, 64)
    crops = [step for step in recipe.augment if isinstance(step, RandomResizedCrop)]
    assert [crop.size for crop in crops] == [(96, 64)]


def test_another_size_trains(pets, tmp_path, capsys):
    arguments = ["squeezenet_v1_1", "--recipe", "modern", "--data", str(pets), "--size", "48", "--epochs", "1"]
    assert main(["train", *arguments, "--no-report", "--device", "cpu", "--out", str(tmp_path / "run")]) == 0
    assert size_of(read(tmp_path / "run" / "recipe.toml")) == (48, 48)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--set", "data.spec=mnist"], "comes too late"),
        (["--set", "data=DataSource()"], "comes too late"),
        (["--set", "network=alexnet"], "comes too late"),
        (["--set", "seed=7"], "the data are split by it; --seed NUMBER sets it"),
        (["--set", "preprocessing.channels=7"], "images are grey or coloured"),
        (["--set", "preprocessing.std=[0.0]"], "std above 0"),
        (["--lr", "-1"], "lr is -1.0; expected more than 0"),
        (["--lr", "0"], "lr is 0.0; expected more than 0"),
        (["--lr", "nan"], "expected a finite number"),
        (["--lr", "inf"], "expected a finite number"),
        (["--set", "optimizer.lr=-1"], "expected more than 0"),
        (["--set", "optimizer.weight_decay=-1"], "expected at least 0"),
        (["--set", "optimizer.momentum=2"], "expected at most 1"),
        (["--seed", str(2**64)], "64 bits"),
        (["--seed", "-1"], "--seed"),
        (["--save-every", "nan"], "--save-every is 'nan'"),
        (["--save-every", "infm"], "--save-every is 'infm'"),
        (["--save-every", "-5"], "--save-every is '-5'"),
        (["--device", "meta"], "--device is 'meta'"),
        (["--size", "0"], "--size is '0'"),
        (["--size", "3x4x5"], "--size is '3x4x5'"),
        (["--size", "500"], "caffe_lenet takes 28 to 31 pixels"),
        (["--val-fraction", "1"], "--val-fraction is 1.0"),
        (["--fraction", "0"], "fraction is 0.0"),
        (["--folds", "1"], "--folds"),
        (["--folds", "3", "--val-fraction", "0.1"], "expected one of them"),
        (["--folds", "3", "--find-lr"], "--folds goes with training"),
        (["--class-weights", "many"], "--class-weights is 'many'"),
        (["--class-weights", "1,2"], "--class-weights has 2 entries; expected 10"),
        (["--class-weights", "0,0,0,0,0,0,0,0,0,0"], "not all of them 0"),
        (["--balance", "--class-weights", "balanced"], "expected one of them"),
        (["--scale-lr"], "--scale-lr changes nothing"),
        (["--scale-lr", "--batch-size", "8", "--lr", "0.1"], "which is the rate already"),
        (["--early-stopping", "0"], "--early-stopping"),
        (["--tracker", "abacus"], "tracker is 'abacus'; expected one of tensorboard, mlflow, wandb"),
        (["--resume", "somewhere"], "goes on with a run as it began"),
    ],
)
def test_contradictions_end_with_2_and_leave_nothing(arguments, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    assert main(["train", "caffe_lenet", *arguments]) == 2
    assert sentence in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["unet", "--data", "digits"], "digits has labels and no masks; unet is for segmentation"),
        (["ssd300", "--data", "mnist"], "mnist has labels and no boxes"),
        (["stacked_hourglass_1", "--data", "digits"], "digits has labels and no joints"),
        (["unet"], "--data is missing"),
        (["lenet5", "--scale-lr", "--batch-size", "4"], "its rates are the schedule's"),
    ],
)
def test_other_networks_name_what_is_wrong(arguments, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_a_network_without_a_published_recipe_gets_the_modern_one_and_it_is_said():
    preprocessing = Preprocessing((224, 224))
    recipe = default_recipe("fcn8s_squeezenet", training.variants("fcn8s_squeezenet"), preprocessing)
    assert recipe.variant == "modern"
    assert "no recipe called published" in recipe.notes[-1]
    assert default_recipe("caffe_lenet", training.variants("caffe_lenet"), preprocessing).variant == "published"


@pytest.mark.parametrize("kind", [SGD, AdamW, Adam, RMSProp])
@pytest.mark.parametrize("lr", [-1.0, 0.0, float("nan"), float("inf")])
def test_rates_that_teach_nothing_are_refused(kind, lr):
    with pytest.raises(UsageError, match="lr is"):
        kind(lr=lr)


def test_texts_of_options():
    assert (parse_size("224"), parse_size("360x480")) == ((224, 224), (360, 480))
    assert parse_class_weights("median_frequency") == "median_frequency"
    assert parse_class_weights("1, 0.5") == (1.0, 0.5)


def test_a_size_that_is_no_change_changes_nothing():
    recipe = plan()
    assert with_size(recipe, size_of(recipe)) is recipe


def test_a_home_folder_is_expanded_and_folders_are_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    arguments = ["caffe_lenet", "--epochs", "1", "--batch-size", "500", "--no-report", "--device", "cpu"]
    assert main(["train", *arguments, "--out=~/deep/in/run"]) == 0
    assert (tmp_path / "deep" / "in" / "run" / "recipe.toml").exists()


def test_every_epoch_has_a_line_and_no_number_is_nan(tmp_path, capsys):
    arguments = ["caffe_lenet", "--epochs", "35", "--batch-size", "64", "--fraction", "0.05", "--no-report"]
    assert main(["train", *arguments, "--device", "cpu", "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    lines = [line for line in said.splitlines() if line.startswith("epoch ") and "/35" in line]
    assert [int(line.split("/")[0].split()[1]) for line in lines] == list(range(1, 36))
    assert "nan" not in said
    assert "left" in said.splitlines()[3]


# --- eval


def test_a_threshold_by_hand():
    probabilities = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.4, 0.6], [0.7, 0.3]])
    labels = torch.tensor([0, 1, 1, 1])
    evaluation = Evaluation(("no", "yes"), labels, probabilities, 0.5, 0.5, None, torch.tensor([[1, 0], [2, 1]]), 0.1)
    assert decide(evaluation, 0.5).top1_error == 0.5
    assert decide(evaluation, 0.35).top1_error == 0.25
    assert decide(evaluation, 0.35).confusion.tolist() == [[1, 0], [1, 2]]
    assert decide(evaluation, 0.0).top1_error == 0.25
    prediction = Prediction("a.png", ("no", "yes"), (0.6, 0.4))
    assert decide_prediction(prediction, ("no", "yes"), 0.35).classes == ("yes", "no")
    assert decide_prediction(prediction, ("no", "yes"), 0.35).probabilities == (0.4, 0.6)
    assert decide_prediction(prediction, ("no", "yes"), 0.5) == prediction


def test_a_detectors_threshold_by_hand():
    curve = PrecisionRecall(
        torch.tensor([0.5, 0.5, 1.0]), torch.tensor([1.0, 0.5, 2 / 3]), torch.tensor([0.9, 0.8, 0.3]), 2
    )
    none = PrecisionRecall(torch.zeros(0), torch.zeros(0), torch.zeros(0), 4)
    found = DetectionEvaluation(("cup", "pan"), torch.tensor([0.8, 0.0]), "voc10", (curve, none), {}, 0.0, 0.0)
    cup, pan = at_threshold(found, 0.5)
    assert (cup.precision, cup.recall, cup.f1) == (0.5, 0.5, 0.5)
    assert pan.recall == 0.0
    assert pan.precision != pan.precision
    assert at_threshold(found, 0.0)[0].recall == 1.0


def test_published_results_stand_only_beside_the_same_data_and_protocol(tmp_path, pets, capsys):
    run = tmp_path / "run"
    arguments = ["squeezenet_v1_1", "--recipe", "modern", "--data", str(pets), "--size", "48", "--epochs", "1"]
    assert main(["train", *arguments, "--no-report", "--device", "cpu", "--out", str(run)]) == 0
    capsys.readouterr()
    assert main(["eval", str(run), "--device", "cpu", "--threshold", "0.3"]) == 0
    said = capsys.readouterr().out
    assert "published" not in said
    assert "weights of epoch 1" in said
    assert "dogs from probability 0.3 on" in said
    assert main(["eval", str(run), "--device", "cpu", "--threshold", "1.5"]) == 2
    assert main(["predict", str(run), str(pets), "--device", "cpu", "--threshold", "0", "--json"]) == 0
    classes = [entry["classes"][0] for entry in json.loads(capsys.readouterr().out)["predictions"]]
    assert set(classes) == {"dogs"}


@pytest.mark.parametrize(
    ("dataset", "printed", "same"),
    [
        ("mnist", "MNIST test", True),
        ("cifar10", "CIFAR-10 test", True),
        ("cifar10", "CIFAR-100 test", False),
        ("imagenet", "ILSVRC-2012 validation", True),
        ("imagenet", "ILSVRC-2010 test", False),
        ("imagenet100", "ILSVRC-2012 validation", False),
        ("ants_bees", "ILSVRC-2012 validation", False),
        ("m", "MNIST test", False),
    ],
)
def test_names_of_data_sets_in_papers(dataset, printed, same):
    assert same_data(dataset, PublishedResult(printed, "", "1.0")) is same


def test_lenet_on_mnist_has_its_published_error_beside_it():
    results = results_beside("lenet5", "mnist", "one view", ("top1_error",))
    assert [result.value for result in results] == ["0.95", "0.8"]
    assert results_beside("lenet5", "digits", "one view", ("top1_error",)) == ()
    assert results_beside("lenet5", "mnist", "10 crops", ("top1_error",)) == ()


@pytest.fixture
def unread(monkeypatch, tmp_path):
    """Data that must not be read: arguments are refused before."""

    def read(*args, **more):
        raise AssertionError("the data are read")

    monkeypatch.setattr("convatlas.training.plan.load_data", read)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--set", "preprocessing.channels=7"], "images are grey or coloured"),
        (["--set", "optimizer.lr=-1"], "expected more than 0"),
        (["--set", "optimzer.lr=1"], "optimzer"),
        (["--set", "seed=7"], "the data are split by it"),
        (["--size", "500"], "caffe_lenet takes 28 to 31 pixels"),
        (["--set", "preprocessing.size=[500,500]"], "--size has the height 500"),
        (["--val-fraction", "1"], "--val-fraction is 1.0"),
        (["--fraction", "0"], "--fraction is 0.0"),
        (["--class-weights", "many"], "--class-weights is 'many'"),
        (["--scale-lr"], "--scale-lr changes nothing"),
        (["--tracker", "abacus"], "--tracker is 'abacus'"),
        (["--device", "cuda:99"], "--device 'cuda:99' is not there"),
        (["--keep-epochs", "999"], "--keep-epochs names epoch 999"),
        (["--recipe", "sourdough"], "--recipe 'sourdough' is unknown"),
        (["--recipe", "none/recipe.toml"], "none/recipe.toml"),
        (["--weights", "none.safetensors"], "none.safetensors"),
        (["--data", "none/images"], "none/images' does not exist; expected a folder, a file"),
        (["--test-data", "none/images"], "--test-data '"),
        (["--out", "occupied"], "--out occupied exists already"),
        (["--set", "batch_size=0"], "--batch-size is 0"),
    ],
)
def test_arguments_and_places_are_checked_before_the_data_are_read(arguments, sentence, unread, tmp_path, capsys):
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied" / "thesis.txt").write_text("years of work")
    assert main(["train", "caffe_lenet", *arguments]) in (1, 2)
    assert sentence in capsys.readouterr().err


def test_a_batch_on_which_a_network_cant_train_is_refused_before_the_data_are_read(unread, tmp_path, capsys):
    arguments = ["train", "stacked_hourglass_1", "--data", str(tmp_path), "--size", "64", "--batch-size", "1"]
    assert main(arguments) == 2
    assert "stacked_hourglass_1 can't train on 1 at 64 x 64 pixels" in capsys.readouterr().err


@pytest.mark.parametrize("asked", [{"epochs": 11}, {"settings": ("epochs=11",)}])
def test_epochs_that_are_asked_for_are_epochs_where_the_source_counts_in_steps(asked):
    published, _ = prepare(Asked(network="caffe_lenet", data="digits", recipe="published")).load()
    assert published.stated_steps == 10_000
    recipe, _ = prepare(Asked(network="caffe_lenet", data="digits", recipe="published", **asked)).load()
    assert (recipe.epochs, recipe.stated_steps) == (11, None)
