"""The ledger of results: what papers and releases report of every task, in `results/<paper key>.toml`.

A file holds tables as papers print them. What all rows of a table share stands at its head; a row may differ:

    [[tables]]
    data = "VOC 2007 test"
    protocol = "VOC 2007"
    trained_on = "VOC 2007 and 2012 trainval"
    where = "table 1"
    confidence = "recalled"
    rows = [{ network = "yolov1", mean_ap = "63.4", frames_per_s = "45", hardware = "Titan X" }]

Each measure of a row is one `PrintedResult`. Values are strings as printed.
"""

import functools
import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any

from convatlas.facts.loader import read_fields
from convatlas.facts.schema import CONFIDENCES, LedgerError


@dataclass(frozen=True)
class Measure:
    """What a number measures."""

    name: str
    unit: str  # "%", "s", "frames/s"; empty: a fraction
    smaller_is_better: bool


MEASURES: dict[str, Measure] = {
    "top1_error": Measure("top-1 error", "%", True),
    "top5_error": Measure("top-5 error", "%", True),
    "mean_ap": Measure("mean AP", "%", False),  # by VOC's rules, at IoU 0.5
    "ap": Measure("AP", "%", False),  # COCO's, mean over IoU 0.5 to 0.95
    "ap50": Measure("AP50", "%", False),
    "mask_ap": Measure("mask AP", "%", False),
    "mask_ap50": Measure("mask AP50", "%", False),
    "localisation_error": Measure("localisation error", "%", True),
    "mean_iou": Measure("mean IoU", "%", False),
    "category_iou": Measure("category IoU", "%", False),
    "pixel_accuracy": Measure("pixel accuracy", "%", False),
    "mean_accuracy": Measure("mean accuracy", "%", False),
    "frequency_weighted_iou": Measure("frequency-weighted IoU", "%", False),
    "boundary_f1": Measure("boundary F1", "%", False),
    "warping_error": Measure("warping error", "", True),
    "rand_error": Measure("Rand error", "", True),
    "pixel_error": Measure("pixel error", "", True),
    "pckh": Measure("PCKh@0.5", "%", False),
    "pck": Measure("PCK@0.2", "%", False),
    "seconds_per_image": Measure("time an image", "s", True),
    "frames_per_s": Measure("speed", "frames/s", False),
}
SPEEDS = ("seconds_per_image", "frames_per_s")  # of a machine, not of data


@dataclass(frozen=True)
class PrintedResult:
    """One number that a source reports of one network, or of several together."""

    networks: tuple[str, ...]  # registered names, of an ensemble all kinds that took part; empty: none is here
    data: str  # "VOC 2007 test"
    protocol: str  # as an evaluation says it, "10 crops", "VOC 2010"; "" for the whole image
    measure: str  # a key of MEASURES
    value: str
    paper: str  # key of the paper, and of the file
    where: str  # table, figure or section
    confidence: str  # one of CONFIDENCES
    of: str = ""  # what the source calls it, where it is not the very network: "ResNet-34 with projections everywhere"
    trained_on: str = ""  # where it is not the training split of the same data
    hardware: str = ""
    note: str = ""

    @property
    def words(self) -> str:
        """The number with its unit.

        >>> results_of("yolov1")[0].words
        '63.4% mean AP'
        """
        measure = MEASURES[self.measure]
        if measure.unit == "%":
            return f"{self.value}% {measure.name}"
        return f"{self.value} {measure.unit}" if measure.unit else f"{measure.name} {self.value}"

    def __str__(self) -> str:
        trained = f"trained on {self.trained_on}" if self.trained_on else ""
        machine = f"on {self.hardware}" if self.hardware else ""
        parts = (f"{self.words} on {self.data}", self.protocol, trained, machine, self.of, self.note)
        return f"{', '.join(filter(None, parts))} ({self.paper}, {self.where}; {self.confidence})"


@dataclass(frozen=True)
class _Row:
    """The fields of a row, and of the head of its table, that are not measures."""

    data: str
    where: str
    confidence: str
    network: str = ""
    networks: tuple[str, ...] = ()
    protocol: str = ""
    of: str = ""
    trained_on: str = ""
    hardware: str = ""
    note: str = ""


def parse_results(key: str, text: str) -> tuple[PrintedResult, ...]:
    """The results of one ledger file from its text.

    Raises:
        LedgerError: the text is not TOML, or breaks the schema.
    """
    place = f"facts/results/{key}.toml"
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LedgerError(f"{place}: {error}") from None
    if set(document) != {"tables"} or not isinstance(document["tables"], list):
        raise LedgerError(f"{place} holds {', '.join(document) or 'nothing'}; expected [[tables]] alone")
    results: list[PrintedResult] = []
    for index, table in enumerate(document["tables"]):
        here = f"{place}: tables[{index}]"
        rows = table.pop("rows", None) if isinstance(table, dict) else None
        if not isinstance(rows, list) or not rows:
            raise LedgerError(f"{here} has no rows; expected a list of them")
        for number, row in enumerate(rows):
            if not isinstance(row, dict):
                raise LedgerError(f"{here}.rows[{number}] is {row!r}; expected a table")
            results += _results(key, {**table, **row}, f"{here}.rows[{number}]")
    return tuple(results)


def _results(key: str, fields: dict[str, Any], place: str) -> list[PrintedResult]:
    row = _Row(**read_fields(_Row, fields, place, ignore=tuple(MEASURES)))
    if row.confidence not in CONFIDENCES:
        raise LedgerError(f"{place}.confidence is {row.confidence!r}; expected one of {', '.join(CONFIDENCES)}")
    networks = row.networks or ((row.network,) if row.network else ())
    if not (networks or row.of):
        raise LedgerError(f"{place} names nobody; expected `network`, `networks`, or `of`")
    values = {name: fields[name] for name in MEASURES if name in fields}
    if not values:
        raise LedgerError(f"{place} has no measure; expected one of {', '.join(MEASURES)}")
    for name, value in values.items():
        if not isinstance(value, str) or not _is_number(value):
            raise LedgerError(f"{place}.{name} is {value!r}; expected a number as a string, as printed")
    return [
        PrintedResult(networks, row.data, row.protocol, name, value, key, row.where, row.confidence,
                      row.of, row.trained_on, row.hardware if name in SPEEDS else "", row.note)
        for name, value in values.items()
    ]  # fmt: skip


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@functools.cache
def printed_results() -> tuple[PrintedResult, ...]:
    """All results of the ledger, by paper.

    Raises:
        LedgerError: a file breaks the schema.
    """
    folder = resources.files("convatlas.facts") / "results"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    return tuple(
        result
        for file in files
        for result in parse_results(file.name.removesuffix(".toml"), file.read_text(encoding="utf-8"))
    )


def results_of(network: str) -> tuple[PrintedResult, ...]:
    """What was printed of a network, alone or in an ensemble.

    >>> [result.value for result in results_of("yolov1") if result.measure == "frames_per_s"]
    ['45']
    """
    return tuple(result for result in printed_results() if network in result.networks)
