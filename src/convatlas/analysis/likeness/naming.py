"""How a sentence names layers: "every 3x3 convolution" where it is every one, else by name, or the first and last."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from convatlas.analysis.likeness.alignment import Couple
from convatlas.analysis.likeness.differences import KINDS, sides
from convatlas.analysis.likeness.layers import NORMS, POOLS, WEIGHTED, Part

LISTED = 4  # names in a sentence; of more the first and the last
EXCEPTIONS = 2  # names behind "every ... but"
NOUN = re.compile(r"\b(convolution|layer|pooling|sum|product|normalisation|resizing)\b")


def plural(text: str) -> str:
    """ "3x3 convolution, stride 2" -> "3x3 convolutions, stride 2"."""
    changed = NOUN.sub(r"\1s", text, count=1)
    return changed if changed != text else f"{text}s"


def subject(chosen: Sequence[Couple], couples: Sequence[Couple]) -> tuple[str, bool]:
    """(what to call these layers, whether that is a singular).

    Args:
        chosen: that the sentence is about; both networks have them.
        couples: all layers of the two networks.
    """
    if len(chosen) > 1:
        families = [(phrase, same) for phrase, same in _families(chosen, couples) if set(chosen) <= set(same)]
        for phrase, same in families:
            if len(same) == len(chosen):
                return phrase, True
        for phrase, same in families:
            rest = [couple for couple in same if couple not in chosen]
            if len(rest) <= EXCEPTIONS and len(chosen) >= 2 * len(rest) + 2:
                return f"{phrase} but {name_list(rest)}", True
    if len(chosen) <= LISTED:
        return name_list(chosen), len(chosen) == 1
    leaves = {shown_name(part.name).rpartition(".")[2] for couple in chosen if (part := couple[0] or couple[1])}
    if len(leaves) == 1:
        return (
            f"{leaves.pop()} of {len(chosen)} blocks ({block_list([chosen[0]])} to {block_list([chosen[-1]])})",
            False,
        )
    kinds = {KINDS.get(part.kind, part.kind) for couple in chosen if (part := couple[1] or couple[0])}
    noun = plural(kinds.pop()) if len(kinds) == 1 else "layers"
    return f"{len(chosen)} {noun} ({_name(chosen[0])} to {_name(chosen[-1])})", False


def name_list(couples: Sequence[Couple]) -> str:
    """ "conv2 and conv4 (features.3 and features.8)": the published names, and those here where they differ."""
    published = [couple[0].name if couple[0] else None for couple in couples]
    here = [couple[1].name if couple[1] else None for couple in couples]
    first = join([name for name in published if name])
    second = join([name for name in here if name])
    if not first or not second or published == here:
        return first or second
    return f"{first} ({second})"


def join(names: Sequence[str]) -> str:
    """ "a, b and c"; of many the first and the last."""
    names = [shown_name(name) for name in names]
    if len(names) > LISTED:
        return f"{names[0]} to {names[-1]}"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1] if names else "")))


def shown_name(name: str) -> str:
    """A module's path; a function is named by its module: "layer1.0/add" is layer1.0."""
    path, _, function = name.partition("/")
    return path or function


def block_list(couples: Sequence[Couple]) -> str:
    """As `name_list`, of the blocks that the layers lie in."""
    return name_list([(_outer(old), _outer(new)) for old, new in couples])


def _outer(part: Part | None) -> Part | None:
    return replace(part, name=shown_name(part.name).rpartition(".")[0] or part.name) if part else None


def _name(couple: Couple) -> str:
    return name_list([couple])


def _families(chosen: Sequence[Couple], couples: Sequence[Couple]) -> Iterator[tuple[str, list[Couple]]]:
    """(phrase, its layers), the widest first."""
    both = [couple for couple in couples if None not in couple]
    normalised = [couple for couple in both if all(part and _is_normalised(part) for part in couple)]
    tests: list[tuple[str, Callable[[Part], bool]]] = [
        ("every layer with weights", lambda part: part.kind in WEIGHTED),
        ("every convolution", lambda part: part.kind == "conv"),
        ("every convolution of a branch", lambda part: part.kind == "conv" and not part.shortcut),
        ("every convolution in a shortcut", lambda part: part.shortcut),
        ("every fully connected layer", lambda part: part.kind == "fc"),
        ("every sum", lambda part: part.kind == "add"),
        ("every max pooling", lambda part: part.kind == "maxpool"),
        ("every pooling", lambda part: part.kind in POOLS),
    ]
    first = chosen[0][0]
    if first and first.kernel and first.kind == "conv":
        kernel = first.kernel
        window = sides(kernel, always=True)
        tests.append((f"every {window} convolution", lambda part: part.kind == "conv" and part.kernel == kernel))
    for phrase, test in tests:
        same = [couple for couple in both if couple[0] and test(couple[0])]
        if len(same) > 1:
            yield phrase, same
    if len(normalised) > 1:
        yield "every normalised layer", normalised
    if first is None:
        return
    noun = KINDS.get(first.kind, first.kind)
    for side in (0, 1):
        for prefix in _prefixes([couple[side] for couple in chosen]):
            same = [
                couple for couple in both if _is_in(couple[side], prefix) and couple[0] and couple[0].kind == first.kind
            ]
            if len(same) > 1:
                yield f"every {noun} of {prefix}", same


def _prefixes(parts: Sequence[Part | None]) -> list[str]:
    """The paths that all of the layers lie below, the longest first."""
    paths = [shown_name(part.name).split(".")[:-1] for part in parts if part]
    shared: list[str] = []
    for steps in zip(*paths, strict=False):
        if len(set(steps)) > 1:
            break
        shared.append(steps[0])
    return [".".join(shared[:end]) for end in range(len(shared), 0, -1)]


def _is_normalised(part: Part) -> bool:
    return any(one.kind in NORMS for one in (*part.before, *part.after))


def _is_in(part: Part | None, prefix: str) -> bool:
    return part is not None and part.name.startswith((f"{prefix}.", f"{prefix}/"))
