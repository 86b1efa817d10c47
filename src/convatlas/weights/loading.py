"""From a weights file to a network that computes with it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convatlas import registry
from convatlas.blocks.inception import AuxiliaryHead
from convatlas.structures import ConvatlasError, MakesRoom, UsageError
from convatlas.weights.files import read_file, read_file_card
from convatlas.weights.hubs import read_hub
from convatlas.weights.layouts import translate_contents
from convatlas.weights.settings import apply_settings

_LISTED = 12


@dataclass(frozen=True)
class Read:
    """A weights file, read and translated as far as it is known."""

    source: str | Path
    format: str
    tensors: dict[str, Tensor]  # under our names where `card` is there, else under the file's
    card: dict[str, Any] | None


def open_file(path: str | Path, network: str | None = None) -> Read:
    """Reads a weights file of any known format, safely, and translates it if its layout is known.

    Args:
        path: the file, whose ending tells the format; or weights of a hub, "torchvision:NAME" or "timm:NAME".
        network: what the weights are for, where the file alone does not tell; also takes layouts that fit in part.

    Raises:
        UsageError: there is no such file, its name has an unknown ending, or `network` is unknown.
        ConvatlasError: it can't be read: cut off, damaged, no weights, or it would execute code.
    """
    contents = read_hub(str(path)) or read_file(path)
    if contents.card is not None:
        return Read(path, contents.format, contents.tensors, dict(contents.card))
    tensors, card = translate_contents(contents, path, network) or (contents.tensors, None)
    return Read(path, contents.format, tensors, card)


def read(path: str | Path, network: str | None = None) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """The tensors of a weights file under our names, on the CPU, and its card.

    A file in a layout that we know (`convatlas.weights.layouts`) is translated and gets the layout's card. Any other
    file comes as it is, with card None where it brings none. Arguments and errors are those of `open_file`.
    """
    opened = open_file(path, network)
    return opened.tensors, opened.card


def read_card(path: str | Path, network: str | None = None) -> dict[str, Any] | None:
    """The card of a weights file, as `read` gives it; raises the same."""
    path = Path(path)
    if path.suffix == ".safetensors" and path.is_file() and (card := read_file_card(path)) is not None:
        return card
    return read(path, network)[1]


def load_into(net: nn.Module, weights: str | Path | Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Copies weights into a network, completely or not at all, and returns the card of the file.

    The card's settings are made. Counters of batch normalisation (`num_batches_tracked`) may be absent, since old files
    lack them, and so may whole auxiliary heads, which many releases leave out: these stay as initialised.

    Raises:
        ConvatlasError: the tensors do not fit (the message says which), or as `read`.
    """
    tensors, card = (weights, None) if isinstance(weights, Mapping) else read(weights)
    _check_fit(net, tensors, source="the weights" if isinstance(weights, Mapping) else f"weights {weights}")
    net.load_state_dict(dict(tensors), strict=False)
    apply_settings(net, card)
    return card


def create(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    dims: int | None = None,
    weights: str | Path | None = None,
) -> nn.Module:
    """A network by its registered name: as published, with the paper's initialisation or with weights from a file.

    Numbers of classes and channels that are not given are those of the file's card, else the paper's. `dims` = 1 or 3
    gives the family's network for signals (B, C, L) or volumes (B, C, D, H, W), where it has one.

    Raises:
        UsageError: unknown name, a number below 1, no such file, or a file whose card names another network.
        ConvatlasError: the file can't be read, or does not fit.
    """
    if weights is None:
        return registry.build(name, num_classes=num_classes, in_channels=in_channels, dims=dims)
    return build(open_file(weights, name), name, num_classes=num_classes, in_channels=in_channels, dims=dims)


def build(
    opened: Read,
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    dims: int | None = None,
) -> nn.Module:
    """A network with the weights of a file that is open; the other arguments and the errors are those of `create`."""
    card, tensors, source = opened.card, opened.tensors, f"weights {opened.source}"
    network = registry.card(name).name
    if card is not None:
        if registry.card(card["network"]).name != network:
            raise UsageError(f"{source} are of {card['network']}; expected weights of {network}")
        num_classes = card["num_classes"] if num_classes is None else num_classes
        in_channels = card["in_channels"] if in_channels is None else in_channels
    with torch.device("meta"):  # a card is not to be trusted with the size of an allocation
        _check_fit(
            registry.build(network, num_classes=num_classes, in_channels=in_channels, dims=dims),
            tensors,
            source,
        )
    net = registry.build(network, num_classes=num_classes, in_channels=in_channels, dims=dims)
    load_into(net, tensors)
    apply_settings(net, card)
    return net


def absent_heads(net: nn.Module, names: Iterable[str]) -> tuple[str, ...]:
    """The beginnings, such as "aux1.", of the entries of auxiliary heads of which none is among the names."""
    heads = [f"{path}." for path, module in net.named_modules() if isinstance(module, AuxiliaryHead)]
    known = list(names)
    return tuple(head for head in heads if not any(name.startswith(head) for name in known))


def _check_fit(net: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Raises ConvatlasError with the tensors that are missing, left over or misshapen, if there are any."""
    if isinstance(net, MakesRoom):
        net.make_room(tensors)
    expected = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    absent = absent_heads(net, found)
    spared = (name for name in expected if name.endswith(".num_batches_tracked") or name.startswith(absent))
    excused = {*found, *spared}
    missing = [name for name in expected if name not in excused]
    left_over = [name for name in found if name not in expected]
    misshapen = [name for name in expected if name in found and found[name] != expected[name]]
    if not (missing or left_over or misshapen):
        return
    lines = [f"{source} do not fit {type(net).__name__}:"]
    lines += _listed("missing", (f"{name} {expected[name]}" for name in missing), len(missing))
    lines += _listed("left over", (f"{name} {found[name]}" for name in left_over), len(left_over))
    shapes = (f"{name} is {found[name]}, expected {expected[name]}" for name in misshapen)
    lines += _listed("misshapen", shapes, len(misshapen))
    raise ConvatlasError("\n".join(lines))


def _listed(what: str, entries: Iterable[str], count: int) -> list[str]:
    if count == 0:
        return []
    shown = [f"    {entry}" for entry, _ in zip(entries, range(_LISTED), strict=False)]
    rest = [f"    and {count - _LISTED} more"] if count > _LISTED else []
    return [f"  {count} {what}:", *shown, *rest]
