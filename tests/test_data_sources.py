"""Lists, shards, parquet files, torchvision's data sets, and splits that are written down."""

import io
import json
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas.data import FileSplit, LabelAssembly, Loader, load, read_division
from convatlas.data.groups import by_part, expand
from convatlas.data.known import _TORCHVISION as TABLE
from convatlas.data.known import NAMES, _part
from convatlas.errors import ConvatlasError, UsageError
from convatlas.records import Preprocessing
from convatlas.training.recipe import SGD

GREY8 = Preprocessing((8, 8), channels=1, resize="stretch", resize_to=8, mean=(0.0,), std=(1 / 255,))


def png(value: int, side: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (side, side), value).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Ten grey images in one folder: the value of image i is 10 i."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(10):
        (folder / f"{i}.png").write_bytes(png(10 * i))
    return folder


def values(split) -> list[int]:
    return [int(split.read(i)[0, 0, 0]) for i in range(len(split))]


LISTS = {
    "plain.csv": "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(10)),
    "header.csv": "\ufefflabel,path\n" + "".join(f"{'ab'[i % 2]},{i}.png\n" for i in range(10)),
    "quoted.csv": 'File_Name,Class\n\n"0.png","a"\n' + "".join(f"{i}.png,{'ab'[i % 2]}\r\n" for i in range(1, 10)),
    "tabs.tsv": "".join(f"{i}.png\t{'ab'[i % 2]}\n" for i in range(10)),
    "objects.jsonl": "".join(json.dumps({"image": f"{i}.png", "label": "ab"[i % 2]}) + "\n\n" for i in range(10)),
}


@pytest.mark.parametrize("name", list(LISTS))
def test_lists_of_every_kind_agree(images: Path, name: str) -> None:
    (images / name).write_text(LISTS[name], encoding="utf-8")
    data = load(str(images / name), test_fraction=0.2)
    assert (data.name, data.classes, len(data.train), len(data.test)) == (name.split(".")[0], ("a", "b"), 8, 2)
    for split in (data.train, data.test):
        assert [value // 10 % 2 for value in values(split)] == split.labels.tolist()


def test_a_lists_parts_and_numbers_as_classes(images: Path) -> None:
    rows = [{"path": f"{i}.png", "label": 9 + i % 2, "split": "val" if i > 6 else "train"} for i in range(10)]
    (images / "x.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    data = load(str(images / "x.jsonl"))
    assert data.classes == ("9", "10")
    assert values(data.test) == [70, 80, 90]
    assert data.test.labels.tolist() == [1, 0, 1]
    assert data.division is None


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.csv", "0.png,a\n1.png\n", r"x\.csv, line 2: 1 columns; expected 2: path, label"),
        ("x.csv", "0.png,a\n1.png,b,c\n", "line 2: 3 columns"),
        ("x.csv", "path,label\n0.png,a\n1.png,\n", "line 3: no label"),
        ("x.csv", "path,label\n,a\n", "line 2: no path"),
        ("x.csv", 'path,label\n0.png,"a\n', "line 2: unexpected end of data"),
        ("x.csv", "photo,kind\n0.png,a\n", "line 1: there is no file 'photo'"),
        ("x.csv", "", "lists no images"),
        ("x.csv", "path,label,split\n0.png,a,trial\n", "line 2: part 'trial'; expected train"),
        ("x.csv", "path,label,split\n0.png,a,test\n", "none of 'train'"),
        ("x.csv", "path,label,split\n0.png,a,test\n1.png,b,train\n", "class 'a' of .* is in 'test' and not in 'train'"),
        ("x.csv", "0.png,a\n1.png,a\n", "fewer than two classes"),
        ("x.jsonl", '{"path": "0.png", "label": 1}\n{"path": \n', "line 2: not JSON"),
        ("x.jsonl", '["0.png", 1]\n', "line 1: a list; expected an object"),
        ("x.jsonl", '{"path": "0.png", "label": 0.5}\n', "line 1: no label"),
        ("x.jsonl", '{"path": "0.png", "label": true}\n', "line 1: no label"),
    ],
)
def test_lists_that_can_not_be_used_name_the_line(images: Path, name: str, text: str, message: str) -> None:
    (images / name).write_text(text)
    with pytest.raises(ConvatlasError, match=message) as refusal:
        load(str(images / name))
    assert "\n" not in str(refusal.value)


def test_a_list_in_another_encoding_is_refused(images: Path) -> None:
    (images / "x.csv").write_bytes("0.png,K\xf6ter\n".encode("latin-1"))
    with pytest.raises(ConvatlasError, match="not UTF-8 text"):
        load(str(images / "x.csv"))


