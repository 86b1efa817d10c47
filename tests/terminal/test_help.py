"""The help of every command, in several widths."""

import itertools
import re
from collections.abc import Iterator

import pytest

from convatlas.cli import COMMANDS, load, main

NAMES = ("", *COMMANDS, "data check", "weights import", "weights compress")


def paragraphs(text: str) -> Iterator[list[str]]:
    """Those of the prose between the usage and the options."""
    prose = re.split(r"╭|\n(?:Options|Arguments|Commands):", text)[0]
    for paragraph in re.split(r"\n\s*\n", prose)[1:]:
        if "Usage:" not in paragraph and paragraph.strip():
            yield paragraph.splitlines()


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("name", NAMES)
def test_a_line_ends_where_the_next_word_does_not_fit(
    name: str, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main([*name.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= columns
    for lines in paragraphs(text):
        for line, following in itertools.pairwise(lines):
            assert len(line.rstrip()) + 1 + len(following.split()[0]) > columns - 3, (line, following)


def test_every_command_describes_itself_in_the_list(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["--help"]) == 0
    assert "..." not in capsys.readouterr().out.replace("[ARGS]...", "")


@pytest.mark.parametrize("name", [name for name in COMMANDS if hasattr(load(name), "commands")])
def test_a_group_without_a_command_is_its_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name]) == 0
    captured = capsys.readouterr()
    assert (captured.err, "Commands" in captured.out) == ("", True)
