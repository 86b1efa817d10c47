"""Segmenters and pose networks learn by the one loop: runs that go on bit for bit, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from convatlas import data
from convatlas.blocks.region_svms import WithSvms
from convatlas.data import DataSet, HorizontalFlip, PadCrop
from convatlas.data.detection.annotations import Annotated
from convatlas.data.detection.augment import Mirror
from convatlas.data.detection.split import DetectionSplit
from convatlas.data.pose.transform import TurnAndScale
from convatlas.data.segmentation.augment import GridElastic, RandomOrientation, RandomRotation, RandomScale
from convatlas.errors import UsageError
from convatlas.inference import open_source
from convatlas.records import Preprocessing
from convatlas.registry import card
from convatlas.training import DataSource, Recipe, SaveEvery, find, fit
from convatlas.training import run as runs
from convatlas.training.dense_losses import BorderCrossEntropy, HeatmapSquaredError, PixelCrossEntropy
from convatlas.training.losses import CrossEntropy
from convatlas.training.mechanisms import Ema
from convatlas.training.own_losses import OwnLosses
from convatlas.training.recipe import AdamW
from convatlas.training.recipes.modern_dense import (
    EPOCHS,
    modern_segmentation,
    transfer_segmentation,
)
from convatlas.training.session import Session
from masks import write_parts
from people import write_coco

SIZE = Preprocessing((33, 49))
PLAIN = Recipe(
    network="fcn8s_squeezenet",
    variant="test",
    source="a test",
    epochs=2,
    batch_size=2,
    optimizer=AdamW(lr=1e-3),
    loss=PixelCrossEntropy(),
    augment=(RandomScale((0.8, 1.3)), RandomRotation(5.0), HorizontalFlip()),
    preprocessing=SIZE,
    channels_last=True,
    data=DataSource("masks"),
)


class DeathError(BaseException):
    """The process is gone, as far as the run folder can tell."""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> DataSet:
    """No batch has one image alone: its last map is one pixel, and a product of MKL's with a single vector may differ
    in the last bits by where the vector lies in memory."""
    return data.load(str(write_parts(tmp_path_factory.mktemp("masks"), 6, 2)), task="segmentation")


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> DataSet:
    folder = tmp_path_factory.mktemp("people")
    write_coco(folder, "train", 4)  # a batch of one has no deviation
    write_coco(folder, "val", 1, seed=1)
    return data.load(str(folder), task="pose")


def train(recipe: Recipe, parts: DataSet, out: Path, **more):
    return fit(recipe, parts, out, device="cpu", save_every=SaveEvery(steps=1), **more)


def killed_at(monkeypatch, step: int, recipe: Recipe, parts: DataSet, out: Path, **more) -> None:
    """The run ends after `step` steps, checkpoint and all, without a last word."""
    after_step = Session.after_step

    def dies(self, done, settle):
        after_step(self, done, settle)
        if done == step:
            raise DeathError

    with monkeypatch.context() as patch:
        patch.setattr(Session, "after_step", dies)
        with pytest.raises(DeathError):
            train(recipe, parts, out, **more)


def result(out: Path) -> tuple[dict, list]:
    """(weights, metrics without what a clock says)"""
    rows = [{k: v for k, v in row.items() if k not in ("seconds", "images_per_s")} for row in runs.open_run(out).rows()]
    return load_file(runs.RunFolder(out).weights("last")), rows


def assert_same(first: Path, second: Path) -> None:
    (weights, rows), (others, other_rows) = result(first), result(second)
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert rows == other_rows


def test_a_killed_segmenter_goes_on_to_the_same_weights(pairs, tmp_path, monkeypatch):
    """Killed in mid-epoch and at its end; the number of workers changes between."""
    train(PLAIN, pairs, tmp_path / "alone")
    killed_at(monkeypatch, 2, PLAIN, pairs, tmp_path / "run")
    killed_at(monkeypatch, 3, PLAIN, pairs, tmp_path / "run", resume=True, workers=1)
    train(PLAIN, pairs, tmp_path / "run", resume=True)
    assert_same(tmp_path / "alone", tmp_path / "run")


@pytest.mark.slow
def test_svms_on_regions_are_fitted_by_a_recipe_and_come_back_with_the_run(tmp_path, monkeypatch):
    """Killed after the first image of the second pass."""
    pages = []
    for place, (left, label) in enumerate(((10, 0), (60, 1))):
        image = np.zeros((100, 120, 3), np.uint8)
        image[20:80, left : left + 50] = (200, 40, 40) if label == 0 else (40, 40, 200)
        Image.fromarray(image).save(tmp_path / f"{place}.png")
        box, no = torch.tensor([[left, 20.0, left + 50, 80]]), torch.tensor([False])
        pages.append(Annotated(str(tmp_path / f"{place}.png"), (100, 120), box, torch.tensor([label]), no))
    split = DetectionSplit(pages)
    parts = DataSet("drawn", split, split, ("red", "blue"), "made here")
    recipe = find("rcnn_alexnet_voc_finetune", "published-svms", preprocessing=SIZE)
    recipe = replace(recipe, preprocessing=Preprocessing((100, 120)))
    fit(recipe, parts, tmp_path / "alone", device="cpu")
    killed_at(monkeypatch, 3, recipe, parts, tmp_path / "run")
    train(recipe, parts, tmp_path / "run", resume=True)
    assert_same(tmp_path / "alone", tmp_path / "run")
    net = open_source(str(tmp_path / "run")).net
    assert isinstance(net, WithSvms)
    assert net.svms is not None
    assert net.svms.layer == "fc7"
    with pytest.raises(UsageError, match="RegionSvms needs a network that looks at regions; ssd300 does not"):
        fit(replace(recipe, network="ssd300"), parts, tmp_path / "other", device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        replace(PLAIN, network="unet_squeezenet", class_weights="median_frequency", averaging=Ema(decay=0.9)),
        replace(PLAIN, loss=BorderCrossEntropy(), augment=(GridElastic(), RandomOrientation()), accumulate=2),
    ],
    ids=["weights, average", "borders, in parts"],
)
def test_every_mechanism_survives(recipe, pairs, tmp_path, monkeypatch):
    parts = pairs
    if isinstance(recipe.loss, BorderCrossEntropy):  # cells and their ground alone
        folder = write_parts(tmp_path / "cells", 6, 2)
        _two_classes(folder)
        parts = data.load(str(folder), task="segmentation")
    train(recipe, parts, tmp_path / "alone")
    killed_at(monkeypatch, 4, recipe, parts, tmp_path / "run")
    train(recipe, parts, tmp_path / "run", resume=True)
    assert_same(tmp_path / "alone", tmp_path / "run")


@pytest.mark.slow
def test_a_killed_pose_network_goes_on_to_the_same_weights(people, tmp_path, monkeypatch):
    recipe = replace(
        PLAIN,
        network="stacked_hourglass_1",
        loss=HeatmapSquaredError(),
        auxiliary_weight=1.0,
        augment=(TurnAndScale(), HorizontalFlip()),
        preprocessing=Preprocessing((128, 128)),
    )
    train(recipe, people, tmp_path / "alone")
    killed_at(monkeypatch, 3, recipe, people, tmp_path / "run")
    train(recipe, people, tmp_path / "run", resume=True)
    assert_same(tmp_path / "alone", tmp_path / "run")


def _two_classes(folder: Path) -> None:
    import numpy as np
    from PIL import Image

    for path in folder.rglob("masks/*.png"):
        with Image.open(path) as mask:
            values = np.array(mask)
        Image.fromarray((values > 0).astype(np.uint8)).save(path)
    (folder / "classes.txt").write_text("ground\ncell\n")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"augment": (PadCrop(2),)}, "augment: PadCrop knows no masks"),
        ({"augment": (TurnAndScale(),)}, "augment: TurnAndScale knows no masks"),
        ({"augment": (Mirror(),)}, "augment: Mirror knows no masks"),
        ({"loss": OwnLosses()}, "loss: OwnLosses needs a network with losses of its own; .* has none"),
        ({"class_weights": (1.0,)}, "class_weights has 1 entries; expected 3"),
        ({"sampling": "balanced"}, "sampling is balanced, which asks for a class for each image; segmentation has"),
    ],
)
def test_what_is_not_for_masks_is_refused(change, sentence, pairs, tmp_path):
    with pytest.raises(UsageError, match=sentence):
        train(replace(PLAIN, **change), pairs, tmp_path / "run")


def test_what_is_not_for_people_or_boxes_or_classes_is_refused(people, tmp_path):
    hourglass = replace(PLAIN, network="stacked_hourglass_1", preprocessing=Preprocessing((64, 64)))
    with pytest.raises(UsageError, match="loss: PixelCrossEntropy is not for pose; expected HeatmapSquaredError"):
        train(hourglass, people, tmp_path / "run")
    with pytest.raises(UsageError, match="augment: RandomScale knows no joints; expected TurnAndScale"):
        train(replace(hourglass, loss=HeatmapSquaredError()), people, tmp_path / "run")
    with pytest.raises(UsageError, match="class_weights have no place in pose: its losses take none"):
        train(replace(hourglass, loss=HeatmapSquaredError(), class_weights="balanced"), people, tmp_path / "run")
    digits = data.load("digits")
    lenet = replace(PLAIN, network="caffe_lenet", preprocessing=None)
    labels = replace(lenet, loss=CrossEntropy(), augment=(), class_weights="median_frequency")
    with pytest.raises(UsageError, match="class_weights median_frequency are counted over masks; expected balanced"):
        train(labels, digits, tmp_path / "run")
    with pytest.raises(UsageError, match="loss: PixelCrossEntropy is not for classification; expected CrossEntropy"):
        train(lenet, digits, tmp_path / "run")


def test_the_modern_recipe_by_colour_and_by_number_of_images():
    network = card("fcn8s_squeezenet")
    colour, grey = Preprocessing((32, 32)), Preprocessing((32, 32), channels=1, mean=(0.5,), std=(0.5,))
    assert [type(step) for step in modern_segmentation(network, colour).augment] == [RandomScale, HorizontalFlip]
    assert [type(step) for step in modern_segmentation(network, grey).augment] == [RandomOrientation]
    lengths = [transfer_segmentation(network, colour, "w.safetensors", count).epochs for count in (5, 300, 1_000_000)]
    assert lengths == [EPOCHS[1], 40, EPOCHS[0]]