def test_files_of_a_list_that_are_missing_are_skipped_and_named(images: Path) -> None:
    (images / "x.csv").write_text(LISTS["plain.csv"] + "gone.png,a\n")
    data = load(str(images / "x.csv"), test=str(images / "x.csv"))
    loader = Loader(LabelAssembly(data.train, GREY8), batch_size=4)
    assert sum(len(batch.labels) for batch in loader.epoch(0)) == 10
    assert [(Path(p.path).name, p.reason) for p in data.train.problems] == [("gone.png", "No such file or directory")]


def shard(path: Path, samples: dict[str, bytes]) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in samples.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Training shards of four images, one with .cls and one with .json, on two disks; one for validation."""
    first = {f"a/{i}.png": png(10 * i) for i in range(4)} | {f"a/{i}.cls": f"{i % 2}\n".encode() for i in range(4)}
    shard(tmp_path / "disk0" / "train-000.tar", first)
    second: dict[str, bytes] = {}
    for i in range(4, 8):
        second[f"{i}.seg.txt"] = b"a caption"
        second[f"{i}.json"] = json.dumps({"text": "x", "label": i % 2}).encode()
        second[f"{i}.PNG"] = png(10 * i)
    shard(tmp_path / "disk1" / "train-001.tar", second)
    shard(tmp_path / "disk0" / "val-0.tar", {"8.cls": b"1", "8.png": png(80)})
    return tmp_path


def test_shards_from_several_disks_are_one_data_set(shards: Path) -> None:
    data = load(f"{shards}/disk0/train-{{000..000}}.tar::{shards}/disk1/*.tar", test=f"{shards}/disk0/val-0.tar")
    assert values(data.train) == [10 * i for i in range(8)]
    assert data.train.labels.tolist() == [0, 1] * 4
    assert (values(data.test), data.test.labels.tolist(), data.classes) == ([80], [1], ("0", "1"))
    assert data.train.name(1) == f"{shards}/disk0/train-000.tar:a/1.png"


def test_a_folder_of_shards_has_parts_and_named_classes(shards: Path) -> None:
    (shards / "disk0" / "classes.txt").write_text("ant\nbee\nwasp\n")
    data = load(str(shards / "disk0"))
    assert data.classes == ("ant", "bee", "wasp")
    assert (len(data.train), len(data.test), data.test.labels.tolist()) == (4, 1, [1])
    (shards / "disk0" / "classes.txt").write_text("ant\n")
    with pytest.raises(ConvatlasError, match="label 1 is out of range of the 1 names"):
        load(str(shards / "disk0"))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_shards_give_the_same_batches_in_any_number_of_workers(shards: Path) -> None:
    train = load(f"{shards}/disk?/train-*.tar", test_fraction=0.5).train
    results = [
        [
            batch.images
            for batch in Loader(
                LabelAssembly(train, GREY8), batch_size=3, shuffle=True, memory_limit_bytes=0, **how
            ).epoch(1)
        ]
        for how in ({}, {"workers": 2})
    ]
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_damaged_shards_and_samples_are_named(shards: Path) -> None:
    damaged = {"0.png": png(0)[:40], "0.cls": b"0", "1.png": png(1), "2.png": png(2), "2.cls": b"1", "3.png": png(3),
               "3.cls": b"0", "4.png": png(4), "4.cls": b"1"}  # fmt: skip
    shard(shards / "damaged.tar", damaged)
    data = load(str(shards / "damaged.tar"), test=f"{shards}/disk0/val-0.tar")
    Loader(LabelAssembly(data.train, GREY8), batch_size=1)
    problems = {problem.path: problem.reason for problem in data.train.problems}
    assert set(problems) == {f"{shards}/damaged.tar:0.png", f"{shards}/damaged.tar:1.png"}
    assert "no label" in problems[f"{shards}/damaged.tar:1.png"]
    content = (shards / "disk1" / "train-001.tar").read_bytes()
    (shards / "cut.tar").write_bytes(content[:1200])
    with pytest.raises(ConvatlasError, match=r"cut\.tar is not a whole, uncompressed tar archive"):
        load(str(shards / "cut.tar"))
    shard(shards / "bad.tar", {"0.png": png(0), "0.json": b"{"})
    with pytest.raises(ConvatlasError, match=r"bad\.tar:0\.json is not a label"):
        load(str(shards / "bad.tar"))
    shard(shards / "none.tar", {"0.txt": b"words"})
    with pytest.raises(ConvatlasError, match="holds no images with labels"):
        load(str(shards / "none.tar"))


def test_patterns_expand_in_order_and_name_what_fits_nothing(tmp_path: Path) -> None:
    for name in ("a-08.tar", "a-09.tar", "a-10.tar", "b.tar", "c.parquet"):
        (tmp_path / name).touch()
    assert [p.name for p in expand(f"{tmp_path}/a-{{08..10}}.tar")] == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert [p.name for p in expand(f"{tmp_path}/{{b,a-*}}.tar")] == ["b.tar", "a-08.tar", "a-09.tar", "a-10.tar"]
    for pattern, message in (("a-{10..12}.tar", r"no file .*a-11\.tar"), ("{b.tar,c.parquet}", "only .tar or only"),
                             ("a-{9..1}.tar", "does not ascend"), ("*.zip", "no file")):  # fmt: skip
        with pytest.raises(UsageError, match=message):
            expand(f"{tmp_path}/{pattern}")


def test_parts_are_told_by_whole_words_of_the_names() -> None:
    names = ["train-0.tar", "x_train.tar", "validation-00000-of-00001.tar", "test-0.tar"]
    parts = by_part([Path(name) for name in names])
    assert {part: [path.name for path in paths] for part, paths in parts.items()} == {
        "train": names[:2],
        "val": [names[2]],
        "test": [names[3]],
    }
    assert list(by_part([Path("trained.tar"), Path("contest.tar")])) == ["train"]


def parquet(path: Path, count: int, *, names: list[str] | None = None, labels: list | None = None, **other) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.parquet as pq

    path.parent.mkdir(exist_ok=True)
    images = pa.array([{"bytes": png(10 * i), "path": f"{i}.png"} for i in range(count)])
    table = pa.table({"image": images, "label": labels or [i % 2 for i in range(count)], **other})
    if names:
        feature = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": feature}})})
    pq.write_table(table, path, row_group_size=3)


def test_parquet_files_of_a_hub_folder(tmp_path: Path) -> None:
    parquet(tmp_path / "data" / "train-00000-of-00001.parquet", 8, names=["ant", "bee", "wasp"])
    parquet(tmp_path / "data" / "validation-00000-of-00001.parquet", 3, names=["ant", "bee", "wasp"])
    data = load(str(tmp_path))
    assert data.classes == ("ant", "bee", "wasp")
    assert values(data.train) == [10 * i for i in range(8)]
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([0, 1] * 4, [0, 1, 0])
    assert data.train.name(2).endswith("train-00000-of-00001.parquet[2]")


def test_parquet_with_names_as_labels_and_with_wrong_columns(tmp_path: Path) -> None:
    parquet(tmp_path / "x.parquet", 4, labels=["b", "a", "b", "a"])
    data = load(str(tmp_path / "x.parquet"), test_fraction=0.5)
    assert data.classes == ("a", "b")
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["x"], "label": [0]}), tmp_path / "y.parquet")
    with pytest.raises(ConvatlasError, match="no image column among text, label"):
        load(str(tmp_path / "y.parquet"))
    parquet(tmp_path / "z.parquet", 2, names=["only"])
    with pytest.raises(ConvatlasError, match=r"label 1 of image 1 .* expected 0 to 0"):
        load(str(tmp_path / "z.parquet"))
    (tmp_path / "w.parquet").write_bytes((tmp_path / "x.parquet").read_bytes()[:300])
    with pytest.raises(ConvatlasError, match=r"w\.parquet is not a whole parquet file"):
        load(str(tmp_path / "w.parquet"))


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    (tmp_path / "x.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'convatlas\[data\]'"):
        load(str(tmp_path / "x.parquet"))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "digits"])
def test_torchvisions_data_sets_exist_and_say_that_they_are_absent(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"data '{name}' is not in .*: give its folder with data_root=FOLDER"):
        load(name, root=tmp_path)


def test_imagenet_can_not_be_fetched(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'imagenet' can't be fetched"):
        load("imagenet", root=tmp_path, download=True)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"data": np.zeros((2, 3, 32, 32), np.uint8), "labels": np.array([3, 4])}, (3, 32, 32)),  # SVHN, STL10
        ({"data": np.zeros((2, 32, 32, 3), np.uint8), "targets": [3, 4]}, (3, 32, 32)),  # CIFAR-100
        ({"data": torch.zeros(2, 28, 28, dtype=torch.uint8), "targets": torch.tensor([[3, 0], [4, 0]])}, (1, 28, 28)),
    ],
)
def test_torchvision_arrays_of_every_layout(found: dict, expected: tuple[int, ...]) -> None:
    part = _part(SimpleNamespace(**found))
    assert part.labels.tolist() == [3, 4]
    assert part.read(0).shape == expected


@pytest.mark.parametrize(
    "found",
    [
        {"samples": [("0", 3), ("1", 4)], "imgs": [("0", 3), ("1", 4)]},  # ImageNet, EuroSAT
        {"_samples": [("0", 3), ("1", 4)]},  # GTSRB, Imagenette
        {"imgs": [("0", 3), ("1", 4)], "targets": [3, 4]},  # Places365
        {"_image_files": [Path("0"), Path("1")], "_labels": [3, 4]},  # Food-101, Flowers-102
        {"_images": [Path("0"), Path("1")], "_labels": [3, 4]},  # Oxford pets
    ],
)
def test_torchvision_files_of_every_layout(found: dict) -> None:
    part = _part(SimpleNamespace(**found))
    assert (part.paths, part.labels.tolist()) == (("0", "1"), [3, 4])


def test_torchvision_sets_on_disk(tmp_path: Path) -> None:
    """Folders as torchvision's own downloads leave them."""
    caltech = tmp_path / "caltech101" / "101_ObjectCategories"
    for name in ("BACKGROUND_Google", "ant", "bee"):
        (caltech / name).mkdir(parents=True)
        for i in range(1, 6):
            (caltech / name / f"image_{i:04d}.jpg").write_bytes(png(10 * i))
    (tmp_path / "caltech101" / "Annotations").mkdir()
    data = load("caltech101", root=tmp_path)
    assert (data.classes, len(data.train), len(data.test)) == (("ant", "bee"), 8, 2)
    assert set(values(data.train)) <= {10, 20, 30, 40, 50}

    food = tmp_path / "food-101"
    (food / "meta").mkdir(parents=True)
    (food / "images" / "pie").mkdir(parents=True)
    for part in ("train", "test"):
        (food / "meta" / f"{part}.json").write_text(json.dumps({"pie": [f"pie/{part}"], "tart": [f"tart/{part}"]}))
    data = load("food101", root=tmp_path)
    assert data.classes == ("pie", "tart")
    assert isinstance(data.train, FileSplit)
    assert data.train.paths[0].endswith("food-101/images/pie/train.jpg")


