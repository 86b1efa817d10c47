"""The U of encoder-decoders: a row for each resolution, columns in the order of computing."""

from collections.abc import Sequence

import networkx as nx

from convatlas.records import LayerRecord
from convatlas.visualise.drawing.graph import Drawing, levels
from convatlas.visualise.drawing.layout import GAP_X, GAP_Y, Edge, Place, Point, Sheet, measure


def u_sheet(drawing: Drawing, records: Sequence[LayerRecord]) -> Sheet:
    """Boxes of one resolution stand in a row from left to right; the next resolution is the next row.

    A step to another row stays in its column where that is free, so that a pool stands below what it halves.
    """
    halvings = levels(records)
    rows = {key: max((halvings[index] for index in box.records), default=0) for key, box in drawing.boxes.items()}
    columns = _columns(drawing, rows)
    widths, heights = _extents(drawing, rows, columns)
    lefts, tops = _sums(widths, GAP_X), _sums(heights, GAP_Y)
    places = {}
    for key, box in drawing.boxes.items():
        width, height = measure(box)
        row, column = rows[key], columns[key]
        x = lefts[column] + widths[column] / 2
        places[key] = Place(x, tops[row] + (heights[row] - height) / 2, width, height)
    paths = {(source, target): _path(places[source], places[target]) for source, target in drawing.edges.edges}
    paths = {edge: _around(edge, path, rows, columns, places) for edge, path in paths.items()}
    last_column, last_row = max(lefts), max(tops)
    return Sheet(lefts[last_column] + widths[last_column], tops[last_row] + heights[last_row], places, paths)


def _columns(drawing: Drawing, rows: dict[str, int]) -> dict[str, int]:
    columns: dict[str, int] = {}
    taken: set[tuple[int, int]] = set()
    for key in nx.topological_sort(drawing.edges):
        before = list(drawing.edges.predecessors(key))
        column = max((columns[p] + (rows[p] == rows[key]) for p in before), default=0)
        while (rows[key], column) in taken:
            column += 1
        columns[key] = column
        taken.add((rows[key], column))
    return columns


def _extents(
    drawing: Drawing, rows: dict[str, int], columns: dict[str, int]
) -> tuple[dict[int, float], dict[int, float]]:
    widths: dict[int, float] = dict.fromkeys(range(max(columns.values()) + 1), 0.0)
    heights: dict[int, float] = dict.fromkeys(range(min(rows.values()), max(rows.values()) + 1), 0.0)
    for key, box in drawing.boxes.items():
        width, height = measure(box)
        widths[columns[key]] = max(widths[columns[key]], width)
        heights[rows[key]] = max(heights[rows[key]], height)
    return widths, heights


def _sums(sizes: dict[int, float], gap: float) -> dict[int, float]:
    starts, at = {}, 0.0
    for index in sorted(sizes):
        starts[index] = at
        at += sizes[index] + gap
    return starts


def _path(start: Place, end: Place) -> tuple[Point, ...]:
    """Sideways within a row, otherwise down or up and then sideways."""
    right, left = start.x + start.width / 2, end.x - end.width / 2
    y1, y2 = start.y + start.height / 2, end.y + end.height / 2
    if abs(y1 - y2) < 0.5:
        return (right, y1), (left, y2)
    down = y2 > y1
    leave = (start.x, start.y + start.height) if down else (start.x, start.y)
    if abs(start.x - end.x) < 0.5:
        return leave, (end.x, end.y if down else end.y + end.height)
    if not down:  # above it stands what it came from
        return (right, y1), (right + GAP_X / 2, y1), (right + GAP_X / 2, y2), (left, y2)
    return leave, (start.x, y2), (left, y2)


def _around(
    edge: Edge, path: tuple[Point, ...], rows: dict[str, int], columns: dict[str, int], places: dict[str, Place]
) -> tuple[Point, ...]:
    """A skip within a row that would cross boxes passes above them."""
    source, target = edge
    between = [
        key
        for key in places
        if rows[key] == rows[source] == rows[target] and columns[source] < columns[key] < columns[target]
    ]
    if not between:
        return path
    above = min(places[key].y for key in (*between, source, target)) - GAP_Y / 3
    start, end = places[source], places[target]
    return (start.x, start.y), (start.x, above), (end.x, above), (end.x, end.y)
