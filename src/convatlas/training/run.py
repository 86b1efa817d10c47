"""A run is a folder. This module writes it, piece by piece and never half, and reads it back."""

import json
import math
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import convatlas
from convatlas import weights
from convatlas.data import Division, read_division
from convatlas.errors import ConvatlasError, UsageError
from convatlas.io import write_file
from convatlas.training import lock
from convatlas.training import recipe as recipes
from convatlas.training.recipe import Recipe
from convatlas.training.records import read_rows


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run and what is written under them."""

    path: Path

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def splits(self) -> Path:
        """Which images were held out, where the data brought no test part of their own."""
        return self.path / "splits.json"

    @property
    def states(self) -> Path:
        """Where the checkpoints lie that a run goes on from."""
        return self.path / "checkpoints" / "state"

    @property
    def summary(self) -> Path:
        """Written when the run is finished."""
        return self.path / "summary.json"

    @property
    def samples(self) -> Path:
        """Names, labels, sizes and checksums of the samples, as `inventory` writes them."""
        return self.path / "samples.json.gz"

    def kept(self, recipe: Recipe) -> Path:
        """The weights that are the run's result: of the last epoch or of the best, as the recipe has it."""
        last = self.weights("last")
        return last if recipe.keep == "last" and last.exists() else self.weights("best")

    def weights(self, which: str) -> Path:
        return self.path / "checkpoints" / which / "weights.safetensors"

    def division(self) -> Division | None:
        """What `splits.json` tells, to be given to `data.load` again; None where there is no such file."""
        return read_division(self.splits) if self.splits.is_file() else None

    def rows(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, one an epoch; a last one that was cut off is left out."""
        return read_rows(self.metrics)

    def log(self, row: Mapping[str, Any]) -> None:
        with self.metrics.open("a") as file:
            file.write(json.dumps(without_nan(row)) + "\n")

    def rewrite(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replaces metrics.jsonl by these rows."""
        write_text(self.metrics, "".join(json.dumps(without_nan(row)) + "\n" for row in rows))

    def save(self, which: str, net: nn.Module | Mapping[str, Tensor], card: dict[str, Any]) -> None:
        target = self.weights(which)
        target.parent.mkdir(parents=True, exist_ok=True)
        weights.save(target, net, card)


def create(path: Path, recipe: Recipe, classes: tuple[str, ...], *, device: str, overwrite: bool = False) -> RunFolder:
    """A new run folder with its recipe, environment and classes.

    Raises:
        UsageError: the folder holds something already, another process holds it, or it can't be written.
    """
    with creating(path, recipe, classes, device=device, overwrite=overwrite) as run:
        return run


@contextmanager
def creating(
    path: Path, recipe: Recipe, classes: tuple[str, ...], *, device: str, overwrite: bool = False
) -> Iterator[RunFolder]:
    """The same for a body that trains: the folder is locked, and taken away if the body fails before a checkpoint."""
    run = RunFolder(path)
    refuse_occupied(run, overwrite)  # before the lock's file is put into a folder of something else
    with ExitStack() as stack:
        try:
            stack.enter_context(lock.hold(path, make=True))
            refuse_occupied(run, overwrite, held=True)
            stack.enter_context(_nothing_half_written(run))
            _remove_all(path)
            write_text(run.recipe, recipes.to_toml(recipe))
            write_text(path / "environment.json", json.dumps(environment(device), indent=2))
            write_text(path / "classes.json", json.dumps(classes, indent=2, ensure_ascii=False))
        except OSError as error:
            raise UsageError(f"out {path} can't be written: {error.strerror or error}") from error
        yield run


def refuse_occupied(run: RunFolder, overwrite: bool, held: bool = False) -> None:
    """Raises UsageError where the folder holds what is not to be replaced, or another process trains in it."""
    path = run.path
    if path.exists() and not path.is_dir():
        raise UsageError(f"out {path} exists already and is not a folder; expected a new one, or an earlier run")
    if not held and lock.in_use(path):
        raise UsageError(f"out {path} is in use: another process is training in it")
    if lock.entries(path) and not (overwrite and run.recipe.exists()):
        hint = "overwrite=True replaces an earlier run" if run.recipe.exists() else "it is not a run"
        raise UsageError(f"out {path} exists already and is not empty; {hint}")


@contextmanager
def _nothing_half_written(run: RunFolder) -> Iterator[None]:
    """Empties the folder again if the body fails before the first checkpoint is in it. The lock is held."""
    try:
        yield
    except BaseException:
        if not run.weights("last").exists() and not list(run.states.glob("step-*")):
            _remove_all(run.path)
        raise


def _remove_all(folder: Path) -> None:
    """Everything but the lock, which is held."""
    for entry in lock.entries(folder):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def locked(run: RunFolder) -> AbstractContextManager[None]:
    """Two processes that train in one folder would spoil both runs.

    Raises:
        UsageError: another process is training in it.
    """
    return lock.hold(run.path)


def in_use(run: RunFolder) -> bool:
    """Whether a process is training in the folder."""
    return lock.in_use(run.path)


def open_run(path: Path) -> RunFolder:
    """A run folder that is there.

    Raises:
        ConvatlasError: the folder is no run.
    """
    run = RunFolder(path)
    if not run.recipe.is_file():
        raise ConvatlasError(f"{path} is no run folder: it has no recipe.toml")
    return run


def environment(device: str) -> dict[str, Any]:
    """Versions and machine, as a run records them."""
    return {
        "convatlas": convatlas.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
        "gpu": torch.cuda.get_device_name() if device.startswith("cuda") else None,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def write_text(path: Path, text: str) -> None:
    """Writes completely or not at all: a reader sees the old file or the new one."""
    write_file(path, text)


def without_nan(value: Any) -> Any:
    """The value with None in the place of numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {key: without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
