"""What `eval` does with segmenters, pose networks and detectors: tables, pages and JSON."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from convatlas.cli.common import console, literal, print_json, progress, warn
from convatlas.structures import UsageError

PROTOCOLS = ("voc07", "voc10", "coco")


def evaluate(
    opened: Any,
    data: str | None,
    root: Path | None,
    protocol: str | None,
    report: Path | None,
    *,
    crf: bool,
    device: Any,
    json: bool,
) -> None:
    """`convatlas eval` for any network but a classifier."""
    if opened.task == "segmentation":
        if protocol == "membranes":
            _evaluate_membranes(opened, data, root, device, json)
            return
        if protocol is not None:
            raise UsageError(f"--protocol {protocol}; a segmenter sees whole pictures: expected none, or membranes")
        _evaluate_masks(opened, data, root, report, crf, device, json)
    elif opened.task == "detection":
        _evaluate_boxes(opened, data, root, protocol or "voc10", report, device, json)
    else:
        if protocol is not None:
            raise UsageError(f"--protocol {protocol} is for classifiers and detectors; {opened.name} finds poses")
        _evaluate_poses(opened, data, root, device, json)


def _evaluate_masks(
    opened: Any, data: str | None, root: Path | None, report: Path | None, crf: bool, device: Any, json: bool
) -> None:
    from convatlas import inference
    from convatlas.data.dense.splits import MaskSplit
    from convatlas.inference.crf import DenseCRF
    from convatlas.inference.evaluate import load_data
    from convatlas.report import percent
    from convatlas.report.marked import mask_rows, masks_page
    from convatlas.report.page import save

    dataset = load_data(opened, data, root)
    with progress("Evaluating") as step:
        survey = inference.survey_masks(
            inference.of_classes(opened, dataset),
            cast(MaskSplit, dataset.test),
            device=device,
            refine=DenseCRF() if crf else None,
            on_progress=step,
        )
    found, rows = survey.evaluation, mask_rows(survey)
    if report is not None:
        save(report, masks_page(survey, f"{opened.name} on {dataset.name}"))
    if json:
        print_json({
            "network": opened.name, "data": dataset.name, "pictures": len(survey.indices), "protocol": found.protocol,
            "seconds": found.seconds, "pixel_accuracy": found.pixel_accuracy, "mean_accuracy": found.mean_accuracy,
            "mean_iu": found.mean_iu, "frequency_weighted_iu": found.frequency_weighted_iu, "loss": found.loss,
            "boundary_f1": survey.boundary.mean, "classes": [asdict(row) for row in rows],
            "trimap": dict(zip(map(str, survey.trimap.widths), survey.trimap.mean_iu.tolist(), strict=True)),
            "problems": [asdict(problem) for problem in found.problems],
        })  # fmt: skip
    else:
        out = console()
        out.print(f"{opened.name} on {dataset.name}: {len(survey.indices):,} test pictures, {found.protocol}, "
                  f"{found.seconds:.1f} s", markup=False)  # fmt: skip
        out.print(f"[bold]mean IU {percent(found.mean_iu)}[/], pixel accuracy {percent(found.pixel_accuracy)}, mean "
                  f"accuracy {percent(found.mean_accuracy)}, frequency-weighted IU "
                  f"{percent(found.frequency_weighted_iu)}, boundary F1 {percent(survey.boundary.mean)}")  # fmt: skip
        if opened.recipe is not None and opened.recipe.expected:
            out.print(f"expected: {opened.recipe.expected}", markup=False)
        out.print(f"loss {found.loss:.4f}\n")
        columns = ([row.name, *map(percent, (row.iu, row.accuracy, row.boundary_f1, row.share))] for row in rows)
        print_table(("class", "IU", "accuracy", "boundary F1", "pixels"), columns)
        if report is not None:
            out.print(f"\nreport {report}: the worst pictures and their boundaries; open it in a browser")
    for problem in found.problems:
        warn(f"{problem.path}: {problem.reason}")


def _evaluate_membranes(opened: Any, data: str | None, root: Path | None, device: Any, json: bool) -> None:
    from convatlas.data.dense.splits import MaskSplit
    from convatlas.inference.evaluate import load_data
    from convatlas.inference.membranes import score_membranes

    dataset = load_data(opened, data, root)
    with progress("Evaluating") as step:
        found = score_membranes(opened, cast(MaskSplit, dataset.test), device=device, on_progress=step)
    if json:
        print_json({"network": opened.name, "data": dataset.name, **asdict(found)})
        return
    out = console()
    out.print(f"{opened.name} on {dataset.name}: {found.pictures} test pictures, {found.protocol}", markup=False)
    for name, best in (("pixel", found.pixel), ("foreground Rand", found.foreground_rand), ("Rand", found.rand)):
        out.print(f"{name} error {best.error:.4f} at threshold {best.threshold:.2f}", highlight=False)
    out.print(f"warping error {found.warping:.6f}", highlight=False)
    if opened.recipe is not None and opened.recipe.expected:
        out.print(f"expected: {opened.recipe.expected}", markup=False)


def _evaluate_boxes(
    opened: Any, data: str | None, root: Path | None, protocol: Any, report: Path | None, device: Any, json: bool
) -> None:
    from convatlas import inference
    from convatlas.report import percent

    if protocol not in PROTOCOLS:
        raise UsageError(f"--protocol {protocol}; expected {', '.join(PROTOCOLS)} for a detector")
    with progress("Evaluating") as step:
        dataset, found = inference.evaluate_boxes(
            opened, data, protocol=protocol, root=root, device=device, on_progress=step
        )
    if report is not None:
        from convatlas.data.detection.split import DetectionSplit
        from convatlas.report import detection
        from convatlas.report.page import save

        pictures = cast(DetectionSplit, dataset.test)
        save(report, detection.page(found, pictures, f"{opened.name} on {dataset.name}"))
    if json:
        print_json({
            "network": opened.name, "data": dataset.name, "pictures": len(dataset.test), "protocol": found.protocol,
            "seconds": found.seconds, "mean_ap": found.mean_ap, **found.numbers,
            "classes": dict(zip(found.classes, found.ap.tolist(), strict=True)),
            "problems": [asdict(problem) for problem in found.problems],
        })  # fmt: skip
    else:
        out = console()
        out.print(f"{opened.name} on {dataset.name}: {len(dataset.test):,} test pictures, {found.protocol}, "
                  f"{found.seconds:.1f} s", markup=False)  # fmt: skip
        numbers = ", ".join(f"{name} {percent(value)}" for name, value in found.numbers.items())
        out.print(f"[bold]mAP {percent(found.mean_ap)}[/], {numbers}\n")
        columns = ([name, percent(ap)] for name, ap in zip(found.classes, found.ap.tolist(), strict=True))
        print_table(("class", "AP"), columns)
    for problem in found.problems:
        warn(f"{problem.path}: {problem.reason}")


def _evaluate_poses(opened: Any, data: str | None, root: Path | None, device: Any, json: bool) -> None:
    from convatlas import inference
    from convatlas.report import percent
    from convatlas.report.pose import joint_rows

    with progress("Evaluating") as step:
        dataset, found = inference.evaluate_poses(opened, data, root=root, device=device, on_progress=step)
    rows = joint_rows(found)
    if json:
        print_json({
            "network": opened.name, "data": dataset.name, "people": len(found.distances), "protocol": found.protocol,
            "seconds": found.seconds, "measure": found.measure, "correct": found.correct, "loss": found.loss,
            "joints": [asdict(row) for row in rows], "problems": [asdict(problem) for problem in found.problems],
        })  # fmt: skip
    else:
        out = console()
        out.print(f"{opened.name} on {dataset.name}: {len(found.distances):,} people, {found.protocol}, "
                  f"{found.seconds:.1f} s", markup=False)  # fmt: skip
        out.print(f"[bold]{found.measure} {percent(found.correct)}[/], loss {found.loss:.4g}\n")
        medians = ["" if row.median is None else f"{row.median:.2f}" for row in rows]
        columns = ([row.name, f"{row.marked:,}", percent(row.correct), m] for row, m in zip(rows, medians, strict=True))
        print_table(("joint", "marked", "right", "median distance"), columns)
    for problem in found.problems:
        warn(f"{problem.path}: {problem.reason}")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """The first column is names, the others are numbers."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(headings[0], no_wrap=True)
    for heading in headings[1:]:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*map(literal, row))
    console().print(table)
