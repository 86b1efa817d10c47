"""The names of a network's outputs, from a file, and the labels of a data set in their order."""

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from convatlas.data import DataSet, Split
from convatlas.errors import UsageError
from convatlas.inference.trained import TrainedNetwork

_DELIMITERS = {".tsv": "\t", ".csv": ","}


def with_classes(source: TrainedNetwork, path: Path) -> TrainedNetwork:
    """The source with the names of a file: one a line in the order of the outputs, or a table (.tsv, .csv).

    A table has a header and a row for each output. The last column is the name; data may call the class by any
    other column's entry as well, such as WordNet's identifier. A column `index` gives the order.

    Raises:
        UsageError: the file can't be read, or has not one name for each output.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"classes {path} can't be read: {getattr(error, 'strerror', None) or error}") from error
    if path.suffix.lower() in _DELIMITERS:
        rows = list(csv.DictReader(lines, delimiter=_DELIMITERS[path.suffix.lower()]))
        if rows and "index" in rows[0]:
            rows.sort(key=lambda row: int(row["index"]) if row["index"].isdecimal() else -1)
        entries = [[str(value) for key, value in row.items() if key != "index"] for row in rows]
    else:
        entries = [[line.strip()] for line in lines if line.strip()]
    if len(entries) != len(source.classes):
        raise UsageError(f"classes {path} has {len(entries)} names; {source.name} has {len(source.classes)} outputs")
    aliases = {alias: place for place, names in enumerate(entries) for alias in reversed(names)}
    return replace(source, classes=tuple(names[-1] for names in entries), aliases=aliases, named_classes=True)


def match_labels(split: Split, classes: tuple[str, ...], source: TrainedNetwork, name: str) -> None:
    """Turns labels that index `classes` into outputs of the network, in place.

    The data may have fewer classes than the network where both sides have names.

    Raises:
        UsageError: a class of the data is none of the network's.
    """
    if len(classes) == len(source.classes) and (not source.named_classes or classes == source.classes):
        return
    places: Mapping[str, int] = source.aliases or {name: place for place, name in enumerate(source.classes)}
    unknown = [label for label in classes if label not in places] if source.named_classes else list(classes)
    if unknown:
        theirs = describe(source.classes) if source.named_classes else f"{len(source.classes)} classes without names"
        hint = f"; classes=FILE {'gives them other names' if source.named_classes else 'names them'}"
        raise UsageError(f"data {name} has {describe(classes)}; {source.name} was trained for {theirs}{hint}")
    split.labels.copy_(torch.tensor([places[label] for label in classes])[split.labels])


def describe(classes: tuple[str, ...]) -> str:
    shown = ", ".join(classes[:4])
    return f"{len(classes)} classes ({shown}{', ...' if len(classes) > 4 else ''})"


def of_classes(source: TrainedNetwork, dataset: DataSet) -> TrainedNetwork:
    """The network with the data's names for its classes, where its weights bring none.

    Raises:
        UsageError: the data has other classes.
    """
    if len(dataset.classes) != len(source.classes) or (source.named_classes and dataset.classes != source.classes):
        raise UsageError(
            f"data {dataset.name} has the classes {', '.join(dataset.classes)}; expected those of the network, "
            f"{', '.join(source.classes)}"
        )
    return replace(source, classes=dataset.classes, colours=source.colours or dataset.colours)
