"""From what a person types after `--data` to a `DataSet`."""

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from convatlas.data.arrays import read_npz
from convatlas.data.folder import read_folder
from convatlas.data.known import CLASSES, default_root, digits, torchvision_pair
from convatlas.data.random import permutation
from convatlas.data.splits import DataSet, Split
from convatlas.structures import ConvatlasError, UsageError

_DIGITS_SEED = 0  # the held-out digits are the same for every run, so that results can be compared
_TEST_SUFFIXES = ("_test", "_val")


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
) -> DataSet:
    """A data set by name, .npz file, prefix of a pair of .npz files, or folder with one sub-folder a class.

    Args:
        spec: `digits`, `mnist`, `fashion-mnist`, `cifar10`, or a path.
        root: where named data sets lie; by default `~/.cache/convatlas`. `<root>/<name>_train.npz` and `_test.npz`
            are taken first.
        download: let torchvision fetch a named data set that isn't there.
        test: another spec, whose test part (or whole, where it has no parts) becomes the test part.
        test_fraction: of each class, where the source has no test part.
        seed: chooses these test pictures.

    Raises:
        UsageError: unknown name, no such path, a named data set that isn't there, a fraction outside (0, 1).
        ConvatlasError: what was found can't be used; the message says why.
    """
    if not 0 < test_fraction < 1:
        raise UsageError(f"test_fraction is {test_fraction}; expected a number between 0 and 1")
    if seed < 0:
        raise UsageError(f"seed is {seed}; expected 0 or more")
    opened = _open(spec, root, download)
    train, held_out, classes, source = opened.train, opened.test, opened.classes, opened.source
    if len(train.labels.unique()) < 2:
        raise ConvatlasError(f"{spec} has fewer than two classes; expected at least two to tell apart")
    if test is not None:
        other = _open(test, root, download)
        held_out = other.test or other.train
        held_out, classes = _align(held_out, other.classes, classes, test)
        source = f"{source}; test: {other.source}"
    if held_out is None:
        is_test = stratified(train.labels, test_fraction, _DIGITS_SEED if spec == "digits" else seed)
        problems = train.problems
        train, held_out = train.select(_where(~is_test)), train.select(_where(is_test))
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
    return DataSet(opened.name, train, held_out, classes, source)


def stratified(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Which samples are held out: (N,) int64 -> (N,) bool, the fraction of each class, rounded.

    At least one of each class is held out and at least one is not; a class of one sample is not held out.
    """
    order = permutation(len(labels), seed, 0)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = order[labels[order] == label]
        count = min(max(round(len(members) * fraction), 1), len(members) - 1)
        held_out[members[:count]] = True
    return held_out


def _where(mask: Tensor) -> list[int]:
    return mask.nonzero()[:, 0].tolist()


def _open(spec: str, root: Path | None, download: bool) -> _Opened:
    if spec in CLASSES:
        return _open_named(spec, root, download)
    path = Path(spec).expanduser()
    if path.is_dir():
        try:
            train, held_out, classes = read_folder(path)
        except OSError as error:
            raise UsageError(f"folder {error.filename or spec} can't be read: {error.strerror or error}") from error
        return _Opened(path.resolve().name, train, held_out, classes, str(path))
    if path.is_file() and path.suffix == ".npz":
        return _open_npz(path, _partner(path))
    if path.is_file():
        raise UsageError(f"data {spec!r} is a file; expected an .npz file or a folder with one sub-folder a class")
    pair_start = path.with_name(f"{path.name}_train.npz")
    if pair_start.is_file():
        return _open_npz(pair_start, _partner(pair_start))
    if os.sep in spec or path.suffix:
        raise UsageError(
            f"data {spec!r} does not exist; expected an .npz file, a folder, or one of {', '.join(CLASSES)}"
        )
    near = difflib.get_close_matches(spec.lower(), CLASSES, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}" if near else f"expected {', '.join(CLASSES)}, an .npz file or a folder"
    raise UsageError(f"unknown data {spec!r}; {hint}")


def _open_named(name: str, root: Path | None, download: bool) -> _Opened:
    if name == "digits":
        return _Opened(name, digits(), None, CLASSES[name], "scikit-learn load_digits")
    folder = default_root() if root is None else Path(root).expanduser()
    for stem in (name, name.replace("-", "_")):
        start = folder / f"{stem}_train.npz"
        partner = _partner(start)
        if start.is_file() and partner is not None:
            found = _open_npz(start, partner)
            return _Opened(name, found.train, found.test, found.classes or CLASSES[name], found.source)
    train, held_out = torchvision_pair(name, folder, download=download)
    return _Opened(name, train, held_out, CLASSES[name], f"torchvision, {folder}")


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
