"""The state of a run in one file: never half-written, checked when it is read, and the one before it kept.

A file is .safetensors, so that reading executes nothing. What is no tensor stands as JSON in its metadata, with a
checksum over both; the name holds the step, `step-000001200.safetensors`.
"""

import json
import zlib
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from convatlas.errors import ConvatlasError
from convatlas.io import write_file
from convatlas.records import Problem

FORMAT = 1
KEPT = 2  # the newest, and the one before it
DAMAGED = ".damaged"  # what a damaged file's name ends in when it is set aside


class DamagedError(ConvatlasError):
    """A checkpoint is cut off, or its bytes are not those that were written."""


def save(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Writes a state aside, syncs it and renames it; only then are older ones removed, all but the one before it.

    Raises:
        ConvatlasError: it can't be written; what was there before is untouched.
    """
    path = folder / f"step-{step:09d}.safetensors"
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_packed(state, tensors))
    metadata = {"format": str(FORMAT), "state": text, "checksum": str(_checksum(text, tensors))}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_file(path, safetensors.torch.save(tensors, metadata))
    except OSError as error:
        before = newest_name(folder)
        kept = f"the last good checkpoint is {before}" if before else "there is no checkpoint before it"
        raise ConvatlasError(f"the checkpoint {path} can't be written: {error.strerror or error}; {kept}") from error
    older = [old for old in files(folder) if old.name < path.name]
    for old in older[: -(KEPT - 1)]:
        old.unlink(missing_ok=True)
    return path


def load_newest(folder: Path) -> tuple[dict[str, Any] | None, list[Problem]]:
    """The newest state that is whole, and the newer files that are damaged; None where no file is whole.

    The damaged ones get another name, so that what follows finds the good one; without a good one all stay.

    Raises:
        ConvatlasError: a file can't be read or has another format. The folder stays as it is.
    """
    damaged: list[tuple[Path, str]] = []
    for path in reversed(files(folder)):
        try:
            state = load(path)
        except DamagedError as error:
            damaged.append((path, str(error)))
            continue
        except ConvatlasError as error:
            raise ConvatlasError(f"the checkpoint {path} can't be used: {error}; nothing was changed") from error
        return state, [Problem(str(path), f"{why}; now {set_aside(path).name}") for path, why in damaged]
    return None, [Problem(str(path), why) for path, why in damaged]


def set_aside(path: Path) -> Path:
    """Renames a damaged file to a name that is free and is no checkpoint's; gives the new path."""
    aside = path.with_name(path.name + DAMAGED)
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}{DAMAGED}{number}")
    return path.rename(aside)


def load(path: Path) -> dict[str, Any]:
    """The state in a file.

    Raises:
        DamagedError: the file is cut off or damaged.
        ConvatlasError: it can't be read, or is of another version.
    """
    try:
        with path.open("rb") as file:  # what the system refuses is no damage
            file.read(1)
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        tensors = safetensors.torch.load_file(path)
    except OSError as error:
        raise ConvatlasError(f"it can't be read ({error.strerror or error})") from error
    except (safetensors.SafetensorError, KeyError) as error:
        raise DamagedError(f"it is cut off or damaged ({error})") from error
    if "format" not in metadata or "state" not in metadata:
        raise DamagedError("it is damaged (its metadata are gone)")
    if metadata["format"] != str(FORMAT):
        raise ConvatlasError(f"it has format {metadata['format']}; this version of convatlas reads {FORMAT}")
    if metadata.get("checksum") != str(_checksum(metadata["state"], tensors)):
        raise DamagedError("its checksum is wrong")
    return _unpacked(json.loads(metadata["state"]), tensors)


def files(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first."""
    return sorted(folder.glob("step-*.safetensors"))


def newest_name(folder: Path) -> Path | None:
    return next(reversed(files(folder)), None)


def _checksum(text: str, tensors: dict[str, Tensor]) -> int:
    found = zlib.crc32(text.encode())
    for name in sorted(tensors):
        values: Any = tensors[name].contiguous().view(-1).view(torch.uint8).numpy()
        found = zlib.crc32(values, found)
    return found


def _packed(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The value as JSON; each tensor in it goes to `tensors` and leaves its key. Keys that are numbers survive."""
    if isinstance(value, Tensor):
        key = f"t{len(tensors)}"
        tensors[key] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor": key}
    if isinstance(value, dict):
        return {"dict": [[key, _packed(entry, tensors)] for key, entry in value.items()]}
    if isinstance(value, list | tuple):
        return {"list" if isinstance(value, list) else "tuple": [_packed(entry, tensors) for entry in value]}
    return value


def _unpacked(value: Any, tensors: dict[str, Tensor]) -> Any:
    match value:
        case {"tensor": key}:
            return tensors[key]
        case {"dict": entries}:
            return {key: _unpacked(entry, tensors) for key, entry in entries}
        case {"list": entries}:
            return [_unpacked(entry, tensors) for entry in entries]
        case {"tuple": entries}:
            return tuple(_unpacked(entry, tensors) for entry in entries)
    return value
