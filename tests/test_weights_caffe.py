"""Caffe files: what protobuf wrote comes back, every release's table covers its network, real weights classify."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from convatlas import weights
from convatlas.data import normalise
from convatlas.errors import ConvatlasError
from convatlas.weights.formats import Contents
from convatlas.weights.formats import caffe as reader
from convatlas.weights.formats.protobuf import fields
from convatlas.weights.layouts import caffe, translate_contents
from convatlas.weights.layouts.layout import Layout, fold_biases, skeleton
from foreign import caffe_layers, caffe_messages, caffemodel, random_net, state

LAYOUTS = {layout.release: layout for layout in caffe.layouts()}
LARGE = {
    *(name for name in LAYOUTS if name.startswith(("VGG", "ResNet", "DenseNet"))),
    "bvlc_alexnet",
    "bvlc_reference_caffenet",
    "bvlc_googlenet",
    "nin_imagenet",
}


def read(data: bytes):
    return reader.read(memoryview(data), "test.caffemodel")


# ---------- the reader


@pytest.mark.parametrize("v1", [False, True])
def test_blobs_of_both_versions_come_back(v1: bool) -> None:
    conv, bias, fc = torch.randn(4, 2, 3, 5), torch.randn(4), torch.randn(6, 7)
    layers = [("data", "Data", []), ("a/b", "Convolution", [conv, bias]), ("fc", "InnerProduct", [fc])]
    contents = read(caffemodel(layers, "Net", v1=v1))
    assert (contents.format, contents.network, contents.layers) == ("Caffe", "Net", ("data", "a/b", "fc"))
    assert contents.tensors.keys() == {"a/b.weight", "a/b.bias", "fc.weight"}
    for name, expected in (("a/b.weight", conv), ("a/b.bias", bias), ("fc.weight", fc)):
        assert torch.equal(contents.tensors[name], expected)


def varints(*values: int) -> bytes:
    out = b""
    for value in values:
        while value > 127:
            out += bytes([value & 127 | 128])
            value >>= 7
        out += bytes([value])
    return out


def test_numbers_that_are_not_packed_are_read_too() -> None:
    """By hand: field 5 with wire type 5 for each float, the shape's field 1 with wire type 0 for each axis."""
    values = b"".join(varints(5 << 3 | 5) + struct.pack("<f", value) for value in (1.5, -2.0, 3.0))
    shape = varints(1 << 3, 3, 1 << 3, 1)
    blob = values + varints(7 << 3 | 2, len(shape)) + shape
    layer = varints(1 << 3 | 2, 1) + b"x" + varints(2 << 3 | 2, 5) + b"Scale" + varints(7 << 3 | 2, len(blob)) + blob
    net = varints(100 << 3 | 2, len(layer)) + layer
    assert read(net).tensors["x.weight"].tolist() == [[1.5], [-2.0], [3.0]]


@pytest.mark.parametrize(("kind", "code"), [(0, "<f8"), (1, "<f4"), (2, "<f2")])
def test_raw_and_double_data(kind: int, code: str) -> None:
    net = caffe_messages()["NetParameter"]()
    blob = net.layer.add(name="x", type="Convolution").blobs.add()
    blob.shape.dim.extend([1, 1, 1, 2])
    blob.raw_data_type, blob.raw_data = kind, np.array([0.5, -3.0], code).tobytes()
    other = net.layer.add(name="y", type="Convolution").blobs.add()
    other.shape.dim.extend([1, 1, 1, 1])
    other.double_data.append(0.1)
    tensors = read(net.SerializeToString()).tensors
    assert tensors["x.weight"].flatten().tolist() == [0.5, -3.0]
    assert tensors["y.weight"].item() == pytest.approx(0.1)
    assert tensors["x.weight"].dtype == torch.float32


