"""The ledger as rows of one shape: what `show`, reports, Python and notebooks list."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from convatlas.facts.query import Findings
from convatlas.facts.schema import NetworkFacts, Paper

FactKind = Literal["claim", "result", "statement", "unusual", "deviation", "disputed", "survey"]

KINDS: dict[FactKind, str] = {
    "claim": "a printed number that `verify` recomputes",
    "result": "what the paper reached",
    "statement": "what else the paper states",
    "unusual": "what the network does that others do not",
    "deviation": "where libraries differ from the paper",
    "disputed": "what contradicts itself, or can't be reproduced",
    "survey": "what a survey says about it",
}


@dataclass(frozen=True)
class Fact:
    """One row of the ledger."""

    kind: FactKind
    about: str  # a network, the key of a paper or of a survey
    statement: str
    value: str  # as printed; for a survey what it states
    confidence: str  # of claims and results; for a survey its verdict
    where: str  # table or section
    note: str  # why it is disputed, or what is right


def fact_rows(findings: Findings, *, disputed: bool = False, surveys: bool = False) -> tuple[Fact, ...]:
    """All rows of what was found, in the order of `KINDS`; of surveys the false statements first.

    Args:
        findings: from `lookup` or `search`.
        disputed: only what can't be reproduced, and statements that are false or imprecise.
        surveys: only what surveys say.

    >>> from convatlas.facts.query import lookup
    >>> [row.value for row in fact_rows(lookup("lenet5")) if row.statement == "connections"]
    ['340,908', '345,308']
    """
    rows = [*_surveys(findings)]
    if not surveys:
        rows = [row for part in (_claims, _results, _texts) for row in part(findings)] + rows
    if disputed:
        rows = [row for row in rows if row.kind == "disputed" or row.confidence in ("disputed", "false", "imprecise")]
    order = tuple(KINDS)
    return tuple(sorted(rows, key=lambda row: order.index(row.kind)))


def _claims(findings: Findings) -> Iterator[Fact]:
    for network in findings.networks:
        yield from claims_of_network(network)


def claims_of_network(network: NetworkFacts) -> Iterator[Fact]:
    """A row for each claim."""
    for claim in network.claims:
        subject = claim.quantity.replace("_", " ") + (f" of {claim.layer}" if claim.layer else "")
        value = ("< " if claim.bound else "") + claim.value
        note = claim.note if claim.printed else "; ".join(filter(None, ("derived, not printed", claim.note)))
        yield Fact("claim", network.name, subject, value, claim.confidence, claim.where, note)


def _results(findings: Findings) -> Iterator[Fact]:
    for paper in findings.papers:
        for result in paper.results:
            subject = f"{result.data}, {result.quantity}"
            yield Fact("result", paper.key, subject, result.value, result.confidence, "", result.protocol)


def _texts(findings: Findings) -> Iterator[Fact]:
    for paper in findings.papers:
        for statement, confidence in paper.facts:
            yield Fact("statement", paper.key, statement, "", confidence, "", "")
        for kind, lines in _lists(paper):
            for line in lines:
                yield Fact(kind, paper.key, line, "", "", "", "")


def _lists(paper: Paper) -> tuple[tuple[FactKind, tuple[str, ...]], ...]:
    return ("unusual", paper.nonstandard), ("deviation", paper.deviations), ("disputed", paper.disputed)


def _surveys(findings: Findings) -> list[Fact]:
    order = ("false", "imprecise", "true", "open")
    chosen = sorted(findings.statements, key=lambda pair: order.index(pair[1].verdict))
    return [
        Fact(
            "survey",
            survey.key,
            statement.says,
            statement.stated,
            statement.verdict,
            statement.section,
            " ".join(filter(None, (statement.note, f"[{statement.source}]" if statement.source else ""))),
        )
        for survey, statement in chosen
    ]
