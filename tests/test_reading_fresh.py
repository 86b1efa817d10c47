"""Cases of every kind of reading, each with what is right written down: counts, boxes and pixels, or the refusal."""

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

import boxes
import convatlas
from convatlas import create
from convatlas.cli import main
from convatlas.data import load, open_source
from convatlas.data.annotated import open_masks
from convatlas.data.segmentation.check import check_masks
from convatlas.errors import ConvatlasError
from convatlas.records import VOID
from reading import encoded, image, look, write

BOTH = {"train": (3, 3), "test": (2, 2)}


class Case(NamedTuple):
    write: Callable[[Path], Any]
    right: dict[str, Any] | str  # what is read, or a pattern of the refusal
    kinds: tuple[str, ...] = ()  # of findings that must be there
    spec: str = "set"


def parts(
    train: str, test: str, *, classes: tuple[str, str] = ("cats", "dogs"), suffix: str = "png"
) -> Callable[[Path], Any]:
    names = [f"{part}/{name}/*{count}.{suffix}" for part, count in ((train, 3), (test, 2)) for name in classes]
    return lambda root: write(root / "set", names)


def listed(
    text: str, *, count: int = 6, folder: str = "", name: str = "x.csv", suffix: str = ".png"
) -> Callable[[Path], Any]:
    def make(root: Path) -> None:
        write(root, [f"{folder}{i}{suffix}" for i in range(count)])
        (root / name).write_bytes(text.encode() if isinstance(text, str) else text)

    return make


def rows(form: str, labels: str = "ababab") -> str:
    return "".join(form.format(i=i, label=label) + "\n" for i, label in enumerate(labels))


def turned_copy(root: Path) -> None:
    parts("train", "test")(root)
    with Image.open(root / "set/train/cats/0.png") as source:
        source.resize((36, 30)).transpose(Image.Transpose.ROTATE_90).save(root / "set/test/cats/copy.jpg", quality=80)


def add(base: Callable[[Path], Any], *more: Callable[[Path], Any]) -> Callable[[Path], Any]:
    def make(root: Path) -> None:
        base(root)
        for act in more:
            act(root)

    return make


def put(name: str, content: bytes) -> Callable[[Path], Any]:
    def make(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)

    return make


