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

from convatlas.io import write_file
from convatlas.structures import ConvatlasError, Problem

FORMAT = 1
KEPT = 2  # the newest, and the one before it


def save(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Writes a state aside, syncs it and renames it, then removes all but the newest two.

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
    for old in files(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def load_newest(folder: Path) -> tuple[dict[str, Any] | None, list[Problem]]:
    """The newest state that is whole, and the files that are not; None where there is none.

    Damaged files are removed, so that the ones that follow leave the good one in peace.
    """
    problems = []
    for path in reversed(files(folder)):
        try:
            state = load(path)
        except ConvatlasError as error:
            problems.append(Problem(str(path), str(error)))
            path.unlink(missing_ok=True)
            continue
        return state, problems
    return None, problems


def load(path: Path) -> dict[str, Any]:
    """The state in a file.

    Raises:
        ConvatlasError: the file is cut off, damaged, or of another version.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        tensors = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, KeyError) as error:
        raise ConvatlasError(f"it is cut off or damaged ({error})") from error
    if metadata.get("format") != str(FORMAT):
        raise ConvatlasError(f"it has format {metadata.get('format')}; this version of convatlas reads {FORMAT}")
    if metadata.get("checksum") != str(_checksum(metadata["state"], tensors)):
        raise ConvatlasError("its checksum is wrong")
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
