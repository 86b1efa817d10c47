"""Bounds on what a file may unfold to, so that a small hostile or damaged one can't take the machine's memory.

There are two limits: pixels of one decoded image, and bytes that a compressed file unfolds to. Both are read from the
environment when they are needed, so they hold in every command and every data-loading worker.
"""

import codecs
import gzip
import json
import os
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from convatlas.errors import ConvatlasError, UsageError

PIXELS_VARIABLE, UNPACKED_VARIABLE = "CONVATLAS_MAX_PIXELS", "CONVATLAS_MAX_UNPACKED_BYTES"
MAX_PIXELS = 1 << 26  # 67 megapixels
MAX_UNPACKED_BYTES = 1 << 28
USUAL_RATIO = 16  # a file may always unfold to so many times its size
MAX_DEPTH = 100  # nested lists and tables
MAX_DIGITS = 4_000  # of one integer; Python itself refuses above 4,300
_MAX_YAML_NODES = 1_000_000
_BLOCK_BYTES = 512  # of `st_blocks`, whatever the file system's own
_MAX_DOTS = 500  # between two equals signs of a line of TOML
_MAX_YAML_BYTES = 1 << 24
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def check_pixels(width: int, height: int, path: str | Path | None = None) -> None:
    """Refuse an image of more pixels than the limit, by its header, before it is decoded.

    Raises:
        ConvatlasError: it has more; the message begins with the path where one is given, and tells how to allow it.
    """
    if width * height > max_pixels():
        raise ConvatlasError(
            ("" if path is None else f"{path}: ") + refuse_pixels(f"{width} x {height}", width * height)
        )


def refuse_pixels(described: str, count: int) -> str:
    """The sentence about an image of more pixels than the limit, and how to allow it."""
    return f"{described} pixels are more than the limit of {max_pixels():,}; set {PIXELS_VARIABLE}={count} to decode it"


def max_pixels() -> int:
    """The limit on the pixels of one image."""
    return _limit(PIXELS_VARIABLE, MAX_PIXELS)


def check_unpacked(unpacked_bytes: int, path: str | Path, packed_bytes: int = 0) -> None:
    """Refuse contents that unfold to more bytes than the limit, and to more than 16 times what they take packed.

    Args:
        unpacked_bytes: what the contents take in memory, as far as their headers tell or as they have been unfolded.
        path: of the file, for the message.
        packed_bytes: what they take in the file. Contents that are stored as they are never exceed the limit.

    Raises:
        ConvatlasError: the message tells how to allow it.
    """
    limit = _limit(UNPACKED_VARIABLE, MAX_UNPACKED_BYTES)
    if unpacked_bytes > max_unpacked(packed_bytes):
        raise ConvatlasError(
            f"{path} unfolds to {unpacked_bytes:,} bytes, more than the limit of {limit:,}; "
            f"set {UNPACKED_VARIABLE}={unpacked_bytes} to read it"
        )


def max_unpacked(packed_bytes: int = 0) -> int:
    """The bytes that contents of so many may unfold to."""
    return max(_limit(UNPACKED_VARIABLE, MAX_UNPACKED_BYTES), USUAL_RATIO * packed_bytes)


