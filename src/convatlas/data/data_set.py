"""The splits of one source, with the classes that they share."""

from dataclasses import dataclass

from convatlas.data.division import Division
from convatlas.data.splits import Split


@dataclass(frozen=True)
class DataSet:
    """A training, a test and perhaps a validation split with the same classes.

    Epochs are compared on `val`, so that `test` is seen once, by the weights that were chosen. Where `val` is None,
    `test` has to serve for both.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    source: str  # where it came from, for the run's record
    division: Division | None = None  # where the source brought no test part
    colours: tuple[tuple[int, int, int], ...] | None = None  # of the classes, where they have any
    val: Split | None = None
    val_serves_as_test: bool = False  # the source has a validation split and no test split
