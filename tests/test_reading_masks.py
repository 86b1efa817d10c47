"""Masks as public data sets and tools have them: read right, or refused with the way out; void is never guessed."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from convatlas import data
from convatlas.data.annotated import open_masks
from convatlas.data.findings import Finding
from convatlas.data.segmentation.check import HARMFUL, check_masks
from convatlas.data.segmentation.classes import CAMVID, VOC
from convatlas.data.segmentation.folders import read_masks
from convatlas.data.segmentation.reading import read_mask
from convatlas.data.segmentation.seams import Meetings
from convatlas.errors import ConvatlasError
from convatlas.records import VOID

SIZE = (12, 16)  # H, W
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def blocks(*values: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A mask of upright bands, as wide as each other."""
    width = size[1] // len(values)
    places = np.minimum(np.arange(size[1]) // width, len(values) - 1)
    return np.tile(np.array(values)[places], (size[0], 1))


def write(
    folder: Path, name: str, mask: np.ndarray | Image.Image, *, suffix: str = ".png", orientation: int = 1, **more
):
    """images/<name>.png, noisy, and masks/<name><suffix>."""
    source_image = mask if isinstance(mask, Image.Image) else Image.fromarray(mask.astype(np.uint8))
    image(folder / "images" / f"{name}.png", (source_image.height, source_image.width), orientation=orientation)
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    source_image.save(folder / "masks" / f"{name}{suffix}", **more)


def image(file: Path, size: tuple[int, int] = SIZE, *, orientation: int = 1) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(file.as_posix().encode()))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(file, exif=exif)


def palette(mask: np.ndarray, *colours: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(mask.astype(np.uint8), mode="P")
    image.putpalette([channel for colour in colours for channel in colour])
    return image


def table(folder: Path, *rows: str, name: str = "classes.csv", header: str = "value,name,colour") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join((header, *rows) if header else rows), encoding="utf-8")


def kinds(folder: Path) -> dict[str, int]:
    """Kind of finding -> how many, as `data check` names them; classes without a pixel aside."""
    opened = open_masks(str(folder))
    notes = [Finding("assumed", str(folder), note) for note in opened.notes]
    found: dict[str, int] = {}
    for finding in check_masks(opened.parts, opened.classes.names, notes=notes).findings:
        if finding.kind != "unused class":
            found[finding.kind] = found.get(finding.kind, 0) + 1
    return found


def first(folder: Path, part: str = "train") -> list:
    """The first row of the first mask."""
    return read_masks(folder).parts[part].read_pair(0)[1][0].tolist()


# --- values that say what they are ---


@pytest.mark.parametrize(
    ("values", "names", "row"),
    [
        ((0, 1), ("0", "1"), (0, 1)),
        ((0, 1, 2), ("0", "1", "2"), (0, 1, 2)),
        ((0, 255), ("0", "255"), (0, 1)),
        ((0, 128), ("0", "128"), (0, 1)),
        ((0, 1, 2, 255), ("0", "1", "2"), (0, 1, 2, VOID)),
        ((0, 1, 255), ("0", "1"), (0, 1, VOID)),
        ((1, 2, 3), ("1", "2", "3"), (0, 1, 2)),
        ((0, 1, 3), ("0", "1", "2", "3"), (0, 1, 3)),
    ],
)
def test_plain_values_are_classes(values, names, row, tmp_path):
    for name in "abc":
        write(tmp_path, name, blocks(*values))
    assert read_masks(tmp_path).classes.names == names
    assert list(dict.fromkeys(first(tmp_path))) == list(row)


@pytest.mark.parametrize(
    "values",
    [(0, 128, 255), (0, 50, 100, 150), (0, 85, 170, 255), (0, 2, 15), (1, 255), (0, 100, 255), (0, 127, 254)],
)
def test_values_that_nothing_explains_are_refused_with_the_remedy(values, tmp_path):
    for name in "abcd":
        write(tmp_path, name, blocks(*values))
    with pytest.raises(ConvatlasError, match=r"hold the values .*write classes\.csv with columns value, name"):
        open_masks(str(tmp_path))
    with pytest.raises(ConvatlasError, match=r"classes\.csv"):
        data.load(str(tmp_path), task="segmentation")
    table(tmp_path, *(f"{value},class {value}," for value in values))
    assert kinds(tmp_path) == {}
    assert list(dict.fromkeys(first(tmp_path))) == list(range(len(values)))


