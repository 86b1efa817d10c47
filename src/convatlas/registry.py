"""One registry: name -> builder and card. Families register themselves when their module is imported."""

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from convatlas import naming
from convatlas.errors import UsageError
from convatlas.records import NetworkCard, Shape, Task, Traits

if TYPE_CHECKING:
    from torch import nn

    from convatlas.network import Network

Builder = TypeVar("Builder", bound=Callable[..., Any])

_cards: dict[str, NetworkCard] = {}
_aliases: dict[str, str] = {}

_OUTPUTS: dict[Task, str] = {
    "classification": "logits (B, K)",
    "segmentation": "logits (B, K, h, w)",
    "detection": "logits",
    "pose": "heat maps (B, J, h, w)",
}
_LOSSES: dict[Task, str] = {
    "classification": "cross-entropy",
    "segmentation": "cross-entropy of the pixels, void left out",
    "detection": "losses of its own",
    "pose": "squared error of the heat maps",
}


def register(
    *,
    paper: str,
    input_shape: Shape,
    task: Task = "classification",
    num_classes: int = 1000,
    aliases: tuple[str, ...] = (),
    name: str | None = None,
    traits: Traits = Traits(),  # noqa: B008 - frozen
) -> Callable[[Builder], Builder]:
    """Registers a builder under its own name, or under `name` where the name is no identifier.

    Args:
        paper: key of the ledger's file, facts/papers/<paper>.toml.
        input_shape: (C, H, W) as published.
        task: what the network is for.
        num_classes: as published; joints of a pose network, classes without background of a detector.
        aliases: other names that find it.
        name: None takes the builder's.
        traits: what it is and needs that its task does not say.

    The builder is keyword-only, and annotated with the class that it builds, a `convatlas.network.Network`:
    `(*, num_classes: int, in_channels: int) -> AlexNet`.

    Raises:
        ValueError: the name or an alias is taken.
    """

    def add(builder: Builder) -> Builder:
        key = name or builder.__name__
        taken = {key, *aliases} & (_cards.keys() | _aliases.keys())
        if taken:
            raise ValueError(f"network names registered twice: {sorted(taken)}")
        summary = (builder.__doc__ or "").strip().split("\n")[0]
        _cards[key] = NetworkCard(key, task, paper, input_shape, num_classes, summary, aliases, builder, traits)
        _aliases.update(dict.fromkeys(aliases, key))
        document_training(inspect.signature(builder).return_annotation, task)
        return builder

    return add


def document_training(network: "type[nn.Module]", task: Task) -> None:
    """Adds to a network's docstring what it returns in training and the loss that belongs to it.

    A class whose docstring has a paragraph "Training:" says it itself.
    """
    written = inspect.cleandoc(network.__doc__ or f"{network.__name__}.")
    if "Training:" in written:
        return
    if hasattr(network, "losses"):
        said = "`losses(images, targets)` returns named losses, which are summed and minimised"
    elif hasattr(network, "learn"):
        said = "`learn(images, labels)` follows a rule of its own, without loss and gradient"
    else:
        said = f"{_OUTPUTS[task]}, with {_LOSSES[task]}"
        if "AuxiliaryOutputs" in str(inspect.signature(network.forward).return_annotation):
            said = f"`AuxiliaryOutputs(logits, auxiliary)`: {said}, and each head's loss by the recipe's weight"
    network.__doc__ = f"{written}\n\nTraining: {said}.\n"


@functools.cache
def _import_families() -> None:
    package = importlib.import_module("convatlas.architectures")
    for module in pkgutil.walk_packages(package.__path__, "convatlas.architectures."):
        importlib.import_module(module.name)


def names(task: str | None = None) -> list[str]:
    """All registered names, or those for one task, sorted, without aliases.

    Raises:
        UsageError: an unknown task.
    """
    _import_families()
    tasks = {card.task for card in _cards.values()}
    if task is not None and task not in tasks:
        raise UsageError(f"task is {task!r}; expected {', '.join(sorted(tasks))}")
    return sorted(name for name, card in _cards.items() if task in (None, card.task))


def card(name: str) -> NetworkCard:
    """The card of a network, by its name or an alias, in any spelling: "ResNet-50" is `resnet50`.

    Raises:
        UsageError: no such network, or several; the message suggests the nearest names.
    """
    _import_families()
    return _cards[naming.resolve(name, _cards, _aliases)]


def build(
    network: str | NetworkCard,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    dims: int | None = None,
) -> "Network":
    """Builds a network as published, with the paper's initialisation and without trained weights.

    Args:
        network: its card, or a registered name or an alias.
        num_classes: None takes the published number.
        in_channels: None takes the published number.
        dims: spatial axes of the input: 1 for signals, 2 for images (None means 2), 3 for volumes.

    Raises:
        UsageError: unknown name, a number of classes or channels below 1, or `dims` that this network does not have.
    """
    from convatlas.network import Network  # loads torch

    if isinstance(network, str):
        network = card(network)
    classes = network.num_classes if num_classes is None else num_classes
    channels = network.input_shape[0] if in_channels is None else in_channels
    for argument, value in (("num_classes", classes), ("in_channels", channels)):
        if value < 1:
            raise UsageError(f"{argument} is {value}; expected at least 1")
    if dims in (None, 2):
        net = network.builder(num_classes=classes, in_channels=channels)
    elif dims in (1, 3) and "dims" in inspect.signature(network.builder).parameters:
        net = network.builder(num_classes=classes, in_channels=channels, dims=dims)
    else:
        allowed = "1, 2 or 3" if "dims" in inspect.signature(network.builder).parameters else "2"
        raise UsageError(f"dims is {dims}; {network.name} has {allowed}")
    if not isinstance(net, Network):
        raise TypeError(f"the builder of {network.name} returns a {type(net).__name__}; expected a Network")
    net.card = network
    return net
