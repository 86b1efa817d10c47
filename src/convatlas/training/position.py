"""Where a run stands: what a checkpoint holds beside the state of network and optimizer."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Position:
    """Where a run stands. Together with the learner's state it is the whole run."""

    epoch: int = 0  # that are over
    index: int = 0  # steps done in the epoch
    seen: int = 0  # samples in the epoch
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0])  # losses and errors in the epoch
    epoch_seconds: float = 0.0
    seconds: float = 0.0  # the training time: of the epochs that are over, each with its evaluation
    best: float = float("inf")  # the lowest error after an epoch
    best_epoch: int = 0  # from 1; its weights are checkpoints/best
    rows: list[dict[str, Any]] = field(default_factory=list)  # of metrics.jsonl

    @property
    def errors(self) -> list[float]:
        """After each epoch, on the split on which epochs are compared."""
        return [error_of(row) for row in self.rows]

    def end_epoch(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        self.seconds = sum(row["seconds"] for row in self.rows)
        self.epoch, self.index, self.seen, self.sums, self.epoch_seconds = self.epoch + 1, 0, 0, [0.0, 0.0], 0.0

    def take_if_best(self, error: float) -> bool:
        """Whether the epoch that is about to end is the best so far, which it then is. The first is always one."""
        if error >= self.best:  # false as long as there is no number to compare with
            return False
        self.best, self.best_epoch = error, self.epoch + 1
        return True


def error_of(row: dict[str, Any]) -> float:
    """The error by which an epoch is compared with others: on the validation split where there is one."""
    error = row["val_error"] if "val_error" in row else row["test_error"]
    return float("nan") if error is None else error
