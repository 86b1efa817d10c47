"""Metrics and evaluation procedures."""

from convatlas.evaluation.classifier import evaluate
from convatlas.evaluation.functional import PerClass, confusion_matrix, per_class, top_k_error, wilson_interval

__all__ = ["PerClass", "confusion_matrix", "evaluate", "per_class", "top_k_error", "wilson_interval"]
