"""Layers that only one network has, gathered: a block of which nothing is left is named as a whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from convatlas.analysis.likeness.differences import described
from convatlas.analysis.likeness.layers import Part
from convatlas.analysis.likeness.naming import plural, shown_name


@dataclass(frozen=True)
class Group:
    """Blocks of the same layers, or layers that do the same."""

    names: tuple[str, ...]  # of the blocks, or of the layers
    text: str  # what each of them is
    block: bool
    parts: tuple[Part, ...]


def gather(alone: Sequence[Part], everything: Sequence[Part]) -> list[Group]:
    """Gathers layers without counterpart.

    Args:
        alone: in their order.
        everything: all layers of their network.
    """
    kept = {prefix for part in everything if part not in set(alone) for prefix in _prefixes(part)}
    blocks: dict[str, list[Part]] = {}
    for part in alone:
        free = [prefix for prefix in _prefixes(part) if prefix not in kept]
        blocks.setdefault(free[0] if free else part.name, []).append(part)
    gathered: dict[tuple[bool, str], list[tuple[str, list[Part]]]] = {}
    for name, parts in blocks.items():
        is_block = len(parts) > 1
        text = contents(parts) if is_block else described(parts[0])
        gathered.setdefault((is_block, text), []).append((name if is_block else shown_name(parts[0].name), parts))
    return [
        Group(tuple(name for name, _ in same), text, is_block, tuple(part for _, parts in same for part in parts))
        for (is_block, text), same in gathered.items()
    ]


def contents(parts: Sequence[Part]) -> str:
    """ "1x1 convolution, 2 3x3 convolutions, sum with a shortcut": the layers of a block in their order."""
    runs: list[list[str]] = []
    for part in parts:
        text = described(part)
        if runs and runs[-1][0] == text:
            runs[-1].append(text)
        else:
            runs.append([text])
    if len(runs) > 6:
        return f"{len(parts)} layers"
    return ", ".join(run[0] if len(run) == 1 else f"{len(run)} {plural(run[0])}" for run in runs)


def _prefixes(part: Part) -> list[str]:
    """Paths of the blocks that a layer lies in and its own, the outermost first."""
    return list(_walk(shown_name(part.name)))


def _walk(path: str) -> Iterator[str]:
    steps = path.split(".")
    for end in range(1, len(steps) + 1):
        yield ".".join(steps[:end])
