"""What is known of how well a network classifies, and which of these numbers may stand beside one another."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convatlas import inference
from convatlas.inference import Source
from convatlas.records import (
    DetectionEvaluation,
    Evaluation,
    PoseEvaluation,
    PublishedResult,
    SegmentationEvaluation,
    protocol_words,
)
from convatlas.report.published import published_results, squeeze, view

ENSEMBLE = re.compile(r"\d+ networks")  # whose cost is not that of one
PUBLISHED, MEASURED = "published", "measured here"


@dataclass(frozen=True)
class Accuracy:
    """One number, with all that it is of."""

    value: float  # fraction
    measure: str  # "top-1 accuracy", "mean IoU", "mean AP, VOC 2007 (IoU 0.5, 11 points)"
    data: str  # "ILSVRC-2012 validation"
    protocol: str  # as the source says it; "" for the whole image
    source: str  # PUBLISHED or MEASURED
    note: str = ""  # why it is no number of this very network, or how many images it is of

    @property
    def key(self) -> tuple[str, str, str]:
        """Numbers with the same key answer the same question."""
        return self.measure, squeeze(self.data), view(self.protocol)

    @property
    def own(self) -> bool:
        """Whether it is of the very network: only then does it belong into a chart or a ratio."""
        return self.source == MEASURED or not self.note


@dataclass(frozen=True)
class Row:
    """A network in a group of numbers."""

    name: str
    accuracy: Accuracy
    parameters: int | None
    multiply_adds: int | None

    @property
    def density(self) -> float | None:
        """Points of accuracy per million parameters (Canziani et al., 2016, figure 10)."""
        if not self.parameters or not self.accuracy.own:
            return None
        return 100 * self.accuracy.value / (self.parameters / 1e6)


@dataclass(frozen=True)
class Group:
    """Numbers of one measure on the same data by the same protocol, the best first."""

    title: str
    rows: tuple[Row, ...]

    @property
    def comparable(self) -> tuple[Row, ...]:
        """Those of the very networks."""
        return tuple(row for row in self.rows if row.accuracy.own)


def published(network: str) -> tuple[Accuracy, ...]:
    """The top-1 accuracies that were printed for a network, those of the very network first."""
    found = [result for result in published_results(network) if result.top1_error is not None]
    return tuple(_printed(result) for result in sorted(found, key=lambda result: bool(result.printed_for)))


def _printed(result: PublishedResult) -> Accuracy:
    value = 1 - float(result.top1_error or 0) / 100
    together = ENSEMBLE.match(result.protocol)
    note = f"printed for {result.printed_for}" if result.printed_for else f"{together[0]} together" if together else ""
    return Accuracy(value, "top-1 accuracy", result.data, result.protocol, PUBLISHED, note)


def measured(source: Source, data: str | None, root: Path | None) -> Accuracy:
    """A trained network on the test split of data; errors as `inference.score`."""
    dataset, found = inference.score(source, data, root=root)
    spec = data if data is not None else source.recipe.data.spec if source.recipe is not None else dataset.name
    known = not Path(spec).expanduser().exists()  # a data set that has a name, not only a folder here
    name = f"{dataset.name} test" if known else f"{dataset.name} (own files), test"
    return Accuracy(
        1 - found.error, measure_of(found), name, protocol_of(found), MEASURED, f"{len(dataset.test):,} images"
    )


def measure_of(evaluation: Any) -> str:
    """The name of what is best when it is 1."""
    if isinstance(evaluation, Evaluation):
        return "top-1 accuracy"
    if isinstance(evaluation, SegmentationEvaluation):
        return "mean IoU"
    if isinstance(evaluation, PoseEvaluation):
        return evaluation.measure
    return protocol_words(evaluation)


def protocol_of(evaluation: Any) -> str:
    """How each image was looked at; a detector's protocol is part of its measure's name."""
    return "" if isinstance(evaluation, DetectionEvaluation) else evaluation.protocol


def grouped(rows: Iterable[Row]) -> list[Group]:
    """Rows by what their numbers are of, larger groups first, each with the best first."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        found.setdefault(row.accuracy.key, []).append(row)
    groups = [Group(title(own), tuple(sorted(own, key=lambda row: -row.accuracy.value))) for own in found.values()]
    return sorted(groups, key=lambda group: -len(group.comparable))


def title(rows: Sequence[Row]) -> str:
    first = rows[0].accuracy
    return f"{first.measure} on {first.data}, {view(first.protocol)}"
