"""A person cut out of an image, turned and scaled, and the heat maps of the joints."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from convatlas.data.colour import ColourJitter, PCANoise, PhotometricDistortion
from convatlas.data.crops import HorizontalFlip
from convatlas.data.pose.heatmaps import draw_heatmaps
from convatlas.data.pose.people import Person, mirrored
from convatlas.data.preprocess import convert_channels
from convatlas.errors import UsageError
from convatlas.records import Preprocessing

STRIDE = 4  # pixels of the input for one of a heat map
_COARSE = 1.5  # input pixels of an image for one of the network's, from which on it is reduced first


@dataclass(frozen=True)
class TurnAndScale:
    """Newell et al. 2016, section 4.1: a rotation of at most 30 degrees either way, a scale of 0.75 to 1.25."""

    degrees: float = 30.0
    scales: tuple[float, float] = (0.75, 1.25)


@dataclass(frozen=True)
class RandomTurnAndScale:
    """A person turned and scaled by normal deviates, cut off at twice their deviation; most stay upright.

    The scale is 2 to the power of a deviate. Source: `generateSample` in src/util/pose.lua of pose-hg-train.

    Args:
        degrees: deviation of the angle.
        scale: deviation of the exponent.
        upright: probability that the angle is 0.
    """

    degrees: float = 30.0
    scale: float = 0.25
    upright: float = 0.6

    def draw(self, generator: torch.Generator) -> tuple[float, float]:
        """(degrees, the factor by which the cut-out square grows)"""
        scale, turn = torch.randn(2, generator=generator, dtype=torch.float64).clamp(-2, 2).tolist()
        upright = torch.rand((), generator=generator, dtype=torch.float64).item() <= self.upright
        return 0.0 if upright else turn * self.degrees, 2 ** (scale * self.scale)


@dataclass(frozen=True)
class ChannelGain:
    """Multiplies each channel by a factor of its own, drawn evenly, and cuts off what bytes can't hold.

    Source: src/util/pose.lua of pose-hg-train.
    """

    low: float = 0.6
    high: float = 1.4

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """uint8 (C, H, W) -> uint8 (C, H, W)"""
        draws = torch.rand(len(image), generator=generator, dtype=torch.float64)
        gains = (self.low + draws * (self.high - self.low)).float()
        return (image * gains[:, None, None]).round().clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class View:
    """Where an input of a network lies in an image: a square, turned."""

    centre: tuple[float, float]
    side_px: float
    degrees: float
    size_px: int  # of the input, on each side

    def to_input(self, points: Tensor) -> Tensor:
        """(..., 2) in the image's pixels -> in the input's"""
        return (points - torch.tensor(self.centre)) @ self._turn().T * (self.size_px / self.side_px) + self.size_px / 2

    def to_image(self, points: Tensor) -> Tensor:
        """(..., 2) in the input's pixels -> in the image's"""
        return (points - self.size_px / 2) * (self.side_px / self.size_px) @ self._turn() + torch.tensor(self.centre)

    def cut(self, image: Tensor) -> Tensor:
        """uint8 (C, H, W) -> uint8 (C, size, size); black beyond the image"""
        view, source_image = self, image[None].float()
        if (ratio := self.side_px / self.size_px) > _COARSE:
            height, width = (max(1, round(side / ratio)) for side in image.shape[1:])
            source_image = F.interpolate(source_image, (height, width), mode="bilinear", antialias=True)
            shrunk = (self.centre[0] * width / image.shape[2], self.centre[1] * height / image.shape[1])
            view = View(shrunk, self.side_px * width / image.shape[2], self.degrees, self.size_px)
        places = torch.arange(self.size_px) + 0.5
        grid = torch.stack(torch.meshgrid(places, places, indexing="xy"), dim=2)  # (size, size, 2): x, y
        extent = torch.tensor([source_image.shape[3], source_image.shape[2]])
        normalised = 2 * view.to_image(grid) / extent - 1
        found = F.grid_sample(source_image, normalised[None], mode="bilinear", align_corners=False)[0]
        return found.round().clamp(0, 255).to(torch.uint8)

    def _turn(self) -> Tensor:
        angle = math.radians(self.degrees)
        return torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


PersonAugmentation = (
    TurnAndScale | RandomTurnAndScale | HorizontalFlip | ChannelGain | PCANoise | ColourJitter | PhotometricDistortion
)


@dataclass(frozen=True)
class PersonTransform:
    """(image, person) as read -> uint8 (C, size, size) and heat maps (J, size / 4, size / 4).

    Args:
        preprocessing: its `size` is the network's square input.
        names: of the joints; those on the left and on the right change places in a mirror.
        steps: augmentations: `TurnAndScale` or `RandomTurnAndScale`, `HorizontalFlip`, and changes of colour.
    """

    preprocessing: Preprocessing
    names: tuple[str, ...]
    steps: tuple[PersonAugmentation, ...] = ()

    def __call__(self, image: Tensor, person: Person, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Without a generator nothing is augmented."""
        steps = self.steps if generator is not None else ()
        view = self.view(person)
        for step in steps:
            if isinstance(step, TurnAndScale):
                turn, scale = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
                low, high = step.scales
                side = view.side_px / (low + (high - low) * scale)
                view = View(view.centre, side, (2 * turn - 1) * step.degrees, view.size_px)
            elif isinstance(step, RandomTurnAndScale) and generator is not None:
                degrees, growth = step.draw(generator)
                view = View(view.centre, view.side_px * growth, degrees, view.size_px)
        source_image = view.cut(convert_channels(image, self.preprocessing.channels))
        joints, marked = view.to_input(person.joints), person.marked
        for step in steps:
            if isinstance(step, HorizontalFlip):
                if torch.rand((), generator=generator, dtype=torch.float64).item() < step.probability:
                    source_image, order = source_image.flip(2), list(mirrored(self.names))
                    joints = torch.stack((view.size_px - joints[:, 0], joints[:, 1]), dim=1)[order]
                    marked = marked[order]
            elif isinstance(step, PCANoise | ColourJitter | PhotometricDistortion):
                draws = torch.rand(1, step.draws, generator=generator, dtype=torch.float64)
                source_image = step(source_image[None], draws)[0].round().clamp(0, 255).to(torch.uint8)
            elif isinstance(step, ChannelGain) and generator is not None:
                source_image = step(source_image, generator)
            elif not isinstance(step, TurnAndScale | RandomTurnAndScale):
                raise UsageError(
                    f"augment: {type(step).__name__} knows no joints; expected TurnAndScale, RandomTurnAndScale, "
                    "HorizontalFlip or colours"
                )
        side = view.size_px // STRIDE
        return source_image, draw_heatmaps(joints[None], marked[None], (side, side), stride=STRIDE)[0]

    def view(self, person: Person) -> View:
        """The square around a person."""
        return View(person.centre, person.side_px, 0.0, self.preprocessing.size[0])
