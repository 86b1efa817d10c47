"""People from annotations, and the view of one that a pose network gets: places go there and back."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torch import Tensor

from convatlas import data
from convatlas.data import HorizontalFlip, PadCrop
from convatlas.data.pose.annotations import read_people
from convatlas.data.pose.people import COCO, MPII, Person, limbs, mirrored
from convatlas.data.pose.transform import PersonTransform, TurnAndScale, View
from convatlas.data.segmentation.augment import RandomOrientation
from convatlas.errors import ConvatlasError, UsageError
from convatlas.records import Preprocessing
from people import write_coco

SIZE = Preprocessing((64, 64))


def image(path: Path, size: tuple[int, int] = (80, 60)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 80, 70)).save(path)


def changed(file: Path, change) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


# --- annotations ---


def test_coco_s_people_by_hand(tmp_path):
    file = write_coco(tmp_path, "train", 2)
    write_coco(tmp_path, "val", 1, seed=5)

    def by_hand(content):
        first, second = content["annotations"]
        first["bbox"], first["num_keypoints"] = [10, 20, 30, 60], 2
        first["keypoints"] = [12, 22, 2, 14, 24, 1, *[0] * 45]
        content["annotations"] += [
            {**second, "id": 7, "iscrowd": 1}, {**second, "id": 8, "num_keypoints": 0}, {**second, "id": 9}
        ]  # fmt: skip

    changed(file, by_hand)
    train, test, names = read_people(tmp_path)
    assert (len(train), len(test), names) == (3, 1, COCO)  # the second image has two people
    assert (train.paths[1], train.measure) == (train.paths[2], "PCK@0.2")
    person = train.people[0]
    assert (person.centre, person.side_px, person.length_px) == ((25, 50), 75, 60)
    assert person.marked.tolist() == [True, True] + [False] * 15
    assert person.joints[:2].tolist() == [[12.5, 22.5], [14.5, 24.5]]


def test_a_box_without_extent_has_still_a_length(tmp_path):
    changed(write_coco(tmp_path, "train", 1), lambda content: content["annotations"][0].update(bbox=[9, 9, 0, 0]))
    (person,) = read_people(tmp_path)[0].people
    assert person.length_px == 1
    assert person.side_px > 0


def test_people_are_divided_where_there_is_one_part(tmp_path):
    write_coco(tmp_path, "val", 10)
    loaded = data.load(str(tmp_path), task="pose", test_fraction=0.2, seed=0)
    assert (len(loaded.train), len(loaded.test), loaded.classes) == (8, 2, COCO)
    assert loaded.test.people[0].joints.shape == (17, 2)
    by_path = dict(zip(read_people(tmp_path)[0].paths, read_people(tmp_path)[0].people, strict=True))
    for path, person in zip(loaded.test.paths, loaded.test.people, strict=True):
        assert torch.equal(by_path[path].joints, person.joints)


def mpii_entry(name: str) -> dict:
    joints = [[10 + i, 20 + i] for i in range(16)]
    joints[8], joints[9] = [40, 30], [43, 26]
    joints[2] = [-1, -1]
    visible = [1] * 16
    visible[5] = 0
    return {"image": name, "joints": joints, "joints_vis": visible, "center": [41.0, 30.0], "scale": 0.2}


def test_mpii_s_json_by_hand(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        image(tmp_path / "images" / name)
    (tmp_path / "annot").mkdir()
    (tmp_path / "annot" / "train.json").write_text(json.dumps([mpii_entry("a.jpg"), mpii_entry("gone.jpg")]))
    (tmp_path / "annot" / "valid.json").write_text(json.dumps([mpii_entry("b.jpg")]))
    train, test, names = read_people(tmp_path)
    assert (len(train), len(test), names, train.measure) == (1, 1, MPII, "PCKh@0.5")
    assert [problem.path for problem in train.problems] == ["gone.jpg"]
    person = train.people[0]
    assert person.centre == (40.5, 32.5)  # counted from 1; 15 pixels a scale further down
    assert (person.side_px, person.length_px) == (50, 5)
    assert [i for i, marked in enumerate(person.marked.tolist()) if not marked] == [2, 5]
    assert person.joints[0].tolist() == [9.5, 19.5]


def release(*rows: tuple[str, int, object]) -> dict:
    """MPII's structure: annolist(i).image.name, .annorect(k).annopoints.point(j), and img_train."""
    kinds = [("image", object), ("annorect", object)]
    annolist = np.empty((1, len(rows)), dtype=kinds)
    for place, (name, _, people) in enumerate(rows):
        annolist[0, place] = ({"name": name}, people)
    return {"RELEASE": {"annolist": annolist, "img_train": np.array([[row[1] for row in rows]], dtype=np.uint8)}}


def rects(*people: dict) -> np.ndarray:
    """A Matlab structure array; a field that somebody lacks is an empty matrix."""
    names = ("x1", "y1", "x2", "y2", "annopoints", "scale", "objpos")
    made = np.empty((1, len(people)), dtype=[(name, object) for name in names])
    for place, person in enumerate(people):
        made[0, place] = tuple(person.get(name, np.zeros((0, 0))) for name in names)
    return made


