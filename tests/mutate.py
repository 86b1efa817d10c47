"""Run by test_weights_hostile.py in a process of its own: reads mutated files with little memory, and tells what came.

python tests/mutate.py COUNT FORMAT ... -> one JSON object: format -> [read, refused, list of what else happened]
"""

import io
import json
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn

from convatlas import weights
from convatlas.errors import ConvatlasError
from convatlas.weights import make_card
from convatlas.weights.formats import deep_compression, huffman
from convatlas.weights.layouts.rows import compression_table, darknet_steps
from foreign import (
    caffemodel,
    darknet_file,
    keras_arrays,
    keras_h5,
    keras_zip,
    mat_file,
    random_net,
    state,
    torch7,
    torch7_layer,
    torch7_sequential,
)  # fmt: skip

GIGABYTE = 1 << 30
SECONDS = 10  # for one file
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
LAYERS = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(72, 4))


def compressed_lenet() -> dict[str, Any]:
    """A hundredth of the weights of LeNet: layer -> (codebook, codes, biases)."""
    net, rng = random_net("caffe_lenet"), np.random.default_rng(0)
    codebook = np.linspace(0, 1, 20, dtype=np.float32)
    layers = {}
    for layer, shape in compression_table(net).items():
        codes = (rng.integers(1, 20, shape) * (rng.random(shape) < 0.01)).astype(np.uint8)
        layers[layer] = (codebook, codes, net.get_parameter(f"{layer}.bias"))
    return layers


def huffman_lenet() -> bytes:
    coded = {layer: huffman.encode(*parts) for layer, parts in compressed_lenet().items()}
    return huffman.write(coded, make_card("caffe_lenet", num_classes=10, in_channels=1))


def torch_file(**options: Any) -> bytes:
    out = io.BytesIO()
    torch.save(LAYERS.state_dict(), out, **options)
    return out.getvalue()


def seeds() -> dict[str, tuple[str, bytes, str | None]]:
    """format -> (ending, a small valid file, the network that it is opened for)"""
    conv, norm, fc = LAYERS
    named = {"conv": conv, "norm": norm, "fc": fc}
    blobs = [("conv", "Convolution", list(conv.state_dict().values())),
             ("fc", "InnerProduct", list(fc.state_dict().values())),
             ("norm", "BatchNorm", [torch.ones(8), torch.ones(8), torch.ones(1)])]  # fmt: skip
    keras = {name: keras_arrays(module) for name, module in named.items()}
    kinds = dict(zip(named, ("Conv2D", "BatchNormalization", "Dense"), strict=True))
    lenet = random_net("caffe_lenet")
    return {
        "caffe": (".caffemodel", caffemodel(blobs, "Net"), None),
        "caffe_v1": (".caffemodel", caffemodel(blobs[:2], "Net", v1=True), None),
        "mat": (".mat", mat_file(named, compressed=False), None),
        "mat_dag": (".mat", mat_file(named, dag=True, compressed=True), None),
        "darknet": (".weights", darknet_file(lenet, darknet_steps(lenet)), "caffe_lenet"),
        "torch7": (".t7", torch7({"model": torch7_sequential(*map(torch7_layer, LAYERS))}), None),
        "keras": (".h5", keras_h5(keras, whole_model=True), None),
        "keras_gzip": (".h5", keras_h5({"fc": {"k": keras["fc"]["kernel"]}}, compression="gzip", chunks=True), None),
        "keras_zip": (".keras", keras_zip({name: (kinds[name], arrays) for name, arrays in keras.items()}), None),
        "deep_compression": (".net", deep_compression.write(compressed_lenet()), "caffe_lenet"),
        "huffman": (".huff", huffman_lenet(), None),
        "safetensors": (".safetensors", safetensors.torch.save(state(LAYERS)), None),
        "pickle": (".pth", torch_file(), None),
        "pickle_old": (".pth", torch_file(_use_new_zipfile_serialization=False), None),
    }  # fmt: skip


