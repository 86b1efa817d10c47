"""Values that cross packages: small, frozen, with units in their names. Nothing here imports torch at run time."""

from convatlas.records.abilities import (
    CountsItself,
    Detects,
    ExportedProgram,
    HasLosses,
    LearnsByItself,
    MakesRoom,
    RemembersPass,
    StartsFromOthers,
)
from convatlas.records.cards import NetworkCard, Shape, Task, Traits
from convatlas.records.evaluation import (
    AP_PROTOCOLS,
    SCORES,
    AnyEvaluation,
    DetectionEvaluation,
    Evaluation,
    PoseEvaluation,
    PrecisionRecall,
    PublishedResult,
    SegmentationEvaluation,
    protocol_words,
    score_name,
)
from convatlas.records.images import Preprocessing, Problem
from convatlas.records.layers import Along, LayerRecord, Reads
from convatlas.records.predictions import VOID, AuxiliaryOutputs, Detections, Objects, Prediction

__all__ = [
    "AP_PROTOCOLS",
    "SCORES",
    "VOID",
    "Along",
    "AnyEvaluation",
    "AuxiliaryOutputs",
    "CountsItself",
    "DetectionEvaluation",
    "Detections",
    "Detects",
    "Evaluation",
    "ExportedProgram",
    "HasLosses",
    "LayerRecord",
    "LearnsByItself",
    "MakesRoom",
    "NetworkCard",
    "Objects",
    "PoseEvaluation",
    "PrecisionRecall",
    "Prediction",
    "Preprocessing",
    "Problem",
    "PublishedResult",
    "Reads",
    "RemembersPass",
    "SegmentationEvaluation",
    "Shape",
    "StartsFromOthers",
    "Task",
    "Traits",
    "protocol_words",
    "score_name",
]
