"""`convatlas facts`: what papers state about a network or a topic, and what surveys make of it."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convatlas import facts
from convatlas.cli.common import console, print_json
from convatlas.cli.tables import Column, print_table
from convatlas.ledger import look_up

if TYPE_CHECKING:
    from rich.console import Console

CLAIMS = (
    Column("network"),
    Column("quantity", wrap=16),
    Column("printed", right=True),
    Column("confidence"),
    Column("where", wrap=16, left_out=1),
    Column("note", wrap=24),
)
STATEMENTS = (
    Column("statement", wrap=24),
    Column("verdict"),
    Column("why", wrap=30),
    Column("survey", wrap=12, left_out=2),
    Column("see", wrap=16, left_out=1),
)


def command(
    topic: Annotated[
        str, typer.Argument(metavar="NAME|TOPIC", help="A network, a family (resnet), a paper or a word (pooling).")
    ],
    disputed: Annotated[
        bool, typer.Option("--disputed", help="Only what can't be reproduced, and the statements that are not true.")
    ] = False,
    surveys: Annotated[bool, typer.Option("--surveys", help="Only what surveys say.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Tell what the papers state about a network or a topic, with place and confidence, and what surveys get wrong.

    `convatlas verify NAME` computes the same claims; `convatlas facts resnet --surveys --disputed` answers what surveys
    get wrong about ResNet.
    """
    findings = look_up(topic)
    if json:
        print_json(as_json(findings, disputed=disputed, surveys=surveys))
        return
    out = console()
    if not surveys:
        print_papers(out, findings, disputed=disputed)
    print_surveys(out, findings, disputed=disputed)


def claims_of(findings: facts.Findings, *, disputed: bool) -> list[tuple[str, facts.Claim]]:
    return [
        (network.name, claim)
        for network in findings.networks
        for claim in network.claims
        if claim.confidence == "disputed" or not disputed
    ]


def statements_of(findings: facts.Findings, *, disputed: bool) -> list[tuple[facts.Survey, facts.Statement]]:
    return [
        (survey, statement)
        for survey, statement in findings.statements
        if statement.verdict in ("false", "imprecise") or not disputed
    ]


def print_papers(out: "Console", findings: facts.Findings, *, disputed: bool) -> None:
    """The papers' references and particulars, then the claims as a table."""
    from rich.text import Text

    for paper in findings.papers:
        out.print(Text.assemble((paper.title, "bold"), f"\n{paper.authors}, {paper.year}. {paper.venue}. {paper.id}"))
        sections = (("disputed", paper.disputed), ("libraries differ", () if disputed else paper.deviations),
                    ("unusual", () if disputed else paper.nonstandard))  # fmt: skip
        for heading, lines in sections:
            for line in lines:
                out.print(Text.assemble((f"  {heading}: ", "dim"), line))
        if not disputed:
            for result in paper.results:
                text = f"  result: {result.data}, {result.quantity}: {result.value} ({result.protocol})"
                out.print(Text(text.replace(" ()", "")))
        out.print()
    claims = claims_of(findings, disputed=disputed)
    if claims:
        rows = [
            (
                network,
                claim.quantity.replace("_", " ") + (f" of {claim.layer}" if claim.layer else ""),
                claim.value + ("" if claim.printed else " (derived)"),
                claim.confidence,
                claim.where,
                claim.note,
            )
            for network, claim in claims
        ]
        print_table(out, CLAIMS, rows)
        for word in dict.fromkeys(claim.confidence for _, claim in claims):
            out.print(Text(f"{word}: {facts.CONFIDENCE_WORDS[word]}", style="dim"))
        out.print()


def print_surveys(out: "Console", findings: facts.Findings, *, disputed: bool) -> None:
    """The statements: false ones first."""
    from rich.text import Text

    from convatlas.cli.surveys import STYLES, why

    order = ("false", "imprecise", "true", "open")
    chosen = sorted(statements_of(findings, disputed=disputed), key=lambda pair: order.index(pair[1].verdict))
    if not chosen:
        out.print(f"The surveys say nothing {'wrong ' if disputed else ''}about it.")
        return
    counts = {verdict: sum(statement.verdict == verdict for _, statement in chosen) for verdict in order}
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    out.print(Text(f"What surveys say: {told}", style="bold"))
    rows = [
        (
            statement.says,
            Text(statement.verdict, style=STYLES[statement.verdict]),
            why(statement),
            f"{survey.key}, {statement.section}",
            statement.see,
        )
        for survey, statement in chosen
    ]
    print_table(out, STATEMENTS, rows)


def as_json(findings: facts.Findings, *, disputed: bool, surveys: bool) -> dict[str, Any]:
    statements = [
        {"survey": survey.key, **asdict(statement)} for survey, statement in statements_of(findings, disputed=disputed)
    ]
    if surveys:
        return {"topic": findings.topic, "statements": statements}
    return {
        "topic": findings.topic,
        "papers": [
            {
                "key": paper.key, "title": paper.title, "authors": paper.authors, "year": paper.year,
                "venue": paper.venue, "id": paper.id, "disputed": paper.disputed, "deviations": paper.deviations,
                "results": [asdict(result) for result in paper.results],
            }
            for paper in findings.papers
        ],
        "claims": [{"network": network, **asdict(claim)} for network, claim in claims_of(findings, disputed=disputed)],
        "statements": statements,
    }  # fmt: skip
