"""A run is a folder. This module writes it, piece by piece and never half, and reads it back."""

import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

import convatlas
from convatlas import weights
from convatlas.data import Division, read_division
from convatlas.io import write_file
from convatlas.structures import ConvatlasError, UsageError
from convatlas.training import recipe as recipes
from convatlas.training.recipe import Recipe


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
        """Which pictures were held out, where the data brought no test part of their own."""
        return self.path / "splits.json"

    @property
    def states(self) -> Path:
        """Where the checkpoints lie that a run goes on from."""
        return self.path / "checkpoints" / "state"

    @property
    def summary(self) -> Path:
        """Written when the run is finished."""
        return self.path / "summary.json"

    def weights(self, which: str) -> Path:
        return self.path / "checkpoints" / which / "weights.safetensors"

    def division(self) -> Division | None:
        """What `splits.json` tells, to be given to `data.load` again; None where there is no such file."""
        return read_division(self.splits) if self.splits.is_file() else None

    def rows(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, one an epoch."""
        return [json.loads(line) for line in self.metrics.read_text().splitlines()]

    def log(self, row: Mapping[str, Any]) -> None:
        with self.metrics.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def rewrite(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replaces metrics.jsonl by these rows."""
        write_text(self.metrics, "".join(json.dumps(row) + "\n" for row in rows))

    def save(self, which: str, net: nn.Module | Mapping[str, Tensor], card: dict[str, Any]) -> None:
        target = self.weights(which)
        target.parent.mkdir(parents=True, exist_ok=True)
        weights.save(target, net, card)


def create(path: Path, recipe: Recipe, classes: tuple[str, ...], *, device: str, overwrite: bool = False) -> RunFolder:
    """A new run folder with its recipe, environment and classes.

    Raises:
        UsageError: the folder holds something already, or can't be written.
    """
    run = RunFolder(path)
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            if not (overwrite and run.recipe.exists()):
                hint = "--overwrite replaces an earlier run" if run.recipe.exists() else "it is not a run"
                raise UsageError(f"--out {path} exists already and is not empty; {hint}")
            if in_use(run):
                raise UsageError(f"--out {path} is in use: another process is training in it")
            shutil.rmtree(path)
        path.mkdir(parents=True, exist_ok=True)
        write_text(run.recipe, recipes.to_toml(recipe))
        write_text(path / "environment.json", json.dumps(environment(device), indent=2))
        write_text(path / "classes.json", json.dumps(classes, indent=2, ensure_ascii=False))
    except OSError as error:
        raise UsageError(f"--out {path} can't be written: {error.strerror or error}") from error
    return run


@contextmanager
def nothing_half_written(run: RunFolder) -> Iterator[None]:
    """Takes the folder away again if the body fails before the first checkpoint is in it."""
    try:
        yield
    except BaseException:
        if not run.weights("last").exists() and not list(run.states.glob("step-*")):
            shutil.rmtree(run.path, ignore_errors=True)
        raise


@contextmanager
def locked(run: RunFolder) -> Iterator[None]:
    """Two processes that train in one folder would spoil both runs.

    Raises:
        UsageError: another process is training in it.
    """
    with (run.path / ".lock").open("w") as file:
        if not _lock(file):
            raise UsageError(f"{run.path} is in use: another process is training in it")
        yield


def in_use(run: RunFolder) -> bool:
    """Whether a process is training in the folder."""
    try:
        with (run.path / ".lock").open("r+") as file:
            return not _lock(file)
    except OSError:
        return False


def _lock(file: IO[str]) -> bool:
    """Held until the file is closed or the process is gone; True as well where the system knows no locks."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # Windows; some network file systems
        return True
    return True


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
