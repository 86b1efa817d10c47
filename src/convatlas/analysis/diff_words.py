"""A difference between two networks as an explanation: one sentence for each thing that was done differently."""

from collections.abc import Iterator, Sequence

from convatlas.analysis.diff import Difference, Layer, Pair

SHOWN = 6  # names in a sentence; more are counted

# quantity -> how a sentence tells it
TELLING = {
    "operation": "{names} {are} {new} instead of {old}",
    "kernel": "{names} {have} windows of {new} instead of {old}",
    "stride": "{names} {have} a stride of {new} instead of {old}",
    "padding": "{names} {are} padded by {new} instead of {old}",
    "dilation": "{names} {have} a dilation of {new} instead of {old}",
    "groups": "{names} {have} {new} {group} instead of {old}",
    "maps": "{names} {have} {new} maps instead of {old}",
    "units": "{names} {have} {new} units instead of {old}",
}
KINDS = {
    "conv": "convolution",
    "fc": "fully connected",
    "lrn": "response normalisation",
    "l2norm": "normalisation of length",
    "batchnorm": "batch normalisation",
    "maxpool": "max pooling",
    "avgpool": "average pooling",
    "relu": "ReLU",
    "sparse_conv": "convolution by a table",
    "subsampling": "trainable sub-sampling",
    "rbf": "distance to codes",
    "add": "addition",
    "cat": "concatenation",
    "identity": "nothing",
}


def sentences(difference: Difference) -> tuple[str, ...]:
    """What was done differently in the second network, and what it costs or saves most."""
    first, second = difference.before, difference.after
    lines: list[str] = []
    if first.input_shape != second.input_shape:
        lines.append(f"The input is {_shape(second.input_shape)} instead of {_shape(first.input_shape)}.")
    for title, layers, names, others in (
        ("Left out", first.layers, _alone(difference.pairs, "before"), second.layers),
        ("Added", second.layers, _alone(difference.pairs, "after"), first.layers),
    ):
        if names:
            lines.append(f"{title}: {'; '.join(_parts(layers, names, others))}.")
    lines += [_moved(difference, pair) for pair in difference.pairs if pair.moved]
    lines += _changed(difference.pairs)
    lines += _largest(difference, "parameters", "The parameters")
    lines += _largest(difference, "multiply_adds", "The multiply-adds")
    return tuple(lines) or ("Nothing: the layers are the same.",)


def _alone(pairs: Sequence[Pair], side: str) -> list[Layer]:
    layers = [pair.before if side == "before" else pair.after for pair in pairs if None in (pair.before, pair.after)]
    return [layer for layer in layers if layer is not None]


def _parts(layers: Sequence[Layer], alone: Sequence[Layer], others: Sequence[Layer]) -> Iterator[str]:
    """Single layers by kind, with what they follow; whole blocks by their name, with the number of their layers."""
    known = {prefix for layer in others for prefix in _prefixes(layer.record.name)}
    blocks: dict[str, list[Layer]] = {}
    for layer in alone:
        prefixes = _prefixes(layer.record.name)
        block = next((prefix for prefix in prefixes if prefix not in known), prefixes[-1])
        blocks.setdefault(block, []).append(layer)
    singles: dict[str, list[Layer]] = {}
    whole: list[str] = []
    for block, inside in blocks.items():
        if len(inside) > 1:
            whole.append(f"{block} ({len(inside)} layers)")
        else:
            singles.setdefault(inside[0].record.kind, []).append(inside[0])
    if whole:
        yield _listed(whole)
    for kind, same in singles.items():
        names = _listed([layer.record.name for layer in same])
        places = _listed([_before(layers, layer) for layer in same])
        yield f"{names} ({KINDS.get(kind, kind.replace('_', ' '))}, after {places})"


def _prefixes(name: str) -> list[str]:
    """ "a.b.c" -> ["a", "a.b", "a.b.c"]; a function's "/" parts like a dot."""
    ends = [index for index, character in enumerate(name) if character in "./" and index] + [len(name)]
    return [name[:end] for end in ends]


def _before(layers: Sequence[Layer], layer: Layer) -> str:
    place = layers.index(layer)
    return layers[place - 1].record.name if place else "the input"


def _moved(difference: Difference, pair: Pair) -> str:
    assert pair.before is not None
    assert pair.after is not None
    old, new = _before(difference.before.layers, pair.before), _before(difference.after.layers, pair.after)
    return f"{pair.after.record.name} stands after {new} instead of {old}."


def _changed(pairs: Sequence[Pair]) -> Iterator[str]:
    """One sentence for each quantity; layers that change alike are told together."""
    told: dict[str, dict[tuple[str, str], list[str]]] = {}
    for pair in pairs:
        for change in pair.changes:
            assert pair.after is not None
            values = (change.before, change.after)
            if change.quantity == "operation":
                values = (KINDS.get(change.before, change.before), KINDS.get(change.after, change.after))
            same = told.setdefault(change.quantity, {}).setdefault(values, [])
            same.append(pair.after.record.name)
    for quantity in (*TELLING, *(quantity for quantity in told if quantity not in TELLING)):
        if quantity in told:
            form = TELLING.get(quantity, f"{{names}} {{have}} {quantity} {{new}} instead of {{old}}")
            yield (
                "; ".join(
                    form.format(
                        names=_listed(names),
                        have="has" if len(names) == 1 else "have",
                        are="is" if len(names) == 1 else "are",
                        group="group" if new == "1" else "groups",
                        old=old,
                        new=new,
                    )
                    for (old, new), names in told[quantity].items()
                )
                + "."
            )


def _largest(difference: Difference, quantity: str, title: str) -> Iterator[str]:
    """Where most of a sum's change comes from."""
    gains = [(_count(pair.after, quantity) - _count(pair.before, quantity), pair) for pair in difference.pairs]
    gains = sorted((gain for gain in gains if gain[0]), key=lambda gain: -abs(gain[0]))[:3]
    if gains:
        yield f"{title} change most by " + ", ".join(f"{_name(pair)} ({gain:+,})" for gain, pair in gains) + "."


def _count(layer: Layer | None, quantity: str) -> int:
    return 0 if layer is None else getattr(layer.record, quantity) or 0


def _name(pair: Pair) -> str:
    layer = pair.after or pair.before
    assert layer is not None
    return layer.record.name


def _listed(names: Sequence[str]) -> str:
    """ "a, b and c"; of many the first and their number."""
    if len(names) > SHOWN:
        return f"{', '.join(names[:3])} and {len(names) - 3} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
