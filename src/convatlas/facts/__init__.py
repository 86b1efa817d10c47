"""The ledger: what the papers state, in `papers/<key>.toml`. Stands alone: no torch, nothing else of the package."""

from convatlas.facts.loader import expand, network, paper, papers, parse_paper
from convatlas.facts.quantity import parse_quantity
from convatlas.facts.schema import QUANTITIES, Claim, LayerFacts, LedgerError, NetworkFacts, Paper, Result, Totals

__all__ = [
    "QUANTITIES",
    "Claim",
    "LayerFacts",
    "LedgerError",
    "NetworkFacts",
    "Paper",
    "Result",
    "Totals",
    "expand",
    "network",
    "paper",
    "papers",
    "parse_paper",
    "parse_quantity",
]
