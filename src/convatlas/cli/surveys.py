"""`convatlas verify --surveys`: the statements of the surveys, computed."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from convatlas import facts
from convatlas.cli.common import console, print_json, progress
from convatlas.cli.tables import Column, print_table

if TYPE_CHECKING:
    from rich.console import Console

    from convatlas.analysis.statements import StatementRow

STYLES = {"true": "green", "false": "bold red", "imprecise": "yellow", "open": "cyan"}
COLUMNS = (
    Column("statement", wrap=24),
    Column("stated", wrap=10),
    Column("is", wrap=10),
    Column("verdict"),
    Column("why", wrap=28),
    Column("section", wrap=10, left_out=1),
)


def verify_surveys(*, failing: bool, json: bool) -> None:
    """Computes every statement; ends with exit code 1 where the ledger's verdict is not what comes out."""
    from convatlas.analysis.statements import check_survey

    rows: list[StatementRow] = []
    with progress("Computing the surveys' statements") as step:
        for done, survey in enumerate(facts.surveys(), start=1):
            rows.extend(check_survey(survey))
            step(done, len(facts.surveys()))
    wrong = [row for row in rows if not row.holds]
    shown = wrong if failing else rows
    if json:
        counts = Counter(row.verdict for row in rows)
        head = {"statements": len(rows), **{verdict: counts[verdict] for verdict in STYLES}, "fails": len(wrong)}
        print_json({"summary": head, "rows": [statement_json(row) for row in shown]})
    else:
        out = console()
        for survey in facts.surveys():
            print_statements(out, survey, [row for row in shown if row.survey == survey.key])
        out.print(Text(summary(rows)))
    if wrong:
        raise typer.Exit(1)


def statement_json(row: "StatementRow") -> dict[str, object]:
    computed = {"computed": row.computed, "agrees": row.agrees, "settled_by": row.statement.settled_by}
    return {"survey": row.survey, **asdict(row.statement), **computed}


def print_statements(out: "Console", survey: facts.Survey, rows: "list[StatementRow]") -> None:
    """The statements of one survey under its title."""
    if not rows:
        return
    out.print(Text(f"{survey.english} ({survey.title}; {survey.kind})", style="bold"))
    lines = [
        (
            row.statement.says,
            row.statement.stated,
            row.computed or row.statement.printed,
            Text(row.verdict, style=STYLES[row.verdict]),
            why(row.statement),
            row.statement.section,
        )
        for row in rows
    ]
    print_table(out, COLUMNS, lines)
    out.print()


def why(statement: facts.Statement) -> str:
    """The note, the place in the paper, and the command that shows it."""
    source = f"[{statement.source}, {statement.confidence}]" if statement.source else ""
    return " ".join(filter(None, (statement.note, source)))


def summary(rows: "Iterable[StatementRow]") -> str:
    """ "574 statements: 372 true, 84 false, 106 imprecise, 12 open; ..."."""
    counts = Counter(row.verdict for row in rows)
    ways = Counter(row.statement.settled_by for row in rows)
    verdicts = ", ".join(f"{counts[verdict]} {verdict}" for verdict in STYLES)
    return (
        f"{counts.total()} statements: {verdicts}; {ways['computed']} computed, {ways['printed']} held to what the "
        f"paper prints, {ways['argued']} argued"
    )
