"""`convatlas eval`: a trained network on labelled images, looked at as its paper looked."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from convatlas.cli.arguments import complete_network, validate_output
from convatlas.cli.common import console, only_for, print_json, progress, visible, warn, warn_of_choice
from convatlas.cli.eval_tasks import Manner
from convatlas.cli.tasks import TASKS

MANY, FEWER = 60, 20  # above this number of classes only so many are listed


def command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|NAME",
            autocompletion=complete_network,
            help="A run folder, or a network's name with --weights.",
        ),
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
            help="1-crop, 10-crop, 12-crop, 144-crop, grid or dense; by default the recipe's, 1-crop for weights. "
            "Detectors: voc07, voc10 or coco. Two-class segmenters: membranes, as the ISBI challenge scores."
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
        typer.Option("--report", metavar="FILE.html", help="A page with curves, classes and the worst images."),
    ] = None,
    crf: Annotated[bool, typer.Option("--crf", help="Refine a segmenter's masks by the fully connected CRF.")] = False,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Two classes, of images or pixels: take the second from this probability on. Detectors: precision "
            "and recall of the boxes with at least this score.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False,
) -> None:
    """Test error with its 95% interval, loss, and a table of classes, on the test part of the data.

    Each image is looked at as a paper did: `--protocol 10-crop`, or `dense --scales 256,384,512`. Published results
    stand beside where they are of the same data and protocol. Data without a test split are taken whole, but a run's
    own.
    """
    from convatlas import inference, report
    from convatlas.evaluation import threshold as thresholds

    validate_output(report_to, "--report", (".html", ".htm"))
    opened = inference.open_source(source, weights)
    warn_of_choice(opened.notes)
    only_for(opened, ("segmentation",), {"--crf": crf})
    only_for(opened, ("classification", "segmentation", "detection"), {"--threshold": threshold is not None})
    epoch = scored_epoch(opened, weights)
    only_for(opened, ("classification",), {"--scales": scales, "--with": along, "--classes": classes})
    if (evaluate := TASKS[opened.task].evaluate) is not None:
        where = inference.resolve_device(device)
        evaluate(opened, data, data_root, protocol, Manner(report_to, crf, threshold, where, json, epoch))
        return
    if threshold is not None:
        thresholds.check_binary(opened.classes)
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
    name = " + ".join(one.name for one in (opened, *others))
    if threshold is not None:
        found = thresholds.decide(found, threshold)
    if report_to is not None:
        from convatlas.report.page import save, standalone

        save(report_to, standalone(opened, found, dataset, f"{name} on {dataset.name}"))
    low, high = report.error_interval(found)
    rows = [row for row in report.class_rows(found) if row.n or len(found.classes) <= MANY]
    printed = report.printed_beside([one.name for one in (opened, *others)], dataset.name, found)
    if json:
        print_json({
            "network": name, "data": dataset.name, "samples": len(found.labels), "protocol": found.protocol,
            "epoch": epoch, "threshold": threshold,
            "seconds": found.seconds, "top1_error": found.top1_error, "top1_error_interval_95": [low, high],
            "top5_error": found.top5_error, "loss": found.loss, "published": [asdict(result) for result in printed],
            "classes": [asdict(row) for row in rows], "problems": [asdict(problem) for problem in found.problems],
        })  # fmt: skip
    else:
        at = None if threshold is None else f"{found.classes[1]} from probability {threshold:g} on"
        show(name, dataset.name, found, (low, high), rows, printed, ", ".join(filter(None, (epoch_words(epoch), at))))
        if report_to is not None:
            console().print(f"\nreport {report_to}: open it in a browser", markup=False)
    for problem in found.problems:
        warn(f"{problem.path}: {problem.reason}")


def chosen(protocol: str | None, scales: str | None, opened: Any) -> Any:
    """The protocol of the command line; None leaves it to the recipe."""
    from convatlas.errors import UsageError
    from convatlas.evaluation.protocols import named

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


def scored_epoch(opened: Any, weights: Path | None) -> int | None:
    """Which epoch's weights are evaluated; None where they tell of none."""
    from convatlas.training.run import RunFolder
    from convatlas.training.summary import scored_epoch as of_run
    from convatlas.weights import read_card

    if opened.run is not None and opened.recipe is not None and weights is None:
        return of_run(RunFolder(opened.run), opened.recipe)
    card = read_card(weights, opened.name) if weights is not None else None
    return card.get("epoch") if card else None


def epoch_words(epoch: int | None) -> str:
    return "" if epoch is None else f"weights of epoch {epoch}"


def show(
    network: str,
    dataset: str,
    found: Any,
    interval: tuple[float, float],
    rows: list[Any],
    printed: Any,
    manner: str,
) -> None:
    """The same as text: `found` is an Evaluation, `rows` are report.ClassRow, `printed` the paper's results."""
    from convatlas.cli.tables import Column, print_table
    from convatlas.report import percent

    out = console()
    top5 = f", top-5 {percent(found.top5_error)}" if found.top5_error is not None else ""
    low, high = interval
    parts = (f"{len(found.labels):,} test images", found.protocol, manner, f"{found.seconds:.1f} s")
    out.print(visible(f"{network} on {dataset}: {', '.join(filter(None, parts))}"), markup=False)
    out.print(f"error {percent(found.top1_error)} (95% interval {percent(low)} to {percent(high)}){top5}")
    for result in printed:
        out.print(visible(f"published: {result}"), markup=False)
    out.print(f"loss {found.loss:.4f}\n")
    shown = rows if len(rows) <= MANY else sorted(rows, key=lambda row: row.recall)[:FEWER]
    columns = [Column("class", wrap=12), *(Column(name, right=True) for name in ("n", "recall", "precision", "F1"))]
    cells = [[row.name, f"{row.n:,}", percent(row.recall), percent(row.precision), percent(row.f1)] for row in shown]
    print_table(out, columns, cells)
    if len(shown) < len(rows):
        out.print(f"the {len(shown)} classes of lowest recall; --json has all {len(rows)}")
