"""The card that weights carry: what they are for, as a dictionary that JSON can hold."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from convatlas.structures import ConvatlasError, Preprocessing
from convatlas.weights.settings import Settings, check_settings

FORMAT = 1


def make_card(
    network: str,
    *,
    num_classes: int,
    in_channels: int,
    classes: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    settings: Settings | None = None,
    source: str | None = None,
) -> dict[str, Any]:
    """The card of a network's weights.

    Args:
        classes: names in the order of the outputs; None where unknown.
        settings: what these weights want otherwise than the network's code (`convatlas.weights.settings`).
        source: the format and release that they came from.
    """
    card: dict[str, Any] = {
        "format": FORMAT,
        "network": network,
        "num_classes": num_classes,
        "in_channels": in_channels,
        "classes": None if classes is None else list(classes),
        "preprocessing": None if preprocessing is None else json.loads(json.dumps(asdict(preprocessing))),
    }
    if settings:
        card["settings"] = {path: dict(entry) for path, entry in settings.items()}
    if source is not None:
        card["source"] = source
    return card


def check_card(card: Any, source: object) -> dict[str, Any]:
    """The card itself, if it is one that this version understands.

    Raises:
        ConvatlasError: it is not; the message names `source` and the entry.
    """
    if not isinstance(card, dict):
        raise ConvatlasError(f"the card of {source} is a {type(card).__name__}; expected a JSON object")
    if card.get("format") != FORMAT:
        raise ConvatlasError(f"the card of {source} has format {card.get('format')!r}; this version reads {FORMAT}")
    if not isinstance(card.get("network"), str):
        raise ConvatlasError(f"the card of {source} has network {card.get('network')!r}; expected a name")
    for entry in ("num_classes", "in_channels"):
        if type(card.get(entry)) is not int or card[entry] < 1:
            raise ConvatlasError(
                f"the card of {source} has {entry} {card.get(entry)!r}; expected a whole number from 1"
            )
    classes = card.get("classes")
    if classes is not None:
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise ConvatlasError(f"the card of {source} has classes that are no list of names")
        if len(classes) != card["num_classes"]:
            raise ConvatlasError(
                f"the card of {source} names {len(classes)} classes for num_classes {card['num_classes']}"
            )
    if "settings" in card:
        check_settings(card["settings"], source)
    return card


def preprocessing_of(card: Mapping[str, Any]) -> Preprocessing | None:
    """How pictures are prepared for these weights; None where the card does not say.

    Raises:
        ConvatlasError: the entry has unknown or missing fields.
    """
    entry = card.get("preprocessing")
    if entry is None:
        return None
    known = {field.name for field in fields(Preprocessing)}
    if not isinstance(entry, Mapping) or "size" not in entry or entry.keys() - known:
        raise ConvatlasError(f"a card has preprocessing {entry!r}; expected an object with fields of {sorted(known)}")
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return Preprocessing(**values)
