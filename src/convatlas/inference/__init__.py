"""Using a trained network: opening a run folder or released weights, predicting, evaluating again."""

from convatlas.inference.classes import with_classes
from convatlas.inference.evaluate import evaluate_source
from convatlas.inference.pictures import find_pictures
from convatlas.inference.predict import classify, predict, select_engine
from convatlas.inference.source import Source, open_source, resolve_device
from convatlas.inference.video import read_frames

__all__ = [
    "Source",
    "classify",
    "evaluate_source",
    "find_pictures",
    "open_source",
    "predict",
    "read_frames",
    "resolve_device",
    "select_engine",
    "with_classes",
]
