"""What a run needs of its task: batches, weights of classes, and scores of its network."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor, nn

from convatlas.data import Batch, DataSet
from convatlas.data.batch import Labels
from convatlas.data.splits import Loadable
from convatlas.errors import UsageError
from convatlas.records import AnyEvaluation, Preprocessing
from convatlas.training.distributed import Processes
from convatlas.training.recipe import Recipe

Progress = Callable[[int, int], None]
T = TypeVar("T")


Score = Callable[[nn.Module], AnyEvaluation]


class Batches(Protocol):
    """The training part, batch by batch."""

    @property
    def split(self) -> Loadable: ...
    def __len__(self) -> int: ...
    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch[Labels]]: ...


@dataclass(frozen=True)
class Materials:
    """What a run's batches and scores are made of. `net` is looked at, not changed."""

    recipe: Recipe
    data: DataSet
    preprocessing: Preprocessing
    processes: Processes
    net: nn.Module
    workers: int = 0
    on_loading: Progress | None = None

    @property
    def share(self) -> tuple[int, int]:
        return self.processes.rank, self.processes.count


@dataclass(frozen=True)
class Parts:
    """Data and scores of one run."""

    train: Batches
    class_weights: Tensor | None  # (K,) in the loss
    test: Score
    val: Score | None  # None: there is no validation split


def refuse_others(steps: Sequence[object], suited: Sequence[object], reason: str) -> None:
    """Raises UsageError that names the first augmentation that is not among the suited ones."""
    for step in steps:
        if not any(step is other for other in suited):
            raise UsageError(f"augment: {type(step).__name__} {reason}")


def expect(split: object, kind: type[T]) -> T:
    """The split, which is of this kind.

    Raises:
        UsageError: it is of another, so the data were read for another task.
    """
    if not isinstance(split, kind):
        raise UsageError(f"data hold a {type(split).__name__}; expected a {kind.__name__}, as `data.load` reads it")
    return split
