"""What `eval` does with segmenters, pose networks and detectors: tables, pages and JSON."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from convatlas.cli import tables
from convatlas.cli.common import console, literal, print_json, progress, warn
from convatlas.errors import UsageError
from convatlas.facts.results import PrintedResult
from convatlas.records import AP_PROTOCOLS


@dataclass(frozen=True)
class Manner:
    """How a network is evaluated, and what is made of the result."""

    report: Path | None
    crf: bool
    threshold: float | None
    device: Any
    json: bool
    epoch: int | None  # whose weights are evaluated

    @property
    def epoch_words(self) -> str:
        return "" if self.epoch is None else f", weights of epoch {self.epoch}"


def evaluate_segmenter(opened: Any, data: str | None, root: Path | None, protocol: str | None, manner: Manner) -> None:
    if protocol == "membranes" and manner.threshold is not None:
        raise UsageError("--threshold with --protocol membranes, which tries every threshold; expected one of them")
    if protocol == "membranes":
        _evaluate_membranes(opened, data, root, manner)
        return
    if protocol is not None:
        raise UsageError(f"--protocol {protocol}; a segmenter sees whole images: expected none, or membranes")
    _evaluate_masks(opened, data, root, manner)


def evaluate_pose_network(
    opened: Any, data: str | None, root: Path | None, protocol: str | None, manner: Manner
) -> None:
    if protocol is not None:
        raise UsageError(f"--protocol {protocol} is for classifiers and detectors; {opened.name} finds poses")
    _evaluate_poses(opened, data, root, manner)


def _evaluate_masks(opened: Any, data: str | None, root: Path | None, manner: Manner) -> None:
    from convatlas import inference
    from convatlas.data.segmentation.splits import MaskSplit
    from convatlas.inference.crf import DenseCRF
    from convatlas.inference.evaluate import load_data
    from convatlas.report import percent, printed_beside
    from convatlas.report.page import save
    from convatlas.report.tasks import mask_rows, masks_page

    dataset = load_data(opened, data, root)
    with progress("Evaluating") as step:
        survey = inference.survey_masks(
            inference.of_classes(opened, dataset),
            cast(MaskSplit, dataset.test),
            device=manner.device,
            refine=DenseCRF() if manner.crf else None,
            threshold=manner.threshold,
            on_progress=step,
        )
    found, rows = survey.evaluation, mask_rows(survey)
    printed = printed_beside((opened.name,), dataset.name, found)
    if manner.report is not None:
        save(manner.report, masks_page(survey, f"{opened.name} on {dataset.name}"))
    if manner.json:
        print_json({
            "network": opened.name, "data": dataset.name, "pictures": len(survey.indices), "protocol": found.protocol,
            "epoch": manner.epoch, "threshold": manner.threshold,
            "seconds": found.seconds, "pixel_accuracy": found.pixel_accuracy, "mean_accuracy": found.mean_accuracy,
            "mean_iu": found.mean_iu, "frequency_weighted_iu": found.frequency_weighted_iu, "loss": found.loss,
            "boundary_f1": survey.boundary.mean, "classes": [asdict(row) for row in rows],
            "published": [asdict(row) for row in printed],
            "trimap": dict(zip(map(str, survey.trimap.widths), survey.trimap.mean_iu.tolist(), strict=True)),
            "problems": [asdict(problem) for problem in found.problems],
        })  # fmt: skip
    else:
        out = console()
        out.print(f"{opened.name} on {dataset.name}: {len(survey.indices):,} test images, {found.protocol}"
                  f"{manner.epoch_words}, {found.seconds:.1f} s", markup=False)  # fmt: skip
        out.print(f"[bold]mean IoU {percent(found.mean_iu)}[/], pixel accuracy {percent(found.pixel_accuracy)}, mean "
                  f"accuracy {percent(found.mean_accuracy)}, frequency-weighted IoU "
                  f"{percent(found.frequency_weighted_iu)}, boundary F1 {percent(survey.boundary.mean)}")  # fmt: skip
        say_printed(printed)
        out.print(f"loss {found.loss:.4f}\n")
        columns = ([row.name, *map(percent, (row.iu, row.accuracy, row.boundary_f1, row.share))] for row in rows)
        print_table(("class", "IoU", "accuracy", "boundary F1", "pixels"), columns)
        if manner.report is not None:
            say_report(manner.report, "the worst images and their boundaries")
    for problem in found.problems:
        warn(f"{problem.path}: {problem.reason}")


def _evaluate_membranes(opened: Any, data: str | None, root: Path | None, manner: Manner) -> None:
    from convatlas.data.segmentation.splits import MaskSplit
    from convatlas.facts.comparable import results_beside
    from convatlas.inference.evaluate import load_data
    from convatlas.inference.membranes import score_membranes
    from convatlas.report.printed import MEMBRANE_MEASURES

    dataset = load_data(opened, data, root)
    with progress("Evaluating") as step:
        found = score_membranes(opened, cast(MaskSplit, dataset.test), device=manner.device, on_progress=step)
    printed = results_beside(opened.name, dataset.name, found.protocol, MEMBRANE_MEASURES)
    if manner.json:
        published = [asdict(row) for row in printed]
        named = {"network": opened.name, "data": dataset.name, "epoch": manner.epoch, "published": published}
        print_json({**named, **asdict(found)})
        return
    out = console()
    out.print(
        f"{opened.name} on {dataset.name}: {found.images} test images, {found.protocol}{manner.epoch_words}",
        markup=False,
    )
    for name, best in (("pixel", found.pixel), ("foreground Rand", found.foreground_rand), ("Rand", found.rand)):
        out.print(f"{name} error {best.error:.4f} at threshold {best.threshold:.2f}", highlight=False)
    out.print(f"warping error {found.warping:.6f}", highlight=False)
    say_printed(printed)


def evaluate_detector(opened: Any, data: str | None, root: Path | None, protocol: str | None, manner: Manner) -> None:
    from convatlas import inference
    from convatlas.evaluation.threshold import at_threshold
    from convatlas.report import percent, printed_beside

    rules: Any = protocol or "voc10"
    if rules not in AP_PROTOCOLS:
        raise UsageError(f"--protocol {protocol}; expected {', '.join(AP_PROTOCOLS)} for a detector")
    with progress("Evaluating") as step:
        dataset, found = inference.evaluate_boxes(
            opened, data, protocol=rules, root=root, device=manner.device, on_progress=step
        )
    printed = printed_beside((opened.name,), dataset.name, found)
    if manner.report is not None:
        from convatlas.data.detection.split import DetectionSplit
        from convatlas.report import detection
        from convatlas.report.page import save

        images = cast(DetectionSplit, dataset.test)
        save(manner.report, detection.page(found, images, f"{opened.name} on {dataset.name}"))
    if manner.json:
        print_json({
            "network": opened.name, "data": dataset.name, "pictures": len(dataset.test), "protocol": found.protocol,
            "epoch": manner.epoch, "seconds": found.seconds, "mean_ap": found.mean_ap, **found.numbers,
            "published": [asdict(row) for row in printed],
            "classes": dict(zip(found.classes, found.ap.tolist(), strict=True)), "threshold": manner.threshold,
            "at_threshold": None if manner.threshold is None else [
                asdict(row) | {"f1": row.f1} for row in at_threshold(found, manner.threshold)
            ],
            "problems": [asdict(problem) for problem in found.problems],
        })  # fmt: skip
    else:
        out = console()
        out.print(f"{opened.name} on {dataset.name}: {len(dataset.test):,} test images{manner.epoch_words}, "
                  f"{found.seconds:.1f} s", markup=False)  # fmt: skip
        numbers = ", ".join(f"{name} {percent(known(value))}" for name, value in found.numbers.items())
        rules = AP_PROTOCOLS[found.protocol]
        say = f"[bold]mean AP {percent(known(found.mean_ap))}[/] by {rules.name}'s protocol ({rules.rule})"
        out.print(f"{say}{', ' * bool(numbers)}{numbers}")
        say_printed(printed)
        out.print()
        aps = [known(ap) for ap in found.ap.tolist()]
        if manner.threshold is None:
            print_table(("class", "AP"), ([name, percent(ap)] for name, ap in zip(found.classes, aps, strict=True)))
        else:
            out.print(f"precision, recall and F1 of boxes with a score of at least {manner.threshold:g}, at IoU 0.5")
            rows = at_threshold(found, manner.threshold)
            columns = (
                [row.name, percent(ap), *(percent(known(value)) for value in (row.precision, row.recall, row.f1))]
                for row, ap in zip(rows, aps, strict=True)
            )
            print_table(("class", "AP", "precision", "recall", "F1"), columns)
        if manner.report is not None:
            say_report(manner.report, "curves, mistakes and the worst images")
    for problem in found.problems:
        warn(f"{problem.path}: {problem.reason}")


def _evaluate_poses(opened: Any, data: str | None, root: Path | None, manner: Manner) -> None:
    from convatlas import inference
    from convatlas.report import percent, printed_beside
    from convatlas.report.pose import joint_rows

    with progress("Evaluating") as step:
        dataset, found = inference.evaluate_poses(opened, data, root=root, device=manner.device, on_progress=step)
    rows = joint_rows(found)
    printed = printed_beside((opened.name,), dataset.name, found)
    if manner.report is not None:
        from convatlas.data.pose.people import PeopleSplit
        from convatlas.report.page import save
        from convatlas.report.tasks import poses_page

        people = cast(PeopleSplit, dataset.test)
        title = f"{opened.name} on {dataset.name}"
        save(manner.report, poses_page(inference.of_classes(opened, dataset), found, people, title))
    if manner.json:
        print_json({
            "network": opened.name, "data": dataset.name, "people": len(found.distances), "protocol": found.protocol,
            "epoch": manner.epoch,
            "seconds": found.seconds, "measure": found.measure, "correct": found.correct, "loss": found.loss,
            "published": [asdict(row) for row in printed],
            "joints": [asdict(row) for row in rows], "problems": [asdict(problem) for problem in found.problems],
        })  # fmt: skip
    else:
        out = console()
        out.print(f"{opened.name} on {dataset.name}: {len(found.distances):,} people, {found.protocol}"
                  f"{manner.epoch_words}, {found.seconds:.1f} s", markup=False)  # fmt: skip
        out.print(f"[bold]{found.measure} {percent(found.correct)}[/], loss {found.loss:.4g}")
        say_printed(printed)
        out.print()
        medians = ["" if row.median is None else f"{row.median:.2f}" for row in rows]
        columns = ([row.name, f"{row.marked:,}", percent(row.correct), m] for row, m in zip(rows, medians, strict=True))
        print_table(("joint", "marked", "right", "median distance"), columns)
        if manner.report is not None:
            say_report(manner.report, "the worst poses")
    for problem in found.problems:
        warn(f"{problem.path}: {problem.reason}")


def say_printed(results: Sequence[PrintedResult]) -> None:
    """The printed results of the same data, measure and protocol."""
    for result in results:
        console().print(f"published: {result}", markup=False, highlight=False)


def say_report(path: Path, shows: str) -> None:
    console().print(f"\nreport {literal(path)}: {shows}; open it in a browser")


def known(value: float) -> float | None:
    """None in the place of NaN, which is printed as a dash."""
    return None if math.isnan(value) else value


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """The first column is names, the others are numbers."""
    columns = [tables.Column(headings[0], wrap=12), *(tables.Column(name, right=True) for name in headings[1:])]
    tables.print_table(console(), columns, list(rows))