def test_sums_of_batch_normalisation_are_divided() -> None:
    norm = [torch.tensor([2.0, 4.0]), torch.tensor([6.0, 8.0]), torch.tensor([2.0])]
    tensors = read(caffemodel([("bn", "BatchNorm", norm), ("none", "BatchNorm", [*norm[:2], torch.zeros(1)])])).tensors
    assert tensors["bn.running_mean"].tolist() == [1, 2]
    assert tensors["bn.running_var"].tolist() == [3, 4]
    assert tensors["none.running_mean"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no layer has weights"),
        (b"\x0a\x05abc", "5 bytes are announced at byte 2, 3 are left"),
        (b"\xff" * 11, "a number of more than 10 bytes"),
        (b"\x0b", "wire type 3"),
        (b"this is a text, and no caffemodel", "can't be read"),
        (caffemodel([("x", "Scale", [torch.zeros(2, 3)])]).replace(b"\x02\x03", b"\x02\x04"), "2 x 4 values has 6"),
    ],
)
def test_damage_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(ConvatlasError, match=reason):
        read(data)


def test_a_blob_that_claims_exabytes_takes_none() -> None:
    net = caffe_messages()["NetParameter"]()
    net.layer.add(name="x", type="Scale").blobs.add().shape.dim.extend([2**62, 2**62])
    with pytest.raises(ConvatlasError, match="has 0 of them"):
        read(net.SerializeToString())


def test_fields_end_where_the_message_ends() -> None:
    assert [(n, w) for n, w, _ in fields(memoryview(b"\x08\x96\x01\x12\x02hi"), "x")] == [(1, 0), (2, 2)]


# ---------- the tables


@pytest.mark.parametrize("release", LAYOUTS)
def test_table_covers_the_network(release: str) -> None:
    layout = LAYOUTS[release]
    layers = {name.rpartition(".")[0] for name in skeleton(layout.network).state_dict()}
    assert set(layout.layers.values()) == layers
    assert layout.recognises(frozenset(layout.layers))


KNOWN = {  # of the authors' prototxt files
    "bvlc_googlenet": {"inception_5b/pool_proj": "inception_5b.pool_proj", "loss1/fc": "aux1.fc"},
    "ResNet-50": {"res5c_branch2c": "conv5_x.conv5_3.conv3", "bn2a_branch1": "conv2_x.conv2_1.shortcut.bn"},
    "ResNet-101": {"res4b22_branch2a": "conv4_x.conv4_23.conv1", "scale3b3_branch2b": "conv3_x.conv3_4.bn2"},
    "ResNet-152": {"res3b7_branch2a": "conv3_x.conv3_8.conv1", "res2c_branch2c": "conv2_x.conv2_3.conv3"},
    "DenseNet_121": {"conv5_16/x2": "dense_block4.layer16.conv2", "conv4_blk/bn": "transition_layer3.bn"},
    "SqueezeNet_v1.1": {"fire9/expand3x3": "fire9.expand3x3"},
    "nin_imagenet": {"conv4-1024": "conv4", "cccp8-1024": "cccp8"},
}


@pytest.mark.parametrize("release", KNOWN)
def test_names_of_the_release(release: str) -> None:
    assert KNOWN[release].items() <= LAYOUTS[release].layers.items()


@pytest.mark.parametrize("release", [pytest.param(r, marks=pytest.mark.slow) if r in LARGE else r for r in LAYOUTS])
def test_release_comes_back_exactly(release: str, tmp_path: Path) -> None:
    layout = LAYOUTS[release]
    net = random_net(layout.network)
    path = tmp_path / "theirs.caffemodel"
    path.write_bytes(caffemodel(caffe_layers(net, layout), layout.called or ""))
    tensors, card = weights.read(path)
    assert card is not None
    assert (card["network"], card["num_classes"]) == (layout.network, 10 if release == "lenet" else 1000)
    assert card["source"] == f"Caffe: {layout.release}"
    assert tensors.keys() == state(net).keys()
    for name, value in state(net).items():
        torch.testing.assert_close(tensors[name], value, rtol=1e-6, atol=0)


def test_names_alone_do_not_tell_alexnet_from_caffenet() -> None:
    tensors = dict(skeleton("alexnet").state_dict())
    for name, expected in (("AlexNet", "alexnet"), ("CaffeNet", "caffenet")):
        translated = translate_contents(Contents("Caffe", tensors, network=name), "x")
        assert translated is not None
        assert translated[1]["network"] == expected
    assert LAYOUTS["bvlc_alexnet"].settings["norm1"]["k"] == 1.0


