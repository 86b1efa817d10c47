"""Images with marked objects behind one small interface, as `data.splits` has it for images with labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convatlas.data import limits
from convatlas.data.decode import decode, exif_orientation
from convatlas.data.detection.annotations import Annotated
from convatlas.data.detection.segments import rasterise
from convatlas.data.division import Division
from convatlas.data.splits import survivors
from convatlas.errors import ConvatlasError
from convatlas.records import Objects, Problem


class TurnedError(ConvatlasError):
    """An image that is shown turned, and boxes of which nobody knows whether they are."""


class DetectionSplit:
    """N images with their objects. `problems` names images and objects that are not among them.

    `white` is the largest value of the range that its 16-bit images stand in, where `depths.settle` found some.

    Args:
        pages: one an image.
        problems: what was left out.
        masks: give each object its mask, from COCO's polygons or run lengths.
        left_out: images that are not among the pages because of an object that can't be used; `problems` says why.
        notes: what else is to be known; nothing is left out for it.
    """

    white: int | None = None

    def __init__(
        self,
        pages: Sequence[Annotated],
        problems: Sequence[Problem] = (),
        *,
        masks: bool = False,
        left_out: Sequence[str] = (),
        notes: Sequence[Problem] = (),
    ) -> None:
        self.pages = list(pages)
        self.problems: list[Problem] = list(problems)
        self.masks = masks
        self.left_out = tuple(left_out)
        self.notes = tuple(notes)

    def __len__(self) -> int:
        return len(self.pages)

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(page.path for page in self.pages)

    @property
    def labels(self) -> Tensor:
        """(N,) int64: the class of each image's objects that is rarest in the split, -1 without objects.

        By this a division is stratified: images with rare things fall into both parts.
        """
        every = torch.cat([torch.zeros(0, dtype=torch.int64), *(page.labels for page in self.pages)])
        counts = torch.bincount(every)
        rarest = [page.labels[counts[page.labels].argmin()].item() if len(page.labels) else -1 for page in self.pages]
        return torch.tensor(rarest, dtype=torch.int64)

    def name(self, index: int) -> str:
        return self.pages[index].path

    def encoded(self, index: int) -> bytes:
        """The bytes of an image's file. Raises OSError."""
        return limits.read_bytes(self.pages[index].path)

    def objects(self, index: int) -> Objects:
        """What is marked, without looking at the image; labels 0..K-1, boxes in the image's pixels."""
        page = self.pages[index]
        masks = _masks(page) if self.masks else None
        return Objects(page.boxes.clone(), page.labels.clone(), page.difficult.clone(), masks)

    def read(self, index: int) -> tuple[Tensor, Objects]:
        """uint8 (C, H, W) with C = 1 or 3, upright, and its objects.

        Raises:
            ConvatlasError: it is damaged, or of another size than its annotation says; the message names it.
        """
        page = self.pages[index]
        try:
            content = self.encoded(index)
            image, orientation = decode(content, white=self.white), exif_orientation(content)
        except (ConvatlasError, OSError) as error:
            reason = str(error.strerror or error) if isinstance(error, OSError) else str(error)
            raise ConvatlasError(f"{page.path} can't be read: {reason}") from ConvatlasError(reason)
        size = (image.shape[1], image.shape[2])
        if reason := _mismatch(page, size) or _turned(page, size, orientation):
            turned = f"; its EXIF orientation is {orientation}, {_REMEDY}" if orientation != 1 else ""
            cause = ConvatlasError(reason) if orientation == 1 else TurnedError(reason + turned)
            raise ConvatlasError(f"{page.path} can't be used: {reason}{turned}") from cause
        return image, self.objects(index)

    def select(self, indices: Sequence[int]) -> "DetectionSplit":
        """A new split of these images in this order, without problems."""
        chosen = DetectionSplit([self.pages[int(index)] for index in indices], masks=self.masks)
        chosen.white = self.white
        return chosen

    def drop(self, reasons: Mapping[int, str]) -> None:
        """Takes damaged images out, in place, and adds them to `problems`.

        Raises:
            ConvatlasError: more than half of the images are damaged.
        """
        self.pages = [self.pages[index] for index in survivors(self, reasons).tolist()]


@dataclass(frozen=True)
class DetectionData:
    """A training, a test and perhaps a validation split with the same classes, as `data.DataSet`."""

    name: str
    train: DetectionSplit
    test: DetectionSplit
    classes: tuple[str, ...]
    source: str  # where it came from, for the run's record
    division: Division | None = None  # where the source brought no test part
    val: DetectionSplit | None = None
    val_serves_as_test: bool = False  # the source has a validation split and no test split


_REMEDY = "so that it is shown turned; save it upright and see to its boxes"


def _mismatch(page: Annotated, size: tuple[int, int]) -> str | None:
    if size == page.size:
        return None
    return f"{size[1]} x {size[0]} pixels, where its annotation says {page.size[1]} x {page.size[0]}"


def _turned(page: Annotated, size: tuple[int, int], orientation: int) -> str | None:
    """Whether boxes may have been drawn on the image before it was turned: an annotated size alone can tell."""
    is_told = page.is_size_annotated and orientation > 4 and size[0] != size[1]
    if orientation == 1 or is_told or len(page.labels) == 0:
        return None
    return "its boxes may have been drawn before or after it was turned"


def _masks(page: Annotated) -> Tensor:
    """(N, H, W) bool; an object without segments has its box filled."""
    height, width = page.size
    masks = torch.zeros(len(page.labels), height, width, dtype=torch.bool)
    for place, mask in enumerate(masks):
        segments = page.segments[place] if page.segments else None
        if segments:
            mask |= torch.from_numpy(rasterise(segments, page.size))
        else:
            x1, y1, x2, y2 = page.boxes[place].round().int().tolist()
            mask[y1:y2, x1:x2] = True
    return masks
