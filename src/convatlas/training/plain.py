"""Typed values as plain tables that TOML can hold, and back; checked on the way, so that a slip is named."""

import ast
import dataclasses
import math
import types
import typing
from typing import Any

# No other type can stand in their place, so they need no `kind`.
UNMARKED = ("Recipe", "DataSource", "Preprocessing", "PublishedResult")


def plain(value: Any) -> Any:
    """Dataclasses as tables with a `kind`; absent values are left out, as TOML has no null."""
    if dataclasses.is_dataclass(value):
        table = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        table = {name: entry for name, entry in table.items() if entry is not None}
        name = type(value).__name__
        return table if name in UNMARKED else {"kind": name, **table}
    if isinstance(value, tuple):
        return [plain(entry) for entry in value]
    return value


def typed(annotation: Any, value: Any, name: str) -> Any:
    """The inverse of `plain`, guided by an annotation; `name` is that of the field, for messages.

    Raises:
        ValueError: the value does not fit the annotation.
    """
    choices = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    classes = {c.__name__: c for c in choices if isinstance(c, type) and dataclasses.is_dataclass(c)}
    if isinstance(value, str) and value in classes:
        value = {"kind": value}
    if isinstance(value, dict) and classes:
        return _dataclass(classes, value, name)
    if isinstance(value, list | tuple):
        for choice in choices:
            if typing.get_origin(choice) is tuple:
                return _tuple(typing.get_args(choice), value, name)
    if value is None and type(None) in choices:
        return None
    for choice in choices:
        if typing.get_origin(choice) is typing.Literal and value in typing.get_args(choice):
            return value
        if choice is float and isinstance(value, int | float) and not isinstance(value, bool):
            if not math.isfinite(value):
                raise ValueError(f"{name} is {value}; expected a finite number")
            return float(value)
        if choice in (bool, int, float, str) and type(value) is choice:
            return value
    raise ValueError(f"{name} is {_short(value)}; expected {_wanted(choices)}")


def _dataclass(classes: dict[str, Any], table: dict[str, Any], name: str) -> Any:
    entries = dict(table)
    kind = entries.pop("kind", next(iter(classes)) if len(classes) == 1 else None)
    if not isinstance(kind, str) or kind not in classes:
        raise ValueError(f"{name} is of kind {_short(kind)}; expected {', '.join(classes)}")
    cls, hints = classes[kind], typing.get_type_hints(classes[kind])
    prefix = f"{name}." if name else ""
    known = {f.name: f for f in dataclasses.fields(cls)}
    for entry in entries:
        if entry not in known:
            raise ValueError(f"{prefix}{_short(entry)}: no such field; {kind} has {', '.join(known) or 'none'}")
    absent = dataclasses.MISSING
    for field in known.values():
        if field.name not in entries and field.default is absent and field.default_factory is absent:
            raise ValueError(f"{prefix}{field.name} is missing; {kind} needs it")
    return cls(**{entry: typed(hints[entry], value, f"{prefix}{entry}") for entry, value in entries.items()})


def _tuple(inner: tuple[Any, ...], values: Any, name: str) -> tuple[Any, ...]:
    if inner[-1] is ...:
        return tuple(typed(inner[0], entry, f"{name}.{i}") for i, entry in enumerate(values))
    if len(inner) != len(values):
        raise ValueError(f"{name} has {len(values)} entries; expected {len(inner)}")
    return tuple(typed(kind, entry, f"{name}.{i}") for i, (kind, entry) in enumerate(zip(inner, values, strict=True)))


def _short(value: Any) -> str:
    """At most 80 characters of a value of a file, for a message."""
    text = value if isinstance(value, str) and value.isidentifier() else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _wanted(choices: tuple[Any, ...]) -> str:
    words = []
    for choice in choices:
        if typing.get_origin(choice) is typing.Literal:
            words += map(str, typing.get_args(choice))
        elif choice is type(None):
            words.append("none")
        elif typing.get_origin(choice) is tuple:
            words.append("a list")
        else:
            words.append(choice.__name__)
    return " or ".join(words)


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def override(table: Any, path: str, text: str) -> None:
    """Sets one field of a plain table, in place: ("optimizer.lr", "0.1"), ("averaging", "Ema(decay=0.999)").

    Raises:
        ValueError: the path leads nowhere.
    """
    *parents, last = path.split(".")
    for step, parent in enumerate(parents):
        known = _entries(table)
        if parent not in known:
            raise ValueError(f"{'.'.join(parents[: step + 1])} is not set, so {path} has no place")
        table = known[parent]
    if isinstance(table, list):
        if last not in _entries(table):
            raise ValueError(f"{path}: the list has {len(table)} entries")
        table[int(last)] = parse(text)
    elif isinstance(table, dict):
        table[last] = parse(text)
    else:
        raise ValueError(f"{'.'.join(parents)} is {table!r}, so {path} has no place")


def _entries(table: Any) -> dict[str, Any]:
    if isinstance(table, list):
        return {str(i): entry for i, entry in enumerate(table)}
    return table if isinstance(table, dict) else {}


def parse(text: str) -> Any:
    """A number, true, false, none, a list, or a kind with its fields, `Ema(decay=0.999)`; anything else is text."""
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError):
        return text


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Call(func=ast.Name(id=kind), args=[], keywords=keywords):
            return {"kind": kind, **{str(k.arg): _value(k.value) for k in keywords}}
        case ast.List(elts=entries) | ast.Tuple(elts=entries):
            return [_value(entry) for entry in entries]
        case ast.Name(id=name):
            return {"true": True, "false": False, "none": None}.get(name.lower(), name)
        case _:
            return ast.literal_eval(node)
