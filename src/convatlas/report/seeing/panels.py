"""Which methods there are, and what each shows: one panel a picture, or one panel for the network."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from convatlas.data import normalise
from convatlas.inference import Source
from convatlas.inference.predict import read_prepared
from convatlas.report.pictures import as_array
from convatlas.structures import Problem, UsageError
from convatlas.visualise import attribution, deconvnet, filters, maps

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Options:
    """What the user may choose; None leaves the choice to the method."""

    layer: str | None = None
    map: int | None = None
    target: int | None = None  # the class to ask about; None is the most probable


@dataclass(frozen=True)
class Subject:
    """A picture as the network gets it, and what the network says."""

    path: Path
    picture: Array  # (H, W, 3) or (H, W) in [0, 1]
    x: Tensor  # (1, C, H, W)
    target: int  # the class that is asked about
    probability: float  # of that class


@dataclass(frozen=True)
class Panel:
    """One figure with what a reader needs beside it, and its numbers."""

    method: str
    title: str
    caption: str
    figure: Figure
    numbers: dict[str, Any]  # for JSON
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)  # too large for JSON
    path: Path | None = None  # the picture; None for the whole network


def subjects(source: Source, paths: Sequence[Path], options: Options) -> tuple[list[Subject], list[Problem]]:
    """The pictures that could be read, and those that could not."""
    found, problems = [], []
    device = next(source.net.parameters()).device
    for path in paths:
        prepared = read_prepared(path, source.preprocessing)
        if isinstance(prepared, Problem):
            problems.append(prepared)
            continue
        x = normalise(prepared[None], source.preprocessing).to(device)
        with torch.no_grad():
            probabilities = source.net(x)[0].softmax(dim=0)
        target = int(probabilities.argmax()) if options.target is None else options.target
        attribution.checked_class(target, probabilities[None])
        picture = as_array(prepared).astype(np.float32) / np.float32(255)
        found.append(Subject(path, picture, x, target, float(probabilities[target])))
    return found, problems


def see(
    source: Source,
    found: Sequence[Subject],
    methods: Sequence[str],
    options: Options,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[Panel | Problem]:
    """The panels in order, the network's first. Of several methods, one that this network can't have is a Problem.

    Raises:
        UsageError: the only method can't be had.
    """
    work: list[tuple[str, Subject | None]] = [(name, None) for name in methods if name in NETWORK_METHODS]
    work += [(name, subject) for subject in found for name in methods if name in METHODS]
    for done, (name, subject) in enumerate(work):
        try:
            yield METHODS[name](source, subject, options) if subject else NETWORK_METHODS[name](source, found, options)
        except UsageError as error:
            if len(methods) == 1:
                raise
            yield Problem(name, str(error))
        if on_progress is not None:
            on_progress(done + 1, len(work))


def _deconvnet(source: Source, subject: Subject, options: Options) -> Panel:
    layer = options.layer or default_layer(source, subject.x)
    chosen = None if options.map is None else [options.map]
    found = deconvnet.project(source.net, subject.x, layer, maps=chosen)
    return Panel(
        "deconvnet", f"Deconvnet of {layer}",
        "What made the strongest unit of each map fire, in the picture's own pixels: all else in the layer is set to "
        "zero and sent down by unpooling, rectification and transposed filters. Above each, the unit's activation.",
        deconvnet.figure(subject.picture, found, bgr=reads_bgr(source)),
        {"layer": layer, "units": [
            {"map": unit.map, "position": list(unit.position), "activation": unit.activation} for unit in found
        ]},
        {"signals": np.stack([unit.signal for unit in found])},
        subject.path,
    )  # fmt: skip


@dataclass(frozen=True)
class _Attributing:
    """A panel of one of the methods that say where a class's score comes from."""

    method: str
    title: str
    caption: str
    attribute: Callable[[Source, Subject, Options], attribution.Attribution]

    def __call__(self, source: Source, subject: Subject, options: Options) -> Panel:
        found = self.attribute(source, subject, options)
        name = source.classes[found.target]
        return Panel(
            self.method, f"{self.title}, class {name}", self.caption,
            attribution.figure(subject.picture, found, bgr=reads_bgr(source)),
            {"class": name, "target": found.target, "score": found.score, "layer": found.layer},
            {"values": found.values}, subject.path,
        )  # fmt: skip


def default_layer(source: Source, x: Tensor) -> str:
    """The last layer with weights and maps of more than one place, before those that give a map per class."""
    names = [name for name, module in maps.rows(source.net) if any(True for _ in module.parameters())]
    shapes = {name: values.shape for name, values in maps.feature_maps(source.net, x)}
    found = [name for name in names if len(shapes.get(name, ())) == 3 and max(shapes[name][1:]) > 1]
    inner = [name for name in found if shapes[name][0] != len(source.classes)]
    if not inner:
        raise UsageError(f"{source.name} has no layer with maps; expected a convolutional network")
    return inner[-1]


def reads_bgr(source: Source) -> bool:
    return source.preprocessing.channel_order == "bgr"


def _filters(source: Source, found: Sequence[Subject], options: Options) -> Panel:
    layer, weights = filters.first_layer_filters(source.net)
    return Panel(
        "filters", f"Filters of {layer}",
        "The weights of the first layer, on one scale for all: mid-grey is zero.",
        filters.figure(weights[:, ::-1] if reads_bgr(source) and weights.shape[1] == 3 else weights),
        {"layer": layer, "shape": list(weights.shape)}, {"weights": weights},
    )  # fmt: skip


NetworkMethod = Callable[[Source, Sequence[Subject], Options], Panel]
PictureMethod = Callable[[Source, Subject, Options], Panel]

NETWORK_METHODS: dict[str, NetworkMethod] = {"filters": _filters}

METHODS: dict[str, PictureMethod] = {
    "deconvnet": _deconvnet,
    "saliency": _Attributing(
        "saliency", "Saliency",
        "How much the class's score changes with each pixel: the largest of the channels' derivatives.",
        lambda source, subject, _: attribution.saliency(source.net, subject.x, subject.target),
    ),
    "guided": _Attributing(
        "guided", "Guided backpropagation",
        "The derivative with only positive signals let through active rectifiers. Sharp, but it hardly depends on the "
        "class that is asked about.",
        lambda source, subject, _: attribution.guided_backpropagation(source.net, subject.x, subject.target),
    ),
    "gradcam": _Attributing(
        "gradcam", "Grad-CAM",
        "Where the layer's maps speak for the class: their sum weighted by their mean derivative, negative parts cut.",
        lambda source, subject, options: attribution.grad_cam(source.net, subject.x, subject.target, options.layer),
    ),
    "cam": _Attributing(
        "cam", "Class activation map",
        "The last maps, weighted as the class weighs them; their mean over the places is the class's score without "
        "its bias.",
        lambda source, subject, _: attribution.class_activation_map(source.net, subject.x, subject.target),
    ),
    "ig": _Attributing(
        "ig", "Integrated gradients",
        "Each pixel's share of what the score gains between a picture of the mean colour and this one.",
        lambda source, subject, _: attribution.integrated_gradients(source.net, subject.x, subject.target),
    ),
}  # fmt: skip
