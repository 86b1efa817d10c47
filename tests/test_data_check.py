"""A data set damaged on purpose: everything that is wrong with it is named, and nothing else."""

import json
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas import cli
from convatlas.data import ArraySplit, parts
from convatlas.data.check import HARMFUL, MEANING, check
from convatlas.data.contact import ContactSheet
from convatlas.errors import ConvatlasError


def photo(seed: int, height: int = 60, width: int = 80) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def jpeg(seed: int) -> bytes:
    buffer = BytesIO()
    photo(seed).save(buffer, "jpeg")
    return buffer.getvalue()


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """Two classes with eight training and two test images each; nothing is wrong."""
    root = tmp_path / "set"
    for k, name in enumerate(("ants", "bees")):
        for part, count in (("train", 8), ("val", 2)):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                seed = 100 * k + (50 if part == "val" else 0) + i
                (root / part / name / f"{i}.jpg").write_bytes(jpeg(seed))
    return root


@pytest.fixture
def damaged(whole: Path) -> Path:
    ants, bees, val = whole / "train" / "ants", whole / "train" / "bees", whole / "val" / "ants"
    (ants / "truncated.jpg").write_bytes(jpeg(1)[:1500])
    (ants / "empty.jpg").write_bytes(b"")
    (ants / "text.jpg").write_text("hello")
    rotten = bytearray(jpeg(2))
    rotten[-40:-36] = b"\xff\xd0\xff\xd1"  # restart marks where none belong
    (bees / "rotten.jpg").write_bytes(rotten)
    photo(30).convert("CMYK").save(ants / "cmyk.jpg")
    Image.fromarray(np.arange(4800, dtype=np.uint16).reshape(60, 80) * 13).save(ants / "sixteen.png")
    photo(31, 400, 600).save(bees / "huge.png")
    photo(32, 4, 200).save(bees / "strip.png")
    (bees / "copy.jpg").write_bytes(jpeg(100))
    (val / "leaked.jpg").write_bytes(jpeg(3))
    (bees / "conflict.jpg").write_bytes(jpeg(4))
    photo(33).save(ants / "really_png.jpg", "png")
    photo(34).save(ants / "image.dat", "png")
    Image.new("RGB", (80, 60), (9, 9, 9)).save(bees / "blank.png")
    (bees / "notes.txt").write_text("x")
    return whole


EXPECTED = {
    ("damaged", "truncated.jpg"), ("damaged", "empty.jpg"), ("not an image", "text.jpg"), ("doubtful", "rotten.jpg"),
    ("leak", "leaked.jpg"), ("conflict", "conflict.jpg"), ("duplicate", "copy.jpg"), ("misnamed", "really_png.jpg"),
    ("misnamed", "image.dat"), ("odd size", "huge.png"), ("odd size", "strip.png"), ("blank", "blank.png"),
    ("unusual", "cmyk.jpg"), ("unusual", "sixteen.png"),
}  # fmt: skip


def test_everything_that_is_wrong_is_named_once_and_nothing_else(damaged: Path) -> None:
    told: list[tuple[int, int]] = []
    checked = check(*parts(str(damaged)), on_progress=lambda done, total: told.append((done, total)))
    found = [(finding.kind, Path(finding.path).name) for finding in checked.findings]
    assert Counter(found) == Counter(EXPECTED)
    assert checked.harmful == sum(kind in HARMFUL for kind, _ in EXPECTED) == 5
    assert [MEANING[kind] for kind, _ in found] == sorted(
        [MEANING[kind] for kind, _ in found], key=list(MEANING.values()).index
    )
    assert checked.counts == {"train": (11, 14), "test": (3, 2)}
    assert told[-1] == (33, 33)
    assert checked.formats == {"JPEG": 25, "PNG": 5}
    details = {Path(finding.path).name: finding.detail for finding in checked.findings}
    assert details["leaked.jpg"].endswith("ants/3.jpg (train)")
    assert details["conflict.jpg"].endswith("ants/4.jpg, bees here and ants there")
    assert details["huge.png"] == "600 x 400 pixels"


def test_a_whole_set_has_no_findings_and_its_statistics_by_hand(whole: Path) -> None:
    found, classes = parts(str(whole))
    checked = check(found, classes)
    assert (checked.findings, checked.harmful) == ((), 0)
    images = torch.stack([found["train"].read(i) for i in range(16)]).double() / 255
    assert checked.mean == pytest.approx(images.mean((0, 2, 3)).tolist(), abs=5.1e-5)
    assert checked.std == pytest.approx(images.std((0, 2, 3), correction=0).tolist(), abs=5.1e-5)
    assert (checked.short_side, checked.long_side) == ((60, 60, 60), (80, 80, 80))


