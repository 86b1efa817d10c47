"""Seeing inside a network, on its own images: panels of figure, caption and numbers, and the page that holds them."""

from convatlas.report.seeing.explaining import MANY, Question, Seen, choose_methods, look
from convatlas.report.seeing.network_panels import NETWORK_METHODS
from convatlas.report.seeing.page import as_json, write
from convatlas.report.seeing.panel import Options, Panel, Pool, Subject
from convatlas.report.seeing.panels import METHODS, check_layer, see, subjects, subjects_of
from convatlas.report.seeing.parts import read as read_parts
from convatlas.report.seeing.pools import open_pool

__all__ = [
    "MANY",
    "METHODS",
    "NETWORK_METHODS",
    "Options",
    "Panel",
    "Pool",
    "Question",
    "Seen",
    "Subject",
    "as_json",
    "check_layer",
    "choose_methods",
    "look",
    "open_pool",
    "read_parts",
    "see",
    "subjects",
    "subjects_of",
    "write",
]
