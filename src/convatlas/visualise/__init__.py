"""Seeing inside: pure functions that return arrays, and beside each the figure that shows them."""