def test_the_table_names_classes_of_torchvision() -> None:
    from torchvision import datasets

    assert all(hasattr(datasets, known.kind) for known in TABLE.values())


def test_a_split_is_written_down_and_used_again(images: Path, tmp_path: Path) -> None:
    listing = images / "x.csv"
    listing.write_text(LISTS["plain.csv"])
    data = load(str(listing), seed=3)
    assert data.division is not None
    (tmp_path / "splits.json").write_text(data.division.to_json())
    division = read_division(tmp_path / "splits.json")
    assert division == data.division
    assert set(division.train) | set(division.test) == {f"{i}.png" for i in range(10)}

    moved = images.rename(tmp_path / "elsewhere")
    (moved / "new.png").write_bytes(png(200))
    (moved / "x.csv").write_text("new.png,a\n" + LISTS["plain.csv"])
    again = load(str(moved / "x.csv"), seed=99, division=division)
    assert (values(again.train), values(again.test)) == (values_of(division.train), values_of(division.test))
    (moved / "x.csv").write_text(LISTS["plain.csv"].replace("0.png", "new.png"))
    with pytest.raises(ConvatlasError, match=r"names '0\.png', which is not in the data any more"):
        load(str(moved / "x.csv"), division=division)


def values_of(names) -> list[int]:
    return [10 * int(Path(name).stem) for name in names]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1, "seed": 0}', '{"format": 9}'])