def somebody(count: int = 3) -> dict:
    points = np.empty((1, count), dtype=[(name, object) for name in ("x", "y", "id", "is_visible")])
    for i in range(count):
        points[0, i] = (21.0 + i, 31.0, i, 1)
    head = {"x1": 10, "y1": 10, "x2": 13, "y2": 14}
    return {**head, "annopoints": {"point": points}, "scale": 0.5, "objpos": {"x": 31, "y": 41}}


def test_mpii_s_matlab_file_in_its_own_structure(tmp_path):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        image(tmp_path / "images" / name)
    without_points = {key: value for key, value in somebody().items() if key != "annopoints"}
    without_place = {key: value for key, value in somebody().items() if key not in ("objpos", "scale")}
    rows = (
        ("a.jpg", 1, rects(somebody(), without_points, without_place, somebody(1))),
        ("b.jpg", 1, rects(somebody(16))),
        ("c.jpg", 0, rects({"scale": 1.0, "objpos": {"x": 3, "y": 3}})),
        ("d.jpg", 1, np.zeros((0, 0))),
        ("e.jpg", 1, rects(somebody())),
    )
    savemat(tmp_path / "mpii_human_pose_v1_u12_1.mat", release(*rows))
    train, test, names = read_people(tmp_path)
    assert ([Path(path).name for path in train.paths], test, names) == (["a.jpg", "a.jpg", "b.jpg"], None, MPII)
    assert [int(person.marked.sum()) for person in train.people] == [3, 1, 16]
    person = train.people[0]
    assert person.centre == (30.5, 48)
    assert (person.side_px, round(person.length_px, 5)) == (125, 3)
    assert person.joints[:3].tolist() == [[20.5, 30.5], [21.5, 30.5], [22.5, 30.5]]
    assert [problem.path for problem in train.problems] == ["e.jpg"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("person_keypoints_train.json", b"{", "person_keypoints_train.json: no annotations that can be read"),
        ("person_keypoints_train.json", b"[]", r"person_keypoints_train.json: annotations of another form"),
        ("train.json", b'[{"image": "a.jpg"}]', r"train.json: annotations of another form \(KeyError"),
        ("mpii_human_pose_v1_u12_1.mat", b"no matlab", r"u12_1.mat: (not MPII's|annotations of another form)"),
        ("mpii_human_pose_v1_u12_1.mat", b"", r"u12_1.mat: (not MPII's|annotations of another form)"),
        ("other.json", b"[]", "has no annotations of people; expected COCO's"),
    ],
)
def test_annotations_that_are_no_good_are_named(name, content, sentence, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConvatlasError, match=sentence):
        read_people(tmp_path)


def test_other_joints_than_coco_s_are_refused(tmp_path):
    def fewer(content):
        content["annotations"][0]["keypoints"] = content["annotations"][0]["keypoints"][:12]

    changed(write_coco(tmp_path, "train", 2), fewer)
    with pytest.raises(ConvatlasError, match=r"12 numbers.*expected 51"):
        read_people(tmp_path)


def test_annotations_without_images_are_refused(tmp_path):
    file = write_coco(tmp_path, "train", 2)
    for path in (tmp_path / "train2017").iterdir():
        path.unlink()
    with pytest.raises(ConvatlasError, match="no annotated person has an image"):
        read_people(file.parent.parent)


# --- names ---


@pytest.mark.parametrize("names", [COCO, MPII])
def test_a_mirror_exchanges_left_and_right(names):
    order = mirrored(names)
    assert sorted(order) == list(range(len(names)))
    assert all(order[order[i]] == i for i in range(len(names)))
    for name, other in zip(names, order, strict=True):
        assert names[other] == name.replace("left", "L").replace("right", "left").replace("L", "right")
    assert all(a != b and max(a, b) < len(names) for a, b in limbs(names))


# --- views ---

VIEWS = [
    View((40.0, 30.0), 50.0, 0.0, 64),
    View((33.3, 31.0), 90.0, 30.0, 64),
    View((10.0, 50.0), 40.0, -125.0, 64),
    View((60.0, 60.0), 400.0, 45.0, 64),
]


@pytest.mark.parametrize("view", VIEWS)
def test_there_and_back(view):
    points = torch.rand(50, 2) * 100
    assert torch.allclose(view.to_image(view.to_input(points)), points, atol=1e-3)
    assert torch.allclose(view.to_input(view.to_image(points)), points, atol=1e-3)
    assert torch.allclose(view.to_input(torch.tensor(view.centre)), torch.full((2,), view.size_px / 2))
    a, b = view.to_input(points[:2])
    assert torch.isclose((a - b).norm() * view.side_px / view.size_px, (points[0] - points[1]).norm(), rtol=1e-4)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("at", [(31, 27), (36, 40)])
