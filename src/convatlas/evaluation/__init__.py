"""Metrics and evaluation procedures."""

from convatlas.evaluation.classifier import evaluate
from convatlas.evaluation.dense import to_fully_convolutional
from convatlas.evaluation.functional import PerClass, confusion_matrix, per_class, top_k_error, wilson_interval
from convatlas.evaluation.protocols import Crops144, Dense, GridCrops, OneCrop, TenCrops, TestTime, TwelveCrops
from convatlas.evaluation.segmentation import ConfusionMeter, centre_crop
from convatlas.evaluation.test_time import average, evaluate_views

__all__ = [
    "ConfusionMeter",
    "Crops144",
    "Dense",
    "GridCrops",
    "OneCrop",
    "PerClass",
    "TenCrops",
    "TestTime",
    "TwelveCrops",
    "average",
    "centre_crop",
    "confusion_matrix",
    "evaluate",
    "evaluate_views",
    "per_class",
    "to_fully_convolutional",
    "top_k_error",
    "wilson_interval",
]