@pytest.mark.parametrize(
    ("usual", "stray"), [((0, 255), (0, 254)), ((0, 255), (0, 128, 255)), ((0, 1, 2), (0, 1, 200))]
)
def test_a_stray_value_is_named_with_its_file(usual, stray, tmp_path):
    for name in "bcdef":
        write(tmp_path, name, blocks(*usual))
    write(tmp_path, "a", blocks(*stray))
    assert kinds(tmp_path) == {"damaged": 1}
    train = read_masks(tmp_path).parts["train"]
    with pytest.raises(ConvatlasError, match=r"masks/a\.png: value \d+ is none of the \d classes.*classes\.csv"):
        train.read_pair(0)


@pytest.mark.parametrize("values", [(0, 1), (0, 255)])
def test_masks_of_one_bit_and_of_bytes_do_not_mix(values, tmp_path):
    write(tmp_path, "a", Image.fromarray(blocks(0, 1).astype(bool)))
    write(tmp_path, "b", blocks(*values))
    if values == (0, 255):
        with pytest.raises(ConvatlasError, match="some of one bit a pixel"):
            open_masks(str(tmp_path))
    else:
        assert kinds(tmp_path) == {}


def test_some_masks_of_1_and_others_of_255_are_refused(tmp_path):
    for name in "abc":
        write(tmp_path, name, blocks(0, 1))
        write(tmp_path, f"{name}2", blocks(0, 255))
    with pytest.raises(ConvatlasError, match="hold the values 0, 1, 255"):
        open_masks(str(tmp_path))


def test_masks_resized_smoothly_are_refused(tmp_path):
    for name, top in zip("abcd", (255, 255, 10, 10), strict=True):
        small = Image.fromarray(blocks(0, top, size=(6, 8)).astype(np.uint8))
        write(tmp_path / str(top), name, small.resize((64, 48), Image.Resampling.BILINEAR))
    for top in ("255", "10"):
        with pytest.raises(ConvatlasError, match=r"hold .*classes\.csv"):
            open_masks(str(tmp_path / top))


@pytest.mark.parametrize(("suffix", "named"), [(".jpg", "JPEG"), (".webp", "WebP"), (".png", "JPEG")])
def test_masks_of_a_lossy_format_are_refused(suffix, named, tmp_path):
    for name in "ab":
        write(tmp_path, name, blocks(0, 255), suffix=suffix, format=named.upper())
    with pytest.raises(ConvatlasError, match=rf"{named}.* whose values are not exact; save masks as PNG"):
        open_masks(str(tmp_path))
    table(tmp_path, "0,ground,", "255,thing,")
    with pytest.raises(ConvatlasError, match="not exact"):
        kinds_or_raise(tmp_path)


def kinds_or_raise(folder: Path) -> None:
    opened = open_masks(str(folder))
    check_masks(opened.parts, opened.classes.names)


def test_a_lossless_webp_is_exact(tmp_path):
    for name in "ab":
        write(
            tmp_path,
            name,
            Image.fromarray(blocks(0, 255).astype(np.uint8)).convert("RGB"),
            suffix=".webp",
            lossless=True,
        )
    assert first(tmp_path) == [0] * 8 + [1] * 8


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_masks_of_16_and_32_bits(mode, tmp_path):
    values = blocks(0, 1, 2).astype(np.uint16 if mode == "I;16" else np.int32)
    for name in "ab":
        write(tmp_path, name, Image.fromarray(values), suffix=".png" if mode == "I;16" else ".tif")
    assert set(first(tmp_path)) == {0, 1, 2}
    strange = blocks(0, 40_000).astype(np.uint16)
    write(tmp_path, "c", Image.fromarray(strange))
    assert kinds(tmp_path) == {"damaged": 1}


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Image.fromarray(np.dstack([blocks(0, 1)] * 3 + [blocks(255, 0)]).astype(np.uint8)), "transparent"),
        (lambda: Image.fromarray(blocks(0, 1).astype(np.float32)), "mode F"),
        (lambda: Image.fromarray(blocks(0, 1).astype(np.uint8)).convert("CMYK"), "mode CMYK"),
    ],
)
def test_masks_that_hold_no_numbers_are_named(make, reason, tmp_path):
    for name in "bcd":
        write(tmp_path, name, blocks(0, 1))
    image = make()
    write(tmp_path, "a", image, suffix=".png" if image.mode == "RGBA" else ".tif")
    assert kinds(tmp_path) == {"damaged": 1}
    with pytest.raises(ConvatlasError, match=reason):
        read_masks(tmp_path).parts["train"].read_pair(0)


