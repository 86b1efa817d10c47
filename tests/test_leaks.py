"""Test images that are training images in disguise are found; images that merely resemble one another are not."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convatlas import cli
from convatlas.data import open_source
from convatlas.data.leaks import Thumbnails, find_cheaply, find_leaks
from reading import encoded, image, look, write

DISGUISES = {
    "half": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS),
    "larger": lambda image: image.resize((150, 110), Image.Resampling.BICUBIC),
    "stretched": lambda image: image.resize((90, 90)),
    "a quarter": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "upside down": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "three quarters": lambda image: image.transpose(Image.Transpose.ROTATE_270),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "flipped": lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "transposed": lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    "grey": lambda image: image.convert("L"),
    "brighter": lambda image: image.point(lambda value: min(255, value * 11 // 10 + 5)),
}


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("quality", [95, 40])
def test_an_image_in_disguise_is_found(tmp_path: Path, disguise: str, quality: int) -> None:
    write(tmp_path, ["train/a/*12.png", "train/b/*12.png", "test/a/*2.png", "test/b/*2.png"])
    for k, name in enumerate("ab"):
        for i in range(12):
            (tmp_path / "train" / name / f"{i}.png").write_bytes(encoded(image(50 * k + i, 60, 80)))
    for i in range(2):
        (tmp_path / "test" / "b" / f"{i}.png").write_bytes(encoded(image(500 + i, 60, 80)))
        (tmp_path / "test" / "a" / f"{i}.png").unlink()
        content = encoded(DISGUISES[disguise](image(i, 60, 80)), "jpeg", quality=quality)
        (tmp_path / "test" / "a" / f"copy{i}.jpg").write_bytes(content)
    found = look(tmp_path)
    assert (found.kinds["near leak"], found.kinds["leak"]) == (2, 0)
    assert "copy0.jpg" in found.details
    assert "train/a/0.png (train)" in found.details


def test_flat_images_and_lines_do_not_collide() -> None:
    train, test = Thumbnails.for_images(60), Thumbnails.for_images(60)
    rng = np.random.default_rng(0)
    for i in range(60):
        for thumbnails, shift in ((train, 0), (test, 1)):
            flat = np.full((40, 40, 3), 4 * i + shift, np.uint8) + rng.integers(0, 3, (40, 40, 3), dtype=np.uint8)
            thumbnails.take(i, flat)
    assert find_leaks({"train": train, "test": test}) == []
    assert find_leaks({"train": train}) == []
    assert find_leaks({"train": Thumbnails.for_images(0), "test": test}) == []


def test_digits_that_resemble_one_another_are_no_leaks() -> None:
    from convatlas.data import load

    digits = load("digits")
    assert len(find_cheaply(digits)) <= 2  # of 359


def test_an_exact_copy_is_a_leak_and_not_a_near_one(tmp_path: Path) -> None:
    write(tmp_path, ["train/a/*4.png", "train/b/*4.png", "test/a/*2.png", "test/b/*2.png"])
    (tmp_path / "test" / "a" / "0.png").write_bytes((tmp_path / "train" / "a" / "1.png").read_bytes())
    found = look(tmp_path)
    assert (found.kinds["leak"], found.kinds["near leak"]) == (1, 0)


def test_train_says_it_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from convatlas.cli.data_notes import report_data
    from convatlas.data import load

    write(tmp_path / "set", ["train/a/*4.png", "train/b/*4.png", "test/a/*2.png", "test/b/*2.png", "*2.png"])
    mirrored = image(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    (tmp_path / "set" / "test" / "b" / "0.png").write_bytes(encoded(mirrored))
    report_data(load(str(tmp_path / "set")))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "2 images lie directly in this folder" in lines[0]
    assert "1 of 4 test images is nearly a training image" in lines[1]
    assert cli.main(["data", "check", str(tmp_path / "set")]) == 1
    assert "mirrored, nearly the same as" in capsys.readouterr().out


@pytest.mark.data
def test_photographs_in_disguise_are_found_and_others_are_not(data_root: Path) -> None:
    splits = open_source(str(data_root / "ants_bees")).splits()
    train = Thumbnails.for_images(len(splits["train"]))
    others = Thumbnails.for_images(len(splits["test"]))
    for thumbnails, part in ((train, "train"), (others, "test")):
        for i in range(len(splits[part])):
            thumbnails.take(i, splits[part].read(i).permute(1, 2, 0).numpy())
    assert find_leaks({"train": train, "test": others}) == []
    disguised = Thumbnails.for_images(40)
    for i in range(40):
        pixels = Image.fromarray(np.rot90(splits["train"].read(i, 200).permute(1, 2, 0).numpy(), i % 4))
        content = encoded(pixels.resize((pixels.width // 2, pixels.height // 2)), "jpeg", quality=50)
        from convatlas.data import decode

        disguised.take(i, decode(content).permute(1, 2, 0).numpy())
    pairs = find_leaks({"train": train, "test": disguised})
    assert [(pair.index, pair.other_index) for pair in pairs] == [(i, i) for i in range(40)]
