"""Registered networks as levels."""

import functools

from convatlas import registry
from convatlas.analysis.likeness.layers import Level, constants_of, levels
from convatlas.analysis.trace import build_on_meta, trace
from convatlas.records import Shape


@functools.lru_cache(maxsize=64)
def of_registered(name: str, input_shape: Shape | None = None, *, training: bool = False) -> tuple[Level, ...]:
    """The levels of a registered network at an input; None: the published one. In training with the auxiliary heads.

    Raises:
        UsageError: unknown name, or an input that the network can't take.
    """
    card = registry.card(name)
    shape = input_shape or card.input_shape
    net = build_on_meta(card, in_channels=shape[0])
    records = trace(net, shape, training=training)
    return levels(records, constants_of(net, records))
