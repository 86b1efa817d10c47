"""MatConvNet, Darknet, Torch7, Keras and Deep Compression: what the format's own library wrote comes back."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torch import Tensor, nn

from convatlas import weights
from convatlas.errors import ConvatlasError
from convatlas.records import Preprocessing
from convatlas.weights.formats import darknet, deep_compression, keras, matconvnet
from convatlas.weights.formats import torch7 as torch7_reader
from convatlas.weights.formats.mat5 import read_variables
from convatlas.weights.layouts import keras as keras_layouts
from convatlas.weights.layouts import matconvnet as mat_layouts
from convatlas.weights.layouts import torch7 as torch7_layouts
from convatlas.weights.layouts.layout import layer_names, skeleton
from convatlas.weights.layouts.rows import compression_table, darknet_steps
from foreign import (
    Lua,
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

SMALL = nn.Sequential(nn.Conv2d(2, 3, (2, 5)), nn.BatchNorm2d(3), nn.Linear(12, 4)).eval()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    for parameter in [*SMALL.parameters(), *SMALL[1].buffers()]:
        if parameter.is_floating_point():
            nn.init.uniform_(parameter, 0.5, 1.5)


def check(found: dict[str, Tensor], prefixes: tuple[str, str, str], *, rtol: float = 0) -> None:
    """The tensors of SMALL under other names of its layers."""
    expected = {}
    for prefix, module in zip(prefixes, SMALL, strict=True):
        values = module.state_dict().items()
        expected |= {f"{prefix}.{name}": value for name, value in values if name != "num_batches_tracked"}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        value = value.reshape(found[name].shape) if value.numel() == found[name].numel() else value
        torch.testing.assert_close(found[name], value, rtol=rtol, atol=0)


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


# ---------- MAT


@pytest.mark.parametrize("compressed", [False, True])
def test_values_of_matlab(compressed: bool) -> None:
    values: dict[str, Any] = {
        "a": np.arange(24.0).reshape(2, 3, 4),
        "single": np.float32([[1.5, 2]]),
        "text": "grüße",
        "struct": {"x": np.uint8([[7]]), "inner": {"y": "deep"}},
        "cell": np.array([["one", np.eye(2)]], object),
    }
    out = io.BytesIO()
    savemat(out, values, do_compression=compressed)
    found = read_variables(memoryview(out.getvalue()), "test.mat")
    assert np.array_equal(found["a"], values["a"])
    assert found["single"].dtype == np.float32
    assert found["text"] == "grüße"
    assert found["struct"]["x"] == 7
    assert found["struct"]["inner"] == {"y": "deep"}
    assert found["cell"][0] == "one"
    assert np.array_equal(found["cell"][1], np.eye(2))


@pytest.mark.parametrize("dag", [False, True])
def test_simplenn_and_dagnn(dag: bool) -> None:
    data = mat_file(dict(zip(("c/1", "b", "fc"), SMALL, strict=True)), dag=dag)
    contents = matconvnet.read(memoryview(data), "x")
    assert contents.layers == ("c/1", "b", "fc")
    check(contents.tensors, ("c/1", "b", "fc"), rtol=1e-5)
    assert contents.tensors["c/1.weight"].shape == (3, 2, 2, 5)


def test_images_and_classes_of_matconvnet() -> None:
    average = np.zeros((4, 5, 3), np.float32) + np.float32([10, 20, 30])
    normalization = {
        "imageSize": np.array([[224.0, 224, 3]]),
        "averageImage": average,
        "keepAspect": np.array([[True]]),
    }
    classes = {"description": np.array([["tench", "goldfish"]], object)}
    data = mat_file({"c": SMALL[0]}, meta={"normalization": normalization, "classes": classes})
    contents = matconvnet.read(memoryview(data), "x")
    assert contents.classes == ("tench", "goldfish")
    assert contents.preprocessing is not None
    assert contents.preprocessing.mean == pytest.approx((10 / 255, 20 / 255, 30 / 255))
    assert (contents.preprocessing.size, contents.preprocessing.resize_to) == ((224, 224), 256)
    assert contents.preprocessing.channel_order == "rgb"


def test_other_mat_files_are_named() -> None:
    out = io.BytesIO()
    savemat(out, {"x": 1})
    for data, reason in ((out.getvalue(), "no `layers`"), (b"MATLAB 7.3 MAT-file" + b" " * 200, "expected a MATLAB 5")):
        with pytest.raises(ConvatlasError, match=reason):
            matconvnet.read(memoryview(data), "x")


@pytest.mark.slow
@pytest.mark.parametrize("layout", mat_layouts.layouts(), ids=lambda layout: layout.release)
def test_releases_of_matconvnet(layout: Any, tmp_path: Path) -> None:
    net = random_net(layout.network)
    layers = {theirs: net.get_submodule(ours) for theirs, ours in layout.layers.items()}
    path = written(tmp_path / "x.mat", mat_file(layers, dag="dag" in layout.release, compressed=False))
    tensors, card = weights.read(path, layout.network)
    assert card is not None
    assert card["source"] == f"MatConvNet: {layout.release}"
    for name, value in state(net).items():
        torch.testing.assert_close(tensors[name], value, rtol=1e-5, atol=1e-5)


# ---------- Darknet


@pytest.mark.parametrize(
    ("version", "transposed"), [((0, 1), False), ((0, 2), False), ((1, 0), False), ((1001, 0), True)]
)
def test_headers_and_order_of_darknet(version: tuple[int, int], transposed: bool) -> None:
    steps = [darknet.Step("0", (3, 2, 2, 5), "1"), darknet.Step("2", (4, 12))]
    data = darknet_file(SMALL, steps, version=version, transposed=transposed)
    contents = darknet.read(memoryview(data), "x")
    assert contents.tensors["values"].numel() == darknet.length(steps) == 3 + 9 + 60 + 4 + 48
    named = darknet.unroll(contents.tensors, steps)
    assert "0.bias" not in named  # the normalisation has it
    check(named | {"0.bias": SMALL[0].state_dict()["bias"]}, ("0", "1", "2"))


def test_darknet_by_hand() -> None:
    """Biases, scales, means, variances, weights: 1 to 5."""
    data = b"\0\0\0\0\2\0\0\0\0\0\0\0" + bytes(8) + np.arange(1, 6, dtype="<f4").tobytes()
    found = darknet.unroll(darknet.read(memoryview(data), "x").tensors, [darknet.Step("c", (1, 1, 1, 1), "n")])
    assert {name: value.item() for name, value in found.items()} == {
        "n.bias": 1, "n.weight": 2, "n.running_mean": 3, "n.running_var": 4, "c.weight": 5,
    }  # fmt: skip


def test_a_network_takes_the_file_of_its_own_layers(tmp_path: Path) -> None:
    net = random_net("cifar_resnet20")
    path = written(tmp_path / "x.weights", darknet_file(net, darknet_steps(net)))
    loaded = weights.create("cifar_resnet20", weights=path)
    assert all(torch.equal(value, state(net)[name]) for name, value in state(loaded).items())
    with pytest.raises(ConvatlasError, match="have another size than the layers of cifar_resnet32 take in Darknet"):
        weights.create("cifar_resnet32", weights=path)
    assert weights.read_card(path) is None


@pytest.mark.slow
def test_vgg_of_darknet(tmp_path: Path) -> None:
    net = random_net("vgg_d")
    path = written(tmp_path / "vgg-16.weights", darknet_file(net, darknet_steps(net)))
    card = weights.read_card(path)
    assert card is not None
    assert card["network"] == "vgg_d"
    assert weights.preprocessing_of(card) == Preprocessing((224, 224), 3, "short_side", 224, (0.0,) * 3, (1.0,) * 3)
    assert torch.equal(weights.read(path)[0]["fc8.weight"], net.get_parameter("fc8.weight"))


# ---------- Torch7


@pytest.mark.parametrize("tensor", ["Float", "Double", "Cuda"])
def test_layers_of_torch7(tensor: str) -> None:
    conv, norm, fc = (torch7_layer(module) for module in SMALL)
    net = torch7_sequential(conv, torch7_sequential(norm, kind="nn.ConcatTable"), Lua("nn.ReLU"), fc)
    contents = torch7_reader.read(memoryview(torch7({"model": net, "epoch": 90}, tensor=tensor)), "x")
    check(contents.tensors, ("model.1", "model.2.1", "model.4"))


def test_shared_storage_strides_and_references() -> None:
    flat = torch.arange(12.0)
    layer = Lua("nn.Linear", weight=flat[:6].reshape(3, 2).T, bias=flat[7:9])
    tied = torch7_sequential(layer, layer, Lua("nn.Linear", weight=flat[6:10].reshape(2, 2)))
    found = torch7_reader.read(memoryview(torch7(tied)), "x").tensors
    assert found["1.weight"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert found["1.bias"].tolist() == [7, 8]
    assert found["3.weight"].tolist() == [[6, 7], [8, 9]]
    assert "2.weight" not in found


def test_spread_of_2015_becomes_a_variance() -> None:
    norm = Lua("nn.SpatialBatchNormalization", weight=torch.ones(2), running_mean=torch.zeros(2),
               running_std=torch.tensor([0.5, 2.0]), eps=0.25)  # fmt: skip
    found = torch7_reader.read(memoryview(torch7(norm)), "x").tensors
    assert found["layer.running_var"].tolist() == [3.75, 0.0]


def test_tables_that_hold_themselves_end() -> None:
    table: dict[str, Any] = {"weight": None}
    table["self"] = table
    with pytest.raises(ConvatlasError, match="no layer has weights"):
        torch7_reader.read(memoryview(torch7(table)), "x")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (torch7(1.0)[:7], "8 bytes are announced"),
        (b"\x03\0\0\0\x01\0\0\0" + b"\xff\xff\xff\x7f", "4 bytes are announced"),
        (b"".join(b"\x03\0\0\0" + bytes([n, 0, 0, 0]) + b"\1\0\0\0" for n in range(1, 200)), "nested deeper than 120"),
        (b"\x63\0\0\0", "type 99"),
    ],
)
def test_damaged_torch7(data: bytes, reason: str) -> None:
    with pytest.raises(ConvatlasError, match=reason):
        torch7_reader.read(memoryview(data), "x")


def test_a_small_storage_does_not_unfold() -> None:
    layer = Lua("nn.Linear", weight=torch.ones(1).expand(100_000, 100_000))
    with pytest.raises(ConvatlasError, match="in a storage of 1 values"):
        torch7_reader.read(memoryview(torch7(layer)), "x")


def resnet_of_torch(net: nn.Module) -> Lua:
    """fb.resnet.torch's containers: ConcatTable of the residual branch and the shortcut, CAddTable, ReLU."""
    stages = []
    for stage in (2, 3, 4, 5):
        blocks = []
        for block in net.get_submodule(f"conv{stage}_x").children():
            parts = dict(block.named_children())
            branch = [torch7_layer(part) for name, part in parts.items() if name.startswith(("conv", "bn"))]
            shortcut = Lua("nn.Identity")
            if isinstance(parts["shortcut"], nn.Sequential):
                shortcut = torch7_sequential(*(torch7_layer(part) for part in parts["shortcut"]))
            both = torch7_sequential(torch7_sequential(*branch), shortcut, kind="nn.ConcatTable")
            blocks.append(torch7_sequential(both, Lua("nn.CAddTable"), Lua("nn.ReLU")))
        stages.append(torch7_sequential(*blocks))
    stem = (torch7_layer(net.get_submodule("conv1")), torch7_layer(net.get_submodule("bn1")), Lua("nn.ReLU"))
    return torch7_sequential(*stem, Lua("nn.SpatialMaxPooling"), *stages, torch7_layer(net.get_submodule("fc")))


