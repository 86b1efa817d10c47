"""What libraries do otherwise than the published network of that name: since when, why, and where it was read."""

import fnmatch
import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from convatlas.facts.loader import read_fields


@dataclass(frozen=True)
class Departure:
    """One thing that a library does otherwise than the published network of that name."""

    network: str  # a registered name, or a pattern of names
    library: str
    models: tuple[str, ...]  # its names there
    topics: tuple[str, ...]  # of `why`'s sentences that it explains; none: no layer shows it
    since: str  # the first release that has it, of those that were read
    reason: str
    read: str

    def concerns(self, network: str, library: str, model: str) -> bool:
        """Whether it is about this model beside this network."""
        return self.library == library and model in self.models and fnmatch.fnmatchcase(network, self.network)


@functools.cache
def departures() -> tuple[Departure, ...]:
    """All known departures.

    >>> {row.since for row in departures() if row.concerns("googlenet", "torchvision", "googlenet")}
    {'0.3.0'}

    Raises:
        LedgerError: a row breaks the schema.
    """
    rows = _table()["departures"]
    assert isinstance(rows, list)
    return tuple(Departure(**read_fields(Departure, row, f"departures.toml, row {i}")) for i, row in enumerate(rows))


def libraries_own() -> Mapping[str, str]:
    """Registered networks that are a library's form of a published one -> the published one."""
    table = _table()["libraries_own"]
    assert isinstance(table, dict)
    return {str(name): str(published) for name, published in table.items()}


@functools.cache
def _table() -> dict[str, object]:
    return tomllib.loads((resources.files("convatlas.facts") / "departures.toml").read_text(encoding="utf-8"))