PNG = encoded(image(999))
PLAIN = parts("train", "test")
CLASSES: dict[str, Case] = {
    "Training-Set": Case(parts("Training-Set", "Test-Set"), BOTH),
    "tRaIn": Case(parts("tRaIn", "tEsT"), BOTH),
    "set_train": Case(parts("train_set", "test_set"), BOTH),
    "imgs below": Case(parts("train/imgs", "test/imgs"), BOTH),
    "doubles in doubles": Case(parts("archive/data/train/train", "archive/data/test/test"), BOTH),
    "classes above parts": Case(
        lambda root: write(
            root / "set",
            [f"{name}/{part}/*{count}.png" for name in ("x", "y") for part, count in (("Training", 3), ("Testing", 2))],
        ),
        BOTH,
    ),
    "same folders in classes": Case(
        lambda root: write(root / "set", [f"{name}/{side}/*4.png" for name in "ab" for side in ("left", "right")]),
        {"train": (8, 8)},
        ("nested",),
    ),
    "checkpoints": Case(add(PLAIN, put("set/train/cats/.ipynb_checkpoints/0-checkpoint.png", PNG)), BOTH),
    "macOS": Case(add(PLAIN, put("set/__MACOSX/train/cats/._0.png", PNG), put("set/train/cats/._1.png", b"x")), BOTH),
    "a linked class": Case(
        add(
            lambda root: write(root, ["set/a/*3.png", "far/*3.png"]),
            lambda root: (root / "set" / "b").symlink_to(root / "far"),
        ),
        {"train": (3, 3)},
    ),
    "tests alone": Case(lambda root: write(root / "set", ["test/a/*3.png", "test/b/*3.png"]), "none of 'train'"),
    "one class": Case(lambda root: write(root / "set", ["a/*4.png"]), "fewer than two classes"),
    "capital suffixes": Case(parts("train", "test", suffix="PNG"), BOTH),
    "no suffixes": Case(
        lambda root: [
            put(f"set/{name}/{i}", encoded(image(10 * k + i)))(root) for k, name in enumerate("ab") for i in range(4)
        ],
        {"train": (4, 4)},
    ),
    "cut off": Case(add(PLAIN, put("set/train/cats/cut.png", PNG[:100])), BOTH, ("damaged",)),
    "empty": Case(add(PLAIN, put("set/train/cats/none.png", b"")), BOTH, ("damaged",)),
    "text as an image": Case(add(PLAIN, put("set/train/cats/page.png", b"<html>")), BOTH, ("not an image",)),
    "another suffix": Case(
        add(PLAIN, put("set/train/cats/x.jpg", PNG)), {"train": (4, 3), "test": (2, 2)}, ("misnamed",)
    ),
    "in two classes": Case(
        add(PLAIN, put("set/train/cats/x.png", PNG), put("set/train/dogs/x.png", PNG)),
        {"train": (4, 4), "test": (2, 2)},
        ("conflict",),
    ),
    "in two parts": Case(
        add(PLAIN, put("set/train/cats/x.png", PNG), put("set/test/cats/x.png", PNG)),
        {"train": (4, 3), "test": (3, 2)},
        ("leak",),
    ),
    "turned, smaller, as JPEG": Case(turned_copy, {"train": (3, 3), "test": (3, 2)}, ("near leak",)),
    "not UTF-8": Case(
        add(
            PLAIN, lambda root: Path(os.fsdecode(os.fsencode(root / "set/train/cats") + b"/\xff.png")).write_bytes(PNG)
        ),
        BOTH,
        ("left out",),
    ),
    "AVIF and JPEG 2000": Case(
        add(
            PLAIN,
            put("set/train/cats/x.avif", encoded(image(77), "avif")),
            put("set/train/dogs/x.jp2", encoded(image(78), "jpeg2000")),
        ),
        {"train": (4, 4), "test": (2, 2)},
    ),
    "raw": Case(add(PLAIN, put("set/train/cats/x.cr2", b"II*\0")), BOTH, ("not read",)),
    "back": Case(add(PLAIN, lambda root: (root / "set/train/cats/up").symlink_to(root / "set")), BOTH, ("link",)),
    "Kaggle": Case(listed("id_code,diagnosis\n" + rows("{i},{label}")), {"train": (3, 3)}, spec="x.csv"),
    "semicolons": Case(listed("image_id;class\n" + rows("{i}.png;{label}")), {"train": (3, 3)}, spec="x.csv"),
    "tabs, no header": Case(listed(rows("{i}.png\t{label}"), name="x.tsv"), {"train": (3, 3)}, spec="x.tsv"),
    "BOM and CRLF": Case(
        listed("\ufefffilename,label\r\n" + rows("{i}.png,{label}").replace("\n", "\r\n")),
        {"train": (3, 3)},
        spec="x.csv",
    ),
    "quotes": Case(
        add(listed("path,label\n" + rows('"a b, c/{i}.png","{label}"'), folder="a b, c/")),
        {"train": (3, 3)},
        spec="x.csv",
    ),
    "usage": Case(
        listed(
            "path,label,Usage\n" + rows("{i}.png,{label},Training") + "6.png,a,PublicTest\n7.png,b,PrivateTest\n",
            count=8,
        ),
        {"train": (3, 3), "val": (1, 0), "test": (0, 1)},
        spec="x.csv",
    ),
    "twice alike": Case(
        listed("path,label\n" + rows("{i}.png,{label}") + "0.png,a\n"), {"train": (3, 3)}, ("duplicate",), spec="x.csv"
    ),
    "twice otherwise": Case(
        listed("path,label\n" + rows("{i}.png,{label}") + "0.png,b\n"), "'a' in line 2 and 'b' in line 8", spec="x.csv"
    ),
    "in both parts": Case(
        listed("path,label,split\n" + rows("{i}.png,{label},train") + "0.png,a,test\n"),
        "'train' in line 2 and 'test'",
        spec="x.csv",
    ),
    "no such file": Case(
        listed("path,label\n" + rows("{i}.png,{label}") + "9.png,a\n"), {"train": (3, 3)}, ("damaged",), spec="x.csv"
    ),
    "a column short": Case(listed("path,label,split\n0.png,a\n"), "line 2: 2 columns; expected 3", spec="x.csv"),
    "no label": Case(listed("path,x,y\n0.png,1,2\n"), "no label among the columns", spec="x.csv"),
    "objects": Case(
        listed(rows('{{"image": "{i}.png", "category": "{label}"}}'), name="x.jsonl"), {"train": (3, 3)}, spec="x.jsonl"
    ),
    "arrays": Case(
        lambda root: np.savez(
            root / "x.npz",
            images=np.random.default_rng(0).integers(0, 99, (6, 8, 8), dtype=np.uint8),
            labels=[0, 1, 2, 0, 1, 2],
        ),
        {"train": (2, 2, 2)},
        spec="x.npz",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CLASSES)
def test_classes(name: str, tmp_path: Path) -> None:
    case = CLASSES[name]
    case.write(tmp_path)
    found = look(tmp_path / case.spec)
    if isinstance(case.right, str):
        assert re.search(case.right, found.refusal or ""), found
        return
    assert found.refusal is None
    source = open_source(str(tmp_path / case.spec))
    counts = {
        part: tuple(Counter(split.labels.tolist())[k] for k in range(len(source.class_names)))
        for part, split in source.parts.items()
    }
    damaged = found.kinds["damaged"] + found.kinds["not an image"]
    assert sum(map(sum, counts.values())) - damaged == sum(map(sum, case.right.values()))
    assert found.counts == {part: sum(numbers) for part, numbers in case.right.items()}
    if not damaged:
        assert counts == case.right
    for kind in case.kinds:
        assert found.kinds[kind], (kind, found.details)
    if not case.kinds:
        assert not found.kinds, found.details


# ---------- boxes

CAT = [("cat", boxes.BOX)]
OBJECT = [{}]


def loose(folder: str, *, beside: bool = False) -> Callable[[Path], Any]:
    def make(root: Path) -> None:
        for name in "abc":
            boxes.image(root / ("" if beside else "images") / f"{name}.png")
            boxes.xml(root / folder / f"{name}.xml", called=f"{name}.png")

    return make


def documents(
    entries: dict[str, list[dict[str, Any]]],
    files: tuple[str, ...] = (),
    name: str = "instances_train.json",
    **more: Any,
) -> Callable[[Path], Any]:
    def make(root: Path) -> None:
        for file in files or entries:
            boxes.image(root / file)
        boxes.coco(root / name, entries, **more)

    return make


def changed(base: Callable[[Path], Any], name: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    def make(root: Path) -> None:
        base(root)
        document = json.loads((root / name).read_text())
        change(document)
        (root / name).write_text(json.dumps(document))

    return make


def texts(**lines: str) -> Callable[[Path], Any]:
    return lambda root: boxes.yolo(root, lines)


def boxed(text: str, name: str = "boxes.csv") -> Callable[[Path], Any]:
    def make(root: Path) -> None:
        boxes.images(root, ["a.png", "b.png", "c.png"])
        (root / name).write_text(text)

    return make


THREE = {"train": {"a": CAT, "b": CAT, "c": CAT}}
YOLO_BOX = [("cat", (15.0, 6.0, 33.0, 26.0))]
LINE = "0 0.4 0.4 0.3 0.5"
BOXES: dict[str, Case] = {
    "annots": Case(loose("annots"), THREE),
    "xmls": Case(loose("xmls"), THREE),
    "labels of XML": Case(loose("labels"), THREE),
    "beside": Case(loose("", beside=True), THREE),
    "one entry a box": Case(
        changed(
            documents({"a.png": OBJECT, "b.png": OBJECT}),
            "instances_train.json",
            lambda d: (
                d["images"].append(d["images"][0] | {"id": 9}),
                d["annotations"].append(d["annotations"][0] | {"id": 9, "image_id": 9, "bbox": [1, 2, 3, 4]}),
            ),
        ),
        {"train": {"a": [*CAT, ("cat", (1, 2, 4, 6))], "b": CAT}},
        ("two entries",),
    ),
    "ids twice": Case(
        changed(
            documents({"a.png": OBJECT, "b.png": OBJECT}), "instances_train.json", lambda d: d["images"][1].update(id=1)
        ),
        "2 images of id '1'; expected every one once",
    ),
    "an absent base name": Case(
        documents({"cam1/a.png": OBJECT, "cam2/a.png": OBJECT, "b.png": OBJECT}, ("cam2/a.png", "b.png")),
        {"train": {"a": CAT, "b": CAT}},
        ("no image",),
    ),
    "prefix": Case(
        documents({"data/x/a.png": OBJECT, "data/x/b.png": OBJECT}, ("images/a.png", "images/b.png")),
        {"train": {"a": CAT, "b": CAT}},
    ),
    "latest": Case(documents({"a.png": OBJECT, "b.png": OBJECT}, name="latest.json"), {"train": {"a": CAT, "b": CAT}}),
    "a box outside": Case(
        documents({"a.png": [{"bbox": [100, 5, 9, 9]}], "b.png": OBJECT, "c.png": OBJECT}),
        {"train": {"b": CAT, "c": CAT}},
        ("outside",),
    ),
    "a box of nothing": Case(
        documents({"a.png": [{"bbox": [10, 5, 0, 9]}], "b.png": OBJECT, "c.png": OBJECT}),
        {"train": {"b": CAT, "c": CAT}},
        ("empty",),
    ),
    "a reversed box": Case(
        lambda root: (
            loose("annots")(root),
            boxes.xml(root / "annots/a.xml", [("cat", (30, 5, 10, 25))], called="a.png"),
        ),
        {"train": {"b": CAT, "c": CAT}},
        ("reversed",),
    ),
    "an unknown category": Case(
        documents({"a.png": [{"category_id": 77}], "b.png": OBJECT, "c.png": OBJECT}),
        {"train": {"b": CAT, "c": CAT}},
        ("unknown class",),
    ),
    "no objects": Case(documents({"a.png": [], "b.png": OBJECT}), {"train": {"a": [], "b": CAT}}, ("nothing marked",)),
    "Roboflow": Case(
        lambda root: [
            documents({f"{i}.png": OBJECT for i in "ab"}, name="_annotations.coco.json")(root / part)
            for part in ("train", "valid", "test")
        ],
        {part: {"a": CAT, "b": CAT} for part in ("train", "val", "test")},
    ),
    "fractions": Case(
        boxed("filename,class,xmin,ymin,xmax,ymax\na.png,cat,0.25,0.25,0.5,0.5\nb.png,cat,0,0,1,1\n"),
        {"train": {"a": [("cat", (15, 10, 30, 20))], "b": [("cat", (0, 0, 60, 40))]}},
    ),
    "semicolons": Case(
        boxed("filename;class;xmin;ymin;xmax;ymax\na.png;cat;10;5;30;25\nb.png;cat;10;5;30;25\n"),
        {"train": {"a": CAT, "b": CAT}},
    ),
    "a polygon": Case(
        texts(a="0 0.25 0.25 0.5 0.25 0.5 0.75", b=LINE), {"train": {"a": [("cat", (15, 10, 30, 30))], "b": YOLO_BOX}}
    ),
    "a prediction": Case(
        texts(a=f"{LINE} 0.9", b=LINE, c=LINE), {"train": {"b": YOLO_BOX, "c": YOLO_BOX}}, ("bad object",)
    ),
    "a class too many": Case(
        texts(a="7 0.4 0.4 0.3 0.5", b=LINE, c=LINE), {"train": {"b": YOLO_BOX, "c": YOLO_BOX}}, ("unknown class",)
    ),
    "pixels for fractions": Case(
        texts(a="0 24 16 18 20", b=LINE, c=LINE), {"train": {"b": YOLO_BOX, "c": YOLO_BOX}}, ("units",)
    ),
    "an image for no text": Case(
        add(texts(a=LINE, b=LINE), put("labels/train/z.txt", LINE.encode())),
        {"train": {"a": YOLO_BOX, "b": YOLO_BOX}},
        ("no image",),
    ),
    "upside down": Case(
        add(loose("annots"), lambda root: boxes.image(root / "images/a.png", orientation=3)),
        {"train": {"a": CAT, "b": CAT, "c": CAT}},
        ("turned",),
    ),
    "lying": Case(
        add(loose("annots"), lambda root: boxes.image(root / "images/a.png", orientation=6)),
        {"train": {"a": CAT, "b": CAT, "c": CAT}},
        ("turned",),
    ),
    "BOM in XML": Case(
        add(
            loose("annots"),
            lambda root: (root / "annots/a.xml").write_text("\ufeff" + (root / "annots/a.xml").read_text()),
        ),
        THREE,
    ),
}


@pytest.mark.parametrize("name", BOXES)
def test_boxes(name: str, tmp_path: Path) -> None:
    case, root = BOXES[name], tmp_path / "set"
    root.mkdir()
    case.write(root)
    if isinstance(case.right, str):
        with pytest.raises(ConvatlasError, match=case.right):
            boxes.read(root)
        return
    found, kinds = boxes.read(root), boxes.kinds(root)
    wanted = {
        part: {stem: [(label, tuple(map(float, box))) for label, box in marks] for stem, marks in pages.items()}
        for part, pages in case.right.items()
    }
    assert found == wanted, kinds
    for kind in case.kinds:
        assert kinds.get(kind), kinds
    if not case.kinds:
        assert not kinds


# ---------- masks


def masked(*masks: np.ndarray, suffix: str = ".png", mode: str | None = None, **files: str) -> Callable[[Path], Any]:
    def make(root: Path) -> None:
        (root / "masks").mkdir(parents=True)
        for number, mask in enumerate(masks):
            form = Image.fromarray(mask)
            form = form if mode is None else form.convert(mode)
            form.save(root / "masks" / f"p{number}{suffix}")
            put(f"images/p{number}.png", encoded(image(number, form.height, form.width)))(root)
        for name, text in files.items():
            (root / name.replace("_", ".")).write_text(text)

    return make


def bands(*values: int, dtype: Any = np.uint8) -> np.ndarray:
    """24 x 32 with upright bands."""
    return np.tile(np.repeat(np.array(values, dtype), 32 // len(values)), (24, 1))


COLOURED = np.stack([bands(255, 0), bands(0, 0), bands(0, 255)], -1)
TABLE = "value,name,colour\n0,a,#ff0000\n1,b,#0000ff\n"
HALF = {0: 0.5, 1: 0.5}
MASKS: dict[str, Case] = {
    "0 and 1": Case(masked(*[bands(0, 1)] * 3), HALF),
    "0 and 255": Case(masked(*[bands(0, 255)] * 3), HALF),
    "0, 1 and void": Case(masked(*[bands(0, 1, 2, 255)] * 3), {0: 0.25, 1: 0.25, 2: 0.25, VOID: 0.25}),
    "one bit": Case(masked(*[bands(0, 255)] * 3, mode="1"), HALF),
    "a stray 254": Case(masked(*[bands(0, 255)] * 9, bands(0, 254)), HALF, ("damaged",)),
    "three greys": Case(masked(*[bands(0, 128, 255, 0)] * 4), "classes.csv"),
    "JPEG": Case(masked(*[bands(0, 255)] * 3, suffix=".jpg"), "JPEG file, whose values are not exact"),
    "one value": Case(masked(*[bands(0, 0)] * 3), "hold one value alone, 0"),
    "alike colours": Case(masked(*[np.stack([bands(0, 1)] * 3, -1)] * 3), HALF),
    "colours alone": Case(masked(*[COLOURED] * 3), "holds colours; expected .*classes.csv"),
    "colours and a table": Case(masked(*[COLOURED] * 3, classes_csv=TABLE), HALF),
    "BOM in the table": Case(masked(*[COLOURED] * 3, classes_csv="\ufeff" + TABLE), HALF),
    "semicolons in the table": Case(masked(*[COLOURED] * 3, classes_csv=TABLE.replace(",", ";")), HALF),
    "void by name": Case(masked(*[bands(0, 1, 2, 1)] * 3, classes_txt="void\na\nb\n"), {VOID: 0.25, 0: 0.5, 1: 0.25}),
    "a value that no table has": Case(
        masked(*[bands(0, 1)] * 5, bands(0, 7), classes_txt="a\nb\n"), HALF, ("damaged",)
    ),
    "16 bits": Case(masked(*[bands(0, 1, dtype=np.uint16)] * 3), HALF),
    "CamVid's 12": Case(
        masked(*[np.repeat(bands(*range(12), 0, 1, 2, 3), 3, axis=1)] * 3),
        {**dict.fromkeys(range(4), 0.125), **dict.fromkeys(range(4, 12), 0.0625)},
        ("assumed",),
    ),
    "another size": Case(
        add(masked(*[bands(0, 1)] * 4), put("images/p0.png", encoded(image(5, 30, 30)))), HALF, ("damaged",)
    ),
    "no partner": Case(add(masked(*[bands(0, 1)] * 4), put("images/alone.png", PNG)), HALF, ("no mask",)),
    "smooth": Case(
        masked(
            *[np.array(Image.fromarray(bands(0, 2, 1, 0, 2, 0, 1, 2)).resize((100, 70), Image.Resampling.BILINEAR))] * 3
        ),
        "seam of the numbers between",
    ),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks(name: str, tmp_path: Path) -> None:
    case, root = MASKS[name], tmp_path / "set"
    case.write(root)
    if isinstance(case.right, str):
        with pytest.raises(ConvatlasError, match=case.right):
            open_masks(str(root))
        return
    opened = open_masks(str(root))
    checked = check_masks(opened.parts, opened.classes.names)
    kinds = Counter(finding.kind for finding in checked.findings)
    kinds.update("assumed" for _ in opened.notes)
    counts: Counter[int] = Counter()
    split = opened.parts["train"]
    for index in range(len(split)):
        try:
            counts.update(split.read_pair(index)[1].flatten().tolist())
        except ConvatlasError:
            continue
    total = sum(counts.values())
    assert {value: count / total for value, count in counts.items()} == pytest.approx(case.right), kinds
    assert set(kinds) == set(case.kinds)


# ---------- through the commands


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSES)
def test_training_takes_what_check_counted(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = CLASSES[name]
    case.write(tmp_path)
    spec = str(tmp_path / case.spec)
    checked = main(["data", "check", spec, "--json"])
    counted = json.loads(capsys.readouterr().out)
    recipe = ["train", "caffe_lenet", "--data", spec, "--out", str(tmp_path / "run"), "--epochs", "1", "--no-report"]
    code = main([*recipe, "--json"])
    said = capsys.readouterr()
    assert code == (1 if isinstance(case.right, str) else 0), said.err
    if code:
        assert checked == 1
        return
    images = sum(map(sum, counted["counts"].values()))
    wanted = sum(map(sum, case.right.values()))  # pyright: ignore[reportAttributeAccessIssue]
    assert images == wanted
    metrics = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    loaded = load(spec)
    assert metrics["images"] == len(loaded.train) - (counted["findings"] != [] and _lost(counted, loaded.train.paths))


def _lost(counted: dict[str, Any], paths: tuple[str, ...] | None) -> int:
    named = {f["path"] for f in counted["findings"] if f["kind"] in ("damaged", "not an image")}
    return len(named & set(paths or ()))


# ---------- weights


def lenet() -> dict[str, Any]:
    torch.manual_seed(0)
    return dict(create("caffe_lenet").state_dict())


def prefixed(*prefixes: str) -> dict[str, Any]:
    return {"".join(prefixes) + name: value for name, value in lenet().items()}


WRAPPED: dict[str, Callable[[], Any]] = {
    "bare": lenet,
    "module.": lambda: prefixed("module."),
    "_orig_mod.": lambda: prefixed("_orig_mod."),
    "module._orig_mod.": lambda: prefixed("module.", "_orig_mod."),
    "_orig_mod.module.": lambda: prefixed("_orig_mod.", "module."),
    "Lightning": lambda: {"state_dict": prefixed("model."), "epoch": 3, "pytorch-lightning_version": "2.0"},
    "Lightning compiled": lambda: {"state_dict": prefixed("model.", "_orig_mod."), "hyper_parameters": {}},
    "AveragedModel": lambda: prefixed("module.") | {"n_averaged": torch.tensor(7)},
    "model_state_dict": lambda: {"model_state_dict": prefixed("module."), "optimizer_state_dict": {}, "loss": 0.5},
    "net": lambda: {"net": lenet(), "acc": 91.0},
    "in each other": lambda: {"checkpoint": {"state_dict": prefixed("module.")}},
    "a module of one name": lambda: {"model": prefixed("net.")},
}


@pytest.mark.parametrize("ending", [".pth", ".ckpt", ".bin"])
@pytest.mark.parametrize("name", WRAPPED)
def test_wrapped_weights(name: str, ending: str, tmp_path: Path) -> None:
    torch.save(WRAPPED[name](), tmp_path / f"x{ending}")
    net = convatlas.create("caffe_lenet", weights=tmp_path / f"x{ending}")
    for key, value in lenet().items():
        assert torch.equal(net.state_dict()[key], value), key


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(value: float, tmp_path: Path) -> None:
    state = lenet()
    state["conv2.weight"][0, 0, 0, 0] = value
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(ConvatlasError, match=r"conv2\.weight"):
        convatlas.create("caffe_lenet", weights=tmp_path / "x.pth")


def test_a_part_of_the_weights_is_refused_by_name(tmp_path: Path) -> None:
    state = {name: value for name, value in lenet().items() if not name.startswith("conv1")}
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(ConvatlasError, match=r"conv1\.weight"):
        convatlas.create("caffe_lenet", weights=tmp_path / "x.pth")
