"""What the values of a mask mean: a table of classes with names and colours, and what is void."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from convatlas.data.segmentation.reading import MaskFile, read_mask
from convatlas.errors import ConvatlasError
from convatlas.records import VOID

Colour = tuple[int, int, int]

MAX_CLASSES = 254  # their numbers are 0 to 253; 255 is void
_UNKNOWN = 254


@dataclass(frozen=True)
class MaskClasses:
    """K classes of a mask.

    A mask file holds a number for each pixel (grey or palette images) or a colour (RGB images). Grey colours that
    the table lacks are numbers too.
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    values: tuple[int, ...]  # of each class in a file that holds numbers
    void: tuple[int, ...] = (VOID,)  # other numbers that are void
    unknown_is_void: bool = False  # or else a value that is no class is an error
    void_colours: tuple[Colour, ...] = ()
    told_colours: tuple[tuple[int, Colour], ...] = ()  # value and colour where the source gives one, void's too

    def decode(self, path: str | Path) -> Tensor:
        """The class of each pixel as stored, or 255 where it is void: uint8 (H, W)

        Raises:
            ConvatlasError: the file can't be read, or holds a value or colour that is no class.
        """
        return torch.from_numpy(self.look_up(read_mask(path)))

    def look_up(self, mask: MaskFile) -> np.ndarray:
        """The class of each pixel as stored, uint8 (H, W); errors are those of `decode`."""
        pixels = mask.pixels
        if mask.palette is not None and self.told_colours:
            return self._through_palette(pixels, mask.palette)
        if pixels.ndim == 2:
            return self._by_number(pixels)
        codes = pack(pixels)
        if not self.told_colours and not alike(pixels):
            raise ConvatlasError("holds colours; expected classes.csv with columns value, name, colour")
        if alike(pixels) and not np.isin(codes, list(self._by_colour())).all():
            return self._by_number(pixels[..., 0])
        found = _colour_table(tuple(self._by_colour().items()))[codes]
        return self._known(found, codes, "colour #{:06x}")

    def _through_palette(self, pixels: np.ndarray, palette: np.ndarray) -> np.ndarray:
        """By its colours where the classes have them all, by its numbers where the palette does not contradict them."""
        used = np.unique(pixels)
        colours = {int(index): (int(r), int(g), int(b)) for index, (r, g, b) in zip(used, palette[used], strict=True)}
        table = {(code >> 16, code >> 8 & 255, code & 255): label for code, label in self._by_colour().items()}
        if all(colour in table for colour in colours.values()):
            lookup = np.full(256, VOID, dtype=np.uint8)
            for index, colour in colours.items():
                lookup[index] = table[colour]
            return lookup[pixels]
        told = dict(self.told_colours)
        for index, colour in colours.items():
            if colour != (index, index, index) and told.get(index, colour) != colour:
                raise ConvatlasError(
                    f"its palette has #{bytes(colour).hex()} for value {index}, where the classes have "
                    f"#{bytes(told[index]).hex()}; save it with the classes' colours, or as numbers without a palette"
                )
        return self._by_number(pixels)

    def _by_number(self, pixels: np.ndarray) -> np.ndarray:
        lookup = np.full(1 << 16, _UNKNOWN, dtype=np.uint8)
        for value, label in self._by_value().items():
            if value < len(lookup):
                lookup[value] = label
        if pixels.dtype.kind != "u" or pixels.dtype.itemsize > 2:
            pixels = pixels.astype(np.int64)
            inside = (pixels >= 0) & (pixels < len(lookup))
            return self._known(np.where(inside, lookup[np.where(inside, pixels, 0)], _UNKNOWN), pixels, "value {}")
        return self._known(lookup[pixels], pixels, "value {}")

    def _known(self, found: np.ndarray, codes: np.ndarray, what: str) -> np.ndarray:
        strange = found == _UNKNOWN
        if not strange.any():
            return found
        if self.unknown_is_void:
            return np.where(strange, np.uint8(VOID), found)
        unknown, counts = np.unique(codes[strange], return_counts=True)
        others = ", ".join(what.format(int(code)) for code in unknown[1:4])
        more = f"; so are {others}{' and more' if len(unknown) > 4 else ''}" if others else ""
        raise ConvatlasError(
            f"{what.format(int(unknown[0]))} is none of the {len(self.names)} classes{more}; {int(counts.sum()):,} of "
            f"{codes.size:,} pixels. Mend the mask, or name the value in classes.csv"
        )

    def _by_value(self) -> dict[int, int]:
        return dict.fromkeys(self.void, VOID) | {value: index for index, value in enumerate(self.values)}

    def _by_colour(self) -> dict[int, int]:
        labels = self._by_value()
        told = [(labels.get(value, VOID), colour) for value, colour in self.told_colours]
        void = [(VOID, colour) for colour in self.void_colours]
        return {(r << 16) + (g << 8) + b: label for label, (r, g, b) in (*void, *told)}


