"""Weights of segmenters: the released files' tables, and a real one: vessels found by Orobix's U-Net."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from convatlas import weights
from convatlas.architectures.classification.enet import Bottleneck, DownsamplingBottleneck, Initial
from convatlas.architectures.segmentation.enet import DecoderBottleneck, UpsamplingBottleneck
from convatlas.cli import main
from convatlas.weights.layouts import caffe_dense
from convatlas.weights.layouts import torch7 as torch7_layouts
from convatlas.weights.layouts.layout import Layout, skeleton
from foreign import Lua, caffemodel, random_net, state, torch7, torch7_layer, torch7_sequential

LAYOUTS = {layout.release: layout for layout in caffe_dense.layouts()}
LARGE = {"voc-fcn32s", "voc-fcn16s", "voc-fcn8s", "voc-fcn-alexnet", "segnet", "phseg_v5"}
KNOWN = {  # of the authors' prototxt files
    "voc-fcn8s": {"upscore_pool4": "upscore_pool4", "score_pool3": "score_pool3", "fc7": "fc7"},
    "segnet": {"conv5_3_D_bn": "conv5_3_D_bn", "conv1_1_D": "conv1_1_D"},
    "segnet_basic": {"conv_decode4_bn": "conv_decode4_bn", "conv_classifier": "conv_classifier"},
    "phseg_v5": {
        "conv_d0a-b": "d0.a_b",
        "conv_u3c-d": "u3.c_d",
        "upconv_d4c_u3a": "upconv_u3.upconv",
        "upconv_u1d_u0a": "upconv_u0.upconv",
        "conv_u0d-score": "score",
    },
}


@pytest.mark.parametrize("release", LAYOUTS)
def test_table_covers_the_network(release: str) -> None:
    layout = LAYOUTS[release]
    layers = {name.rpartition(".")[0] for name in skeleton(layout.network).state_dict()}
    assert set(layout.layers.values()) == layers
    assert layout.recognises(frozenset(layout.layers))


@pytest.mark.parametrize("release", KNOWN)
def test_names_of_the_release(release: str) -> None:
    assert KNOWN[release].items() <= LAYOUTS[release].layers.items()


def caffe_layers(net: nn.Module, layout: Layout) -> list[tuple[str, str, list[Tensor]]]:
    """As the releases store them: a BN is a scale and a shift of 1 x C x 1 x 1."""
    layers = []
    for theirs, ours in layout.layers.items():
        module = net.get_submodule(ours)
        if isinstance(module, nn.BatchNorm2d):
            layers.append((theirs, "BN", [value.view(1, -1, 1, 1) for value in (module.weight, module.bias)]))
        else:
            kind = "Deconvolution" if isinstance(module, nn.ConvTranspose2d) else "Convolution"
            layers.append((theirs, kind, [value.detach() for value in module.parameters()]))
    return [(name, kind, [blob.detach() for blob in blobs]) for name, kind, blobs in layers]


def without_statistics(net: nn.Module) -> nn.Module:
    """In eval mode its normalisations only scale and shift."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None and layer.running_var is not None:
            layer.running_mean.zero_()
            layer.running_var.fill_(1 - layer.eps)
    return net


@pytest.mark.parametrize("release", [pytest.param(r, marks=pytest.mark.slow) if r in LARGE else r for r in LAYOUTS])
def test_caffe_release_comes_back_exactly(release: str, tmp_path: Path) -> None:
    layout = LAYOUTS[release]
    net = without_statistics(random_net(layout.network))
    path = tmp_path / "theirs.caffemodel"
    path.write_bytes(caffemodel(caffe_layers(net, layout)))
    tensors, card = weights.read(path)
    assert card is not None
    assert (card["network"], card["source"]) == (layout.network, f"Caffe: {release}")
    assert tensors.keys() == state(net).keys()
    assert all(torch.equal(tensors[name], value) for name, value in state(net).items())


def test_a_folded_normalisation_only_scales_and_shifts(tmp_path: Path) -> None:
    net = random_net("segnet_basic")
    (tmp_path / "x.caffemodel").write_bytes(caffemodel(caffe_layers(net, LAYOUTS["segnet_basic"])))
    norm = weights.create("segnet_basic", weights=tmp_path / "x.caffemodel").eval().get_submodule("conv2_bn")
    x = torch.randn(2, 64, 3, 3)
    expected = x * norm.get_parameter("weight").view(-1, 1, 1) + norm.get_parameter("bias").view(-1, 1, 1)
    torch.testing.assert_close(norm(x), expected, rtol=1e-6, atol=1e-6)


# ---------- ENet's file, a tree of containers


