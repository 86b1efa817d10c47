"""A run that is killed at any step and goes on ends with the same weights, bit for bit."""

import json
import multiprocessing
import os
import random
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from convatlas import data, registry
from convatlas.data import ArraySplit, DataSet, FileSplit, HorizontalFlip, PadCrop, default_preprocessing
from convatlas.errors import ConvatlasError, UsageError
from convatlas.records import Preprocessing
from convatlas.training import DataSource, Recipe, SaveEvery, checkpoint, find, fit, interrupt
from convatlas.training import run as runs
from convatlas.training.mechanisms import Ema, Polyak
from convatlas.training.recipe import SGD, AdamW, OwnRule
from convatlas.training.schedules import Plateau
from convatlas.training.session import Session

SIZE = Preprocessing(size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
LARGER = replace(SIZE, size=(32, 32))
PLAIN = Recipe(
    network="cifar_resnet20",
    variant="test",
    source="a test",
    epochs=3,
    batch_size=8,
    optimizer=SGD(lr=0.05, momentum=0.9, weight_decay=1e-4),
    augment=(PadCrop(2), HorizontalFlip()),
    preprocessing=SIZE,
    channels_last=True,
    averaging=Ema(decay=0.9),
    data=DataSource("colours"),
)
STEPS = 3 * 4  # of the whole run, on 30 samples


class DeathError(BaseException):
    """The process is gone, as far as the run folder can tell."""


def colours() -> DataSet:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(30) % 3
    images = torch.randint(0, 80, (30, 3, 16, 16), generator=draw, dtype=torch.uint8)
    images[torch.arange(30), labels] += 150
    split = ArraySplit(images, labels)
    return DataSet("colours", split, split.select(range(12)), ("red", "green", "blue"), "made here")


def train(recipe: Recipe, out: Path, *, parts: DataSet | None = None, resume: bool = False, every: int = 1, **more):
    return fit(recipe, parts or colours(), out, device="cpu", resume=resume, save_every=SaveEvery(steps=every), **more)


def die_at(monkeypatch, step: int) -> None:
    """The run ends after `step` steps, checkpoint and all, without a last word."""
    after_step = Session.after_step

    def dies(self, done, settle):
        after_step(self, done, settle)
        if done == step:
            raise DeathError

    monkeypatch.setattr(Session, "after_step", dies)


def killed_at(monkeypatch, step: int, recipe: Recipe, out: Path, **more) -> None:
    with monkeypatch.context() as patch:
        die_at(patch, step)
        with pytest.raises(DeathError):
            train(recipe, out, **more)


def result(out: Path) -> tuple[dict, list]:
    """(weights, metrics without what a clock says)"""
    rows = [{k: v for k, v in row.items() if k not in ("seconds", "images_per_s")} for row in runs.open_run(out).rows()]
    return load_file(runs.RunFolder(out).weights("last")), rows


def assert_same(first: Path, second: Path) -> None:
    (weights, rows), (others, other_rows) = result(first), result(second)
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert rows == other_rows


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """The run that was never killed."""
    out = tmp_path_factory.mktemp("resume") / "alone"
    train(PLAIN, out)
    return out


def test_three_deaths_and_three_exact_recoveries(alone, tmp_path, monkeypatch):
    out = tmp_path / "run"
    killed_at(monkeypatch, 2, PLAIN, out)  # in mid-epoch
    killed_at(monkeypatch, 4, PLAIN, out, resume=True)  # after the last step of an epoch, before its row
    killed_at(monkeypatch, 11, PLAIN, out, resume=True, every=3)  # two steps after the last checkpoint
    trained = train(PLAIN, out, resume=True)
    assert_same(alone, out)
    assert [row["epoch"] for row in trained.run.rows()] == [1, 2, 3]
    assert trained.run.summary.exists()


def test_a_run_without_any_checkpoint_begins_again(alone, tmp_path, monkeypatch):
    runs.create(tmp_path / "run", PLAIN, ("red", "green", "blue"), device="cpu")
    train(PLAIN, tmp_path / "run", resume=True)
    assert_same(alone, tmp_path / "run")


def test_a_truncated_checkpoint_is_noticed_and_the_one_before_is_used(alone, tmp_path, monkeypatch):
    out, notes = tmp_path / "run", []
    killed_at(monkeypatch, 7, PLAIN, out)
    newest = checkpoint.files(runs.RunFolder(out).states)[-1]
    newest.write_bytes(newest.read_bytes()[:-1000])
    train(PLAIN, out, resume=True, on_note=notes.append)
    assert newest.name in notes[0]
    assert notes[1:] == ["going on in epoch 2 after step 2 of 4"]
    assert_same(alone, out)


@pytest.mark.parametrize("place", [20, 3000, -5])
def test_a_flipped_bit_is_noticed(place, tmp_path):
    path = checkpoint.save(tmp_path, 1, {"weights": torch.arange(1000.0), "step": 7, 3: [1, (2.5, None)]})
    assert checkpoint.load(path)[3] == [1, (2.5, None)]
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ConvatlasError, match=r"damaged|checksum|format"):
        checkpoint.load(path)
    assert checkpoint.load_newest(tmp_path)[0] is None