def test_biases_before_a_normalisation_go_into_its_mean() -> None:
    """Kaiming's ResNet-50 has biases in conv1."""
    net, bias, mean = skeleton("resnet50"), torch.randn(64), torch.randn(64)
    tensors = {"conv1.bias": bias, "bn1.running_mean": mean, "fc.bias": torch.zeros(3)}
    fold_biases(net, tensors)
    assert tensors.keys() == {"bn1.running_mean", "fc.bias"}
    x = torch.randn(2, 64, 3, 3)
    before = F.batch_norm(x + bias.view(-1, 1, 1), mean, torch.ones(64))
    torch.testing.assert_close(F.batch_norm(x, tensors["bn1.running_mean"], torch.ones(64)), before)
    assert LAYOUTS["ResNet-50"].folds_biases


def test_pooling_and_constants_of_the_release_are_set() -> None:
    """Caffe's window overhangs below and to the right; torch's padding would put it above and to the left."""
    from convatlas.weights.settings import apply_settings

    net = random_net("resnet50", num_classes=2)
    x = torch.arange(36.0).reshape(1, 1, 6, 6)
    before = net.get_submodule("pool1")(x)[0, 0].tolist()
    apply_settings(net, {"settings": LAYOUTS["ResNet-50"].settings})
    assert before == [[7, 9, 11], [19, 21, 23], [31, 33, 35]]
    assert net.get_submodule("pool1")(x)[0, 0].tolist() == [[14, 16, 17], [26, 28, 29], [32, 34, 35]]


def test_preprocessing_of_densenet_is_the_release_s() -> None:
    """(BGR - mean) x 0.017, as its page says."""
    pixel = torch.tensor([10, 20, 30], dtype=torch.uint8).view(1, 3, 1, 1)
    found = normalise(pixel, LAYOUTS["DenseNet_121"].preprocessing).flatten().tolist()
    assert found == pytest.approx([(30 - 103.94) * 0.017, (20 - 116.78) * 0.017, (10 - 123.68) * 0.017], rel=1e-5)


def test_a_file_that_fits_in_part_says_what_is_missing(tmp_path: Path) -> None:
    net = random_net("caffe_lenet")
    layers = [layer for layer in caffe_layers(net, LAYOUTS["lenet"]) if layer[0] != "conv2"]
    (tmp_path / "x.caffemodel").write_bytes(caffemodel(layers))
    assert weights.read_card(tmp_path / "x.caffemodel") is None
    with pytest.raises(ConvatlasError, match=r"2 missing: conv2\.weight \(50, 20, 5, 5\)"):
        weights.create("caffe_lenet", weights=tmp_path / "x.caffemodel")


# ---------- real weights


@pytest.mark.data
def test_lenet_reads_mnist(data_root: Path) -> None:
    path = data_root / "weights" / "lenet_caffe_mnist.caffemodel"
    card = weights.read_card(path)
    assert card is not None
    preprocessing = weights.preprocessing_of(card)
    assert preprocessing is not None
    net = weights.create("caffe_lenet", weights=path).eval()
    with np.load(data_root / "mnist_test.npz") as test:
        images, labels = torch.from_numpy(test["images"])[:, None], torch.from_numpy(test["labels"])
    with torch.inference_mode():
        answers = torch.cat([net(normalise(batch, preprocessing)).argmax(1) for batch in images.split(1000)])
    assert int((answers == labels).sum()) == 9914


def test_layouts_do_not_share_what_they_recognise() -> None:
    named: dict[frozenset[str], list[Layout]] = {}
    for layout in caffe.layouts():
        named.setdefault(frozenset(layout.layers), []).append(layout)
    doubles = [{layout.network for layout in group} for group in named.values() if len(group) > 1]
    assert sorted(map(sorted, doubles)) == [
        ["alexnet", "caffenet"],
        ["squeezenet_v1_0_caffe_pad1", "squeezenet_v1_1"],
    ]
