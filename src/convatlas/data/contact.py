"""A contact sheet: a few images of each class, small, on one page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from convatlas.data.splits import Split

_CELL, _GAP, _NAME = 96, 6, 22  # pixels
_ROWS, _COLUMNS = 12, 8
_PAPER, _INK, _FAINT = "#ffffff", "#1f2933", "#d9dee4"


@dataclass
class ContactSheet:
    """Chooses its images at once and takes them as they come; `draw` shows an empty frame for those that did not."""

    classes: Sequence[str]
    chosen: Mapping[tuple[str, int], tuple[int, int]]  # part and index -> row and column
    rows: Sequence[int]  # the label of each row
    counts: Sequence[int]
    _cells: dict[tuple[int, int], Image.Image] = field(default_factory=dict)

    @classmethod
    def of(cls, parts: Mapping[str, Split], classes: Sequence[str]) -> "ContactSheet":
        """Evenly spaced images of up to twelve evenly spaced classes of the first part."""
        part, split = next(iter(parts.items()))
        present = split.labels.unique().tolist()
        rows = [present[i] for i in _evenly(len(present), _ROWS)]
        chosen: dict[tuple[str, int], tuple[int, int]] = {}
        counts = []
        for row, label in enumerate(rows):
            members = (split.labels == label).nonzero()[:, 0].tolist()
            counts.append(len(members))
            for column, place in enumerate(_evenly(len(members), _COLUMNS)):
                chosen[part, members[place]] = (row, column)
        return cls(classes, chosen, rows, counts)

    def take(self, part: str, index: int, pixels: np.ndarray) -> None:
        """An image (H, W, 1 or 3); others than the chosen are passed over."""
        place = self.chosen.get((part, index))
        if place is not None:
            image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
            enlarged = max(image.size) < _CELL // 2  # shows the pixels of small images as squares
            scale = _CELL / max(image.size)
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            way = Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS
            self._cells[place] = image.resize(size, way, reducing_gap=None if enlarged else 3.0)

    def draw(self) -> Image.Image:
        columns = max((column for _, column in self.chosen.values()), default=0) + 1
        height = _GAP + len(self.rows) * (_NAME + _CELL + _GAP)
        sheet = Image.new("RGB", (_GAP + max(columns, 3) * (_CELL + _GAP), height), _PAPER)
        pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
        for row, (label, count) in enumerate(zip(self.rows, self.counts, strict=True)):
            top = _GAP + row * (_NAME + _CELL + _GAP)
            pen.text((_GAP, top + 2), f"{self.classes[label]}  ({count:,})", fill=_INK, font=font)
            for column in (c for r, c in self.chosen.values() if r == row):
                left = _GAP + column * (_CELL + _GAP)
                cell = self._cells.get((row, column))
                if cell is None:
                    pen.rectangle((left, top + _NAME, left + _CELL - 1, top + _NAME + _CELL - 1), outline=_FAINT)
                    pen.text((left + 8, top + _NAME + 38), "damaged", fill=_INK, font=font)
                else:
                    corner = (left + (_CELL - cell.width) // 2, top + _NAME + (_CELL - cell.height) // 2)
                    sheet.paste(cell, corner)
        return sheet


def _evenly(n: int, count: int) -> list[int]:
    return list(range(n)) if n <= count else [i * n // count for i in range(count)]
