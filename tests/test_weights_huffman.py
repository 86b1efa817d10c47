"""Huffman's codes by hand and at their longest; the container with them, and what it refuses."""

import heapq
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from convatlas import weights
from convatlas.errors import ConvatlasError, UsageError
from convatlas.weights.formats import huffman
from convatlas.weights.formats.prefix_code import MAX_LENGTH, canonical, code_lengths, decode, encode
from foreign import random_net

CARD = weights.make_card("caffe_lenet", num_classes=10, in_channels=1)


def test_code_lengths_by_hand() -> None:
    """Huffman's own kind of example: 1 and 1 make 2, with 2 makes 4, with 4 makes 8."""
    assert code_lengths([4, 2, 1, 1, 0]) == [1, 2, 3, 3, 0]
    assert code_lengths([0, 7]) == [0, 1]
    assert code_lengths([]) == []


def test_codes_are_complete_and_as_short_as_can_be() -> None:
    frequencies = np.random.default_rng(1).integers(0, 50, 256).tolist()
    lengths = code_lengths(frequencies)
    assert sum(2.0**-length for length in lengths if length) == 1  # Kraft
    heap = [frequency for frequency in frequencies if frequency]
    heapq.heapify(heap)
    least = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        least += merged
        heapq.heappush(heap, merged)
    assert sum(f * length for f, length in zip(frequencies, lengths, strict=True)) == least


def test_canonical_codes_by_hand() -> None:
    """0, 10, 110, 111 for the symbols 1, 0, 2, 3."""
    assert canonical([2, 1, 3, 3, 0]) == {1: 0b0, 0: 0b10, 2: 0b110, 3: 0b111}
    assert encode(np.array([0, 1, 2, 3, 1]), [2, 1, 3, 3, 0]) == bytes([0b10_0_110_11, 0b1_0_000000])
    assert decode(memoryview(bytes([0b10_0_110_11, 0b1_0_000000])), [2, 1, 3, 3, 0], 5, "x").tolist() == [0, 1, 2, 3, 1]


def test_one_symbol_takes_a_bit_and_none_takes_nothing() -> None:
    assert encode(np.full(9, 3), [0, 0, 0, 1]) == bytes(2)
    assert decode(memoryview(bytes(2)), [0, 0, 0, 1], 9, "x").tolist() == [3] * 9
    assert encode(np.zeros(0, np.uint8), [0, 0]) == b""
    assert decode(memoryview(b""), [0, 0], 0, "x").tolist() == []


