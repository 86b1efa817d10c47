"""`convatlas eval`: a trained network on labelled pictures, looked at as its paper looked."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from convatlas.cli.common import console, literal, only_for, print_json, progress, visible, warn

MANY, FEWER = 60, 20  # above this number of classes only so many are listed


def command(
    source: Annotated[
        str, typer.Argument(metavar="RUN|NAME", help="A run folder, or a network's name with --weights.")
    ],
    weights: Annotated[Path | None, typer.Option(help="A weights file for a network's name.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Other data with the same classes, or some of them; by default the run's own.")
    ] = None,
    data_root: Annotated[Path | None, typer.Option(help="Where known data sets lie.")] = None,
    classes: Annotated[
        Path | None, typer.Option(help="Names of the outputs: one a line, or a .tsv or .csv with a header.")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="1-crop, 10-crop, 144-crop, grid or dense; by default the recipe's, 1-crop for weights. Detectors: "
            "voc07, voc10 or coco. Two-class segmenters: membranes, as the ISBI challenge scores."
        ),
    ] = None,
    scales: Annotated[
        str | None, typer.Option(help="Lengths of the short side for the protocol, such as 256,384,512.")
    ] = None,
    along: Annotated[
        list[Path] | None, typer.Option("--with", help="Another run, whose probabilities are averaged in; repeatable.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Views per forward pass.")] = 256,
    report_to: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE.html", help="A page with a segmenter's or detector's worst pictures."),
    ] = None,
    crf: Annotated[bool, typer.Option("--crf", help="Refine a segmenter's masks by the fully connected CRF.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False,
) -> None:
    """Test error with its 95% interval, loss, and a table of classes, on the test part of the data.

    Each picture is looked at as a paper did: `--protocol 10-crop`, or `dense --scales 256,384,512`. The published
    results stand beside, each with its protocol. Data without a test part are taken whole, but a run's own.
    """
    from convatlas import inference, report

    opened = inference.open_source(source, weights)
    only_for(opened, ("segmentation",), {"--crf": crf})
    only_for(opened, ("segmentation", "detection"), {"--report": report_to})
    only_for(opened, ("classification",), {"--scales": scales, "--with": along, "--classes": classes})
    if opened.task != "classification":
        from convatlas.cli import eval_marked

        where = inference.resolve_device(device)
        eval_marked.evaluate(opened, data, data_root, protocol, report_to, crf=crf, device=where, json=json)
        return
    if classes is not None:
        opened = inference.with_classes(opened, classes)
    others = [inference.open_source(str(run)) for run in along or ()]
    with progress("Evaluating") as step:
        dataset, found = inference.evaluate_source(
            opened,
            data,
            along=others,
            protocol=chosen(protocol, scales, opened),
            root=data_root,
            batch_size=batch_size,
            device=inference.resolve_device(device),
            on_progress=step,
        )
    low, high = report.error_interval(found)
    rows = [row for row in report.class_rows(found) if row.n or len(found.classes) <= MANY]
    printed = report.published_results(opened.name, opened.recipe)
    name = " + ".join(one.name for one in (opened, *others))
    if json:
        print_json({
            "network": name, "data": dataset.name, "samples": len(found.labels), "protocol": found.protocol,
            "seconds": found.seconds, "top1_error": found.top1_error, "top1_error_interval_95": [low, high],
            "top5_error": found.top5_error, "loss": found.loss, "published": [asdict(result) for result in printed],
            "classes": [asdict(row) for row in rows], "problems": [asdict(problem) for problem in found.problems],
        })  # fmt: skip
    else:
        show(name, dataset.name, found, (low, high), rows, printed)
    for problem in found.problems:
        warn(f"{problem.path}: {problem.reason}")


def chosen(protocol: str | None, scales: str | None, opened: Any) -> Any:
    """The protocol of the command line; None leaves it to the recipe."""
    from convatlas.evaluation.protocols import named
    from convatlas.structures import UsageError

    if protocol is None and scales is None:
        return None
    try:
        sides = tuple(int(side) for side in scales.split(",")) if scales else ()
    except ValueError:
        raise UsageError(f"--scales {scales!r}: expected whole numbers with commas between, such as 256,384") from None
    if protocol is not None:
        return named(protocol, sides)
    usual = opened.recipe.test_time if opened.recipe is not None else named("1-crop")
    return replace(usual, scales=named("1-crop", sides).scales)


def show(network: str, dataset: str, found: Any, interval: tuple[float, float], rows: list[Any], printed: Any) -> None:
    """The same as text: `found` is an Evaluation, `rows` are report.ClassRow, `printed` the paper's results."""
    from rich.table import Table

    from convatlas.report import percent

    out = console()
    top5 = f", top-5 {percent(found.top5_error)}" if found.top5_error is not None else ""
    low, high = interval
    head = f"{network} on {dataset}: {len(found.labels):,} test pictures, {found.protocol}, {found.seconds:.1f} s"
    out.print(visible(head), markup=False)
    out.print(f"error {percent(found.top1_error)} (95% interval {percent(low)} to {percent(high)}){top5}")
    for result in printed:
        out.print(visible(f"published: {result}"), markup=False)
    out.print(f"loss {found.loss:.4f}\n")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("class", no_wrap=True)
    for heading in ("n", "recall", "precision", "F1"):
        table.add_column(heading, justify="right")
    shown = rows if len(rows) <= MANY else sorted(rows, key=lambda row: row.recall)[:FEWER]
    for row in shown:
        table.add_row(literal(row.name), f"{row.n:,}", percent(row.recall), percent(row.precision), percent(row.f1))
    out.print(table)
    if len(shown) < len(rows):
        out.print(f"the {len(shown)} classes of lowest recall; --json has all {len(rows)}")
