"""Reads and checks `papers/<key>.toml`. Every field is known by name: a misspelt one is an error, not a silent loss."""

import dataclasses
import functools
import re
import tomllib
from collections.abc import Callable
from importlib import resources
from types import MappingProxyType
from typing import Any

from convatlas.facts.quantity import parse_quantity
from convatlas.facts.schema import (
    COMPUTED_QUANTITIES,
    CONFIDENCES,
    QUANTITIES,
    Claim,
    LayerFacts,
    LedgerError,
    NetworkFacts,
    Paper,
    Result,
    Totals,
)

LAYER_EXTRAS = ("in", "bias", "lrn", "probability", "ceil", "output_padding", "formulas")
LAYER_EXTRAS += ("spatial_scale", "levels", "bins")  # of pooled regions and pyramids
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


def expand(pattern: str) -> tuple[str, ...]:
    """All names that a pattern with brace ranges stands for: `a{1..2}.b` is `a1.b`, `a2.b`."""
    match = _BRACES.search(pattern)
    if match is None:
        return (pattern,)
    head, tail = pattern[: match.start()], pattern[match.end() :]
    return tuple(f"{head}{number}{rest}" for number in range(int(match[1]), int(match[2]) + 1) for rest in expand(tail))


def read_fields(kind: type, table: Any, where: str, ignore: tuple[str, ...] = ()) -> dict[str, Any]:
    """The table as keyword arguments of a dataclass, lists made tuples, types checked.

    Raises:
        LedgerError: not a table, an unknown field, a missing one or one of the wrong type.
    """
    if not isinstance(table, dict):
        raise LedgerError(f"{where} is {table!r}; expected a table")
    known = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(table.keys() - known.keys() - set(ignore))
    if unknown:
        raise LedgerError(f"{where}: unknown field {unknown[0]!r}; expected one of {', '.join(known)}")
    absent = dataclasses.MISSING
    for name, field in known.items():
        required = field.default is absent and field.default_factory is absent
        if required and name not in table:
            raise LedgerError(f"{where}: the field {name!r} is missing")
    return {
        name: _checked(value, str(known[name].type), f"{where}.{name}")
        for name, value in table.items()
        if name in known
    }


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _checked(value: Any, annotation: str, where: str) -> Any:
    checks: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
        ("tuple[int", "a list of integers", lambda v: isinstance(v, list) and all(map(_is_integer, v))),
        ("tuple[str", "a list of strings", lambda v: isinstance(v, list) and all(isinstance(i, str) for i in v)),
        ("Mapping", "a table", lambda v: isinstance(v, dict)),
        ("bool", "true or false", lambda v: isinstance(v, bool)),
        ("int", "an integer", _is_integer),
        ("str", "a string", lambda v: isinstance(v, str)),
    )
    for needle, expected, holds in checks:
        if needle in annotation:
            if not holds(value):
                raise LedgerError(f"{where} is {value!r}; expected {expected}")
            break
    if isinstance(value, list):
        return tuple(value)
    return MappingProxyType(value) if isinstance(value, dict) else value


def _claim(table: Any, where: str) -> Claim:
    claim = Claim(**read_fields(Claim, table, where))
    quantities = COMPUTED_QUANTITIES if claim.compute else QUANTITIES
    for field, allowed in (("quantity", quantities), ("confidence", CONFIDENCES)):
        value = getattr(claim, field)
        if value not in allowed:
            raise LedgerError(f"{where}.{field} is {value!r}; expected one of {', '.join(allowed)}")
    is_shape = bool(claim.compute) and " x " in claim.value
    for text in filter(None, ("" if is_shape else claim.value, claim.unit)):
        try:
            parse_quantity(text)
        except ValueError as error:
            raise LedgerError(f"{where}: {error}") from None
    if (claim.confidence == "disputed" or claim.unit) and not claim.note:
        raise LedgerError(f"{where}: a disputed claim, or one with its own unit, needs a note that says why")
    return claim


