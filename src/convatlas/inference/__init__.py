"""Using a trained network: opening it, predicting, evaluating again, exporting it."""

from convatlas.inference.boxes import detect, evaluate_boxes
from convatlas.inference.classes import of_classes, with_classes
from convatlas.inference.evaluate import evaluate_source
from convatlas.inference.exporting import FORMATS, Exported, export
from convatlas.inference.image_paths import find_images
from convatlas.inference.images import Images
from convatlas.inference.maps import segment, survey_masks
from convatlas.inference.opening import open_source, resolve_device
from convatlas.inference.poses import evaluate_poses, find_poses
from convatlas.inference.predict import classify, predict, select_engine
from convatlas.inference.quantise import Quantised, quantise
from convatlas.inference.source import Source
from convatlas.inference.tasks import TASKS, score
from convatlas.inference.trained import TrainedNetwork
from convatlas.inference.video import read_frames

__all__ = [
    "FORMATS",
    "TASKS",
    "Exported",
    "Images",
    "Quantised",
    "Source",
    "TrainedNetwork",
    "classify",
    "detect",
    "evaluate_boxes",
    "evaluate_poses",
    "evaluate_source",
    "export",
    "find_images",
    "find_poses",
    "of_classes",
    "open_source",
    "predict",
    "quantise",
    "read_frames",
    "resolve_device",
    "score",
    "segment",
    "select_engine",
    "survey_masks",
    "with_classes",
]
