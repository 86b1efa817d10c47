"""Weights files: reading executes nothing that a file brings, writing leaves nothing half-written."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor, nn

from convatlas.data.limits import check_regular, parse_json
from convatlas.errors import ConvatlasError, UsageError
from convatlas.io import write_file
from convatlas.weights.cards import check_card
from convatlas.weights.checkpoints import unwrap
from convatlas.weights.formats import READERS, Contents, read_foreign
from convatlas.weights.numbers import plain_numbers
from convatlas.weights.pickles import read_pickled

_PICKLED = (".pth", ".pt", ".th", ".tar", ".ckpt", ".bin", ".pkl", ".pickle")
_KEY = "convatlas"  # of the metadata


def read_file(path: str | Path, *, take: str | None = None) -> Contents:
    """What a weights file holds under the names that it has there, on the CPU.

    What `torch.save` wrote (`.pth`, `.pt`, `.th`, `.tar`, `.ckpt`, `.bin`, `.pkl`) is unpickled with
    `weights_only=True`; of a checkpoint only one network's state dict is taken, and the names that wrappers gave are
    taken off. `notes` say what was done. Other endings are those of `convatlas.weights.formats`.

    Args:
        take: of several networks in a checkpoint "averaged" or "raw", or an entry; None: averaged where there are both.

    Raises:
        UsageError: there is no such file, its name has another ending, or it has no `take`.
        ConvatlasError: it can't be read: cut off, damaged, no weights, or it would execute code.
    """
    path = Path(path)
    check_file(path)
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        tensors, card = _read_safetensors(path)
        if card is not None:
            return Contents("safetensors", plain_numbers(tensors, path)[0], card=card)
        return _unwrapped("safetensors", tensors, path, take)
    if suffix in _PICKLED:
        return _read_pickled(path, take)
    if suffix in READERS:
        contents = read_foreign(path)
        if take is not None:
            raise UsageError(f"take is {take!r}; weights {path} ({contents.format}) hold one network")
        return contents if contents.card is None else replace(contents, card=check_card(contents.card, path))
    known = ", ".join((".safetensors", *_PICKLED, *READERS))
    raise UsageError(f"weights {path}: unknown ending; expected one of {known}")


def check_file(path: Path) -> None:
    """Raises UsageError unless there is a regular file."""
    try:
        kind = "is a folder" if path.is_dir() else "no such file" if not path.exists() else ""
        if not kind:
            check_regular(path)
            return
    except ConvatlasError:
        kind = "is a device, pipe or socket"
    except ValueError:  # a NUL byte in the name
        kind = "no such file"
    except OSError as error:
        kind = error.strerror or str(error)
    raise UsageError(f"weights {str(path)!r}: {kind}; expected a weights file" if not str(path).isprintable()
                     else f"weights {path}: {kind}; expected a weights file")  # fmt: skip


def read_file_card(path: Path) -> dict[str, object] | None:
    """The card in the metadata of a .safetensors file, without reading its tensors. Raises as `read_file`."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata()
    except (safetensors.SafetensorError, OSError, ValueError, TypeError) as error:
        raise ConvatlasError(f"weights {path} can't be read: {error}; cut off, or no safetensors file") from error
    return _card(metadata, path)


def save(path: str | Path, weights: nn.Module | Mapping[str, Tensor], card: Mapping[str, object]) -> None:
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


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, object] | None]:
    card = read_file_card(path)
    try:
        return safetensors.torch.load_file(path), card
    except (safetensors.SafetensorError, OSError, KeyError, ValueError, RuntimeError, AttributeError) as error:
        # KeyError: a type of number torch lacks
        raise ConvatlasError(f"weights {path} can't be read: {error}") from error


def _card(metadata: Mapping[str, str] | None, path: Path) -> dict[str, object] | None:
    text = (metadata or {}).get(_KEY)
    if text is None:
        return None
    return check_card(parse_json(text, f"the card of {path}"), path)


def _read_pickled(path: Path, take: str | None) -> Contents:
    """Of these endings the contents tell more than the name."""
    with path.open("rb") as file:
        head = file.read(16)
    if head[:8] == b"\x89HDF\r\n\x1a\n":
        return read_foreign(path, ".h5")
    if head[8:10] in (b'{"', b"{ ", b"{}") and int.from_bytes(head[:8], "little") < path.stat().st_size:
        tensors, card = _read_safetensors(path)
        return replace(_unwrapped("safetensors", tensors, path, take), card=card)
    content, inert = read_pickled(path)
    contents = _unwrapped("PyTorch", content, path, take)
    if not inert:
        return contents
    named = f"{', '.join(inert[:3])}{' and others' if len(inert) > 3 else ''}"
    return replace(
        contents, notes=(*contents.notes, f"its Python objects ({named}) were not made; nothing was executed")
    )


def _unwrapped(format_name: str, content: object, path: Path, take: str | None) -> Contents:
    tensors, notes = unwrap(content, path, take)
    tensors, said = plain_numbers(tensors, path)
    return Contents(format_name, tensors, notes=(*notes, *said))
