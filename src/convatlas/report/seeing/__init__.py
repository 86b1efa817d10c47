"""Seeing inside a network, on its own pictures: panels of figure, caption and numbers, and the page that holds them."""

from convatlas.report.seeing.page import as_json, write
from convatlas.report.seeing.panels import METHODS, NETWORK_METHODS, Options, Panel, Subject, see, subjects

__all__ = ["METHODS", "NETWORK_METHODS", "Options", "Panel", "Subject", "as_json", "see", "subjects", "write"]