def test_opaque_alpha_and_grey_with_alpha_are_numbers(tmp_path):
    for name, mode in (("a", "RGBA"), ("b", "LA"), ("c", "RGB")):
        write(tmp_path, name, Image.fromarray(blocks(0, 1, 2).astype(np.uint8)).convert(mode))
    assert kinds(tmp_path) == {}


def test_many_pages_in_one_file_are_named(tmp_path):
    write(tmp_path, "b", blocks(0, 1))
    write(tmp_path, "c", blocks(0, 1))
    pages = [Image.fromarray(blocks(0, 1).astype(np.uint8)) for _ in range(3)]
    write(tmp_path, "a", pages[0], suffix=".tif", save_all=True, append_images=pages[1:])
    assert kinds(tmp_path) == {"damaged": 1}


def test_a_gif_s_palette_is_numbers(tmp_path):
    for name in "ab":
        write(tmp_path, name, palette(blocks(0, 1), (0, 0, 0), (255, 255, 255)), suffix=".gif")
    assert first(tmp_path) == [0] * 8 + [1] * 8


# --- tables and palettes ---


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.csv", "\ufeffvalue,name,colour\r\n0,void,#000000\r\n1,x,#ff0000\r\n2,y,#00ff00\r\n"),
        ("classes.csv", "value;name;colour\n0;void;#000000\n1;x;#ff0000\n2;y;#00ff00\n"),
        ("classes.csv", "Value,Name,r,g,b\n0,void,0,0,0\n1,x,255,0,0\n2,y,0,255,0\n"),
        ("class_dict.csv", "name,r,g,b\nvoid,0,0,0\nx,255,0,0\ny,0,255,0\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nvoid:0,0,0::\nx:255,0,0::\ny:0,255,0::\n"),
        ("label_colors.txt", "0 0 0\tVoid\n255 0 0\tx\n0 255 0\ty\n"),
        ("classes.txt", "\ufeffvoid\nx\ny\n"),
        ("codes.txt", "void\r\nx\r\ny"),
        ("CLASSES.TXT", "void\nx\ny"),
    ],
)
def test_tables_of_every_kind(name, text, tmp_path):
    (tmp_path / name).write_bytes(text.encode("utf-8"))
    write(tmp_path, "a", blocks(0, 1, 2))
    write(tmp_path, "b", palette(blocks(0, 1, 2), (0, 0, 0), RED, GREEN))
    classes = read_masks(tmp_path).classes
    assert classes.names == ("x", "y")
    assert list(dict.fromkeys(first(tmp_path))) == [VOID, 0, 1]
    assert kinds(tmp_path) == {}
    if not name.lower().endswith(".txt") or "label" in name:
        coloured = palette(blocks(0, 1, 2), (0, 0, 0), RED, GREEN).convert("RGB")
        write(tmp_path, "a", coloured)
        assert list(dict.fromkeys(first(tmp_path))) == [VOID, 0, 1]


def test_colours_decide_where_the_table_has_them(tmp_path):
    table(tmp_path, "0,ground,#000000", "1,red,#ff0000", "2,green,#00ff00")
    write(tmp_path, "a", palette(blocks(0, 1, 2), RED, (0, 0, 0), GREEN))
    write(tmp_path, "b", palette(blocks(0, 1, 2), (0, 0, 0), GREEN, RED))
    splits = read_masks(tmp_path).parts["train"]
    rows = [list(dict.fromkeys(splits.read_pair(index)[1][0].tolist())) for index in (0, 1)]
    assert rows == [[1, 0, 2], [0, 2, 1]]


def test_a_palette_that_contradicts_the_table_is_named(tmp_path):
    table(tmp_path, "0,ground,#000000", "1,red,#ff0000")
    write(tmp_path, "a", palette(blocks(0, 1), (0, 0, 0), BLUE))
    write(tmp_path, "b", palette(blocks(0, 1), (0, 0, 0), RED))
    assert kinds(tmp_path) == {"damaged": 1}
    with pytest.raises(ConvatlasError, match="palette has #0000ff for value 1, where the classes have #ff0000"):
        read_masks(tmp_path).parts["train"].read_pair(0)


@pytest.mark.parametrize("named", [False, True])
def test_palettes_that_differ_from_file_to_file_are_refused(named, tmp_path):
    write(tmp_path, "a", palette(blocks(0, 1, 2), (0, 0, 0), RED, GREEN))
    write(tmp_path, "b", palette(blocks(0, 1, 2), (0, 0, 0), GREEN, RED))
    if named:
        table(tmp_path, "ground", "red", "green", name="classes.txt", header="")
    with pytest.raises(ConvatlasError, match=r"palettes of the masks differ: value 1 is #ff0000 in .*a\.png"):
        open_masks(str(tmp_path))