@pytest.mark.parametrize("name", ["resnet18", pytest.param("resnet50_stride3x3", marks=pytest.mark.slow)])
def test_resnet_of_torch7(name: str, tmp_path: Path) -> None:
    net = random_net(name)
    path = written(tmp_path / "resnet.t7", torch7(resnet_of_torch(net)))
    tensors, card = weights.read(path)
    assert card is not None
    assert (card["network"], card["num_classes"]) == (name, 1000)
    assert all(torch.equal(tensors[key], value) for key, value in state(net).items())


def test_densenet_of_torch7_is_known_by_its_order() -> None:
    layout = next(layout for layout in torch7_layouts.layouts() if layout.network == "densenet121")
    assert [layout.layers[str(n)] for n in (1, 2, 3, 4, 5, 6)] == [
        "convolution", "bn", "dense_block1.layer1.bn1", "dense_block1.layer1.conv1", "dense_block1.layer1.bn2",
        "dense_block1.layer1.conv2",
    ]  # fmt: skip


def test_other_networks_of_torch7_come_in_order(tmp_path: Path) -> None:
    net = random_net("cifar_resnet20")
    layers = [torch7_layer(net.get_submodule(name)) for name in layer_names(net)]
    path = written(tmp_path / "x.t7", torch7(torch7_sequential(*layers)))
    assert weights.read_card(path) is None
    loaded = weights.create("cifar_resnet20", weights=path)
    assert all(torch.equal(value, state(net)[name]) for name, value in state(loaded).items())


