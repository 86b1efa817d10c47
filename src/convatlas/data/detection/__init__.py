"""Images with marked objects: readers, splits, loaders and what is written of detections."""

from convatlas.data.detection.annotations import Fault
from convatlas.data.detection.assembly import BoxAssembly
from convatlas.data.detection.sources import open_detection, parts
from convatlas.data.detection.split import DetectionData, DetectionSplit

__all__ = [
    "BoxAssembly",
    "DetectionData",
    "DetectionSplit",
    "Fault",
    "open_detection",
    "parts",
]