def test_a_damaged_written_split_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "splits.json").write_text(text)
    with pytest.raises(ConvatlasError, match=r"splits\.json: not a written split"):
        read_division(tmp_path / "splits.json")
    with pytest.raises(ConvatlasError, match="no split to read"):
        read_division(tmp_path / "absent.json")


def test_arrays_are_divided_by_their_places(shards: Path) -> None:
    digits = load("digits")
    assert digits.division is not None
    assert len(digits.division.train) == 1438
    assert torch.equal(load("digits", division=digits.division).test.labels, digits.test.labels)
    train = load(f"{shards}/disk?/train-*.tar")
    assert train.division is not None
    assert "train-000.tar:a/0.png" in (*train.division.train, *train.division.test)


def test_a_run_keeps_its_split_and_is_evaluated_on_it_when_the_data_have_grown(tmp_path: Path) -> None:
    from convatlas.inference import evaluate_source, open_source
    from convatlas.training import DataSource, Recipe, fit
    from convatlas.training.run import open_run

    for name in ("ant", "bee"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(10):
            (tmp_path / "set" / name / f"{i}.png").write_bytes(png(20 * i))
    spec = str(tmp_path / "set")
    data = load(spec, seed=1)
    assert isinstance(data.test, FileSplit)
    held_out = data.test.paths
    recipe = Recipe("caffe_lenet", "test", "a test", 1, 8, SGD(0.01), seed=1, data=DataSource(spec))
    fit(recipe, data, tmp_path / "run", device="cpu")
    assert open_run(tmp_path / "run").division() == data.division
    for i in range(10, 20):
        (tmp_path / "set" / "ant" / f"{i}.png").write_bytes(png(5 * i))
    dataset, found = evaluate_source(open_source(str(tmp_path / "run")))
    assert isinstance(dataset.test, FileSplit)
    assert (dataset.test.paths, len(found.labels)) == (held_out, 4)
