"""Who builds on whom, from the perceptron to double attention: each edge with its sentence."""

import functools
import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from convatlas.facts.loader import paper, texts
from convatlas.facts.schema import LedgerError

Branch = Literal["structure", "depth", "task", "size", "analysis"]
BRANCHES: dict[Branch, str] = {
    "structure": "what a layer or a module is",
    "depth": "how deep networks became trainable",
    "task": "from classes to boxes, masks and joints",
    "size": "fewer parameters or operations",
    "analysis": "what networks do, looked at",
}


@dataclass(frozen=True)
class Work:
    """A paper of the lineage with its networks."""

    key: str
    title: str
    year: int  # of the preprint, where that decides who came first
    networks: tuple[str, ...]


@dataclass(frozen=True)
class Edge:
    """A later paper that builds on an earlier one."""

    source: str  # key of the earlier one
    target: str
    branch: Branch
    sentence: str


@dataclass(frozen=True)
class Lineage:
    works: tuple[Work, ...]  # the earliest first
    edges: tuple[Edge, ...]

    def work(self, key: str) -> Work:
        return next(work for work in self.works if work.key == key)

    def of_network(self, network: str) -> Work | None:
        """The paper that a network is listed under."""
        return next((work for work in self.works if network in work.networks), None)

    def ancestors(self, key: str) -> tuple[Edge, ...]:
        """The edges that lead to a paper, through all its forerunners, the earliest first."""
        return self._reach(key, backwards=True)

    def descendants(self, key: str) -> tuple[Edge, ...]:
        """The edges that start from a paper, through all that followed, the earliest first."""
        return self._reach(key, backwards=False)

    def _reach(self, key: str, *, backwards: bool) -> tuple[Edge, ...]:
        reached, edges, queue = {key}, set(), [key]
        while queue:
            at = queue.pop()
            for edge in self.edges:
                near, far = (edge.target, edge.source) if backwards else (edge.source, edge.target)
                if near == at:
                    edges.add(edge)
                    if far not in reached:
                        reached.add(far)
                        queue.append(far)
        years = {work.key: work.year for work in self.works}
        return tuple(sorted(edges, key=lambda edge: (years[edge.target], edge.target, years[edge.source], edge.source)))


@functools.cache
def lineage() -> Lineage:
    """The lineage of the atlas.

    >>> [edge.source for edge in lineage().edges if edge.target == "lecun1998"]
    ['lecun1989']

    Raises:
        LedgerError: an edge of an unknown paper or branch, or one that leads back in time.
    """
    table = tomllib.loads((resources.files("convatlas.facts") / "lineage.toml").read_text(encoding="utf-8"))
    works = tuple(sorted(map(_work, table["papers"]), key=lambda work: (work.year, work.key)))
    years = {work.key: work.year for work in works}
    edges = tuple(Edge(row["from"], row["to"], row["branch"], row["sentence"]) for row in table["edges"])
    for edge in edges:
        where = f"facts/lineage.toml: {edge.source} to {edge.target}"
        if not {edge.source, edge.target} <= years.keys():
            raise LedgerError(f"{where}: a paper that is not listed; expected one of {', '.join(years)}")
        if edge.branch not in BRANCHES:
            raise LedgerError(f"{where}: branch is {edge.branch!r}; expected one of {', '.join(BRANCHES)}")
        if years[edge.source] > years[edge.target]:
            raise LedgerError(f"{where}: it leads back in time; expected the earlier paper first")
    return Lineage(works, edges)


def _work(row: dict[str, object]) -> Work:
    key, networks = str(row["key"]), row["networks"]
    assert isinstance(networks, list)
    if key in texts():
        entry = paper(key)
        return Work(key, entry.title, int(str(row.get("year", entry.year))), tuple(map(str, networks)))
    return Work(key, str(row["title"]), int(str(row["year"])), tuple(map(str, networks)))
