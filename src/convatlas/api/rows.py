"""What the public functions return where the result is a list: a sequence that is also a table."""

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar, overload

from convatlas.errors import ConvatlasError
from convatlas.records import Problem

if TYPE_CHECKING:
    from pandas import DataFrame

T = TypeVar("T")
Cell = str | int | float | bool | None
SHOWN = 60  # rows of a table in a notebook


@dataclass(frozen=True, repr=False)
class Rows(Sequence[T], Generic[T]):
    """An immutable sequence of results, which notebooks show as a table and pandas takes as a frame."""

    items: tuple[T, ...]

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...
    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def rows(self) -> list[dict[str, Cell]]:
        """The table as plain values: a row for each line, by column."""
        raise NotImplementedError

    def left_out(self) -> list[str]:
        """A sentence for each thing that has no result, which no view of the table hides."""
        return []

    def to_dataframe(self) -> "DataFrame":
        """The table as a pandas frame.

        Raises:
            ConvatlasError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ConvatlasError("pandas is not installed; get it: pip install pandas") from error
        return pandas.DataFrame(self.rows())

    def __repr__(self) -> str:
        lines = [" ".join(f"{name}={cell_text(value)}" for name, value in row.items()) for row in self.rows()[:8]]
        more = len(self.rows()) - len(lines)
        more_lines = [f"... {more} more"] if more else []
        return "\n".join([f"{type(self).__name__} ({len(self)})", *lines, *more_lines, *self.left_out()])

    def _repr_html_(self) -> str:
        left_out = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in self.left_out())
        return html_table(self.rows()) + (f"<ul>{left_out}</ul>" if left_out else "")


def with_problems(rows: list[dict[str, Cell]], problems: Sequence[Problem], name: str) -> list[dict[str, Cell]]:
    """The rows, and one for each problem, whose path stands under `name`; without problems just the rows.

    >>> with_problems([{"image": "a.png", "score": 0.5}], [Problem("b.png", "damaged")], "image")[1]
    {'image': 'b.png', 'score': None, 'problem': 'damaged'}
    """
    if not problems:
        return rows
    columns = dict.fromkeys(column for row in rows for column in row)
    empty: dict[str, Cell] = dict.fromkeys((name, *columns, "problem"))
    return [empty | row for row in rows] + [empty | {name: one.path, "problem": one.reason} for one in problems]


def cell_text(value: Cell) -> str:
    """A value as a person reads it; what is not known is empty."""
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def html_table(rows: Sequence[Mapping[str, Cell]]) -> str:
    """A table of the first rows, escaped, in the notebook's own style."""
    if not rows:
        return "<p>no rows</p>"
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in rows[0])
    lines = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell_text(value))}</td>" for value in row.values()) + "</tr>"
        for row in rows[:SHOWN]
    )
    more = f"<p>and {len(rows) - SHOWN:,} more</p>" if len(rows) > SHOWN else ""
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>{more}"
