"""What `predict` does with segmenters, pose networks and detectors: lines, JSON, and images on disk."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from convatlas.cli.common import console, print_json, progress, visible, warn
from convatlas.records import Problem

Row = dict[str, Any]
_LEGIBLE = 480  # pixels of the longer side from which on names can be read


class Names:
    """File names below a folder for what is drawn of images; of two images of one name the second gets a number."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.taken = folder, set[Path]()

    def of(self, path: str, ending: str) -> str:
        name, number = self.folder / f"{Path(path).stem}{ending}", 2
        while name in self.taken:
            name, number = self.folder / f"{Path(path).stem}_{number}{ending}", number + 1
        self.taken.add(name)
        return str(name)


def predict(
    opened: Any, inputs: list[str], out: Path | None, *, crf: bool, least_score: float | None, device: Any, json: bool
) -> int:
    """`convatlas predict` for any network but a classifier; gives the number of images that could be read."""
    from convatlas import inference
    from convatlas.inference.crf import DenseCRF

    names = None
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        names = Names(out)
    with progress("Looking") as step:
        common = {"device": device, "on_progress": step}
        if opened.task == "segmentation":
            found = inference.segment(
                opened, inputs, refine=DenseCRF() if crf else None, threshold=least_score, **common
            )
            rows, problems = _rows(found, mask_row, opened, names)
        elif opened.task == "detection":
            found = inference.detect(opened, inputs, least_score=least_score, **common)
            rows, problems = _rows(found, box_row, opened, names)
        else:
            rows, problems = _rows(inference.find_poses(opened, inputs, **common), pose_row, opened, names)
    if json:
        print_json({"network": opened.name, "predictions": rows, "problems": [asdict(p) for p in problems]})
    else:
        for row in rows:
            console().print(visible(line(row)), markup=False)
    for problem in problems:
        warn(f"{problem.path}: {problem.reason}")
    return len(rows)


def _rows(
    found: Iterator[Any], row_of: Callable[[Any, Any, Names | None], Row], opened: Any, names: Names | None
) -> tuple[list[Row], list[Problem]]:
    """A row an image, and what could not be read."""
    rows: list[Row] = []
    problems: list[Problem] = []
    for one in found:
        if isinstance(one, Problem):
            problems.append(one)
        else:
            rows.append({"path": one.path} | row_of(one, opened, names))
    return rows, problems


def line(row: Row) -> str:
    if "joints" in row:
        said = ", ".join(f"{one['joint']} {one['x']:.0f},{one['y']:.0f}" for one in row["joints"])
    elif "shares" in row:
        said = ", ".join(f"{name} {100 * share:.1f}%" for name, share in list(row["shares"].items())[:6])
    else:
        said = ", ".join(f"{one['class']} {one['score']:.2f}" for one in row["objects"][:12]) or "nothing"
        said += f" and {len(row['objects']) - 12} more" if len(row["objects"]) > 12 else ""
    files = f" -> {row['overlay']}" if "overlay" in row else ""
    return f"{row['path']}: {said}{files}"


def mask_row(one: Any, opened: Any, names: Names | None) -> Row:
    """The classes' shares; written are the mask, a palette image, and an overlay with its legend."""
    import numpy as np
    from PIL import Image

    from convatlas.visualise import overlays, palettes

    row: Row = {"shares": one.shares(opened.classes)}
    if names is None:
        return row
    colours = opened.colours
    palette = np.array(colours, dtype=np.uint8) if colours else palettes.for_classes(opened.classes)
    row |= {"mask": names.of(one.path, "_mask.png"), "overlay": names.of(one.path, "_overlay.png")}
    image = Image.fromarray(one.mask.numpy(), mode="P")
    image.putpalette(palette.flatten().tolist())
    image.save(row["mask"])
    drawn = overlays.overlay(pixels(one), one.mask.numpy(), palette)
    present = [opened.classes.index(name) for name in row["shares"]]
    Image.fromarray(overlays.with_legend(drawn, opened.classes, palette, present)).save(row["overlay"])
    return row


def box_row(one: Any, opened: Any, names: Names | None) -> Row:
    """The objects, the most certain first; written is the image with their boxes."""
    labels, scores, boxes = (values.tolist() for values in (one.found.labels, one.found.scores, one.found.boxes))
    row: Row = {
        "objects": [
            {"class": opened.classes[label], "score": score, "box_xyxy": [round(side, 2) for side in box]}
            for label, score, box in zip(labels, scores, boxes, strict=True)
        ]
    }
    if names is None:
        return row
    from convatlas.data.detection.drawing import draw_boxes

    row["overlay"] = names.of(one.path, "_boxes.png")
    longest = max(_LEGIBLE, *one.image.shape[1:])
    draw_boxes(one.image, one.found, opened.classes, longest=longest).save(row["overlay"])
    return row


def pose_row(one: Any, opened: Any, names: Names | None) -> Row:
    """The joints; written is the image with the skeleton."""
    columns = zip(opened.classes, one.joints.tolist(), one.scores.tolist(), strict=True)
    row: Row = {"joints": [{"joint": name, "x": x, "y": y, "score": score} for name, (x, y), score in columns]}
    if names is None:
        return row
    import numpy as np
    from PIL import Image

    from convatlas.data.pose.people import limbs, sides
    from convatlas.visualise import overlays

    row["overlay"] = names.of(one.path, "_pose.png")
    seen = np.ones(len(opened.classes), dtype=bool)
    left, right = sides(opened.classes)
    drawn = overlays.skeleton(pixels(one), one.joints.numpy(), seen, limbs(opened.classes), left=left, right=right)
    Image.fromarray(drawn).save(row["overlay"])
    return row


def pixels(one: Any) -> Any:
    """(H, W, 3) uint8"""
    from convatlas.visualise import overlays

    return overlays.as_rgb(one.image.permute(1, 2, 0).squeeze(-1).numpy())
