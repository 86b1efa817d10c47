"""One registry: name -> builder and card. Families register themselves when their module is imported."""

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from convatlas import naming
from convatlas.errors import UsageError
from convatlas.records import NetworkCard, Shape

if TYPE_CHECKING:
    from torch import nn

Builder = TypeVar("Builder", bound=Callable[..., Any])

_cards: dict[str, NetworkCard] = {}
_aliases: dict[str, str] = {}


def register(
    *,
    paper: str,
    input_shape: Shape,
    task: Any = "classification",
    num_classes: int = 1000,
    aliases: tuple[str, ...] = (),
    name: str | None = None,
) -> Callable[[Builder], Builder]:
    """Registers a builder under its own name, or under `name` where the name is no identifier.

    The builder is keyword-only, and annotated with the class it makes: `(*, num_classes: int, in_channels: int) ->
    AlexNet`. From then on a network of that class says which input sizes it takes when one does not fit.

    Raises:
        ValueError: the name or an alias is taken.
    """

    def add(builder: Builder) -> Builder:
        from convatlas.sizes import names_sizes  # loads torch, as the families do

        key = name or builder.__name__
        taken = {key, *aliases} & (_cards.keys() | _aliases.keys())
        if taken:
            raise ValueError(f"network names registered twice: {sorted(taken)}")
        summary = (builder.__doc__ or "").strip().split("\n")[0]
        made = inspect.signature(builder).return_annotation
        masks = getattr(made, "wants_masks", False)
        _cards[key] = NetworkCard(key, task, paper, input_shape, num_classes, summary, aliases, builder, masks)
        _aliases.update(dict.fromkeys(aliases, key))
        names_sizes(made, input_shape)
        return builder

    return add


@functools.cache
def _import_families() -> None:
    package = importlib.import_module("convatlas.architectures")
    for module in pkgutil.walk_packages(package.__path__, "convatlas.architectures."):
        importlib.import_module(module.name)


def names(task: str | None = None) -> list[str]:
    """All registered names, or those for one task, sorted, without aliases."""
    _import_families()
    return sorted(name for name, card in _cards.items() if task in (None, card.task))


def card(name: str) -> NetworkCard:
    """The card of a network, by its name or an alias, in any spelling: "ResNet-50" is `resnet50`.

    Raises:
        UsageError: no such network, or several; the message suggests the nearest names.
    """
    _import_families()
    return _cards[naming.resolve(name, _cards, _aliases)]


def build(
    name: str, *, num_classes: int | None = None, in_channels: int | None = None, dims: int | None = None
) -> "nn.Module":
    """A network as published, with the paper's initialisation and without trained weights.

    Args:
        name: a registered name or an alias.
        num_classes: None takes the published number.
        in_channels: None takes the published number.
        dims: spatial axes of the input: 1 for signals, 2 for pictures (None means 2), 3 for volumes.

    Raises:
        UsageError: unknown name, a number of classes or channels below 1, or `dims` that this network does not have.
    """
    network = card(name)
    classes = network.num_classes if num_classes is None else num_classes
    channels = network.input_shape[0] if in_channels is None else in_channels
    for argument, value in (("num_classes", classes), ("in_channels", channels)):
        if value < 1:
            raise UsageError(f"{argument} is {value}; expected at least 1")
    if dims in (None, 2):
        return network.builder(num_classes=classes, in_channels=channels)
    if dims not in (1, 3) or "dims" not in inspect.signature(network.builder).parameters:
        allowed = "1, 2 or 3" if "dims" in inspect.signature(network.builder).parameters else "2"
        raise UsageError(f"dims is {dims}; {network.name} has {allowed}")
    return network.builder(num_classes=classes, in_channels=channels, dims=dims)
