"""A run loses nothing: damaged checkpoints, changed data, several processes with one folder, deaths at any moment."""

import json
import multiprocessing
import os
import random
import re
import signal
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from convatlas import data
from convatlas.cli import main
from convatlas.data import ArraySplit, DataSet
from convatlas.errors import ConvatlasError, UsageError
from convatlas.records import Preprocessing
from convatlas.training import DataSource, Recipe, SaveEvery, checkpoint, fit, inventory, lock, tasks
from convatlas.training import run as runs
from convatlas.training.conflicts import find_conflicts
from convatlas.training.recipe import SGD
from convatlas.training.session import Session
from convatlas.training.sources import load_data
from convatlas.training.summary import scored_epoch

TINY = Recipe(
    network="caffe_lenet",
    variant="test",
    source="a test",
    epochs=3,
    batch_size=8,
    optimizer=SGD(lr=0.01),
    preprocessing=Preprocessing((28, 28), 1, mean=(0.5,), std=(0.5,)),
    data=DataSource("greys"),
)


class DeathError(BaseException):
    """The process is gone, as far as the run folder can tell."""


def greys(count: int = 30, seed: int = 0) -> DataSet:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.randint(0, 80, (count, 1, 28, 28), generator=draw, dtype=torch.uint8)
    images[:, 0, 0, 0] += labels.to(torch.uint8) * 80
    split = ArraySplit(images, labels)
    return DataSet("greys", split, split.select(range(12)), ("a", "b", "c"), "made here")


def train(out: Path, *, parts: DataSet | None = None, recipe: Recipe = TINY, every: int = 1, **more):
    return fit(recipe, parts or greys(), out, device="cpu", save_every=SaveEvery(steps=every), **more)


def killed_at(monkeypatch: pytest.MonkeyPatch, step: int, out: Path, **more) -> None:
    after_step = Session.after_step

    def dies(self, done, settle):
        after_step(self, done, settle)
        if done == step:
            raise DeathError

    with monkeypatch.context() as patch:
        patch.setattr(Session, "after_step", dies)
        with pytest.raises(DeathError):
            train(out, **more)


def everything(folder: Path) -> dict[str, bytes]:
    """Each file below a folder and its bytes, but the lock."""
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != lock.NAME
    }


def states(out: Path) -> list[Path]:
    return checkpoint.files(runs.RunFolder(out).states)


@pytest.fixture
def stopped(tmp_path, monkeypatch) -> Path:
    """A run that died in its second epoch, with two checkpoints."""
    killed_at(monkeypatch, 6, tmp_path / "run")
    assert len(states(tmp_path / "run")) == 2
    return tmp_path / "run"


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def test_a_damaged_checkpoint_is_set_aside_under_another_name(stopped):
    newest, notes = states(stopped)[-1], []
    cut_off(newest)
    bytes_before = newest.read_bytes()
    train(stopped, resume=True, on_note=notes.append)
    aside = newest.with_name(newest.name + ".damaged")
    assert aside.read_bytes() == bytes_before
    assert aside.name in notes[0]
    assert runs.RunFolder(stopped).summary.exists()


def test_where_every_checkpoint_is_damaged_nothing_is_changed_and_the_run_does_not_start_over(stopped):
    for path in states(stopped):
        cut_off(path)
    before = everything(stopped)
    with pytest.raises(ConvatlasError, match=r"no checkpoint that it could go on from.*overwrite") as caught:
        train(stopped, resume=True)
    assert caught.value.exit_code == 1
    assert everything(stopped) == before


def test_lost_checkpoints_of_a_run_with_epochs_are_no_reason_to_start_over(stopped):
    for path in states(stopped):
        path.unlink()
    before = everything(stopped)
    with pytest.raises(ConvatlasError, match="no checkpoint that it could go on from"):
        train(stopped, resume=True)
    assert everything(stopped) == before


