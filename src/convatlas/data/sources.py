"""From what a person types after `--data` to a `DataSet`."""

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from convatlas.data.arrays import read_npz
from convatlas.data.data_set import DataSet
from convatlas.data.depths import settle
from convatlas.data.division import Division, divide
from convatlas.data.folder import read_folder
from convatlas.data.groups import by_part, expand, in_folder, is_pattern
from convatlas.data.idx import find_idx, read_idx
from convatlas.data.known import NAMES, default_root, digits, known_classes, known_folders, torchvision_parts
from convatlas.data.lists import SUFFIXES as LISTS
from convatlas.data.lists import read_list
from convatlas.data.parquet import read_parquet
from convatlas.data.part_names import PARTS, Part
from convatlas.data.request import DataRequest
from convatlas.data.shards import read_shards
from convatlas.data.splits import Split
from convatlas.errors import ConvatlasError, UsageError

_DIGITS_SEED = 0  # the held-out digits are the same for every run, so that results can be compared
_ARCHIVES = (".zip", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
_PATHS = "a folder, a .csv, .tsv or .jsonl list, .npz, .parquet or .tar files"


@dataclass(frozen=True)
class Source:
    """What a source holds before anything is held out: `data check`, `train` and `eval` all begin with it."""

    name: str
    parts: Mapping[Part, Split]  # train first
    classes: tuple[str, ...] | None  # None: the source names none
    source: str

    @property
    def train(self) -> Split:
        """The training split.

        Raises:
            ConvatlasError: the source has none.
        """
        if "train" not in self.parts:
            names = " and ".join(repr(part) for part in self.parts)
            raise ConvatlasError(
                f"{self.source} has images of the part {names} and none of 'train'; expected both, or evaluate a "
                "trained network on it"
            )
        return self.parts["train"]

    def splits(self) -> dict[str, Split]:
        """By their names, train first; a validation split without a test split serves as one."""
        found: dict[str, Split] = {part: split for part, split in self.parts.items()}  # noqa: C416
        if "val" in found and "test" not in found and "train" in found:
            found["test"] = found.pop("val")
        return found

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, numbers where they have no names."""
        count = max(int(split.labels.max()) for split in self.parts.values()) + 1
        return self.classes or tuple(str(i) for i in range(count))


def load_labelled(request: DataRequest) -> DataSet:
    """Images with a label each; arguments and errors are those of `data.load`."""
    spec, test, root, download = request.spec, request.test, request.root, request.download
    source = open_source(spec, root=root, download=download)
    if test is None:
        seed = _DIGITS_SEED if spec == "digits" else request.seed
        return _divide(source, request.division, test_fraction=request.test_fraction, seed=seed)
    other = source if test == spec else open_source(test, root=root, download=download)
    if other is not source:
        settle((*source.parts.values(), *other.parts.values()))
    return _with_test(source, other, test)


def _divide(source: Source, division: Division | None, *, test_fraction: float, seed: int) -> DataSet:
    """Training, validation and test split; what the source lacks for testing is held out of its training split."""
    train = source.train
    if len(train.labels.unique()) < 2:
        raise ConvatlasError(f"{source.source} has fewer than two classes; expected at least two to tell apart")
    val, held_out, made = source.parts.get("val"), source.parts.get("test"), None
    serves = held_out is None and val is not None
    if held_out is None:
        val, held_out = None, val
    if held_out is None:
        made = division or divide(train, test_fraction=test_fraction, seed=seed)
        problems = train.problems
        train, held_out = made.apply(train)
        train.problems.extend(problems)
    if len(held_out) == 0:
        raise ConvatlasError(
            f"{source.source} leaves no test images with test_fraction {test_fraction}; expected at least one: two "
            "images of a class, or a test split"
        )
    return DataSet(
        source.name, train, held_out, source.class_names, source.source, made, val=val, val_serves_as_test=serves
    )


def _with_test(source: Source, other: Source, test: str) -> DataSet:
    """The test split of another source, or all of it where it has no splits. The same source serves as both."""
    its = other.parts.get("test") or other.parts.get("val") or other.parts["train"]
    if other is source:  # to be evaluated: it need not have anything to learn from
        train = source.parts.get("train") or its
        return DataSet(source.name, train, its, source.class_names, f"{source.source}; test: {other.source}")
    train = source.train
    if len(train.labels.unique()) < 2:
        raise ConvatlasError(f"{source.source} has fewer than two classes; expected at least two to tell apart")
    held_out, classes = _align(its, other.classes, source.classes, test)
    if classes is None:
        classes = tuple(str(i) for i in range(int(max(train.labels.max(), held_out.labels.max())) + 1))
    for split in (train, held_out):
        if int(split.labels.max()) >= len(classes):
            raise ConvatlasError(
                f"label {int(split.labels.max())} in {source.source} is out of range; expected 0 to {len(classes) - 1}"
            )
    val = source.parts.get("val")
    return DataSet(source.name, train, held_out, classes, f"{source.source}; test: {other.source}", val=val)


def parts(spec: str, *, root: Path | None = None, download: bool = False) -> tuple[dict[str, Split], tuple[str, ...]]:
    """What a source holds, before anything is held out: its splits, "train" first, and its classes.

    Raises:
        UsageError, ConvatlasError: as `data.load`.
    """
    source = open_source(spec, root=root, download=download)
    return source.splits(), source.class_names


def find_refusal(source: Source, spec: str) -> str | None:
    """The sentence with which `load` refuses a source as training data; None where it takes it."""
    try:
        _divide(source, None, test_fraction=0.2, seed=_DIGITS_SEED if spec == "digits" else 0)
    except ConvatlasError as error:
        return str(error)
    return None


def open_source(spec: str, *, root: Path | None = None, download: bool = False) -> Source:
    """The splits and classes of a data set for classification, as they lie there.

    Args:
        spec: as for `load`.
        root: as for `load`.
        download: as for `load`.

    Raises:
        UsageError: unknown name, no such path, or a named data set that isn't there.
        ConvatlasError: what is there can't be used; the message says why.
    """
    if "\0" in spec:
        raise UsageError(f"data {spec!r} has a NUL in it; expected {_PATHS}")
    source = _open(spec, root, download)
    settle(source.parts.values())
    return source


def _open(spec: str, root: Path | None, download: bool) -> Source:
    if spec in NAMES:
        return _open_named(spec, root, download)
    path = Path(spec).expanduser()
    if path.is_dir():
        try:
            return _open_folder(path)
        except OSError as error:
            raise UsageError(f"folder {error.filename or spec} can't be read: {error.strerror or error}") from error
    if path.is_file():
        try:
            return _open_file(path, spec)
        except OSError as error:
            raise UsageError(f"file {error.filename or spec} can't be read: {error.strerror or error}") from error
    if is_pattern(spec):
        files = expand(spec)
        return _open_files(files[0].stem, files, spec)
    pair_start = path.with_name(f"{path.name}_train.npz") if path.name else path
    if pair_start.is_file():
        return _open_npz(pair_start, _partners(pair_start))
    if path.exists():
        raise UsageError(f"data {spec!r} is neither a file nor a folder; expected {_PATHS}")
    if os.sep in spec or path.suffix:
        raise UsageError(f"data {spec!r} does not exist; expected {_PATHS}, or one of {', '.join(NAMES)}")
    near = difflib.get_close_matches(spec.lower(), NAMES, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}" if near else f"expected {_PATHS}, or one of {', '.join(NAMES)}"
    raise UsageError(f"unknown data {spec!r}; {hint}")


def _open_folder(path: Path) -> Source:
    name = path.resolve().name
    if files := in_folder(path):
        return _open_files(name, files, str(path))
    if idx := find_idx(path):
        return Source(name, read_idx(idx), None, str(path))
    folder = read_folder(path)
    return Source(name, folder.parts, folder.classes, str(path))


def _open_file(path: Path, spec: str) -> Source:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _open_npz(path, _partners(path))
    if suffix in LISTS:
        listed = read_list(path)
        return Source(path.stem, listed.parts, listed.classes, str(path))
    if suffix in (".tar", ".parquet"):
        return _open_files(path.stem, [path], str(path))
    hint = "unpack it and give the folder" if suffix in _ARCHIVES else f"expected {_PATHS}"
    raise UsageError(f"data {spec!r} is a file of another kind; {hint}")


def _open_files(name: str, files: Sequence[Path], source: str) -> Source:
    """Shards or parquet files; splits are told by the files' names."""
    read = read_shards if files[0].suffix == ".tar" else read_parquet
    parts: dict[Part, Split] = {}
    classes: tuple[str, ...] | None = None
    for part, members in by_part(files).items():
        split, its_classes = read(members)
        parts[part], classes = _align(split, its_classes, classes, str(members[0])) if parts else (split, its_classes)
    return Source(name, parts, classes, source)


def _open_named(name: str, root: Path | None, download: bool) -> Source:
    if name == "digits":
        return Source(name, {"train": digits()}, known_classes(name), "scikit-learn load_digits")
    folder = default_root() if root is None else Path(root).expanduser()
    for stem in (name, name.replace("-", "_")):
        start = folder / f"{stem}_train.npz"
        if start.is_file() and (partners := _partners(start)):
            found = _open_npz(start, partners)
            return Source(name, found.parts, found.classes or known_classes(name), found.source)
    try:
        train, test, classes = torchvision_parts(name, folder, download=download)
    except UsageError:  # it isn't there as torchvision would leave it
        for place in known_folders(name, folder):
            if (files := find_idx(place, ("", "raw"))) and len(files) > 1:
                return Source(name, read_idx(files), known_classes(name), str(place))
        raise
    parts: dict[Part, Split] = {"train": train} if test is None else {"train": train, "test": test}
    return Source(name, parts, classes, f"torchvision, {folder}")


def _partners(path: Path) -> dict[Part, Path]:
    """The files with the validation and test split of `x_train.npz`, those that are there."""
    if not path.stem.endswith("_train"):
        return {}
    stem = path.stem.removesuffix("_train")
    partners: dict[Part, Path] = {}
    for part in PARTS[1:]:
        file = path.with_name(f"{stem}_{part}.npz")
        if file.is_file():
            partners[part] = file
    return partners


def _open_npz(path: Path, partners: Mapping[Part, Path]) -> Source:
    own, classes = read_npz(path)
    parts: dict[Part, Split] = dict(own)
    source = str(path)
    for part, file in partners.items():
        if part in parts:
            continue
        theirs, other_classes = read_npz(file)
        if len(theirs) > 1:
            raise ConvatlasError(f"{file} holds several splits itself; expected those of {path} or its own")
        parts[part], classes = _align(next(iter(theirs.values())), other_classes, classes, str(file))
        source += f"; {part}: {file}"
    return Source(path.stem.removesuffix("_train"), parts, classes, source)


def _align(
    held_out: Split, its_classes: tuple[str, ...] | None, classes: tuple[str, ...] | None, name: str
) -> tuple[Split, tuple[str, ...] | None]:
    """The test part with labels that index the training classes; matched by name where both sides have names."""
    if classes is None:
        return held_out, its_classes
    if its_classes is None or its_classes == classes:
        if int(held_out.labels.max()) >= len(classes):
            raise ConvatlasError(
                f"label {int(held_out.labels.max())} in {name} is out of range; expected 0 to {len(classes) - 1}"
            )
        return held_out, classes
    unknown = [its_classes[i] for i in held_out.labels.unique().tolist() if its_classes[i] not in classes]
    if unknown:
        raise ConvatlasError(f"class {unknown[0]!r} of {name} is not among the training classes: {', '.join(classes)}")
    places = torch.tensor([classes.index(c) if c in classes else -1 for c in its_classes])
    held_out.labels.copy_(places[held_out.labels])
    return held_out, classes


def lasting(spec: str) -> str:
    """A path that holds from any folder; a name stays."""
    return os.path.abspath(spec) if os.sep in spec or os.path.exists(spec) else spec
