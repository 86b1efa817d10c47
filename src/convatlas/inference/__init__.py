"""Using a trained network: opening a run folder or released weights, predicting, evaluating again."""

from convatlas.inference.evaluate import evaluate_source
from convatlas.inference.pictures import find_pictures
from convatlas.inference.predict import predict
from convatlas.inference.source import Source, open_source, resolve_device

__all__ = ["Source", "evaluate_source", "find_pictures", "open_source", "predict", "resolve_device"]
