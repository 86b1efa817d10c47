"""Differences as sentences, each with the topic that it is about."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from convatlas.analysis.likeness.alignment import Couple
from convatlas.analysis.likeness.blocks import gather
from convatlas.analysis.likeness.differences import Difference, differences, sides
from convatlas.analysis.likeness.naming import LISTED, block_list, join, plural, subject

# topic -> what a sentence says of its layers, in the order of the sentences
TELLING = {
    "operation": "{are} a {new} instead of a {old}",
    "kernel": "{have} a {new} window instead of {old}",
    "maps": "{have} {new} maps instead of {old}",
    "groups": "{have} {new} group{s} instead of {old}",
    "stride": "{have} a stride of {new} instead of {old}",
    "dilation": "{have} a dilation of {new} instead of {old}",
    "padding": "{are} padded by {new} instead of {old}",
    "shortcut": "{are} {new} instead of {old}",
    "bias": "{have} {new} as bias instead of {old}",
    "norm": "{are} followed by {new} instead of {old}",
    "norm_constants": "{have} {new} in {its} normalisation instead of {old}",
    "activation": "{are} followed by {new} instead of {old}",
    "activation_constants": "{have} {new} in {its} activation instead of {old}",
    "pooling": "{are} {new} instead of {old}",
    "rounding": "{round} the size of {its} output {new} instead of {old}",
    "dropout": "{are} followed by {new} instead of {old}",
    "dropout_constants": "{are} followed by dropout of {new} instead of {old}",
    "head": "{give} {new} outputs instead of {old}",
}


@dataclass(frozen=True)
class Sentence:
    """One thing that was done differently."""

    topic: str
    text: str
    before: str
    after: str
    layers: tuple[tuple[str | None, str | None], ...]  # (published name, name here)


def sentences(couples: Sequence[Couple]) -> tuple[Sentence, ...]:
    """What differs between two networks whose layers are laid side by side, one sentence a thing.

    >>> from convatlas.analysis.likeness import align, of_registered
    >>> aligned = align(of_registered("alexnet"), of_registered("alexnet_owt"))
    >>> [sentence.text for sentence in sentences(aligned.couples) if sentence.topic == "groups"]
    ['conv2, conv4 and conv5 have 1 group instead of 2.']
    """
    found = differences(couples)
    told: list[Sentence] = []
    for topic, title in (("dropped", "Dropped"), ("added", "Added")):
        same = [difference for difference in found if difference.topic == topic]
        told += _alone(topic, title, same, couples)
    moved = _moved_stride(found)
    if moved:
        told.append(moved)
    for topic in TELLING:
        same = [difference for difference in found if difference.topic == topic]
        if topic == "stride" and moved:
            same = _without(same, moved)
        told += _widths(same, couples) if topic == "maps" else (_tell(difference, couples) for difference in same)
    return tuple(told)


def _tell(difference: Difference, couples: Sequence[Couple]) -> Sentence:
    names, single = subject(difference.couples, couples)
    said = TELLING[difference.topic].format(
        new=difference.after,
        old=_without_name(difference.before, difference.after),
        s="" if difference.after == "1" else "s",
        are="is" if single else "are",
        have="has" if single else "have",
        give="gives" if single else "give",
        round="rounds" if single else "round",
        its="its" if single else "their",
    )
    said = said.replace("has none as bias instead of a", "has no bias").replace(
        "have none as bias instead of a", "have no biases"
    )
    said = said.replace("has a as bias instead of none", "has a bias").replace(
        "have a as bias instead of none", "have biases"
    )
    said = said.replace("followed by nothing instead of", "no longer followed by").replace(" instead of nothing", "")
    return _sentence(difference, f"{_capital(names)} {said}.")


def _without_name(before: str, after: str) -> str:
    """ "eps 0.001" beside "eps 1e-05" -> "0.001": a constant is named once."""
    name, blank, value = before.partition(" ")
    return value if blank and len(before.split()) == 2 and after.startswith(f"{name} ") else before


def _widths(same: Sequence[Difference], couples: Sequence[Couple]) -> Iterator[Sentence]:
    """Layers that are wider by the same factor are told together."""
    ratios: dict[Fraction, list[Difference]] = {}
    for difference in same:
        before, after = (int(text.replace(",", "")) for text in (difference.before, difference.after))
        ratios.setdefault(Fraction(after, before), []).append(difference)
    for ratio, alike in ratios.items():
        if len(alike) < 2:
            yield from (_tell(difference, couples) for difference in alike)
            continue
        chosen = [couple for couple in couples if any(couple in difference.couples for difference in alike)]
        names, single = subject(chosen, couples)
        ends = f"{alike[0].before} to {alike[-1].before} become {alike[0].after} to {alike[-1].after}"
        text = f"{_capital(names)} {'has' if single else 'have'} {float(ratio):.4g} times the maps ({ends})."
        befores, afters = (", ".join(values) for values in zip(*((d.before, d.after) for d in alike), strict=True))
        yield Sentence("maps", text, befores, afters, _names(chosen))


def _moved_stride(found: Sequence[Difference]) -> Sentence | None:
    """Strides that one layer of a block gives up and another one of it takes."""
    strides = [(one, couple) for one in found if one.topic == "stride" for couple in one.couples]
    lost = {_block(couple): couple for one, couple in strides if one.after == "1"}
    gained = {_block(couple): couple for one, couple in strides if one.before == "1"}
    blocks = [block for block in gained if block in lost]
    if not blocks:
        return None
    losers, gainers = [lost[block] for block in blocks], [gained[block] for block in blocks]
    windows = [{sides(couple[1].kernel or (), always=True) for couple in s if couple[1]} for s in (losers, gainers)]
    kinds = [f"{window.pop()} convolution" if len(window) == 1 else "layer" for window in windows]
    count = f"{len(blocks)} blocks" if len(blocks) > 1 else "block"
    text = f"The stride is in the {kinds[1]} instead of the {kinds[0]}, in the {count} {block_list(gainers)}."
    return Sentence("stride", text, *(f"in the {kind}" for kind in kinds), layers=_names([*losers, *gainers]))


def _without(found: Sequence[Difference], told: Sentence) -> list[Difference]:
    """Differences without the layers that a sentence has told of."""
    left = [replace(one, couples=tuple(c for c in one.couples if _names([c])[0] not in told.layers)) for one in found]
    return [one for one in left if one.couples]


def _block(couple: Couple) -> str:
    part = couple[1] or couple[0]
    assert part is not None
    return part.name.rpartition(".")[0]


def _alone(topic: str, title: str, found: Sequence[Difference], couples: Sequence[Couple]) -> Iterator[Sentence]:
    """Layers that only one network has: whole blocks by their name, others by what they do."""
    side = 0 if topic == "dropped" else 1
    alone = [part for difference in found for couple in difference.couples if (part := couple[side])]
    order = {part: place for place, part in enumerate(couple[side] for couple in couples) if part}
    everything = sorted(order, key=lambda part: order[part])
    for group in gather(sorted(alone, key=lambda part: order[part]), everything):
        many = len(group.names) > 1
        if group.block and many:
            text = f"{len(group.names)} blocks ({join(group.names)}), each {group.text}"
        elif group.block:
            text = f"the block {group.names[0]} ({group.text})"
        else:
            article = "an" if group.text[0] in "aeiou" else "a"
            what = f"{len(group.names)} {plural(group.text)}" if many else f"{article} {group.text}"
            leaves = {name.rpartition(".")[2] for name in group.names}
            text = f"{what} ({join(group.names)})"
            if len(group.names) > LISTED and len(leaves) == 1:
                text = f"{article} {group.text} in each of {len(group.names)} blocks ({join(group.names)})"
        names = tuple((part.name, None) if side == 0 else (None, part.name) for part in group.parts)
        values = (group.text, "nothing") if side == 0 else ("nothing", group.text)
        yield Sentence(topic, f"{title}: {text}.", *values, layers=names)


def _sentence(difference: Difference, text: str) -> Sentence:
    return Sentence(difference.topic, text, difference.before, difference.after, _names(difference.couples))


def _names(couples: Sequence[Couple]) -> tuple[tuple[str | None, str | None], ...]:
    return tuple((old.name if old else None, new.name if new else None) for old, new in couples)


def _capital(names: str) -> str:
    """Only "every" and numbers begin a sentence in another way than they stand within one: names keep their letters."""
    return f"E{names[1:]}" if names.startswith("every ") else names
