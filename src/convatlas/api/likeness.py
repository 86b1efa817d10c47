"""`convatlas.why`: which published network a module is nearest to, and what differs."""

import os
from dataclasses import dataclass

from torch import nn

from convatlas.analysis.likeness import Sentence
from convatlas.api.arguments import suggest_arguments
from convatlas.api.rows import Cell, Rows
from convatlas.facts.departures import Departure
from convatlas.inference import why as likeness
from convatlas.records import Shape


@dataclass(frozen=True, repr=False)
class Likeness(Rows[Sentence]):
    """What a model has differently from the network that it was asked to be, else from the nearest one."""

    model: str
    network: str  # that it is compared with
    nearest: str
    distance: float  # from `network`: 0 for the same layers, 1 for none in common
    departures: tuple[Departure, ...]  # why its library has it so, where that is known

    @property
    def sentences(self) -> tuple[str, ...]:
        """The differences as sentences."""
        return tuple(sentence.text for sentence in self.items)

    def rows(self) -> list[dict[str, Cell]]:
        """A row for each difference."""
        return [
            {"topic": one.topic, "published": one.before, "here": one.after, "layers": len(one.layers)}
            for one in self.items
        ]

    def __str__(self) -> str:
        return "\n".join(self.sentences) or f"{self.model} has the layers of {self.network}."


@suggest_arguments
def why(
    model: str | os.PathLike[str] | nn.Module, *, network: str | None = None, input_shape: Shape | None = None
) -> Likeness:
    """Says which published network a model is nearest to, and what differs.

    Layers are laid side by side by what they compute and where they stand, whatever their names. Nothing is downloaded,
    and a weights file executes nothing.

    Args:
        model: a module; "torchvision:NAME", "timm:NAME", "file.py:NAME", "package.module:NAME"; an .onnx file, a
            weights file, a run folder, a registered name.
        network: what it is compared with; None: the network whose name it has, else the nearest one.
        input_shape: (C, H, W); None: its library's, else the nearest network's.

    Raises:
        UsageError: no such model or network, or an input that the model can't take.
        ConvatlasError: it can't be read or built.

    >>> import convatlas
    >>> answer = convatlas.why("torchvision:alexnet")
    >>> answer.nearest, answer.network
    ('alexnet_owt', 'alexnet')
    >>> [sentence for sentence in answer.sentences if "group" in sentence]
    ['conv2, conv4 and conv5 (features.3, features.8 and features.10) have 1 group instead of 2.']
    """
    answer = likeness.why(model, network=network, input_shape=input_shape)
    against = answer.asked or answer.nearest
    return Likeness(
        against.sentences,
        answer.model.title,
        against.network,
        answer.nearest.network,
        against.distance,
        against.departures,
    )
