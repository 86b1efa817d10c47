"""Small weights files that claim or unfold to gigabytes: refused in bounded memory, with the option to allow it."""

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from convatlas import cli, inference, registry, weights
from convatlas.errors import ConvatlasError
from convatlas.weights import make_card
from convatlas.weights.formats import huffman
from foreign import caffe_messages, torch7

LIMIT = "more than the limit of 268,435,456; set CONVATLAS_MAX_UNPACKED_BYTES="
CARD = make_card("caffe_lenet", num_classes=10, in_channels=1)


def torch_file(content: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    torch.save(content, out, **options)
    return out.getvalue()


def deflated(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return out.getvalue()


def zeros(count: int) -> bytes:
    """A deflated archive of torch.save of zeros."""
    return deflated(torch_file({"conv1.weight": torch.zeros(count)}))


def hdf5(build: Callable[[h5py.File], object]) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file.attrs["layer_names"] = np.array([b"l"])
        file.create_group("l").attrs["weight_names"] = np.array([b"w"])
        build(file)
    return out.getvalue()


def chunk_of_a_gigabyte(file: h5py.File) -> None:
    file["l"].create_dataset("w", (1,), "f4", maxshape=(None,), chunks=(1 << 28,), compression="gzip")


def mat(elements: bytes) -> bytes:
    return b" " * 124 + struct.pack("<H", 0x0100) + b"IM" + elements


def mat_bomb() -> bytes:
    packed = zlib.compress(bytes(600 << 20), 9)
    return mat(struct.pack("<II", 15, len(packed)) + packed)


def caffe_claims(*dims: int) -> bytes:
    net = caffe_messages()["NetParameter"](name="x")
    layer = net.layer.add(name="conv1", type="Convolution")
    layer.blobs.add().shape.dim.extend(dims)
    return net.SerializeToString()


def torch7_claims(shape: tuple[int, ...], size: int) -> bytes:
    data = bytearray(torch7({"weight": torch.zeros(2, 2)}))
    place = data.index(struct.pack("<qq", 2, 2))
    data[place : place + 16] = struct.pack("<qq", *shape)
    storage = data.rindex(struct.pack("<q", 4))
    data[storage : storage + 8] = struct.pack("<q", size)
    return bytes(data)


def shared_torch7() -> bytes:
    """One storage of a megabyte under 500 layers."""
    weight = torch.zeros(1 << 18)
    return torch7([{"weight": weight} for _ in range(500)])


def safetensors_header(header: Any, body: bytes = b"", size: int | None = None) -> bytes:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(text) if size is None else size) + text + body


def card_claims(**entries: Any) -> bytes:
    text = json.dumps(CARD | entries)
    return safetensors.torch.save({"x": torch.zeros(1)}, {"convatlas": text})


def huff(header: bytes) -> bytes:
    body = struct.pack("<I", len(header)) + header
    return huffman.MAGIC + struct.pack("<I", zlib.crc32(body)) + body


def lying_storage() -> bytes:
    """A tensor of a terabyte whose storage has four numbers."""
    data = torch_file({"w": torch.arange(1000.0).view(4, 250)}, _use_new_zipfile_serialization=False)
    return data.replace(b"K\x04K\xfa\x86", b"J\xff\xff\xff\x7fK\xfa\x86")


def strides_of_zero() -> bytes:
    return torch_file({"conv1.weight": torch.zeros(1).expand(1 << 20, 1 << 12)})


def deep(opening: bytes) -> bytes:
    return b"\x80\x02" + opening * 200_000 + b"."


BOMBS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "deflated archive of 1.8 GB": (".pth", lambda: zeros(450 << 20 >> 0), LIMIT),
    "strides of 0": (".pth", strides_of_zero, LIMIT),
    "a tensor beyond its storage": (".pth", lying_storage, "can't be read|more than the limit"),
    "bytearray": (".pth", lambda: b"\x80\x02c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R.", "bytearray"),
    "nested lists": (".pth", lambda: deep(b"]"), "can't be read|hold no named tensors"),
    "nested dicts": (".pth", lambda: deep(b"}"), "can't be read|hold no named tensors"),
    "nested marks": (".pth", lambda: deep(b"("), "can't be read"),
    "text of 4 GB": (".pth", lambda: b"\x80\x02X\xff\xff\xff\xff", "can't be read"),
    "memo of 2^32": (".pth", lambda: b"\x80\x02K\x01r\xff\xff\xff\xff.", "can't be read"),
    "safetensors: header of 2^63": (".safetensors", lambda: safetensors_header({}, size=1 << 63), "can't be read"),
    "safetensors: offsets beyond": (".safetensors", lambda: safetensors_header(
        {"x": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}), "can't be read"),
    "safetensors: overflow": (".safetensors", lambda: safetensors_header(
        {"x": {"dtype": "F32", "shape": [1 << 33, 1 << 33], "data_offsets": [0, 4]}}, b"abcd"), "can't be read"),
    "safetensors: negative": (".safetensors", lambda: safetensors_header(
        {"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"abcd"), "can't be read"),
    "safetensors: overlap": (".safetensors", lambda: safetensors_header(
        {n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in "xy"}, b"abcd"), "can't be read"),
    "safetensors: nested": (".safetensors", lambda: safetensors_header(b"[" * 100_000), "can't be read"),
    "safetensors: no object": (".safetensors", lambda: safetensors_header([1]), "can't be read"),
    "card: 10^9 classes": (".safetensors", lambda: card_claims(num_classes=10**9), "num_classes 1000000000; expected"),
    "card: 10^18 channels": (".safetensors", lambda: card_claims(in_channels=10**18), "in_channels 10000000"),
    "card: classes are true": (".safetensors", lambda: card_claims(num_classes=True), "num_classes True"),
    "card: size": (".safetensors", lambda: card_claims(preprocessing={"size": [10**9, 10**9]}), "size"),
    "card: mean": (".safetensors", lambda: card_claims(preprocessing={"size": [28, 28], "mean": ["x"]}), "mean"),
    "card: std 0": (".safetensors", lambda: card_claims(preprocessing={
        "size": [28, 28], "channels": 1, "mean": [0], "std": [0]}), "std"),
    "card: colours": (".safetensors", lambda: card_claims(colours=[[1, 2]]), "colours"),
    "card: settings": (".safetensors", lambda: card_claims(settings={"*": {"eps": "x" * 10**6}}), "sets"),
    "card: padding": (".safetensors", lambda: card_claims(settings={"conv1": {"padding": 10**9}}), "padding"),
    "card: nested": (".safetensors", lambda: safetensors.torch.save(
        {"x": torch.zeros(1)}, {"convatlas": "[" * 100_000}), "nested|not JSON"),
    "card: 5,000 digits": (".safetensors", lambda: safetensors.torch.save(
        {"x": torch.zeros(1)}, {"convatlas": '{"format": ' + "9" * 5000 + "}"}), "digits"),
    "keras: a data set of 16 GB": (".h5", lambda: hdf5(lambda file: file["l"].create_dataset(
        "w", (1 << 16, 1 << 16), "f4")), LIMIT),
    "keras: one of 2^60": (".h5", lambda: hdf5(lambda file: file["l"].create_dataset(
        "w", (1 << 30, 1 << 30), "f4", chunks=(1, 1))), LIMIT),
    "keras: a chunk of a gigabyte": (".h5", lambda: hdf5(chunk_of_a_gigabyte), LIMIT),
    "keras: text": (".h5", lambda: hdf5(lambda file: file["l"].create_dataset("w", data=["a"])), "expected numbers"),
    "keras: no such data set": (".h5", lambda: hdf5(lambda file: None), "can't be read"),
    "keras: another file": (".h5", lambda: hdf5(lambda file: file["l"].__setitem__(
        "w", h5py.ExternalLink("/etc/passwd", "/x"))), "can't be read"),
    "keras: config nested": (".keras",
        lambda: archive({"config.json": "[" * 100_000, "model.weights.h5": b""}), "nested"),
    "keras: no weights": (".keras", lambda: archive({"config.json": "{}"}), "can't be read"),
    "mat: inflates to 600 MB": (".mat", mat_bomb, LIMIT),
    "mat: an element of 4 GB": (".mat", lambda: mat(struct.pack("<II", 14, 0xFFFFFFFF)), "can't be read"),
    "caffe: a blob of 2^60": (".caffemodel", lambda: caffe_claims(1 << 30, 1 << 30), "can't be read"),
    "caffe: 0 of 2^62": (".caffemodel", lambda: caffe_claims(0, 1 << 62), "can't be read|no layer|read"),
    "caffe: a field of 2^64": (".caffemodel", lambda: b"\xa2\x06" + b"\xff" * 9 + b"\x01", "can't be read"),
    "torch7: a shape that lies": (".t7", lambda: torch7_claims((1 << 40, 1 << 20), 4), "can't be read"),
    "torch7: a storage that lies": (".t7", lambda: torch7_claims((2, 2), 1 << 40), "can't be read"),
    "torch7: one storage for all": (".t7", shared_torch7, LIMIT),
    "torch7: nested": (".t7",
        lambda: b"\x03\0\0\0\x01\0\0\0\x01\0\0\0" + b"\x01\0\0\0\0\0\0\0\0\0\xf0?" * 9, "can't be read"),
    "torch7: text of -1": (".t7", lambda: b"\x04\0\0\0\x01\0\0\0\xff\xff\xff\xff", "can't be read"),
    "darknet: nothing behind": (".weights", lambda: struct.pack("<iiiq", 0, 2, 0, 0), "can't be read"),
    "darknet: another version": (".weights",
        lambda: struct.pack("<iiiq", 1 << 30, 2, 0, 0) + bytes(8), "can't be read"),
    "huffman: a header that lies": (".huff",
        lambda: huffman.MAGIC + struct.pack("<II", 0, 0xFFFFFFFF), "can't be read"),
    "huffman: nested": (".huff", lambda: huff(b"[" * 100_000), "nested"),
    "huffman: a layer of 2^60": (".huff", lambda: huff(json.dumps(
        {"card": CARD, "layers": [["conv1", [1 << 30, 1 << 30]]]}).encode()), "can't be read"),
    "hidden in another ending": (".bin", lambda: safetensors_header(
        {"x": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}, b" " * 64), "can't be read"),
}  # fmt: skip


def archive(members: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return out.getvalue()


READ = """
import json, resource, sys
from pathlib import Path
from convatlas import weights
from convatlas.errors import ConvatlasError
weights.open_file(sys.argv[1])  # imports what reading imports
import convatlas.weights.formats.keras
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
said = {}
for path in sys.argv[2:]:
    try:
        weights.open_file(path)
        said[path] = "read"
    except ConvatlasError as error:
        said[path] = str(error)
    except BaseException as error:
        said[path] = f"unexpected {type(error).__name__}: {error}"
print(json.dumps([said, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024]))
"""


def test_bombs_are_refused_in_a_bounded_memory(tmp_path: Path) -> None:
    """One process for all, since importing torch takes longest; the deflated archives are the first of them."""
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "good.safetensors")
    paths = {}
    for index, (name, (ending, build, _)) in enumerate(BOMBS.items()):
        paths[name] = tmp_path / f"{index}{ending}"
        paths[name].write_bytes(build())
        assert paths[name].stat().st_size < 3 << 20, name
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path / "good.safetensors"), *map(str, paths.values())],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    said, mebibytes = json.loads(done.stdout.splitlines()[-1])
    for name, (_, _, reason) in BOMBS.items():
        sentence = said[str(paths[name])]
        assert any(part in sentence for part in reason.split("|")), f"{name}: {sentence[:300]}"
        assert len(sentence) < 1500, name
    assert mebibytes < 700


def test_the_limit_can_be_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.pth").write_bytes(zeros(1 << 20))
    monkeypatch.setenv("CONVATLAS_MAX_UNPACKED_BYTES", "1000000")
    with pytest.raises(ConvatlasError, match=r"unfolds to 4,19\d,\d+ bytes, more than the limit of 1,000,000"):
        weights.open_file(tmp_path / "x.pth")
    monkeypatch.setenv("CONVATLAS_MAX_UNPACKED_BYTES", "10000000")
    assert weights.open_file(tmp_path / "x.pth").tensors["conv1.weight"].shape == (1 << 20,)


def test_what_is_stored_as_it_is_has_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVATLAS_MAX_UNPACKED_BYTES", "1000")
    net = registry.build("caffe_lenet")
    torch.save(net.state_dict(), tmp_path / "x.pth")
    safetensors.torch.save_file(net.state_dict(), tmp_path / "x.safetensors")
    for name in ("x.pth", "x.safetensors"):
        assert len(weights.open_file(tmp_path / name).tensors) == 8


@pytest.mark.parametrize(
    "name", ["/dev/zero", "/dev/null", "\0", "a\0.pth", "x" * 5000 + ".pth", "\udcff.pth", "\x1b[31m.pth"]
)
def test_what_is_no_file(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConvatlasError):
        weights.open_file(name if name.startswith("/dev") else tmp_path / name)
    if "\0" not in name and "\udcff" not in name:
        assert cli.main(["weights", "show", name]) == 2
        said = capsys.readouterr().err
        assert "unexpected" not in said
        assert "\x1b" not in said


# ---------- text of files in terminals and tables

NAMES = [
    "[/red]",
    "\x1b[31mred",
    "$\\frac{",
    "=cmd()|' /C calc'!A0",
    "漢字",
    "a\nb",
    "<script>",
    "\u202eevil",
    "[bold]x",
    "plain",
]


@pytest.fixture
def named(tmp_path: Path, run_folder: Path) -> tuple[Path, Path]:
    """A weights file whose card names its classes so, and an image."""
    from PIL import Image

    card = weights.read_card(run_folder / "checkpoints" / "best" / "weights.safetensors")
    assert card is not None
    torch.manual_seed(0)
    weights.save(tmp_path / "w.safetensors", registry.build("caffe_lenet"), card | {"classes": NAMES})
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(tmp_path / "x.png")
    return tmp_path / "w.safetensors", tmp_path / "x.png"


@pytest.mark.parametrize("options", [[], ["--csv"], ["--json"]])
def test_predict_writes_names_out(
    named: tuple[Path, Path], capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    path, image = named
    assert cli.main(["predict", "caffe_lenet", str(image), "--weights", str(path), "--top-k", "10", *options]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "漢字" in text
    if not options:
        assert "[/red]" in text
        assert "\\x1b[31mred" in text
        assert len(text.splitlines()) == 1
    if options == ["--csv"]:
        assert "'=cmd()" in text
        assert len(text.splitlines()) == 11


def test_show_writes_names_out(named: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["weights", "show", str(named[0])]) == 0
    text = capsys.readouterr().out
    assert "[/red]" in text
    assert "\x1b" not in text


def test_eval_writes_names_out(named: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    classes = [name for name in NAMES if "/" not in name and "\n" not in name]
    card = make_card("caffe_lenet", num_classes=len(classes), in_channels=1, classes=classes,
                     preprocessing=inference.open_source("caffe_lenet", named[0]).preprocessing)  # fmt: skip
    weights.save(tmp_path / "v.safetensors", registry.build("caffe_lenet", num_classes=len(classes)), card)
    for split in ("train", "test"):
        for index, name in enumerate(classes):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            Image.fromarray(np.full((28, 28), 20 * index, np.uint8)).save(folder / "x.png")
    arguments = ["eval", "caffe_lenet", "--weights", str(tmp_path / "v.safetensors"), "--data", str(tmp_path / "data")]
    assert cli.main(arguments) == 0
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert "[bold]x" in out


def test_an_error_writes_names_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"\x1b[31mconv[/red]": torch.zeros(1), "b": torch.zeros(1)}, tmp_path / "x.pth")
    assert cli.main(["predict", "caffe_lenet", "x.png", "--weights", str(tmp_path / "x.pth")]) == 1
    said = capsys.readouterr().err
    assert "left over" in said
    assert "\x1b" not in said


def test_a_pickle_s_claims_are_claims() -> None:
    """The bombs are what they say: unpickled without care they would take what they claim."""
    assert pickle.loads(b"\x80\x02c__builtin__\nbytearray\nJ\x00\x00\x10\x00\x85R.") == bytearray(1 << 20)
    assert isinstance(nn.Module, type)
