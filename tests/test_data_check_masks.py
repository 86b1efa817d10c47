"""`convatlas data check --task segmentation`: what is wrong with masks has a name."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convatlas.cli import main


def write(folder: Path, part: str, name: str, mask: np.ndarray, *, seed: int) -> None:
    for kind in ("images", "masks"):
        (folder / part / kind).mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / part / "images" / f"{name}.png")
    Image.fromarray(mask).save(folder / part / "masks" / f"{name}.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes and a third that only training has; the test part repeats an image and has a mask of void."""
    (tmp_path / "classes.txt").write_text("ground\nhouse\nroof\n")
    mask = np.zeros((8, 12), dtype=np.uint8)
    mask[:4], mask[0] = 1, 2
    write(tmp_path, "train", "a", mask, seed=0)
    write(tmp_path, "train", "b", np.where(mask == 2, 1, mask), seed=1)
    write(tmp_path, "val", "c", np.minimum(mask, 1), seed=0)
    write(tmp_path, "val", "d", np.full((8, 12), 255, dtype=np.uint8), seed=2)
    return tmp_path


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def run(*arguments: str) -> tuple[int, str]:
        code = main(["data", "check", *arguments, "--task", "segmentation"])
        return code, capsys.readouterr().out

    return run


def test_classes_are_counted_and_faults_named(folder: Path, check: Callable[..., tuple[int, str]]) -> None:
    write(folder, "train", "e", np.zeros((5, 5), dtype=np.uint8), seed=3)
    code, out = check(str(folder), "--json")
    found = json.loads(out)
    assert code == 1
    assert found["pixels"]["train"] == [96, 84, 12]
    assert found["present"] == {"train": [2, 2, 1], "val": [1, 1, 0]}
    assert found["void"] == {"train": 0.0, "val": 0.5}
    kinds = sorted((one["kind"], Path(one["path"]).name) for one in found["findings"])
    assert kinds == [("all void", "d.png"), ("damaged", "e.png"), ("leak", "c.png"), ("unused class", "roof")]


def test_a_sound_folder_ends_with_0_and_a_sheet(folder: Path, check: Callable[..., tuple[int, str]]) -> None:
    for name in ("c", "d"):
        for kind in ("images", "masks"):
            (folder / "val" / kind / f"{name}.png").unlink()
    mask = np.repeat(np.array([0, 1, 2, 0], dtype=np.uint8), 3)[None].repeat(8, 0)
    write(folder, "val", "f", mask, seed=9)
    code, out = check(str(folder), "--sheet", str(folder / "sheet.png"))
    assert code == 0
    assert "nothing is wrong with it" in out
    with Image.open(folder / "sheet.png") as sheet:
        assert sheet.width == 6 * 204


def test_a_file_is_no_folder_of_masks(tmp_path: Path, check: Callable[..., tuple[int, str]]) -> None:
    (tmp_path / "x.png").write_bytes(b"")
    assert check(str(tmp_path / "x.png"))[0] == 2
