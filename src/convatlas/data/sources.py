"""From what a person types after `--data` to a `DataSet`."""

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from convatlas.data.arrays import read_npz
from convatlas.data.division import Division, divide
from convatlas.data.folder import read_folder
from convatlas.data.groups import by_part, expand, in_folder, is_pattern
from convatlas.data.known import NAMES, default_root, digits, known_classes, torchvision_parts
from convatlas.data.lists import SUFFIXES as LISTS
from convatlas.data.lists import read_list
from convatlas.data.marked import load_marked
from convatlas.data.parquet import read_parquet
from convatlas.data.shards import read_shards
from convatlas.data.splits import DataSet, Split
from convatlas.structures import ConvatlasError, UsageError

_DIGITS_SEED = 0  # the held-out digits are the same for every run, so that results can be compared
_TEST_SUFFIXES = ("_test", "_val")
_PATHS = "a folder, a .csv, .tsv or .jsonl list, .npz, .parquet or .tar files"


@dataclass(frozen=True)
class _Opened:
    name: str
    train: Split
    test: Split | None
    classes: tuple[str, ...] | None  # None: the source names none
    source: str


def load(
    spec: str,
    *,
    root: Path | None = None,
    download: bool = False,
    test: str | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    division: Division | None = None,
    task: str = "classification",
    masks: bool = False,
) -> DataSet:
    """A data set by its name or its place.

    Args:
        spec: `digits`, a name of torchvision's (`mnist`, `cifar10`, `svhn`, `imagenet` ...), or
            - a folder with one sub-folder a class, perhaps with `train` and `val` above them,
            - a .csv, .tsv or .jsonl list of paths and labels,
            - an .npz file, or the prefix of a pair `<prefix>_train.npz` and `_test.npz`,
            - a .parquet file as Hugging Face writes it, or a folder of them,
            - a .tar shard as WebDataset writes it, a folder of them, or a pattern: `/a/x-{000..127}.tar::/b/x-*.tar`.
              Parts are told by the names of files: train, and val or test.
        root: where named data sets lie; by default `~/.cache/convatlas`. `<root>/<name>_train.npz` and `_test.npz`
            are taken first.
        download: let torchvision fetch a named data set that isn't there.
        test: another spec, whose test part (or whole, where it has no parts) becomes the test part.
        test_fraction: of each class, where the source has no test part.
        seed: chooses these test pictures. What was chosen is the result's `division`, to be written down.
        division: chosen before, and used again where the source has no test part.
        task: of the networks that the data are for. Other tasks than classification take a folder: for segmentation
            of pictures and masks, as `data.dense.folders` knows them.
        masks: for detection, each object's mask too; the data have to bring some.

    Raises:
        UsageError: unknown name, no such path, a named data set that isn't there, a fraction outside (0, 1).
        ConvatlasError: what was found can't be used; the message says why.
    """
    if not 0 < test_fraction < 1:
        raise UsageError(f"test_fraction is {test_fraction}; expected a number between 0 and 1")
    if seed < 0:
        raise UsageError(f"seed is {seed}; expected 0 or more")
    if task != "classification":
        return load_marked(
            spec, task, test=test, test_fraction=test_fraction, seed=seed, division=division, masks=masks
        )
    opened = _open(spec, root, download)
    train, held_out, classes, source = opened.train, opened.test, opened.classes, opened.source
    if len(train.labels.unique()) < 2:
        raise ConvatlasError(f"{spec} has fewer than two classes; expected at least two to tell apart")
    if test is not None:
        other = _open(test, root, download)
        held_out = other.test or other.train
        held_out, classes = _align(held_out, other.classes, classes, test)
        source = f"{source}; test: {other.source}"
    made = None
    if held_out is None:
        made = division or divide(train, test_fraction=test_fraction, seed=_DIGITS_SEED if spec == "digits" else seed)
        problems = train.problems
        train, held_out = made.apply(train)
        train.problems.extend(problems)
    if len(held_out) == 0:
        raise ConvatlasError(
            f"{spec} leaves no test pictures with test_fraction {test_fraction}; expected at least one"
        )
    if classes is None:
        classes = tuple(str(i) for i in range(int(max(train.labels.max(), held_out.labels.max())) + 1))
    for split in (train, held_out):
        if int(split.labels.max()) >= len(classes):
            raise ConvatlasError(
                f"label {int(split.labels.max())} in {source} is out of range; expected 0 to {len(classes) - 1}"
            )
    return DataSet(opened.name, train, held_out, classes, source, made)