def test_a_marked_spot_is_cut_to_where_it_belongs(view, at):
    """The centre of gravity of a bright spot around (x, y) lies where `to_input` says."""
    x, y = at if view.side_px < 300 else (50 + 2 * (at[0] - 31), 45 + 2 * (at[1] - 27))
    size, reach = (100, 90), 2 if view.side_px < 300 else 12
    image = torch.zeros(3, size[1], size[0], dtype=torch.uint8)
    image[:, max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1] = 255
    cut = view.cut(image)
    assert (cut.shape, cut.dtype) == ((3, 64, 64), torch.uint8)
    expected = view.to_input(torch.tensor([x + 0.5, y + 0.5]))
    if not bool(((expected > 6) & (expected < 58)).all()):
        assert view.degrees == -125.0  # one of these lies outside
        return
    assert (spot(cut) - expected).abs().max() < 0.35


def spot(image: Tensor) -> Tensor:
    """(x, y) of the centre of gravity of an image's light, with pixel edges from 0 on"""
    light = image[0].double()
    places = torch.arange(light.shape[0]) + 0.5
    return torch.stack(((light.sum(0) * places).sum(), (light.sum(1) * places).sum())) / light.sum()


def test_beyond_the_image_is_black():
    cut = View((0.0, 0.0), 64.0, 0.0, 64).cut(torch.full((1, 32, 32), 200, dtype=torch.uint8))
    assert (cut[0, 33:, 33:] == 200).all()
    assert (cut[0, :31] == 0).all()
    assert (cut[0, :, :31] == 0).all()


# --- assembly ---


def person_at(joints: list[list[float]]) -> Person:
    return Person((32.0, 32.0), 64.0, torch.tensor(joints), torch.tensor([True, True, False]), 10.0)


NAMES = ("nose", "left eye", "right eye")
PERSON = person_at([[32.0, 10.0], [20.0, 34.0], [1e6, -1e6]])


def test_maps_have_their_peak_where_the_joint_is():
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    source_image, maps = PersonTransform(SIZE, NAMES)(image, PERSON, None)
    assert (source_image.shape, maps.shape) == ((3, 64, 64), (3, 16, 16))
    assert [divmod(int(m.argmax()), 16) for m in maps[:2]] == [(2, 8), (8, 5)]
    assert maps[2].abs().sum() == 0


def test_a_mirror_image_s_left_is_the_right():
    image = torch.randint(0, 256, (3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    plain, _ = PersonTransform(SIZE, NAMES)(image, PERSON, None)
    assemble = PersonTransform(SIZE, NAMES, (HorizontalFlip(1.0),))
    flipped, others = assemble(image, PERSON, torch.Generator().manual_seed(0))
    assert torch.equal(flipped, plain.flip(2))
    assert others[1].abs().sum() == 0  # the right eye was not marked
    assert divmod(int(others[2].argmax()), 16) == (8, 11)  # 64 - 20 = 44
    assert divmod(int(others[0].argmax()), 16) == (2, 8)


@pytest.mark.parametrize("seed", range(6))
def test_turned_and_scaled_maps_follow_the_image(seed):
    """A bright spot on the left eye comes out below the peak of the left eye's map."""
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    image[:, 33:35, 19:21] = 255
    steps = (TurnAndScale(), HorizontalFlip())
    made, again = (
        PersonTransform(SIZE, NAMES, steps)(image, PERSON, torch.Generator().manual_seed(seed)) for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(made, again, strict=True))
    source_image, maps = made
    found = max((1, 2), key=lambda joint: float(maps[joint].max()))
    row, column = divmod(int(maps[found].argmax()), 16)
    assert (spot(source_image) - torch.tensor([4 * column + 2.0, 4 * row + 2.0])).abs().max() <= 2.5


def test_scales_and_turns_stay_within_their_bounds():
    step = TurnAndScale(degrees=30, scales=(0.75, 1.25))
    sides = []
    far = replace(PERSON, joints=torch.tensor([[32.0, 8.0], [32.0, 56.0], [0.0, 0.0]]))
    for seed in range(60):
        _, maps = PersonTransform(SIZE, NAMES, (step,))(
            torch.zeros(3, 64, 64, dtype=torch.uint8), far, torch.Generator().manual_seed(seed)
        )
        ends = [torch.tensor(divmod(int(m.argmax()), 16)) for m in maps[:2] if m.max() == 1]
        if len(ends) == 2:
            sides.append(float((ends[0] - ends[1]).double().norm()))
    assert 48 / 4 * 0.75 - 1.5 < min(sides) < 48 / 4 * 0.9
    assert 48 / 4 * 1.05 < max(sides) < 48 / 4 * 1.25 + 1.5


@pytest.mark.parametrize("step", [PadCrop(2), RandomOrientation()])
def test_what_knows_no_joints_is_refused(step):
    with pytest.raises(UsageError, match=f"augment: {type(step).__name__} knows no joints; expected TurnAndScale"):
        PersonTransform(SIZE, NAMES, (step,))(
            torch.zeros(3, 64, 64, dtype=torch.uint8), PERSON, torch.Generator().manual_seed(0)
        )
