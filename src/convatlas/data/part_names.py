"""What people call the splits of their data: one table for folders, lists and files of every task."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Literal

Part = Literal["train", "val", "test"]

PARTS: tuple[Part, ...] = ("train", "val", "test")
_ALIASES: dict[Part, tuple[str, ...]] = {
    "train": ("train", "training", "trn", "trainval", "learn"),
    "val": ("val", "valid", "validation", "validate", "dev"),
    "test": ("test", "testing", "tst", "holdout", "heldout"),
}
_WHAT = ("set", "data", "dataset", "split", "part", "images", "image", "imgs", "img", "pictures", "photos", "samples")
_WORD = re.compile(
    rf"(?P<part>{'|'.join(name for names in _ALIASES.values() for name in sorted(names, key=len, reverse=True))})"
    rf"(?:{'|'.join(sorted(_WHAT, key=len, reverse=True))})?(?:19\d\d|20\d\d)?"
)
_SEPARATORS = re.compile(r"[\s_.\-]+")


def part_of(name: str) -> Part | None:
    """The split that a name stands for: "Train", "training_set", "test-images", "val2017"; None for other names.

    The whole name counts: "latest", "contest" and "trains" are none. Case, spaces, dots, dashes and underscores don't.

    >>> part_of("Training Set"), part_of("valid"), part_of("test2017"), part_of("latest")
    ('train', 'val', 'test', None)
    """
    match = _WORD.fullmatch(_SEPARATORS.sub("", unicodedata.normalize("NFKC", name).casefold()))
    if match is None:
        return None
    return next(part for part, names in _ALIASES.items() if match["part"] in names)


def part_in(name: str) -> Part | None:
    """The split that a word of a file's name stands for: "x_val_3", "train-00000-of-00001", "cifar.test".

    Where several words do, the first; None where none does.

    >>> part_in("x_val_3"), part_in("mnist_train"), part_in("contest")
    ('val', 'train', None)
    """
    return next((part for word in _SEPARATORS.split(name) if (part := part_of(word.rstrip("0123456789")))), None)


def find_parts(names: Iterable[str]) -> dict[Part, list[str]]:
    """The names that stand for splits, by split, in the order train, val, test."""
    named = [(part_of(name), name) for name in names]
    groups: dict[Part, list[str]] = {part: [name for its, name in named if its == part] for part in PARTS}
    return {part: members for part, members in groups.items() if members}
