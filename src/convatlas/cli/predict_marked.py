"""What `predict` does with segmenters, pose networks and detectors: lines, JSON, and pictures on disk."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from convatlas.cli.common import console, print_json, progress, warn
from convatlas.structures import Problem

Found = tuple[list[dict[str, Any]], list[Problem]]  # a row a picture, and what could not be read


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


def _predict_masks(opened: Any, inputs: list[str], out: Path | None, crf: bool, device: Any) -> Found:
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


def _predict_boxes(opened: Any, inputs: list[str], out: Path | None, least_score: float, device: Any) -> Found:
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


def _predict_poses(opened: Any, inputs: list[str], out: Path | None, device: Any) -> Found:
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
