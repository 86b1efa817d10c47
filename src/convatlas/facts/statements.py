"""The survey ledger: what five surveys say about these networks, in our own words, with what settles each statement.

A statement is settled by an expression that `analysis.expressions` computes from the live networks, by what the paper
itself prints, or, for claims of cause and taste, by the command that looks at it.
"""

import functools
import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from convatlas.facts.loader import read_fields
from convatlas.facts.schema import LedgerError

Judgement = Literal["true", "false", "imprecise", "open"]

JUDGEMENTS: dict[Judgement, str] = {
    "true": "it agrees with what is computed, or with what the paper prints",
    "false": "it contradicts what is computed, or what the paper prints",
    "imprecise": "right in part, or only under a reading that the statement does not give; the note says which",
    "open": "a claim of cause or of taste that no number settles; the note says what bears on it",
}


@dataclass(frozen=True)
class Statement:
    """One checkable statement of a survey."""

    id: str  # unique in its document
    section: str
    about: tuple[str, ...]  # registered networks and topics
    says: str  # in our own words
    verdict: Judgement
    stated: str = ""  # the number, shape or word that is compared; "yes" for a comparison
    compute: str = ""  # an expression of `analysis.expressions`
    printed: str = ""  # what the paper prints in its place
    source: str = ""  # where the paper prints it, or where else it can be looked up
    confidence: Literal["", "verified", "stated", "recalled"] = ""  # of `printed`
    unit: str = ""  # overrides the unit of the last printed digit
    note: str = ""  # the arithmetic, or what is right
    see: str = ""  # a command that shows it

    @property
    def settled_by(self) -> str:
        """ "computed", "printed" or "argued"."""
        return "computed" if self.compute else "printed" if self.printed else "argued"


@dataclass(frozen=True)
class Survey:
    """One of the surveys and its statements."""

    key: str
    title: str  # in its own language
    english: str
    kind: str  # blog post, chapter, slides
    statements: tuple[Statement, ...]


def parse_survey(key: str, text: str) -> Survey:
    """A survey file from its text.

    Raises:
        LedgerError: the text is not TOML, breaks the schema, or a statement could not be checked by anybody.
    """
    where = f"facts/surveys/{key}.toml"
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LedgerError(f"{where}: {error}") from None
    rows = table.pop("statements", [])
    statements = tuple(_statement(row, f"{where}: statement {i + 1}") for i, row in enumerate(rows))
    names = [statement.id for statement in statements]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise LedgerError(f"{where}: the id {twice!r} stands twice; expected once")
    fields = read_fields(Survey, {**table, "key": key, "statements": []}, where)
    return Survey(**{**fields, "statements": statements})


def _statement(row: object, where: str) -> Statement:
    statement = Statement(**read_fields(Statement, row, where))
    where = f"{where} ({statement.id})"
    if statement.verdict not in JUDGEMENTS:
        raise LedgerError(f"{where}: verdict is {statement.verdict!r}; expected one of {', '.join(JUDGEMENTS)}")
    if statement.verdict != "true" and not statement.note:
        raise LedgerError(f"{where}: a statement that is {statement.verdict} needs a note that says why")
    if (statement.compute or statement.printed) and not statement.stated:
        raise LedgerError(f"{where}: nothing to compare: `stated` is missing")
    if statement.printed and not (statement.source and statement.confidence):
        raise LedgerError(f"{where}: `printed` needs a source and a confidence")
    if not (statement.compute or statement.printed or statement.note):
        raise LedgerError(f"{where}: expected `compute`, `printed` or a note")
    return statement


@functools.cache
def surveys() -> tuple[Survey, ...]:
    """All surveys, by key.

    >>> [survey.key for survey in surveys()][0]
    'architecture_history'
    """
    folder = resources.files("convatlas.facts") / "surveys"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    return tuple(parse_survey(file.name.removesuffix(".toml"), file.read_text(encoding="utf-8")) for file in files)
