"""The ledger: what the papers state, in `papers/<key>.toml`. Stands alone: no torch, nothing else of the package."""

from convatlas.facts.citations import bibtex, citation_key
from convatlas.facts.loader import expand, network, paper, papers, parse_paper
from convatlas.facts.quantity import parse_quantity
from convatlas.facts.query import Findings, lookup, network_names, search, topics
from convatlas.facts.questions import Question, Topic, find_questions, topics_of_questions
from convatlas.facts.rows import KINDS, Fact, FactKind, fact_rows
from convatlas.facts.schema import (
    CONFIDENCE_WORDS,
    QUANTITIES,
    Claim,
    LayerFacts,
    LedgerError,
    NetworkFacts,
    Paper,
    Result,
    Totals,
)
from convatlas.facts.statements import JUDGEMENTS, Statement, Survey, surveys

__all__ = [
    "CONFIDENCE_WORDS",
    "JUDGEMENTS",
    "KINDS",
    "QUANTITIES",
    "Claim",
    "Fact",
    "FactKind",
    "Findings",
    "LayerFacts",
    "LedgerError",
    "NetworkFacts",
    "Paper",
    "Question",
    "Result",
    "Statement",
    "Survey",
    "Topic",
    "Totals",
    "bibtex",
    "citation_key",
    "expand",
    "fact_rows",
    "find_questions",
    "lookup",
    "network",
    "network_names",
    "paper",
    "papers",
    "parse_paper",
    "parse_quantity",
    "search",
    "surveys",
    "topics",
    "topics_of_questions",
]
