"""Which methods there are, and what each shows: one panel an image, or one panel for the network."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from convatlas import readable
from convatlas.data import normalise
from convatlas.errors import ConvatlasError, UsageError
from convatlas.inference import Source
from convatlas.inference.predict import read_prepared
from convatlas.records import Problem
from convatlas.report import tables
from convatlas.report.image_uris import as_array
from convatlas.report.seeing.network_panels import NETWORK_METHODS
from convatlas.report.seeing.panel import Options, Panel, Pool, Subject, default_layer, reads_bgr
from convatlas.report.seeing.pools import spread
from convatlas.visualise import attribution, deconvnet, maps, occlusion


def subjects(source: Source, paths: Sequence[Path], options: Options) -> tuple[list[Subject], list[Problem]]:
    """The image files that could be read, and those that could not."""
    return looked_at(source, ((path, read_prepared(path, source.preprocessing)) for path in paths), options)


def subjects_of(source: Source, pool: Pool, count: int, options: Options) -> tuple[list[Subject], list[Problem]]:
    """So many images of a pool, from its beginning to its end."""
    return looked_at(source, ((Path(pool.called(i)), pool.read(i)) for i in spread(pool, count)), options)


def looked_at(
    source: Source, images: Iterable[tuple[Path, Tensor | Problem]], options: Options
) -> tuple[list[Subject], list[Problem]]:
    """What the network says of images, uint8 (C, H, W), as it gets them."""
    found, problems = [], []
    device = next(source.net.parameters()).device
    for path, prepared in images:
        if isinstance(prepared, Problem):
            problems.append(prepared)
            continue
        x = normalise(prepared[None], source.preprocessing).to(device)
        with torch.no_grad():
            probabilities = source.net(x)[0].softmax(dim=0)
        if not probabilities.isfinite().all():
            problems.append(Problem(str(path), "the network's outputs for it are not finite"))
            continue
        target = int(probabilities.argmax()) if options.target is None else options.target
        attribution.checked_class(target, probabilities[None])
        image = as_array(prepared).astype(np.float32) / np.float32(255)
        found.append(Subject(path, image, x, target, float(probabilities[target])))
    return found, problems


def check_layer(source: Source, layer: str | None) -> None:
    """Raises UsageError, which names the layers, for one that the network does not have."""
    if layer is None or layer in dict(source.net.named_modules(remove_duplicate=False)):
        return
    names = [name for name, _ in maps.rows(source.net)]
    near = difflib.get_close_matches(layer, [name for name, _ in source.net.named_modules()], 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"layer {layer!r} is not in {source.name}; {hint}it has {', '.join(names)}")


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
        except ConvatlasError as error:
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
        "What made the strongest unit of each feature map fire, in the image's own pixels: all else in the layer is "
        "set to zero and sent down by unpooling, rectification and transposed filters. Above each, the unit's "
        "activation.",
        deconvnet.figure(subject.image, found, bgr=reads_bgr(source)),
        {"layer": layer, "units": [
            {"map": unit.map, "position": list(unit.position), "activation": unit.activation} for unit in found
        ]},
        {"signals": np.stack([unit.signal for unit in found])},
        subject.path,
    )  # fmt: skip


def _occlusion(source: Source, subject: Subject, options: Options) -> Panel:
    side = max(1, round(min(subject.x.shape[2:]) * SQUARE))
    found = occlusion.occlude(
        source.net, subject.x, subject.target, size=side, stride=max(1, side // 4),
        layer=options.layer or default_layer(source, subject.x),
    )  # fmt: skip
    (projection,) = deconvnet.project(source.net, subject.x, found.layer, maps=[found.map])
    return Panel(
        "occlusion", f"Occlusion, class {source.classes[subject.target]}",
        occlusion_words(found, source.classes),
        occlusion.figure(subject.image, found, projection, source.classes, bgr=reads_bgr(source)),
        {"class": source.classes[found.target], "target": found.target, "layer": found.layer, "map": found.map,
         "square": list(found.size), "rows": found.rows.tolist(), "columns": found.columns.tolist(),
         "whole": {"score": found.whole_score, "probability": found.whole_probability,
                   "activity": found.whole_activity},
         "probability": found.probability.tolist(), "predicted": found.predicted.tolist(),
         "activity": found.activity.tolist()},
        {"projection": projection.signal, "score": found.score}, subject.path,
    )  # fmt: skip


def occlusion_words(found: occlusion.Occlusion, classes: Sequence[str]) -> str:
    """What the square did, in the numbers of the figure."""
    name, places = classes[found.target], found.predicted.size
    others = int((found.predicted != found.target).sum())
    low, high = found.activity.min(), found.activity.max()
    return (
        "A grey square slides over the image. "
        f"The probability of {name} is {tables.probability(found.whole_probability)} without it and "
        f"{tables.probability(float(found.probability.min()))} where it does most harm; "
        f"at {others:,} of {places:,} places another class is the most probable. "
        f"Feature map {found.map} of {found.layer} has an activity of {readable.amount(found.whole_activity)} without "
        f"it, and of {readable.amount(float(low))} to {readable.amount(float(high))} with it."
    )


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
        rectified = any(isinstance(module, nn.ReLU | nn.ReLU6) for module in source.net.modules())
        plain = "" if rectified or self.method != "guided" else NO_RECTIFIERS
        return Panel(
            self.method, f"{self.title}, class {name}", self.caption + plain,
            attribution.figure(subject.image, found, bgr=reads_bgr(source)),
            {"class": name, "target": found.target, "score": found.score, "layer": found.layer},
            {"values": found.values}, subject.path,
        )  # fmt: skip


NO_RECTIFIERS = " This network has no rectifiers: what is shown is the plain derivative."
SQUARE = 0.22  # of the image's shorter side
ImageMethod = Callable[[Source, Subject, Options], Panel]

METHODS: dict[str, ImageMethod] = {
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
    "occlusion": _occlusion,
    "ig": _Attributing(
        "ig", "Integrated gradients",
        "Each pixel's share of what the score gains between an image of the mean colour and this one.",
        lambda source, subject, _: attribution.integrated_gradients(source.net, subject.x, subject.target),
    ),
}  # fmt: skip