def test_a_checkpoint_of_another_version_ends_the_command_with_1_and_stays(stopped, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", 2)
        checkpoint.save(stopped / "checkpoints" / "state", 900, {"steps": 4})
    before = everything(stopped)
    with pytest.raises(ConvatlasError, match=r"format 2; this version of convatlas reads 1") as caught:
        train(stopped, resume=True)
    assert caught.value.exit_code == 1
    assert everything(stopped) == before


def test_a_read_error_ends_the_command_with_1_and_nothing_is_removed(stopped, monkeypatch):
    before, opened = everything(stopped), Path.open

    def fails(self, mode="r", *args, **kwargs):
        if self.suffix == ".safetensors" and "state" in str(self) and "r" in mode:
            raise OSError(5, "Input/output error")
        return opened(self, mode, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", fails)
        with pytest.raises(ConvatlasError, match="Input/output error") as caught:
            train(stopped, resume=True)
    assert caught.value.exit_code == 1
    assert everything(stopped) == before


def test_older_checkpoints_go_only_when_a_newer_one_is_complete(tmp_path, monkeypatch):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, {"step": step})
    (tmp_path / "step-000000900.safetensors").write_bytes(b"of tomorrow")  # sorts last, and is not ours to judge
    checkpoint.save(tmp_path, 3, {"step": 3})
    assert [path.name[5:14] for path in checkpoint.files(tmp_path)] == ["000000002", "000000003", "000000900"]
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ConvatlasError, match="No space left"):
        checkpoint.save(tmp_path, 4, {"step": 4})
    assert [path.name[5:14] for path in checkpoint.files(tmp_path)] == ["000000002", "000000003", "000000900"]


def full_disk(handle: int) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("keep", ["last", "best"])
def test_best_holds_the_best_epoch_and_last_the_last(keep, tmp_path, monkeypatch):
    errors = iter([0.5, float("nan"), 0.2, 0.4, 0.2])
    evaluated = tasks.classification.evaluate

    def pretends(*args, **kwargs):
        return replace(evaluated(*args, **kwargs), top1_error=next(errors))

    monkeypatch.setattr(tasks.classification, "evaluate", pretends)
    trained = train(tmp_path / "run", recipe=replace(TINY, epochs=5, keep=keep))
    cards = {which: card_of(trained.run.weights(which)) for which in ("best", "last")}
    assert (cards["last"]["epoch"], cards["best"]["epoch"], cards["best"]["chosen_on"]) == (5, 3, "test")
    assert trained.summary.epoch == {"last": 5, "best": 3}[keep]
    assert trained.run.kept(replace(TINY, keep=keep)) == trained.run.weights(keep)
    assert scored_epoch(trained.run, TINY) == trained.summary.epoch


def card_of(path: Path) -> dict:
    from convatlas import weights

    card = weights.read_card(path)
    assert card is not None
    return card


# --- the data of a run


def changed_array(kind: str) -> DataSet:
    whole = greys()
    images, labels = whole.train.images.clone(), whole.train.labels.clone()  # pyright: ignore[reportAttributeAccessIssue]
    if kind == "relabelled":
        labels[7] = (labels[7] + 1) % 3
    elif kind == "another content":
        images[9, 0, 5, 5] ^= 1
    return replace(whole, train=ArraySplit(images, labels))


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [("relabelled", r"1 with another label \(7 \(b, now c\)\)"), ("another content", r"1 of another content \(9\)")],
)
def test_other_arrays_are_refused(kind, sentence, stopped):
    before = everything(stopped)
    with pytest.raises(UsageError, match=sentence):
        train(stopped, resume=True, parts=changed_array(kind))
    assert everything(stopped) == before


def folder_of_images(path: Path) -> Path:
    """Two classes of twelve images each."""
    draw = torch.Generator().manual_seed(0)
    for name, low in (("cats", 0), ("dogs", 120)):
        (path / name).mkdir(parents=True)
        for i in range(12):
            image = torch.randint(low, low + 100, (28, 28), generator=draw, dtype=torch.uint8)
            Image.fromarray(image.numpy()).save(path / name / f"{i:02}.png")
    return path


def add(path: Path) -> None:
    Image.new("L", (28, 28), 77).save(path / "cats" / "new.png")


def remove(path: Path) -> None:
    (path / "dogs" / "03.png").unlink()


def relabel(path: Path) -> None:
    (path / "dogs" / "04.png").rename(path / "cats" / "from_dogs.png")


def resize(path: Path) -> None:
    Image.effect_noise((40, 40), 90).save(path / "dogs" / "05.png")


