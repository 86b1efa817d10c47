"""People from COCO's keypoints and from MPII's annotations, as released (.mat) or as the usual JSON."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from convatlas.data import limits
from convatlas.data.detection.annotations import read_size
from convatlas.data.detection.images import ImageFinder, image_folders
from convatlas.data.part_names import PARTS, part_in, part_of
from convatlas.data.pose.matlab import read_release
from convatlas.data.pose.people import COCO, MPII, PeopleSplit, Person
from convatlas.errors import ConvatlasError
from convatlas.records import Problem

LAYOUTS = (
    "COCO's person_keypoints_*.json, MPII's mpii_human_pose_v1_u12*.mat, or its annot/train.json and annot/valid.json, "
    "with the images below the same folder"
)
_COCO_MARGIN = 1.25  # of the square around a box, as usual since Mask R-CNN's keypoints
_MPII_UNIT = 200  # pixels that a person of scale 1 is high
_MPII_MARGIN = 1.25
_HEAD_BIAS = 0.6  # of the head box's diagonal, as MPII's toolkit measures
_HALF = 0.5  # from the middle of a pixel to its edge
_MAX_PX = 1e6  # coordinates and lengths of a usable annotation

_ERRORS = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RuntimeError)


@dataclass
class _Found:
    """What a file says, before its images are looked for: (image's name, its annotated size, person)."""

    people: list[tuple[str, tuple[int, int] | None, Person]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)  # by design, not for a fault
    first_error: Exception | None = None

    def fault(self, name: str, error: Exception) -> None:
        self.first_error = self.first_error or error
        self.problems.append(Problem(name, f"a person who can't be used ({type(error).__name__}: {error!s:.120})"))


def read_people(path: Path) -> tuple[PeopleSplit, PeopleSplit | None, tuple[str, ...]]:
    """Training split, test split (validation's where there is no other, or None) and the names of the joints.

    Raises:
        ConvatlasError: no annotations of a known layout, or none that can be used.
    """
    parts, names = read_people_parts(path)
    if "train" not in parts:
        raise ConvatlasError(f"{path} has no annotations of a training split; expected {LAYOUTS}")
    return parts["train"], parts.get("test") or parts.get("val"), names


def read_people_parts(path: Path) -> tuple[dict[str, PeopleSplit], tuple[str, ...]]:
    """The splits of a folder, "train" first where it has one, and the names of the joints.

    Raises:
        ConvatlasError: as `read_people`.
    """
    if files := _by_part(sorted(path.rglob("*keypoints*.json")), path):
        return {part: _split(path, files[part], _coco, part) for part in PARTS if part in files}, COCO
    if releases := sorted(path.rglob("mpii_human_pose*.mat")):
        return {"train": _split(path, releases[0], _mpii_release, "train")}, MPII
    if files := _by_part(sorted(file for file in path.rglob("*.json") if part_of(file.stem)), path):
        return {part: _split(path, files[part], _mpii_json, part) for part in PARTS if part in files}, MPII
    raise ConvatlasError(f"{path} has no annotations of people; expected {LAYOUTS}")


def _by_part(files: list[Path], path: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    visible = [file for file in files if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    for file in visible:
        part = part_in(file.stem) or "train"
        if len(visible) == 1 and part == "val":
            part = "train"
        if part in found:
            raise ConvatlasError(f"{found[part]} and {file} are both the {part} part; expected one of them")
        found[part] = file
    return found


def _split(path: Path, file: Path, reader: Callable[[Path], _Found], part: str) -> PeopleSplit:
    try:
        found = reader(file)
    except OSError as error:
        raise ConvatlasError(f"{file}: no annotations that can be read ({error.strerror or error})") from error
    except ConvatlasError as error:
        known = str(error).startswith(f"{file}:")
        raise error if known else ConvatlasError(f"{file}: no annotations that can be read ({error})") from error
    except _ERRORS as error:
        raise ConvatlasError(f"{file}: annotations of another form ({type(error).__name__}: {error})") from error
    if not found.people and found.first_error is not None:
        error = found.first_error
        raise ConvatlasError(f"{file}: annotations of another form ({type(error).__name__}: {error})") from error
    names = [name for name, _, _ in found.people]
    folders = image_folders(file, part, f"{part}2017", file.stem.removeprefix("person_keypoints_"))
    finder = ImageFinder([*folders, path], names)
    files = {name: finder.find(name) for name in dict.fromkeys(names)}
    absent = [Problem(name, f"annotated, but {finder.explain(name)}") for name, image in files.items() if image is None]
    usable = [(image, size, person) for name, size, person in found.people if (image := files[name]) is not None]
    if not found.people:
        reasons = "; ".join(f"{count:,} {what}" for what, count in found.left_out.items()) or "no annotation"
        raise ConvatlasError(f"{file} has no person with a joint: {reasons}; expected {LAYOUTS}")
    if not usable:
        first = f"; the first problem: {absent[0].path}: {absent[0].reason}" if absent else ""
        raise ConvatlasError(f"no annotated person has an image; expected {LAYOUTS}{first}")
    paths, sizes, people = zip(*usable, strict=True)
    joints, measure = (COCO, "PCK@0.2") if reader is _coco else (MPII, "PCKh@0.5")
    notes = [Problem(str(file), f"{count:,} {what}, who are left out") for what, count in found.left_out.items()]
    problems = list(dict.fromkeys([*found.problems, *absent]))
    return PeopleSplit(paths, people, joints, measure, problems, sizes=sizes, notes=notes)


def _coco(file: Path) -> _Found:
    """Everyone with at least one joint; crowds are left out. Lengths are the longer side of the box."""
    content, found = limits.load_json(file), _Found()
    for key in ("images", "annotations"):
        ids = Counter(str(entry["id"]) for entry in content[key] if "id" in entry)
        if twice := next((value for value, count in ids.most_common(1) if count > 1), None):
            raise ConvatlasError(f"{file}: id {twice[:60]} is there twice among its {key}; expected every one once")
    images = {image["id"]: image for image in content["images"]}
    for entry in content["annotations"]:
        triples = entry.get("keypoints") or ()
        # Many tools leave the count out: then it is what the joints say.
        has_joints = entry["num_keypoints"] if "num_keypoints" in entry else any(seen != 0 for seen in triples[2::3])
        if entry.get("iscrowd") or not has_joints:
            found.left_out["crowds" if entry.get("iscrowd") else "people without a joint"] += 1
            continue
        if (count := len(triples)) != 3 * len(COCO):
            raise ValueError(f"keypoints of {count} numbers; expected {3 * len(COCO)}, COCO's {len(COCO)} joints")
        named = f"{file}, annotation {str(entry.get('id'))[:40]}"
        try:
            image = images[entry["image_id"]]
            size = read_size(image.get("height") or 0, image.get("width") or 0)
            found.people.append((str(image["file_name"]), size, _coco_person(entry)))
        except _ERRORS as error:
            found.fault(named, error)
    return found


def _coco_person(entry: Any) -> Person:
    table = torch.tensor([float(value) for value in entry["keypoints"]], dtype=torch.float32).view(-1, 3)
    x, y, width, height = map(float, entry["bbox"])
    longer = float(max(width, height, 1))
    centre = (x + width / 2, y + height / 2)
    return _checked(Person(centre, _COCO_MARGIN * longer, table[:, :2] + _HALF, table[:, 2] > 0, longer))


def _checked(person: Person) -> Person:
    """The person, if all places and lengths are finite and of a usable size."""
    numbers = (*person.centre, person.side_px, person.length_px, *person.joints[person.marked].flatten().tolist())
    if not all(math.isfinite(number) and abs(number) <= _MAX_PX for number in numbers):
        raise ValueError(f"a coordinate or length that is no number of pixels up to {_MAX_PX:,.0f}")
    if not person.marked.any():
        raise ValueError("no joint is marked")
    if person.side_px <= 0:
        raise ValueError(f"a scale of {person.side_px / _MPII_UNIT / _MPII_MARGIN:g}; expected above 0")
    return person


def _mpii_json(file: Path) -> _Found:
    """The JSON that is usual for the release's people; without head boxes, so the head is from neck to top."""
    found = _Found()
    for number, entry in enumerate(_listed(limits.load_json(file)), start=1):
        try:
            joints = torch.tensor([[float(side) for side in point] for point in entry["joints"]], dtype=torch.float32)
            marked = torch.tensor([float(seen) for seen in entry["joints_vis"]]) > 0
            if joints.shape != (len(MPII), 2) or marked.shape != (len(MPII),):
                raise ValueError(f"joints of shape {tuple(joints.shape)}; expected {len(MPII)} places")
            marked &= (joints > 0).all(dim=1)
            head = (joints[MPII.index("head top")] - joints[MPII.index("upper neck")]).norm().item()
            if not math.isfinite(head):
                head = 0.0
            person = _mpii_person(entry["center"], float(entry["scale"]), joints, marked, head)
            found.people.append((str(entry["image"]), None, person))
        except _ERRORS as error:
            found.fault(f"{file}, entry {number}", error)
    return found


def _listed(content: Any) -> list[Any]:
    if not isinstance(content, list):
        raise TypeError(f"a {type(content).__name__}; expected a list of people")
    return content


def _mpii_release(file: Path) -> _Found:
    """The training images of MPII's Matlab file: those of the test part have no joints."""
    release, found = read_release(file), _Found()
    for image, is_training in zip(_many(release["annolist"]), _many(release["img_train"]), strict=True):
        if not is_training:
            found.left_out["test images without joints"] += 1
            continue
        name = str(image["image"]["name"])
        for someone in _many(image["annorect"]):
            try:
                person = _release_person(someone)
                if person is None:
                    found.left_out["people without joints or place"] += 1
                else:
                    found.people.append((name, None, person))
            except _ERRORS as error:
                found.fault(f"{file}, {name[:80]}", error)
    return found


def _release_person(someone: Any) -> Person | None:
    points, place = someone.get("annopoints"), someone.get("objpos")
    if not isinstance(points, dict) or not isinstance(place, dict) or "point" not in points or "x" not in place:
        return None  # a field that somebody lacks is an empty matrix
    joints, marked = torch.zeros(len(MPII), 2), torch.zeros(len(MPII), dtype=torch.bool)
    for point in _many(points["point"]):
        joint = int(point["id"])
        if not 0 <= joint < len(MPII):
            raise ValueError(f"joint {joint}; expected 0 to {len(MPII) - 1}")
        joints[joint] = torch.tensor([float(point["x"]), float(point["y"])])
        marked[joint] = True
    diagonal = math.hypot(*(float(someone[f"{axis}2"]) - float(someone[f"{axis}1"]) for axis in "xy"))
    centre = (float(place["x"]), float(place["y"]))
    return _mpii_person(centre, float(someone["scale"]), joints, marked, _HEAD_BIAS * diagonal)


def _many(value: Any) -> list[Any]:
    """What Matlab's squeezing has made of a list: one alone is no list any more."""
    return value if isinstance(value, list) else [value]


def _mpii_person(centre: Any, scale: float, joints: torch.Tensor, marked: torch.Tensor, head: float) -> Person:
    """Matlab counts pixels from 1. The centre lies somewhat low, as in the hourglass's release: 15 pixels a scale."""
    x, y = float(centre[0]), float(centre[1]) + 15 * scale
    side = _MPII_MARGIN * _MPII_UNIT * scale
    return _checked(Person((x - _HALF, y - _HALF), side, joints - _HALF, marked, max(head, 1.0)))
