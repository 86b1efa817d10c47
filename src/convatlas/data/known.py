"""Data sets known by name: scikit-learn's digits, and torchvision's copies of MNIST, Fashion-MNIST and CIFAR-10."""

from pathlib import Path

import numpy as np
import torch

from convatlas.data.splits import ArraySplit
from convatlas.structures import ConvatlasError, UsageError

CLASSES: dict[str, tuple[str, ...]] = {
    "digits": tuple("0123456789"),
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
    ),
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}  # fmt: skip

_TORCHVISION = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "cifar10": "CIFAR10"}


def default_root() -> Path:
    return Path.home() / ".cache" / "convatlas"


def digits() -> ArraySplit:
    """1,797 handwritten digits, uint8 (1797, 1, 8, 8), ink bright: the test set of UCI's optical recognition data.

    The 17 grey levels 0..16 are spread over 0..255.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    grey = np.round(np.asarray(images) * (255.0 / 16.0)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return ArraySplit(torch.from_numpy(grey), torch.from_numpy(np.asarray(labels, dtype=np.int64)))


def torchvision_pair(name: str, root: Path, *, download: bool) -> tuple[ArraySplit, ArraySplit]:
    """Training and test part of a torchvision data set below `root`.

    Raises:
        UsageError: it isn't there and `download` is false.
        ConvatlasError: the download failed, or the files are damaged.
    """
    from torchvision import datasets

    data_set = getattr(datasets, _TORCHVISION[name])
    parts = []
    for train in (True, False):
        try:
            parts.append(data_set(str(root), train=train, download=download))
        except Exception as error:  # torchvision raises RuntimeError, OSError, AssertionError, ValueError, ...
            if not download and "not found" in str(error).lower():
                raise UsageError(
                    f"data {name!r} is not in {root}: give its folder with --data-root, or fetch it with --download"
                ) from error
            doing = "fetched into" if download else "read from"
            raise ConvatlasError(
                f"data {name!r} can't be {doing} {root}: {str(error) or type(error).__name__}"
            ) from error
    return _array_split(parts[0]), _array_split(parts[1])


def _array_split(data_set: object) -> ArraySplit:
    images = torch.as_tensor(data_set.data)  # type: ignore[attr-defined]
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    return ArraySplit(images, torch.as_tensor(data_set.targets))  # type: ignore[attr-defined]
