"""Using a trained network: opening it, predicting, evaluating again, exporting it."""

from convatlas.inference.classes import with_classes
from convatlas.inference.evaluate import evaluate_source
from convatlas.inference.exporting import FORMATS, Exported, export
from convatlas.inference.pictures import find_pictures
from convatlas.inference.predict import classify, predict, select_engine
from convatlas.inference.quantise import Quantised, quantise
from convatlas.inference.source import Source, open_source, resolve_device
from convatlas.inference.video import read_frames

__all__ = [
    "FORMATS",
    "Exported",
    "Quantised",
    "Source",
    "classify",
    "evaluate_source",
    "export",
    "find_pictures",
    "open_source",
    "predict",
    "quantise",
    "read_frames",
    "resolve_device",
    "select_engine",
    "with_classes",
]
