"""Images with marked objects: readers, splits, loaders and what is written of detections."""

from convatlas.data.detection.annotations import Fault
from convatlas.data.detection.loader import DetectionBatch, DetectionLoader
from convatlas.data.detection.sources import open_detection, parts
from convatlas.data.detection.split import DetectionData, DetectionSplit

__all__ = [
    "DetectionBatch",
    "DetectionData",
    "DetectionLoader",
    "DetectionSplit",
    "Fault",
    "open_detection",
    "parts",
]
