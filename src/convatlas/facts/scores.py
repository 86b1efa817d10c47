"""Printed scores of segmenters, detectors and pose networks, each with data, protocol and confidence."""

import functools
import tomllib
from dataclasses import dataclass
from importlib import resources

from convatlas.facts.schema import CONFIDENCES, LedgerError


@dataclass(frozen=True)
class Score:
    """One number, as printed."""

    network: str
    task: str
    measure: str
    data: str
    value: str  # percent
    protocol: str
    speed: str  # as printed; "" where it is not
    confidence: str


@functools.cache
def scores() -> tuple[Score, ...]:
    """All scores, by data set.

    >>> [score.value for score in scores() if score.network == "ssd300"]
    ['77.2']

    Raises:
        LedgerError: the file breaks the schema.
    """
    text = (resources.files("convatlas.facts") / "scores.toml").read_text(encoding="utf-8")
    found = tuple(
        Score(row["network"], group["task"], group["measure"], group["data"], row["value"], row["protocol"],
              row["speed"], row["confidence"])
        for group in tomllib.loads(text)["scores"] for row in group["rows"]
    )  # fmt: skip
    for score in found:
        if score.confidence not in CONFIDENCES:
            raise LedgerError(f"scores.toml, {score.network}: confidence is {score.confidence!r}")
    return found