# ---------- Keras


@pytest.mark.parametrize("whole_model", [False, True])
def test_keras_2(whole_model: bool) -> None:
    layers = {name: keras_arrays(module) for name, module in zip(("a/b", "bn", "fc"), SMALL, strict=True)}
    contents = keras.read(memoryview(keras_h5(layers, whole_model=whole_model)), "x")
    check(contents.tensors, ("a/b", "bn", "fc"))


def test_keras_3() -> None:
    kinds = ("Conv2D", "BatchNormalization", "Dense")
    layers = {n: (k, keras_arrays(m)) for n, k, m in zip(("first", "norm", "last"), kinds, SMALL, strict=True)}
    check(keras.read(memoryview(keras_zip(layers)), "x").tensors, ("first", "norm", "last"))
    weights_only = zipfile.ZipFile(io.BytesIO(keras_zip(layers))).read("model.weights.h5")
    check(keras.read(memoryview(weights_only), "x").tensors, ("conv2d", "batch_normalization", "dense"))


def test_keras_1_orders_axes_either_way() -> None:
    weight = SMALL[0].weight.detach().numpy()  # 3 x 2 x 2 x 5
    bias = SMALL[0].bias.detach().numpy()  # pyright: ignore[reportOptionalMemberAccess]
    for array in (weight, weight.transpose(2, 3, 1, 0)):
        layers = {"convolution2d_1": {"convolution2d_1_W": array, "convolution2d_1_b": bias}}
        tensors = keras.read(memoryview(keras_h5(layers)), "x").tensors
        assert tensors["convolution2d_1.weight"].tolist() == weight.tolist()


