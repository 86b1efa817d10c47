"""What check calls clean trains with every image that it counted; what train refuses, check names: over any folder."""

import random
import shutil
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convatlas.data import decode
from convatlas.errors import ConvatlasError
from mutate import mutate
from reading import encoded, image, look

NAMES = st.sampled_from(
    ["train", "Train", "val", "test", "Test", "cats", "dogs", "data", "images", "a", "b", ".hidden", "__MACOSX", "x y"]
)
FILES = st.sampled_from(
    ["0.png", "1.png", "2.PNG", "3.jpg", "4.gif", "5", "6.png.bak", "cut.png", "empty.jpg", "notes.txt", ".7.png",
     "Thumbs.db", "8.cr2", "9.tif", "back"]
)  # fmt: skip
SETTINGS = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)


def content(name: str, seed: int) -> bytes:
    whole = encoded(image(seed), {"jpg": "jpeg", "gif": "gif", "tif": "tiff"}.get(name[-3:], "png"))
    if name in ("notes.txt", "Thumbs.db"):
        return b"words"
    return {"cut.png": whole[:60], "empty.jpg": b""}.get(name, whole)


@SETTINGS
@given(st.lists(st.tuples(st.lists(NAMES, min_size=0, max_size=3), FILES), min_size=1, max_size=24), st.integers(0, 9))
def test_check_and_train_agree_on_any_folder(files: list[tuple[list[str], str]], seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        root.mkdir()
        for i, (parts, name) in enumerate(files):
            path = root.joinpath(*parts, name)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                if name == "back":
                    path.symlink_to(root)
                elif not path.exists():
                    path.write_bytes(content(name, 100 * seed + i))
            except (FileExistsError, NotADirectoryError):
                continue
        look(root)  # holds the two to one another


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["0.png", "1.png", "2.png", "3.png", "gone.png", "./0.png", "", "sub/4.png", "/dev/zero"]),
        st.sampled_from(["a", "b", "", "[/red]", "1", "=x"]),
        st.sampled_from(["train", "test", "val", "", "Test", "?"]),
    ),
    min_size=0,
    max_size=12,
)


@SETTINGS
@given(ROWS, st.sampled_from([",", ";", "\t"]), st.sampled_from(["path,label,split", "image_id,class", "", "x,y,z"]))
def test_check_and_train_agree_on_any_list(rows: list[tuple[str, str, str]], separator: str, header: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "sub").mkdir()
        for i in range(4):
            (root / f"{i}.png").write_bytes(encoded(image(i)))
        (root / "sub" / "4.png").write_bytes(encoded(image(4)))
        columns = max(2, header.count(",") + 1)
        lines = [header.replace(",", separator)] if header else []
        lines += [separator.join(row[:columns]) for row in rows]
        (root / "x.csv").write_text("\n".join(lines))
        look(root / "x.csv")


def _tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for i in range(8):
            for name, data in ((f"{i}.png", encoded(image(i))), (f"{i}.cls", b"%d" % (i % 2))):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, BytesIO(data))


def _npz(path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez_compressed(
        path, images=rng.integers(0, 99, (8, 6, 6), dtype=np.uint8), labels=np.arange(8) % 2, classes=["a", "b"]
    )


def _packed(path: Path) -> None:
    files = [encoded(image(i), "jpeg") for i in range(8)]
    block = np.frombuffer(b"".join(files), np.uint8)
    np.savez(path, jpeg=block, offsets=np.cumsum([0, *map(len, files)]), labels=np.arange(8) % 2)


def _parquet(path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    images = pa.array([{"bytes": encoded(image(i)), "path": ""} for i in range(8)])
    pq.write_table(pa.table({"image": images, "label": [i % 2 for i in range(8)]}), path)


def _list(path: Path) -> None:
    path.write_text("path,label,split\n" + "".join(f"{i}.png,{'ab'[i % 2]},train\n" for i in range(6)))


def _objects(path: Path) -> None:
    path.write_text("".join(f'{{"path": "{i}.png", "label": "{"ab"[i % 2]}"}}\n' for i in range(6)))


WRITERS = {"x.tar": _tar, "x.npz": _npz, "y.npz": _packed, "x.parquet": _parquet, "x.csv": _list, "x.jsonl": _objects}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRITERS)
def test_mutated_sources_are_read_alike_or_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    for i in range(6):
        (tmp_path / f"{i}.png").write_bytes(encoded(image(i)))
    WRITERS[name](tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for seed in range(40):
        (tmp_path / name).write_bytes(mutate(whole, seed))
        found = look(tmp_path / name)
        assert "\n" not in (found.refusal or "")


def decoded(content: bytes) -> bool:
    """Whether an image is decoded to grey or colours, or refused in one line."""
    try:
        pixels = decode(content)
    except ConvatlasError as error:
        return "\n" not in str(error)
    return pixels.ndim == 3 and pixels.shape[0] in (1, 3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "webp", "tiff", "ppm", "avif", "jpeg2000"])
def test_mutated_images_are_decoded_or_refused_in_a_sentence(kind: str) -> None:
    whole = encoded(image(1, 30, 40), kind)
    for seed in range(60):
        assert decoded(mutate(whole, seed))


@pytest.mark.filterwarnings("ignore")
def test_mutated_idx_files_are_read_or_refused(tmp_path: Path) -> None:
    from test_reading_lists import idx

    for packed in (False, True):
        folder = tmp_path / f"packed{packed}"
        idx(folder, packed=packed)
        files = sorted(folder.iterdir())
        for seed in range(40):
            chosen = random.Random(seed).choice(files)
            whole = chosen.read_bytes()
            chosen.write_bytes(mutate(whole, seed))
            look(folder)
            chosen.write_bytes(whole)
    shutil.rmtree(tmp_path)
