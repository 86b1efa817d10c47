"""`convatlas explain`: what a network looks at, on images."""

from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convatlas.cli.arguments import complete_network
from convatlas.cli.common import print_json, progress, say, warn

if TYPE_CHECKING:
    from collections.abc import Callable

    from convatlas.inference import Source
    from convatlas.records import Problem
    from convatlas.report.seeing import Options, Pool, Subject

MANY, FEW = 8, 3  # images that are looked at one by one: of those given, and of data
SINGLE = {
    "deconvnet", "saliency", "guided", "gradcam", "cam", "occlusion", "ig", "invariance", "equivariance",
    "correspondence",
}  # methods that look at images one by one  # fmt: skip


def command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|NAME",
            autocompletion=complete_network,
            help="A run folder, or a network's name with --weights.",
        ),
    ],
    images: Annotated[list[str] | None, typer.Argument(metavar="IMAGES", help="Files, folders or patterns.")] = None,
    weights: Annotated[Path | None, typer.Option(help="A weights file for a network's name.")] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="One of the methods below, or all; may be given several times.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="A module path; by default each method's own choice.")] = None,
    map_: Annotated[
        int | None, typer.Option("--map", min=0, help="One map of the layer; by default the strongest.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--class", help="The class to ask about, name or number; by default the most probable."),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(help="For correspondence: NAME=y,x,height,width in shares of the image, or a CSV of parts."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Data whose test images are looked at, where no IMAGES are given, and that patches and "
            "ensemble search; by default the run's own, or IMAGES."
        ),
    ] = None,
    data_root: Annotated[Path | None, typer.Option(help="Where known data sets lie.")] = None,
    classes: Annotated[Path | None, typer.Option(help="Names of the outputs: one a line, or a table.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="A folder, or a page.html; by default explain/ in the run, or explain-NAME.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many images; by default 8 of IMAGES, 3 of data.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="The numbers as one JSON document.")] = False,
) -> None:
    """What a network looks at, as one page, PNG figures, explain.json and explain.npz.

    For each image: deconvnet (what made units fire, by Zeiler and Fergus), saliency, guided (backpropagation),
    gradcam, cam (class activation map), occlusion, ig (integrated gradients). For the network: filters, filterstats
    (their frequencies, what the stride folds over, the dead ones), patches (top-activating patches), invariance and
    equivariance (moving the image), correspondence (the same part of several images hidden), ensemble (blocks or
    layers taken out), evolution (features over the epochs of a run). A run's report takes the panels in.
    """
    from convatlas import inference
    from convatlas.errors import ConvatlasError
    from convatlas.records import Problem
    from convatlas.report import seeing
    from convatlas.report.tables import plural

    methods = chosen(method or ["all"], [*seeing.NETWORK_METHODS, *seeing.METHODS])
    opened = inference.open_source(source, weights)
    if classes is not None:
        opened = inference.with_classes(opened, classes)
    if opened.task != "classification":
        from convatlas.visualise.evidence import as_classifier

        as_classifier(opened.net)
        opened = replace(opened, preprocessing=opened.whole)
    seeing.check_layer(opened, layer)
    opened.net.to(inference.resolve_device(device))
    files, problems = inference.find_images(images or [])
    pool = cache(partial(seeing.open_pool, opened, files, data, data_root))
    parts = seeing.read_parts(part or [])
    options = seeing.Options(layer, map_, number_of(target, opened.classes), pool, parts)
    shown = limit or (FEW if not files else MANY)
    if len(files) > shown:
        warn(f"{len(files)} images given, {plural(shown, 'is', 'are')} looked at one by one (--limit)")
    if images or not SINGLE & {*methods} or (data is None and opened.run is None):
        found, unreadable = seeing.subjects(opened, files[:shown], options)
    else:
        found, unreadable = from_data(opened, pool, shown, options, wanted=data is not None)
    problems += unreadable
    if images and problems and not found:
        raise ConvatlasError(f"no image can be read: {problems[0].path}: {problems[0].reason}")
    with progress("Looking") as step:
        seen = list(seeing.see(opened, found, methods, options, step))
    panels = [item for item in seen if isinstance(item, seeing.Panel)]
    left_out = list(dict.fromkeys(item for item in seen if isinstance(item, Problem)))
    for problem in [*problems, *left_out]:
        warn(f"{problem.path}: {problem.reason}")
    if not panels:
        raise typer.Exit(1)
    out = out or (opened.run / "explain" if opened.run else Path(f"explain-{opened.name}"))
    page = seeing.write(out, opened, found, panels, [*problems, *left_out])
    if json:
        print_json({"page": str(page), **seeing.as_json(opened, found, panels, [*problems, *left_out])})
    else:
        of = f" of {plural(len(found), 'image', 'images')}" if found else ""
        say(f"{plural(len(panels), 'panel', 'panels')}{of}: {page}")


def from_data(
    opened: "Source", pool: "Callable[[], Pool]", count: int, options: "Options", *, wanted: bool
) -> "tuple[list[Subject], list[Problem]]":
    """Images of the data; where nobody has asked for them and they are gone, only what can be seen without."""
    from convatlas.errors import ConvatlasError
    from convatlas.report import seeing

    try:
        return seeing.subjects_of(opened, pool(), count, options)
    except ConvatlasError as error:
        if wanted:
            raise
        warn(f"no images are looked at one by one: {error}")
        return [], []


def chosen(methods: list[str], known: list[str]) -> list[str]:
    """The methods that were asked for, in the page's order. Raises UsageError for an unknown one."""
    from convatlas.errors import UsageError

    for name in methods:
        if name not in (*known, "all"):
            raise UsageError(f"--method {name} is unknown; expected {', '.join(known)} or all")
    return known if "all" in methods else [name for name in known if name in methods]


def number_of(target: str | None, classes: tuple[str, ...]) -> int | None:
    """A class's number from its name or number. Raises UsageError where there is none such."""
    from convatlas.errors import UsageError

    if target is None or target in classes:
        return None if target is None else classes.index(target)
    if target.isdigit() and int(target) < len(classes):
        return int(target)
    raise UsageError(
        f"--class {target} does not exist; expected one of {len(classes)} names or 0 to {len(classes) - 1}"
    )