@pytest.mark.parametrize("alphabet", [2, 16, 18, 40, 256])
def test_the_longest_codes_of_an_alphabet(alphabet: int) -> None:
    """Fibonacci's frequencies make each code a bit longer than the one before."""
    fibonacci = [1, 1]
    while len(fibonacci) < alphabet:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    lengths = code_lengths(fibonacci)
    assert max(lengths) == alphabet - 1 <= MAX_LENGTH
    symbols = np.random.default_rng(alphabet).integers(0, alphabet, 3000).astype(np.uint8)
    coded = encode(symbols, lengths)
    assert len(coded) == -(-int(np.array(lengths)[symbols].sum()) // 8)
    assert np.array_equal(decode(memoryview(coded), lengths, 3000, "x"), symbols)


@pytest.mark.parametrize("count", [1, 7, 65535, 65536, 200_001])
def test_symbols_come_back_over_the_ends_of_blocks(count: int) -> None:
    symbols = (255 * np.random.default_rng(count).random(count) ** 6).astype(np.uint8)
    lengths = code_lengths(np.bincount(symbols, minlength=256).tolist())
    assert np.array_equal(decode(memoryview(encode(symbols, lengths)), lengths, count, "x"), symbols)


@pytest.mark.parametrize(("data", "lengths", "count", "reason"), [
    (b"\0", [1, 2], 3, "2 lengths of codes are not those of a complete code"),
    (b"\0", [1, 1, 1], 3, "3 lengths of codes are not those of a complete code"),
    (b"\0", [0, 0], 3, "3 symbols have codes of 1 bytes"),
    (b"\0", [1, 1], 9, "9 symbols have codes of 1 bytes"),
    (b"\0\0", [1, 1], 8, "8 symbols have codes of 2 bytes"),
    (b"\0\0", [1, 2, 2], 8, "the codes of 8 symbols take 1 bytes of 2"),
    (b"\xff", [1, 2, 2], 8, "the codes of 8 symbols take 2 bytes of 1"),
    (b"\x40", [1], 8, "a bit is 1 where only one symbol"),
    (b"\0", [1, 1], 0, "0 symbols have codes of 1 bytes"),
])  # fmt: skip
def test_codes_that_can_not_be(data: bytes, lengths: list[int], count: int, reason: str) -> None:
    with pytest.raises(ConvatlasError, match=reason):
        decode(memoryview(data), lengths, count, "x")


# ---------- the container


def held(codebook: list[float], codes: np.ndarray) -> np.ndarray:
    """A layer's weights, written and read again."""
    layer = huffman.encode(np.array(codebook, np.float32), codes.astype(np.uint8), torch.arange(float(len(codes))))
    contents = huffman.read(memoryview(huffman.write({"a": layer}, CARD)), "x")
    assert contents.tensors["a.bias"].tolist() == list(range(len(codes)))
    return contents.tensors["a.weight"].numpy()


def test_a_layer_by_hand() -> None:
    """17 zeros and a weight: fillers take 16 of the zeros, and 16 of the 19 behind it; the last 3 need none."""
    codes = np.zeros((1, 37), np.uint8)
    codes[0, 17] = 1
    layer = huffman.encode(np.array([0, 0.5], np.float32), codes, torch.tensor([2.0]))
    assert layer.data == b"".join([
        struct.pack("<IB", 3, 1), struct.pack("<ff", 0.5, 2.0),
        bytes([1, 1]), bytes([0, 1, *[0] * 13, 1]), struct.pack("<II", 1, 1),
        bytes([0b010_00000, 0b101_00000]),  # filler, weight, filler; gaps 15, 1, 15
    ])  # fmt: skip


@pytest.mark.parametrize("size", [1, 15, 16, 17, 32, 1000])
def test_layers_of_zeros_or_of_one_value(size: int) -> None:
    assert np.array_equal(held([0], np.zeros((1, size))), np.zeros((1, size)))
    assert np.array_equal(held([0, 0.25], np.ones((1, size))), np.full((1, size), np.float32(0.25)))
    last = np.eye(1, size, size - 1)
    assert np.array_equal(held([0, 0.25], last), 0.25 * last)


def test_all_shared_weights_and_gaps_come_back() -> None:
    rng = np.random.default_rng(0)
    codebook = np.concatenate([[0], rng.normal(size=255)]).astype(np.float32)
    codes = rng.integers(0, 256, (16, 4, 5, 5)) * (rng.random((16, 4, 5, 5)) < 0.1)
    assert np.array_equal(held(codebook.tolist(), codes), codebook[codes])


def test_a_codebook_begins_with_zero() -> None:
    for codebook in ([], [1.0], [0.0] * 257):
        with pytest.raises(ConvatlasError, match=f"has {len(codebook)} values; expected 1 to 256, the first of them 0"):
            huffman.encode(np.array(codebook, np.float32), np.zeros((1, 1), np.uint8), torch.zeros(1))


def test_files_of_other_networks_are_refused(tmp_path: Path) -> None:
    layer = huffman.encode(np.zeros(1, np.float32), np.zeros((10, 500), np.uint8), torch.zeros(10))
    path = tmp_path / "x.huff"
    path.write_bytes(huffman.write({"ip2": layer, "ip3": layer}, CARD))
    with pytest.raises(ConvatlasError, match="6 missing"):
        weights.create("caffe_lenet", weights=path)
    with pytest.raises(UsageError, match="are of caffe_lenet; expected weights of lenet5"):
        weights.create("lenet5", weights=path)
    coded = weights.compress(random_net("caffe_lenet"), sparsity=0.99, bits=1).coded
    path.write_bytes(huffman.write(dict(coded) | {"ip2": huffman.encode(
        np.zeros(1, np.float32), np.zeros((10, 5, 10, 10), np.uint8), torch.zeros(10))}, CARD))  # fmt: skip
    with pytest.raises(ConvatlasError, match=r"ip2.weight is \(10, 5, 10, 10\), expected \(10, 500\)"):
        weights.create("caffe_lenet", weights=path)


def sealed(body: bytes) -> bytes:
    return huffman.MAGIC + struct.pack("<I", zlib.crc32(body)) + body


def headed(header: object, rest: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return sealed(struct.pack("<I", len(text)) + text + rest)


LAYER = huffman.encode(np.array([0, 1], np.float32), np.eye(4, 40, dtype=np.uint8), torch.zeros(4)).data


@pytest.mark.parametrize(("data", "reason"), [
    (b"HUFFNET\x02" + bytes(9), "expected b'HUFFNET"),
    (b"HUF", "8 bytes are announced at byte 0, 3 are left"),
    (huffman.MAGIC + bytes(4) + b"x", "its checksum is not that of its contents"),
    (sealed(struct.pack("<I", 1 << 31)), "2147483648 bytes are announced"),
    (sealed(struct.pack("<I", 200_000) + b"[" * 200_000), "its header is (not JSON|nested)"),
    (headed([]), "its header is no object of a card and layers"),
    (headed({"card": CARD, "layers": [["a", [4, 0]]]}), "its header has a layer"),
    (headed({"card": CARD, "layers": [["a", []]]}), "its header has a layer"),
    (headed({"card": CARD, "layers": [["a", [4, True]]]}), "its header has a layer"),
    (headed({"card": CARD, "layers": []}, b"x"), "1 bytes are left over after its 0 layers"),
    (headed({"card": {"format": 9}, "layers": []}), "has format 9; this version reads 1"),
    (headed({"card": CARD, "layers": [["a", [4, 400]]]}, LAYER), "can't be 1600 weights"),
    (headed({"card": CARD, "layers": [["a", [4, 10**30]]]}, LAYER), "can't be 4000"),
    (headed({"card": CARD, "layers": [["a", [4, 30]]]}, LAYER), "end at place 155 of 120"),
    (headed({"card": CARD, "layers": [["a", [4, 44]]]}, LAYER), "end at place 155 of 176"),
    (headed({"card": CARD, "layers": [["a", [4, 40]]]}, LAYER[:-1]), "bytes are announced"),
])  # fmt: skip
def test_damaged_files_say_what_is_amiss(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "x.huff"
    path.write_bytes(data)
    with pytest.raises(ConvatlasError, match=reason):
        weights.open_file(path)


@pytest.mark.data
def test_the_released_weights_in_our_container(data_root: Path, tmp_path: Path) -> None:
    """Recoded without loss they take 0.85 of the released container's bytes."""
    file, coded = data_root / "weights" / "squeezenet1_0_deep_compression.net", tmp_path / "squeezenet.huff"
    net = weights.create("squeezenet_v1_0", weights=file)
    card = weights.read_card(file, "squeezenet_v1_0")
    assert card is not None
    compressed = weights.compress(net, sparsity=0)
    coded.write_bytes(huffman.write(compressed.coded, card))
    assert sum(layer.huffman_bytes for layer in compressed.layers) < 0.84 * file.stat().st_size
    assert coded.stat().st_size < 0.86 * file.stat().st_size
    opened = weights.open_file(coded)
    assert opened.card == card
    for name, value in net.state_dict().items():
        assert torch.equal(opened.tensors[name], value)
