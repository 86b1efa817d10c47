"""Hugging Face's parquet files: a column with the bytes of each picture, and one with its label."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convatlas.data.encoded import PackedSplit
from convatlas.data.labels import indexed
from convatlas.structures import ConvatlasError, UsageError

_PICTURES = ("image", "img", "picture", "jpg", "png")
_LABELS = ("label", "labels", "fine_label", "class", "target", "category")


def read_parquet(files: Sequence[Path]) -> tuple[PackedSplit, tuple[str, ...]]:
    """The pictures of one part, all their bytes in memory, and the class names.

    The picture column is a struct with `bytes` or plain bytes, under the name image or img, or the only one of its
    kind. The label column holds numbers, with names from the file's own description where it has one, or names.

    Raises:
        UsageError: pyarrow is not installed.
        ConvatlasError: a damaged file, or no such columns; the message names those that are there.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UsageError("parquet files need pyarrow; expected `pip install 'convatlas[data]'`") from error

    blocks: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    values: list[Any] = []
    names: list[str] | None = None
    for file in files:
        try:
            schema = pq.read_schema(file)
            picture, label = _columns(pa, schema, file)
            names = _class_names(schema, label)
            table = pq.read_table(file, columns=[picture, label])
        except (pa.ArrowException, OSError) as error:
            raise ConvatlasError(f"{file} is not a whole parquet file: {str(error).splitlines()[0]}") from error
        for chunk in table.column(picture).chunks:
            blob = (chunk.field("bytes") if pa.types.is_struct(chunk.type) else chunk).cast(pa.large_binary())
            offsets = np.frombuffer(blob.buffers()[1], np.int64)[blob.offset : blob.offset + len(blob) + 1]
            content = blob.buffers()[2]
            blocks.append(np.frombuffer(content or b"", np.uint8)[offsets[0] : offsets[-1]])
            lengths.append(np.diff(offsets))
        values += table.column(label).to_pylist()
    if not values:
        raise ConvatlasError(f"{files[0]} holds no pictures; expected at least one")
    labels, classes = _labels(values, names, files[0])
    ends = np.cumsum(np.concatenate(lengths))
    bounds = np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1)
    source = str(files[0]) if len(files) == 1 else str(files[0].parent)
    return PackedSplit(np.concatenate(blocks), bounds, labels, source), classes


def _columns(pa: Any, schema: Any, file: Path) -> tuple[str, str]:
    """(picture, label)"""

    def holds_pictures(field: Any) -> bool:
        if pa.types.is_struct(field.type):
            return field.type.get_field_index("bytes") >= 0
        return pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)

    pictures = [field.name for field in schema if holds_pictures(field)]
    picture = next((name for name in _PICTURES if name in pictures), pictures[0] if len(pictures) == 1 else None)
    label = next((name for name in _LABELS if name in schema.names), None)
    if picture is None or label is None:
        missing = "picture column" if picture is None else "label column"
        raise ConvatlasError(
            f"{file} has no {missing} among {', '.join(schema.names)}; expected a struct with `bytes`, named image or "
            f"img, and one of {', '.join(_LABELS)}"
        )
    return picture, label


def _class_names(schema: Any, label: str) -> list[str] | None:
    """From the description that Hugging Face's `datasets` leaves in the file, where it is there."""
    try:
        feature = json.loads(schema.metadata[b"huggingface"])["info"]["features"][label]
    except (KeyError, TypeError, ValueError):
        return None
    names = feature.get("names") if isinstance(feature, dict) else None
    return [str(name) for name in names] if isinstance(names, list) else None


def _labels(values: list[Any], names: list[str] | None, file: Path) -> tuple[Tensor, tuple[str, ...]]:
    strange = next((i for i, v in enumerate(values) if isinstance(v, bool) or not isinstance(v, (int, str))), None)
    if strange is not None:
        raise ConvatlasError(f"label {values[strange]!r} of picture {strange} in {file}: expected a number or a name")
    if names is None or isinstance(values[0], str):
        return indexed(values)
    wrong = next((i for i, value in enumerate(values) if not 0 <= value < len(names)), None)
    if wrong is not None:
        raise ConvatlasError(
            f"label {values[wrong]} of picture {wrong} in {file} is out of range; expected 0 to {len(names) - 1}"
        )
    return torch.tensor(values, dtype=torch.int64), tuple(names)
