"""Writes docs/questions.md: the questions of `convatlas ask` by topic, with what their commands print.

python docs/write_questions.py           # writes the page
python docs/write_questions.py --check   # exit code 1 where the page is not what the commands print today
"""

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from convatlas.cli import main as run_command
from convatlas.facts.questions import Question, Topic, topics_of_questions

PAGE = Path(__file__).parent / "questions.md"
COLUMNS = 96  # of the terminal that the page shows
LINES = 14  # of an output that `keep` does not choose from
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
HEAD = """# Questions, and the commands that answer them

Five surveys of convolutional networks, in Chinese, set exercises, ask interview questions, and raise questions that
they do or do not answer. Here is each of them in English, with the place, an answer, and the commands that show it with
what they print (shortened where ... stands). `convatlas ask WORDS` finds them from the command line: `convatlas ask why
1x1 convolutions`.

The documents are called as `convatlas verify --surveys` calls them: {surveys}.

This page is written by `docs/write_questions.py` from `src/convatlas/facts/questions/`; a test runs every command and
holds the page to it.
"""


class Terminal(io.StringIO):
    """Takes what a command writes to a terminal."""

    def isatty(self) -> bool:
        return True


def output(command: str) -> str:
    """What a command prints in a terminal of 96 columns, without colours.

    Raises:
        RuntimeError: the command fails.
    """
    written, errors = Terminal(), io.StringIO()
    with (
        mock.patch.dict(os.environ, {"COLUMNS": str(COLUMNS)}),
        contextlib.redirect_stdout(written),
        contextlib.redirect_stderr(errors),
    ):
        code = run_command(shlex.split(command))
    if code:
        raise RuntimeError(f"convatlas {command} ends with {code}: {errors.getvalue()}")
    return "\n".join(line.rstrip() for line in ESCAPES.sub("", written.getvalue()).strip("\n").splitlines())


def shorten(text: str, keep: str, command: str) -> str:
    """The lines that are kept, and "..." where some are left out.

    Raises:
        RuntimeError: no line is kept.
    """
    lines = text.splitlines()
    if bounds := re.fullmatch(r"(\d+)-(\d+)", keep):
        chosen = set(range(int(bounds[1]) - 1, int(bounds[2])))
    elif keep:
        chosen = {number for number, line in enumerate(lines) if re.search(keep, line)}
    else:
        chosen = set(range(LINES if len(lines) > LINES + 2 else len(lines)))
    kept = [number for number in range(len(lines)) if number in chosen]
    if not kept:
        raise RuntimeError(f"convatlas {command} prints no line like {keep!r}")
    shown: list[str] = []
    for before, number in zip([-1, *kept], kept, strict=False):
        shown += ["..."] if number > before + 1 else []
        shown.append(lines[number])
    return "\n".join(shown + (["..."] if kept[-1] < len(lines) - 1 else []))


def write_question(question: Question) -> Iterator[str]:
    """The paragraphs of one question."""
    yield f"### {question.ask}"
    yield f"<sub>`convatlas ask {question.id}` · asked in {'; '.join(question.asked)}</sub>"
    yield " ".join(question.answer.split())
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name, content in question.files.items():
            Path(name).write_text(content, encoding="utf-8")
            yield f"```\n$ cat {name}\n{content.rstrip()}\n```"
        for command, keep in zip(question.run, question.keep or ("",) * len(question.run), strict=True):
            yield f"```\n$ convatlas {command}\n{shorten(output(command), keep, command)}\n```"


def anchor(title: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", title.casefold()).strip().replace(" ", "-")


def contents(topics: tuple[Topic, ...]) -> str:
    """Every question under its topic, linked."""
    lines = []
    for topic in topics:
        lines.append(f"- **[{topic.title}](#{anchor(topic.title)})**")
        lines += [f"  - [{question.ask}](#{anchor(question.ask)})" for question in topic.questions]
    return "\n".join(lines)


def page() -> str:
    """The whole page."""
    from convatlas import facts

    topics = topics_of_questions()
    surveys = "; ".join(f"`{survey.key}`, {survey.english} ({survey.kind})" for survey in facts.surveys())
    parts = [HEAD.format(surveys=surveys).strip(), contents(topics)]
    for topic in topics:
        parts.append(f"## {topic.title}")
        for question in topic.questions:
            parts += write_question(question)
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    text = page()
    if "--check" in sys.argv:
        sys.exit(PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    print(f"{PAGE}: {sum(len(topic.questions) for topic in topics_of_questions())} questions")