@lru_cache(maxsize=4)
def _colour_table(by_colour: tuple[tuple[int, int], ...]) -> np.ndarray:
    """A class for each of all 2^24 colours, uint8."""
    table = np.full(1 << 24, _UNKNOWN, dtype=np.uint8)
    for code, label in by_colour:
        table[code] = label
    return table


def alike(pixels: np.ndarray) -> bool:
    """Whether (H, W, 3) is grey throughout: many programs save the numbers of a mask as red, green and blue alike."""
    return bool((pixels == pixels[..., :1]).all())


def pack(pixels: np.ndarray) -> np.ndarray:
    """Colours (..., 3) uint8 as one number each, uint32."""
    red, green, blue = np.moveaxis(pixels.astype(np.uint32), -1, 0)
    return (red << 16) | (green << 8) | blue


def voc_colours(count: int) -> tuple[Colour, ...]:
    """The palette of PASCAL VOC: the bits of the class number, dealt out to red, green and blue from the top down."""

    def colour(index: int) -> Colour:
        channels = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                channels[channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
        return (channels[0], channels[1], channels[2])

    return tuple(colour(index) for index in range(count))


VOC_NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
VOC = MaskClasses(
    VOC_NAMES, voc_colours(21), tuple(range(21)), void_colours=((224, 224, 192),),
    told_colours=(*enumerate(voc_colours(21)), (VOID, (224, 224, 192))),
)  # fmt: skip

# The 11 classes that SegNet's authors kept of CamVid's 32, in their order and colours; 11 is void.
_CAMVID_COLOURS = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (192, 128, 128),
    (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip
CAMVID = MaskClasses(
    ("sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car", "pedestrian", "bicyclist"),
    _CAMVID_COLOURS,
    tuple(range(11)),
    void=(11, VOID),
    told_colours=tuple(enumerate(_CAMVID_COLOURS)),
)

_CITYSCAPES = {  # labelId: (name, colour) of the 19 classes that are evaluated
    7: ("road", (128, 64, 128)), 8: ("sidewalk", (244, 35, 232)), 11: ("building", (70, 70, 70)),
    12: ("wall", (102, 102, 156)), 13: ("fence", (190, 153, 153)), 17: ("pole", (153, 153, 153)),
    19: ("traffic light", (250, 170, 30)), 20: ("traffic sign", (220, 220, 0)), 21: ("vegetation", (107, 142, 35)),
    22: ("terrain", (152, 251, 152)), 23: ("sky", (70, 130, 180)), 24: ("person", (220, 20, 60)),
    25: ("rider", (255, 0, 0)), 26: ("car", (0, 0, 142)), 27: ("truck", (0, 0, 70)), 28: ("bus", (0, 60, 100)),
    31: ("train", (0, 80, 100)), 32: ("motorcycle", (0, 0, 230)), 33: ("bicycle", (119, 11, 32)),
}  # fmt: skip
_NAMES, _COLOURS = zip(*_CITYSCAPES.values(), strict=True)
CITYSCAPES = MaskClasses(
    _NAMES,
    _COLOURS,
    tuple(_CITYSCAPES),
    unknown_is_void=True,
    told_colours=tuple(zip(_CITYSCAPES, _COLOURS, strict=True)),
)
CITYSCAPES_TRAIN_IDS = MaskClasses(_NAMES, _COLOURS, tuple(range(19)), told_colours=tuple(enumerate(_COLOURS)))
