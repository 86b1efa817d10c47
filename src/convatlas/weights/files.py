"""Weights files: reading executes nothing that a file brings, writing leaves nothing half-written."""

import io
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from convatlas.io import write_file
from convatlas.structures import ConvatlasError, UsageError
from convatlas.weights.cards import check_card
from convatlas.weights.formats import READERS, Contents, read_foreign

_PICKLED = (".pth", ".pt", ".th", ".tar")
_KEY = "convatlas"  # of the metadata


def read_file(path: str | Path) -> Contents:
    """What a weights file holds under the names that it has there, on the CPU.

    `.pth`, `.pt`, `.th` and `.tar` are unpickled with `weights_only=True`; of a checkpoint only the state dict is
    taken, and a prefix "module." is taken off. Other endings are those of `convatlas.weights.formats`.

    Raises:
        UsageError: there is no such file, or its name has another ending.
        ConvatlasError: it can't be read: cut off, damaged, no weights, or it would execute code.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(
            f"weights {path}: {'is a folder' if path.is_dir() else 'no such file'}; expected a weights file"
        )
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        tensors, card = _read_safetensors(path)
        return Contents("safetensors", tensors, card=card)
    if suffix in _PICKLED:
        return Contents("PyTorch", _state_dict(_unpickle(path), path))
    if suffix in READERS:
        contents = read_foreign(path)
        return contents if contents.card is None else replace(contents, card=check_card(contents.card, path))
    known = ", ".join((".safetensors", *_PICKLED, *READERS))
    raise UsageError(f"weights {path}: unknown ending; expected one of {known}")


def read_file_card(path: Path) -> dict[str, Any] | None:
    """The card in the metadata of a .safetensors file, without reading its tensors. Raises as `read_file`."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            return _card(file.metadata(), path)
    except (safetensors.SafetensorError, OSError) as error:
        raise ConvatlasError(f"weights {path} can't be read: {error}; cut off, or no safetensors file") from error


def save(path: str | Path, weights: nn.Module | Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Writes a network's state dict and its card (`make_card`) as .safetensors, completely or not at all.

    Raises:
        UsageError: the path does not end in .safetensors.
        ConvatlasError: the card is none, or the file can't be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise UsageError(f"weights path {path}; expected a name that ends in .safetensors")
    metadata = {_KEY: json.dumps(check_card(dict(card), path), ensure_ascii=False)}
    tensors = weights.state_dict() if isinstance(weights, nn.Module) else weights
    write(path, safetensors.torch.save({name: _own_memory(tensor) for name, tensor in tensors.items()}, metadata))


def write(path: Path, data: bytes) -> None:
    """Writes a weights file, completely or not at all.

    Raises:
        ConvatlasError: it can't be written.
    """
    try:
        write_file(path, data)
    except OSError as error:
        raise ConvatlasError(f"weights can't be written to {path}: {error.strerror or error}") from error


def _own_memory(tensor: Tensor) -> Tensor:
    """On the CPU, and no part of a larger storage, as the format wants it."""
    tensor = tensor.detach().cpu().contiguous()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    card = read_file_card(path)
    try:
        return safetensors.torch.load_file(path), card
    except (safetensors.SafetensorError, OSError, KeyError) as error:  # KeyError: a type of number torch lacks
        raise ConvatlasError(f"weights {path} can't be read: {error}") from error


def _card(metadata: Mapping[str, str] | None, path: Path) -> dict[str, Any] | None:
    text = (metadata or {}).get(_KEY)
    if text is None:
        return None
    try:
        return check_card(json.loads(text), path)
    except (ValueError, RecursionError) as error:
        raise ConvatlasError(f"the card of {path} is no JSON: {error}") from error


def _unpickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():  # on old pickle protocols, which load all the same
            warnings.simplefilter("ignore")
            return torch.load(_openable(path), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes raise whatever they happen to run into
        if refused := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise ConvatlasError(
                f"weights {path} hold Python objects ({refused[1]}), expected only tensors; nothing of it was executed"
            ) from error
        raise ConvatlasError(
            f"weights {path} can't be read: cut off, damaged, or no file of tensors that loads without executing code"
        ) from error


def _openable(path: Path) -> Path | io.BytesIO:
    """The path of an archive; of older pickles the bytes, of which no more can be asked for than there are."""
    with path.open("rb") as file:
        head = file.read(2)
    return path if head == b"PK" else io.BytesIO(path.read_bytes())


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        for key in ("state_dict", "model"):
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
    items = content.items() if isinstance(content, Mapping) else ()
    tensors = {name: value for name, value in items if isinstance(name, str) and isinstance(value, Tensor)}
    if not tensors:
        raise ConvatlasError(f"weights {path} hold no named tensors; expected a state dict")
    if all(name.startswith("module.") for name in tensors):  # left by DataParallel
        return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors
