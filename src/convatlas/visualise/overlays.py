"""Dense predictions drawn over their image: masks in colours, boundary errors, poses.

Images are uint8, (H, W) for grey or (H, W, 3); what is drawn is uint8 (H, W, 3).
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from matplotlib import font_manager
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from convatlas.errors import UsageError
from convatlas.evaluation.boundary import TOLERANCE, borders, boundary, distance_to
from convatlas.records import VOID
from convatlas.visualise.palettes import Palette

Pixels = NDArray[np.uint8]
Mask = NDArray[Any]  # (H, W) of whole numbers

RIGHT, MISSED, INVENTED = (40, 190, 90), (235, 50, 40), (50, 110, 255)
LEFT_SIDE, RIGHT_SIDE, MIDDLE = (255, 150, 40), (60, 150, 255), (120, 220, 120)
UNCOUNTED = 110  # grey of void pixels
Limbs = tuple[tuple[int, int], ...]
MPII_LIMBS: Limbs = (
    (0, 1), (1, 2), (2, 6), (3, 6), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9),
    (10, 11), (11, 12), (12, 7), (13, 7), (13, 14), (14, 15),
)  # fmt: skip
COCO_LIMBS: Limbs = (
    (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12),
    (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
)  # fmt: skip


def overlay(image: Pixels, mask: Mask, palette: Palette, *, opacity: float = 0.6, void: int = VOID) -> Pixels:
    """The mask's colours over the image, with a dark line along the borders; void stays grey.

    Raises:
        UsageError: the mask has another size, or a class that the palette lacks.
    """
    base = as_rgb(image)
    if mask.shape != base.shape[:2]:
        raise UsageError(f"the mask is {mask.shape}; expected the image's {base.shape[:2]}")
    counted = mask != void
    if counted.any() and not 0 <= mask[counted].min() <= mask[counted].max() < len(palette):
        raise UsageError(f"the mask has class {mask[counted].max()}; expected 0 to {len(palette) - 1}")
    colours = np.full(base.shape, UNCOUNTED, dtype=np.float32)
    colours[counted] = palette[mask[counted].astype(np.int64)]
    drawn = opacity * colours + (1 - opacity) * base
    drawn[borders(mask)] *= 0.45
    return drawn.round().astype(np.uint8)


def boundary_errors(
    image: Pixels, predicted: Mask, mask: Mask, *, tolerance: float = TOLERANCE, void: int = VOID
) -> Pixels:
    """Boundaries over the pale image: right ones green, missed ones red, invented ones blue.

    A boundary pixel of a class is right when the other mask has one of the same class within the tolerance, a part of
    the diagonal, as in boundary F1. What is predicted on void is not judged.
    """
    grey = as_rgb(image).mean(axis=2, keepdims=True)
    drawn = np.repeat(150 + 0.4 * grey, 3, axis=2)
    reach = tolerance * np.hypot(*mask.shape)
    right, missed, invented = np.zeros((3, *mask.shape), dtype=bool)
    for label in np.union1d(mask, predicted):
        if label == void:
            continue
        of_truth, of_prediction = boundary(mask == label), boundary(predicted == label)
        near_prediction = distance_to(of_prediction) <= reach
        right |= of_truth & near_prediction
        missed |= of_truth & ~near_prediction
        invented |= of_prediction & ~(distance_to(of_truth) <= reach) & (mask != void)
    for where, colour in ((right, RIGHT), (invented, INVENTED), (missed, MISSED)):
        drawn[where] = colour
    return drawn.astype(np.uint8)


def with_legend(image: Pixels, classes: Sequence[str], palette: Palette, present: Sequence[int]) -> Pixels:
    """The image with a strip below that names the classes `present` beside their colours."""
    width = image.shape[1]
    size = max(11, round(width / 40))
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size)
    places, left, row = [], size // 2, 0
    for label in present:
        needed = round(font.getlength(classes[label])) + 3 * size
        if left + needed > width and left > size:
            left, row = size // 2, row + 1
        places.append((left, row, label))
        left += needed
    line = round(1.6 * size)
    strip = Image.new("RGB", (width, line * (row + 1) + size // 2), "white")
    draw = ImageDraw.Draw(strip)
    for left, row, label in places:
        top = row * line + size // 2
        colour = tuple(map(int, palette[label]))
        draw.rectangle((left, top, left + size, top + size), fill=colour, outline=(60, 60, 60))
        draw.text(
            (left + round(1.4 * size), top + size / 2), str(classes[label]), font=font, fill=(30, 40, 50), anchor="lm"
        )
    return np.concatenate((as_rgb(image), np.asarray(strip)))


def skeleton(
    image: Pixels,
    joints: NDArray[Any],
    visible: NDArray[np.bool_],
    limbs: Limbs,
    *,
    left: Sequence[int] = (),
    right: Sequence[int] = (),
) -> Pixels:
    """A pose over its image: joints (J, 2) in x and y, pixel edges from 0 to W and 0 to H; limbs join two of them.

    Joints in `left` are orange, those in `right` blue, with the limbs that end in one; the rest is green. Joints that
    are not visible, or not finite, are left out with their limbs.
    """
    drawn = np.ascontiguousarray(as_rgb(image))
    shown = visible & np.isfinite(joints).all(axis=1)
    width = max(1, round(max(drawn.shape) / 130))
    centres = [
        (round(16 * (float(x) - 0.5)), round(16 * (float(y) - 0.5))) if ok else (0, 0)
        for (x, y), ok in zip(joints, shown, strict=True)
    ]  # in sixteenths of a pixel, from the middle of the first one

    def colour(*ends: int) -> tuple[int, int, int]:
        if any(end in left for end in ends):
            return LEFT_SIDE
        return RIGHT_SIDE if any(end in right for end in ends) else MIDDLE

    for first, second in limbs:
        if shown[first] and shown[second]:
            cv2.line(drawn, centres[first], centres[second], colour(first, second), width, cv2.LINE_AA, 4)
    for joint, ok in enumerate(shown):
        if ok:
            cv2.circle(drawn, centres[joint], 16 * (width + 1), (20, 20, 20), -1, cv2.LINE_AA, 4)
            cv2.circle(drawn, centres[joint], 16 * width, colour(joint), -1, cv2.LINE_AA, 4)
    return drawn


def as_rgb(image: Pixels) -> Pixels:
    """(H, W) or (H, W, 3) -> a copy (H, W, 3)"""
    return np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image[:, :, :3].copy()
