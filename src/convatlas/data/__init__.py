"""Data sets, preprocessing, augmentation and loaders."""

from convatlas.data.augment import (
    AffineDistortion,
    Augmentation,
    HorizontalFlip,
    PadCrop,
    RandomCrop,
    RandomResizedCrop,
)
from convatlas.data.decode import decode
from convatlas.data.defaults import default_preprocessing
from convatlas.data.elastic import ElasticDistortion
from convatlas.data.loader import Batch, Loader
from convatlas.data.preprocess import normalise, prepare
from convatlas.data.sources import load
from convatlas.data.splits import ArraySplit, DataSet, FileSplit, PackedSplit, Split

__all__ = [
    "AffineDistortion",
    "ArraySplit",
    "Augmentation",
    "Batch",
    "DataSet",
    "ElasticDistortion",
    "FileSplit",
    "HorizontalFlip",
    "Loader",
    "PackedSplit",
    "PadCrop",
    "RandomCrop",
    "RandomResizedCrop",
    "Split",
    "decode",
    "default_preprocessing",
    "load",
    "normalise",
    "prepare",
]
