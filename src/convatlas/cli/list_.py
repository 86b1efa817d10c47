"""`convatlas list`: what there is."""

import fnmatch
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from convatlas.cli.arguments import complete_network
from convatlas.cli.common import console, print_json, progress, warn
from convatlas.cli.tables import Column, print_table
from convatlas.errors import UsageError
from convatlas.readable import integer, scaled
from convatlas.records import Task

if TYPE_CHECKING:
    from convatlas.records import NetworkCard

TASKS = get_args(Task)
SCALES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}
NUMBER = r"\d+(?:\.\d+)?[kmgb]?"
RANGE = re.compile(rf"(?P<low>{NUMBER})?(?P<to>-)?(?P<high>{NUMBER})?", re.IGNORECASE)


@dataclass(frozen=True)
class Wanted:
    """What a network has to be to be listed."""

    pattern: str | None
    year: tuple[float, float]
    size: tuple[float, float]  # parameters
    weights: bool


def command(
    pattern: Annotated[
        str | None,
        typer.Argument(
            metavar="PATTERN",
            autocompletion=complete_network,
            help="Part of a name or a title, or a pattern such as 'vgg*'.",
        ),
    ] = None,
    task: Annotated[str | None, typer.Option(help=f"Only networks for one task: {', '.join(TASKS)}.")] = None,
    year: Annotated[
        str | None, typer.Option(metavar="RANGE", help="Of the paper: 2015, 2012-2014, 2016- or -1998.")
    ] = None,
    size: Annotated[str | None, typer.Option(metavar="RANGE", help="Parameters: 1M-5M, -500k or 60M-.")] = None,
    weights: Annotated[bool, typer.Option("--weights", help="Only networks with published trained weights.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")] = False,
) -> None:
    """What there is: networks with paper, year, parameters, multiply-adds and task, oldest first."""
    from convatlas import registry

    if task is not None and task not in TASKS:
        raise UsageError(f"--task is {task!r}; expected one of {', '.join(TASKS)}")
    wanted = Wanted(pattern, parse_range(year, "--year", "2012-2014"), parse_range(size, "--size", "1M-5M"), weights)
    cards = [card for card in map(registry.card, registry.names(task)) if matches_name(card, wanted)]
    rows = []
    with progress("Counting") as step:
        for done, card in enumerate(cards, start=1):
            rows.append(entry(card))
            step(done, len(cards))
    rows = [row for row in rows if matches_numbers(row, wanted)]
    rows.sort(key=lambda row: (row["year"] or 9999, row["paper"], row["multiply_adds"], row["name"]))
    if json:
        print_json(rows)
    elif rows:
        show(rows)
    else:
        warn("no network is like this; `convatlas list` shows all")


def parse_range(text: str | None, name: str, example: str) -> tuple[float, float]:
    """ "1M-5M" -> (1e6, 5e6); "2015" is that alone, an open end has no limit, and None has none at all."""
    if text is None:
        return -math.inf, math.inf
    match = RANGE.fullmatch(text.replace(",", "").replace("_", "").strip())
    if match is None or not (match["low"] or match["high"]) or (match["high"] and not match["to"]):
        raise UsageError(f"{name} is {text!r}; expected a number or a range such as {example}")
    low, high = (scale(match[end]) if match[end] else None for end in ("low", "high"))
    if not match["to"]:
        high = low
    ends = (-math.inf if low is None else low, math.inf if high is None else high)
    if ends[0] > ends[1]:
        raise UsageError(f"{name} is {text!r}, from more to less; expected a range such as {example}")
    return ends


def scale(text: str) -> float:
    """ "1.5M" -> 1500000.0"""
    digits = text.rstrip("kKmMgGbB")
    return float(digits) * SCALES[text[len(digits) :].lower()]


def matches_name(card: "NetworkCard", wanted: Wanted) -> bool:
    """Whether name, alias, summary or the paper's title is what was asked for."""
    from convatlas import facts
    from convatlas.naming import COMMON_NAMES, normalise
    from convatlas.weights import published

    if wanted.weights and not published(card.name):
        return False
    if wanted.pattern is None:
        return True
    called = [card.name, *card.aliases, *(alias for alias, name in COMMON_NAMES.items() if name == card.name)]
    if any(character in wanted.pattern for character in "*?["):
        return any(fnmatch.fnmatchcase(name, wanted.pattern.lower()) for name in called)
    known = {paper.key: paper for paper in facts.papers()}.get(card.paper)
    text = f"{card.summary} {known.title} {known.authors}" if known else card.summary
    part = normalise(wanted.pattern)
    return wanted.pattern.casefold() in text.casefold() or (
        bool(part) and any(part in normalise(name) for name in called)
    )


def matches_numbers(row: dict[str, Any], wanted: Wanted) -> bool:
    year = -math.inf if row["year"] is None else row["year"]
    return wanted.year[0] <= year <= wanted.year[1] and wanted.size[0] <= row["parameters"] <= wanted.size[1]


def entry(card: "NetworkCard") -> dict[str, Any]:
    """A network as plain values; the totals are the ledger's, or of a trace where the ledger has none."""
    from convatlas import facts
    from convatlas.weights import published

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
        "published_weights": len(published(card.name)),
    }


def short_authors(authors: str) -> str:
    """ "He, Zhang, Ren, Sun" -> "He et al."."""
    first, *others = authors.split(", ")
    return f"{first} et al." if len(others) > 1 else " and ".join([first, *others])


COLUMNS = (
    Column("network", style="cyan"),
    Column("paper", left_out=2),
    Column("year"),
    Column("parameters", right=True),
    Column("MACs", right=True),
    Column("task", left_out=4),
    Column("weights", left_out=3),
    Column("title", wrap=60, left_out=1),
)


def show(rows: list[dict[str, Any]]) -> None:
    """A line for each network."""
    lines = [
        (
            row["name"],
            short_authors(row["authors"]) if row["authors"] else row["paper"],
            str(row["year"] or ""),
            integer(row["parameters"]),
            scaled(row["multiply_adds"]),
            row["task"],
            "yes" if row["published_weights"] else "",
            row["title"] or "",
        )
        for row in rows
    ]
    print_table(console(), COLUMNS, lines)
