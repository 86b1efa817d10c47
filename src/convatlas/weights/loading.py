"""From a weights file to a network that computes with it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convatlas import registry
from convatlas.blocks.inception import AuxiliaryHead
from convatlas.errors import ConvatlasError, UsageError
from convatlas.records import MakesRoom
from convatlas.weights.files import check_file, read_file, read_file_card
from convatlas.weights.formats import Contents
from convatlas.weights.formats.contents import MisfitError
from convatlas.weights.hubs import read_hub
from convatlas.weights.layouts import translate_contents
from convatlas.weights.layouts.layout import headless, skeleton
from convatlas.weights.numbers import check_finite
from convatlas.weights.settings import apply_settings

_LISTED = 12
_LONGEST = 120  # characters of a tensor's name in a message


@dataclass(frozen=True)
class Read:
    """A weights file, read and translated as far as it is known."""

    source: str | Path
    format: str
    tensors: dict[str, Tensor]  # under our names where `card` is there, else under the file's
    card: dict[str, Any] | None
    notes: tuple[str, ...] = ()  # what was done to find the tensors, in words


def open_file(path: str | Path, network: str | None = None, *, take: str | None = None) -> Read:
    """Reads a weights file of any known format, safely, and translates it if its layout is known.

    Args:
        path: the file, whose ending tells the format; or weights of a hub, "torchvision:NAME" or "timm:NAME".
        network: what the weights are for, where the file alone does not tell; also takes layouts that fit in part.
        take: of a checkpoint with averaged (EMA) and raw weights "averaged", which None takes too, or "raw"; or the
            name of the entry to take.

    Raises:
        UsageError: there is no such file, its name has an unknown ending, or `network` or `take` is unknown.
        ConvatlasError: it can't be read: cut off, damaged, no weights, or it would execute code.

    >>> open_file("swin.pth", take="raw").notes  # doctest: +SKIP
    ('taken from its entry model; averaged ones are in model_ema',)
    """
    contents = read_hub(str(path)) or read_file(path, take=take)
    if contents.card is not None:
        return Read(path, contents.format, contents.tensors, dict(contents.card), contents.notes)
    translated = translate_contents(contents, path, network)
    if translated is None and (inner := _without_first(contents, network)) is not None:
        contents, translated = inner, translate_contents(inner, path, network)
    tensors, card = translated or (contents.tensors, None)
    return Read(path, contents.format, tensors, card, contents.notes)


def _without_first(contents: Contents, network: str | None) -> Contents | None:
    """The contents without the first part of names that all of them have, if so they are a known layout or network."""
    first = next(iter(contents.tensors)).partition(".")[0]
    if contents.format not in ("PyTorch", "safetensors") or not all(
        n.startswith(f"{first}.") for n in contents.tensors
    ):
        return None
    tensors = {name[len(first) + 1 :]: tensor for name, tensor in contents.tensors.items()}
    ours = skeleton(registry.card(network).name).state_dict().keys() if network is not None else ()
    inner = replace(contents, tensors=tensors, notes=(*contents.notes, f"names without {first}."))
    known = translate_contents(inner, "the weights", network) is not None
    return inner if known or (ours and not tensors.keys() - ours) else None


def read(
    path: str | Path, network: str | None = None, *, take: str | None = None
) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """The tensors of a weights file under our names, on the CPU, and its card.

    A file in a layout that we know (`convatlas.weights.layouts`) is translated and gets the layout's card. Any other
    file comes as it is, with card None where it brings none. Arguments and errors are those of `open_file`.
    """
    opened = open_file(path, network, take=take)
    return opened.tensors, opened.card


def read_card(path: str | Path, network: str | None = None) -> dict[str, Any] | None:
    """The card of a weights file, as `read` gives it; raises the same."""
    path = Path(path)
    if path.suffix == ".safetensors":
        check_file(path)
    if path.suffix == ".safetensors" and (card := read_file_card(path)) is not None:
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
    source = "the weights" if isinstance(weights, Mapping) else f"weights {weights}"
    _check_fit(net, tensors, source)
    check_finite(tensors, source)
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
    check_finite(tensors, source)
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
        _check_types(net, tensors, source)
        return
    if not left_over and not misshapen and set(missing) == headless(net):
        raise MisfitError(
            f"{source} are those of {type(net).__name__} without its head: missing {', '.join(missing)}; a "
            "training for "
            "other classes can start from them"
        )
    shapes = (f"{name} is {found[name]}, expected {expected[name]}" for name in misshapen)
    parts = [
        *_listed("missing", (f"{name} {expected[name]}" for name in missing), len(missing)),
        *_listed("left over", (f"{name} {found[name]}" for name in left_over), len(left_over)),
        *_listed("misshapen", shapes, len(misshapen)),
    ]
    raise MisfitError(f"{source} do not fit {type(net).__name__}: {'; '.join(parts)}")


def _check_types(net: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Raises ConvatlasError where whole or complex numbers stand for weights: they need a scale, or lose a part."""
    wrong = [
        f"{_printable(name)} ({str(tensors[name].dtype).removeprefix('torch.')})"
        for name, value in net.state_dict().items()
        if name in tensors and value.is_floating_point() and not tensors[name].is_floating_point()
    ]
    if wrong:
        more = f" and {len(wrong) - _LISTED} more" if len(wrong) > _LISTED else ""
        raise ConvatlasError(
            f"{source} are not floating-point numbers in {', '.join(wrong[:_LISTED])}{more}; expected float32, "
            "float16, "
            "bfloat16 or float64, so restore quantised values first"
        )


def _listed(what: str, entries: Iterable[str], count: int) -> list[str]:
    """ "2 missing: fc.weight (10, 64), fc.bias (10,)"; nothing where there are none."""
    if count == 0:
        return []
    shown = [_printable(entry) for entry, _ in zip(entries, range(_LISTED), strict=False)]
    rest = f" and {count - _LISTED} more" if count > _LISTED else ""
    return [f"{count} {what}: {', '.join(shown)}{rest}"]


def _printable(name: str) -> str:
    """A name of a file without control characters, and no longer than a line."""
    text = name if name.isprintable() else name.encode("unicode_escape").decode("ascii")
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
