"""The surveys' statements against the live networks: each expression computed, and its verdict held to the ledger's."""

from dataclasses import dataclass
from decimal import Decimal

from convatlas import facts
from convatlas.analysis.expressions import agrees, evaluate, show
from convatlas.facts.statements import Judgement, Statement, Survey


@dataclass(frozen=True)
class StatementRow:
    """One statement of a survey, and what came of it."""

    survey: str
    statement: Statement
    computed: str  # empty where nothing was computed
    agrees: bool | None  # with the computed or the printed value; None: neither is given

    @property
    def holds(self) -> bool:
        """Whether the ledger's verdict is the one that the comparison gives.

        A true statement has to agree and a false one must not. An imprecise one may do either, since its note tells
        under which reading it is right.
        """
        return self.agrees is None or self.statement.verdict in ("imprecise", "open") or (
            self.agrees == (self.statement.verdict == "true")
        )  # fmt: skip

    @property
    def verdict(self) -> Judgement:
        return self.statement.verdict


def check_survey(survey: Survey) -> tuple[StatementRow, ...]:
    """Every statement of a survey, computed.

    Raises:
        LedgerError: an expression is not one, or names a network, layer or function that does not exist.
    """
    return tuple(check_statement(survey.key, statement) for statement in survey.statements)


def check_statement(survey: str, statement: Statement) -> StatementRow:
    """One statement, computed.

    >>> row = Statement("c1", "4.1.2", ("lenet5",), "C1 has 156 parameters", "true", "156", "6 * (5 * 5 + 1)")
    >>> check_statement("chapter", row).computed
    '156'
    """
    where = f"facts/surveys/{survey}.toml: {statement.id}"
    if statement.compute:
        value = evaluate(statement.compute, where)
        return StatementRow(survey, statement, show(value), agrees(value, statement.stated, statement.unit, where))
    if statement.printed:
        return StatementRow(survey, statement, "", _same(statement.stated, statement.printed, statement.unit))
    return StatementRow(survey, statement, "", None)


def _same(stated: str, printed: str, unit: str) -> bool:
    try:
        (one, _), (other, step) = facts.parse_quantity(stated), facts.parse_quantity(printed)
    except ValueError:
        return stated.casefold() == printed.casefold()
    if unit:
        step, _ = facts.parse_quantity(unit)
    return abs(one - other) < (step if unit else Decimal(step) / 2)
