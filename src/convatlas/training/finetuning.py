"""Transfer: trained weights start a network for other classes. Its new head learns first, then every layer, the first
ones slowest.

Yosinski, Clune, Bengio, Lipson, "How transferable are features in deep neural networks?", NIPS 2014: first layers
are general, last ones specific to their classes. Howard and Ruder, "Universal Language Model Fine-tuning for Text
Classification", ACL 2018, section 3.2: a learning rate for each layer, and the last layers first.
"""

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from convatlas import registry, weights
from convatlas.errors import UsageError
from convatlas.ops.transplant import transplant
from convatlas.records import StartsFromOthers
from convatlas.training.mechanisms import ParameterGroup, check_range
from convatlas.weights.layouts.layout import headless


@dataclass(frozen=True)
class FineTune:
    """Where the weights come from, and how much of them may change. Rates are fractions of the recipe's."""

    weights: str  # a file of any format that `create` reads
    head_epochs: int = 3  # passes in which only the head learns; 0: all learn from the start
    last_rate: float = 0.1  # of the last layer before the head
    first_rate: float = 0.01  # of the first layer; those between in equal ratios
    frozen_batchnorm: bool = True  # statistics stay those of the images that the weights were trained on
    anew: tuple[str, ...] = ()  # layers that stay as they are drawn

    def __post_init__(self) -> None:
        check_range("head_epochs", self.head_epochs, least=0)
        for field in ("last_rate", "first_rate"):
            if not 0 < getattr(self, field) <= 1:
                raise UsageError(f"{field} is {getattr(self, field)}; expected above 0, at most 1")


@functools.cache
def follows_classes(network: str) -> frozenset[str]:
    """The entries of the state dict whose shapes follow the number of classes: the head, and auxiliary heads' ends."""
    with torch.device("meta"):
        two, three = (registry.build(network, num_classes=k).state_dict() for k in (2, 3))
    return frozenset(name for name, tensor in two.items() if tensor.shape != three[name].shape)


@functools.cache
def head_of(network: str, fine_tune: FineTune | None = None) -> frozenset[str]:
    """What is new after a start: the entries that follow the classes, the `own_layers` of one that starts from others,
    and the whole head where the weights lack it."""
    with torch.device("meta"):
        net = registry.build(network)
    own = net.own_layers if isinstance(net, StartsFromOthers) else ()
    return (
        follows_classes(network)
        | {name for name in net.state_dict() if name.startswith(own)}
        | (_lacking_head(network, fine_tune.weights) if fine_tune else frozenset())
    )


@functools.cache
def _lacking_head(network: str, path: str) -> frozenset[str]:
    """The parameters of the head, if the weights of that network have none of them ("notop")."""
    if not Path(path).is_file():  # weights of a hub, which have their heads
        return frozenset()
    tensors, card = weights.read(path, network)
    if card is None or registry.card(card["network"]).name != network:
        return frozenset()
    with torch.device("meta"):
        head = headless(registry.build(network))
    return frozenset() if head & tensors.keys() else frozenset(head)


def start(net: nn.Module, network: str, classes: Sequence[str], fine_tune: FineTune) -> bool:
    """Copies trained weights into a network as built; whether its head is new, since it is for other classes.

    A segmenter, pose network or detector may also start from weights of another network: a classifier whose layers its
    encoder has, or the stage before it; and so may VGG's deeper nets, from net A. What it takes is its `start_from`'s
    to say, or all layers of the same names. The settings of that network's release (padding, pooling) are not taken
    over.

    Raises:
        UsageError: no such file, or weights of a network that this one can't start from.
        ConvatlasError: the file can't be read, or a layer before the head does not fit.
    """
    tensors, card = weights.read(fine_tune.weights, network)
    theirs = registry.card(card["network"]).name if card else network
    same_classes = card is not None and card["classes"] == list(classes)
    if theirs != network:
        if registry.card(network).task == "classification" and not isinstance(net, StartsFromOthers):
            raise UsageError(f"weights {fine_tune.weights} are of {theirs}; expected weights of {network}")
        taken = tensors if same_classes else {n: t for n, t in tensors.items() if n not in follows_classes(network)}
        try:
            _start_from_another(net, taken)
        except UsageError as error:
            raise UsageError(f"weights {fine_tune.weights} are of {theirs}, not {network}: {error}") from error
        return not same_classes
    if not same_classes:
        absent = weights.absent_heads(net, tensors)  # whole auxiliary heads, which stay as drawn
        fresh = {name: value for name, value in net.state_dict().items() if not name.startswith(absent)}
        new = follows_classes(network) | _lacking_head(network, fine_tune.weights)
        tensors = tensors | {name: fresh[name] for name in new & fresh.keys()}
    drawn = {name: value for name, value in net.state_dict().items() if name.rpartition(".")[0] in fine_tune.anew}
    tensors = tensors | {name: value.clone() for name, value in drawn.items()}
    weights.load_into(net, tensors)
    weights.apply_settings(net, card)
    return not same_classes


def _start_from_another(net: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    return net.start_from(tensors) if isinstance(net, StartsFromOthers) else transplant(net, tensors)


def rates(net: nn.Module, network: str, fine_tune: FineTune) -> tuple[ParameterGroup, ...]:
    """A group for each layer before the head, with its learning rate; what no group names is the head."""
    head = head_of(network, fine_tune)
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name, _ in net.named_parameters() if name not in head))
    step = (fine_tune.last_rate / fine_tune.first_rate) ** (1 / max(len(layers) - 1, 1))
    return tuple(
        ParameterGroup(match=f"{path}.*", lr_scale=fine_tune.first_rate * step**depth)
        for depth, path in enumerate(layers)
    )


def hold_back(net: nn.Module, network: str, fine_tune: FineTune, epoch: int, fixed: Collection[str] = ()) -> None:
    """After `net.train()`, before a pass (counted from 0): who learns in it, and whose statistics stay.

    `fixed` are the parameters that never learn: a bilinear enlargement, or a frozen group of the recipe.
    """
    head = head_of(network, fine_tune)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name not in fixed and (name in head or epoch >= fine_tune.head_epochs))
    for layer in net.modules():
        if isinstance(layer, _BatchNorm) and (fine_tune.frozen_batchnorm or epoch < fine_tune.head_epochs):
            layer.eval()
