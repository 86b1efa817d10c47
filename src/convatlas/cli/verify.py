"""`convatlas verify`: every published number recomputed and laid beside the printed one."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from convatlas.cli.common import console, print_json, progress
from convatlas.structures import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from convatlas.analysis.verify import Row

STYLES = {"holds": "green", "disputed": "yellow", "fails": "bold red"}


def command(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAMES]...", help="Networks to verify.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All networks, one line each.")] = False,
    failing: Annotated[bool, typer.Option("--failing", help="Only the rows that fail.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document with all rows.")] = False,
) -> None:
    """Recompute every published number of a network and lay it beside the printed one.

    A claim holds when it is less than one unit of its last printed digit away from the computed number; totals and
    layers have to be equal. A disputed number says why it can't be reproduced. The exit code is 1 if a number fails
    that is not disputed.
    """
    from convatlas import registry
    from convatlas.analysis.verify import verify

    if bool(names) == everything:
        raise UsageError("verify expects the names of networks, or --all and no names")
    chosen = registry.names() if everything else [registry.card(name).name for name in dict.fromkeys(names or ())]
    results: dict[str, tuple[Row, ...]] = {}
    with progress("Verifying") as step:
        for done, name in enumerate(chosen, start=1):
            results[name] = verify(name)
            step(done, len(chosen))
    rows = [row for part in results.values() for row in part]
    counts = Counter(row.verdict for row in rows)
    if json:
        shown = [row for row in rows if row.verdict == "fails"] if failing else rows
        summary = {"rows": len(rows), **{verdict: counts[verdict] for verdict in STYLES}}
        print_json({"summary": summary, "rows": [asdict(row) for row in shown]})
    else:
        out = console()
        if failing:
            print_reasons(out, rows, ("fails",))
        elif everything:
            print_networks(out, results)
            print_reasons(out, rows, ("disputed", "fails"))
        else:
            for part in results.values():
                print_rows(out, part)
            print_reasons(out, rows, ("disputed", "fails"))
        out.print(summary_line(len(rows), counts))
    if counts["fails"]:
        raise typer.Exit(1)


def summary_line(total: int, counts: Counter[str]) -> str:
    """ "88 rows: 85 hold, 3 disputed, 0 fail"."""
    return f"{total:,} rows: {counts['holds']:,} hold, {counts['disputed']:,} disputed, {counts['fails']:,} fail"


def subject(row: "Row") -> str:
    """ "units of conv1"."""
    quantity = row.quantity.replace("_", "-" if row.quantity == "multiply_adds" else " ")
    return quantity if row.layer is None else f"{quantity} of {row.layer}"


def print_networks(out: "Console", results: "dict[str, tuple[Row, ...]]") -> None:
    """One line a network."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("network", style="cyan", no_wrap=True)
    for column in ("rows", "hold", "disputed", "fail"):
        table.add_column(column, justify="right")
    for name, rows in results.items():
        counts = Counter(row.verdict for row in rows)
        cells = (
            f"[{style}]{counts[verdict]}[/]" if counts[verdict] or verdict == "holds" else ""
            for verdict, style in STYLES.items()
        )
        table.add_row(name, str(len(rows)), *cells)
    out.print(table)


def print_rows(out: "Console", rows: "Sequence[Row]") -> None:
    """Every row of one network."""
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold", title=rows[0].network, title_justify="left"
    )
    for column in ("quantity", "printed", "computed", "verdict", "confidence", "where"):
        table.add_column(column, justify="right" if column in ("printed", "computed") else "left", overflow="fold")
    for row in rows:
        verdict = Text(row.verdict, style=STYLES[row.verdict])
        table.add_row(Text(subject(row)), row.printed, row.computed, verdict, row.confidence, Text(row.where))
    out.print(table)


def print_reasons(out: "Console", rows: "Sequence[Row]", verdicts: tuple[str, ...]) -> None:
    """Each row with one of the verdicts, and why."""
    from rich.padding import Padding
    from rich.text import Text

    for row in rows:
        if row.verdict in verdicts:
            head = Text.assemble(
                (row.verdict, STYLES[row.verdict]),
                f" {row.network}: {subject(row)}: printed {row.printed}, computed {row.computed}",
                f" ({row.where})" if row.where else "",
            )
            out.print(head)
            if row.reason:
                out.print(Padding(Text(row.reason), (0, 0, 0, 4), expand=False))
