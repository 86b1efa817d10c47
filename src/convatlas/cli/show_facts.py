"""The foot of `convatlas show`: what the paper states about the network, and what surveys get wrong."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from convatlas.cli.common import console
from convatlas.cli.tables import Column, print_table

if TYPE_CHECKING:
    from convatlas.facts import Fact

CLAIMS_SHOWN, WRONG_SHOWN = 6, 3
COLUMNS = (
    Column("quantity"),
    Column("printed", right=True),
    Column("confidence"),
    Column("where", wrap=16, left_out=1),
)


def print_facts(name: str, facts: "Sequence[Fact]") -> None:
    """The paper's claims on the whole network, what surveys get wrong, and where the rest is: a few lines."""
    if not facts:
        return
    whole = [fact for fact in facts if fact.kind == "claim" and " of " not in fact.statement][:CLAIMS_SHOWN]
    wrong = [fact for fact in facts if fact.kind == "survey" and fact.confidence == "false"][:WRONG_SHOWN]
    out = console()
    out.print()
    out.print(Text("What the paper states", style="bold"))
    if whole:
        print_table(out, COLUMNS, [(fact.statement, fact.value, fact.confidence, fact.where) for fact in whole])
    for fact in wrong:
        out.print(Text.assemble(("a survey is wrong: ", "dim"), f'"{fact.statement}". {fact.note}'))
    rest = len(facts) - len(whole) - len(wrong)
    if rest > 0:
        out.print(Text(f"`convatlas facts {name}` has {rest} more", style="dim"))
