"""What `eval` and `predict` do with segmenters and detectors: tables, pictures on disk, and JSON."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from convatlas.cli.common import console, print_json, progress, warn
from convatlas.structures import Problem, UsageError

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
    """`convatlas eval` for a segmenter or a detector."""
    if opened.task == "segmentation":
        if protocol == "membranes":
            _evaluate_membranes(opened, data, root, device, json)
            return
        if protocol is not None:
            raise UsageError(f"--protocol {protocol}; a segmenter sees whole pictures: expected none, or membranes")
        _evaluate_masks(opened, data, root, report, crf, device, json)
    elif opened.task == "detection":
        _evaluate_boxes(opened, data, root, protocol or "voc10", device, json)
    else:
        if protocol is not None:
            raise UsageError(f"--protocol {protocol} is for classifiers and detectors; {opened.name} finds poses")
        _evaluate_poses(opened, data, root, device, json)


def _evaluate_masks(
    opened: Any, data: str | None, root: Path | None, report: Path | None, crf: bool, device: Any, json: bool
) -> None:
    from typing import cast

    from rich.table import Table

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
            out.print(f"published: {opened.recipe.expected}", markup=False)
        out.print(f"loss {found.loss:.4f}\n")
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("class", no_wrap=True)
        for heading in ("IU", "accuracy", "boundary F1", "pixels"):
            table.add_column(heading, justify="right")
        for row in rows:
            table.add_row(row.name, *(percent(v) for v in (row.iu, row.accuracy, row.boundary_f1, row.share)))
        out.print(table, markup=False)
        if report is not None:
            out.print(f"\nreport {report}: the worst pictures and their boundaries; open it in a browser")
    for problem in found.problems:
        warn(f"{problem.path}: {problem.reason}")


def _evaluate_membranes(opened: Any, data: str | None, root: Path | None, device: Any, json: bool) -> None:
    from typing import cast

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
        out.print(f"published: {opened.recipe.expected}", markup=False)


def _evaluate_boxes(opened: Any, data: str | None, root: Path | None, protocol: Any, device: Any, json: bool) -> None:
    from rich.table import Table

    from convatlas import inference
    from convatlas.report import percent

    if protocol not in PROTOCOLS:
        raise UsageError(f"--protocol {protocol}; expected {', '.join(PROTOCOLS)} for a detector")
    with progress("Evaluating") as step:
        dataset, found = inference.evaluate_boxes(
            opened, data, protocol=protocol, root=root, device=device, on_progress=step
        )
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
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("class", no_wrap=True)
        table.add_column("AP", justify="right")
        for name, value in zip(found.classes, found.ap.tolist(), strict=True):
            table.add_row(name, percent(value))
        out.print(table, markup=False)
    for problem in found.problems:
        warn(f"{problem.path}: {problem.reason}")


def _evaluate_poses(opened: Any, data: str | None, root: Path | None, device: Any, json: bool) -> None:
    from rich.table import Table

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
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("joint", no_wrap=True)
        for heading in ("marked", "right", "median distance"):
            table.add_column(heading, justify="right")
        for row in rows:
            median = "" if row.median is None else f"{row.median:.2f}"
            table.add_row(row.name, f"{row.marked:,}", percent(row.correct), median)
        out.print(table, markup=False)
    for problem in found.problems:
        warn(f"{problem.path}: {problem.reason}")


def predict(
    opened: Any, inputs: list[str], out: Path | None, *, crf: bool, least_score: float, device: Any, json: bool
) -> int:
    """`convatlas predict` for a segmenter or a detector; gives the number of pictures that could be read."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    if opened.task == "segmentation":
        rows, problems = _predict_masks(opened, inputs, out, crf, device)
    elif opened.task == "detection":
        rows, problems = _predict_boxes(opened, inputs, out, least_score, device)
    else:
        rows, problems = _predict_poses(opened, inputs, out, device)
    if json:
        print_json({"network": opened.name, "predictions": rows, "problems": [asdict(p) for p in problems]})
    else:
        for row in rows:
            console().print(_line(row), markup=False, soft_wrap=True, highlight=False)
    for problem in problems:
        warn(f"{problem.path}: {problem.reason}")
    return len(rows)


def _line(row: dict[str, Any]) -> str:
    if "joints" in row:
        places = (f"{one['joint']} {one['x']:.0f},{one['y']:.0f}" for one in row["joints"])
        said = ", ".join(places)
    elif "shares" in row:
        said = ", ".join(f"{name} {100 * share:.1f}%" for name, share in list(row["shares"].items())[:6])
    else:
        said = ", ".join(f"{one['class']} {100 * one['score']:.0f}%" for one in row["objects"][:12]) or "nothing"
        said += f" and {len(row['objects']) - 12} more" if len(row["objects"]) > 12 else ""
    files = f" -> {row['overlay']}" if row.get("overlay") else ""
    return f"{row['path']}: {said}{files}"


