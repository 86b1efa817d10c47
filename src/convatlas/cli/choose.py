"""`convatlas choose`: which network suits, by printed scores, cost, and a timing on this machine."""

import re
from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from convatlas.cli.common import console, print_json, progress
from convatlas.cli.list_ import SCALES, TASKS
from convatlas.cli.tables import Column, print_table
from convatlas.errors import UsageError
from convatlas.readable import scaled

if TYPE_CHECKING:
    from rich.console import Console

    from convatlas.report.choosing import Choice

SHOWN = 12  # networks of a table
COUNT = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<scale>[kmgb]?)", re.IGNORECASE)
COLUMNS = (
    Column("network", style="cyan"),
    Column("score", right=True),
    Column("parameters", right=True),
    Column("MACs", right=True),
    Column("ms here", right=True),
    Column("weights", right=True, left_out=2),
    Column("protocol", wrap=14, left_out=1),
)


def command(
    task: Annotated[str, typer.Option(help=f"One of {', '.join(TASKS)}.")] = "classification",
    ms: Annotated[float | None, typer.Option(help="Milliseconds for one image on this machine's CPU.")] = None,
    params: Annotated[str | None, typer.Option(metavar="P", help="At most so many parameters: 5M, 500k.")] = None,
    macs: Annotated[float | None, typer.Option(metavar="G", help="At most so many billion multiply-adds.")] = None,
    data: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How many images there are to learn from.")
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(metavar="SET", help="Whose printed scores rank: imagenet, cifar10, mnist, voc, camvid."),
    ] = None,
    time: Annotated[bool, typer.Option("--time/--no-time", help="Time the best on this machine.")] = True,
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False,
) -> None:
    """Which network suits: the best printed score within limits of time, parameters and multiply-adds.

    Scores are the papers' and releases', by one view of each image; times are measured here, one image at a time,
    of the best few. Fewer than 10,000 images want a network with published weights to start from.
    """
    from convatlas.report.choosing import Needs, choose

    if task == "classification" or task == "detection" or task == "segmentation" or task == "pose":
        needs = Needs(
            task, ms, parse_count(params), None if macs is None else 1e9 * macs, data, on, time or ms is not None
        )
    else:
        raise UsageError(f"--task is {task!r}; expected one of {', '.join(TASKS)}")
    for name, value in (("--ms", ms), ("--macs", macs)):
        if value is not None and value <= 0:
            raise UsageError(f"{name} is {value:g}; expected a number above 0")
    with progress("Timing") if needs.timed else nullcontext(None) as step:
        choice = choose(needs, on_progress=None if step is None else lambda _, done, total: step(done, total))
    if json:
        print_json(asdict(choice))
    else:
        print_choice(console(), choice)


def parse_count(text: str | None) -> float | None:
    """ "5M" -> 5e6.

    Raises:
        UsageError: no such number.
    """
    if text is None:
        return None
    match = COUNT.fullmatch(text.strip().replace(",", "").replace("_", ""))
    if match is None or not float(match["number"]):
        raise UsageError(f"--params is {text!r}; expected a number such as 5M or 500k")
    return float(match["number"]) * SCALES[match["scale"].lower()]


def print_choice(out: "Console", choice: "Choice") -> None:
    from convatlas.cli.why import line

    for number, reason in enumerate(choice.reasons):
        line(out, reason, indent=0, style="bold" if not number else "")
    out.print()
    rows = [
        (
            one.network,
            f"{one.score:.4g}%" + (" recalled" if one.confidence == "recalled" else ""),
            scaled(one.parameters),
            scaled(one.multiply_adds),
            f"{one.latency_ms:.1f}" if one.latency_ms is not None else "-",
            "yes" if one.weights else "no",
            ", ".join(filter(None, (one.protocol, one.speed))),
        )
        for one in (*choice.candidates[:SHOWN], *choice.too_slow)
    ]
    print_table(out, COLUMNS, rows)
    if len(choice.candidates) > SHOWN:
        line(out, f"{len(choice.candidates) - SHOWN} more fit (--json has them).", indent=0, style="dim")
    if choice.too_slow:
        line(out, f"The last {len(choice.too_slow)} are too slow.", indent=0, style="dim")
    if choice.excluded:
        line(out, f"{choice.excluded} more with a score do not keep the limits.", indent=0, style="dim")
