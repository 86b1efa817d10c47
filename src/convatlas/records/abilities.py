"""What some networks and layers can do beyond a forward pass, as protocols that `isinstance` checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from convatlas.records.cards import Shape
from convatlas.records.predictions import Detections, Objects

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class CountsItself(Protocol):
    """A layer whose connections do not follow from its weight's shape (sparse tables, sub-sampling, distances)."""

    def count(self, output_shape: Shape) -> tuple[int, int]:
        """(connections, multiply-adds) of one forward pass of one sample."""
        ...


@runtime_checkable
class LearnsByItself(Protocol):
    """A network with a learning rule of its own, without gradient: the loop shows it batches and nothing else."""

    def learn(self, images: Tensor, labels: Tensor | list[Objects]) -> None:
        """(B, C, H, W), (B,) or the objects of each image: one batch of a pass, in its order."""
        ...

    def end_pass(self, epoch: int) -> None:
        """After the last batch of a pass; epochs count from 0."""
        ...


@runtime_checkable
class RemembersPass(Protocol):
    """A network that gathers something over a pass outside its buffers, so that a run can stop and go on within one."""

    def pass_state(self) -> dict[str, Tensor]: ...

    def load_pass_state(self, state: dict[str, Tensor]) -> None: ...


@runtime_checkable
class MakesRoom(Protocol):
    """A network some of whose parts are there only if its weights have them."""

    def make_room(self, tensors: Mapping[str, Tensor]) -> None:
        """Has the parts that the weights have, in their shapes; the values come later."""
        ...


@runtime_checkable
class StartsFromOthers(Protocol):
    """A network that takes trained layers of others: a classifier as its encoder, a stage that came before it."""

    own_layers: tuple[str, ...]  # beginnings of names that no other brings, besides those that follow the classes

    def start_from(self, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Copies the tensors that it can use, by their names; which of its own they became. UsageError if none."""
        ...


@runtime_checkable
class Detects(Protocol):
    """A detector."""

    def detect(self, images: Tensor) -> list[Detections]:
        """(B, C, H, W) -> B detections, each in its image's pixels."""
        ...


@runtime_checkable
class HasLosses(Protocol):
    """A network with losses of its own, which need more than the outputs of its forward pass."""

    def losses(self, images: Tensor, targets: list[Objects] | Tensor) -> dict[str, Tensor]:
        """(B, C, H, W) and the objects of each image, or masks -> the losses by name, weighed as the paper does."""
        ...


@runtime_checkable
class ExportedProgram(Protocol):
    """A network that was read from an exported file: it takes images of one size, and has no layers to look at."""

    onnx_model: bytes
    quantised: bool
