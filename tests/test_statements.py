"""The survey ledger: every statement's verdict is the one that computing gives, and what it points to exists."""

from collections import Counter

import pytest

from convatlas import facts
from convatlas.analysis.statements import check_survey, evaluate, show
from convatlas.cli import COMMANDS
from convatlas.facts.statements import parse_survey

ROW = '[[statements]]\nid = "a"\nsection = "1"\nabout = ["lenet5"]\nsays = "It is so"\n'
HEAD = 'title = "t"\nenglish = "e"\nkind = "k"\n'


@pytest.mark.parametrize("survey", facts.surveys(), ids=lambda survey: survey.key)
def test_verdicts_are_what_comes_out(survey: facts.Survey) -> None:
    wrong = [(row.statement.id, row.computed) for row in check_survey(survey) if not row.holds]
    assert not wrong


def test_statements_point_to_commands_and_networks_that_exist() -> None:
    statements = [statement for survey in facts.surveys() for statement in survey.statements]
    commands = {statement.see.split()[1] for statement in statements if statement.see}
    assert commands <= COMMANDS.keys()
    about = {name for statement in statements for name in statement.about}
    parts = {"C1", "S2", "C3", "S4", "C5", "F6", "table1"}  # of one network, or of a paper
    with_digits = {name for name in about if any(map(str.isdigit, name))}
    unknown = with_digits - parts - set(facts.network_names())
    assert not unknown


def test_false_statements_are_found_and_most_verdicts_are_computed() -> None:
    statements = [statement for survey in facts.surveys() for statement in survey.statements]
    verdicts, ways = (Counter(getattr(row, field) for row in statements) for field in ("verdict", "settled_by"))
    assert verdicts["false"] >= 40
    assert ways["computed"] > len(statements) / 2


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("6 * (5 * 5 + 1)", "156"),
        ("3 * 3 * 3 / (7 * 7)", "0.551"),
        ("slide(224, 11, 4)", "54.25"),
        ("chain_field((3, 1), (3, 1), (3, 1))", "7"),
        ("chain_field((7, 2), (3, 2), (3, 1))", "19"),  # 7; 7 + 2 x 2 = 11; 11 + 2 x 4 = 19
        ("paths(2, 1, 1)", "0.5"),
        ("paths(3, 0, 3)", "1"),
        ("convolve(((1, 2), (3, 4)), ((1,),)) == ((1, 2), (3, 4))", "yes"),
        ("parameters('lenet5', 'C3')", "1,516"),
        ("output('lenet5', 'S2')", "14 x 14 x 6"),
        ("-2 ** 2", "-4"),
    ],
)
def test_expressions(expression: str, expected: str) -> None:
    assert show(evaluate(expression)) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os')",
        "open('x')",
        "parameters('lenet5', 'C9')",
        "(1).real",
        "[1]",
        "1 / 0",
        "lambda: 1",
        "1 +",
        "year('nobody')",
    ],
)
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(facts.LedgerError, match="can't be computed"):
        evaluate(expression)


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ('verdict = "maybe"\n', "verdict is 'maybe'"),
        ('verdict = "false"\nstated = "1"\ncompute = "2"\n', "needs a note"),
        ('verdict = "true"\ncompute = "2"\n', "`stated` is missing"),
        ('verdict = "true"\nstated = "1"\nprinted = "1"\n', "needs a source"),
        ('verdict = "true"\n', "expected `compute`, `printed` or a note"),
        ('verdict = "true"\nnote = "n"\ncolour = "red"\n', "unknown field 'colour'"),
    ],
)
def test_a_statement_that_nobody_could_check_is_refused(rest: str, message: str) -> None:
    with pytest.raises(facts.LedgerError, match=message):
        parse_survey("s", HEAD + ROW + rest)


def test_two_statements_of_one_name_are_refused() -> None:
    row = ROW + 'verdict = "true"\nnote = "n"\n'
    with pytest.raises(facts.LedgerError, match="stands twice"):
        parse_survey("s", HEAD + row + row)
