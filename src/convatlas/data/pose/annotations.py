"""People from COCO's keypoints and from MPII's annotations, as released (.mat) or as the usual JSON."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from convatlas.data.pose.people import COCO, MPII, PeopleSplit, Person
from convatlas.structures import ConvatlasError, Problem

LAYOUTS = (
    "COCO's person_keypoints_*.json, MPII's mpii_human_pose_v1_u12*.mat, or its annot/train.json and annot/valid.json, "
    "with the pictures below the same folder"
)
_COCO_MARGIN = 1.25  # of the square around a box, as usual since Mask R-CNN's keypoints
_MPII_UNIT = 200  # pixels that a person of scale 1 is high
_MPII_MARGIN = 1.25
_HEAD_BIAS = 0.6  # of the head box's diagonal, as MPII's toolkit measures
_HALF = 0.5  # from the middle of a pixel to its edge

Found = tuple[str, Person]


def read_people(path: Path) -> tuple[PeopleSplit, PeopleSplit | None, tuple[str, ...]]:
    """Training part, test part (None where there is none) and the names of the joints.

    Raises:
        ConvatlasError: no annotations of a known layout, or none that can be used.
    """
    pictures = _Pictures(path)
    if files := sorted(path.rglob("*keypoints*.json")):
        parts = {part: file for file in files for part in ("train", "val", "test") if part in file.stem}
        train = parts.get("train", files[0])
        held_out = parts.get("val")
        make = lambda file: _split(_coco(file), pictures, COCO, "PCK@0.2")  # noqa: E731
        return make(train), make(held_out) if held_out not in (None, train) else None, COCO
    if files := sorted(path.rglob("mpii_human_pose*.mat")):
        return _split(_mpii_release(files[0]), pictures, MPII, "PCKh@0.5"), None, MPII
    train, valid = (next(path.rglob(f"{name}.json"), None) for name in ("train", "valid"))
    if train is not None:
        first = _split(_mpii_json(train), pictures, MPII, "PCKh@0.5")
        return first, _split(_mpii_json(valid), pictures, MPII, "PCKh@0.5") if valid else None, MPII
    raise ConvatlasError(f"{path} has no annotations of people; expected {LAYOUTS}")


class _Pictures:
    """Files below a folder by their name; listed once."""

    def __init__(self, folder: Path) -> None:
        endings = (".jpg", ".jpeg", ".png")
        self.by_name = {file.name: str(file) for file in folder.rglob("*") if file.suffix.lower() in endings}


def _split(found: Iterable[Found], pictures: _Pictures, names: tuple[str, ...], measure: str) -> PeopleSplit:
    paths, people, absent = [], [], []
    for name, person in found:
        if (path := pictures.by_name.get(Path(name).name)) is None:
            absent.append(Problem(name, "annotated, but there is no such picture"))
            continue
        paths.append(path)
        people.append(person)
    if not paths:
        raise ConvatlasError(f"no annotated person has a picture; expected {LAYOUTS}")
    return PeopleSplit(paths, people, names, measure, list(dict.fromkeys(absent)))


def _load(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConvatlasError(f"{file}: no annotations that can be read ({error})") from error


def _named(reader: Callable[[Path], Iterator[Found]]) -> Callable[[Path], Iterator[Found]]:
    """A reader whose errors say that the file does not look as expected."""

    def read(file: Path) -> Iterator[Found]:
        try:
            yield from reader(file)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise ConvatlasError(f"{file}: annotations of another form ({type(error).__name__}: {error})") from error

    return read


@_named
def _coco(file: Path) -> Iterator[Found]:
    """Everyone with at least one joint; crowds are left out. Lengths are the longer side of the box."""
    content = _load(file)
    names = {image["id"]: image["file_name"] for image in content["images"]}
    for entry in content["annotations"]:
        if entry.get("iscrowd") or not entry.get("num_keypoints"):
            continue
        if (count := len(entry["keypoints"])) != 3 * len(COCO):
            raise ValueError(f"keypoints of {count} numbers; expected {3 * len(COCO)}")
        table = torch.tensor(entry["keypoints"], dtype=torch.float32).view(-1, 3)
        x, y, width, height = entry["bbox"]
        longer = float(max(width, height, 1))
        person = Person(
            (x + width / 2, y + height / 2), _COCO_MARGIN * longer, table[:, :2] + _HALF, table[:, 2] > 0, longer
        )
        yield names[entry["image_id"]], person


@_named
def _mpii_json(file: Path) -> Iterator[Found]:
    """The JSON that is usual for the release's people; without head boxes, so the head is from neck to top."""
    for entry in _load(file):
        joints = torch.tensor(entry["joints"], dtype=torch.float32)
        marked = torch.tensor(entry["joints_vis"]) > 0
        marked &= (joints > 0).all(dim=1)
        head = (joints[MPII.index("head top")] - joints[MPII.index("upper neck")]).norm().item()
        yield entry["image"], _mpii_person(entry["center"], entry["scale"], joints, marked, head)


@_named
def _mpii_release(file: Path) -> Iterator[Found]:
    """The training pictures of MPII's Matlab file: those of the test part have no joints."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        release = loadmat(file, struct_as_record=False, squeeze_me=True)["RELEASE"]
    except (OSError, NotImplementedError, MatReadError) as error:
        raise ConvatlasError(f"{file}: not MPII's Matlab file ({error})") from error
    for picture, is_training in zip(_many(release.annolist), _many(release.img_train), strict=True):
        for someone in _many(picture.annorect) if is_training else ():
            points = getattr(getattr(someone, "annopoints", None), "point", None)
            if points is None or not hasattr(getattr(someone, "objpos", None), "x"):
                continue  # a field that somebody lacks is an empty matrix
            joints, marked = torch.zeros(len(MPII), 2), torch.zeros(len(MPII), dtype=torch.bool)
            for point in _many(points):
                joints[int(point.id)] = torch.tensor([float(point.x), float(point.y)])
                marked[int(point.id)] = True
            diagonal = torch.tensor([someone.x2 - someone.x1, someone.y2 - someone.y1], dtype=torch.float32).norm()
            centre, head = (float(someone.objpos.x), float(someone.objpos.y)), _HEAD_BIAS * diagonal.item()
            yield str(picture.image.name), _mpii_person(centre, float(someone.scale), joints, marked, head)


def _many(value: Any) -> list[Any]:
    """What Matlab's squeezing has made of a list: one alone is no list any more."""
    return list(value) if hasattr(value, "__len__") and not isinstance(value, str) else [value]


def _mpii_person(centre: Any, scale: float, joints: torch.Tensor, marked: torch.Tensor, head: float) -> Person:
    """Matlab counts pixels from 1. The centre lies somewhat low, as in the hourglass's release: 15 pixels a scale."""
    x, y = float(centre[0]), float(centre[1]) + 15 * scale
    side = _MPII_MARGIN * _MPII_UNIT * scale
    return Person((x - _HALF, y - _HALF), side, joints - _HALF, marked, max(head, 1.0))
