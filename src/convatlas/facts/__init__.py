"""The ledger: what the papers state, in `papers/<key>.toml`. Stands alone: no torch, nothing else of the package."""

from convatlas.facts.citations import bibtex, citation_key
from convatlas.facts.loader import expand, network, paper, papers, parse_paper
from convatlas.facts.quantity import parse_quantity
from convatlas.facts.query import Findings, lookup, network_names, search, topics
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
    "QUANTITIES",
    "Claim",
    "Findings",
    "LayerFacts",
    "LedgerError",
    "NetworkFacts",
    "Paper",
    "Result",
    "Statement",
    "Survey",
    "Totals",
    "bibtex",
    "citation_key",
    "expand",
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
]