def _layer(table: Any, where: str) -> LayerFacts:
    fields = read_fields(LayerFacts, table, where, ignore=LAYER_EXTRAS)
    extra = {key: table[key] for key in LAYER_EXTRAS if key in table}
    return LayerFacts(**fields, extra=MappingProxyType(extra))


def _network(name: str, paper: str, table: Any, where: str) -> NetworkFacts:
    if not isinstance(table, dict):
        raise LedgerError(f"{where} is {table!r}; expected a table")
    table = {**table, "name": name, "paper": paper}
    nested = {key: table.pop(key, None) for key in ("totals", "claims", "layers")}
    network = NetworkFacts(
        **read_fields(NetworkFacts, table, where),
        totals=Totals(**read_fields(Totals, nested["totals"], f"{where}.totals"))
        if nested["totals"] is not None
        else None,
        claims=tuple(_claim(row, f"{where}.claims[{i}]") for i, row in enumerate(nested["claims"] or ())),
        layers=tuple(_layer(row, f"{where}.layers[{i}]") for i, row in enumerate(nested["layers"] or ())),
    )
    names = [layer for row in network.layers for layer in expand(row.name)]
    twice = sorted({layer for layer in names if names.count(layer) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise LedgerError(f"{where}.layers: {twice[0]!r} stands in two rows; expected one")
    return network


def parse_paper(key: str, text: str) -> Paper:
    """A ledger file from its text.

    Raises:
        LedgerError: the text is no TOML, or breaks the schema.
    """
    where = f"facts/papers/{key}.toml"
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LedgerError(f"{where}: {error}") from None
    nested = {name: table.pop(name, []) for name in ("claims", "facts", "results")}
    networks = table.pop("networks", {})
    fields = read_fields(Paper, {**table, "key": key}, where)
    for name, value in fields.get("recipe", {}).items():
        if not isinstance(value, str):
            raise LedgerError(f"{where}.recipe.{name} is {value!r}; expected a string, as printed")
    return Paper(
        **fields,
        claims=_pairs(nested["claims"], ("quantity", "value"), f"{where}.claims"),
        facts=_pairs(nested["facts"], ("statement", "confidence"), f"{where}.facts"),
        results=tuple(
            Result(**read_fields(Result, row, f"{where}.results[{i}]")) for i, row in enumerate(nested["results"])
        ),
        networks=MappingProxyType(
            {name: _network(name, key, body, f"{where}: networks.{name}") for name, body in networks.items()}
        ),
    )


def _pairs(rows: Any, names: tuple[str, str], where: str) -> tuple[tuple[str, str], ...]:
    for i, row in enumerate(rows):
        if not isinstance(row, dict) or set(row) != set(names) or not all(isinstance(v, str) for v in row.values()):
            raise LedgerError(f"{where}[{i}] is {row!r}; expected the strings {names[0]} and {names[1]}")
    return tuple((row[names[0]], row[names[1]]) for row in rows)


@functools.cache
def texts() -> dict[str, str]:
    """The files of the ledger as they stand, by the keys of their papers."""
    folder = resources.files("convatlas.facts") / "papers"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    return {file.name.removesuffix(".toml"): file.read_text(encoding="utf-8") for file in files}


@functools.cache
def paper(key: str) -> Paper:
    """A paper by its key, the stem of its file.

    Raises:
        KeyError: no such paper in the ledger.
        LedgerError: its file breaks the schema.
    """
    if key not in texts():
        raise KeyError(f"no paper {key!r} in the ledger; it holds {', '.join(texts())}")
    return parse_paper(key, texts()[key])


def papers() -> tuple[Paper, ...]:
    """All papers, by key."""
    return tuple(paper(key) for key in texts())


def network(name: str) -> NetworkFacts | None:
    """What the ledger knows of a network; None where it knows nothing.

    Only the file that mentions the network is parsed.
    """
    for key, text in texts().items():
        if f"[networks.{name}]\n" in text:
            return paper(key).networks[name]
    return None
