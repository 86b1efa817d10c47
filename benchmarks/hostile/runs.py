"""Runs that are killed at any moment, and several that want one folder."""

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections import Counter
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from convatlas import data
from convatlas.data import ArraySplit, DataSet, HorizontalFlip, PadCrop
from convatlas.data.detection.augment import Mirror
from convatlas.data.pose.transform import TurnAndScale
from convatlas.data.segmentation.augment import RandomRotation, RandomScale
from convatlas.errors import UsageError
from convatlas.records import Preprocessing
from convatlas.training import DataSource, Recipe, SaveEvery, fit
from convatlas.training import run as run_folders
from convatlas.training.dense_losses import HeatmapSquaredError, PixelCrossEntropy
from convatlas.training.mechanisms import ClipNorm, Ema
from convatlas.training.own_losses import OwnLosses
from convatlas.training.recipe import SGD, AdamW

RACERS = 4
TIMED = ("seconds", "images_per_s")  # of a line of metrics
CLASSES = Recipe(
    network="caffe_lenet",
    variant="test",
    source="a measurement",
    epochs=3,
    batch_size=8,
    optimizer=SGD(lr=0.01, momentum=0.9),
    augment=(PadCrop(2),),
    preprocessing=Preprocessing((28, 28), 1, mean=(0.5,), std=(0.5,)),
    data=DataSource("greys"),
)
MARKED = replace(CLASSES, epochs=2, batch_size=2, optimizer=AdamW(lr=1e-3), channels_last=True)
KINDS: dict[str, tuple[str, Recipe]] = {
    "classification": ("classification", CLASSES),
    "average, clipping, parts of a batch": (
        "classification",
        replace(CLASSES, averaging=Ema(decay=0.9), clip=ClipNorm(1.0), accumulate=2, keep="best"),
    ),
    "segmentation": (
        "segmentation",
        replace(
            MARKED,
            network="fcn8s_squeezenet",
            loss=PixelCrossEntropy(),
            augment=(RandomScale((0.8, 1.3)), RandomRotation(5.0), HorizontalFlip()),
            preprocessing=Preprocessing((33, 49)),
        ),
    ),
    "detection": (
        "detection",
        replace(
            MARKED,
            network="ssd300_squeezenet",
            loss=OwnLosses(),
            augment=(Mirror(),),
            preprocessing=Preprocessing((300, 300), resize="stretch", resize_to=300),
        ),
    ),
    "pose": (
        "pose",
        replace(
            MARKED,
            network="stacked_hourglass_1",
            loss=HeatmapSquaredError(),
            auxiliary_weight=1.0,
            augment=(TurnAndScale(), HorizontalFlip()),
            preprocessing=Preprocessing((64, 64)),
        ),
    ),
}


def greys(count: int = 30) -> DataSet:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    images = torch.randint(0, 80, (count, 1, 28, 28), generator=draw, dtype=torch.uint8)
    images[:, 0, 0, 0] += labels.to(torch.uint8) * 80
    split = ArraySplit(images, labels)
    return DataSet("greys", split, split.select(range(12)), ("a", "b", "c"), "made here")


def write_data(folder: Path) -> None:
    """Small data of each task."""
    import boxes
    import masks
    import people

    masks.write_parts(folder / "segmentation", 6, 2)
    for part, count in (("train", 6), ("test", 2)):
        boxes.yolo(folder / "detection", {f"{part}{i}": "0 0.4 0.4 0.3 0.5" for i in range(count)}, part=part)
    (folder / "detection" / "data.yaml").write_text("train: images/train\ntest: images/test\nnames: [cat, dog]\n")
    people.write_coco(folder / "pose", "train", 4)
    people.write_coco(folder / "pose", "val", 1, seed=1)


def train(kind: str, folder: str, out: str, resume: bool) -> None:
    torch.set_num_threads(1)
    task, recipe = KINDS[kind]
    parts = greys() if task == "classification" else data.load(f"{folder}/{task}", task=task)
    fit(recipe, parts, Path(out), device="cpu", save_every=SaveEvery(steps=1), resume=resume)


