"""Small files that unfold to much, nest deep or never end: refused in a sentence, with what raises the limit."""

import gzip
import json
import os
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from convatlas.data import decode, limits
from convatlas.data.workers import workers_that_fit
from convatlas.errors import ConvatlasError, UsageError
from reading import encoded, image, look, write


def written(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return file


def test_pixels_above_the_limit_are_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    limits.check_pixels(8192, 8192)
    with pytest.raises(ConvatlasError, match=r"^a\.png: 20000 x 20000 pixels .* set CONVATLAS_MAX_PIXELS=400000000"):
        limits.check_pixels(20000, 20000, "a.png")
    monkeypatch.setenv("CONVATLAS_MAX_PIXELS", "400000000")
    limits.check_pixels(20000, 20000)
    for wrong in ("many", "-1", "0", "1e9", "9" * 5000, "\u0664"):
        monkeypatch.setenv("CONVATLAS_MAX_PIXELS", wrong)
        with pytest.raises(UsageError, match="CONVATLAS_MAX_PIXELS"):
            limits.check_pixels(1, 1)


def test_bytes_above_the_limit_are_refused_unless_they_were_stored_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    limits.check_unpacked(1 << 28, "a.npz")
    limits.check_unpacked(1 << 33, "a.npz", packed_bytes=1 << 33)
    with pytest.raises(ConvatlasError, match=r"a\.npz unfolds to 8,589,934,592 bytes.*CONVATLAS_MAX_UNPACKED_BYTES="):
        limits.check_unpacked(1 << 33, "a.npz", packed_bytes=1 << 20)
    monkeypatch.setenv("CONVATLAS_MAX_UNPACKED_BYTES", str(1 << 33))
    limits.check_unpacked(1 << 33, "a.npz", packed_bytes=1 << 20)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe"):
        with pytest.raises(ConvatlasError, match="not a regular file"):
            limits.read_text(path)
    with pytest.raises(OSError, match="directory"):
        limits.read_text(tmp_path)
    with pytest.raises(ConvatlasError, match="not a file name"):
        limits.read_text("a\0b")


def test_a_sparse_file_counts_as_one_that_unfolds(tmp_path: Path) -> None:
    for name in ("x.csv", "x.json", "x.toml", "a.png"):
        with (tmp_path / name).open("wb") as out:
            out.truncate(1 << 40)
    for read in (limits.read_text, limits.read_bytes, limits.check_regular):
        with pytest.raises(ConvatlasError, match=r"unfolds to 1,099,511,627,776 bytes.*CONVATLAS_MAX_UNPACKED_BYTES="):
            read(tmp_path / "x.csv")
    with pytest.raises(ConvatlasError, match="unfolds to"):
        decode(tmp_path / "a.png")
    with (tmp_path / "small").open("wb") as out:
        out.truncate(1 << 20)
    assert limits.read_bytes(tmp_path / "small") == bytes(1 << 20)


@pytest.mark.parametrize("suffix", ["json", "toml", "yaml"])
@pytest.mark.parametrize("form", ["{}", "[{}]", "[1, {}, 2]"])
def test_too_many_digits_are_said_in_our_words(tmp_path: Path, suffix: str, form: str) -> None:
    value = form.format("9" * 5000)
    text = value if suffix == "json" else f"a = {value}" if suffix == "toml" else f"a: {value}"
    load = {"json": limits.load_json, "toml": limits.load_toml, "yaml": limits.load_yaml}[suffix]
    with pytest.raises(ConvatlasError, match=r"an integer of (more than )?[45],000 digits; expected") as caught:
        load(written(tmp_path, f"x.{suffix}", text))
    assert "set_int_max_str_digits" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_marks_at_the_beginning_of_a_text_are_harmless(tmp_path: Path, encoding: str) -> None:
    assert limits.load_json(written(tmp_path, "a.json", '{"a": "ä"}'.encode(encoding))) == {"a": "ä"}
    assert limits.load_toml(written(tmp_path, "a.toml", 'a = "ä"\r\n'.encode(encoding))) == {"a": "ä"}
    assert limits.load_yaml(written(tmp_path, "a.yaml", "a: ä\r\n".encode(encoding))) == {"a": "ä"}


DEEP = 100_000
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 12))
HOSTILE = {
    "deep.json": "[" * DEEP + "]" * DEEP,
    "deeper.json": '{"a":' * DEEP + "1" + "}" * DEEP,
    "hidden.json": '["]]]]]]]]]]]]", ' * DEEP + "1" + "]" * DEEP,
    "open.json": "[" * DEEP,
    "digits.json": "[" + "9" * 5000 + "]",
    "negative.json": "-" + "9" * 5000,
    "latin.json": b'{"a": "\xe4"}',
    "empty.json": "",
    "nul.json": "\0",
    "deep.toml": "a = " + "[" * DEEP + "]" * DEEP,
    "dotted.toml": ".".join(["a"] * 2000) + " = 1",
    "digits.toml": "a = " + "9" * 5000,
    "twice.toml": "a = 1\na = 2",
    "deep.yaml": "[" * DEEP + "]" * DEEP,
    "deeper.yaml": "{a: " * 200 + "1" + "}" * 200,
    "bomb.yaml": BOMB,
    "merges.yaml": MERGES,
    "itself.yaml": "&a [*a]",
    "digits.yaml": "a: " + "9" * 5000,
    "date.yaml": "2020-13-45",
    "executed.yaml": "!!python/object/apply:os.system [echo]",
    "key.yaml": "? [a]\n: 1",
    "tab.yaml": "a:\n\t- b",
    "control.yaml": "a: \x01",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_nests_or_counts_without_end_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    file = written(tmp_path, name, HOSTILE[name])
    load = {".json": limits.load_json, ".toml": limits.load_toml, ".yaml": limits.load_yaml}[file.suffix]
    with pytest.raises(ConvatlasError) as caught:
        load(file)
    assert str(file) in str(caught.value)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_usual_files_are_read_whatever_their_strings_hold(tmp_path: Path) -> None:
    values = {"a": ["[" * 500, '\\"[[', {"b": [1, 2.5, None, True]}], "c": [[i, "{"] for i in range(1000)]}
    for spaces in (None, 1):
        assert limits.load_json(written(tmp_path, "a.json", json.dumps(values, indent=spaces))) == values
    assert limits.load_yaml(written(tmp_path, "a.yaml", "a: &a {x: 1}\nb: {<<: *a, y: 2}")) == {
        "a": {"x": 1},
        "b": {"x": 1, "y": 2},
    }
    assert limits.load_yaml(written(tmp_path, "b.yaml", "")) is None
    assert limits.load_json(written(tmp_path, "s.json", '["\\ud800", "\\ud83d\\ude00"]')) == ["\ufffd", "\U0001f600"]


def png_of(width: int, height: int, *, depth: int = 8, colour: int = 2, rows: int | None = None) -> bytes:
    """A PNG of one value whose header says so many pixels, of which so many rows are there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = b"" if rows == 0 else bytes(1 + (width * samples * depth + 7) // 8)
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(row * min(256, left)) for left in range(height if rows is None else rows, 0, -256))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pieces = (chunk(b"IHDR", header), chunk(b"IDAT", body + packer.flush()), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (8193, 8192), (2**31 - 1, 2**31 - 1), (2**26 + 1, 1)])
def test_an_image_of_too_many_pixels_is_refused_by_its_header(width: int, height: int) -> None:
    with pytest.raises(ConvatlasError, match=r"(?i)CONVATLAS_MAX_PIXELS="):
        decode(png_of(width, height, rows=0))


def test_an_image_that_was_asked_for_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    content = png_of(9000, 9000, depth=1, colour=0)
    with pytest.raises(ConvatlasError, match="9000 x 9000 pixels are more than the limit of 67,108,864"):
        decode(content)
    monkeypatch.setenv("CONVATLAS_MAX_PIXELS", "81000000")
    assert decode(content).shape == (1, 9000, 9000)


def test_every_image_of_a_folder_is_bounded_by_check_and_train(tmp_path: Path) -> None:
    root = write(tmp_path / "set", ["a/*4.png", "b/*4.png"])
    (root / "a" / "bomb.png").write_bytes(png_of(20_000, 20_000, rows=0))
    (root / "b" / "line.png").write_bytes(png_of(60_000, 1))
    found = look(root)
    assert found.counts == {"train": 9}
    assert "400,000,000 pixels are more than the limit" in found.details


@pytest.mark.parametrize("kind", ["eps", "pcx", "sgi"])
def test_formats_that_nobody_asked_for_are_not_opened(kind: str) -> None:
    with pytest.raises(ConvatlasError, match="not an image"):
        decode(encoded(image(1), kind))


def test_a_jpeg_of_a_thousand_scans_is_refused() -> None:
    content = encoded(image(1, 64, 64), "jpeg", progressive=True)
    last = content.rfind(b"\xff\xda")
    with pytest.raises(ConvatlasError, match="more than 400 scans"):
        decode(content[:-2] + content[last:-2] * 1000 + content[-2:])


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members.items():
            out.writestr(name, content)
    return path


def header(shape: tuple[int, ...], dtype: str) -> bytes:
    buffer = BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def test_arrays_that_say_more_than_they_hold_or_unfold_to_gigabytes_are_refused(tmp_path: Path) -> None:
    labels = header((4,), "<i8") + bytes(32)
    lies = archive(tmp_path / "a.npz", {"images.npy": header((4, 10**6, 10**6), "|u1") + b"x", "labels.npy": labels})
    assert "says 4,000,000,000,000 bytes and has 1" in (look(lies).refusal or "")
    huge = header((280, 1000, 1000), "|u1") + bytes(280_000_000)
    bomb = archive(tmp_path / "b.npz", {"images.npy": huge, "labels.npy": header((280,), "<i8") + bytes(2240)})
    assert bomb.stat().st_size < 1_000_000
    assert "CONVATLAS_MAX_UNPACKED_BYTES=" in (look(bomb).refusal or "")
    negative = archive(tmp_path / "c.npz", {"images.npy": header((-1, 8, 8), "|u1"), "labels.npy": labels})
    assert look(negative).refusal
    objects = archive(tmp_path / "d.npz", {"images.npy": header((4,), "|O") + bytes(32), "labels.npy": labels})
    assert "plain arrays" in (look(objects).refusal or "")


def test_a_compressed_idx_file_is_bounded(tmp_path: Path) -> None:
    for what, axes in (("images", 3), ("labels", 1)):
        content = bytes((0, 0, 8, axes)) + struct.pack(f">{axes}I", *[300_000_000, 1, 1][:axes])
        with gzip.open(tmp_path / f"train-{what}-idx{axes}-ubyte.gz", "wb", compresslevel=1) as out:
            out.write(content)
            for _ in range(300 if axes == 3 else 0):
                out.write(bytes(1_000_000))
    assert "CONVATLAS_MAX_UNPACKED_BYTES=" in (look(tmp_path).refusal or "")


def test_a_parquet_file_that_repeats_one_value_is_bounded(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    one = np.random.default_rng(0).integers(0, 256, 4_000_000, dtype=np.uint8).tobytes()
    images = pa.DictionaryArray.from_arrays(pa.array([0] * 500, pa.int32()), pa.array([one]))
    table = pa.table({"image": images, "label": [i % 2 for i in range(500)]})
    pq.write_table(table, tmp_path / "x.parquet", dictionary_pagesize_limit=1 << 30, store_schema=False)
    assert (tmp_path / "x.parquet").stat().st_size < 5_000_000
    assert "CONVATLAS_MAX_UNPACKED_BYTES=" in (look(tmp_path / "x.parquet").refusal or "")


def test_a_shards_label_is_bounded(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as out:
        for name, content in (("0.png", encoded(image(0))), ("0.cls", bytes(2_000_000))):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            out.addfile(member, BytesIO(content))
    assert "expected a label" in (look(tmp_path / "x.tar").refusal or "")


def test_workers_without_room_in_shared_memory_are_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    small = SimpleNamespace(f_bavail=1000, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda path: small)
    with pytest.warns(UserWarning, match=r"/dev/shm has 4,096,000 bytes of room, 2 workers need 6,000,000"):
        assert workers_that_fit(2, 1_000_000) == 0
    assert workers_that_fit(2, 100_000) == 2
    assert workers_that_fit(0, 1 << 40) == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["png", "alpha", "deep", "jpeg", "lying"])
def test_the_largest_images_take_less_than_three_times_their_pixels(tmp_path: Path, kind: str) -> None:
    """8,192 x 8,192 pixels in a process of its own: 201 MB of colours, 67 MB of grey."""
    from PIL import Image

    file = tmp_path / "x"
    if kind in ("jpeg", "lying"):
        exif = Image.Exif()
        exif[0x0112] = 6 if kind == "lying" else 1
        Image.new("RGB", (8192, 8192), (9, 99, 199)).save(file, "jpeg", exif=exif)
    else:
        depth, colour = {"png": (8, 2), "alpha": (8, 6), "deep": (16, 0)}[kind]
        file.write_bytes(png_of(8192, 8192, depth=depth, colour=colour))
    pixels = 8192 * 8192 * (1 if kind == "deep" else 3)
    script = (
        "import resource, sys; from convatlas.data import decode; decode(sys.argv[2]);"
        "first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; shape = decode(sys.argv[1]).shape;"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - first, *shape)"
    )
    (tmp_path / "small").write_bytes(encoded(image(1)))
    arguments = [sys.executable, "-c", script, str(file), str(tmp_path / "small")]
    grown, channels, height, width = map(int, subprocess.check_output(arguments, text=True).split())
    assert channels * height * width == pixels
    assert grown * 1024 < 3 * max(pixels, 8192 * 8192 * 2)
