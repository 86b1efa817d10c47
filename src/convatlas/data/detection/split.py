"""Pictures with marked objects behind one small interface, as `data.splits` has it for pictures with labels."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from convatlas.data.decode import decode
from convatlas.data.detection.annotations import Annotated
from convatlas.data.splits import survivors
from convatlas.structures import ConvatlasError, Objects, Problem

if TYPE_CHECKING:
    from convatlas.data.division import Division


class DetectionSplit:
    """N pictures with their objects. `problems` names pictures and objects that are not among them.

    Args:
        pages: one a picture.
        problems: what was left out.
        masks: give each object its mask, from COCO's polygons or run lengths.
    """

    def __init__(self, pages: Sequence[Annotated], problems: Sequence[Problem] = (), *, masks: bool = False) -> None:
        self.pages = list(pages)
        self.problems: list[Problem] = list(problems)
        self.masks = masks

    def __len__(self) -> int:
        return len(self.pages)

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(page.path for page in self.pages)

    @property
    def labels(self) -> Tensor:
        """(N,) int64: the class of each picture's objects that is rarest in the split, -1 without objects.

        By this a division is stratified: pictures with rare things fall into both parts.
        """
        every = torch.cat([torch.zeros(0, dtype=torch.int64), *(page.labels for page in self.pages)])
        counts = torch.bincount(every)
        rarest = [page.labels[counts[page.labels].argmin()].item() if len(page.labels) else -1 for page in self.pages]
        return torch.tensor(rarest, dtype=torch.int64)

    def name(self, index: int) -> str:
        return self.pages[index].path

    def objects(self, index: int) -> Objects:
        """What is marked, without looking at the picture; labels 0..K-1, boxes in the picture's pixels."""
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
            image = decode(page.path)
        except ConvatlasError as error:
            raise ConvatlasError(f"{page.path} can't be read: {error}") from error
        if tuple(image.shape[1:]) != page.size:
            (height, width), (h, w) = page.size, image.shape[1:]
            reason = f"{w} x {h} pixels, where its annotation says {width} x {height}"
            raise ConvatlasError(f"{page.path} can't be used: {reason}") from ConvatlasError(reason)
        return image, self.objects(index)

    def select(self, indices: Sequence[int]) -> "DetectionSplit":
        """A new split of these pictures in this order, without problems."""
        return DetectionSplit([self.pages[int(index)] for index in indices], masks=self.masks)

    def drop(self, reasons: Mapping[int, str]) -> None:
        """Takes damaged pictures out, in place, and adds them to `problems`.

        Raises:
            ConvatlasError: more than half of the pictures are damaged.
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
    division: "Division | None" = None  # where the source brought no test part
    val: DetectionSplit | None = None


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


def rasterise(segments: Any, size: tuple[int, int]) -> np.ndarray:
    """COCO's polygons, or its run lengths, packed or not -> (H, W) bool

    Raises:
        ConvatlasError: they can't be understood.
    """
    from pycocotools import mask as rle

    try:
        if isinstance(segments, list):
            coded = rle.merge(rle.frPyObjects(segments, *size))
        elif isinstance(segments["counts"], list):
            coded = rle.frPyObjects(segments, *size)
        else:
            coded = segments
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # numpy's, about pycocotools' own arrays
            found = rle.decode(coded)
    except Exception as error:  # its C code raises anything
        raise ConvatlasError(f"a segmentation can't be read: {error}") from error
    if found.shape != size:
        raise ConvatlasError(f"a segmentation is for {found.shape[1]} x {found.shape[0]} pixels; expected {size[::-1]}")
    return found.astype(bool)
