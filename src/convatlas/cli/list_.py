"""`convatlas list`: what there is."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from convatlas.cli.common import console, print_json
from convatlas.cli.numbers import integer, scaled
from convatlas.structures import UsageError

if TYPE_CHECKING:
    from convatlas.structures import NetworkCard

TASKS = ("classification", "detection", "segmentation", "pose")


def command(
    task: Annotated[str | None, typer.Option(help=f"Only networks for one task: {', '.join(TASKS)}.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")] = False,
) -> None:
    """What there is: networks with paper, year, parameters, multiply-adds and task, oldest first."""
    from convatlas import registry

    if task is not None and task not in TASKS:
        raise UsageError(f"--task is {task!r}; expected one of {', '.join(TASKS)}")
    rows = [entry(registry.card(name)) for name in registry.names(task)]
    rows.sort(key=lambda row: (row["year"] or 9999, row["paper"], row["multiply_adds"], row["name"]))
    if json:
        print_json(rows)
    else:
        print_table(rows)


def entry(card: "NetworkCard") -> dict[str, Any]:
    """A network as plain values; the totals are the ledger's, or of a trace where the ledger has none."""
    from convatlas import facts

    known = {paper.key: paper for paper in facts.papers()}.get(card.paper)
    ledger = facts.network(card.name)
    if ledger is not None and ledger.totals is not None:
        parameters, multiply_adds = ledger.totals.parameters, ledger.totals.multiply_adds
    else:
        from convatlas.analysis.cost import cost
        from convatlas.analysis.trace import trace_network

        sums = cost(trace_network(card.name))
        parameters, multiply_adds = sums.parameters, sums.multiply_adds
    return {
        "name": card.name,
        "aliases": list(card.aliases),
        "summary": card.summary,
        "task": card.task,
        "paper": card.paper,
        "authors": known.authors if known else None,
        "year": known.year if known else None,
        "title": known.title if known else None,
        "input_shape": list(card.input_shape),
        "num_classes": card.num_classes,
        "parameters": parameters,
        "multiply_adds": multiply_adds,
    }


def short_authors(authors: str) -> str:
    """ "He, Zhang, Ren, Sun" -> "He et al."."""
    first, *others = authors.split(", ")
    return f"{first} et al." if len(others) > 1 else " and ".join([first, *others])


NARROWEST_PAPER = 12


def print_table(rows: list[dict[str, Any]]) -> None:
    """The paper's column takes what the others leave, and goes where they leave too little."""
    from rich.table import Table
    from rich.text import Text

    out = console()
    names = ("network", "paper", "year", "parameters", "MACs", "task")
    lines = [
        (
            row["name"],
            f"{short_authors(row['authors'])}: {row['title']}" if row["title"] else row["paper"],
            str(row["year"] or ""),
            integer(row["parameters"]),
            scaled(row["multiply_adds"]),
            row["task"],
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(names, *lines, strict=True)]
    room = out.width - sum(widths) + widths[1] - 2 * (len(names) - 1)
    widths[1] = min(widths[1], room)
    shown = [index for index in range(len(names)) if index != 1 or room >= NARROWEST_PAPER]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for name, width in ((names[index], widths[index]) for index in shown):
        justify = "right" if name in ("parameters", "MACs") else "left"
        style = "cyan" if name == "network" else ""
        table.add_column(name, width=width, justify=justify, no_wrap=True, overflow="ellipsis", style=style)
    for line in lines:
        table.add_row(*(Text(line[index]) for index in shown))
    out.print(table)
