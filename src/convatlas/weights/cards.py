"""The card that weights carry: what they are for, as a dictionary that JSON can hold."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from convatlas.errors import ConvatlasError
from convatlas.records import Preprocessing
from convatlas.weights.settings import Settings, check_settings

FORMAT = 1
MAX_CLASSES = 100_000
MAX_CHANNELS = 10_000
MAX_SIDE = 16_384  # pixels
MAX_VALUE = 1e6  # of means and deviations of values in [0, 1]


def make_card(
    network: str,
    *,
    num_classes: int,
    in_channels: int,
    classes: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    settings: Settings | None = None,
    source: str | None = None,
) -> dict[str, object]:
    """The card of a network's weights.

    Args:
        classes: names in the order of the outputs; None where unknown.
        settings: what these weights want otherwise than the network's code (`convatlas.weights.settings`).
        source: the format and release that they came from.
    """
    card: dict[str, object] = {
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
    """A copy of the card, if it is one that this version understands; entries that it may leave out are there as None.

    Raises:
        ConvatlasError: it is not; the message names `source` and the entry.
    """
    if not isinstance(card, dict):
        raise ConvatlasError(f"the card of {source} is a {type(card).__name__}; expected a JSON object")
    if card.get("format") != FORMAT or isinstance(card["format"], bool):
        raise ConvatlasError(
            f"the card of {source} has format {_short(card.get('format'))}; this version reads {FORMAT}"
        )
    if not isinstance(card.get("network"), str) or not card["network"].isprintable():
        raise ConvatlasError(f"the card of {source} has network {_short(card.get('network'))}; expected a name")
    for entry, most in (("num_classes", MAX_CLASSES), ("in_channels", MAX_CHANNELS)):
        if type(card.get(entry)) is not int or not 1 <= card[entry] <= most:
            raise ConvatlasError(
                f"the card of {source} has {entry} {_short(card.get(entry))}; expected a whole number "
                f"from 1 to {most:,}"
            )
    card = {"classes": None, "preprocessing": None} | card
    _check_classes(card, source)
    if card["preprocessing"] is not None:
        _check_preprocessing(card["preprocessing"], source)
    if card.get("settings") is not None:
        check_settings(card["settings"], source)
    if not isinstance(card.get("source", ""), str):
        raise ConvatlasError(f"the card of {source} has source {_short(card['source'])}; expected text")
    return card


def _short(value: object) -> str:
    """At most 60 characters of a value for a message. Numbers of thousands of digits have no text."""
    text = "a number of thousands of digits" if type(value) is int and abs(value) >= 1 << 200 else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _check_classes(card: Mapping[str, object], source: object) -> None:
    classes, colours = card["classes"], card.get("colours")
    if classes is not None:
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise ConvatlasError(f"the card of {source} has classes that are no list of names")
        if len(classes) != card["num_classes"]:
            raise ConvatlasError(
                f"the card of {source} names {len(classes)} classes for num_classes {card['num_classes']}"
            )
    if colours is not None and not (
        isinstance(colours, list)
        and len(colours) == card["num_classes"]
        and all(isinstance(colour, list) and len(colour) == 3 for colour in colours)
        and all(type(value) is int and 0 <= value <= 255 for colour in colours for value in colour)
    ):
        raise ConvatlasError(
            f"the card of {source} has colours {_short(colours)}; expected three numbers of 0 to 255 for each class"
        )


def _check_preprocessing(entry: object, source: object) -> None:
    """Raises ConvatlasError unless the entry has the fields of `Preprocessing`, with values that can be meant."""
    known = {field.name for field in fields(Preprocessing)}
    if not isinstance(entry, Mapping) or "size" not in entry or entry.keys() - known:
        raise ConvatlasError(
            f"the card of {source} has preprocessing {_short(entry)}; expected an object with fields of {sorted(known)}"
        )
    channels, size = entry.get("channels", 3), entry["size"]
    checks: dict[str, bool] = {
        "size": isinstance(size, (list, tuple)) and len(size) == 2 and all(map(_is_side, size)),
        "channels": type(channels) is int and 1 <= channels <= MAX_CHANNELS,
        "resize": entry.get("resize", "none") in ("none", "short_side", "fit", "stretch"),
        "resize_to": _is_side(entry["resize_to"]) if entry.get("resize_to") is not None
        else entry.get("resize", "none") == "none",
        "channel_order": entry.get("channel_order", "rgb") in ("rgb", "bgr"),
        "middle": _is_part(entry.get("middle", 1.0)),
        "mean_image": entry.get("mean_image") is None or isinstance(entry["mean_image"], str),
        "max_sample": entry.get("max_sample") is None
        or (type(entry["max_sample"]) is int and 1 <= entry["max_sample"] <= 65535),
        "mean": _is_of_channels(entry.get("mean", (0.0,) * 3), channels),
        "std": _is_of_channels(entry.get("std", (1.0,) * 3), channels) and all(entry.get("std", (1.0,))),
    }  # fmt: skip
    for name, is_right in checks.items():
        if not is_right:
            raise ConvatlasError(
                f"the card of {source} has preprocessing with {name} {_short(entry.get(name))}, which is not usable"
            )


def _is_part(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1


def _is_side(value: object) -> bool:
    return type(value) is int and 1 <= value <= MAX_SIDE


def _is_of_channels(values: object, channels: int) -> bool:
    """Whether these are a finite number for each channel."""
    return (
        isinstance(values, (list, tuple))
        and len(values) == channels
        and all(type(value) in (int, float) and abs(value) < MAX_VALUE for value in values)
    )


def preprocessing_of(card: Mapping[str, Any]) -> Preprocessing | None:
    """How images are prepared for these weights; None where the card does not say.

    Raises:
        ConvatlasError: the entry has unknown or missing fields, or values that can't be meant.
    """
    entry = card.get("preprocessing")
    if entry is None:
        return None
    _check_preprocessing(entry, "these weights")
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return Preprocessing(**values)
