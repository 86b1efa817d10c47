"""What a release does otherwise than our network of the same layers: constants and padding, set from the card.

A card's entry `settings` is {module path: {attribute: value}}; under the path "*" every module that has the attribute
gets it. So Caffe's pooling or Keras's epsilon holds for those weights, and the network's code stays the paper's.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from convatlas.errors import ConvatlasError

Settings = Mapping[str, Mapping[str, float | bool]]

_LIMITS: dict[str, tuple[type, float, float]] = {  # attribute -> its type, least and greatest value
    "eps": (float, 0.0, 1.0),
    "alpha": (float, 0.0, 1.0),
    "beta": (float, 0.0, 1.0),
    "k": (float, 0.0, 10.0),
    "padding": (int, 0, 64),
    "ceil_mode": (bool, 0, 1),
    "count_include_pad": (bool, 0, 1),
}


def check_settings(settings: object, source: object) -> Settings:
    """The settings themselves, if every one is an attribute and a value that may be set.

    Raises:
        ConvatlasError: one is not; the message names it.
    """
    if not isinstance(settings, Mapping) or not all(isinstance(entry, Mapping) for entry in settings.values()):
        raise ConvatlasError(f"the card of {source} has settings {str(settings)[:60]!r}; expected an object of objects")
    for path, entry in settings.items():
        for attribute, value in entry.items():
            kind, low, high = _LIMITS.get(attribute, (None, 0, 0))
            if kind is None or type(value) is not kind or not low <= value <= high:
                known = ", ".join(_LIMITS)
                raise ConvatlasError(
                    f"the card of {source} sets {path}.{attribute} to {str(value)[:60]!r}; known are {known}"
                )
    return settings


def apply_settings(net: nn.Module, card: Mapping[str, Any] | None) -> None:
    """Sets the attributes that a card names.

    Raises:
        ConvatlasError: the network has no such module, or the module no such attribute.
    """
    for path, entry in ((card or {}).get("settings") or {}).items():
        for attribute, value in entry.items():
            if path == "*":
                modules = [module for module in net.modules() if hasattr(module, attribute)]
            else:
                modules = [module for name, module in net.named_modules() if name == path]
            if not modules or not all(hasattr(module, attribute) for module in modules):
                raise ConvatlasError(f"a card sets {path}.{attribute}, which {type(net).__name__} does not have")
            for module in modules:
                pair = attribute == "padding" and isinstance(module, nn.Conv2d)
                setattr(module, attribute, (value, value) if pair else value)
