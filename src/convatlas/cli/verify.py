"""`convatlas verify`: every published number recomputed and laid beside the printed one."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from convatlas.cli.arguments import complete_network
from convatlas.cli.common import console, print_json, progress
from convatlas.cli.tables import Column, print_table
from convatlas.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from convatlas.analysis.verify import Row

COUNTED = ("claims", "checks", "hold", "disputed", "fail", "uncovered")
COLUMNS = (
    Column("quantity", wrap=18),
    Column("printed", right=True),
    Column("computed", right=True),
    Column("verdict"),
    Column("what", left_out=3),
    Column("confidence", left_out=2),
    Column("where", wrap=16, left_out=2),
    Column("arithmetic", wrap=24, left_out=1),
)
STYLES = {"holds": "green", "disputed": "yellow", "fails": "bold red", "uncovered": "magenta"}


def command(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAMES", autocompletion=complete_network, help="Networks to verify."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All networks, one line each.")] = False,
    surveys: Annotated[
        bool, typer.Option("--surveys", help="What five surveys say about these networks: right, wrong, and why.")
    ] = False,
    recipes: Annotated[
        bool, typer.Option("--recipes", help="The recipes: what training really does beside paper and release.")
    ] = False,
    failing: Annotated[bool, typer.Option("--failing", help="Only the rows that fail.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document with all rows.")] = False,
) -> None:
    """Recompute every published number of a network and lay it beside the printed one.

    Printed claims are what the paper says; derived checks hold our own layer tables to the live network. A claim holds
    when it is less than one unit of its last printed digit away from the computed number; totals and layers have to be
    equal. A disputed number says why it can't be reproduced. A network is uncovered until somebody has held its layer
    table to the paper. The exit code is 1 if a number fails that is not disputed. With --recipes, training is verified
    instead: a difference from the source that a recipe follows fails unless its reason is written down.
    """
    if surveys:
        if names or everything or recipes:
            raise UsageError("--surveys stands alone; `convatlas facts NAME --surveys` shows what is said of a network")
        from convatlas.cli.surveys import verify_surveys

        verify_surveys(failing=failing, json=json)
        return
    from convatlas import registry
    from convatlas.analysis.verify import tally, verify

    if bool(names) == everything:
        raise UsageError("verify expects the names of networks, or --all and no names, or --surveys")
    chosen = registry.names() if everything else [registry.card(name).name for name in dict.fromkeys(names or ())]
    if recipes:
        from convatlas.cli.verify_recipes import verify_recipes

        verify_recipes(chosen, everything=everything, failing=failing, json=json)
        return
    results: dict[str, tuple[Row, ...]] = {}
    with progress("Verifying") as step:
        for done, name in enumerate(chosen, start=1):
            results[name] = verify(name)
            step(done, len(chosen))
    rows = [row for part in results.values() for row in part]
    counts = Counter(row.verdict for row in rows)
    if json:
        shown = [row for row in rows if row.verdict == "fails"] if failing else rows
        summary: dict[str, object] = {
            "rows": len(rows),
            **{verdict: counts[verdict] for verdict in STYLES},
            **asdict(tally(rows)),
        }
        summary["confidences"] = dict(count_confidences(rows))
        print_json({"summary": summary, "rows": [asdict(row) for row in shown]})
    else:
        out = console()
        if failing:
            print_reasons(out, rows, ("fails",))
        elif everything:
            print_networks(out, results)
            print_reasons(out, rows, ("disputed", "fails", "uncovered"))
        else:
            for part in results.values():
                print_rows(out, part)
            print_reasons(out, rows, ("disputed", "fails", "uncovered"))
        print_confidences(out, rows)
        out.print(str(tally(rows)))
    if counts["fails"]:
        raise typer.Exit(1)


def subject(row: "Row") -> str:
    """ "units of conv1"."""
    quantity = row.quantity.replace("_", "-" if row.quantity == "multiply_adds" else " ")
    return quantity if row.layer is None else f"{quantity} of {row.layer}"


def print_networks(out: "Console", results: "dict[str, tuple[Row, ...]]") -> None:
    """One line a network."""
    from rich.text import Text

    columns = [Column("network", style="cyan"), *(Column(name, right=True) for name in COUNTED)]
    lines = []
    for name, rows in results.items():
        counts = Counter(row.verdict for row in rows)
        checks = sum(not row.claim and row.verdict != "uncovered" for row in rows)
        cells = (
            Text(str(counts[verdict]) if counts[verdict] or verdict == "holds" else "", style=style)
            for verdict, style in STYLES.items()
        )
        claims = sum(row.claim for row in rows)
        lines.append((name, str(claims), str(checks), *cells))
    print_table(out, columns, lines)


def print_rows(out: "Console", rows: "Sequence[Row]") -> None:
    """Every row of one network."""
    from rich.text import Text

    out.print(Text(rows[0].network, style="italic"))
    lines = [
        (
            subject(row),
            row.printed,
            row.computed,
            Text(row.verdict, style=STYLES[row.verdict]),
            "printed claim" if row.claim else "derived check",
            row.confidence if row.claim else "",
            row.where,
            row.arithmetic,
        )
        for row in rows
    ]
    print_table(out, COLUMNS, lines)


def print_confidences(out: "Console", rows: "Sequence[Row]") -> None:
    """What the words for our confidence in a printed claim mean, as far as they occur."""
    from rich.text import Text

    from convatlas.facts import CONFIDENCE_WORDS

    counts = count_confidences(rows)
    for word, meaning in CONFIDENCE_WORDS.items():
        if counts[word]:
            out.print(Text(f"{counts[word]:,} {word}: {meaning}", style="dim"))


def count_confidences(rows: "Sequence[Row]") -> Counter[str]:
    """Printed claims by how sure the ledger is of them."""
    return Counter(row.confidence for row in rows if row.claim)


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
