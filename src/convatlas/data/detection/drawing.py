"""Boxes drawn on images, and a contact sheet of a data set."""

import colorsys
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from convatlas.data.detection.split import DetectionSplit
from convatlas.records import Detections, Objects

Colour = tuple[int, int, int]
_TURN = 0.61803398875  # the golden section: neighbouring labels get distant hues
_CELL, _GAP, _COLUMNS, _ROWS, _LINE = 232, 8, 4, 6, 20  # pixels of the sheet
_COVER = 110  # of 255, how much of a mask's colour is seen
_PAPER, _INK, _FAINT = "#ffffff", "#1f2933", "#d9dee4"


def colour_of(label: int) -> Colour:
    """A class's colour, the same everywhere."""
    red, green, blue = colorsys.hls_to_rgb((0.02 + label * _TURN) % 1, 0.5 if label % 2 else 0.42, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_boxes(
    image: Tensor, marked: Objects | Detections, classes: Sequence[str], *, longest: int = 480, named: bool = True
) -> Image.Image:
    """An image uint8 (C, H, W), its longer side brought to `longest` pixels, with boxes, masks, classes and scores.

    Of detections the most certain lie on top; difficult objects have thin lines.
    """
    canvas, scale = to_canvas(image, longest)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(max(9, longest // 40))
    scores = marked.scores.tolist() if isinstance(marked, Detections) else [None] * len(marked.labels)
    thin = [False] * len(scores) if isinstance(marked, Detections) else marked.difficult.tolist()
    rows = list(zip(marked.boxes.tolist(), marked.labels.tolist(), scores, thin, strict=True))
    if marked.masks is not None:
        for mask, label in reversed(list(zip(marked.masks, marked.labels.tolist(), strict=True))):
            _tint(canvas, mask, colour_of(label))
    for box, label, score, is_thin in reversed(rows):
        x1, y1, x2, y2 = (side * scale for side in box)
        corners = (x1, y1, max(x1 + 1, x2 - 1), max(y1 + 1, y2 - 1))
        colour = colour_of(label)
        pen.rectangle(corners, outline=colour, width=1 if is_thin else max(1, round(longest / 140)))
        if named:
            text = str(classes[label]) if score is None else f"{classes[label]} {score:.2f}"
            tag(pen, font, (x1, y1), text, colour, canvas.size)
    return canvas


def _tint(canvas: Image.Image, mask: Tensor, colour: Colour) -> None:
    """Lays a colour over what a mask, bool (H, W), covers."""
    cover = Image.fromarray((mask * _COVER).to(torch.uint8).cpu().numpy()).resize(canvas.size)
    canvas.paste(Image.new("RGB", canvas.size, colour), mask=cover)


def to_canvas(image: Tensor, longest: int) -> tuple[Image.Image, float]:
    """An image uint8 (C, H, W) with its longer side brought to `longest` pixels, and its new pixels for an old one."""
    canvas = Image.fromarray(image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy())
    scale = longest / max(canvas.size)
    size = (max(1, round(canvas.width * scale)), max(1, round(canvas.height * scale)))
    return canvas.resize(size, Image.Resampling.NEAREST if scale > 2 else Image.Resampling.LANCZOS), scale


def tag(
    pen: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, corner: tuple[float, float],
    text: str, colour: Colour, size: tuple[int, int],
) -> None:  # fmt: skip
    """The class above the box, or inside where there is no room."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    width, height = right - left + 4, bottom - top + 4
    x = min(max(corner[0], 0), max(size[0] - width, 0))
    y = corner[1] - height if corner[1] >= height else corner[1]
    pen.rectangle((x, y, x + width, y + height), fill=colour)
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
    pen.text((x + 2 - left, y + 2 - top), text, fill="#10171d" if bright else "#ffffff", font=font)


@dataclass
class BoxSheet:
    """Chooses its images at once and takes them as they come."""

    classes: Sequence[str]
    chosen: Mapping[tuple[str, int], int]  # part and index -> place on the sheet
    _cells: dict[int, Image.Image] = field(default_factory=dict)

    @classmethod
    def of(cls, parts: Mapping[str, DetectionSplit], classes: Sequence[str]) -> "BoxSheet":
        """Evenly spaced images of the first part."""
        part, split = next(iter(parts.items()))
        n, room = len(split), _COLUMNS * _ROWS
        indices = range(n) if n <= room else [place * n // room for place in range(room)]
        return cls(classes, {(part, index): place for place, index in enumerate(indices)})

    def take(self, part: str, index: int, image: Tensor, objects: Objects) -> None:
        """An image with its objects; others than the chosen are passed over."""
        place = self.chosen.get((part, index))
        if place is not None:
            self._cells[place] = draw_boxes(image, objects, self.classes, longest=_CELL, named=False)

    def draw(self) -> Image.Image:
        """The images under a legend of the classes' colours; an empty frame for those that did not come."""
        count = max(len(self.chosen), 1)
        columns = min(_COLUMNS, count)
        width = _GAP + max(columns, 2) * (_CELL + _GAP)
        font = ImageFont.load_default(13)
        legend = _legend(self.classes, width, font)
        top = _GAP + (legend[-1][1] + _LINE if legend else 0)
        height = top + math.ceil(count / columns) * (_CELL + _GAP)
        sheet = Image.new("RGB", (width, height), _PAPER)
        pen = ImageDraw.Draw(sheet)
        for label, (x, y) in enumerate(legend):
            pen.rectangle((x, y + 3, x + 10, y + 13), fill=colour_of(label))
            pen.text((x + 15, y), self.classes[label], fill=_INK, font=font)
        for place in self.chosen.values():
            x, y = _GAP + place % columns * (_CELL + _GAP), top + place // columns * (_CELL + _GAP)
            cell = self._cells.get(place)
            if cell is None:
                pen.rectangle((x, y, x + _CELL - 1, y + _CELL - 1), outline=_FAINT)
                pen.text((x + 8, y + _CELL // 2), "damaged", fill=_INK, font=font)
            else:
                sheet.paste(cell, (x + (_CELL - cell.width) // 2, y + (_CELL - cell.height) // 2))
        return sheet


def _legend(
    classes: Sequence[str], width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> list[tuple[int, int]]:
    """Where each class stands, line after line."""
    places, x, y = [], _GAP, _GAP
    for name in classes:
        needed = 15 + round(font.getlength(name)) + 14
        if x + needed > width and x > _GAP:
            x, y = _GAP, y + _LINE
        places.append((x, y))
        x += needed
    return places
