"""What `convatlas explain` and `convatlas.explain` do alike: choose methods, images and a class, and look."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch

from convatlas.errors import ConvatlasError, UsageError
from convatlas.inference import Source
from convatlas.records import Problem
from convatlas.report.seeing.network_panels import NETWORK_METHODS
from convatlas.report.seeing.panel import Options, Panel, Part, Subject
from convatlas.report.seeing.panels import METHODS, check_layer, see, subjects, subjects_of
from convatlas.report.seeing.pools import open_pool
from convatlas.training.tasks import TASKS
from convatlas.visualise.evidence import as_classifier

MANY, FEW = 8, 3  # images that are looked at one by one: of those given, and of data
SINGLE = {
    "deconvnet", "saliency", "guided", "gradcam", "cam", "occlusion", "ig", "invariance", "equivariance",
    "correspondence",
}  # methods that look at images one by one  # fmt: skip


@dataclass(frozen=True)
class Question:
    """What is asked of a network; None leaves the choice to each method.

    Attributes:
        methods: names, or "all".
        layer: a module path.
        map: one feature map of the layer.
        target: the class to ask about, by name or number.
        data: images for the methods that look at many, and without images of one's own for the others.
        data_root: where known data sets lie.
        parts: of the images, for correspondence.
        limit: images that are looked at one by one.
    """

    methods: tuple[str, ...] = ("all",)
    layer: str | None = None
    map: int | None = None
    target: str | int | None = None
    data: str | None = None
    data_root: Path | None = None
    parts: tuple[Part, ...] = ()
    limit: int | None = None


@dataclass(frozen=True)
class Seen:
    """What was seen, and what could not be."""

    source: Source
    subjects: list[Subject]
    panels: list[Panel]
    problems: list[Problem]  # images that can't be read, and methods that the network can't have


def look(
    source: Source,
    files: Sequence[Path],
    question: Question,
    *,
    device: torch.device,
    unreadable: Sequence[Problem] = (),
    on_progress: Callable[[int, int], None] | None = None,
) -> Seen:
    """Looks into a network on images, or on those of its data where there are none.

    Args:
        source: of any task; another one than a classifier is asked for the evidence of its classes.
        files: images.
        question: what is asked.
        device: to look on.
        unreadable: what was given besides, and can't be read.
        on_progress: called with (done, total).

    Raises:
        UsageError: an unknown method, class or layer.
        ConvatlasError: none of the images can be read, or the data that were asked for can't.
    """
    methods = choose_methods(question.methods)
    if not TASKS[source.task].has_classes:
        as_classifier(source.net)
        source = replace(source, preprocessing=source.whole)
    check_layer(source, question.layer)
    target = number_of(question.target, source.classes)
    source.net.to(device)
    pool = cache(partial(open_pool, source, files, question.data, question.data_root))
    options = Options(question.layer, question.map, target, pool, question.parts)
    given = bool(files or unreadable)
    problems = list(unreadable)
    found: list[Subject] = []
    if given or (question.data is None and source.run is None):
        found, more = subjects(source, files[: question.limit or MANY], options)
        problems += more
    elif SINGLE & {*methods}:
        try:
            found, more = subjects_of(source, pool(), question.limit or FEW, options)
            problems += more
        except ConvatlasError as error:
            if question.data is not None:
                raise
            problems.append(Problem("images", f"none are looked at one by one: {error}"))  # the run's data are gone
    if given and problems and not found:
        raise ConvatlasError(f"no image can be read: {problems[0].path}: {problems[0].reason}")
    seen = list(see(source, found, methods, options, on_progress))
    panels = [item for item in seen if isinstance(item, Panel)]
    problems += dict.fromkeys(item for item in seen if isinstance(item, Problem))
    return Seen(source, found, panels, problems)


def choose_methods(asked: Sequence[str]) -> list[str]:
    """The methods that were asked for, in the page's order.

    Raises:
        UsageError: an unknown one.
    """
    known = [*NETWORK_METHODS, *METHODS]
    for name in asked:
        if name not in (*known, "all"):
            raise UsageError(f"method {name!r} is unknown; expected {', '.join(known)} or all")
    return known if "all" in asked else [name for name in known if name in asked]


def number_of(target: str | int | None, classes: Sequence[str]) -> int | None:
    """A class's number from its name or number; None for None.

    Raises:
        UsageError: there is none such.

    Example:
        >>> number_of("dog", ("cat", "dog")), number_of("0", ("cat", "dog")), number_of(None, ("cat",))
        (1, 0, None)
    """
    if target is None:
        return None
    if target in classes:
        return list(classes).index(str(target))
    number = target if isinstance(target, int) else int(target) if target.isdecimal() else -1
    if not 0 <= number < len(classes):
        raise UsageError(
            f"target {target!r} does not exist; expected one of {len(classes)} names or 0 to {len(classes) - 1}"
        )
    return number
