"""Lists as people and competitions write them, arrays and idx files: read, or refused with a remedy."""

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from convatlas import cli
from convatlas.data import load
from convatlas.errors import ConvatlasError, UsageError
from reading import encoded, image, look, write

NAMES = [f"{i}.png" for i in range(6)]
PAIRS = [(name, "ab"[i % 2]) for i, name in enumerate(NAMES)]


def table(header: str, separator: str = ",", name: str = "{}", label: str = "{}") -> str:
    rows = [separator.join((name.format(path), label.format(kind))) for path, kind in PAIRS]
    return "\n".join([header, *rows] if header else rows) + "\n"


LISTS: dict[str, tuple[str, str | bytes, str]] = {  # file, text, folder of the images
    "commas": ("x.csv", table("path,label"), "."),
    "mark": ("x.csv", b"\xef\xbb\xbf" + table("path,label").encode(), "."),
    "utf-16": ("x.csv", table("path,label").encode("utf-16"), "."),
    "semicolons": ("x.csv", table("path;label", ";"), "."),
    "semicolons without header": ("x.csv", table("", ";"), "."),
    "tabs in csv": ("x.csv", table("path\tlabel", "\t"), "."),
    "bars": ("x.csv", table("path|label", "|"), "."),
    "commas in tsv": ("x.tsv", table("path,label"), "."),
    "windows lines": ("x.csv", table("path,label").replace("\n", "\r\n"), "."),
    "old lines": ("x.csv", table("path,label").replace("\n", "\r"), "."),
    "empty lines": ("x.csv", "\n\n" + table("path,label").replace("\n", "\n\n"), "."),
    "quoted": ("x.csv", table("path,label", name='"{}"', label='"{}"'), "."),
    "kaggle ids": ("train.csv", table("image_id,label", name="{}").replace(".png", ""), "train"),
    "kaggle id and breed": ("labels.csv", table("id,breed").replace(".png", ""), "train"),
    "kaggle images": ("train.csv", table("Image,Id"), "train_images"),
    "filename and class": ("x.csv", table("filename,class"), "images"),
    "class first": ("x.csv", "class,filename\n" + "".join(f"{kind},{name}\n" for name, kind in PAIRS), "."),
    "spaces in the header": ("x.csv", table(" File Name , Label ".replace("File Name", "File_Name")), "."),
    "further columns": ("x.csv", table("path,label,width", label="{},20"), "."),
    "in the list's folder": ("x.csv", table("path,label", name="set/{}"), "."),
    "backslashes": ("x.csv", table("path,label", name="pics\\{}"), "pics"),
    "dots": ("x.csv", table("path,label", name="./{}"), "."),
    "objects": ("x.jsonl", "".join(json.dumps({"File_Name": n, "Label": k}) + "\n" for n, k in PAIRS), "."),
    "objects with a mark": ("x.jsonl", "\ufeff" + "".join(json.dumps({"path": n, "label": k}) + "\n" for n, k in PAIRS),
                            "."),
}  # fmt: skip


@pytest.mark.parametrize("case", LISTS)
def test_lists_of_many_dialects_are_read_alike(tmp_path: Path, case: str) -> None:
    name, text, folder = LISTS[case]
    write(tmp_path / "set" / folder, NAMES)
    path = tmp_path / "set" / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    found = look(path)
    assert (found.counts, found.classes) == ({"train": 6}, ("a", "b"))
    assert not found.kinds


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        (("train", "train", "train", "train", "test", "test"), {"train": 4, "test": 2}),
        (("Training", "Training", "PublicTest", "PublicTest", "PrivateTest", "PrivateTest"),
         {"train": 2, "val": 2, "test": 2}),
        (("train", "train", "valid", "valid", "Test", "Test"), {"train": 2, "val": 2, "test": 2}),
    ],
)  # fmt: skip
def test_splits_of_lists_have_their_usual_names(tmp_path: Path, values: tuple[str, ...], counts: dict) -> None:
    write(tmp_path, NAMES)
    rows = [f"{name},{kind},{value}" for (name, kind), value in zip(PAIRS, values, strict=True)]
    (tmp_path / "x.csv").write_text("\n".join(["file,label,usage", *rows]))
    assert look(tmp_path / "x.csv").counts == counts


