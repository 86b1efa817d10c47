"""Drawings of whole networks as SVG, as their papers' figures would have them."""

from convatlas.visualise.drawing.draw import draw_network, drawing_of

__all__ = ["draw_network", "drawing_of"]
