"""Augmentations as functions of a batch and its random numbers; none draws any by itself.

Each is a frozen dataclass with `draws`, the uniform numbers in [0, 1) that it needs for each sample, and is called with
images (B, C, H, W), uint8 or float in 0..255, and u (B, draws), float64 on the CPU. A sample's result depends on its
own row only, so that a batch in memory and single images in worker processes give the same values.

`crop_size` is (h, w) where the result has its own size whatever the input's, else None. `native` is true where the
augmentation does its own resizing, and therefore sees the image before the preprocessing's.
"""

from convatlas.data.affine import AffineDistortion
from convatlas.data.colour import ColourJitter, PCANoise, PhotometricDistortion
from convatlas.data.crops import CornerCrop, HorizontalFlip, PadCrop, RandomCrop, RandomResizedCrop, ScaleJitter
from convatlas.data.cubic_crop import RandomSizedCrop
from convatlas.data.elastic import ElasticDistortion

__all__ = [
    "AffineDistortion",
    "Augmentation",
    "ColourJitter",
    "CornerCrop",
    "ElasticDistortion",
    "HorizontalFlip",
    "PCANoise",
    "PadCrop",
    "PhotometricDistortion",
    "RandomCrop",
    "RandomResizedCrop",
    "RandomSizedCrop",
    "ScaleJitter",
]

Augmentation = (
    PadCrop
    | HorizontalFlip
    | RandomCrop
    | CornerCrop
    | RandomResizedCrop
    | RandomSizedCrop
    | ScaleJitter
    | AffineDistortion
    | ElasticDistortion
    | PCANoise
    | ColourJitter
    | PhotometricDistortion
)