def mutate(data: bytes, seed: int) -> bytes:
    """Flipped bits, a cut, a number overwritten, a piece copied elsewhere, doubled or cut out; often near the front."""
    rng, out = random.Random(seed), bytearray(data)

    def place() -> int:
        return rng.randrange(min(len(out), rng.choice((64, 1024, len(out)))))

    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        kind = rng.randrange(6)
        if kind == 0:
            for _ in range(rng.choice((1, 2, 16))):
                out[place()] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[place() :]
        elif kind == 2:
            size = rng.choice((1, 2, 4, 8))
            start = place()
            value = rng.choice(EXTREMES) & ((1 << 8 * size) - 1)
            out[start : start + size] = value.to_bytes(size, rng.choice(("little", "big")))
        elif kind == 3:
            start, source, size = place(), place(), rng.randrange(1, 256)
            out[start : start + size] = out[source : source + size]
        elif kind == 4:
            start, size = place(), rng.randrange(1, 256)
            out[start:start] = out[start : start + size]
        else:
            start = place()
            del out[start : start + rng.randrange(1, 64)]
        if not out:
            out = bytearray(1)
    return bytes(out)


def mutate_inside(data: bytes, seed: int) -> bytes:
    """Members of an archive are mutated before they are packed again."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as copy:
        for name in archive.namelist():
            copy.writestr(name, mutate(archive.read(name), seed))
    return out.getvalue()


def mutate_checked(data: bytes, seed: int) -> bytes:
    """What a checksum of ours covers is mutated, and the checksum made anew."""
    head = len(huffman.MAGIC)
    body = mutate(data[head + 4 :], seed)
    return huffman.MAGIC + struct.pack("<I", zlib.crc32(body)) + body


def mutator(data: bytes) -> Callable[[bytes, int], bytes]:
    """The way past what guards a format's contents, if anything does."""
    guarded = {b"PK": mutate_inside, huffman.MAGIC[:2]: mutate_checked}
    return guarded.get(data[:2], mutate)


def run(
    ending: str, data: bytes, network: str | None, count: int, folder: Path, first: int = 0
) -> tuple[int, int, list[str]]:
    read, refused, others = 0, 0, []
    path = folder / f"mutated{ending}"
    inside = mutator(data)
    for seed in range(first, first + count):
        path.write_bytes(inside(data, seed) if seed % 2 else mutate(data, seed))
        result = attempt(lambda: weights.open_file(path, network))
        read, refused = read + (result == "read"), refused + (result == "refused")
        if result not in ("read", "refused"):
            others.append(f"seed {seed}: {result}")
    return read, refused, others


def patience(seconds: int) -> int:
    """Seconds by the clock, of a process that would take so many alone: a loaded machine gets as many times more."""
    return round(seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


def attempt(act: Callable[[], object]) -> str:
    """ "read", "refused", or what else came of it, which nothing may: a hang, too little memory, another exception."""
    signal.alarm(patience(SECONDS))
    try:
        act()
    except ConvatlasError as error:
        if not str(error) or isinstance(error.__cause__, MemoryError) or "can't allocate" in str(error.__cause__):
            return f"{error!r}: {error.__cause__}"[:300]
        return "refused"
    except BaseException as error:  # whatever else comes is what the test is about
        return f"{type(error).__name__}: {error}"[:300]
    finally:
        signal.alarm(0)
    return "read"


def hang(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def main(count: int, formats: list[str]) -> None:
    known = seeds()
    with tempfile.TemporaryDirectory() as folder:
        for ending, data, network in known.values():  # imports what reading imports
            (Path(folder) / f"valid{ending}").write_bytes(data)
            weights.open_file(Path(folder) / f"valid{ending}", network)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + GIGABYTE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        signal.signal(signal.SIGALRM, hang)
        print(json.dumps({name: run(*known[name], count, Path(folder)) for name in formats or known}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
