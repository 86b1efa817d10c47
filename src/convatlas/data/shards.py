"""WebDataset shards: tar archives in which `NAME.jpg` and `NAME.cls` (or `NAME.json`) make a sample."""

import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convatlas.data.encoded import ShardSplit
from convatlas.data.files import SUFFIXES, SourceProblem
from convatlas.data.labels import are_numbers, indexed
from convatlas.data.limits import check_regular, parse_json, read_text, stands
from convatlas.errors import ConvatlasError
from convatlas.records import Problem

_LABEL_SUFFIXES = (".cls", ".json")  # the first that a sample has
_MAX_LABEL_BYTES = 1 << 20
_JSON_NAMES = ("label", "cls", "class", "category", "target")


class _Sample(NamedTuple):
    name: str
    first: int
    length: int
    label: int | str


def read_shards(files: Sequence[Path]) -> tuple[ShardSplit, tuple[str, ...]]:
    """The images of one part, to be read by offset, and the class names.

    The archives' headers are read once, several archives at a time. Labels are numbers, or names, which are sorted; a
    file `classes.txt` beside the first shard, with one name a line, gives the numbers their names.

    Raises:
        ConvatlasError: an archive that is damaged or compressed, no images, or a label that is neither.
    """
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(_index, files))
    samples = [sample for part, _ in found for sample in part]
    problems = [problem for _, strange in found for problem in strange]
    if not samples:
        raise ConvatlasError(f"{files[0]} holds no images with labels; expected NAME.jpg and NAME.cls or NAME.json")
    places = np.array(
        [(shard, s.first, s.length) for shard, (part, _) in enumerate(found) for s in part], dtype=np.int64
    )
    labels, classes = indexed([sample.label for sample in samples])
    listing = files[0].parent / "classes.txt"
    if stands(listing) and are_numbers(classes):
        names = tuple(line.strip() for line in read_text(listing).splitlines() if line.strip())
        if int(classes[-1]) >= len(names):
            raise ConvatlasError(f"label {classes[-1]} is out of range of the {len(names)} names in {listing}")
        numbers = np.array([int(name) for name in classes])
        labels, classes = labels.new_tensor(numbers[labels.numpy()]), names
    return ShardSplit([str(file) for file in files], places, [s.name for s in samples], labels, problems), classes


def _index(file: Path) -> tuple[list[_Sample], list[Problem]]:
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, dict[str, int | str | None]] = {}
    try:
        check_regular(file)
        with file.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            if stream.seek(-tarfile.BLOCKSIZE, 2) % tarfile.BLOCKSIZE or any(stream.read(tarfile.BLOCKSIZE)):
                raise tarfile.ReadError("it is cut off before its end")  # tarfile itself takes that for the end
            stream.seek(archive.offset)
            for member in archive:
                folder, _, base = member.name.rpartition("/")
                if not member.isfile() or member.issparse() or base.startswith("."):
                    continue
                stem, _, extension = base.partition(".")
                key, suffix = f"{folder}/{stem}", f".{extension.lower().rpartition('.')[2]}"
                if suffix in SUFFIXES:
                    images[key] = member
                elif suffix in _LABEL_SUFFIXES and (content := archive.extractfile(member)) is not None:
                    if member.size > _MAX_LABEL_BYTES:
                        raise ConvatlasError(f"{file}:{member.name} has {member.size:,} bytes; expected a label")
                    labels.setdefault(key, {})[suffix] = _label(content.read(), suffix, f"{file}:{member.name}")
    except ConvatlasError:
        raise
    except Exception as error:  # damaged headers make tarfile raise anything: TarError, ValueError, RecursionError
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConvatlasError(f"{file} is not a whole, uncompressed tar archive: {reason[:200]}") from error
    samples: list[_Sample] = []
    problems: list[Problem] = []
    for key, member in images.items():
        given = labels.get(key, {})
        label = next((given[suffix] for suffix in _LABEL_SUFFIXES if given.get(suffix) is not None), None)
        if label is None:
            reason = "no label: neither .cls nor .json with one beside it"
            problems.append(SourceProblem(f"{file}:{member.name}", reason, "left out"))
        else:
            samples.append(_Sample(member.name, member.offset_data, member.size, label))
    return samples, problems


def _label(content: bytes, suffix: str, name: str) -> int | str | None:
    """The label of a .cls file, or under its usual names in a .json file; None where that has none."""
    try:
        text = content.decode("utf-8-sig").strip()
    except ValueError as error:
        raise ConvatlasError(f"{name} is not a label: {error}") from error
    if suffix != ".json":
        return text or None
    try:
        values = parse_json(text, name)
    except ConvatlasError as error:
        reason = str(error).removeprefix(f"{name} is ")
        raise ConvatlasError(f"{name} is not a label: {reason}") from error
    if not isinstance(values, dict):
        return values if _is_label(values) else None
    return next((values[key] for key in _JSON_NAMES if _is_label(values.get(key))), None)


def _is_label(value: object) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)
