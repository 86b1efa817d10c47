"""Lays the levels of two networks side by side: the cheapest way to turn the one into the other."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from convatlas.analysis.likeness.layers import ACTIVATIONS, NORMS, POOLS, WEIGHTED, Level, Part

Couple = tuple[Part | None, Part | None]

IMPOSSIBLE = 1e6
LAYER = 1.0  # what a layer with weights costs that only one network has; all others are parts of it
# a quantity that a pair has differently: a changed layer is cheaper than one dropped and one added
COSTS = {"kernel": 0.5, "maps": 0.4, "stride": 0.3, "groups": 0.3, "dilation": 0.3, "padding": 0.1, "bias": 0.05}
COSTS |= {"norm": 0.2, "activation": 0.1, "dropout": 0.1, "order": 0.1, "constants": 0.03, "shortcut": 0.3}


@dataclass(frozen=True)
class Alignment:
    """Two networks side by side."""

    couples: tuple[Couple, ...]  # from the input on; None where the other network has nothing
    distance: float  # 0: the same; 1: nothing in common


def align(before: Sequence[Level], after: Sequence[Level]) -> Alignment:
    """Couples the layers of two networks, level by level, with the least cost."""
    start = 0
    while start < min(len(before), len(after)) and _key(before[start]) == _key(after[start]):
        start += 1
    end = 0
    most = min(len(before), len(after)) - start
    while end < most and _key(before[len(before) - 1 - end]) == _key(after[len(after) - 1 - end]):
        end += 1
    middle_before, middle_after = before[start : len(before) - end], after[start : len(after) - end]
    middle, cost = _couple_levels(middle_before, middle_after)
    head = zip(before[:start], after[:start], strict=True)
    tail = zip(before[len(before) - end :], after[len(after) - end :], strict=True)
    pairs: list[tuple[Level, Level]] = [*head, *middle, *tail]
    couples = tuple(couple for old, new in pairs for couple in _couple_parts(old, new))
    total = sum(single_cost(part) for level in (*before, *after) for part in level)
    return Alignment(couples, cost / total if total else 0.0)


def _couple_levels(before: Sequence[Level], after: Sequence[Level]) -> tuple[list[tuple[Level, Level]], float]:
    """Needleman and Wunsch's alignment, row by row; a level that is left over is coupled with an empty one."""
    drops = np.array([_level_cost(level) for level in before])
    adds = np.array([_level_cost(level) for level in after])
    costs = _cost_table(before, after)
    sums = np.concatenate(([0.0], np.cumsum(adds)))
    best = np.empty((len(before) + 1, len(after) + 1))
    best[0] = sums
    for row, drop in enumerate(drops, start=1):
        candidates = best[row - 1] + drop
        np.minimum(candidates[1:], best[row - 1, :-1] + costs[row - 1], out=candidates[1:])
        best[row] = sums + np.minimum.accumulate(candidates - sums)
    pairs: list[tuple[Level, Level]] = []
    i, j = len(before), len(after)
    while i or j:
        if i and j and np.isclose(best[i, j], best[i - 1, j - 1] + costs[i - 1, j - 1]):
            i, j = i - 1, j - 1
            pairs.append((before[i], after[j]))
        elif i and np.isclose(best[i, j], best[i - 1, j] + drops[i - 1]):
            i -= 1
            pairs.append((before[i], ()))
        else:
            j -= 1
            pairs.append(((), after[j]))
    return pairs[::-1], float(best[-1, -1])


def _cost_table(before: Sequence[Level], after: Sequence[Level]) -> NDArray[np.float64]:
    """The cost of each couple of levels; equal levels are reckoned once."""
    rows, row_of = _distinct(before)
    columns, column_of = _distinct(after)
    costs = np.array([[_assign(old, new)[1] for new in columns] for old in rows]).reshape(len(rows), len(columns))
    return costs[np.ix_(row_of, column_of)]


def _distinct(levels: Sequence[Level]) -> tuple[list[Level], list[int]]:
    """(one of each kind of level, the place of each level's kind among them)."""
    places: dict[Hashable, int] = {}
    kinds: list[Level] = []
    indices: list[int] = []
    for level in levels:
        place = places.setdefault(_key(level), len(kinds))
        if place == len(kinds):
            kinds.append(level)
        indices.append(place)
    return kinds, indices


