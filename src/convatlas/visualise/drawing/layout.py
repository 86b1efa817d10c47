"""Where the boxes of a drawing stand: series below one another, branches side by side, shortcuts in lanes.

A network is taken apart at the boxes through which every path goes. Between two of them the boxes that hang together
are a branch, taken apart in the same way; an edge without a box is a lane on the right. What is neither a series nor a
set of branches (the heads of SSD) is drawn rank by rank, with a bus for the edges that pass over ranks.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import networkx as nx

from convatlas.visualise.drawing.graph import Box, Drawing

GAP_X, GAP_Y = 22.0, 24.0
LANE = 12.0
LINE_PX, PAD_X, PAD_Y = 13.0, 9.0, 7.0
BOLD = 1.12  # how much wider bold text is
CHARACTER_PX = 6.3  # mean advance at 11 px, on the generous side

Point = tuple[float, float]
Edge = tuple[str, str]


@dataclass
class Place:
    """A box on the sheet: its centre on the trunk line, its upper edge, its size."""

    x: float
    y: float
    width: float
    height: float

    @property
    def top(self) -> Point:
        return self.x, self.y

    @property
    def bottom(self) -> Point:
        return self.x, self.y + self.height


@dataclass
class Block:
    """Boxes and lanes placed relative to the block's own trunk line (x = 0) and upper edge (y = 0)."""

    left: float = 0.0  # extent on the left of the trunk line, positive
    right: float = 0.0
    height: float = 0.0
    places: dict[str, Place] = field(default_factory=dict)
    lanes: dict[tuple[str, str], float] = field(default_factory=dict)  # x of edges that go around boxes

    def add(self, other: "Block", dx: float, dy: float) -> None:
        for key, place in other.places.items():
            self.places[key] = Place(place.x + dx, place.y + dy, place.width, place.height)
        for edge, x in other.lanes.items():
            self.lanes[edge] = x + dx
        self.left, self.right = max(self.left, other.left - dx), max(self.right, other.right + dx)
        self.height = max(self.height, dy + other.height)


@dataclass(frozen=True)
class Sheet:
    """A drawing with everything in its place, from (0, 0)."""

    width: float
    height: float
    places: dict[str, Place]
    paths: dict[Edge, tuple[Point, ...]]


def sheet(drawing: Drawing, *, horizontal: bool = False) -> Sheet:
    """The drawing from top to bottom, or from left to right."""
    block = arrange(drawing, horizontal=horizontal)
    dx = block.left
    places = {key: Place(p.x + dx, p.y, p.width, p.height) for key, p in block.places.items()}
    lanes = {edge: x + dx for edge, x in block.lanes.items()}
    paths = dict(_routes(drawing, places, lanes))
    width, height = block.left + block.right, block.height
    if not horizontal:
        return Sheet(width, height, places, paths)
    turned = {key: Place(p.y + p.height / 2, p.x - p.width / 2, p.height, p.width) for key, p in places.items()}
    return Sheet(height, width, turned, {edge: tuple((y, x) for x, y in path) for edge, path in paths.items()})


def _routes(
    drawing: Drawing, places: dict[str, Place], lanes: dict[Edge, float]
) -> Iterator[tuple[Edge, tuple[Point, ...]]]:
    """The corners of every edge, in the order of the boxes."""
    for source, target in drawing.edges.edges:
        (x1, y1), (x2, y2) = places[source].bottom, places[target].top
        if (source, target) in lanes:
            lane, out, into = lanes[source, target], y1 + GAP_Y / 3, y2 - GAP_Y / 3
            path = ((x1, y1), (x1, out), (lane, out), (lane, into), (x2, into), (x2, y2))
        elif abs(x1 - x2) < 0.5:
            path = ((x1, y1), (x2, y2))
        else:
            late = drawing.edges.in_degree(target) > 1
            turn = y2 - GAP_Y / 2 if late else y1 + GAP_Y / 2
            path = ((x1, y1), (x1, turn), (x2, turn), (x2, y2))
        yield (source, target), path


def measure(box: Box) -> tuple[float, float]:
    """(width, height) of a box in pixels; a join is a circle or a short bar."""
    if box.kind in ("add", "mul"):
        return 22.0, 22.0
    width = max(BOLD * len(title_of(box)), *(len(line) for line in box.lines), 6) * CHARACTER_PX + 2 * PAD_X
    return width, (1 + len(box.lines)) * LINE_PX + 2 * PAD_Y


def title_of(box: Box) -> str:
    return f"{box.title} x {box.count}" if box.count > 1 else box.title


