"""What may be wrong with a data set: a finding of any task's check, and the kinds of classification's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from convatlas.data.files import SourceProblem
from convatlas.records import Problem

HARMFUL: tuple[str, ...] = (
    "refused", "damaged", "not an image", "left out", "not read", "nested", "leak", "near leak", "conflict",
)  # fmt: skip
MEANING: Mapping[str, str] = {
    "refused": "training refuses the data with this sentence",
    "damaged": "can't be decoded; training skips it",
    "not an image": "has an image's suffix and none of an image's contents; training skips it",
    "left out": "images that belong to no class or split, or that can't be reached; training does not see them",
    "not read": "a kind of image that is not read; training skips it",
    "nested": "classes that all hold the same sub-folders; training reads them as they are",
    "leak": "the same pixels in the training and the test part",
    "near leak": "nearly the same image in the training and the test part: resized, saved again, turned or mirrored",
    "conflict": "the same pixels in two classes",
    "duplicate": "the same pixels twice in a class",
    "doubtful": "decodes, but the decoder met errors in the data; training uses it",
    "misnamed": "its suffix says another format than its contents",
    "split name": "a class that is called like a split",
    "similar names": "classes whose names differ by capitals or blanks alone; training takes them for two",
    "link": "a link that is not followed",
    "odd size": "its area is 16 times that of the median or a 16th, or its sides differ 4 times as much",
    "blank": "all pixels are alike",
    "mixed depth": "its 16-bit values stand in another range than most; all are read in the one that holds them all",
    "unusual": "not 8 bits in grey or RGB, or one of several frames; it is converted",
}


@dataclass(frozen=True)
class Finding:
    """Something to be looked at, about one image, two, or a folder."""

    kind: str  # of the `MEANING` of its check
    path: str
    detail: str


def find_similar_names(classes: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of classes whose names differ by capitals, blanks, dashes or underscores alone.

    >>> find_similar_names(["Cat", "dog", "cat "])
    [('Cat', 'cat ')]
    """
    first: dict[str, str] = {}
    plain = [(name, "".join(name.casefold().replace("_", " ").replace("-", " ").split())) for name in classes]
    return [(first[key], name) for name, key in plain if first.setdefault(key, name) != name]


def finding_of(problem: Problem) -> Finding:
    """What a reader said of a file or folder that it did not read, or reads otherwise than it seems."""
    kind = problem.kind if isinstance(problem, SourceProblem) else "damaged"
    return Finding(kind if kind in MEANING else "left out", problem.path, problem.reason)
