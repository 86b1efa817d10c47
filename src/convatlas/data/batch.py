"""A batch, whatever its images come with."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

from convatlas.records import Objects

Labels = Tensor | list[Objects]
"""(B,) int64 classes, (B, h, w) int64 masks or (B, J, h, w) float32 heat maps; or the objects of each image."""

LabelsT = TypeVar("LabelsT", bound=Labels)
LabelsT_co = TypeVar("LabelsT_co", bound=Labels, covariant=True)


@dataclass(frozen=True, slots=True)
class Batch(Generic[LabelsT_co]):
    """B samples, ready for the network."""

    images: Tensor  # (B, C, H, W) float32, on the loader's device
    labels: LabelsT_co  # on the loader's device
    indices: Tensor  # (B,) int64 into the split, on the CPU
    total: int  # samples of the whole batch, of which this is one process's share
