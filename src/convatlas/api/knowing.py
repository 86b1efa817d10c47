"""`convatlas.find_facts` and `convatlas.ask`: the ledger and its questions as tables."""

from dataclasses import asdict, dataclass

from convatlas.api.arguments import suggest_arguments
from convatlas.api.rows import Cell, Rows
from convatlas.facts.questions import Question, find_questions
from convatlas.facts.rows import Fact, fact_rows
from convatlas.ledger import look_up


@dataclass(frozen=True, repr=False)
class FactTable(Rows[Fact]):
    """What the ledger holds of a network or a topic, one row each."""

    topic: str

    def rows(self) -> list[dict[str, Cell]]:
        """A row for each fact."""
        return [asdict(fact) for fact in self.items]


@suggest_arguments
def find_facts(topic: str, *, disputed: bool = False, surveys: bool = False) -> FactTable:
    """What papers state about a network or a topic, how sure that is, and what surveys make of it.

    The command `convatlas facts` shows the same rows; the name is longer here because `convatlas.facts` is the package
    that holds the ledger.

    Args:
        topic: a network in any spelling, a family such as "resnet", a paper's key, a word such as "pooling".
        disputed: only what can't be reproduced, and statements that are false or imprecise.
        surveys: only what surveys say.

    Raises:
        UsageError: nothing is known under this name.

    >>> import convatlas
    >>> wrong = convatlas.find_facts("resnet", surveys=True, disputed=True)
    >>> [fact.note for fact in wrong if "2 x i paths" in fact.statement]
    ['2 to the power i: each block doubles the number. For 54 blocks 1.8e16.']
    """
    return FactTable(fact_rows(look_up(topic), disputed=disputed, surveys=surveys), topic)


@dataclass(frozen=True, repr=False)
class QuestionTable(Rows[Question]):
    """Questions, the one that fits best first."""

    def rows(self) -> list[dict[str, Cell]]:
        """A row for each question."""
        return [
            {
                "question": question.ask,
                "answer": " ".join(question.answer.split()),
                "commands": "\n".join(f"convatlas {line}" for line in question.run),
                "asked_in": "; ".join(question.asked),
            }
            for question in self.items
        ]


@suggest_arguments
def ask(words: str) -> QuestionTable:
    """Questions of the surveys that have these words, with answers and the commands that show them.

    >>> import convatlas
    >>> convatlas.ask("why 1x1 convolutions")[0].id
    'why-1x1'
    """
    return QuestionTable(find_questions(words))
