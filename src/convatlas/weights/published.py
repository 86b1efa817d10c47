"""The list of published weights, kept as data in published.toml: facts of the releases, nothing downloaded."""

import hashlib
import tomllib
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from convatlas import registry

BY_DOCUMENTATION = "by its documentation"


@dataclass(frozen=True)
class Published:
    """One release of trained weights for one network."""

    network: str  # our registered name
    release: str  # what its authors call it
    format: str
    url: str  # the page of the release
    licence: str
    fits: str  # "exactly" where a file was read, "by its documentation" where none was, "not", or what differs
    file: str = ""
    note: str = ""
    sha256: tuple[str, ...] = ()  # of the files that were read and gave right answers


@cache
def _table() -> tuple[Published, ...]:
    text = resources.files("convatlas.weights").joinpath("published.toml").read_text(encoding="utf-8")
    known = {field.name for field in fields(Published)}
    rows = []
    for source in tomllib.loads(text)["source"]:
        common = {key: value for key, value in source.items() if key in known}
        rows += [_row(common | weights) for weights in source["weights"]]
    return tuple(rows)


def _row(entries: dict[str, Any]) -> Published:
    """A row of the list; what nobody read does not fit exactly, but as its documentation says."""
    read = tuple(entries.get("sha256", ()))
    unread = entries["fits"] == "exactly" and not read
    row = Published(**{key: value for key, value in entries.items() if key != "sha256"}, sha256=read)
    return replace(row, fits=BY_DOCUMENTATION) if unread else row


def was_read(path: Path) -> Published | None:
    """The release whose very file this is, if it is one that was read and gave right answers."""
    if not any(row.sha256 for row in _table()):
        return None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return next((row for row in _table() if digest in row.sha256), None)


def published(network: str | None = None) -> list[Published]:
    """The releases for a network, or all.

    Raises:
        UsageError: no such network.
    """
    if network is None:
        return list(_table())
    name = registry.card(network).name
    return [row for row in _table() if row.network == name]