def test_only_two_checkpoints_are_kept(tmp_path):
    for step in (5, 10, 15):
        checkpoint.save(tmp_path, step, {"step": step})
    assert [path.name for path in checkpoint.files(tmp_path)] == [
        "step-000000010.safetensors",
        "step-000000015.safetensors",
    ]


def test_a_full_disk_ends_the_run_and_the_last_good_checkpoint_serves(alone, tmp_path, monkeypatch):
    out, write, calls = tmp_path / "run", os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > 9:
            raise OSError(28, "No space left on device")
        write(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ConvatlasError, match=r"No space left.*last good checkpoint is .*step-"):
            train(PLAIN, out)
    assert not list(out.rglob(".*.safetensors"))
    train(PLAIN, out, resume=True)
    assert_same(alone, out)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_how_to_go_on(number, alone, tmp_path, monkeypatch):
    out, before = tmp_path / "run", signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        draw = PadCrop.__call__

        def asked(self, images, u):
            os.kill(os.getpid(), number)
            return draw(self, images, u)

        patch.setattr(PadCrop, "__call__", asked)
        with pytest.raises(interrupt.InterruptedRunError, match=r"--resume .*run") as caught:
            train(PLAIN, out, every=100)
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(signal.SIGINT) is before
    train(PLAIN, out, resume=True)
    assert_same(alone, out)


VARIANTS = {
    "polyak, clipping apart": replace(PLAIN, averaging=Polyak(start=0.3), accumulate=2, keep="best"),
    "adamw, plateau, balanced": replace(
        PLAIN, averaging=None, optimizer=AdamW(lr=0.01), schedule=Plateau(patience=1), sampling="balanced"
    ),
    "bf16": replace(PLAIN, precision="bf16", channels_last=False),
    "fp16 with scaler": replace(
        PLAIN, network="caffe_lenet", precision="fp16", preprocessing=replace(SIZE, size=(28, 28))
    ),
    "dropout": replace(PLAIN, network="squeezenet_v1_1", averaging=None, preprocessing=LARGER),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_mechanism_survives(name, tmp_path, monkeypatch):
    recipe = replace(VARIANTS[name], epochs=2)
    train(recipe, tmp_path / "alone")
    killed_at(monkeypatch, 6, recipe, tmp_path / "run")
    train(recipe, tmp_path / "run", resume=True)
    assert_same(tmp_path / "alone", tmp_path / "run")


@pytest.mark.parametrize("network", ["lenet5", "perceptron", "neocognitron_1980", "hog_svm"])
def test_machines_with_a_rule_of_their_own_survive(network, tmp_path, monkeypatch):
    digits = data.load("digits")
    few = DataSet("few", digits.train.select(range(60)), digits.test.select(range(20)), digits.classes, "digits")
    preprocessing = default_preprocessing(registry.card(network), few.train)
    recipe = find(network, "published", preprocessing=preprocessing)
    recipe = replace(recipe, epochs=4 if network.startswith("neo") else 2, batch_size=20, preprocessing=preprocessing)
    assert (network == "lenet5") != isinstance(recipe.optimizer, OwnRule)
    train(recipe, tmp_path / "alone", parts=few)
    killed_at(monkeypatch, 4, recipe, tmp_path / "run", parts=few)
    train(recipe, tmp_path / "run", parts=few, resume=True)
    assert_same(tmp_path / "alone", tmp_path / "run")


def photos(folder: Path) -> DataSet:
    whole = colours().train
    paths = [str(folder / f"{i}.png") for i in range(len(whole))]
    for i, path in enumerate(paths):
        Image.fromarray(whole.read(i).permute(1, 2, 0).numpy()).save(path)
    split = FileSplit(paths, whole.labels)
    return DataSet("photos", split, split.select(range(12)), ("red", "green", "blue"), "made here")


@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 1)])
def test_the_number_of_workers_may_change(before, after, alone, tmp_path, monkeypatch):
    monkeypatch.setattr("convatlas.data.store.fits", lambda *args, **kwargs: False)
    parts = photos(tmp_path)
    killed_at(monkeypatch, 6, PLAIN, tmp_path / "run", parts=parts, workers=before)
    train(PLAIN, tmp_path / "run", parts=parts, workers=after, resume=True)
    assert_same(alone, tmp_path / "run")


