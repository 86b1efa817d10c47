"""A figure of several panels taken apart, so that a narrow page can put them below one another."""

import re
import zlib
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure, SubFigure
from matplotlib.transforms import Bbox

MARGIN = 2.0  # points around a panel
PIXELS = 96 / 72  # of a point


def cells(figure: Figure, limit: int) -> list[Bbox]:
    """Where each panel of a figure that has been drawn stands, in points from the upper left corner, row by row.

    What cannot be parted by a straight line belongs to one panel: axes with their colour bar, titles and legends. Of
    more than `limit` panels those of a figure within the figure stay together; of still more, all.
    """
    dots, height = figure.dpi, figure.get_figheight() * 72
    try:
        figure.set_dpi(72)  # as an SVG is drawn: a dot is a point
        inner = [extents(one) for one in figure.subfigs] or [extents(figure)]
    finally:
        figure.set_dpi(dots)
    groups = [[Bbox([[box.x0, height - box.y1], [box.x1, height - box.y0]]) for box in boxes] for boxes in inner]
    found = [box for boxes in groups for box in part(boxes)]
    if len(found) > limit:
        found = [Bbox.union(boxes) for boxes in groups if boxes]
    return [box.padded(MARGIN) for box in found] if len(found) <= limit else []


def extents(figure: Figure | SubFigure) -> list[Bbox]:
    """What is drawn in a figure, in dots; an image's colour bar is part of its axes."""
    bars: dict[int, Bbox] = {}
    for axes in figure.axes:
        for image in axes.images:
            if image.colorbar is not None and (bar := image.colorbar.ax.get_tightbbox()) is not None:
                bars[id(axes)] = bar
    found = []
    for artist in (*figure.axes, *figure.legends, *figure.texts):
        box = artist.get_tightbbox() if artist.get_visible() else None
        if box is not None and box.width > 1 and box.height > 1:
            found.append(Bbox.union([box, bars[id(artist)]]) if id(artist) in bars else box)
    return found


def part(boxes: Sequence[Bbox]) -> list[Bbox]:
    """Groups of boxes between which rows or columns are free, as the boxes around them, row by row."""
    for axis in (1, 0):
        groups = grouped(boxes, axis)
        if len(groups) > 1:
            return [cell for group in groups for cell in part(group)]
    return [Bbox.union(boxes)] if boxes else []


def grouped(boxes: Sequence[Bbox], axis: int) -> list[list[Bbox]]:
    """Boxes that overlap along an axis, directly or by others, in its order."""
    groups: list[list[Bbox]] = []
    reach = -np.inf
    for box in sorted(boxes, key=lambda box: box.min[axis]):
        if box.min[axis] >= reach:
            groups.append([])
        groups[-1].append(box)
        reach = max(reach, box.max[axis])
    return groups


def apart(head: str, body: str, boxes: Sequence[Bbox], says: str) -> str:
    """One <svg> a box: the first holds the drawing, the others show their part of it.

    Args:
        head: the opening tag of the whole drawing, without its ">".
        body: what stands inside it.
        boxes: from `cells`.
        says: attributes for a screen reader.
    """
    name = f"g{zlib.crc32(body.encode()):08x}"
    head = re.sub(r' (width|height|viewBox|id)="[^"]*"', "", head)
    drawn = []
    for index, box in enumerate(boxes):
        view = f'viewBox="{box.x0:.1f} {box.y0:.1f} {box.width:.1f} {box.height:.1f}"'
        inside = f'<use href="#{name}"/>' if index else f'<g id="{name}">{body}</g>'
        drawn.append(f'{head} {view} style="--w:{box.width * PIXELS:.0f}px">{inside}</svg>')
    return f'<div class="cells" {says}>{"".join(drawn)}</div>'
