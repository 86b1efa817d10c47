"""Weights meet recipes: their card's channel order, range and mean win, or the command refuses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from convatlas import inference, registry, training, weights
from convatlas.cli import main
from convatlas.data import normalise
from convatlas.data.preprocess import pack_mean_image
from convatlas.errors import UsageError
from convatlas.records import Preprocessing
from convatlas.training import find, start_from
from convatlas.training.recipe import read
from convatlas.training.start_images import describe, fed_as_trained, feeds_alike, with_values

PIXEL = (1 / 255,) * 3
BGR = Preprocessing((64, 64), mean=(120 / 255, 110 / 255, 100 / 255), std=PIXEL, channel_order="bgr")
NETWORK = "squeezenet_v1_1"


def save(path: Path, preprocessing: Preprocessing | None) -> Path:
    torch.manual_seed(0)
    net = registry.build(NETWORK, num_classes=2)
    card = weights.make_card(NETWORK, num_classes=2, in_channels=3, classes=("a", "b"), preprocessing=preprocessing)
    weights.save(path, net, card)
    return path


@pytest.fixture
def bgr(tmp_path: Path) -> Path:
    """Hand-made weights of a network that was trained on BGR of 0 to 255, minus a mean."""
    return save(tmp_path / "bgr.safetensors", BGR)


def images(folder: Path) -> Path:
    from PIL import Image

    for index in range(12):
        place = folder / "ab"[index % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (70, 66), (255, 20 * index, 0)).save(place / f"{index}.png")
    return folder


def test_a_published_recipe_is_fed_as_the_weights_were(bgr: Path) -> None:
    own = find(NETWORK, "published")
    assert own.preprocessing is not None
    assert own.preprocessing.mean != BGR.mean  # whose place the card takes
    fed = fed_as_trained(start_from(str(bgr), own))
    assert fed.preprocessing == replace(
        own.preprocessing, mean=BGR.mean, std=BGR.std, channel_order="bgr", mean_image=None
    )
    assert fed.notes[-1].startswith("bgr.safetensors was trained on BGR from -100 to 155, -110 to 145, -120 to 135")
    assert fed_as_trained(fed) == fed  # and says it once


@pytest.mark.parametrize("recipe", ["published", "modern", "transfer"])
def test_train_feeds_bgr_to_filters_of_bgr(
    recipe: str, bgr: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    arguments = ["--weights", str(bgr), "--data", str(images(tmp_path / "data")), "--recipe", recipe, "--epochs", "1"]
    size = [] if recipe == "published" else ["--size", "64"]  # its crops are of 227
    assert main(["train", NETWORK, *arguments, *size, "--no-report", "--device", "cpu", "--out", str(run)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert ("was trained on BGR" in said) == (recipe == "published")
    trained = read(run / "recipe.toml").preprocessing
    assert trained is not None
    assert (trained.channel_order, trained.mean) == ("bgr", BGR.mean)
    opened = inference.open_source(str(run))
    assert opened.preprocessing.channel_order == "bgr"


def test_train_refuses_another_order_by_hand(bgr: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--weights", str(bgr), "--data", str(images(tmp_path / "data")), "--epochs", "1", "--device", "cpu"]
    setting = ["--size", "64", "--set", "preprocessing.channel_order=rgb", "--out", str(tmp_path / "run")]
    assert main(["train", NETWORK, *arguments, *setting]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "preprocessing feeds RGB from" in said
    assert "were trained on BGR from -100 to 155" in said


def test_python_refuses_too_and_takes_the_cards_values_where_none_are_given(bgr: Path, tmp_path: Path) -> None:
    data = training.sources.load_data(training.DataSource(str(images(tmp_path / "data"))), NETWORK)
    wrong = start_from(str(bgr), replace(find(NETWORK, "modern"), preprocessing=replace(BGR, channel_order="rgb")))
    with pytest.raises(UsageError, match="were trained on BGR"):
        training.fit(wrong, data, tmp_path / "wrong", device="cpu")
    silent = start_from(str(bgr), replace(find(NETWORK, "modern"), preprocessing=None, epochs=1))
    run = training.fit(silent, data, tmp_path / "silent", device="cpu", workers=0)
    opened = inference.open_source(str(run.run.path))
    assert (opened.preprocessing.channel_order, opened.preprocessing.mean) == ("bgr", BGR.mean)


def test_predict_and_eval_feed_what_the_card_says(bgr: Path, tmp_path: Path) -> None:
    opened = inference.open_source(NETWORK, bgr)
    assert opened.preprocessing == BGR
    assert not any("say nothing" in note for note in opened.notes)
    red = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    red[:, 0] = 255
    assert normalise(red, opened.preprocessing)[0, :, 0, 0].tolist() == pytest.approx([-100, -110, 135])


def test_weights_that_say_nothing_are_fed_with_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    silent = save(tmp_path / "silent.safetensors", None)
    folder = images(tmp_path / "data")
    assert main(["eval", NETWORK, "--weights", str(silent), "--data", str(folder), "--device", "cpu", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "say nothing of their images; these enter in RGB minus" in " ".join(err.split())
    assert json.loads(out)["samples"] > 0


def test_what_is_alike() -> None:
    wider = replace(BGR, size=(500, 500), resize="short_side", resize_to=500)
    assert feeds_alike(wider, BGR)
    assert feeds_alike(replace(BGR, mean=(120.3 / 255, 110 / 255, 100 / 255)), BGR)  # a third of a grey level
    assert not feeds_alike(replace(BGR, mean=(123 / 255, 110 / 255, 100 / 255)), BGR)
    assert not feeds_alike(replace(BGR, channel_order="rgb"), BGR)
    assert not feeds_alike(replace(BGR, std=(1.0,) * 3), BGR)
    assert feeds_alike(Preprocessing((64, 64), channels=1, mean=(0.0,), std=(1.0,)), BGR)


def test_a_mean_image_of_another_size_becomes_its_colour() -> None:
    image = torch.tensor([0.25, 0.5, 0.75]).view(3, 1, 1).expand(3, 64, 64)
    theirs = replace(BGR, mean_image=pack_mean_image(image))
    assert with_values(BGR, theirs).mean_image == theirs.mean_image
    wide = replace(BGR, size=(32, 32), channel_order="rgb")
    assert with_values(wide, theirs).mean == (0.25, 0.5, 0.75)
    assert feeds_alike(with_values(wide, theirs), theirs)
    assert describe(theirs) == "BGR minus a mean image, divided by 0.003922"
    assert describe(Preprocessing((2, 2), mean=(0.5,) * 3, std=(0.5,) * 3)) == "RGB from -1 to 1"
