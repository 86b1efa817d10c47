"""What is known of how well a network classifies, and which of these numbers may stand beside one another."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convatlas import inference
from convatlas.facts.comparable import squeeze, view
from convatlas.facts.results import MEASURES, PrintedResult, results_of
from convatlas.inference import Source
from convatlas.records import AP_PROTOCOLS, DetectionEvaluation, Evaluation, PoseEvaluation, SegmentationEvaluation

ENSEMBLE = re.compile(r"\d+ networks")  # whose cost is not that of one
PUBLISHED, MEASURED = "published", "measured here"
SHARES = {"top1_error": "top-1 accuracy"} | {
    name: MEASURES[name].name for name in ("mean_ap", "ap", "mask_ap", "mean_iou", "pckh", "pck")
}  # the measures by which networks of a task are compared


@dataclass(frozen=True)
class Accuracy:
    """One number, with all that it is of."""

    value: float  # fraction
    measure: str  # "top-1 accuracy", "mean IoU", "mean AP"
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
    """What was printed of a network and is best when it is high, those numbers of the very network first."""
    printed = [_printed(result) for result in results_of(network) if result.measure in SHARES]
    return tuple(sorted(printed, key=lambda accuracy: bool(accuracy.note)))


def _printed(result: PrintedResult) -> Accuracy:
    share = float(result.value) / 100
    is_error = MEASURES[result.measure].smaller_is_better
    together = ENSEMBLE.match(result.protocol)
    reasons = (f"printed for {result.of}" if result.of else "", f"{together[0]} together" if together else "")
    protocol = ", ".join(filter(None, (result.protocol, result.trained_on and f"trained on {result.trained_on}")))
    return Accuracy(
        1 - share if is_error else share,
        SHARES[result.measure],
        result.data,
        protocol,
        PUBLISHED,
        ", ".join(filter(None, reasons)),
    )


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
    return MEASURES["ap" if evaluation.protocol == "coco" else "mean_ap"].name


def protocol_of(evaluation: Any) -> str:
    """How each image was looked at, or whose rules of average precision were taken."""
    return (
        AP_PROTOCOLS[evaluation.protocol].name if isinstance(evaluation, DetectionEvaluation) else evaluation.protocol
    )


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