def _named(out: Path, path: str, ending: str, taken: set[Path]) -> Path:
    """A file name below `out` for a picture; of two pictures of one name the second gets a number."""
    name, number = out / f"{Path(path).stem}{ending}", 2
    while name in taken:
        name, number = out / f"{Path(path).stem}_{number}{ending}", number + 1
    taken.add(name)
    return name


def _predict_masks(
    opened: Any, inputs: list[str], out: Path | None, crf: bool, device: Any
) -> tuple[list[dict[str, Any]], list[Problem]]:
    import numpy as np
    from PIL import Image

    from convatlas import inference
    from convatlas.inference.crf import DenseCRF
    from convatlas.visualise import overlays, palettes

    colours = opened.colours
    palette = np.array(colours, dtype=np.uint8) if colours else palettes.for_classes(opened.classes)
    rows: list[dict[str, Any]] = []
    problems: list[Problem] = []
    taken: set[Path] = set()
    with progress("Segmenting") as step:
        for one in inference.segment(
            opened, inputs, device=device, refine=DenseCRF() if crf else None, on_progress=step
        ):
            if isinstance(one, Problem):
                problems.append(one)
                continue
            row: dict[str, Any] = {"path": one.path, "shares": one.shares(opened.classes)}
            if out is not None:
                row["mask"] = str(_named(out, one.path, "_mask.png", taken))
                row["overlay"] = str(_named(out, one.path, "_overlay.png", taken))
                image = Image.fromarray(one.mask.numpy(), mode="P")
                image.putpalette(palette.flatten().tolist())
                image.save(row["mask"])
                picture = overlays.as_rgb(one.image.permute(1, 2, 0).squeeze(-1).numpy())
                drawn = overlays.overlay(picture, one.mask.numpy(), palette)
                present = [opened.classes.index(name) for name in row["shares"]]
                Image.fromarray(overlays.with_legend(drawn, opened.classes, palette, present)).save(row["overlay"])
            rows.append(row)
    return rows, problems


def _predict_boxes(
    opened: Any, inputs: list[str], out: Path | None, least_score: float, device: Any
) -> tuple[list[dict[str, Any]], list[Problem]]:
    from torchvision.io import write_png
    from torchvision.utils import draw_bounding_boxes

    from convatlas import inference
    from convatlas.visualise import palettes

    colours = [tuple(colour) for colour in palettes.voc(len(opened.classes) + 1)[1:].tolist()]
    rows: list[dict[str, Any]] = []
    problems: list[Problem] = []
    taken: set[Path] = set()
    with progress("Detecting") as step:
        for one in inference.detect(opened, inputs, least_score=least_score, device=device, on_progress=step):
            if isinstance(one, Problem):
                problems.append(one)
                continue
            found = one.found
            objects = [
                {"class": opened.classes[label], "score": score, "box_xyxy": [round(side, 2) for side in box]}
                for label, score, box in zip(
                    found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True
                )
            ]
            row: dict[str, Any] = {"path": one.path, "objects": objects}
            if out is not None:
                row["overlay"] = str(_named(out, one.path, "_boxes.png", taken))
                image = one.image.expand(3, -1, -1)
                if objects:
                    words = [f"{entry['class']} {100 * entry['score']:.0f}%" for entry in objects]
                    chosen = [colours[label] for label in found.labels.tolist()]
                    image = draw_bounding_boxes(image, found.boxes, words, chosen, width=2)
                write_png(image, row["overlay"])
            rows.append(row)
    return rows, problems


def _predict_poses(
    opened: Any, inputs: list[str], out: Path | None, device: Any
) -> tuple[list[dict[str, Any]], list[Problem]]:
    import numpy as np
    from PIL import Image

    from convatlas import inference
    from convatlas.data.pose.people import limbs
    from convatlas.visualise import overlays

    sides = {side: [i for i, name in enumerate(opened.classes) if name.startswith(side)] for side in ("left", "right")}
    rows: list[dict[str, Any]] = []
    problems: list[Problem] = []
    taken: set[Path] = set()
    with progress("Finding joints") as step:
        for one in inference.find_poses(opened, inputs, device=device, on_progress=step):
            if isinstance(one, Problem):
                problems.append(one)
                continue
            columns = zip(opened.classes, one.joints.tolist(), one.scores.tolist(), strict=True)
            joints = [{"joint": name, "x": x, "y": y, "score": score} for name, (x, y), score in columns]
            row: dict[str, Any] = {"path": one.path, "joints": joints}
            if out is not None:
                row["overlay"] = str(_named(out, one.path, "_pose.png", taken))
                picture = overlays.as_rgb(one.image.permute(1, 2, 0).squeeze(-1).numpy())
                seen = np.ones(len(joints), dtype=bool)
                drawn = overlays.skeleton(picture, one.joints.numpy(), seen, limbs(opened.classes), **sides)
                Image.fromarray(drawn).save(row["overlay"])
            rows.append(row)
    return rows, problems