def parts(spec: str, *, root: Path | None = None, download: bool = False) -> tuple[dict[str, Split], tuple[str, ...]]:
    """What a source holds, before anything is held out: its parts, "train" first, and its classes.

    Raises:
        UsageError, ConvatlasError: as `load`.
    """
    opened = _open(spec, root, download)
    found = {"train": opened.train} | ({"test": opened.test} if opened.test is not None else {})
    count = max(int(split.labels.max()) for split in found.values()) + 1
    return found, opened.classes or tuple(str(i) for i in range(count))


def _open(spec: str, root: Path | None, download: bool) -> _Opened:
    if spec in NAMES:
        return _open_named(spec, root, download)
    path = Path(spec).expanduser()
    if path.is_dir():
        try:
            if files := in_folder(path):
                return _open_files(path.resolve().name, files, str(path))
            return _Opened(path.resolve().name, *read_folder(path), str(path))
        except OSError as error:
            raise UsageError(f"folder {error.filename or spec} can't be read: {error.strerror or error}") from error
    if path.is_file():
        suffix = path.suffix.lower()
        if suffix == ".npz":
            return _open_npz(path, _partner(path))
        if suffix in LISTS:
            return _Opened(path.stem, *read_list(path), str(path))
        if suffix in (".tar", ".parquet"):
            return _open_files(path.stem, [path], str(path))
        raise UsageError(f"data {spec!r} is a file of another kind; expected {_PATHS}")
    if is_pattern(spec):
        files = expand(spec)
        return _open_files(files[0].stem, files, spec)
    pair_start = path.with_name(f"{path.name}_train.npz")
    if pair_start.is_file():
        return _open_npz(pair_start, _partner(pair_start))
    if os.sep in spec or path.suffix:
        raise UsageError(f"data {spec!r} does not exist; expected {_PATHS}, or one of {', '.join(NAMES)}")
    near = difflib.get_close_matches(spec.lower(), NAMES, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}" if near else f"expected {_PATHS}, or one of {', '.join(NAMES)}"
    raise UsageError(f"unknown data {spec!r}; {hint}")


def _open_files(name: str, files: Sequence[Path], source: str) -> _Opened:
    """Shards or parquet files; a test part is told by the files' names."""
    read = read_shards if files[0].suffix == ".tar" else read_parquet
    train_files, test_files = by_part(files)
    train, classes = read(train_files)
    if not test_files:
        return _Opened(name, train, None, classes, source)
    held_out, its_classes = read(test_files)
    held_out, classes = _align(held_out, its_classes, classes, str(test_files[0]))
    return _Opened(name, train, held_out, classes, source)


def _open_named(name: str, root: Path | None, download: bool) -> _Opened:
    if name == "digits":
        return _Opened(name, digits(), None, known_classes(name), "scikit-learn load_digits")
    folder = default_root() if root is None else Path(root).expanduser()
    for stem in (name, name.replace("-", "_")):
        start = folder / f"{stem}_train.npz"
        partner = _partner(start)
        if start.is_file() and partner is not None:
            found = _open_npz(start, partner)
            return _Opened(name, found.train, found.test, found.classes or known_classes(name), found.source)
    return _Opened(name, *torchvision_parts(name, folder, download=download), f"torchvision, {folder}")


def _partner(path: Path) -> Path | None:
    """The file with the test part of `x_train.npz`, if there is one."""
    if not path.stem.endswith("_train"):
        return None
    stem = path.stem.removesuffix("_train")
    candidates = (path.with_name(f"{stem}{suffix}.npz") for suffix in _TEST_SUFFIXES)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _open_npz(path: Path, partner: Path | None) -> _Opened:
    train, classes = read_npz(path)
    name = path.stem.removesuffix("_train")
    if partner is None:
        return _Opened(name, train, None, classes, str(path))
    held_out, other_classes = read_npz(partner)
    aligned, classes = _align(held_out, other_classes, classes, str(partner))
    return _Opened(name, train, aligned, classes, f"{path}; test: {partner}")


def _align(
    held_out: Split, its_classes: tuple[str, ...] | None, classes: tuple[str, ...] | None, name: str
) -> tuple[Split, tuple[str, ...] | None]:
    """The test part with labels that index the training classes; matched by name where both sides have names."""
    if classes is None:
        return held_out, its_classes
    if its_classes is None or its_classes == classes:
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