def arrange(drawing: Drawing, *, horizontal: bool = False) -> Block:
    """The whole drawing as one block; for a horizontal one boxes lie on their sides, and `sheet` turns it."""
    for key, box in drawing.boxes.items():
        width, height = measure(box)
        drawing.sizes[key] = (height, width) if horizontal else (width, height)
    graph = drawing.edges.copy()
    sinks = [node for node in graph if graph.out_degree(node) == 0]
    graph.add_edges_from((sink, _END) for sink in sinks)
    return _series([_single(drawing, "input"), *_between(drawing, graph, "input", _END)])


_END = "\0end"


def _single(drawing: Drawing, key: str) -> Block:
    width, height = drawing.sizes[key]
    return Block(width / 2, width / 2, height, {key: Place(0.0, 0.0, width, height)})


def _series(blocks: Iterable[Block]) -> Block:
    whole, y = Block(), 0.0
    for block in blocks:
        whole.add(block, 0.0, y)
        y += block.height + GAP_Y
    return whole


def _between(drawing: Drawing, graph: nx.DiGraph, first: str, last: str) -> list[Block]:
    """The blocks from one box to another, both left out, in series."""
    dominators = nx.immediate_dominators(graph, first)
    cuts = [last]
    while cuts[-1] != first:
        cuts.append(dominators[cuts[-1]])
    cuts.reverse()
    blocks = []
    for start, end in itertools.pairwise(cuts):
        inner = (nx.descendants(graph, start) & nx.ancestors(graph, end)) - {start, end}
        if inner:
            blocks.append(_branches(drawing, graph, start, end, inner))
        if end != last:
            blocks.append(_single(drawing, end))
    return blocks


def _branches(drawing: Drawing, graph: nx.DiGraph, start: str, end: str, inner: set[str]) -> Block:
    """Everything between two boxes through which all paths go: the parts that hang together, side by side."""
    parts = sorted(nx.weakly_connected_components(graph.subgraph(inner)), key=lambda part: _order(graph, start, part))
    blocks = []
    for part in parts:
        own = graph.subgraph({start, end, *part}).copy()
        if own.has_edge(start, end):
            own.remove_edge(start, end)
        cuts = _cut(own, start, end)
        blocks.append(_series(_between(drawing, own, start, end)) if cuts else _ranks(drawing, own, start, end, part))
    whole = _beside(blocks)
    if graph.has_edge(start, end):
        whole.lanes[start, end] = whole.right + LANE
        whole.right += LANE
    return whole


def _order(graph: nx.DiGraph, start: str, part: set[str]) -> int:
    """Branches stand in the order in which the network runs them."""
    return min((index for index, node in enumerate(graph.successors(start)) if node in part), default=0)


def _cut(graph: nx.DiGraph, start: str, end: str) -> bool:
    """Whether some box lies on every path from start to end."""
    return nx.immediate_dominators(graph, start)[end] != start


def _beside(blocks: Sequence[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    width = sum(block.left + block.right for block in blocks) + GAP_X * (len(blocks) - 1)
    height = max(block.height for block in blocks)
    whole, x = Block(height=height), -width / 2
    for block in blocks:
        whole.add(block, x + block.left, (height - block.height) / 2)
        x += block.left + block.right + GAP_X
    whole.left = whole.right = max(whole.left, whole.right)
    return whole


def _ranks(drawing: Drawing, graph: nx.DiGraph, start: str, end: str, part: set[str]) -> Block:
    """Rank by rank: the box that leads furthest on stands on the trunk line, the others on its right."""
    ranks, ahead = _longest(graph, start), _longest(graph.reverse(copy=True), end)
    rows: dict[int, list[str]] = {}
    for node in nx.topological_sort(graph.subgraph(part)):
        rows.setdefault(ranks[node], []).append(node)
    whole, y = Block(), 0.0
    for rank in sorted(rows):
        row = [_single(drawing, node) for node in sorted(rows[rank], key=lambda node: -ahead[node])]
        x = 0.0
        for number, block in enumerate(row):
            whole.add(block, x if number == 0 else x + block.left, y)
            x = (block.right if number == 0 else x + block.left + block.right) + GAP_X
        y += max(block.height for block in row) + GAP_Y
    _add_buses(graph, ranks, part, whole)
    return whole


def _add_buses(graph: nx.DiGraph, ranks: dict[str, int], part: set[str], whole: Block) -> None:
    """A lane on the right for all edges into one box that pass over a rank."""
    targets: dict[str, float] = {}
    for source, target in graph.edges:
        if source in part and target in part and ranks[target] > ranks[source] + 1:
            if target not in targets:
                whole.right += LANE
                targets[target] = whole.right
            whole.lanes[source, target] = targets[target]


def _longest(graph: nx.DiGraph, start: str) -> dict[str, int]:
    """The longest way from a box to each."""
    ranks = dict.fromkeys(graph, 0)
    for node in nx.topological_sort(graph):
        for target in graph.successors(node):
            ranks[target] = max(ranks[target], ranks[node] + 1)
    return ranks
