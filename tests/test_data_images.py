"""Picture files of every kind, damaged ones among them, and folders of them."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from convatlas.data import LabelAssembly, Loader, PackedSplit, decode, load
from convatlas.errors import ConvatlasError, UsageError
from convatlas.records import Preprocessing

GREY8 = Preprocessing((8, 8), channels=1, resize="stretch", resize_to=8, mean=(0.0,), std=(1.0,))


def noise(seed: int, height: int = 12, width: int = 10) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def truncated_jpeg() -> bytes:
    buffer = BytesIO()
    noise(0, 64, 64).save(buffer, "jpeg")
    return buffer.getvalue()[:1500]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of six images."""
    for name in ("bees", "ants"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(6):
            noise(i).save(tmp_path / "set" / name / f"{i}.png")
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("RGB", 3), ("RGBA", 3), ("P", 3), ("CMYK", 3), ("I;16", 1)]
)
def test_every_mode_becomes_eight_bit_grey_or_rgb(tmp_path: Path, mode: str, channels: int) -> None:
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    image = noise(1).convert("L") if mode == "I;16" else noise(1).convert(mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    image.save(path)
    pixels = decode(path)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (channels, 12, 10)
    if mode in ("L", "I;16"):
        assert np.array_equal(pixels[0].numpy(), np.asarray(noise(1).convert("L")))


def test_transparent_pixels_are_white(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(tmp_path / "x.png")
    assert decode(tmp_path / "x.png").unique().tolist() == [255]


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    noise(2).save(tmp_path / "x.png", exif=exif)
    turned = np.rot90(np.asarray(noise(2)), k=-1)
    assert np.array_equal(decode(tmp_path / "x.png").permute(1, 2, 0).numpy(), turned)


def encoded(image: Image.Image, **how: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "jpeg", **how)
    return buffer.getvalue()


JPEGS = {
    "colour": encoded(noise(1, 61, 83)),
    "no sub-sampling": encoded(noise(2, 61, 83), subsampling=0),
    "progressive": encoded(noise(3, 61, 83), progressive=True),
    "grey": encoded(noise(4, 61, 83).convert("L")),
    "RGB in the file": encoded(noise(5, 61, 83), keep_rgb=True),
    "CMYK": encoded(noise(6, 61, 83).convert("CMYK")),
    "bytes after its end": encoded(noise(7, 61, 83)) + b"and more",
}


@pytest.mark.parametrize("kind", list(JPEGS))
def test_jpegs_have_the_pixels_that_pillow_gives(kind: str) -> None:
    with Image.open(BytesIO(JPEGS[kind])) as image:
        reference = np.asarray(image if kind == "grey" else image.convert("RGB"))
    pixels = decode(JPEGS[kind])
    assert pixels.shape[0] == (1 if kind == "grey" else 3)
    assert np.array_equal(pixels.permute(1, 2, 0).numpy().reshape(reference.shape), reference)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_is_turned_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = encoded(noise(8, 40, 60), exif=exif)
    with Image.open(BytesIO(turned)) as image:
        reference = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(decode(turned).permute(1, 2, 0).numpy(), reference)


def test_a_jpeg_far_larger_than_needed_comes_smaller_and_looks_the_same() -> None:
    large = encoded(noise(9, 10, 15).resize((600, 400), Image.Resampling.BICUBIC), quality=95)
    shapes = {side: tuple(decode(large, short_side=side).shape[1:]) for side in (50, 100, 200, 201, 400, 1000)}
    assert shapes == {50: (50, 75), 100: (100, 150), 200: (200, 300), 201: (400, 600), 400: (400, 600),
                      1000: (400, 600)}  # fmt: skip
    reduced = torch.nn.functional.avg_pool2d(decode(large).float()[None], 4)[0]
    assert (decode(large, short_side=100).float() - reduced).abs().max() < 4
    png = BytesIO()
    noise(0, 40, 60).save(png, "png")
    assert decode(png.getvalue(), short_side=10).shape == (3, 40, 60)


@pytest.mark.parametrize("keep", [0, 2, 20, 700, 2000, -1])
def test_a_jpeg_that_is_cut_off_is_damaged_however_small_it_is_wanted(keep: int) -> None:
    whole = encoded(noise(0, 64, 64))
    for short_side in (None, 1):
        with pytest.raises(ConvatlasError):
            decode(whole[:keep], short_side=short_side)


def test_single_pixel_fills_the_input(tmp_path: Path) -> None:
    for name, value in (("a", 40), ("b", 200)):
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.new("L", (1, 1), value).save(tmp_path / name / f"{i}.png")
    data = load(str(tmp_path), test_fraction=0.5)
    batch = next(Loader(LabelAssembly(data.train, GREY8), batch_size=2).epoch(0))
    assert torch.allclose(batch.images[0], torch.full((1, 8, 8), 40 / 255))
    assert torch.allclose(batch.images[1], torch.full((1, 8, 8), 200 / 255))


def test_folder_classes_are_sorted_and_split_by_class(folder: Path) -> None:
    data = load(str(folder), test_fraction=1 / 3, seed=3)
    assert data.classes == ("ants", "bees")
    assert data.train.labels.bincount().tolist() == [4, 4]
    assert data.test.labels.bincount().tolist() == [2, 2]
    assert data.train.paths is not None
    assert data.test.paths is not None
    assert not set(data.train.paths) & set(data.test.paths)
    assert data.test.paths == load(str(folder), test_fraction=1 / 3, seed=3).test.paths


@pytest.mark.parametrize("name", ["val", "test"])
def test_folder_with_parts(folder: Path, tmp_path: Path, name: str) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    folder.rename(parts / "train")
    (parts / name / "bees").mkdir(parents=True)
    noise(9).save(parts / name / "bees" / "9.JPG", "jpeg")
    data = load(str(parts))
    assert (len(data.train), data.test.labels.tolist()) == (12, [1])
    (parts / name / "wasps").mkdir()
    noise(9).save(parts / name / "wasps" / "9.png")
    with pytest.raises(ConvatlasError, match="'wasps'"):
        load(str(parts))


def test_folders_that_can_not_be_used_are_named(folder: Path, tmp_path: Path) -> None:
    (folder / "wasps").mkdir()
    with pytest.raises(ConvatlasError, match=r"class folder .*wasps holds no images"):
        load(str(folder))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConvatlasError, match="no class folders"):
        load(str(tmp_path / "empty"))
    (tmp_path / "empty" / "a").mkdir()
    with pytest.raises(ConvatlasError, match="empty holds no images"):
        load(str(tmp_path / "empty"))
    noise(0).save(tmp_path / "empty" / "a" / "0.png")
    with pytest.raises(ConvatlasError, match="fewer than two classes"):
        load(str(tmp_path / "empty"))


def test_unreadable_folder_is_a_usage_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(UsageError, match=r"set can't be read: Permission denied"):
        load(str(folder))


def test_other_files_are_problems_only_if_they_look_like_images(folder: Path) -> None:
    (folder / "ants" / "notes.txt").write_text("six ants")
    (folder / "ants" / ".hidden.png").write_bytes(b"")
    (folder / "ants" / "image.dat").write_bytes((folder / "ants" / "0.png").read_bytes())
    problems = load(str(folder)).train.problems
    assert [Path(problem.path).name for problem in problems] == ["image.dat"]
    assert "by its first bytes" in problems[0].reason


@pytest.mark.parametrize("memory_limit_bytes", [1 << 30, 0])
def test_damaged_images_are_dropped_and_named(folder: Path, memory_limit_bytes: int) -> None:
    (folder / "ants" / "7.jpg").write_bytes(truncated_jpeg())
    (folder / "bees" / "8.jpg").write_text("not an image")
    (folder / "bees" / "9.png").write_bytes(b"")
    data = load(str(folder), test=str(folder))
    loader = Loader(LabelAssembly(data.train, GREY8), batch_size=4, memory_limit_bytes=memory_limit_bytes)
    assert len(data.train) == 12
    assert data.train.labels.tolist() == [0] * 6 + [1] * 6
    assert {Path(problem.path).name for problem in data.train.problems} == {"7.jpg", "8.jpg", "9.png"}
    assert any("truncated" in problem.reason for problem in data.train.problems)
    assert sum(len(batch.labels) for batch in loader.epoch(0)) == 12
    assert data.train.paths is not None
    images = torch.cat([batch.images for batch in loader.epoch(0)])
    again = Loader(LabelAssembly(data.train, GREY8), batch_size=12)
    assert torch.equal(images, next(again.epoch(1)).images)


def test_more_than_half_damaged_is_an_error(folder: Path) -> None:
    for i in range(7):
        (folder / "ants" / f"bad{i}.jpg").write_text("not an image")
        (folder / "bees" / f"bad{i}.jpg").write_text("not an image")
    data = load(str(folder), test=str(folder))
    with pytest.raises(ConvatlasError, match="14 of 26 images can't be read, more than half"):
        Loader(LabelAssembly(data.train, GREY8), batch_size=4)


def test_packed_images_are_named_by_their_place_in_the_file(tmp_path: Path) -> None:
    files = []
    for i in range(6):
        buffer = BytesIO()
        noise(i).save(buffer, "jpeg")
        files.append(buffer.getvalue())
    files[4] = files[4][:200]
    offsets = np.cumsum([0, *map(len, files)])
    path = tmp_path / "x_train.npz"
    np.savez(path, jpeg=np.frombuffer(b"".join(files), np.uint8), offsets=offsets, labels=np.arange(6) % 2)
    part = load(str(path), test=str(path)).train.select([5, 4, 0])
    assert isinstance(part, PackedSplit)
    Loader(LabelAssembly(part, GREY8), batch_size=2)
    assert [problem.path for problem in part.problems] == [f"{path}[4]"]
    assert part.labels.tolist() == [1, 0]
    assert torch.equal(part.read(1), decode(files[0]))
