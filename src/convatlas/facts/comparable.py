"""Which results answer the same question: those of one measure, on the same data, by the same protocol."""

import re
from collections.abc import Collection, Iterable, Mapping

from convatlas.facts.results import MEASURES, SPEEDS, PrintedResult, results_of

VIEWS = re.compile(
    r"\d+ networks|\d+ crops|dense(?:, best position)?(?: at [\d, and]+px)?|corners, centre"  # of classifiers
    r"|VOC \d{4}|COCO|\d+ proposals an image"
    r"|whole image|overlapping tiles|\d+ rotations averaged|fully connected CRF|mirror image"
)
CHOSEN = re.compile(r"of \d+ px|best of \d+ runs|best pass")  # of a size of its own, or the best of several
SPLITS = ("test", "validation", "val")  # what a source says behind the name of a data set
NAMES = {"imagenet": "ilsvrc2012"}  # a data set's name here -> in papers


def squeeze(text: str) -> str:
    """Letters and digits alone, in lower case."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def views(protocol: str) -> list[str]:
    """The words of a protocol that tell how images are looked at."""
    return VIEWS.findall(protocol)


def view(protocol: str) -> str:
    """What of a protocol makes two numbers comparable: "10 crops" of "10 crops, trained on more images"."""
    return ", ".join(dict.fromkeys((*views(protocol), *CHOSEN.findall(protocol)))) or "one view"


def same_data(dataset: str, printed: str) -> bool:
    """ "mnist" is "MNIST test", and "cifar10" is not "CIFAR-100 test"."""
    name = squeeze(dataset)
    return squeeze(printed) in (squeeze(f"{NAMES.get(name, name)} {part}") for part in ("", *SPLITS))


def results_beside(network: str, dataset: str, protocol: str, measures: Collection[str]) -> tuple[PrintedResult, ...]:
    """What was printed of a network, on a data set, by a protocol and of some measures; never a speed.

    Args:
        dataset: its name here, "mnist".
        protocol: in the words of an evaluation; how often a paper tried and what it chose does not count.
    """
    return tuple(
        result
        for result in results_of(network)
        if result.measure in measures
        and result.measure not in SPEEDS
        and same_data(dataset, result.data)
        and _looks(result.protocol) == _looks(protocol)
    )


def _looks(protocol: str) -> set[str]:
    return {*views(protocol), *re.findall(r"of \d+ px", protocol)}


def grouped(results: Iterable[PrintedResult]) -> Mapping[str, tuple[PrintedResult, ...]]:
    """Results by the question that they answer, in words; within a group the best stands first.

    Times and speeds stand together whatever the protocol: they are of the machines that the rows name.
    """
    groups: dict[tuple[str, str, str], list[PrintedResult]] = {}
    for result in results:
        looks = "" if result.measure in SPEEDS else view(result.protocol)
        groups.setdefault((squeeze(result.data), looks, result.measure), []).append(result)
    return {_title(rows): tuple(sorted(rows, key=_rank)) for _, rows in sorted(groups.items())}


def _title(rows: list[PrintedResult]) -> str:
    first = rows[0]
    measure = MEASURES[first.measure]
    unit = f", {measure.unit}" if measure.unit else ""
    looks = "" if first.measure in SPEEDS else f", {view(first.protocol)}"
    return f"{first.data}{looks}: {measure.name}{unit}"


def _rank(result: PrintedResult) -> float:
    return float(result.value) * (1 if MEASURES[result.measure].smaller_is_better else -1)
