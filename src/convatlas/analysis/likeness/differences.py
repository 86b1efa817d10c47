"""From layers side by side to differences: each said once for all layers that have it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from convatlas.analysis.likeness.alignment import Couple
from convatlas.analysis.likeness.layers import ACTIVATIONS, NORMS, POOLS, WEIGHTED, Attached, Part

DROPOUT = frozenset({"dropout"})


@dataclass(frozen=True)
class Difference:
    """One quantity that several layers have differently in the same way."""

    topic: str  # "dropped", "added", "kernel", "maps", "head", "stride", "norm", "norm_constants", "dropout", ...
    before: str  # as a person reads it: "3x3", "batch normalisation (eps 0.001, momentum 0.1)", "nothing"
    after: str
    couples: tuple[Couple, ...]  # the layers that have it


def differences(couples: Sequence[Couple]) -> tuple[Difference, ...]:
    """What differs between layers that are laid side by side, in the order in which it is met."""
    grouped: dict[tuple[str, str, str], list[Couple]] = {}
    head = _head(couples)
    for couple in couples:
        for topic, before, after in _changes(*couple, is_head=couple is head):
            grouped.setdefault((topic, before, after), []).append(couple)
    return tuple(Difference(*key, tuple(same)) for key, same in grouped.items())


def _head(couples: Sequence[Couple]) -> Couple | None:
    """The last layer with weights that both have, if none comes after it."""
    weighted = [couple for couple in couples if any(part and part.kind in WEIGHTED for part in couple)]
    return weighted[-1] if weighted and None not in weighted[-1] else None


def _changes(old: Part | None, new: Part | None, *, is_head: bool) -> Iterator[tuple[str, str, str]]:
    if old is None or new is None:
        part = new or old
        assert part is not None
        text = described(part)
        yield ("added", "nothing", text) if old is None else ("dropped", text, "nothing")
        return
    if old.kind in POOLS:
        yield from _pooling(old, new)
    elif old.kind != new.kind:
        yield "operation", KINDS.get(old.kind, old.kind), KINDS.get(new.kind, new.kind)
    if old.kind in WEIGHTED:
        yield from _windows(old, new)
        if old.maps != new.maps and None not in (old.maps, new.maps):
            yield "head" if is_head else "maps", f"{old.maps:,}", f"{new.maps:,}"
        if None not in (old.bias, new.bias) and old.bias != new.bias:
            yield "bias", "a" if old.bias else "none", "a" if new.bias else "none"
        if old.shortcut != new.shortcut:
            places = {True: "a shortcut", False: "a layer of a branch"}
            yield "shortcut", places[old.shortcut], places[new.shortcut]
    yield from _attached_changes(old, new)


def _windows(old: Part, new: Part) -> Iterator[tuple[str, str, str]]:
    for topic, first, second in (
        ("kernel", old.kernel, new.kernel),
        ("stride", old.stride, new.stride),
        ("padding", old.padding, new.padding),
        ("dilation", old.dilation, new.dilation),
    ):
        if (
            first is not None
            and second is not None
            and first != second
            and not (topic == "padding" and _follows(old, new))
        ):
            yield topic, sides(first, always=topic == "kernel"), sides(second, always=topic == "kernel")
    if None not in (old.groups, new.groups) and old.groups != new.groups:
        yield "groups", str(old.groups), str(new.groups)


def _follows(old: Part, new: Part) -> bool:
    """Whether another padding only keeps the size, as another kernel or dilation wants it."""
    if old.kernel == new.kernel and old.dilation == new.dilation:
        return False
    return all(
        part.padding == tuple(d * (k - 1) // 2 for k, d in zip(part.kernel or (), part.dilation or (), strict=False))
        for part in (old, new)
    )


def _pooling(old: Part, new: Part) -> Iterator[tuple[str, str, str]]:
    if old.whole and new.whole and old.kind == new.kind:
        return
    first, second = described(old), described(new)
    if first != second and None not in (old.kernel, new.kernel):
        yield "pooling", first, second
    elif old.kind != new.kind:
        yield "pooling", KINDS[old.kind], KINDS[new.kind]
    constants = dict(old.settings), dict(new.settings)
    rounding = [side.get("ceil_mode") for side in constants]
    if None not in rounding and rounding[0] != rounding[1] and set(new.stride or ()) != {1}:
        words = {"True": "upwards", "False": "downwards"}
        yield "rounding", words[str(rounding[0])], words[str(rounding[1])]


def _attached_changes(old: Part, new: Part) -> Iterator[tuple[str, str, str]]:
    for topic, kinds in (("norm", NORMS), ("activation", ACTIVATIONS), ("dropout", DROPOUT)):
        first, second = ([one for one in (*part.before, *part.after) if one.kind in kinds] for part in (old, new))
        if topic == "norm" and [one.kind for one in first] != [one.kind for one in second]:
            yield from _norms(first, second)
        elif [one.kind for one in first] != [one.kind for one in second]:
            yield topic, _listed(first), _listed(second)
        else:
            for one, other in zip(first, second, strict=True):
                yield from _constants(topic, one, other)


def _norms(first: Sequence[Attached], second: Sequence[Attached]) -> Iterator[tuple[str, str, str]]:
    """What goes and what comes, apart: they seldom change in the same places."""
    kinds = [one.kind for one in first], [one.kind for one in second]
    for one in first:
        if one.kind not in kinds[1]:
            yield "norm", _told(one), "nothing"
    for one in second:
        if one.kind not in kinds[0]:
            yield "norm", "nothing", _told(one)


def _constants(topic: str, old: Attached, new: Attached) -> Iterator[tuple[str, str, str]]:
    first, second = dict(old.settings), dict(new.settings)
    changed = [key for key in first if key in second and first[key] != second[key]]
    for key in changed:
        name = "probability" if (topic, key) == ("dropout", "p") else key
        yield f"{topic}_constants", f"{name} {first[key]}", f"{name} {second[key]}"


def _listed(attached: Sequence[Attached]) -> str:
    return " and ".join(_told(one) for one in attached) or "nothing"


def _told(one: Attached) -> str:
    constants = ", ".join(f"{key} {value}" for key, value in one.settings if key not in ("size",))
    return KINDS.get(one.kind, one.kind.replace("_", " ")) + (f" ({constants})" if constants else "")


KINDS = {
    "conv": "convolution",
    "deconv": "transposed convolution",
    "fc": "fully connected layer",
    "maxpool": "max pooling",
    "avgpool": "average pooling",
    "batchnorm": "batch normalisation",
    "lrn": "local response normalisation",
    "groupnorm": "group normalisation",
    "layernorm": "layer normalisation",
    "l2norm": "normalisation of length",
    "relu": "ReLU",
    "leaky_relu": "leaky ReLU",
    "prelu": "PReLU",
    "gelu": "GELU",
    "silu": "SiLU",
    "add": "sum with a shortcut",
    "mul": "product of two branches",
    "rbf": "layer of distances",
    "interpolate": "resizing",
}


def described(part: Part) -> str:
    """ "3x3 convolution, stride 2", "global average pooling", "fully connected layer of 4,096"."""
    kind = KINDS.get(part.kind, part.kind.replace("_", " "))
    if part.whole:
        return f"global {kind}"
    if part.kind == "avgpool" and part.kernel and set(part.kernel) == {1}:
        return "average pooling that does nothing at this size"
    window = f"{sides(part.kernel, always=True)} " if part.kernel else ""
    text = f"{window}{kind}"
    if part.kind in WEIGHTED and part.groups not in (None, 1):
        text = f"{'depthwise' if part.groups == part.fan_in else 'grouped'} {text}"
    if part.kind == "fc" and part.maps:
        return f"{text} of {part.maps:,}"
    stride = part.stride or ()
    if any(step > 1 for step in stride) or (part.kind in POOLS and stride):
        text += f", stride {sides(stride)}"
    return f"{text} in a shortcut" if part.shortcut else text


def sides(values: Sequence[int], *, always: bool = False) -> str:
    """ "3x3"; where both are the same and it need not be said twice "2"."""
    return str(values[0]) if len(set(values)) == 1 and not always else "x".join(map(str, values))
