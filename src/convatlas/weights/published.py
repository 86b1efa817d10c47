"""The list of published weights, kept as data in published.toml: facts of the releases, nothing downloaded."""

import tomllib
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources

from convatlas import registry


@dataclass(frozen=True)
class Published:
    """One release of trained weights for one network."""

    network: str  # our registered name
    release: str  # what its authors call it
    format: str
    url: str  # the page of the release
    licence: str
    fits: str  # "exactly", "not", or what differs
    file: str = ""
    note: str = ""


@cache
def _table() -> tuple[Published, ...]:
    text = resources.files("convatlas.weights").joinpath("published.toml").read_text(encoding="utf-8")
    known = {field.name for field in fields(Published)}
    rows = []
    for source in tomllib.loads(text)["source"]:
        common = {key: value for key, value in source.items() if key in known}
        rows += [Published(**(common | weights)) for weights in source["weights"]]
    return tuple(rows)


def published(network: str | None = None) -> list[Published]:
    """The releases for a network, or all.

    Raises:
        UsageError: no such network.
    """
    if network is None:
        return list(_table())
    name = registry.card(network).name
    return [row for row in _table() if row.network == name]
