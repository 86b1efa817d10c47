"""What K runs of a cross-validation have reached together."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scipy.stats import t as student

from convatlas.training import summary
from convatlas.training.loop import Trained
from convatlas.training.position import error_of
from convatlas.training.run import RunFolder


def result_of(trained: Trained, fold: int) -> dict[str, Any]:
    """The errors of one fold's run: on its validation split in the epoch that was kept, and on the test split."""
    return _result(trained.run, asdict(trained.summary), fold)


def _result(run: RunFolder, known: Mapping[str, Any], fold: int) -> dict[str, Any]:
    row = run.rows()[known["epoch"] - 1]
    return {
        "fold": fold,
        "run": run.path.name,
        "val_error": error_of(row),
        **{name: known[name] for name in ("test_error", "epoch", "epochs", "seconds")},
    }


def fold_folder(folder: Path, fold: int) -> Path:
    """The run folder of one fold, from 1, in the folder of all."""
    return folder / f"fold{fold}"


def is_folder_of_folds(folder: Path) -> bool:
    """Whether a cross-validation was begun there, rather than one run."""
    return RunFolder(fold_folder(folder, 1)).recipe.is_file() and not RunFolder(folder).recipe.exists()


def finished_result(folder: Path, fold: int) -> dict[str, Any] | None:
    """What a fold has reached that is finished; None where it is still to be trained, wholly or in part."""
    run = RunFolder(fold_folder(folder, fold))
    known = summary.read(run)
    return _result(run, known, fold) if known else None


def summarise(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and 95% interval of both errors over the folds."""
    errors = {name: [result[name] for result in results] for name in ("val_error", "test_error")}
    return {
        "folds": list(results),
        **{name: {"mean": mean, "interval_95": list(interval)} for name, (mean, interval) in (
            (name, mean_interval(values)) for name, values in errors.items()
        )},
    }  # fmt: skip


def mean_interval(values: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """The mean and its 95% interval by Student's t, within [0, 1]. The folds share images, so it is a rough one.

    Example:
        >>> mean, (low, high) = mean_interval([0.1, 0.2, 0.3])
        >>> round(mean, 3), round(low, 3), round(high, 3)
        (0.2, 0.0, 0.448)
    """
    mean = statistics.fmean(values)
    half = float(student.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, (max(mean - half, 0.0), min(mean + half, 1.0))
