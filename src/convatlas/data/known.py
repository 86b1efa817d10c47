"""Data sets known by name: scikit-learn's digits, and torchvision's for classification."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convatlas.caches import cache_folder
from convatlas.data.encoded import FileSplit
from convatlas.data.splits import ArraySplit, Split
from convatlas.errors import ConvatlasError, UsageError

_DIGITS = tuple("0123456789")
_CLOTHES = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
_OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class _Known:
    """A class of `torchvision.datasets`, what its training and test part are called, and the names it may lack."""

    kind: str
    train: Mapping[str, Any] = field(default_factory=lambda: {"train": True})
    test: Mapping[str, Any] | None = field(default_factory=lambda: {"train": False})  # None: it has no such part
    classes: tuple[str, ...] | None = None  # None: as torchvision names them, else numbers
    fetches: bool = True  # takes `download`


def _split(train: str, test: str) -> dict[str, Any]:
    return {"train": {"split": train}, "test": {"split": test}}


_TORCHVISION = {
    "mnist": _Known("MNIST", classes=_DIGITS),
    "fashion-mnist": _Known("FashionMNIST", classes=_CLOTHES),
    "cifar10": _Known("CIFAR10", classes=_OBJECTS),
    "cifar100": _Known("CIFAR100"),
    "kmnist": _Known("KMNIST"),
    "qmnist": _Known("QMNIST", classes=_DIGITS),
    "usps": _Known("USPS", classes=_DIGITS),
    "svhn": _Known("SVHN", **_split("train", "test"), classes=_DIGITS),
    "stl10": _Known("STL10", **_split("train", "test")),
    "gtsrb": _Known("GTSRB", **_split("train", "test")),
    "caltech101": _Known("Caltech101", {}, None),
    "caltech256": _Known("Caltech256", {}, None),
    "country211": _Known("Country211", **_split("train", "test")),
    "dtd": _Known("DTD", **_split("train", "test")),
    "eurosat": _Known("EuroSAT", {}, None),
    "fgvc-aircraft": _Known("FGVCAircraft", **_split("trainval", "test")),
    "flowers102": _Known("Flowers102", **_split("train", "test")),
    "food101": _Known("Food101", **_split("train", "test")),
    "imagenet": _Known("ImageNet", **_split("train", "val"), fetches=False),
    "imagenette": _Known("Imagenette", **_split("train", "val")),
    "oxford-pets": _Known("OxfordIIITPet", **_split("trainval", "test")),
    "places365": _Known("Places365", **_split("train-standard", "val")),
    "rendered-sst2": _Known("RenderedSST2", **_split("train", "test")),
    "stanford-cars": _Known("StanfordCars", **_split("train", "test")),
    "sun397": _Known("SUN397", {}, None),
}

_ABSENT = ("not found", "not present", "does not exist")  # as torchvision puts it

_IDX = ("mnist", "fashion-mnist", "kmnist")  # distributed as idx files of bytes

NAMES = ("digits", *_TORCHVISION)


def default_root() -> Path:
    return cache_folder()


def digits() -> ArraySplit:
    """1,797 handwritten digits, uint8 (1797, 1, 8, 8), ink bright: the test set of UCI's optical recognition data.

    The 17 grey levels 0..16 are spread over 0..255.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    grey = np.round(np.asarray(images) * (255.0 / 16.0)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return ArraySplit(torch.from_numpy(grey), torch.from_numpy(np.asarray(labels, dtype=np.int64)))


def known_classes(name: str) -> tuple[str, ...] | None:
    """The class names that this module itself knows for a data set."""
    return _DIGITS if name == "digits" else _TORCHVISION[name].classes


def known_folders(name: str, root: Path) -> tuple[Path, ...]:
    """Where a data set's own files may lie: in a folder of its name or of torchvision's below `root`, or in `root`."""
    names = (name, name.replace("-", "_"), _TORCHVISION[name].kind)
    return tuple(dict.fromkeys((*(root / part for part in names), root))) if name in _IDX else ()


def torchvision_parts(name: str, root: Path, *, download: bool) -> tuple[Split, Split | None, tuple[str, ...] | None]:
    """Training part, test part where there is one, and class names of a torchvision data set below `root`.

    Raises:
        UsageError: it isn't there and `download` is false, or torchvision can't fetch it.
        ConvatlasError: the download failed, or the files are damaged.
    """
    known = _TORCHVISION[name]
    if download and not known.fetches:
        raise UsageError(
            f"data {name!r} can't be fetched; expected its archives in data_root=FOLDER, from their own site"
        )
    train = _opened(name, known, known.train, root, download)
    test = None if known.test is None else _part(_opened(name, known, known.test, root, download))
    return _part(train), test, known.classes or _names(train)


def _opened(name: str, known: _Known, part: Mapping[str, Any], root: Path, download: bool) -> Any:
    from torchvision import datasets

    fetching = {"download": download} if known.fetches else {}
    try:
        return getattr(datasets, known.kind)(str(root), **part, **fetching)
    except Exception as error:  # torchvision raises RuntimeError, OSError, AssertionError, ValueError, ...
        message = " ".join(str(error).split()) or type(error).__name__
        absent = isinstance(error, FileNotFoundError) or any(words in message.lower() for words in _ABSENT)
        if not download and absent:
            how = ", or fetch it with download=True" if known.fetches else f": {message}"
            raise UsageError(f"data {name!r} is not in {root}: give its folder with data_root=FOLDER{how}") from error
        doing = "fetched into" if download else "read from"
        raise ConvatlasError(f"data {name!r} can't be {doing} {root}: {message}") from error


def _part(found: Any) -> Split:
    """The images and labels of a torchvision data set: arrays, or paths, which its classes keep in several ways."""
    if hasattr(found, "data"):
        return _array_split(found.data, found.targets if hasattr(found, "targets") else found.labels)
    if hasattr(found, "categories"):  # Caltech 101 and 256
        return FileSplit(*_caltech(found))
    if hasattr(found, "imgs") and not hasattr(found, "samples"):  # Places365
        return _file_split(*zip(*found.imgs, strict=True))
    pairs = getattr(found, "samples", None) or getattr(found, "_samples", None)
    if pairs:
        return _file_split(*zip(*((pair[0], pair[1]) for pair in pairs), strict=True))
    return _file_split(getattr(found, "_image_files", None) or found._images, found._labels)


def _array_split(images: Any, labels: Any) -> ArraySplit:
    images = torch.as_tensor(images)
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[1] != 3:
        images = images.permute(0, 3, 1, 2).contiguous()
    labels = torch.as_tensor(labels)
    return ArraySplit(images, labels[:, 0] if labels.ndim == 2 else labels)  # QMNIST has eight more columns


def _file_split(paths: Sequence[Any], labels: Sequence[int]) -> FileSplit:
    return FileSplit([str(path) for path in paths], torch.tensor(labels))


def _caltech(found: Any) -> tuple[list[str], torch.Tensor]:
    """Caltech 101 and 256 number the files of a class and keep no paths."""
    kind = "101" if type(found).__name__ == "Caltech101" else "256"
    paths = []
    for number, label in zip(found.index, found.y, strict=True):
        file = f"image_{number:04d}.jpg" if kind == "101" else f"{label + 1:03d}_{number:04d}.jpg"
        paths.append(str(Path(found.root, f"{kind}_ObjectCategories", found.categories[label], file)))
    return paths, torch.tensor(found.y)


def _names(found: Any) -> tuple[str, ...] | None:
    """torchvision's class names; ImageNet's and Imagenette's first synonym. One that comes twice has its number."""
    names = getattr(found, "classes", None) or getattr(found, "categories", None)
    if names is None:
        return None
    first = [name if isinstance(name, str) else name[0] for name in names]
    counts = Counter(first)
    return tuple(name if counts[name] == 1 else f"{name} ({place})" for place, name in enumerate(first))