CHANGES = {
    add: r"1 added \(cats/new.png\)",
    remove: r"1 removed \(dogs/03.png\)",
    relabel: r"1 removed \(dogs/04.png\), 1 added \(cats/from_dogs.png\)",
    resize: r"1 of another size \(dogs/05.png\)",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_folder_is_refused_and_what_has_changed_is_named(change, tmp_path, monkeypatch, capsys):
    folder, out = folder_of_images(tmp_path / "pets"), tmp_path / "run"
    parts = load_data(DataSource(str(folder)), "caffe_lenet")
    killed_at(monkeypatch, 4, out, parts=parts, recipe=replace(TINY, data=DataSource(str(folder))))
    change(folder)
    before = everything(out)
    assert main(["train", "--resume", str(out), "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert re.search(CHANGES[change], said), said
    assert everything(out) == before


def test_the_same_data_elsewhere_go_on(tmp_path, monkeypatch):
    folder, out = folder_of_images(tmp_path / "pets"), tmp_path / "run"
    killed_at(monkeypatch, 4, out, parts=load_data(DataSource(str(folder)), "caffe_lenet"))
    moved = folder.rename(tmp_path / "elsewhere")
    assert train(out, resume=True, parts=load_data(DataSource(str(moved)), "caffe_lenet")).run.summary.exists()


def test_a_run_without_a_record_of_its_data_goes_on_as_before(stopped):
    runs.RunFolder(stopped).samples.unlink()
    assert train(stopped, resume=True).run.summary.exists()


def test_a_damaged_record_of_the_data_is_named(stopped):
    cut_off(runs.RunFolder(stopped).samples)
    with pytest.raises(ConvatlasError, match=r"samples.json.gz is not a record"):
        train(stopped, resume=True)


@pytest.mark.data
@pytest.mark.parametrize(("task", "folder"), [("ssd300", "bccd"), ("unet", "camvid")])
def test_annotations_are_part_of_the_record(task, folder, data_root, tmp_path):
    loaded = load_data(DataSource(str(data_root / folder)), task)
    found = inventory.take(loaded)
    found.write(tmp_path / "samples.json.gz")
    assert inventory.compare(inventory.read(tmp_path / "samples.json.gz"), inventory.take(loaded, found)) is None
    again = inventory.read(tmp_path / "samples.json.gz")
    again.splits["train"].labels[3] += "x"
    assert "1 with another label" in str(inventory.compare(again, found))


# --- several processes, one folder


def _processes() -> ForkServerContext:
    """Children of a clean server: one forked here could not train once a test has started autograd's threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["convatlas.training"])
    return context


def race(out: str, start, results) -> None:
    torch.set_num_threads(1)
    start.wait()
    try:
        train(Path(out), recipe=replace(TINY, epochs=1))
        results.put("trained")
    except UsageError as error:
        results.put("in use" if "in use" in str(error) or "exists already" in str(error) else str(error))


def claim(out: str, start, results, fails: bool) -> None:
    """Holds the folder for a moment, as a run does that fails before its first checkpoint, or not."""
    start.wait()
    for _ in range(40):
        try:
            with runs.creating(Path(out), TINY, ("a",), device="cpu") as run:
                marker = run.path / "mine"
                marker.write_text(str(os.getpid()))
                if marker.read_text() != str(os.getpid()) or not run.recipe.exists():
                    results.put("spoiled")
                    return
                if fails:
                    raise KeyError
                marker.unlink()
                runs._remove_all(run.path)
        except UsageError:
            pass
        except KeyError:
            pass
    results.put("well")


def test_many_processes_with_one_new_folder(tmp_path):
    """One trains, and the others say that it is in use; nobody removes what another writes."""
    context = _processes()
    start, results = context.Event(), context.Queue()
    children = [context.Process(target=race, args=(str(tmp_path / "run"), start, results)) for _ in range(6)]
    for child in children:
        child.start()
    start.set()
    said = [results.get(timeout=120) for _ in children]
    for child in children:
        child.join()
    assert sorted(set(said)) == ["in use", "trained"]
    assert said.count("trained") == 1
    assert runs.RunFolder(tmp_path / "run").summary.exists()


def test_folders_that_are_made_and_removed_all_the_time_belong_to_one_process_at_a_time(tmp_path):
    context = _processes()
    start, results = context.Event(), context.Queue()
    out = str(tmp_path / "deep" / "run")
    children = [context.Process(target=claim, args=(out, start, results, i % 2 == 0)) for i in range(8)]
    for child in children:
        child.start()
    start.set()
    said = {results.get(timeout=120) for _ in children}
    for child in children:
        child.join()
    assert said == {"well"}


def test_what_another_holds_is_not_cleaned_up(tmp_path):
    out = tmp_path / "run"
    with runs.creating(out, TINY, ("a",), device="cpu"):
        before = everything(out)
        for overwrite in (False, True):
            with pytest.raises(UsageError, match="in use"):
                train(out, overwrite=overwrite)
        assert everything(out) == before


def test_a_folder_of_something_else_is_left_as_it_is(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_bytes(b"x")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="it is not a run"):
            train(tmp_path / "photos", overwrite=overwrite)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["one.jpg"]


def test_a_run_that_fails_before_its_first_step_leaves_no_folder(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Session, "batches", lambda self, at: iter([1 / 0]))
        with pytest.raises(ZeroDivisionError):
            train(tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- real deaths


def run_until_killed(out: str, step: int, resume: bool) -> None:
    torch.set_num_threads(1)
    after_step = Session.after_step

    def dies(self, done, settle):
        after_step(self, done, settle)
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(Session, "after_step", dies)  # noqa: B010 - of this process alone
    train(Path(out), resume=resume, every=2)


def test_four_kills_are_survived_bit_for_bit(tmp_path):
    torch.set_num_threads(1)
    train(tmp_path / "alone")
    draw, context = random.Random(1), _processes()
    for trial in range(4):
        out, resume = tmp_path / f"run{trial}", False
        for step in sorted(draw.sample(range(1, 12), 2)):
            child = context.Process(target=run_until_killed, args=(str(out), step, resume))
            child.start()
            child.join()
            assert child.exitcode == -signal.SIGKILL
            resume = True
        train(out, resume=True)
        for which in ("last", "best"):
            found, expected = (load_file(runs.RunFolder(folder).weights(which)) for folder in (out, tmp_path / "alone"))
            assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_last_line_of_the_metrics_may_be_cut_off(stopped):
    run = runs.RunFolder(stopped)
    with run.metrics.open("a") as file:
        file.write('{"epoch": 2, "tr')
    assert [row["epoch"] for row in run.rows()] == [1]
    train(stopped, resume=True)
    assert [row["epoch"] for row in run.rows()] == [1, 2, 3]


def test_what_is_no_number_is_null_in_the_files(tmp_path):
    run = runs.create(tmp_path / "run", TINY, ("a",), device="cpu")
    run.log({"epoch": 1, "test_error": float("nan"), "test_loss": float("inf")})
    assert json.loads(run.metrics.read_text()) == {"epoch": 1, "test_error": None, "test_loss": None}


def test_digits_are_described_in_a_moment():
    digits = data.load("digits")
    assert inventory.compare(inventory.take(digits), inventory.take(data.load("digits"))) is None


def test_an_image_in_two_classes_is_named_by_train(tmp_path):
    folder, notes = folder_of_images(tmp_path / "pets"), []
    (folder / "dogs" / "twin.png").write_bytes((folder / "cats" / "04.png").read_bytes())
    train(tmp_path / "run", parts=load_data(DataSource(str(folder)), "caffe_lenet"), on_note=notes.append)
    assert "an image stands in two classes" in notes[0]
    assert "cats/04.png (cats, " in notes[0]
    assert "dogs/twin.png (dogs, " in notes[0]


def test_the_same_checksum_is_not_yet_the_same_image(tmp_path, monkeypatch):
    monkeypatch.setattr(inventory.zlib, "crc32", lambda content, start=0: 7)
    parts = greys()
    assert find_conflicts(parts, inventory.take(parts)) == []
    twins = parts.train.select([0, 0, 1])
    twins.labels[1] = 2
    found = find_conflicts(replace(parts, train=twins), inventory.take(replace(parts, train=twins)))
    assert [(one.place, other.place) for one, other in found if one.split == other.split == "train"] == [(0, 1)]
