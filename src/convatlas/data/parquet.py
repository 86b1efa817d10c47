"""Hugging Face's parquet files: a column with the bytes of each image, and one with its label."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convatlas.data.encoded import PackedSplit
from convatlas.data.labels import indexed
from convatlas.data.limits import check_regular, check_unpacked, parse_json
from convatlas.errors import ConvatlasError, UsageError

_MIN_ROWS, _MAX_ROWS, _AT_ONCE = 4, 64, 1 << 26
_IMAGES = ("image", "img", "picture", "jpg", "png")
_LABELS = ("label", "labels", "fine_label", "class", "target", "category")


def read_parquet(files: Sequence[Path]) -> tuple[PackedSplit, tuple[str, ...]]:
    """The images of one part, all their bytes in memory, and the class names.

    The image column is a struct with `bytes` or plain bytes, under the name image or img, or the only one of its
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

    block = bytearray()
    lengths: list[np.ndarray] = []
    values: list[Any] = []
    names: list[str] | None = None
    packed = 0
    for file in files:
        packed += check_regular(file)
        try:
            with pq.ParquetFile(file, memory_map=True, pre_buffer=False) as opened:
                image, label = _columns(pa, opened.schema_arrow, file)
                names = _class_names(opened.schema_arrow, label)
                for batch in opened.iter_batches(
                    _rows(opened.metadata, file), columns=[image, label], use_threads=False
                ):
                    content, its_lengths = _bytes_of(pa, batch.column(image))
                    check_unpacked(len(block) + len(content), file, packed)
                    block += content
                    lengths.append(its_lengths)
                    values += batch.column(label).to_pylist()
        except ConvatlasError:
            raise
        except Exception as error:  # pyarrow raises its own, OSError, MemoryError, KeyError, UnicodeDecodeError ...
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ConvatlasError(f"{file} is not a whole parquet file: {reason[:200]}") from error
    if not values:
        raise ConvatlasError(f"{files[0]} holds no images; expected at least one")
    labels, classes = _labels(values, names, files[0])
    ends = np.cumsum(np.concatenate(lengths))
    bounds = np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1)
    source = str(files[0]) if len(files) == 1 else str(files[0].parent)
    return PackedSplit(np.frombuffer(block, np.uint8), bounds, labels, source), classes


def _rows(metadata: Any, file: Path) -> int:
    """How many rows are unfolded at once: a value may be as large as its column, and repeated at no cost."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    columns = [group.column(j) for group in groups for j in range(group.num_columns)]
    for column in columns:
        check_unpacked(column.total_uncompressed_size, file, column.total_compressed_size)
    largest = max((column.total_uncompressed_size for column in columns), default=1)
    return min(_MAX_ROWS, max(_MIN_ROWS, _AT_ONCE // max(largest, 1)))


def _bytes_of(pa: Any, column: Any) -> tuple[memoryview, np.ndarray]:
    """The bytes of a batch's images one after another, and the length of each."""
    blob = (column.field("bytes") if pa.types.is_struct(column.type) else column).cast(pa.large_binary())
    offsets = np.frombuffer(blob.buffers()[1], np.int64)[blob.offset : blob.offset + len(blob) + 1]
    content = blob.buffers()[2]
    return memoryview(content or b"")[offsets[0] : offsets[-1]], np.diff(offsets)


def _columns(pa: Any, schema: Any, file: Path) -> tuple[str, str]:
    """(image, label)"""

    def holds_images(field: Any) -> bool:
        if pa.types.is_struct(field.type):
            return field.type.get_field_index("bytes") >= 0
        return pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)

    images = [field.name for field in schema if holds_images(field)]
    image = next((name for name in _IMAGES if name in images), images[0] if len(images) == 1 else None)
    label = next((name for name in _LABELS if name in schema.names), None)
    if image is None or label is None:
        missing = "image column" if image is None else "label column"
        raise ConvatlasError(
            f"{file} has no {missing} among {', '.join(schema.names)}; expected a struct with `bytes`, named image or "
            f"img, and one of {', '.join(_LABELS)}"
        )
    return image, label


def _class_names(schema: Any, label: str) -> list[str] | None:
    """From the description that Hugging Face's `datasets` leaves in the file, where it is there."""
    try:
        text = schema.metadata[b"huggingface"].decode("utf-8")
        feature = parse_json(text, "its description")["info"]["features"][label]
    except (KeyError, TypeError, ValueError, ConvatlasError):
        return None
    names = feature.get("names") if isinstance(feature, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return list(names) if len(set(names)) == len(names) else None


def _labels(values: list[Any], names: list[str] | None, file: Path) -> tuple[Tensor, tuple[str, ...]]:
    strange = next((i for i, v in enumerate(values) if isinstance(v, bool) or not isinstance(v, (int, str))), None)
    if strange is not None:
        raise ConvatlasError(f"label {values[strange]!r} of image {strange} in {file}: expected a number or a name")
    if names is None or any(isinstance(value, str) for value in values):
        return indexed(values)
    wrong = next((i for i, value in enumerate(values) if not 0 <= value < len(names)), None)
    if wrong is not None:
        raise ConvatlasError(
            f"label {values[wrong]} of image {wrong} in {file} is out of range; expected 0 to {len(names) - 1}"
        )
    return torch.tensor(values, dtype=torch.int64), tuple(names)