def test_a_loss_that_is_nan_names_step_samples_and_checkpoint(tmp_path, monkeypatch):
    parts, out = photos(tmp_path), tmp_path / "run"
    learn = torch.nn.functional.cross_entropy
    calls = []

    def breaks(*args, **kwargs):
        calls.append(args)
        return learn(*args, **kwargs) * (float("nan") if len(calls) == 7 else 1)

    monkeypatch.setattr("convatlas.training.losses.F.cross_entropy", breaks)
    with pytest.raises(ConvatlasError, match=r"nan in epoch 2, step \d of 4, on .*\.png.*step-00000000\d") as caught:
        train(PLAIN, out, parts=parts)
    written = json.loads((out / "not_finite.json").read_text())
    assert written["files"][0] in str(caught.value)
    assert len(written["indices"]) == 8
    state, _ = checkpoint.load_newest(runs.RunFolder(out).states)
    assert state is not None
    assert all(t.isfinite().all() for t in state["learner"]["net"].values())


def test_a_run_in_use_is_left_alone(alone):
    with runs.locked(runs.RunFolder(alone)):
        for more in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(UsageError, match="in use"):
                train(PLAIN, alone, **more)


def test_other_data_cant_go_on_with_a_run(tmp_path, monkeypatch):
    killed_at(monkeypatch, 2, PLAIN, tmp_path / "run")
    whole = colours()
    fewer = DataSet("fewer", whole.train.select(range(20)), whole.test, whole.classes, "made here")
    with pytest.raises(UsageError, match=r"30 samples in 4 steps.*20 in 3"):
        train(PLAIN, tmp_path / "run", parts=fewer, resume=True)


def test_a_finished_run_gives_its_result_again(alone):
    before = result(alone)
    assert train(PLAIN, alone, resume=True).evaluation.top1_error == before[1][-1]["test_error"]
    assert result(alone)[1] == before[1]


def _run_until_killed(out: str, step: int, resume: bool) -> None:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        after_step = Session.after_step

        def dies(self, done, settle):
            after_step(self, done, settle)
            if done == step:
                os.kill(os.getpid(), signal.SIGKILL)

        patch.setattr(Session, "after_step", dies)
        train(PLAIN, Path(out), resume=resume, every=2)


@pytest.mark.slow
def test_twenty_kills_and_twenty_exact_recoveries(tmp_path):
    """SIGKILL at random steps; after some of them the newest checkpoint is cut off, or the disk was full."""
    torch.set_num_threads(1)
    train(PLAIN, tmp_path / "alone", every=2)
    draw, context = random.Random(0), multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["convatlas.training"])
    for trial in range(20):
        out = tmp_path / f"run{trial}"
        first = draw.randrange(1, STEPS)
        for step, resume in ((first, False), (draw.randrange(first + 1, STEPS + 1), True)):
            child = context.Process(target=_run_until_killed, args=(str(out), step, resume))
            child.start()
            child.join()
            assert child.exitcode == -signal.SIGKILL
            states = checkpoint.files(runs.RunFolder(out).states)
            if trial % 4 == 1 and len(states) > 1:  # without another one the run could not go on
                states[-1].write_bytes(states[-1].read_bytes()[: draw.randrange(states[-1].stat().st_size)])
        if trial % 4 == 3:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(os, "fsync", _full)
                with pytest.raises(ConvatlasError, match="No space left"):
                    train(PLAIN, out, resume=True, every=1)
        train(PLAIN, out, resume=True, every=2)
        assert_same(tmp_path / "alone", out)


def _full(handle: int) -> None:
    raise OSError(28, "No space left on device")
