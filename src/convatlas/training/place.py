"""Where a run is written, when it is saved, and what its data are compared with."""

from dataclasses import dataclass
from pathlib import Path

from convatlas.data import DataSet
from convatlas.training import inventory
from convatlas.training.inventory import Inventory
from convatlas.training.run import RunFolder


@dataclass(frozen=True)
class SaveEvery:
    """When a checkpoint is written within an epoch; at its end one always is."""

    steps: int | None = None
    minutes: float | None = 5.0
    epochs: tuple[int, ...] = ()  # from 1; their weights stay, under checkpoints/epochs


@dataclass(frozen=True)
class Place:
    """Where a run is written, and what may be there before."""

    out: Path
    overwrite: bool = False
    resume: bool = False
    save_every: SaveEvery = SaveEvery()
    trackers: tuple[str, ...] = ()  # besides TensorBoard


def describe_samples(data: DataSet, place: Place) -> Inventory:
    """What the data are made of, to be compared with what a run began with.

    Raises:
        ConvatlasError: the record of the run that is to go on can't be read.
    """
    written = RunFolder(place.out).samples
    before = inventory.read(written) if place.resume and written.exists() else None
    return inventory.take(data, before)
