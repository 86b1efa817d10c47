"""`convatlas lineage`: who builds on whom, with a sentence for each step."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from convatlas import facts, naming
from convatlas.cli.common import console, print_json
from convatlas.cli.tables import Column, print_table
from convatlas.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from convatlas.facts.lineage import Edge, Lineage

COLUMNS = (
    Column("from"),
    Column("to"),
    Column("branch", left_out=1),
    Column("taken over, and changed", wrap=24),
)


def command(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A network or a paper's key; none: the whole lineage.")
    ] = None,
    branch: Annotated[str | None, typer.Option(help="Only structure, depth, task, size or analysis.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Tell who builds on whom, from the perceptron of 1958 to double attention in 2018.

    With a network's name: what it stands on, back to the beginning, and what stands on it.
    """
    from convatlas.facts.lineage import BRANCHES, lineage

    if branch is not None and branch not in BRANCHES:
        raise UsageError(f"--branch is {branch!r}; expected {', '.join(BRANCHES)}")
    whole = lineage()
    if name is None:
        parts = {"The lineage": whole.edges}
    else:
        key = find_work(whole, name)
        named = label(whole, key, naming.resolve(name, facts.network_names(), {}) if name != key else None)
        parts = {
            f"What {named} stands on": whole.ancestors(key),
            f"What stands on {named}": whole.descendants(key),
        }
    parts = {title: [edge for edge in edges if branch in (None, edge.branch)] for title, edges in parts.items()}
    if json:
        works = {work.key: asdict(work) for work in whole.works}
        print_json({"papers": works, **{title: [asdict(edge) for edge in edges] for title, edges in parts.items()}})
        return
    out = console()
    for title, edges in parts.items():
        print_edges(out, whole, title, edges)
    if name is None and branch is None:
        out.print("; ".join(f"{key}: {meaning}" for key, meaning in BRANCHES.items()), style="dim")


def find_work(whole: "Lineage", name: str) -> str:
    """The key of a paper, from itself or from one of its networks.

    Raises:
        UsageError: neither.
    """
    if any(work.key == name for work in whole.works):
        return name
    names = facts.network_names()
    network = facts.network(naming.resolve(name, names, {}))
    listed = whole.of_network(network.name) if network else None
    if listed is not None:
        return listed.key
    if network is not None and any(work.key == network.paper for work in whole.works):
        return network.paper
    raise UsageError(f"{name!r} is not in the lineage; `convatlas lineage` shows who is")


def label(whole: "Lineage", key: str, network: str | None = None) -> str:
    """ "resnet18 (2015)": a network of the paper, the first of them if none is given, or the key of one without."""
    work = whole.work(key)
    return f"{network or (work.networks[0] if work.networks else work.key)} ({work.year})"


def print_edges(out: "Console", whole: "Lineage", title: str, edges: "list[Edge]") -> None:
    out.print(f"{title}:" if edges else f"{title}: nothing here", markup=False, style="bold")
    rows = [(label(whole, edge.source), label(whole, edge.target), edge.branch, edge.sentence) for edge in edges]
    if rows:
        print_table(out, COLUMNS, rows)
    out.print()