def check_regular(path: str | Path) -> int:
    """The size in bytes of a regular file; devices, pipes and sockets are refused, since they may never end.

    A sparse file takes a few blocks on the disk and reads as gigabytes of zeros: it counts as one that unfolds.

    Raises:
        OSError: it isn't there or can't be looked at.
        ConvatlasError: it is not a regular file, or a sparse one that reads as more bytes than the limit.
    """
    try:
        status = os.stat(path)
    except ValueError as error:  # a NUL byte in the name
        raise ConvatlasError(f"{str(path)!r} is not a file name: {error}") from error
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(21, os.strerror(21), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise ConvatlasError(f"{path} is not a regular file: a device, pipe or socket; expected a file")
    stored_bytes = getattr(status, "st_blocks", status.st_size) * _BLOCK_BYTES  # Windows has none
    if stored_bytes < status.st_size:
        check_unpacked(status.st_size, path, stored_bytes)
    return status.st_size


def stands(path: str | Path) -> bool:
    """Whether something other than a folder has this name.

    A device, a pipe or a link to nowhere in the place of an annotation is then refused when it is read, where `is_file`
    would say that nothing is there, and the image would have no objects.
    """
    return os.path.lexists(path) and not os.path.isdir(path)


def read_bytes(path: str | Path) -> bytes:
    """The contents of a regular file.

    Raises:
        OSError: it can't be read.
        ConvatlasError: it is not a regular file.
    """
    check_regular(path)
    with open(path, "rb") as stream:
        return stream.read()


def read_gzip(path: str | Path) -> bytes:
    """The contents of a gzip file, within the limit of what a file may unfold to.

    Raises:
        ConvatlasError: it unfolds to more, or it is not a regular file.
        OSError, EOFError, zlib.error: it is damaged or can't be read.
    """
    packed = check_regular(path)
    limit = max_unpacked(packed)
    with gzip.open(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        check_unpacked(len(content), path, packed)
    return content


def read_text(path: str | Path) -> str:
    """The text of a regular file in UTF-8, with or without a byte order mark, or in UTF-16 with one.

    Raises:
        OSError: it can't be read.
        ConvatlasError: it is not a regular file, or not text.
    """
    return decode_text(read_bytes(path), path)


def decode_text(content: bytes, path: str | Path) -> str:
    """Text from bytes as `read_text` takes it; `path` is for messages."""
    encoding = next((name for mark, name in _BOMS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ConvatlasError(
            f"{path} is not UTF-8 text: {error.reason} at byte {error.start}; save it as UTF-8"
        ) from error
    return text.replace("\r\n", "\n")


def load_json(path: str | Path) -> Any:
    """The value in a JSON file.

    Raises:
        OSError: it can't be read.
        ConvatlasError: not JSON, nested more than 100 deep, or with an integer of thousands of digits.
    """
    return parse_json(read_text(path), path)


def parse_json(text: str, path: str | Path) -> Any:
    """The value in a JSON text; `path` is for messages. Lone surrogates become U+FFFD."""
    if text.startswith("\ufeff"):
        text = text[1:]
    if _depth(text) > MAX_DEPTH:
        raise ConvatlasError(f"{path} is nested more than {MAX_DEPTH} deep; expected plain lists and objects")
    try:
        value = json.loads(text, parse_int=_integer)
    except RecursionError as error:
        raise ConvatlasError(
            f"{path} is nested more than {MAX_DEPTH} deep; expected plain lists and objects"
        ) from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ConvatlasError(f"{path} is not JSON: {error.msg} at {place}") from error
    except ValueError as error:
        raise ConvatlasError(f"{path} is not usable JSON: {error}") from error
    return _without_surrogates(value) if "\\ud" in text or "\\uD" in text else value


def load_toml(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        OSError: it can't be read.
        ConvatlasError: not TOML, nested more than 100 deep, or with an integer of thousands of digits.
    """
    return parse_toml(read_text(path), path)


def parse_toml(text: str, path: str | Path) -> dict[str, Any]:
    """The tables of a TOML text; `path` is for messages."""
    deep = f"{path} is nested more than {MAX_DEPTH} deep; expected plain tables"
    if any(part.count(".") > _MAX_DOTS for line in text.splitlines() for part in line.split("=")):
        raise ConvatlasError(deep)  # the parser takes time by the square of a key's parts
    try:
        values = tomllib.loads(text)
    except RecursionError as error:
        raise ConvatlasError(deep) from error
    except ValueError as error:
        raise ConvatlasError(f"{path} is not TOML: {_reason(error)}") from error
    level: list[Any] = [values]
    for _ in range(MAX_DEPTH + 1):  # dotted keys nest without recursion
        level = [child for value in level for child in _children(value)]
        if not level:
            return values
    raise ConvatlasError(deep)


def load_yaml(path: str | Path) -> Any:
    """The value in a YAML file, of plain types only.

    Raises:
        OSError: it can't be read.
        ConvatlasError: not YAML, larger than 16 MiB, nested more than 100 deep, or with aliases that multiply to more
            than a million nodes.
    """
    size = check_regular(path)
    if size > _MAX_YAML_BYTES:
        raise ConvatlasError(f"{path} has {size:,} bytes; expected a YAML file of at most {_MAX_YAML_BYTES:,}")
    return parse_yaml(read_text(path), path)


def parse_yaml(text: str, path: str | Path) -> Any:
    """The value in a YAML text; `path` is for messages."""
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):  # events come one by one, without recursion
            depth += isinstance(event, yaml.events.CollectionStartEvent)
            depth -= isinstance(event, yaml.events.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise ConvatlasError(f"{path} is nested more than {MAX_DEPTH} deep; expected plain lists and tables")
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_aliases(node, path)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ConvatlasError(f"{path} is not YAML: {' '.join(str(error).split())[:200]}") from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:  # dates and numbers out of range
        raise ConvatlasError(f"{path} is not usable YAML: {_reason(error)}") from error


def _limit(variable: str, default: int) -> int:
    value = os.environ.get(variable, "").strip()
    if not value:
        return default
    if not (value.isascii() and value.isdecimal() and len(value) < 19 and int(value) > 0):
        raise UsageError(f"{variable} is {value!r}; expected a whole number above 0")
    return int(value)


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"an integer of {len(digits):,} digits; expected at most {MAX_DIGITS:,}")
    return int(digits)


def _reason(error: Exception) -> str:
    """What a parser complains of; of an integer that Python refuses to read, what JSON's says of its own."""
    if "integer string conversion" in str(error):
        return f"an integer of more than {MAX_DIGITS:,} digits; expected fewer"
    return (str(error).splitlines() or [type(error).__name__])[0]


def _depth(text: str) -> int:
    """How deep brackets nest; those within strings count too, but for texts in which they could matter."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return 0
    deepest = level = 0
    in_string = False
    for piece in _pieces(text):
        brackets = np.frombuffer(piece, dtype=np.uint8)
        steps = np.where((brackets == ord("[")) | (brackets == ord("{")), 1, -1).astype(np.int8)
        steps[(brackets != ord("[")) & (brackets != ord("{")) & (brackets != ord("]")) & (brackets != ord("}"))] = 0
        if (brackets == ord('"')).any():
            quotes = np.cumsum(brackets == ord('"')) + in_string
            steps[quotes % 2 == 1] = 0
            in_string = bool(quotes[-1] % 2)
        levels = level + np.cumsum(steps, dtype=np.int64)
        deepest, level = max(deepest, int(levels.max())), int(levels[-1])
    return deepest


def _pieces(text: str) -> Iterator[bytes]:
    """The text a mebibyte at a time, without escaped characters."""
    start = 0
    while start < len(text):
        end = min(start + (1 << 20), len(text))
        while end < len(text) and text[end - 1] == "\\":  # what it escapes belongs to it
            end += 1
        yield text[start:end].replace("\\\\", "").replace('\\"', "").encode("ascii", "replace")
        start = end


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return [_without_surrogates(item) for item in value] if isinstance(value, list) else value


def _check_aliases(top: yaml.Node, path: str | Path) -> None:
    """Count the nodes as often as aliases repeat them: `a: &a [..]`, `b: [*a, *a, ..]` and so on multiply."""
    counts: dict[int, int] = {}
    open_nodes: set[int] = set()
    stack: list[tuple[yaml.Node, bool]] = [(top, False)]
    while stack:
        node, is_done = stack.pop()
        children = _node_children(node)
        if is_done:
            open_nodes.discard(id(node))
            counts[id(node)] = 1 + sum(counts[id(child)] for child in children)
            if counts[id(node)] > _MAX_YAML_NODES:
                raise ConvatlasError(f"{path} repeats itself by aliases to over {_MAX_YAML_NODES:,} values")
        elif id(node) in open_nodes:
            raise ConvatlasError(f"{path} contains itself by an alias; expected plain lists and tables")
        elif id(node) not in counts:
            open_nodes.add(id(node))
            stack.append((node, True))
            stack += [(child, False) for child in children]


def _node_children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
