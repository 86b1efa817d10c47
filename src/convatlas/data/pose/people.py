"""A person on an image, the joints that people have, and a split of persons.

Shapes  J joints. Coordinates are x, y in the image's pixels, edges from 0 to W and 0 to H.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convatlas.data.decode import exif_orientation
from convatlas.data.encoded import FileSplit
from convatlas.errors import ConvatlasError
from convatlas.records import Problem

MPII = (
    "right ankle", "right knee", "right hip", "left hip", "left knee", "left ankle", "pelvis", "thorax", "upper neck",
    "head top", "right wrist", "right elbow", "right shoulder", "left shoulder", "left elbow", "left wrist",
)  # fmt: skip
COCO = (
    "nose", "left eye", "right eye", "left ear", "right ear", "left shoulder", "right shoulder", "left elbow",
    "right elbow", "left wrist", "right wrist", "left hip", "right hip", "left knee", "right knee", "left ankle",
    "right ankle",
)  # fmt: skip
_LIMBS = (
    ("head top", "upper neck"), ("upper neck", "thorax"), ("thorax", "pelvis"), ("pelvis", "left hip"),
    ("pelvis", "right hip"), ("nose", "left eye"), ("nose", "right eye"), ("left eye", "left ear"),
    ("right eye", "right ear"), ("left shoulder", "right shoulder"), ("left hip", "right hip"),
    *((f"{side} {a}", f"{side} {b}") for side in ("left", "right") for a, b in
      (("shoulder", "elbow"), ("elbow", "wrist"), ("shoulder", "hip"), ("hip", "knee"), ("knee", "ankle"))),
)  # fmt: skip


def limbs(joints: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Pairs of joints that a line joins, of those that are there."""
    place = {name: index for index, name in enumerate(joints)}
    return tuple((place[a], place[b]) for a, b in _LIMBS if a in place and b in place)


def sides(joints: Sequence[str]) -> tuple[list[int], list[int]]:
    """The joints on the person's left and on the right."""
    left, right = ([i for i, name in enumerate(joints) if name.startswith(side)] for side in ("left ", "right "))
    return left, right


def mirrored(joints: Sequence[str]) -> tuple[int, ...]:
    """For each joint the one whose place it takes in a mirror: left and right change."""
    exchange = {"left": "right", "right": "left"}
    place = {name: index for index, name in enumerate(joints)}

    def other(name: str) -> str:
        side, _, rest = name.partition(" ")
        return f"{exchange[side]} {rest}" if side in exchange else name

    return tuple(place.get(other(name), place[name]) for name in joints)


@dataclass(frozen=True)
class Person:
    """Where somebody is, and the joints that are marked."""

    centre: tuple[float, float]
    side_px: float  # of the square around the centre that a network looks at
    joints: Tensor  # (J, 2) float32; anything where not marked
    marked: Tensor  # (J,) bool
    length_px: float  # what a distance is measured in: the head's for PCKh, the box's for PCK


class PeopleSplit(FileSplit):
    """One sample a person: an image with several comes several times.

    Args:
        paths: of each person's image.
        people: in the same order.
        names: of the joints.
        measure: what `length_px` is: "PCKh@0.5" or "PCK@0.2".
        problems: who was left out for a fault.
        sizes: (H, W) of each person's image as annotated, or None.
        notes: who was left out by design.
    """

    def __init__(
        self,
        paths: Sequence[str],
        people: Sequence[Person],
        names: tuple[str, ...],
        measure: str,
        problems: Sequence[Problem] = (),
        *,
        sizes: Sequence[tuple[int, int] | None] | None = None,
        notes: Sequence[Problem] = (),
    ) -> None:
        super().__init__(paths, torch.zeros(len(paths), dtype=torch.int64), problems)
        self.people, self.names, self.measure = tuple(people), names, measure
        self.sizes = tuple(sizes) if sizes is not None else (None,) * len(self.people)
        self.notes = tuple(notes)

    def read_pair(self, index: int) -> tuple[Tensor, Person]:
        """uint8 (C, H, W) and the person.

        Raises:
            ConvatlasError: the image is damaged, of another size than annotated, or turned by EXIF, so that nobody
                knows whether the joints are; the message names it.
        """
        image, size = self.read(index), self.sizes[index]
        orientation = exif_orientation(self.encoded(index))
        turned = f"EXIF turns it, orientation {orientation}; save it upright and see to its joints"
        if size is not None and tuple(image.shape[1:]) != size:
            said = f"{image.shape[2]} x {image.shape[1]} pixels, where its annotation says {size[1]} x {size[0]}"
            raise ConvatlasError(f"{self.name(index)}: {said}{f'; {turned}' if orientation != 1 else ''}")
        is_told = size is not None and size[0] != size[1] and orientation > 4
        if orientation != 1 and not is_told:
            raise ConvatlasError(f"{self.name(index)}: {turned}")
        return image, self.people[index]

    def _chosen(self, indices: Tensor) -> "PeopleSplit":
        chosen = indices.tolist()
        paths, people = [self.paths[i] for i in chosen], [self.people[i] for i in chosen]
        return PeopleSplit(paths, people, self.names, self.measure, sizes=[self.sizes[i] for i in chosen])

    def _keep(self, indices: Tensor) -> None:
        super()._keep(indices)
        self.people = tuple(self.people[i] for i in indices.tolist())
        self.sizes = tuple(self.sizes[i] for i in indices.tolist())
