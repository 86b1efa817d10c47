"""What a finished run has reached, and how far its number can be trusted: `summary.json`."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from convatlas.training.position import error_of
from convatlas.training.recipe import Recipe
from convatlas.training.records import read_object
from convatlas.training.run import RunFolder, without_nan, write_text
from convatlas.training.schedules import Plateau

Compared = Literal["val", "test"]


@dataclass(frozen=True)
class Summary:
    """The result of a run. Errors and scores are fractions, of the weights that were kept, on the test split."""

    test_error: float
    test_loss: float
    seconds: float  # the training time: of the epochs, each with its evaluation
    epoch: int  # whose weights are the result, from 1
    epochs: int  # that were trained
    kept: Literal["last", "best"]
    chosen_on: Compared | None  # the split that the epoch was chosen on; None: nothing was chosen
    protocol: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    val_serves_as_test: bool = False  # the data have a validation split and no test split

    @property
    def selection(self) -> str:
        """Which epoch the number is of, what it was chosen on, and which split it was measured on."""
        return self._choice + (
            "; it is of the data's validation split, as they have no test split" if self.val_serves_as_test else ""
        )

    @property
    def _choice(self) -> str:
        which = f"epoch {self.epoch} of {self.epochs}"
        if self.chosen_on is None:
            return f"{which}, the last; no epoch was chosen by its error"
        how = "the best" if self.kept == "best" else "the last, stopped or slowed down by the error"
        if self.chosen_on == "val":
            return f"{which}, {how} on the validation split; the test split was seen once"
        return (
            f"{which}, {how} on the test split itself, as there is no other to choose on: the error is likely to be "
            "higher on new images"
        )

    def write(self, path: Path) -> None:
        values = asdict(self)
        scores = values.pop("scores")
        write_text(path, json.dumps(without_nan(values | scores | {"selection": self.selection}), indent=2))


def chooses(recipe: Recipe) -> bool:
    """Whether a recipe looks at the error after an epoch: to keep the best one, to stop, or to lower the rate."""
    return recipe.keep == "best" or recipe.stop is not None or isinstance(recipe.schedule, Plateau)


def read(run: RunFolder) -> dict[str, Any]:
    """The entries of `summary.json`; {} where the run is not finished.

    Raises:
        ConvatlasError: the file is damaged.
    """
    if not run.summary.exists():
        return {}
    return read_object(run.summary)


def training_seconds(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> float:
    """The training time of a run: of its epochs, each with its evaluation. Terminal, report and lists show this number.

    Args:
        summary: the entries of `summary.json`, empty where the run is not finished.
        rows: the lines of `metrics.jsonl`.
    """
    seconds = summary.get("seconds")
    return sum(float(row.get("seconds") or 0) for row in rows) if seconds is None else float(seconds)


def scored_epoch(run: RunFolder, recipe: Recipe) -> int | None:
    """Which epoch's weights a run's results are of; None where it has none yet."""
    if epoch := read(run).get("epoch"):
        return int(epoch)
    rows = run.rows() if run.metrics.exists() else []
    if not rows or recipe.keep == "last":
        return len(rows) or None
    errors = [error if math.isfinite(error := error_of(row)) else math.inf for row in rows]
    return 1 + errors.index(min(errors))