def enet_of_torch(net: nn.Module) -> Lua:
    """encoder.lua and decoder.lua: ConcatTable of both branches, CAddTable, PReLU or ReLU."""

    def two_branches(main: list[Lua], other: list[Lua], last: Lua) -> Lua:
        both = torch7_sequential(torch7_sequential(*main), torch7_sequential(*other), kind="nn.ConcatTable")
        return torch7_sequential(both, Lua("nn.CAddTable"), last)

    def block(module: nn.Module) -> Lua:
        parts = {name: part for name, part in module.named_children() if next(part.parameters(), None) is not None}
        if isinstance(module, Initial):
            conv = torch7_sequential(torch7_layer(parts["conv"]), Lua("nn.SpatialMaxPooling"), kind="nn.ConcatTable")
            return torch7_sequential(conv, Lua("nn.JoinTable"), *(torch7_layer(parts[n]) for n in ("bn", "prelu")))
        others = [torch7_layer(part) for name, part in parts.items() if name.startswith("skip")]
        main = [
            torch7_layer(part) for name, part in parts.items() if not name.startswith(("skip", "prelu_out", "act_out"))
        ]
        out = parts.get("prelu_out", parts.get("act_out"))
        last = torch7_layer(out) if out is not None else Lua("nn.ReLU")
        return two_branches(main, others or [Lua("nn.Identity")], last)

    kinds = (Initial, Bottleneck, DownsamplingBottleneck, DecoderBottleneck, UpsamplingBottleneck)
    blocks = [block(module) for module in net.modules() if isinstance(module, kinds)]
    return torch7_sequential(*blocks, torch7_layer(net.get_submodule("fullconv")))


@pytest.mark.parametrize("name", ["enet_cityscapes_512", "enet_relu_decoder_512"])
def test_enet_of_torch7_comes_back_exactly(tmp_path: Path, name: str) -> None:
    net = random_net(name, num_classes=20)
    (tmp_path / "model-best.net").write_bytes(torch7(enet_of_torch(net)))
    tensors, card = weights.read(tmp_path / "model-best.net")
    assert card is not None
    assert (card["network"], card["num_classes"]) == (name, 20)
    assert card["classes"][:2] == ["unlabeled", "road"]
    assert tensors.keys() == state(net).keys()
    assert all(torch.equal(tensors[name], value) for name, value in state(net).items())


def test_the_order_of_enet_s_layers() -> None:
    layout = next(layout for layout in torch7_layouts.layouts() if layout.network == "enet_cityscapes_512")
    names = [layout.layers[str(n)] for n in range(1, len(layout.layers) + 1)]
    assert names[:5] == ["initial.conv", "initial.bn", "initial.prelu", "bottleneck1.0.conv1", "bottleneck1.0.bn1"]
    start = names.index("bottleneck4.0.conv1")
    inner = ["conv1", "bn1", "act1", "deconv", "bn2", "act2", "conv3", "bn3", "skip_conv", "skip_bn", "act_out"]
    assert len(names) == 255
    assert names[start : start + 11] == [f"bottleneck4.0.{name}" for name in inner]


# ---------- real weights


def fundus(seed: int, side: int = 192) -> tuple[np.ndarray, np.ndarray]:
    """Dark vessels that wander over an uneven bright ground, with noise, and where they are.  (side, side) each"""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    image = 150 + 30 * np.sin(columns / 60 + 6 * rng.random()) * np.cos(rows / 70)
    vessels = np.zeros((side, side), np.uint8)
    for _ in range(9):
        turns = 6.28 * rng.random() + np.cumsum(rng.normal(0, 0.12, 60))
        course = side * rng.random(2) + 4 * np.cumsum(np.stack([np.cos(turns), np.sin(turns)], 1), 0)
        cv2.polylines(vessels, [course.astype(np.int32)], False, 1, int(rng.integers(1, 6)))
    image = image - 45 * cv2.GaussianBlur(vessels.astype(np.float32), (0, 0), 1.0) + rng.normal(0, 4, image.shape)
    return cv2.GaussianBlur(image, (0, 0), 0.7).clip(0, 255), vessels


def equalised(image: np.ndarray) -> Tensor:
    """The release's preparation: stretched, contrast equalised by tiles, gamma 1.2, 0 to 1.  -> (1, 1, H, W)"""
    low, high = image.min(), image.max()
    grey = cv2.createCLAHE(2.0, (8, 8)).apply((255 * (image - low) / (high - low)).astype(np.uint8))
    return torch.from_numpy((grey / 255) ** (1 / 1.2)).float()[None, None]


@pytest.mark.data
def test_the_retina_network_finds_vessels(data_root: Path) -> None:
    path = data_root / "weights" / "retina_unet_keras.h5"
    card = weights.read_card(path)
    assert card is not None
    assert (card["network"], card["classes"]) == ("retina_unet_orobix", ["background", "vessel"])
    net = weights.create("retina_unet_orobix", weights=path).eval()
    for seed in range(3):
        image, vessels = fundus(seed)
        with torch.inference_mode():
            found = net(equalised(image)).softmax(1)[0, 1].numpy()
        assert roc_auc_score(vessels.ravel(), found.ravel()) > 0.9  # under 0.5 with the maps joined the other way round
        assert found[vessels == 1].mean() > 5 * found[vessels == 0].mean()


@pytest.mark.data
def test_the_retina_network_is_imported(data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = data_root / "weights" / "retina_unet_keras.h5", tmp_path / "W.safetensors"
    assert main(["weights", "import", str(source), "--to", "retina_unet_orobix", "--out", str(out)]) == 0
    capsys.readouterr()
    x = torch.rand(1, 1, 48, 48)
    nets = [weights.create("retina_unet_orobix", weights=path).eval() for path in (source, out)]
    assert torch.equal(nets[0](x), nets[1](x))
