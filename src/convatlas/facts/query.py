"""Looking things up in the ledger: networks, papers and the surveys' statements by name or by topic."""

import re
from dataclasses import dataclass

from convatlas.facts.loader import network, paper, texts
from convatlas.facts.schema import NetworkFacts, Paper
from convatlas.facts.statements import Statement, Survey, surveys

_NETWORK = re.compile(r"^\[networks\.([^\].]+)\]$", re.MULTILINE)


@dataclass(frozen=True)
class Findings:
    """All that the ledger holds under a name or a topic."""

    topic: str
    networks: tuple[NetworkFacts, ...]
    papers: tuple[Paper, ...]  # of the networks, or of that title or key
    statements: tuple[tuple[Survey, Statement], ...]

    def __bool__(self) -> bool:
        return bool(self.networks or self.papers or self.statements)


def network_names() -> tuple[str, ...]:
    """All networks of the ledger, without parsing it."""
    return tuple(sorted(name for text in texts().values() for name in _NETWORK.findall(text)))


def topics() -> tuple[str, ...]:
    """What statements are about besides networks: "pooling", "invariance", "dates" ..."""
    names = set(network_names())
    about = {topic for survey in surveys() for statement in survey.statements for topic in statement.about}
    return tuple(sorted(about - names))


def lookup(name: str) -> Findings:
    """What is known of one network: its entry, its paper and the statements about it.

    >>> lookup("lenet5").papers[0].key
    'lecun1998'

    Raises:
        KeyError: the ledger has no such network.
    """
    entry = network(name)
    if entry is None:
        raise KeyError(name)
    return Findings(name, (entry,), (paper(entry.paper),), statements_about(name))


def search(topic: str) -> Findings:
    """What is known of a topic: a family such as "resnet", a paper's key, a word such as "pooling".

    Networks and papers are found by their names and titles, statements by what they are about.
    """
    wanted = _plain(topic)
    keys = [key for key, text in texts().items() if wanted in _plain(key + text.split("\n", 1)[0])]
    names = [name for name in network_names() if wanted in _plain(name)]
    entries = tuple(entry for name in names if (entry := network(name)) is not None)
    related = dict.fromkeys([*(entry.paper for entry in entries), *keys])
    return Findings(topic, entries, tuple(map(paper, related)), statements_about(topic))


def statements_about(topic: str) -> tuple[tuple[Survey, Statement], ...]:
    """The surveys' statements that name a network or a topic, or a network of a family."""
    wanted = _plain(topic)
    exact = topic in network_names()
    return tuple(
        (survey, statement)
        for survey in surveys()
        for statement in survey.statements
        if any(topic == about if exact else wanted in _plain(about) for about in statement.about)
    )


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.casefold())
