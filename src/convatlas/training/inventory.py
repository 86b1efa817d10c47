"""What a run was trained on: each sample's name, label, size and, where that is cheap, a checksum of its content.

It is written into the run folder, so that a run never goes on with other data without a word.
"""

import gzip
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from convatlas.data import ArraySplit, DataSet, EncodedSplit, PackedSplit, ShardSplit, limits
from convatlas.data.detection.split import DetectionSplit
from convatlas.data.division import keys
from convatlas.data.limits import parse_json, read_gzip
from convatlas.data.pose.people import PeopleSplit
from convatlas.data.segmentation.splits import MaskSplit
from convatlas.errors import ConvatlasError

FORMAT = 1
CHEAP_BYTES = 100_000_000  # files up to this size in all are read for their checksums
_NAMED = 3  # samples that a sentence names


@dataclass(frozen=True)
class SplitInventory:
    """One entry for each sample, in the split's order."""

    names: list[str]
    labels: list[str]  # the class's name, or a checksum of the annotation
    sizes: list[int]  # bytes; -1 where a file is not there
    checksums: list[int] | None  # of the content
    source: str  # splits that were made from one another have the same


@dataclass(frozen=True)
class Inventory:
    """The samples of a data set, split by split."""

    splits: dict[str, SplitInventory]

    def write(self, path: Path) -> None:
        """Writes a gzipped JSON document, the same bytes for the same data."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, ensure_ascii=False)
        aside = path.with_name(path.name + ".tmp")
        aside.write_bytes(gzip.compress(text.encode("utf-8", "surrogateescape"), compresslevel=3, mtime=0))
        aside.replace(path)


def read(path: Path) -> Inventory:
    """An inventory from its file.

    Raises:
        ConvatlasError: the file is damaged, or of another version.
    """
    try:
        values = parse_json(read_gzip(path).decode("utf-8", "surrogateescape"), path)
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']}")
        return Inventory({name: SplitInventory(**entries) for name, entries in values["splits"].items()})
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise ConvatlasError(f"{path} is not a record of the run's data that can be read: {error}") from error


def take(data: DataSet, before: Inventory | None = None) -> Inventory:
    """Describes each sample of a data set, before a loader has left any out.

    Args:
        before: an earlier inventory, whose contents are read where they were then; by default where that is cheap.
    """
    splits: dict[str, Any] = {"train": data.train, "val": data.val, "test": data.test}
    read_then = {name: split.checksums is not None for name, split in before.splits.items()} if before else {}
    return Inventory({
        name: _describe(split, _origin(data, name), data.classes, read_then.get(name))
        for name, split in splits.items() if split is not None
    })  # fmt: skip


@dataclass(frozen=True)
class _Origin:
    """Where a split's samples come from, and what they are called there; names are None where it says nothing."""

    source: str
    names: Sequence[Any] | None = None


def _origin(data: DataSet, split: str) -> _Origin:
    made = data.division
    if made is None:
        return _Origin(split)
    names = {"train": made.train, "val": made.val, "test": made.test}[split]
    return _Origin("train", names) if names else _Origin(split)


def compare(before: Inventory, now: Inventory) -> str | None:
    """What has changed, with some names; None where nothing has.

    Splits that were made from one another are compared as one: a new image may have changed which of the others are
    held out, but that is not what has happened to the data.
    """
    if before == now:
        return None
    changes = []
    for source in dict.fromkeys(split.source for split in (*before.splits.values(), *now.splits.values())):
        old, new = _joined(before, source), _joined(now, source)
        if old is None or new is None:
            changes.append(f"the {source} split is {'new' if old is None else 'gone'}")
        elif difference := _difference(old, new):
            changes.append(difference if source == "train" else f"{source}: {difference}")
    return "; ".join(changes) or "the same samples in another order, or split otherwise"


def _joined(inventory: Inventory, source: str) -> SplitInventory | None:
    """All samples of a source, whatever split they are in."""
    parts = [split for split in inventory.splits.values() if split.source == source]
    if not parts:
        return None
    summed = [part.checksums for part in parts]
    return SplitInventory(
        [name for part in parts for name in part.names],
        [label for part in parts for label in part.labels],
        [size for part in parts for size in part.sizes],
        None if None in summed else [value for values in summed for value in values or ()],
        source,
    )