def test_layers_that_keras_numbered_are_known_by_place() -> None:
    names = ["conv2d_95.weight", "conv2d_100.weight", "conv2d_95.bias", "batch_normalization.bias", "fc.bias"]
    found = keras_layouts.by_place({name: torch.zeros(1) for name in names})
    assert list(found) == [
        "conv2d#1.weight",
        "conv2d#2.weight",
        "conv2d#1.bias",
        "batch_normalization#1.bias",
        "fc.bias",
    ]


def test_links_to_other_files_are_refused(tmp_path: Path) -> None:
    import h5py

    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.ones(3, np.float32)
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file.attrs["layer_names"] = np.array([b"l"])
        group = file.create_group("l")
        group.attrs["weight_names"] = np.array([b"w"])
        group["w"] = h5py.ExternalLink(str(secret), "x")
    with pytest.raises(ConvatlasError, match="can't be read"):
        keras.read(memoryview(out.getvalue()), "x")


@pytest.mark.parametrize("compression", [{}, {"compression": "gzip"}])
def test_a_data_set_of_gigabytes_in_a_small_file(compression: dict[str, Any]) -> None:
    import h5py

    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file.attrs["layer_names"] = np.array([b"l"])
        group = file.create_group("l")
        group.attrs["weight_names"] = np.array([b"w"])
        group.create_dataset("w", shape=(1 << 18, 1 << 14), dtype="f4", chunks=(1024, 1024), **compression)
    with pytest.raises(ConvatlasError, match="more than the limit of 268,435,456; set CONVATLAS_MAX_UNPACKED_BYTES="):
        keras.read(memoryview(out.getvalue()), "x")


def test_an_archive_that_inflates_too_far() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps({}))
        archive.writestr("model.weights.h5", bytes(1 << 29))
    with pytest.raises(ConvatlasError, match="more than the limit of 268,435,456; set CONVATLAS_MAX_UNPACKED_BYTES="):
        keras.read(memoryview(out.getvalue()), "x")


def keras_release(net: nn.Module, layout: Any) -> dict[str, dict[str, np.ndarray]]:
    """A network as Keras stores its application; separable convolutions hold two of our layers."""
    layers: dict[str, dict[str, np.ndarray]] = {}
    for theirs, ours in layout.layers.items():
        name, _, part = theirs.partition(".")
        entry = f"{part}_kernel" if part else "kernel"
        arrays = keras_arrays(net.get_submodule(ours), (entry, "bias"))
        if ours in layout.channels_last:
            height, width = layout.channels_last[ours]
            kernel = arrays[entry].reshape(-1, height, width, arrays[entry].shape[1])
            arrays[entry] = kernel.transpose(1, 2, 0, 3).reshape(-1, kernel.shape[3])
        layers.setdefault(name.replace("#", "_"), {}).update(arrays)
    return layers


KERAS = [pytest.param(layout, id=layout.release, marks=[] if layout.release == "xception" else pytest.mark.slow)
         for layout in keras_layouts.layouts()]  # fmt: skip


