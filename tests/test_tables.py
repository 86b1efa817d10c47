"""Tables in pipes and in windows of any width, and what a terminal is spared."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from convatlas.cli import common
from convatlas.cli.common import UNWRAPPED, literal, visible, without_nan
from convatlas.cli.tables import Column, print_table

COLUMNS = (
    Column("network", style="cyan"),
    Column("title", wrap=12, left_out=2),
    Column("size", right=True),
    Column("format", left_out=1),
)
ROWS = [
    ("alexnet", "ImageNet Classification with Deep Networks", "60,965,224", "Caffe"),
    ("lenet5", "Gradient-Based Learning", "60,000", "Torch7"),
]


def printed(width: int, columns: tuple[Column, ...] = COLUMNS, rows: list[tuple[str, ...]] = ROWS) -> list[str]:
    file = io.StringIO()
    print_table(Console(file=file, width=width, highlight=False, emoji=False), columns, rows)
    return file.getvalue().splitlines()


def test_a_pipe_gets_a_line_for_each_record() -> None:
    assert printed(UNWRAPPED) == [
        "network  title                                             size  format",
        "alexnet  ImageNet Classification with Deep Networks  60,965,224  Caffe",
        "lenet5   Gradient-Based Learning                         60,000  Torch7",
    ]


def test_a_narrow_window_breaks_free_text_and_then_leaves_columns_out() -> None:
    assert [line.rstrip() for line in printed(60)[1:3]] == [
        "alexnet  ImageNet Classification with     60,965,224  Caffe",
        "         Deep Networks",
    ]
    lines = printed(35)
    assert lines[0].split() == ["network", "title", "size"]
    assert " ".join(lines[-2:]).replace("  ", " ").startswith("left out, the window is too narrow: format")
    assert [line.split() for line in printed(20)[:3]] == [
        ["network", "size"],
        ["alexnet", "60,965,224"],
        ["lenet5", "60,000"],
    ]


def test_what_tells_rows_apart_is_never_left_out() -> None:
    rows = [("vgg_d", "VGG-16", "1", "Caffe"), ("vgg_d", "VGG-16", "1", "Keras")]
    for width in range(8, 60):
        text = "\n".join(printed(width, rows=rows))
        assert "Caffe" in text
        assert "Keras" in text


def test_where_no_table_fits_each_record_is_a_block() -> None:
    assert printed(16) == [
        "network  alexnet", "title    ", "ImageNet ", "Classification ", "with Deep ", "Networks", "size     ",
        "60,965,224", "format   Caffe", "", "network  lenet5", "title    ", "Gradient-Based ", "Learning",
        "size     60,000", "format   Torch7",
    ]  # fmt: skip


@given(st.lists(st.tuples(*[st.text(max_size=30)] * 4), min_size=1, max_size=5), st.integers(20, 200))
def test_any_text_keeps_to_one_line_in_a_pipe_and_to_the_window(rows: list[tuple[str, ...]], width: int) -> None:
    assert len(printed(UNWRAPPED, rows=rows)) == len(rows) + 1
    assert not any(visible(line) != line for line in printed(UNWRAPPED, rows=rows))
    assert all(Text(line).cell_len <= width for line in printed(width, rows=rows))


def test_text_of_files_has_no_power_over_the_terminal() -> None:
    assert visible("a\x1b[31mb\nc\u202ed\udcff é 日本") == "a\\x1b[31mb\\nc\\u202ed\\udcff é 日本"
    file = io.StringIO()
    Console(file=file, width=80).print(f"[bold]{literal('[/red] [bold] x')}[/]")
    assert file.getvalue() == "[/red] [bold] x\n"


def test_json_has_no_infinity() -> None:
    assert without_nan({"a": [float("inf"), -float("inf"), float("nan"), 1.5], "b": (1,)}) == {
        "a": [None, None, None, 1.5],
        "b": [1],
    }


def test_long_work_speaks_where_no_terminal_listens(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convatlas.terminal.text.SPEAKS_AFTER", 0.0)
    with common.progress("Reading") as step:
        step(3, 1000)
        while not (said := capsys.readouterr().err):  # the line comes from another thread
            pass
    assert said.startswith("convatlas: reading")


def test_short_work_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with common.progress("Reading") as step:
        step(1, 1)
    common.announce()
    common.hush()
    assert capsys.readouterr() == ("", "")
