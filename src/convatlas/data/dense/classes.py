"""What the values of a mask mean: a table of classes with names and colours, and what is void."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from convatlas.structures import VOID, ConvatlasError

Colour = tuple[int, int, int]

_VOID_NAMES = ("void", "unlabelled", "unlabeled", "ignore", "ignored", "background/void")
_TABLES = ("classes.csv", "classes.txt", "codes.txt")
_LARGEST = 254  # classes; 255 is void


@dataclass(frozen=True)
class MaskClasses:
    """K classes of a mask.

    A mask file holds a number for each pixel (grey or palette pictures) or a colour (RGB pictures). Grey colours that
    the table lacks are numbers too.
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    values: tuple[int, ...]  # of each class in a file that holds numbers
    void: tuple[int, ...] = (VOID,)  # other numbers that are void
    unknown_is_void: bool = False  # or else a value that is no class is an error
    void_colours: tuple[Colour, ...] = ()

    def decode(self, path: str | Path) -> Tensor:
        """The class of each pixel, or 255 where it is void: uint8 (H, W)

        Raises:
            ConvatlasError: the file can't be read, or holds a value or colour that is no class.
        """
        pixels = read_values(path)
        if pixels.ndim == 2:
            return self._looked_up(pixels, self._by_value(), "value {}")
        codes, table = _packed(pixels), self._by_colour()
        if alike(pixels) and not np.isin(codes, list(table)).all():
            return self._looked_up(pixels[..., 0], self._by_value(), "value {}")
        return self._looked_up(codes, table, "colour #{:06x}")

    def _looked_up(self, codes: np.ndarray, table: dict[int, int], what: str) -> Tensor:
        found, places = np.unique(codes, return_inverse=True)
        unknown = [int(code) for code in found if int(code) not in table]
        if unknown and not self.unknown_is_void:
            raise ConvatlasError(f"{what.format(unknown[0])} is none of the {len(self.names)} classes")
        classes = np.array([table.get(int(code), VOID) for code in found], dtype=np.uint8)
        return torch.from_numpy(classes[places].reshape(codes.shape))

    def _by_value(self) -> dict[int, int]:
        return dict.fromkeys(self.void, VOID) | {value: index for index, value in enumerate(self.values)}

    def _by_colour(self) -> dict[int, int]:
        void = [(VOID, colour) for colour in self.void_colours]
        return {(r << 16) + (g << 8) + b: index for index, (r, g, b) in (*void, *enumerate(self.colours))}


def read_values(path: str | Path) -> np.ndarray:
    """The numbers (H, W) of a grey or palette picture, or the colours (H, W, 3) of any other.

    Raises:
        ConvatlasError: the file can't be decoded; the message is the reason, without the path.
    """
    try:
        with Image.open(path) as picture:
            if picture.mode == "1":
                return np.array(picture).astype(np.uint8)
            return np.array(picture if picture.mode in ("L", "P", "I", "I;16") else picture.convert("RGB"))
    except Exception as error:
        raise ConvatlasError(f"not a mask that can be read ({type(error).__name__}: {error})") from error


def alike(pixels: np.ndarray) -> bool:
    """Whether (H, W, 3) is grey throughout: many programs save the numbers of a mask as red, green and blue alike."""
    return bool((pixels == pixels[..., :1]).all())


def _packed(pixels: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(pixels.astype(np.int64), 2, 0)
    return (red << 16) + (green << 8) + blue


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
VOC = MaskClasses(VOC_NAMES, voc_colours(21), tuple(range(21)), void_colours=((224, 224, 192),))

# The 11 classes that SegNet's authors kept of CamVid's 32, in their order and colours; 11 is void.
CAMVID = MaskClasses(
    ("sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car", "pedestrian", "bicyclist"),
    (
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (192, 128, 128),
        (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ),
    tuple(range(11)),
    void=(11, VOID),
)  # fmt: skip

_CITYSCAPES = {  # labelId: (name, colour) of the 19 classes that are evaluated
    7: ("road", (128, 64, 128)), 8: ("sidewalk", (244, 35, 232)), 11: ("building", (70, 70, 70)),
    12: ("wall", (102, 102, 156)), 13: ("fence", (190, 153, 153)), 17: ("pole", (153, 153, 153)),
    19: ("traffic light", (250, 170, 30)), 20: ("traffic sign", (220, 220, 0)), 21: ("vegetation", (107, 142, 35)),
    22: ("terrain", (152, 251, 152)), 23: ("sky", (70, 130, 180)), 24: ("person", (220, 20, 60)),
    25: ("rider", (255, 0, 0)), 26: ("car", (0, 0, 142)), 27: ("truck", (0, 0, 70)), 28: ("bus", (0, 60, 100)),
    31: ("train", (0, 80, 100)), 32: ("motorcycle", (0, 0, 230)), 33: ("bicycle", (119, 11, 32)),
}  # fmt: skip
_NAMES, _COLOURS = zip(*_CITYSCAPES.values(), strict=True)
CITYSCAPES = MaskClasses(_NAMES, _COLOURS, tuple(_CITYSCAPES), unknown_is_void=True)
CITYSCAPES_TRAIN_IDS = MaskClasses(_NAMES, _COLOURS, tuple(range(19)))


def find_table(folder: Path) -> MaskClasses | None:
    """The classes that a folder names in classes.csv (columns value, name, perhaps colour as #rrggbb), or one a line
    in classes.txt or codes.txt, in the order of their values; None where there is no such file.

    A class named void, unlabelled or ignore is left out of training and score.

    Raises:
        ConvatlasError: the file names no classes, or a row can't be read.
    """
    for name in _TABLES:
        path = folder / name
        if path.is_file():
            return _read_csv(path) if path.suffix == ".csv" else _read_lines(path)
    return None


def _read_lines(path: Path) -> MaskClasses:
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return _classes(list(enumerate(line for line in lines if line)), {}, path)


def _read_csv(path: Path) -> MaskClasses:
    rows: list[tuple[int, str]] = []
    colours: dict[int, Colour] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for number, row in enumerate(csv.DictReader(stream), start=2):
            try:
                value = int(row["value"])
                rows.append((value, row["name"].strip()))
                if code := (row.get("colour") or row.get("color") or "").strip().removeprefix("#"):
                    red, green, blue = bytes.fromhex(code)
                    colours[value] = (red, green, blue)
            except (KeyError, ValueError, AttributeError) as error:
                raise ConvatlasError(
                    f"{path}, line {number}: {row}; expected the columns value, name and perhaps colour (#rrggbb)"
                ) from error
    return _classes(rows, colours, path)


def _classes(rows: list[tuple[int, str]], colours: dict[int, Colour], path: Path) -> MaskClasses:
    kept = [(value, name) for value, name in rows if name.lower() not in _VOID_NAMES]
    left = [value for value, name in rows if name.lower() in _VOID_NAMES]
    if not 2 <= len(kept) <= _LARGEST:
        raise ConvatlasError(f"{path} names {len(kept)} classes; expected 2 to {_LARGEST}")
    values, names = zip(*kept, strict=True)
    for what, entries in (("value", [*values, *left]), ("class", names)):
        if twice := [entry for entry in entries if entries.count(entry) > 1]:
            raise ConvatlasError(f"{path}: {what} {twice[0]} is there twice; expected one row each")
    usual = voc_colours(len(kept))
    chosen = tuple(colours.get(value, usual[index]) for index, value in enumerate(values))
    void = tuple({*left, VOID} - {*values})
    return MaskClasses(names, chosen, values, void, void_colours=tuple(colours[v] for v in left if v in colours))
