"""Folders as people have them: read as they are meant, or refused with a remedy; check and train agree on all."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convatlas import cli
from convatlas.data import decode, load
from convatlas.data.part_names import find_parts, part_in, part_of
from convatlas.errors import ConvatlasError, UsageError
from reading import encoded, image, look, write

TWO = ("cats", "dogs")


def layout(*folders: str, count: int = 3) -> list[str]:
    return [f"{folder}/{name}/*{count}.png" for folder in folders for name in TWO]


SPLITS = {
    "capitals": layout("Train", "Test"),
    "all capitals": layout("TRAIN", "TEST"),
    "sets": layout("training_set", "test_set"),
    "words": layout("Training Set", "Testing Set"),
    "validation": layout("training", "validation"),
    "short": layout("train", "valid"),
    "years": layout("train2017", "val2017"),
    "dashes": layout("train-images", "test-images"),
    "data": layout("train_data", "test_data"),
    "doubled": layout("data/data/train", "data/data/test"),
    "wrapped": layout("cats_and_dogs/train", "cats_and_dogs/test"),
    "wrapped beside a list": [*layout("archive/train", "archive/val"), "archive/README.md", "LICENSE.txt"],
    "in each other": layout("train/train", "test/test"),
    "with a folder between": layout("train/images", "test/images"),
    "splits in classes": [f"{name}/{part}/*3.png" for name in TWO for part in ("train", "test")],
    "junk beside": [*layout("train", "test"), "__MACOSX/train/cats/._0.png", ".git/x.png", "train/.DS_Store"],
}


@pytest.mark.parametrize("name", SPLITS)
def test_splits_are_known_by_their_usual_names(tmp_path: Path, name: str) -> None:
    found = look(write(tmp_path / "set", SPLITS[name]))
    assert (found.counts, found.taken) == ({"train": 6, "test": 6}, {"train": 6, "test": 6})
    assert found.classes == TWO
    assert not found.kinds


def test_a_validation_split_is_apart_from_the_test_split(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", [*layout("train"), *layout("Valid", count=2), *layout("test", count=1)])
    data = load(str(folder))
    assert data.val is not None
    assert (len(data.train), len(data.val), len(data.test), data.division) == (6, 4, 2, None)
    assert look(folder).counts == {"train": 6, "val": 4, "test": 2}


PLAIN = {
    "classes": (layout("."), TWO),
    "wrapped": (layout("wrapped"), TWO),
    "sub-folders of one class": (["cats/*2.png", "dogs/tame/*2.png", "dogs/wild/*2.png"], TWO),
    "a folder in each class": (["cats/images/*2.png", "dogs/images/*2.png"], TWO),
    "no suffixes": (["cats/0001", "cats/0002", "dogs/0001", "dogs/0002"], TWO),
    "hidden": ([*layout("."), "cats/.ipynb_checkpoints/0-checkpoint.png", "dogs/._0.png", "dogs/Thumbs.db"], TWO),
    "systems": ([*layout("."), "cats/@eaDir/x.png", "$RECYCLE.BIN/x.png", "__pycache__/x.png"], TWO),
    "markup": ([f"{name}/*2.png" for name in ("[red]", "=cmd", "$\\frac{", "\u732b")], None),
    "spaces": ([f"{name}/*2.png" for name in ("a b", " c", "d.e")], None),
    "underscores": ([f"{name}/*2.png" for name in ("__background__", "_noise_", "cats")], None),
}


@pytest.mark.parametrize("name", PLAIN)
def test_class_folders_without_splits(tmp_path: Path, name: str) -> None:
    files, classes = PLAIN[name]
    found = look(write(tmp_path / "set", files))
    assert found.refusal is None
    assert found.classes == (classes or tuple(sorted({file.split("/")[0] for file in files})))
    assert not found.kinds


FOUND = {
    "folds": (layout("fold1", "fold2"), "nested", "look like splits or folds"),
    "splits in some classes": (["cats/train/*2.png", "cats/test/*2.png", "dogs/train/*2.png", "dogs/rest/*2.png"],
                               "nested", "splits within classes"),
    "an unknown folder beside": ([*layout("train", "test"), "extra/*5.png"], "left out", "5 images belong to no split"),
    "test without labels": ([*layout("train"), "test/*4.png"], "left out", "4 images have no class folders"),
    "loose images": ([*layout("."), "*2.png"], "left out", "2 images lie directly in this folder"),
    "loose in a split": ([*layout("train", "test"), "train/*3.png"], "left out", "3 images lie directly"),
    "camera raw": ([*layout("."), "cats/photo.cr2"], "not read", "convert them"),
    "drawings": ([*layout("."), "cats/logo.svg"], "not read", "svg files are not read"),
    "renamed": ([*layout("."), "cats/x.png.bak"], "misnamed", "but not by its suffix"),
    "a class called like a split": (["test/*3.png", "cats/*3.png", "dogs/*3.png"], "split name", "called like a split"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_what_is_odd_is_named_and_the_rest_is_read(tmp_path: Path, name: str) -> None:
    files, kind, words = FOUND[name]
    found = look(write(tmp_path / "set", files))
    assert found.kinds[kind] == 1, found
    assert words in found.details
    assert found.refusal is None


REFUSED = {
    "splits without classes": (["train/*3.png", "test/*3.png"], "'train' and 'test' without class folders"),
    "one of them": (["train/*3.png"], "in 'train' without class folders"),
    "a list tells the labels": (["train/*3.png", "test/*3.png", "train.csv"], "give .*train.csv as the data"),
    "flat": (["*3.png"], "no class folders"),
    "flat with a list": (["*3.png", "labels.csv"], r"if labels\.csv tells the labels, give .*labels\.csv as the data"),
    "two names of one split": (layout("test", "testing", "train"), "both look like the test split; rename one"),
    "one class": (["cats/*3.png"], "fewer than two classes"),
    "an empty class": ([*layout("."), "birds/notes.txt"], "birds holds no images"),
    "a class of drawings": ([*layout("."), "birds/a.svg"], r"birds holds no images, but \.svg files"),
    "a class that only the test split has": ([*layout("train", "test"), "test/birds/*2.png"], "'birds'"),
    "a split or a class": (["bus/*3.png", "car/*3.png", "train/steam/*2.png", "train/diesel/*2.png"],
                           "is 'train' a split or a class"),
    "test only": (layout("test"), "none of 'train'"),
    "one image a class": (layout(".", count=1), "leaves no test images"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_be_trained_on_is_a_finding_of_check(tmp_path: Path, name: str) -> None:
    files, words = REFUSED[name]
    found = look(write(tmp_path / "set", files))
    assert found.refusal is not None
    assert found.kinds["refused"] == 1
    with pytest.raises(ConvatlasError, match=words):
        load(str(tmp_path / "set"))


def test_names_of_classes_may_differ_by_case_and_accents(tmp_path: Path) -> None:
    names = ["train/Caf\u00e9/*2.png", "train/Bar/*2.png", "test/Cafe\u0301/*1.png", "test/bar/*1.png"]
    found = look(write(tmp_path / "set", names))
    assert (found.counts, found.classes) == ({"train": 4, "test": 2}, ("Bar", "Caf\u00e9"))


def test_links_are_followed_and_those_that_lead_back_are_named(tmp_path: Path) -> None:
    root = write(tmp_path / "set", layout("."))
    write(tmp_path / "elsewhere", ["more/*4.png"])
    for i in range(4):  # not those of the classes
        (tmp_path / "elsewhere" / "more" / f"{i}.png").write_bytes(encoded(image(100 + i)))
    (root / "cats" / "more").symlink_to(tmp_path / "elsewhere" / "more")
    (root / "cats" / "back").symlink_to(root)
    (root / "cats" / "self").symlink_to(root / "cats" / "self")
    (root / "dogs" / "system").symlink_to("/")
    (root / "dogs" / "gone.png").symlink_to(root / "nothing.png")
    found = look(root)
    assert found.counts == {"train": 10}
    assert (found.kinds["link"], found.kinds["damaged"]) == (2, 1)
    assert (tmp_path / "linked").symlink_to(root) is None
    assert look(tmp_path / "linked").counts == {"train": 10}


def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    root = write(tmp_path / "set", layout("."))
    os.mkfifo(root / "cats" / "pipe.png")
    os.mkfifo(root / "cats" / "pipe")
    (root / "dogs" / "zero.png").symlink_to("/dev/zero")
    found = look(root)
    assert (found.counts, found.kinds["damaged"]) == ({"train": 6}, 2)
    assert "not a regular file" in found.details


def test_names_that_are_not_utf8_are_named_and_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write(tmp_path / "set", layout("."))
    os.mkdir(os.fsencode(root) + b"/caf\xe9")
    for place in (b"/cats/\xff.png", b"/caf\xe9/0.png"):
        with open(os.fsencode(root) + place, "wb") as stream:
            stream.write(encoded(image(50)))
    found = look(root)
    assert (found.classes, found.counts, found.kinds["left out"]) == (TWO, {"train": 6}, 2)
    assert cli.main(["data", "check", str(root)]) == 1
    assert r"caf\xe9" in capsys.readouterr().out.replace("\\\\", "\\")


def test_a_folder_that_can_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "set", [*layout("."), "cats/locked/*3.png"])
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = look(root)
    assert (found.counts, found.kinds["left out"]) == ({"train": 6}, 1)
    assert "the folder can't be read: Permission denied" in found.details


def test_a_deep_tree_is_walked(tmp_path: Path) -> None:
    root = write(tmp_path / "set", layout("."))
    place = root / "cats"
    os.chdir(place)
    try:
        for _ in range(300):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir("/")
    assert look(root).counts == {"train": 6}


def test_a_test_only_folder_can_be_evaluated_and_not_trained_on(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", ["test/cats/*3.png"])
    data = load(str(folder), test=str(folder))
    assert (len(data.test), data.classes) == (3, ("cats",))


KINDS = {
    "grey and alpha": (encoded(image(1).convert("LA")), 1),
    "palette with transparency": (encoded(image(1).convert("P"), transparency=3), 3),
    "cmyk": (encoded(image(1).convert("CMYK"), "jpeg"), 3),
    "webp": (encoded(image(1), "webp"), 3),
    "avif": (encoded(image(1), "avif"), 3),
    "jpeg 2000": (encoded(image(1), "jpeg2000"), 3),
    "animated gif": (encoded(image(1), "gif", save_all=True, append_images=[image(2), image(3)]), 3),
    "animated webp": (encoded(image(1), "webp", save_all=True, append_images=[image(2)], lossless=True), 3),
    "apng": (encoded(image(1), "png", save_all=True, append_images=[image(2)]), 3),
    "tiff of two pages": (encoded(image(1), "tiff", save_all=True, append_images=[image(2)]), 3),
    "one bit": (encoded(image(1).convert("1")), 1),
    "one pixel high": (encoded(image(1).resize((500, 1))), 3),
    "one pixel wide": (encoded(image(1).resize((1, 500))), 3),
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_images_are_read_alike_by_check_and_train(tmp_path: Path, name: str) -> None:
    content, channels = KINDS[name]
    root = write(tmp_path / "set", layout("."))
    (root / "cats" / "odd.png").write_bytes(content)
    assert decode(content).shape[0] == channels
    found = look(root)
    assert found.counts == {"train": 7}
    assert ("several frames" in found.details) == (
        name in ("animated gif", "animated webp", "apng", "tiff of two pages")
    )


def test_heic_is_read_or_its_reader_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    heif = pytest.importorskip("pillow_heif")
    content = encoded(image(1, 64, 64), "heif") if "HEIF" in Image.SAVE else b""
    if not content:
        heif.register_heif_opener()
        content = encoded(image(1, 64, 64), "heif")
    assert (decode(content).float().mean() - np.asarray(image(1, 64, 64)).mean()).abs() < 3


def test_damaged_images_are_named_with_their_reason(tmp_path: Path) -> None:
    root = write(tmp_path / "set", layout("."))
    (root / "cats" / "empty.png").write_bytes(b"")
    (root / "cats" / "cut.jpg").write_bytes(encoded(image(9, 64, 64), "jpeg")[:700])
    (root / "dogs" / "page.jpg").write_bytes(b"<html>404</html>")
    (root / "dogs" / "script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    found = look(root)
    assert found.counts == {"train": 6}
    assert (found.kinds["damaged"], found.kinds["not an image"]) == (2, 2)


@pytest.mark.parametrize(("bits", "white"), [(8, 255), (10, 1023), (12, 4095), (14, 16383), (16, 65535)])
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_samples_in_sixteen_bits_use_the_range_they_stand_in(bits: int, white: int, kind: str) -> None:
    ramp = np.linspace(0, white, 256).round().astype(np.uint16).reshape(8, 32)
    pixels = decode(encoded(Image.fromarray(ramp), kind))
    assert np.abs(pixels[0].numpy().astype(int) - np.arange(256).reshape(8, 32)).max() <= 1


def test_colours_of_twelve_bits_and_white_is_zero() -> None:
    import cv2

    colours = np.random.default_rng(0).integers(0, 4096, (6, 7, 3)).astype(np.uint16)
    colours[0, 0] = (4095, 0, 4095)
    content = cv2.imencode(".png", colours)[1].tobytes()
    expected = np.round(colours[:, :, ::-1] / 4095 * 255)
    assert np.abs(decode(content).permute(1, 2, 0).numpy() - expected).max() <= 1
    ramp = Image.fromarray(np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8))
    turned = encoded(ramp, "tiff", tiffinfo={262: 0})
    assert decode(turned)[0, 0, 0] == 255


def test_images_of_mixed_depth_are_named(tmp_path: Path) -> None:
    for k, name in enumerate(TWO):
        (tmp_path / name).mkdir()
        for i in range(4):
            values = np.random.default_rng(10 * k + i).integers(0, 300 if (k, i) == (0, 0) else 4000, (12, 12))
            values[0, 0] = 900 if (k, i) == (0, 0) else 4000
            Image.fromarray(values.astype(np.uint16)).save(tmp_path / name / f"{i}.png")
    found = look(tmp_path)
    assert found.kinds["mixed depth"] == 1
    assert "values up to 900; those of most images stand in 0 to 4,095" in found.details


def deep(root: Path, largest: dict[str, int], kind: str = "png") -> Path:
    """16-bit grey images of a ramp up to a value each."""
    for name, value in largest.items():
        path = root / f"{name}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.linspace(0, value, 144).astype(np.uint16).reshape(12, 12)).save(path)
    return root


TWELVE = {f"train/{name}/{i}": 4000 for name in TWO for i in range(6)} | {"test/cats/0": 3000, "test/dogs/0": 900}


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_sixteen_bits_are_read_in_one_range_for_a_data_set(tmp_path: Path, kind: str) -> None:
    loaded = load(str(deep(tmp_path, TWELVE, kind)))
    dark = next(i for i, path in enumerate(loaded.test.paths or ()) if "dogs" in path)
    for split, place, value in (
        (loaded.train, 0, 4000),
        (loaded.test, dark, 900),
        (loaded.test.select([dark]), 0, 900),
    ):
        assert int(split.read(place).max()) == round(value / 4095 * 255)
    assert look(tmp_path).kinds["mixed depth"] == 1


def test_a_value_above_the_range_of_the_others_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from convatlas.data import depths

    monkeypatch.setattr(depths, "LOOKED_AT", 4)
    files = {f"{name}/{i}": 4000 for name in TWO for i in range(6)} | {"cats/5": 60_000}
    loaded = load(str(deep(tmp_path, files)), test=str(tmp_path))
    place = next(i for i, path in enumerate(loaded.test.paths or ()) if path.endswith("cats/5.png"))
    with pytest.raises(ConvatlasError, match=r"16-bit values up to 60,000, where .* stand in 0 to 4,095"):
        loaded.test.read(place)


def test_a_network_reads_sixteen_bits_as_it_was_trained_on(tmp_path: Path) -> None:
    """Predicted alone, a dark image of 12 bits is not four times as bright as it was in training."""
    import convatlas
    from convatlas.inference.images import read_image

    run = tmp_path / "run"
    assert cli.main(["train", "caffe_lenet", "--data", str(deep(tmp_path / "set", TWELVE)), "--epochs", "1",
                     "--out", str(run), "--no-report"]) == 0  # fmt: skip
    preprocessing = convatlas.load(run).preprocessing
    assert preprocessing.max_sample == 4095
    dark = tmp_path / "set" / "test" / "dogs" / "0.png"
    assert int(read_image(dark, preprocessing).max()) == round(900 / 4095 * 255)
    assert int(read_image(dark).max()) == round(900 / 1023 * 255)


@pytest.mark.parametrize("archive", ["x.zip", "x.tar.gz", "x.7z"])
def test_archives_are_refused_with_the_way_out(tmp_path: Path, archive: str) -> None:
    (tmp_path / archive).write_bytes(b"PK")
    with pytest.raises(UsageError, match="unpack it and give the folder"):
        load(str(tmp_path / archive))


def test_class_names_with_markup_are_written_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("[/red]", "=cmd|x", "\x1b[31mred")
    write(tmp_path / "set", [f"{i}/*3.png" for i in range(3)])
    for i, name in enumerate(names):
        (tmp_path / "set" / str(i)).rename(tmp_path / "set" / name.replace("/", "\u2215"))
    assert cli.main(["data", "check", str(tmp_path / "set")]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "=cmd|x" in out


def test_names_of_splits() -> None:
    whole = {"train": "Train TRAINING training_set trainval train2017 Train-Images", "val": "val Valid validation dev",
             "test": "test TESTING test_set Test.Data tst"}  # fmt: skip
    for part, names in whole.items():
        assert {part_of(name) for name in names.split()} == {part}
    assert {part_of(name) for name in ("latest", "contest", "trains", "value", "testimony", "", "set")} == {None}
    assert [part_in(name) for name in ("x_val_3", "train-00000-of-00001", "latest", "cifar.test")] == [
        "val", "train", None, "test"
    ]  # fmt: skip
    assert find_parts(["b", "Test", "train", "val"]) == {"train": ["train"], "val": ["val"], "test": ["Test"]}
