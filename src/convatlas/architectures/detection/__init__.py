"""Detectors, one family a file."""
