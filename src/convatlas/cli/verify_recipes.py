"""`convatlas verify --recipes`: what training really does beside what paper and release state."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from convatlas.cli.common import console, print_json, progress
from convatlas.cli.tables import Column, print_table

if TYPE_CHECKING:
    from rich.console import Console

    from convatlas.training.effective.verify import RecipeRow

STYLES = {
    "holds": "green",
    "recalled": "cyan",
    "differs": "yellow",
    "not comparable": "dim",
    "uncovered": "magenta",
    "fails": "bold red",
}
COLUMNS = (
    Column("quantity", wrap=18),
    Column("paper", wrap=16),
    Column("release", wrap=16),
    Column("follows", left_out=1),
    Column("training", wrap=14),
    Column("verdict"),
    Column("confidence", left_out=3),
    Column("where", wrap=20, left_out=2),
    Column("reason", wrap=24, left_out=4),
)


def verify_recipes(names: Sequence[str], *, everything: bool, failing: bool, json: bool) -> None:
    """Prints the verdicts on the recipes of some networks, and exits with 1 where a difference has no reason."""
    from convatlas.training.effective.verify import verify_recipes as verify
    from convatlas.training.recipes import PUBLISHED

    chosen = [recipe for recipe in PUBLISHED.values() if recipe.network in names]
    rows: list[RecipeRow] = []
    with progress("Verifying recipes") as step:
        for done, recipe in enumerate(chosen, start=1):
            rows += verify([recipe])
            step(done, len(chosen))
    counts = Counter(row.verdict for row in rows)
    shown = [row for row in rows if row.verdict == "fails"] if failing else rows
    if json:
        summary = {"recipes": len(chosen), "rows": len(rows), **{verdict: counts[verdict] for verdict in STYLES}}
        print_json({"summary": summary, "rows": [asdict(row) for row in shown]})
    else:
        print_verdicts(console(), shown, brief=everything and not failing)
        words = ", ".join(f"{counts[verdict]} {verdict}" for verdict in STYLES if counts[verdict])
        console().print(f"{len(chosen)} recipes: {words or 'none is published for these networks'}", markup=False)
    if counts["fails"]:
        raise typer.Exit(1)


def print_verdicts(out: "Console", rows: "Sequence[RecipeRow]", *, brief: bool) -> None:
    """A table a recipe, or with `brief` one line a recipe and what differs or fails."""
    from rich.text import Text

    recipes = list(dict.fromkeys((row.network, row.variant) for row in rows))
    if brief:
        columns = [Column("network", style="cyan"), Column("recipe"), *(Column(v, right=True) for v in STYLES)]
        counts = Counter((row.network, row.variant, row.verdict) for row in rows)
        print_table(out, columns, [(*key, *(str(counts[*key, v] or "") for v in STYLES)) for key in recipes])
    for network, variant in recipes:
        theirs = [row for row in rows if (row.network, row.variant) == (network, variant)]
        if not brief and theirs[0].verdict != "uncovered":
            out.print(Text(f"{network}, {variant}", style="italic"))
            print_table(out, COLUMNS, [cells(row) for row in theirs])
        for row in theirs:
            if row.verdict in ("differs", "fails") or (row.verdict == "uncovered" and not brief):
                print_reason(out, row)


def cells(row: "RecipeRow") -> tuple:
    from rich.text import Text

    verdict = Text(row.verdict, style=STYLES[row.verdict])
    stated = row.quantity.replace("_", " ") + (f" of {row.of}" if row.of else "")
    return (
        stated, row.paper, row.release, row.follows, row.effective, verdict, row.confidence, row.place, row.reason,
    )  # fmt: skip


def print_reason(out: "Console", row: "RecipeRow") -> None:
    """One sentence: what is stated, what training does, and why."""
    from rich.text import Text

    from convatlas.cli.common import visible

    of = f" of {row.of}" if row.of else ""
    said = f"{row.follows} {row.expected}, training {row.effective}: " if row.follows else ""
    sentence = f" {row.network}, {row.variant}: {row.quantity.replace('_', ' ')}{of}: {said}{row.reason or 'no reason'}"
    out.print(Text.assemble((row.verdict, STYLES[row.verdict]), visible(sentence)))
