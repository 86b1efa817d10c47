"""What the registry knows of a network without building it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]  # without the batch axis: (C, H, W), or (C,) for a vector
Task = Literal["classification", "detection", "segmentation", "pose"]


@dataclass(frozen=True)
class Traits:
    """What a network is and needs that its task does not say. Declared where the network is registered."""

    window_px: int | None = None  # side of the square windows that it looks at one by one; None: whole images
    searches_regions: bool = False  # selective search, seconds an image, proposes regions where none are given
    wants_masks: bool = False  # a detector that learns from a mask of each object
    draws_randomly: bool = False  # leaves parts out at random in training, beside dropout: those get no gradient


@dataclass(frozen=True)
class NetworkCard:
    """What the registry knows of a network without building it."""

    name: str
    task: Task
    paper: str  # key of the ledger's file, facts/papers/<paper>.toml
    input_shape: Shape  # (C, H, W) as published
    num_classes: int
    summary: str  # first line of the builder's docstring
    aliases: tuple[str, ...]
    builder: Callable[..., nn.Module]
    traits: Traits = Traits()
