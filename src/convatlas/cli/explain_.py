"""`convatlas explain`: what a network looks at, on images."""

from pathlib import Path
from typing import Annotated

import typer

from convatlas.cli.arguments import complete_network
from convatlas.cli.common import print_json, progress, say, warn


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
    from convatlas.report import seeing
    from convatlas.report.tables import plural

    question = seeing.Question(
        methods=tuple(method or ["all"]), layer=layer, map=map_, target=target, data=data, data_root=data_root,
        parts=seeing.read_parts(part or []), limit=limit,
    )  # fmt: skip
    seeing.choose_methods(question.methods)
    where = inference.resolve_device(device)
    opened = inference.open_source(source, weights)
    if classes is not None:
        opened = inference.with_classes(opened, classes)
    files, unreadable = inference.find_images(images or [])
    shown = limit or seeing.MANY
    if len(files) > shown:
        warn(f"{len(files)} images given, {plural(shown, 'is', 'are')} looked at one by one (--limit)")
    with progress("Looking") as step:
        seen = seeing.look(opened, files, question, device=where, unreadable=unreadable, on_progress=step)
    for problem in seen.problems:
        warn(f"{problem.path}: {problem.reason}")
    if not seen.panels:
        raise typer.Exit(1)
    out = out or (opened.run / "explain" if opened.run else Path(f"explain-{opened.name}"))
    page = seeing.write(out, seen.source, seen.subjects, seen.panels, seen.problems)
    if json:
        numbers = seeing.as_json(seen.source, seen.subjects, seen.panels, seen.problems)
        print_json({"page": str(page), **numbers})
    else:
        of = f" of {plural(len(seen.subjects), 'image', 'images')}" if seen.subjects else ""
        say(f"{plural(len(seen.panels), 'panel', 'panels')}{of}: {page}")