def processes() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["runs"])
    return context


def result(out: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Weights, and metrics without what a clock says."""
    folder = run_folders.open_run(out)
    rows = [{key: value for key, value in row.items() if key not in TIMED} for row in folder.rows()]
    return load_file(folder.weights("last")), rows


def is_same(out: Path, alone: Path) -> bool:
    (weights, rows), (others, other_rows) = result(out), result(alone)
    return (
        weights.keys() == others.keys()
        and all(torch.equal(weights[name], others[name]) for name in weights)
        and rows == other_rows
    )


def measure_kills(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Each run is killed twice at moments drawn over its length, goes on each time, and is compared at its end."""
    write_data(folder)
    draw, context = random.Random(seed), processes()
    kills: Counter[str] = Counter()
    equal: Counter[str] = Counter()
    failures: list[str] = []
    for kind in KINDS:
        alone = folder / f"{kind} alone"
        started = time.perf_counter()
        run_to_its_end(context, kind, folder, alone, resume=False)
        length = time.perf_counter() - started
        trial = 0
        while kills[kind] < count // len(KINDS):
            out, trial = folder / f"{kind} {trial}", trial + 1
            for _ in range(2):
                child = context.Process(
                    target=train, args=(kind, str(folder), str(out), (out / "recipe.toml").exists())
                )
                child.start()
                child.join(draw.uniform(0.1, 0.8) * length)
                if child.exitcode is None and child.pid is not None:
                    os.kill(child.pid, signal.SIGKILL)
                    child.join()
                    kills[kind] += 1
            code = run_to_its_end(context, kind, folder, out, resume=(out / "recipe.toml").exists())
            same = code == 0 and is_same(out, alone)
            equal[kind] += same
            if not same:
                failures.append(f"{kind}, run {trial}: code {code}")
            shutil.rmtree(out)
        print(f"{kind}: {kills[kind]} kills of {trial} runs, {equal[kind]} bit-equal", flush=True)
    return {
        "what": "runs that were killed by SIGKILL at random moments, and went on: weights and metrics bit for bit",
        "kills": dict(kills),
        "runs_bit_equal": dict(equal),
        "failures": failures,
    }


def run_to_its_end(context: ForkServerContext, kind: str, folder: Path, out: Path, *, resume: bool) -> int | None:
    child = context.Process(target=train, args=(kind, str(folder), str(out), resume))
    child.start()
    child.join()
    return child.exitcode


def race(folder: str, races: int, start: Any, results: Any) -> None:
    torch.set_num_threads(1)
    parts = greys()
    for number in range(races):
        start.wait()
        try:
            fit(replace(CLASSES, epochs=1), parts, Path(folder) / f"run{number}", device="cpu")
            results.put((number, "trained"))
        except UsageError as error:
            is_known = "in use" in str(error) or "exists already" in str(error)
            results.put((number, "refused" if is_known else str(error)))
        except BaseException as error:
            results.put((number, f"{type(error).__name__}: {error}"))
            raise


def measure_races(count: int, folder: Path) -> dict[str, Any]:
    """In each race one process trains, and the others say that the folder is in use; the run is whole."""
    context = processes()
    start, results = context.Barrier(RACERS), context.Queue()
    children = [context.Process(target=race, args=(str(folder), count, start, results)) for _ in range(RACERS)]
    for child in children:
        child.start()
    said: dict[int, list[str]] = {}
    for _ in range(RACERS * count):
        number, sentence = results.get(timeout=600)
        said.setdefault(number, []).append(sentence)
    for child in children:
        child.join()
    failures = [
        f"race {number}: {sentences}"
        for number, sentences in said.items()
        if sorted(sentences) != ["refused"] * (RACERS - 1) + ["trained"]
        or not run_folders.open_run(folder / f"run{number}").summary.exists()
    ]
    return {
        "what": f"{RACERS} processes that begin one new run folder at once: one trains it, the others are refused",
        "races": count,
        "held": count - len(failures),
        "failures": failures,
    }
