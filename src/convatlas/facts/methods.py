"""Detection methods step by step: proposals, features, classifier, boxes, loss, stages, time."""

import fnmatch
import functools
import tomllib
from dataclasses import dataclass
from importlib import resources

from convatlas.facts.loader import read_fields
from convatlas.facts.schema import CONFIDENCES, LedgerError


@dataclass(frozen=True)
class Step:
    """What a paper does at one step, or how long it takes."""

    step: str
    text: str
    where: str
    confidence: str


@dataclass(frozen=True)
class Method:
    """A way to find objects, of which networks are a part."""

    name: str
    paper: str  # key of its ledger
    networks: tuple[str, ...]  # patterns of registered names
    steps: tuple[Step, ...]


@functools.cache
def methods() -> tuple[Method, ...]:
    """All methods, the oldest first.

    >>> [method.name for method in methods()][:2]
    ['R-CNN', 'SPPnet']

    Raises:
        LedgerError: the file breaks the schema.
    """
    text = (resources.files("convatlas.facts") / "methods.toml").read_text(encoding="utf-8")
    return tuple(_method(row) for row in tomllib.loads(text)["methods"])


def _method(row: dict[str, object]) -> Method:
    where = f"methods.toml, {row.get('name')}"
    steps = row.get("steps")
    if not isinstance(steps, list):
        raise LedgerError(f"{where}: the steps are missing")
    read = tuple(Step(**read_fields(Step, step, where)) for step in steps)
    for step in read:
        if step.confidence not in CONFIDENCES:
            raise LedgerError(f"{where}, {step.step}: confidence is {step.confidence!r}; expected {CONFIDENCES}")
    rest = read_fields(Method, {**row, "steps": []}, where)
    return Method(**{**rest, "steps": read})


def method_of(network: str) -> Method | None:
    """The method that a registered network is a part of."""
    return next((one for one in methods() if any(fnmatch.fnmatchcase(network, name) for name in one.networks)), None)


@dataclass(frozen=True)
class StepBeside:
    """One step of two methods."""

    step: str
    before_method: str
    before: str
    before_where: str
    after_method: str
    after: str
    after_where: str
    confidence: tuple[str, str]


def beside(before: Method, after: Method) -> tuple[StepBeside, ...]:
    """Two methods step by step, where they differ.

    >>> [step.step for step in beside(methods()[0], methods()[2])][:2]
    ['features', 'classifier']
    """
    later = {step.step: step for step in after.steps}
    return tuple(
        StepBeside(
            step.step, before.name, step.text, step.where, after.name, other.text, other.where,
            (step.confidence, other.confidence),
        )
        for step in before.steps
        if (other := later.get(step.step)) and other.text != step.text
    )  # fmt: skip