REFUSED = {
    "no label": ("x.csv", "path,width,height\n0.png,2,3\n", "no label among the columns path, width, height"),
    "one file, two labels": ("x.csv", "path,label\n0.png,a\n1.png,b\n0.png,b\n", "'a' in line 2 and 'b' in line 4"),
    "one file, two splits": ("x.csv", "path,label,split\n0.png,a,train\n1.png,b,train\n0.png,a,test\n",
                             "has the split 'train' in line 2"),
    "nowhere": ("x.csv", "path,label\nC:\\Users\\me\\0.png,a\n", "there is no file"),
    "a link of the net": ("x.csv", "path,label\nhttps://example.org/0.png,a\n", "there is no file"),
    "a device": ("x.csv", "path,label\n/dev/zero,a\n/dev/null,b\n", "there is no file '/dev/zero'"),
    "nul": ("x.csv", "path,label\n0\0.png,a\n", "has a NUL in it"),
    "long": ("x.csv", "path,label\n" + "a" * 5000 + ",a\n", "there is no file"),
    "a huge field": ("x.csv", "path,label\n" + "a" * 200_000 + ",a\n", "field larger than field limit"),
    "digits": ("x.jsonl", '{"path": "0.png", "label": ' + "9" * 5000 + "}\n", "line 1: .*integer of 5,000 digits"),
    "deep": ("x.jsonl", '{"path": "0.png", "label": ' + "[" * 100_000 + "\n", "line 1: .*nested more than 100 deep"),
    "numbers": ("x.jsonl", '{"path": 1, "label": NaN}\n', "line 1: no label"),
    "only a mark": ("x.csv", "\ufeff", "lists no images"),
    "another split": ("x.csv", "path,label,split\n0.png,a,fold1\n", "part 'fold1'; expected train, val or test"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_lists_that_can_not_be_used_say_why(tmp_path: Path, case: str) -> None:
    name, text, words = REFUSED[case]
    write(tmp_path, NAMES)
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = look(tmp_path / name)
    assert found.refusal is not None
    assert len(found.refusal) < 6000
    with pytest.raises(ConvatlasError, match=words):
        load(str(tmp_path / name))


def test_a_file_that_is_listed_twice_counts_once(tmp_path: Path) -> None:
    write(tmp_path, NAMES)
    (tmp_path / "x.csv").write_text(table("path,label") + "0.png,a\n./1.png,b\n")
    found = look(tmp_path / "x.csv")
    assert found.counts == {"train": 6}
    assert found.kinds == {"duplicate": 2}


def test_a_first_image_that_is_not_there_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    write(tmp_path, NAMES)
    (tmp_path / "x.csv").write_text(table("path,label").replace("label\n", "label\ngone.png,a\n"))
    found = look(tmp_path / "x.csv")
    assert (found.counts, found.kinds) == ({"train": 6}, {"damaged": 1})


def test_labels_from_files_are_printed_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, NAMES)
    labels = ["[/red]", "[/red]", "=cmd", "=cmd", "\x1b[31m$\\frac{\u732b", "\x1b[31m$\\frac{\u732b"]
    (tmp_path / "x.csv").write_text("".join(f'{n},"{label}"\n' for n, label in zip(NAMES, labels, strict=True)))
    assert cli.main(["data", "check", str(tmp_path / "x.csv")]) == 0
    out = capsys.readouterr().out
    assert "[/red]" in out
    assert "\x1b" not in out
    assert r"\x1b[31m$\frac{" in out


def test_arrays_with_splits_of_keras_and_medmnist(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8)).astype(np.uint8)
    labels = np.arange(12) % 2
    np.savez(tmp_path / "keras.npz", x_train=images, y_train=labels, x_test=images[:4] ^ 77, y_test=labels[:4])
    found = look(tmp_path / "keras.npz")
    assert found.counts == {"train": 12, "test": 4}
    medmnist = {f"{part}_{what}": value for i, part in enumerate(("train", "val", "test"))
                for what, value in (("images", images ^ i * 31), ("labels", labels[:, None]))}  # fmt: skip
    np.savez_compressed(tmp_path / "med.npz", allow_pickle=False, **medmnist)
    assert look(tmp_path / "med.npz").counts == {"train": 12, "val": 12, "test": 12}


def idx(folder: Path, *, packed: bool, dotted: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (part, count) in enumerate((("train", 40), ("t10k", 10))):
        values = np.random.default_rng(seed).integers(0, 256, (count, 28, 28)).astype(np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for what, axes, array in (("images", 3, values), ("labels", 1, labels)):
            content = bytes((0, 0, 8, axes)) + struct.pack(f">{axes}I", *array.shape) + array.tobytes()
            name = f"{part}-{what}{'.' if dotted else '-'}idx{axes}-ubyte"
            (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize("place", ["", "fashion-mnist", "fashion_mnist", "FashionMNIST", "FashionMNIST/raw"])
def test_fashion_mnist_is_found_as_it_is_distributed(tmp_path: Path, place: str) -> None:
    idx(tmp_path / place, packed=True)
    data = load("fashion-mnist", root=tmp_path)
    assert (len(data.train), len(data.test), data.classes[9]) == (40, 10, "ankle boot")
    assert look(tmp_path / place).counts == {"train": 40, "test": 10}


def test_idx_files_as_kaggle_has_them_and_damaged_ones(tmp_path: Path) -> None:
    idx(tmp_path / "a", packed=False, dotted=True)
    assert look(tmp_path / "a").counts == {"train": 40, "test": 10}
    idx(tmp_path / "b", packed=True)
    (tmp_path / "b" / "train-labels-idx1-ubyte.gz").unlink()
    assert "no labels of the train split" in (look(tmp_path / "b").refusal or "")
    idx(tmp_path / "c", packed=False)
    file = tmp_path / "c" / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-5])
    assert "says 40 x 28 x 28 bytes" in (look(tmp_path / "c").refusal or "")
    with pytest.raises(UsageError, match="is not in"):
        load("kmnist", root=tmp_path)


def test_an_image_in_a_list_may_be_anywhere(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    for i in range(6):
        (tmp_path / "far" / f"{i}.png").write_bytes(encoded(image(i)))
    rows = "".join(f"{tmp_path}/far/{i}.png,{'ab'[i % 2]}\n" for i in range(6))
    (tmp_path / "x.csv").write_text("filepath,label\n" + rows)
    assert look(tmp_path / "x.csv").counts == {"train": 6}
