"""Data sets, preprocessing, augmentation and loaders."""

from convatlas.data.augment import (
    AffineDistortion,
    Augmentation,
    ColourJitter,
    ElasticDistortion,
    HorizontalFlip,
    PadCrop,
    PCANoise,
    PhotometricDistortion,
    RandomCrop,
    RandomResizedCrop,
    RandomSizedCrop,
    ScaleJitter,
)
from convatlas.data.batch import Batch
from convatlas.data.classification.assembly import LabelAssembly
from convatlas.data.data_set import DataSet
from convatlas.data.decode import decode
from convatlas.data.defaults import measured
from convatlas.data.division import Division, read_division
from convatlas.data.encoded import EncodedSplit, FileSplit, PackedSplit, ShardSplit
from convatlas.data.loader import Loader
from convatlas.data.preprocess import normalise, prepare
from convatlas.data.sources import Source, find_refusal, lasting, open_source, parts
from convatlas.data.splits import ArraySplit, Split
from convatlas.data.tasks import TASKS, default_preprocessing, load

__all__ = [
    "TASKS",
    "AffineDistortion",
    "ArraySplit",
    "Augmentation",
    "Batch",
    "ColourJitter",
    "DataSet",
    "Division",
    "ElasticDistortion",
    "EncodedSplit",
    "FileSplit",
    "HorizontalFlip",
    "LabelAssembly",
    "Loader",
    "PCANoise",
    "PackedSplit",
    "PadCrop",
    "PhotometricDistortion",
    "RandomCrop",
    "RandomResizedCrop",
    "RandomSizedCrop",
    "ScaleJitter",
    "ShardSplit",
    "Source",
    "Split",
    "decode",
    "default_preprocessing",
    "find_refusal",
    "lasting",
    "load",
    "measured",
    "normalise",
    "open_source",
    "parts",
    "prepare",
    "read_division",
]
