"""`convatlas compare --published`: what papers and releases printed, by the question that the numbers answer."""

import csv as csv_module
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from convatlas import naming
from convatlas.cli.common import console, print_json, visible
from convatlas.cli.tables import Column, print_table
from convatlas.errors import UsageError
from convatlas.facts.comparable import grouped
from convatlas.facts.query import network_names
from convatlas.facts.results import MEASURES, PrintedResult, printed_results

COLUMNS = (
    Column("network", wrap=16),
    Column("value", right=True),
    Column("trained on", wrap=14, left_out=4),
    Column("hardware", wrap=10, left_out=5),
    Column("note", wrap=16, left_out=3),
    Column("source", wrap=20, left_out=1),
    Column("confidence", left_out=2),
)


def print_results(
    names: Sequence[str], *, csv: bool, json: bool, out: Path | None, unused: Mapping[str, object]
) -> None:
    """Prints the results of some networks, or of all that the ledger has, as tables, CSV or JSON, and writes a page.

    Args:
        unused: options that time or test something, and their values; none is expected.

    Raises:
        UsageError: an unknown network, one of `unused`, or nothing was printed of these networks.
    """
    for option, value in unused.items():
        if value:
            raise UsageError(f"{option} with --published: nothing is built, timed or tested")
    chosen = results_for(names)
    if json:
        print_json({"results": [as_dict(result) for result in chosen]})
    elif csv:
        write_csv(chosen)
    else:
        print_groups(chosen)
    if out is not None:
        from convatlas.report.html import save
        from convatlas.report.printed_page import render

        save(out, render(chosen))


def results_for(names: Sequence[str]) -> tuple[PrintedResult, ...]:
    """The results in which a network of `names` took part; without names, all.

    Raises:
        UsageError: an unknown network, or nothing was printed of these.
    """
    if not names:
        return printed_results()
    for name in names:
        if Path(name).is_dir():
            raise UsageError(f"{name} is a run folder; expected names of networks with --published")
    known = {*network_names(), *(network for result in printed_results() for network in result.networks)}
    wanted = {naming.resolve(name, sorted(known), {}) for name in names}
    chosen = tuple(result for result in printed_results() if wanted & set(result.networks))
    if not chosen:
        raise UsageError(f"nothing printed is known of {', '.join(sorted(wanted))}; `convatlas facts NAME` has claims")
    return chosen


def print_groups(results: Iterable[PrintedResult]) -> None:
    """A table for each question, the best number first."""
    from rich.text import Text

    out = console()
    for number, (title, rows) in enumerate(grouped(results).items()):
        out.print(Text(f"{chr(10) if number else ''}{visible(title)}", style="bold"))
        cells = [
            (
                name_of(row),
                row.value,
                row.trained_on,
                row.hardware,
                row.note,
                f"{row.paper}, {row.where}",
                row.confidence,
            )
            for row in rows
        ]
        present = [place for place in range(len(COLUMNS)) if place < 2 or any(row[place] for row in cells)]
        print_table(out, [COLUMNS[place] for place in present], [[row[place] for place in present] for row in cells])


def name_of(result: PrintedResult) -> str:
    """The registered names, and what the source calls it where it is not the very network."""
    names = " + ".join(result.networks)
    return f"{names} ({result.of})" if names and result.of else names or result.of


def source_of(result: PrintedResult) -> str:
    return f"{result.paper}, {result.where}"


def as_dict(result: PrintedResult) -> dict[str, object]:
    """With the measure's name and unit."""
    measure = MEASURES[result.measure]
    return {**asdict(result), "measure_name": measure.name, "unit": measure.unit}


def write_csv(results: Iterable[PrintedResult]) -> None:
    """A line for each number."""
    writer = csv_module.writer(sys.stdout, lineterminator="\n")
    names = [field.name for field in fields(PrintedResult)]
    writer.writerow([*names, "unit"])
    for result in results:
        row = as_dict(result)
        writer.writerow([" + ".join(result.networks), *(row[name] for name in names[1:]), row["unit"]])
