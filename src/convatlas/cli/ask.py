"""`convatlas ask`: questions that the surveys ask, answered, with the commands that show it."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from convatlas.cli.common import console, print_json
from convatlas.errors import UsageError
from convatlas.facts.questions import Question, find_questions, topics_of_questions

if TYPE_CHECKING:
    from rich.console import Console

_OTHERS = 5  # further questions that are named below an answer


def command(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[WORDS]...", help="A question, or words of it; none lists them all.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Answer a question about these networks, and name the commands that show it.

    `convatlas ask why 1x1 convolutions`. The questions are those that five surveys ask: exercises, interview questions,
    questions to think about. docs/questions.md has all of them with what the commands print.
    """
    text = " ".join(words or ())
    found = list(find_questions(text)) if text else []
    if text and not found:
        raise UsageError(f"no question has the words {text!r}; `convatlas ask` lists all, `convatlas facts` knows more")
    if json:
        topics = {topic.title: [asdict(question) for question in topic.questions] for topic in topics_of_questions()}
        print_json({"words": text, "questions": [asdict(question) for question in found]} if text else topics)
        return
    out = console()
    if not text:
        print_list(out)
        return
    print_answer(out, found[0])
    if others := found[1 : _OTHERS + 1]:
        out.print("\nalso:", style="dim", end="\n")
        for question in others:
            print_line(out, question)


def print_list(out: "Console") -> None:
    """Every question under its topic, with the name by which it is asked."""
    from rich.text import Text

    for topic in topics_of_questions():
        out.print(Text(topic.title, style="bold"))
        for question in topic.questions:
            print_line(out, question)
        out.print()
    out.print("convatlas ask NAME answers one; so do words of it", style="dim")


def print_line(out: "Console", question: Question) -> None:
    """The name of a question, and the question."""
    from rich.padding import Padding
    from rich.text import Text

    out.print(Padding(Text.assemble((question.id, "cyan"), f"  {question.ask}"), (0, 0, 0, 2), expand=False))


def print_answer(out: "Console", question: Question) -> None:
    """The question, where it is asked, the answer, and the commands."""
    from rich.text import Text

    out.print(Text(question.ask, style="bold"))
    out.print(Text(f"asked in {'; '.join(question.asked)}", style="dim"))
    out.print()
    out.print(Text(paragraph(question.answer)))
    out.print()
    for name, content in question.files.items():
        out.print(Text(f"{name}:", style="dim"))
        out.print(Text(content.rstrip("\n")))
    for line in question.run:
        out.print(Text(f"  convatlas {line}", style="green"))


def paragraph(text: str) -> str:
    """Text on one line, to be broken by whoever shows it."""
    return " ".join(text.split())