def test_a_palette_of_greys_contradicts_nothing(tmp_path):
    table(tmp_path, "0,ground,#000000", "1,red,#ff0000")
    write(tmp_path, "a", palette(blocks(0, 1), (0, 0, 0), (1, 1, 1)))
    assert first(tmp_path) == [0] * 8 + [1] * 8


def test_a_quantised_copy_of_voc_goes_by_its_colours(tmp_path):
    for name in "ab":
        write(tmp_path, name, palette(blocks(0, 1, 2), VOC.colours[15], VOC.colours[0], (224, 224, 192)))
    (tmp_path / "images").rename(tmp_path / "JPEGImages")
    (tmp_path / "masks").rename(tmp_path / "SegmentationClass")
    assert list(dict.fromkeys(first(tmp_path))) == [15, 0, VOID]


def test_colours_without_a_table_of_colours_are_refused(tmp_path):
    write(tmp_path, "a", palette(blocks(0, 1), RED, GREEN).convert("RGB"))
    with pytest.raises(ConvatlasError, match=r"holds colours; expected .*classes\.csv"):
        open_masks(str(tmp_path))
    table(tmp_path, "ground", "thing", name="classes.txt", header="")
    with pytest.raises(ConvatlasError, match=r"none of 1 images can be used.*holds colours"):
        kinds_or_raise(tmp_path)


def test_a_colour_that_is_no_class_is_named(tmp_path):
    table(tmp_path, "0,ground,#000000", "1,red,#ff0000")
    write(tmp_path, "a", palette(blocks(0, 1), (0, 0, 0), (254, 0, 0)).convert("RGB"))
    write(tmp_path, "b", palette(blocks(0, 1), (0, 0, 0), RED).convert("RGB"))
    assert kinds(tmp_path) == {"damaged": 1}


def test_two_classes_of_one_colour_are_refused(tmp_path):
    table(tmp_path, "0,ground,#000000", "1,red,#000000")
    write(tmp_path, "a", blocks(0, 1))
    with pytest.raises(ConvatlasError, match="colour #000000 is there twice"):
        open_masks(str(tmp_path))


def test_camvid_in_a_renamed_folder(tmp_path):
    known, other = tmp_path / "street", tmp_path / "twelve"
    for number in range(3):
        write(known, f"0001TP_00{number}", blocks(*range(12), size=(12, 48)))
        write(other, f"frame{number}", blocks(*range(12), size=(12, 48)))
    assert read_masks(known).classes == CAMVID
    assert first(known)[-1] == VOID
    assert kinds(other) == {"assumed": 1}
    problems = data.load(str(other), task="segmentation").train.problems
    assert any("CamVid" in problem.reason for problem in problems)


# --- images and masks that do not fit ---


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_image_with_a_mask_that_is_not(orientation, tmp_path):
    write(tmp_path, "a", blocks(0, 1), orientation=orientation)
    for name in "bc":
        write(tmp_path, name, blocks(0, 1))
    expected = "turned" if orientation < 5 else "damaged"  # the sizes differ, and EXIF is named
    assert kinds(tmp_path) == {expected: 1}
    with pytest.raises(ConvatlasError, match="EXIF turns the image"):
        read_masks(tmp_path).parts["train"].read_pair(0)


