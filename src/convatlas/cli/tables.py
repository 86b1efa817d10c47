"""The one way in which commands print tables.

In a pipe or a file each record is one line, complete. In a terminal nothing is cut: free text is broken between words,
columns that can be missed are left out and named below the table, and where even the others are too wide, each record
becomes a block of lines.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from convatlas.cli.common import UNWRAPPED, visible

GAP = 2  # characters between columns
LONG_WORD = 24  # characters from which a word, mostly a path, may be broken
Cell = str | Text


@dataclass(frozen=True)
class Column:
    """How a column is laid out, and what becomes of it in a narrow window."""

    name: str
    right: bool = False  # aligned, as numbers are
    left_out: int = 0  # 1 is the first column to go; 0 stays: it tells the rows apart, or is what the table is for
    wrap: int = 0  # free text, which can be broken between words, to no fewer characters than these
    style: str = ""


def print_table(
    out: Console, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], *, everything: str = "--json"
) -> None:
    """Prints a row of `rows` for each record; `everything` is the option that has the columns which are left out.

    Control characters in cells are written out, and rich's markup in them means nothing.
    """
    cells = [[as_text(cell) for cell in row] for row in rows]
    if out.width >= UNWRAPPED:
        print_lines(out, columns, cells)
        return
    widths = fit(columns, cells, out.width)
    if widths is None:
        print_blocks(out, columns, cells)
        return
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    shown = [index for index, width in enumerate(widths) if width]
    for index in shown:
        column = columns[index]
        justify = "right" if column.right else "left"
        table.add_column(
            Text(column.name), justify=justify, style=column.style, width=widths[index], no_wrap=not column.wrap,
            overflow="fold",
        )  # fmt: skip
    for row in cells:
        table.add_row(*(row[index] for index in shown))
    out.print(table)
    missing = [column.name for column, width in zip(columns, widths, strict=True) if not width]
    if missing:
        hint = f"left out, the window is too narrow: {', '.join(missing)} ({everything} has everything)"
        out.print(Text(hint, style="dim"))


def as_text(cell: Cell) -> Text:
    """A cell without control characters, in its own style."""
    return Text(visible(cell)) if isinstance(cell, str) else Text(visible(cell.plain), style=cell.style)


def natural_widths(columns: Sequence[Column], cells: Sequence[Sequence[Text]]) -> list[int]:
    widths = [cell_len(column.name) for column in columns]
    for row in cells:
        widths = [max(width, cell.cell_len) for width, cell in zip(widths, row, strict=True)]
    return widths


def fit(columns: Sequence[Column], cells: Sequence[Sequence[Text]], room: int) -> list[int] | None:
    """The width of each column, 0 where it is left out; None where no table fits.

    A column without which two records would read the same is never left out.
    """
    widths = natural_widths(columns, cells)
    least = [least_width(column, [row[index] for row in cells]) for index, column in enumerate(columns)]
    distinct = distinct_rows(cells, widths)
    order = sorted((column.left_out, index) for index, column in enumerate(columns) if column.left_out)
    for index in [*(index for _, index in order), None]:
        excess = sum(widths) + GAP * (sum(width > 0 for width in widths) - 1) - room
        spare = {i: widths[i] - low for i, low in enumerate(least) if 0 < low < widths[i]}
        if excess <= sum(spare.values()):
            return squeeze(widths, spare, excess)
        if index is not None:
            without = [*widths[:index], 0, *widths[index + 1 :]]
            widths = without if distinct_rows(cells, without) == distinct else widths
    return None


def least_width(column: Column, cells: Sequence[Text]) -> int:
    """To how few characters a column can be narrowed: its longest word, if that is not too long; 0: it never is."""
    if not column.wrap:
        return 0
    words = (word for text in (column.name, *(cell.plain for cell in cells)) for word in text.split())
    return max(column.wrap, min(LONG_WORD, max(map(cell_len, words))))


def distinct_rows(cells: Sequence[Sequence[Text]], widths: Sequence[int]) -> int:
    """How many records read differently when the columns of width 0 are left out."""
    return len({tuple(cell.plain for cell, width in zip(row, widths, strict=True) if width) for row in cells})


def squeeze(widths: list[int], spare: dict[int, int], excess: int) -> list[int]:
    """Takes `excess` characters from columns that can spare some: each time from the one that can spare most."""
    for _ in range(max(excess, 0)):
        widest = max(spare, key=lambda index: spare[index])
        widths[widest] -= 1
        spare[widest] -= 1
    return widths


def print_lines(out: Console, columns: Sequence[Column], cells: Sequence[Sequence[Text]]) -> None:
    """A line for each record, without trailing blanks."""
    widths = natural_widths(columns, cells)
    for row in [[Text(column.name) for column in columns], *cells]:
        padded = (
            " " * (width - cell.cell_len) + cell.plain if column.right else cell.plain + " " * (width - cell.cell_len)
            for column, width, cell in zip(columns, widths, row, strict=True)
        )
        out.print((" " * GAP).join(padded).rstrip(), markup=False, soft_wrap=True)


def print_blocks(out: Console, columns: Sequence[Column], cells: Sequence[Sequence[Text]]) -> None:
    """A block for each record: a line for each value, under the name of its column."""
    width = max(cell_len(column.name) for column in columns) + GAP
    for number, row in enumerate(cells):
        if number:
            out.print()
        for column, cell in zip(columns, row, strict=True):
            if cell.plain:
                out.print(Text.assemble((column.name.ljust(width), "bold"), cell))
