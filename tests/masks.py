"""Small images with a mask each, of coloured rectangles, for the tests of segmenters."""

from pathlib import Path

import numpy as np
from PIL import Image

from convatlas.data.segmentation.classes import MaskClasses
from convatlas.data.segmentation.folders import read_masks
from convatlas.data.segmentation.splits import MaskSplit

COLOURS = np.array([(30, 30, 30), (220, 60, 50), (60, 200, 80)], dtype=np.uint8)  # of the classes 0, 1, 2


def drawn(number: int, size: tuple[int, int] = (48, 64)) -> tuple[np.ndarray, np.ndarray]:
    """A noisy image (H, W, 3) and its classes (H, W), 0 to 2: a rectangle of each on the ground."""
    random = np.random.default_rng(number)
    mask = np.zeros(size, dtype=np.uint8)
    for label in (1, 2):
        top, left = random.integers(0, size[0] // 2), random.integers(0, size[1] // 2)
        mask[top : top + size[0] // 2, left : left + size[1] // 3] = label
    noise = random.integers(-20, 20, (*size, 3))
    return (COLOURS[mask].astype(int) + noise).clip(0, 255).astype(np.uint8), mask


def write_pairs(images: Path, masks: Path, numbers: range, *, image: str = "{}.png", mask: str = "{}.png") -> None:
    """Images and masks of the given file names, `p0` and so on."""
    for folder, ending in ((images, image), (masks, mask)):
        (folder / ending).parent.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        source_image, classes = drawn(number)
        Image.fromarray(source_image).save(images / image.format(f"p{number}"))
        Image.fromarray(classes).save(masks / mask.format(f"p{number}"))


def write_parts(folder: Path, train: int = 6, test: int = 3) -> Path:
    """train/ and val/ with images/ and masks/ each, and names of the classes."""
    write_pairs(folder / "train" / "images", folder / "train" / "masks", range(train))
    write_pairs(folder / "val" / "images", folder / "val" / "masks", range(train, train + test))
    (folder / "classes.txt").write_text("ground\nbrick\nleaf\n")
    return folder


def read_masks_folder(path: Path) -> tuple[MaskSplit, MaskSplit | None, MaskClasses]:
    """Training split, test split (validation's where there is no other, or None) and the classes."""
    found = read_masks(path)
    return found.parts["train"], found.parts.get("test") or found.parts.get("val"), found.classes