def test_a_mask_drawn_on_what_is_shown_is_used_and_said(tmp_path):
    for name in "ab":
        write(tmp_path, name, blocks(0, 1))
    image(tmp_path / "images" / "a.png", (SIZE[1], SIZE[0]), orientation=6)
    assert kinds(tmp_path) == {"turned, as drawn": 1}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_that_is_turned_as_its_image_is(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    write(tmp_path, "a", blocks(0, 1, 2), orientation=orientation, exif=exif)
    write(tmp_path, "b", blocks(0, 1, 2))
    with Image.open(tmp_path / "masks" / "a.png") as image:
        expected = np.array(ImageOps.exif_transpose(image))
    assert np.array_equal(read_mask(tmp_path / "masks" / "a.png").upright(), expected)
    mask = read_masks(tmp_path).parts["train"].read_pair(0)[1]
    assert torch.equal(mask, torch.from_numpy(expected))


def test_an_upright_image_with_a_turned_mask_is_named(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    write(tmp_path, "a", blocks(0, 1), exif=exif)
    write(tmp_path, "b", blocks(0, 1))
    assert kinds(tmp_path) == {"turned": 1}


def test_nothing_without_a_partner_is_dropped_without_a_word(tmp_path):
    for name in "ab":
        write(tmp_path, name, blocks(0, 1))
    image(tmp_path / "images" / "lonely.png")
    Image.fromarray(blocks(0, 1).astype(np.uint8)).save(tmp_path / "masks" / "orphan.png")
    assert kinds(tmp_path) == {"no mask": 1, "no image": 1}
    assert set(kinds(tmp_path)) <= set(HARMFUL)


def test_two_images_of_one_name_and_two_masks_of_one_name_are_named(tmp_path):
    for name in "abc":
        write(tmp_path, name, blocks(0, 1))
    image(tmp_path / "images" / "a.tif")
    Image.fromarray(blocks(1, 0).astype(np.uint8)).save(tmp_path / "masks" / "b_mask.png")
    Image.fromarray(blocks(1, 0).astype(np.uint8)).save(tmp_path / "masks" / "b.tif")
    parts = read_masks(tmp_path).parts
    assert [Path(path).name for path in parts["train"].paths] == ["c.png"]
    assert kinds(tmp_path)["no mask"] == 3


@pytest.mark.parametrize(
    ("image_name", "mask_name"),
    [
        ("p {}.JPG", "p {}.png"), ("p{}.jpg", "p{}_mask.png"), ("p{}.jpg", "p{}_L.png"), ("p{}.jpg", "mask_p{}.png"),
        ("P{}.jpg", "p{}.PNG"), ("p{}_sat.jpg", "p{}_mask.png"), ("p{}_image.png", "p{}_label.png"),
        ("p{}.jpg", "p{}-gt.png"), ("p{}.jpg", "p{}_segmentation.png"), ("a/b c/p{}.jpg", "a/b c/p{}.png"),
        ("p.{}.v2.jpg", "p.{}.v2.png"),
    ],
)  # fmt: skip
def test_names_that_belong_together(image_name, mask_name, tmp_path):
    for number in range(3):
        image(tmp_path / "images" / image_name.format(number))
        file = tmp_path / "masks" / mask_name.format(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(blocks(0, 1).astype(np.uint8)).save(file)
    assert len(read_masks(tmp_path).parts["train"]) == 3
    assert kinds(tmp_path) == {}


def test_images_and_masks_in_one_folder(tmp_path):
    for number in range(3):
        image(tmp_path / f"{number}_sat.jpg")
        Image.fromarray(blocks(0, 255).astype(np.uint8)).save(tmp_path / f"{number}_mask.png")
    assert len(read_masks(tmp_path).parts["train"]) == 3


# --- splits ---


def copy(folder: Path, images: str, masks: str, *names: str) -> None:
    for name in names:
        image(folder / images / f"{name}.png")
        (folder / masks).mkdir(parents=True, exist_ok=True)
        Image.fromarray(blocks(0, 1).astype(np.uint8)).save(folder / masks / f"{name}.png")


@pytest.mark.parametrize(
    "pattern",
    [
        ("{}/images", "{}/masks"), ("{}/Images", "{}/Labels"), ("images/{}", "masks/{}"),
        ("images/{}", "annotations/{}"),
        ("{}", "{}annot"), ("{}", "{}_labels"), ("{}_images", "{}_masks"), ("{}", "{} masks"),
    ],
)  # fmt: skip
def test_splits_wherever_they_stand(pattern, tmp_path):
    for part, name in (("Training", "a"), ("validation", "b"), ("test", "c")):
        copy(tmp_path, pattern[0].format(part), pattern[1].format(part), name)
    loaded = data.load(str(tmp_path), task="segmentation")
    assert loaded.val is not None
    splits = (loaded.train, loaded.val, loaded.test)
    assert [[Path(path).stem for path in split.paths or ()] for split in splits] == [["a"], ["b"], ["c"]]


def test_validation_alone_is_the_test_split(tmp_path):
    copy(tmp_path, "train/images", "train/masks", "a")
    copy(tmp_path, "valid/images", "valid/masks", "b")
    loaded = data.load(str(tmp_path), task="segmentation")
    assert (len(loaded.train), len(loaded.test), loaded.val) == (1, 1, None)


def test_lists_of_names_make_the_splits_and_no_image_is_in_two(tmp_path):
    copy(tmp_path, "images", "masks", "a", "b c", "d")
    (tmp_path / "train.txt").write_text("a\nb c\nd.png\ngone\n")
    (tmp_path / "test.txt").write_text("d\n")
    loaded = data.load(str(tmp_path), task="segmentation")
    assert [Path(path).stem for path in loaded.train.paths or ()] == ["a", "b c"]
    reasons = [problem.reason for problem in loaded.train.problems]
    assert ["list of test" in reasons[0], "absent" in reasons[1]] == [True, True]


def test_a_test_split_alone_is_evaluated_and_not_trained_on(tmp_path):
    copy(tmp_path, "test/images", "test/masks", "a")
    loaded = data.load(str(tmp_path), task="segmentation", test=str(tmp_path))
    assert (len(loaded.train), len(loaded.test)) == (0, 1)
    with pytest.raises(ConvatlasError, match="has the splits test; expected one for training"):
        data.load(str(tmp_path), task="segmentation")


def test_two_folders_of_masks_are_refused(tmp_path):
    copy(tmp_path, "images", "masks", "a")
    copy(tmp_path, "images", "labels", "a")
    with pytest.raises(ConvatlasError, match="both hold images; expected one of them"):
        open_masks(str(tmp_path))


def test_a_mask_that_unfolds_to_gigabytes_is_refused_by_its_header(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVATLAS_MAX_PIXELS", "1000")
    write(tmp_path, "a", np.zeros((40, 40), dtype=np.uint8))
    with pytest.raises(ConvatlasError, match="1,000; set CONVATLAS_MAX_PIXELS"):
        open_masks(str(tmp_path))


# --- masks that were resized smoothly, told by where classes meet


def discs(number: int, count: int) -> np.ndarray:
    """A mask of 120 x 160 with overlapping discs of each class from 1 on."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[:120, :160]
    mask = np.zeros((120, 160), np.uint8)
    for label in (*range(1, count), *range(1, count)):
        row, column, radius = rng.integers(0, 120), rng.integers(0, 160), rng.integers(12, 40)
        mask[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = label
    return mask


@pytest.mark.parametrize("count", [3, 4, 8])
@pytest.mark.parametrize("how", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
@pytest.mark.parametrize("scale", [0.4, 1.7, 4])
def test_seams_of_the_numbers_between_tell_a_smooth_resizing(count, how, scale, tmp_path):
    """All values are classes, and only where they lie says that 1 between 0 and 2 is no object."""
    for number in range(6):
        mask = discs(number, count)
        size = (int(scale * mask.shape[1]), int(scale * mask.shape[0]))
        write(tmp_path, f"p{number}", Image.fromarray(mask).resize(size, how))
    with pytest.raises(ConvatlasError, match=r"have a seam of the numbers between, .*nearest neighbours.*classes\.csv"):
        open_masks(str(tmp_path))
    table(tmp_path, *(f"{label},c{label},#0000{label:02x}" for label in range(count)))
    assert len(open_masks(str(tmp_path)).classes.names) == count  # who says that they are objects is believed


@pytest.mark.parametrize("count", [3, 8])
@pytest.mark.parametrize("scale", [0.4, 1, 1.7, 4])
def test_masks_with_exact_borders_are_not_taken_for_resized_ones(count, scale, tmp_path):
    for number in range(6):
        mask = discs(number, count)
        mask[:, 20 * number + 30] = 1  # a pole
        mask[:, 20 * number + 31] = 1
        size = (int(scale * mask.shape[1]), int(scale * mask.shape[0]))
        write(tmp_path, f"p{number}", Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    assert len(open_masks(str(tmp_path)).classes.names) == count


def test_meetings_by_hand():
    lines = np.array([
        [0, 0, 0, 2, 2, 2, 255, 255, 255],  # direct; void is no class
        [0, 0, 0, 1, 2, 2, 2, 1, 0],  # a seam; the second leads to one pixel
        [0, 0, 0, 3, 3, 2, 2, 2, 2],  # over 3 to 2: no order
        [0, 0, 0, 1, 1, 1, 2, 2, 2],  # a region of 1
    ])  # fmt: skip
    assert Meetings.of(lines) == (1, 1)


@pytest.mark.data
def test_thin_classes_of_real_scenes_are_objects(data_root):
    files = sorted((data_root / "camvid").glob("*/masks/*.png"))[::8]
    found = Meetings()
    for file in files:
        found = found.plus(Meetings.of(read_mask(file).pixels))
    assert found.direct > 50_000
    assert not found.are_smooth
    assert found.seams < 0.05 * found.direct