def _difference(old: SplitInventory, new: SplitInventory) -> str:
    places, others = ({name: i for i, name in enumerate(split.names)} for split in (old, new))
    both = [(i, others[name]) for name, i in places.items() if name in others]
    resized = [old.names[i] for i, j in both if old.sizes[i] != new.sizes[j]]
    contents = (old.checksums or [], new.checksums or [])
    kinds = {
        "removed": [name for name in old.names if name not in others],
        "added": [name for name in new.names if name not in places],
        "with another label": [
            f"{old.names[i]} ({old.labels[i]}, now {new.labels[j]})" for i, j in both if old.labels[i] != new.labels[j]
        ],
        "of another size": resized,
        "of another content": [
            old.names[i]
            for i, j in both
            if old.names[i] not in set(resized) and all(contents) and contents[0][i] != contents[1][j]
        ],
    }
    said = [f"{len(names):,} {kind} ({_listed(names)})" for kind, names in kinds.items() if names]
    return ", ".join(said)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def _describe(split: Any, origin: _Origin, classes: Sequence[str], checksums: bool | None) -> SplitInventory:
    sizes = _sizes(split)
    names = origin.names if origin.names is not None and len(origin.names) == len(split) else keys(split)
    if checksums is None:
        checksums = isinstance(split, ArraySplit) or sum(sizes) <= CHEAP_BYTES
    contents = [zlib.crc32(content) for content in _contents(split)] if checksums else None
    unique = _unique([str(name) for name in names])
    return SplitInventory(unique, _labels(split, classes), sizes, contents, origin.source)


def _unique(names: list[str]) -> list[str]:
    """An image with several people stands in a split several times."""
    counts, seen = Counter(names), Counter[str]()
    result = []
    for name in names:
        seen[name] += 1
        result.append(f"{name} ({seen[name]})" if counts[name] > 1 else name)
    return result


def _labels(split: Any, classes: Sequence[str]) -> list[str]:
    if isinstance(split, DetectionSplit):
        return [_sum_of(tuple(vars(page).values())[2:]) for page in split.pages]  # all but path and size
    if isinstance(split, MaskSplit):
        return [f"{os.path.basename(mask)}, {_size_of(mask)} bytes" for mask in split.masks]
    if isinstance(split, PeopleSplit):
        return [_sum_of(tuple(vars(person).values())) for person in split.people]
    labels: list[int] = split.labels.tolist()
    return [str(classes[label]) if label < len(classes) else str(label) for label in labels]


def _sum_of(values: Any) -> str:
    """A checksum of an annotation, as text."""
    plain = [value.tolist() if isinstance(value, torch.Tensor) else value for value in values]
    return f"{zlib.crc32(repr(plain).encode('utf-8', 'surrogateescape')):08x}"


def _sizes(split: Any) -> list[int]:
    if isinstance(split, ArraySplit):
        return [split.images[0].numel() if len(split) else 0] * len(split)
    if isinstance(split, PackedSplit):
        return (split.bounds[:, 1] - split.bounds[:, 0]).tolist()
    if isinstance(split, ShardSplit):
        return split.places[:, 2].tolist()
    return [_size_of(path) for path in split.paths]


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def _contents(split: Any) -> Iterator[bytes]:
    if isinstance(split, ArraySplit):
        images: Any = split.images.numpy()
        yield from (image.tobytes() for image in images)
    elif isinstance(split, EncodedSplit) and not isinstance(split, MaskSplit):
        yield from (_encoded(split, index) for index in range(len(split)))
    else:
        others = split.masks if isinstance(split, MaskSplit) else ("",) * len(split)
        yield from (_read(path) + _read(other) for path, other in zip(split.paths, others, strict=True))


def _encoded(split: EncodedSplit, index: int) -> bytes:
    try:
        return split.encoded(index)
    except (OSError, ConvatlasError):  # a damaged file is named and skipped where it is decoded
        return b""


def _read(path: str) -> bytes:
    try:
        return limits.read_bytes(path) if path else b""
    except (OSError, ConvatlasError):
        return b""