def _couple_parts(before: Level, after: Level) -> list[Couple]:
    chosen, _ = _assign(before, after)
    taken = set(chosen.values())
    couples: list[Couple] = []
    for index, old in enumerate(before):
        couples.append((old, after[chosen[index]] if index in chosen else None))
    return [*couples, *((None, new) for index, new in enumerate(after) if index not in taken)]


def _assign(before: Level, after: Level) -> tuple[dict[int, int], float]:
    """(place -> counterpart's place, cost): the cheapest couples; the rest is dropped or added."""
    if _key(before) == _key(after):
        return {index: index for index in range(len(before))}, 0.0
    if len(before) == len(after) == 1:  # as most levels are
        coupled, apart = couple_cost(before[0], after[0]), single_cost(before[0]) + single_cost(after[0])
        return ({0: 0}, coupled) if coupled < apart else ({}, apart)
    rows, columns = len(before), len(after)
    size = rows + columns
    costs = np.zeros((size, size))
    costs[:rows, columns:] = IMPOSSIBLE
    costs[rows:, :columns] = IMPOSSIBLE
    for i, old in enumerate(before):
        costs[i, columns + i] = single_cost(old)
        for j, new in enumerate(after):
            costs[i, j] = couple_cost(old, new)
    for j, new in enumerate(after):
        costs[rows + j, j] = single_cost(new)
    places = [(int(i), int(j)) for i, j in zip(*linear_sum_assignment(costs), strict=True)]
    total = float(sum(costs[i, j] for i, j in places))
    return {i: j for i, j in places if i < rows and j < columns}, total


def single_cost(part: Part) -> float:
    """What a layer costs that the other network lacks."""
    if part.kind in WEIGHTED:
        return LAYER
    return 0.5 * LAYER if part.kind in POOLS else 0.3 * LAYER


def _level_cost(level: Level) -> float:
    return sum(map(single_cost, level))


def couple_cost(old: Part, new: Part) -> float:
    """What it costs to turn one layer into another; more than dropping and adding where they do different work."""
    if role(old) != role(new):
        return IMPOSSIBLE
    cost = sum(COSTS[quantity] for quantity in unlike(old, new))
    return min(cost, 0.95 * (single_cost(old) + single_cost(new)))


def role(part: Part) -> str:
    if part.kind in POOLS:
        return "pool"
    return "weights" if part.kind in WEIGHTED else part.kind


def unlike(old: Part, new: Part) -> list[str]:
    """The quantities that differ, as keys of COSTS. What one side does not know does not differ."""
    quantities = [
        quantity
        for quantity, values in (
            ("kernel", (old.kernel, new.kernel)),
            ("stride", (old.stride, new.stride)),
            ("padding", (old.padding, new.padding)),
            ("dilation", (old.dilation, new.dilation)),
            ("groups", (old.groups, new.groups)),
            ("bias", (old.bias, new.bias)),
        )
        if None not in values and values[0] != values[1] and not (old.whole and new.whole)
    ]
    if old.kind != new.kind:
        quantities.append("kernel")
    if old.kind in WEIGHTED and None not in (old.maps, new.maps) and old.maps != new.maps:
        quantities.append("maps")
    if old.shortcut != new.shortcut:
        quantities.append("shortcut")
    for quantity, kinds in (("norm", NORMS), ("activation", ACTIVATIONS), ("dropout", frozenset({"dropout"}))):
        first, second = (_attached(part, kinds) for part in (old, new))
        if [name for name, _ in first] != [name for name, _ in second]:
            quantities.append(quantity)
        elif any(x and y and x != y for (_, x), (_, y) in zip(first, second, strict=True)):
            quantities.append("constants")
    return quantities


def _attached(part: Part, kinds: frozenset[str]) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    return [(one.kind, one.settings) for one in (*part.before, *part.after) if one.kind in kinds]


def _key(level: Level) -> Hashable:
    """Equal for levels between which nothing differs."""
    return tuple(_part_key(part) for part in level)


def _part_key(part: Part) -> Hashable:
    window = (part.kernel, part.stride, part.padding, part.dilation, part.groups)
    return part.kind, window, part.maps, part.bias, part.shortcut, part.whole, part.settings, part.before, part.after