def test_grey_arrays_have_one_channel_and_no_files() -> None:
    images = torch.stack([torch.full((1, 4, 4), 51), torch.full((1, 4, 4), 102)]).to(torch.uint8)
    images[:, 0, 0, 0] = 0
    checked = check({"train": ArraySplit(images, torch.tensor([0, 1]))}, ("a", "b"))
    assert checked.mean == (pytest.approx(0.3 * 15 / 16, abs=1e-4),)
    assert (checked.formats, checked.findings) == ({}, ())


def test_the_same_pixels_in_another_shape_are_no_duplicate() -> None:
    flat = torch.arange(16, dtype=torch.uint8)
    assert not check({"train": ArraySplit(flat.view(1, 1, 4, 4), torch.tensor([0])),
                      "test": ArraySplit(flat.view(1, 1, 2, 8), torch.tensor([0]))}, ("a",)).harmful  # fmt: skip


def test_nothing_but_damage_is_an_error(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.jpg").write_text("x")
    with pytest.raises(ConvatlasError, match=r"none of 2 images can be decoded; the first is .*a/0\.jpg"):
        check(*parts(str(tmp_path)))


def test_a_contact_sheet_shows_every_class_and_the_damaged_ones_as_frames(damaged: Path) -> None:
    found, classes = parts(str(damaged))
    sheet = ContactSheet.of(found, classes)
    assert len(sheet.rows) == 2
    check(found, classes, on_image=sheet.take)
    page = sheet.draw()
    assert page.size == (6 + 8 * 102, 6 + 2 * 124)
    first = np.asarray(page)[6 + 22 : 6 + 22 + 96, 6 : 6 + 96]
    assert first.std() > 20  # a photograph of noise
    missing = set(sheet.chosen.values()) - set(sheet._cells)
    assert {Path(found["train"].name(i)).name for (_, i), place in sheet.chosen.items() if place in missing} <= {
        "truncated.jpg", "empty.jpg", "text.jpg"
    }  # fmt: skip


@pytest.mark.parametrize("json_too", [False, True])
def test_the_command_on_a_damaged_folder(
    damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], json_too: bool
) -> None:
    sheet = tmp_path / "sheet.png"
    code = cli.main(["data", "check", str(damaged), "--sheet", str(sheet), *(["--json"] if json_too else [])])
    out = capsys.readouterr().out
    assert code == 1
    with Image.open(sheet) as page:
        assert page.size == (822, 254)
    if json_too:
        told = json.loads(out)
        assert told["harmful"] == 5
        assert told["other_files"] == [str(damaged / "train" / "bees" / "notes.txt")]
        assert {(f["kind"], Path(f["path"]).name) for f in told["findings"]} == EXPECTED
        return
    for words in ("30 images of 2 classes (25 in train and 5 in test)", "ants      11     3", "leak (1)",
                  "truncated.jpg: image file is truncated", "no images (1)", "notes.txt"):  # fmt: skip
        assert words in out


def test_the_command_on_a_whole_folder_and_on_none(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "check", str(whole)]) == 0
    assert "nothing is wrong with it" in capsys.readouterr().out
    assert cli.main(["data", "check", "no/such"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_the_command_on_lists_arrays_and_shards(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import io
    import tarfile

    (whole / "x.csv").write_text("train/ants/0.jpg,a\ntrain/bees/0.jpg,b\ngone.jpg,b\n")
    assert cli.main(["data", "check", str(whole / "x.csv")]) == 1
    assert "gone.jpg: No such file or directory" in capsys.readouterr().out
    np.savez(whole / "x.npz", images=np.arange(64, dtype=np.uint8).reshape(4, 4, 4), labels=[0, 1, 0, 1])
    assert cli.main(["data", "check", str(whole / "x.npz")]) == 0
    with tarfile.open(whole / "x.tar", "w") as archive:
        for i in range(2):
            for name, content in ((f"{i}.jpg", jpeg(7)), (f"{i}.cls", b"%d" % i)):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    assert cli.main(["data", "check", str(whole / "x.tar")]) == 1
    assert "x.tar:1.jpg: the same as" in capsys.readouterr().out