@pytest.mark.parametrize("layout", KERAS)
def test_applications_of_keras(layout: Any, tmp_path: Path) -> None:
    net = random_net(layout.network)
    path = written(tmp_path / "x.h5", keras_h5(keras_release(net, layout)))
    tensors, card = weights.read(path)
    assert card is not None
    assert (card["network"], card["source"]) == (layout.network, f"Keras: {layout.release}")
    for name, value in state(net).items():
        if not name.startswith("aux"):
            torch.testing.assert_close(tensors[name], value, rtol=1e-6, atol=1e-6)
    weights.create(layout.network, weights=path)


@pytest.mark.parametrize(
    ("release", "theirs", "ours"),
    [
        ("resnet50", "conv5_block3_2_bn", "conv5_x.conv5_3.bn2"),
        ("resnet152", "conv4_block36_0_conv", None),
        ("densenet121", "conv5_block16_0_bn", "dense_block4.layer16.bn1"),
        ("densenet121 of Keras 2", "conv1/conv", "convolution"),
        ("xception", "block14_sepconv2.pointwise", "block14_sepconv2.pointwise"),
        ("xception", "conv2d#4", "block13.shortcut.conv"),
        ("inception_v3", "conv2d#94", "mixed_7c.b3_1.conv"),
        ("inception_resnet_v2", "block17_20_conv", "block17.20.linear"),
        ("resnet50 of Keras 1 and 2.0", "bn4f_branch2c", "conv4_x.conv4_6.bn3"),
    ],
)
def test_names_of_keras(release: str, theirs: str, ours: str | None) -> None:
    layout = next(layout for layout in keras_layouts.layouts() if layout.release == release)
    assert layout.layers.get(theirs) == ours


@pytest.mark.slow
@pytest.mark.parametrize("module", [keras_layouts, mat_layouts, torch7_layouts])
def test_tables_cover_their_networks(module: Any) -> None:
    for layout in module.layouts():
        ours = [name for name in layer_names(skeleton(layout.network)) if not name.startswith("aux")]
        assert set(layout.layers.values()) == set(ours)
        assert layout.recognises(frozenset(layout.layers))


@pytest.mark.data
def test_the_retina_u_net_is_read(data_root: Path) -> None:
    opened = weights.open_file(data_root / "weights" / "retina_unet_keras.h5")
    assert opened.format == "Keras"
    assert opened.card is not None
    assert opened.card["source"] == "Keras: retina-unet"
    shapes = {name: tuple(tensor.shape) for name, tensor in opened.tensors.items()}
    assert len(shapes) == 22
    assert shapes["up2.conv1.weight"] == (64, 192, 3, 3)
    assert shapes["score.bias"] == (2,)


# ---------- Deep Compression


def test_gaps_over_fifteen_are_filled() -> None:
    codes = np.zeros(60, np.uint8)
    codes[[0, 17, 33, 50]] = [3, 1, 2, 9]  # 0, 16, 15 and 16 zeros before them
    stored, gaps = deep_compression.encode(codes)
    assert stored.tolist() == [3, 0, 1, 2, 0, 9]
    assert gaps.tolist() == [0, 15, 0, 15, 15, 0]
    assert [array.size for array in deep_compression.encode(np.zeros(9, np.uint8))] == [0, 0]


def test_container_round_trip(tmp_path: Path) -> None:
    net = random_net("caffe_lenet")
    rng = np.random.default_rng(0)
    layers, table = {}, compression_table(net)
    for layer, shape in table.items():
        codebook = np.concatenate([[0.0], rng.normal(size=rng.integers(1, 255))]).astype(np.float32)
        codes = rng.integers(0, len(codebook), shape) * (rng.random(shape) < 0.05)
        layers[layer] = (codebook, codes.astype(np.uint8), net.get_parameter(f"{layer}.bias"))
    path = written(tmp_path / "x.net", deep_compression.write(layers))
    loaded = weights.create("caffe_lenet", weights=path)
    for layer, (codebook, codes, biases) in layers.items():
        assert torch.equal(loaded.get_parameter(f"{layer}.weight"), torch.from_numpy(codebook[codes]))
        assert torch.equal(loaded.get_parameter(f"{layer}.bias"), biases)


def test_networks_without_biases_are_no_case_for_the_container() -> None:
    with pytest.raises(ConvatlasError, match="ResNet has others, or lacks biases"):
        compression_table(skeleton("resnet18"))
