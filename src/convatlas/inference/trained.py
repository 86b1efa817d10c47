"""A trained network with all that it needs to look at an image, as a plain record."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from convatlas import registry
from convatlas.records import NetworkCard, Preprocessing, Task
from convatlas.training.recipe import Recipe


@dataclass(frozen=True)
class TrainedNetwork:
    """A network in evaluation mode, the names of its outputs, and how it wants its images."""

    net: nn.Module
    name: str  # the registered name
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    run: Path | None  # the run folder, where it came from one
    recipe: Recipe | None = None  # of the run folder
    named_classes: bool = True  # False: the weights carry no names, and `classes` are "0", "1", ...
    aliases: Mapping[str, int] | None = None  # what data may call the classes, where that is more than their names
    colours: tuple[tuple[int, int, int], ...] | None = None  # of the classes in masks, where the weights know any
    notes: tuple[str, ...] = ()  # how the weights were found in their file, in words

    @property
    def card(self) -> NetworkCard:
        """The card of the registered network."""
        return registry.card(self.name)

    @property
    def task(self) -> Task:
        """The task of the registered network."""
        return self.card.task

    @property
    def whole(self) -> Preprocessing:
        """How a whole image becomes the input of a forward pass: one window, of a network that looks at windows."""
        side = self.card.traits.window_px
        if side is None:
            return self.preprocessing
        return replace(self.preprocessing, size=(side, side), resize="stretch", resize_to=side)
