"""Which published network a module is nearest to, and what differs."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from torch import nn

from convatlas import registry
from convatlas.analysis.likeness import (
    Alignment,
    Level,
    Sentence,
    align,
    constants_of,
    levels,
    of_registered,
    sentences,
)
from convatlas.analysis.likeness.index import finalists, weight_shapes
from convatlas.analysis.likeness.modules import (
    align_by_likeness,
    only_weights,
    parts_of_modules,
    parts_of_tensors,
)
from convatlas.analysis.trace import build_on_meta, trace
from convatlas.errors import UsageError
from convatlas.facts.departures import Departure, departures, libraries_own
from convatlas.inference.foreign import Model, open_model
from convatlas.records import LayerRecord, NetworkCard, Shape
from convatlas.sizes import FAILURES

SIDES = (224, 299, 32, 28, 227, 96, 64, 128, 256, 512, 572)  # tried in turn where nothing tells the input
UNLIKE = 0.5  # a distance from which on two networks have little in common
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Against:
    """A model beside a registered network."""

    network: str
    distance: float  # 0: the same layers; 1: none in common
    sentences: tuple[Sentence, ...]
    input_shape: Shape  # of the registered one, as published
    parameters: int
    multiply_adds: int | None  # at the input of the comparison; None: not known
    departures: tuple[Departure, ...] = ()  # of the model's library, which explain sentences or add to them


@dataclass(frozen=True)
class Answer:
    """What a model is."""

    model: Model
    compared: str  # by what: "layers of a forward pass", "modules", "weights"
    input_shape: Shape | None
    parameters: int
    multiply_adds: int | None
    nearest: Against
    asked: Against | None  # the network that was asked for, or that the model's name claims
    others: tuple[tuple[str, float], ...]  # the next nearest and their distances
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Seen:
    """A model as it can be compared."""

    compared: str
    shape: Shape | None
    levels: tuple[Level, ...]
    training: bool = False  # with the auxiliary heads
    records: tuple[LayerRecord, ...] = ()


def why(
    source: str | os.PathLike[str] | nn.Module,
    *,
    network: str | None = None,
    input_shape: Shape | None = None,
    on_progress: Progress | None = None,
) -> Answer:
    """Finds the registered network that a model is nearest to, and what differs.

    Args:
        source: a module, or what `open_model` takes.
        network: a registered network to compare it with besides; None: the one that its name claims, if any.
        input_shape: (C, H, W); None: its library's, else the nearest network's.
        on_progress: called with (done, all) networks while their index is made, the first time.

    Raises:
        UsageError: no such model or network, or an input that the model can't take.
        ConvatlasError: it can't be read or built.
    """
    model = open_model(source)
    if not any(len(shape) > 1 for shape in model.tensors.values()):
        raise UsageError(f"{model.title} has no convolution or fully connected layer; expected a network with weights")
    wanted = registry.card(network) if network is not None else claimed(model)
    names = finalists(weight_shapes(model.tensors.values()), on_progress=on_progress)
    names += [wanted.name] if wanted and wanted.name not in names else []
    seen = see(model, input_shape)
    ranked = rank(seen, names)
    if input_shape is None and model.input_shape is None and seen.shape is not None:
        better = see_at(model, seen, registry.card(ranked[0][0]).input_shape)
        ranked, seen = (rank(better, names), better) if better else (ranked, seen)
    best = ranked[0][0]
    target = wanted.name if wanted else libraries_own().get(best)
    if target and target not in names:
        ranked = [*ranked, (target, _align(seen, target))]
    nearest = against(model, seen, *ranked[0])
    asked = next((against(model, seen, *one) for one in ranked[1:] if one[0] == target), None)
    others = tuple((name, alignment.distance) for name, alignment in ranked[1:4] if name != target)
    same = [name for name, alignment in ranked[1:] if round(alignment.distance, 4) == round(nearest.distance, 4)]
    notes = model.notes + ((f"just as near: {', '.join(same)}",) if same else ())
    notes += () if nearest.distance < UNLIKE else ("nothing in the atlas is like it",)
    operations = _operations(seen.records) or None
    return Answer(model, seen.compared, seen.shape, model.parameters, operations, nearest, asked, others, notes)


def claimed(model: Model) -> NetworkCard | None:
    """The registered network whose name a model has: `legacy_xception` says that it is `xception`."""
    if model.published:
        return registry.card(model.published)
    if not model.library:
        return None
    name = LIBRARY_NAMES.get(model.name, model.name.removeprefix("legacy_").removeprefix("tv_"))
    try:
        return registry.card(name)
    except UsageError:
        return None


LIBRARY_NAMES = {"vgg11": "vgg_a", "vgg13": "vgg_b", "vgg16": "vgg_d", "vgg19": "vgg_e"}
LIBRARY_NAMES |= {"squeezenet1_0": "squeezenet_v1_0", "squeezenet1_1": "squeezenet_v1_1"}
LIBRARY_NAMES |= {"inception_resnet_v2": "inception_resnet_v2_released"}


def see(model: Model, input_shape: Shape | None) -> _Seen:
    """A model as levels, as far as it can be seen: by a forward pass, else by its modules, else by its weights."""
    if model.records:
        return _Seen("the graph of the file", model.input_shape, levels(model.records, model.constants))
    if model.net is None:
        return _Seen("the shapes of the weights", None, (parts_of_tensors(model.tensors),))
    shape = input_shape or model.input_shape
    for candidate in [shape] if shape else guesses(model):
        seen = _run(model.net, candidate)
        if seen:
            return seen
    if input_shape is not None:
        trace(model.net, input_shape)  # which says what does not fit
    return _Seen("its modules, since it runs on no single image", None, (parts_of_modules(model.net),))


def see_at(model: Model, seen: _Seen, shape: Shape) -> _Seen | None:
    """The model at another input, if it takes that one."""
    if model.net is None or not seen.records or seen.shape is None or shape == seen.shape:
        return None
    return _run(model.net, (seen.shape[0], *shape[1:]))


def guesses(model: Model) -> list[Shape]:
    """Inputs to try: as many channels as the first convolution reads, on squares of usual sizes."""
    first = next((shape for shape in model.tensors.values() if len(shape) > 1), (0, 3))
    if len(first) == 2:
        return [(first[1],)]
    return [(first[1], *(side,) * (len(first) - 2)) for side in SIDES]


def _run(net: nn.Module, shape: Shape) -> _Seen | None:
    """None where the model does not take the input. In training where only then all of its layers run."""
    try:
        records = trace(net, shape)
        if not unused(net, records):
            return _Seen(
                "the layers of a forward pass", shape, levels(records, constants_of(net, records)), False, records
            )
        whole = trace(net, shape, training=True)
    except (UsageError, AttributeError, TypeError, NotImplementedError, KeyError, *FAILURES):
        return None
    kept = replace(_Seen("the layers of a forward pass in training", shape, (), True, records))
    return replace(kept, levels=levels(whole, constants_of(net, whole)))


def unused(net: nn.Module, records: Sequence[LayerRecord]) -> bool:
    """Whether layers of the network did not run, as auxiliary heads do not in evaluation."""
    read = sum(record.parameters for record in records)
    return read < sum(parameter.numel() for parameter in net.parameters())


def rank(seen: _Seen, names: Sequence[str]) -> list[tuple[str, Alignment]]:
    """The networks, each aligned with the model, the nearest first; of equals the one with the shortest name."""
    aligned = [(name, _align(seen, name)) for name in names]
    return sorted(aligned, key=lambda one: (round(one[1].distance, 4), len(one[0]), one[0]))


def _align(seen: _Seen, name: str) -> Alignment:
    if seen.compared == "the shapes of the weights":
        return align_by_likeness(only_weights(parts_of_modules(build_on_meta(name))), seen.levels[0])
    if seen.shape is None and len(seen.levels) == 1:
        return align_by_likeness(parts_of_modules(build_on_meta(name)), seen.levels[0])
    return align(of_registered(name, training=seen.training), seen.levels)


def against(model: Model, seen: _Seen, name: str, alignment: Alignment) -> Against:
    """What differs from one registered network, in sentences: layer by layer, then in all."""
    card = registry.card(name)
    net = build_on_meta(card)
    count = sum(parameter.numel() for parameter in net.parameters())
    operations = None
    if seen.records and seen.shape:
        at_input = _run(net, (card.input_shape[0], *seen.shape[1:]))
        operations = _operations(at_input.records) if at_input else None
    told = [*sentences(alignment.couples), *_totals(model, seen, card, count, operations)]
    topics = {sentence.topic for sentence in told}
    explained = tuple(
        row
        for row in departures()
        if row.concerns(name, model.library, model.name) and (not row.topics or topics & set(row.topics))
    )
    return Against(name, alignment.distance, tuple(told), card.input_shape, count, operations, explained)


def _operations(records: Sequence[LayerRecord]) -> int:
    return sum(record.multiply_adds or 0 for record in records)


def _totals(
    model: Model, seen: _Seen, card: NetworkCard, parameters: int, operations: int | None
) -> Iterator[Sentence]:
    """The input, where the model says one, parameters and multiply-adds, where they differ."""
    if model.input_shape and model.input_shape != card.input_shape:
        old, new = (" x ".join(map(str, shape)) for shape in (card.input_shape, model.input_shape))
        yield Sentence("input", f"The input is {new} instead of {old}.", old, new, ())
    if model.parameters and model.parameters != parameters:
        yield _count("parameters", parameters, model.parameters, "")
    here = _operations(seen.records)
    if operations and here and here != operations:
        yield _count("multiply_adds", operations, here, f" at {' x '.join(map(str, seen.shape or ()))}")


def _count(topic: str, published: int, here: int, where: str) -> Sentence:
    factor = here / published
    ratio = f"{factor - 1:+.2%}" if 0.5 < factor < 2 else f"{factor:.3g} times"
    quantity = topic.replace("_", "-")
    text = f"It has {here:,} {quantity} instead of {published:,}{where} ({ratio})."
    return Sentence(topic, text, f"{published:,}", f"{here:,}", ())
