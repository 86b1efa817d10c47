"""SegNet, SegNet-Basic and FCN-Basic: switches, where normalisation acts, and where they start from."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas import registry
from convatlas.analysis.trace import build_on_meta, trace_network
from convatlas.analysis.verify import verify
from convatlas.architectures.classification.vgg import VGG
from convatlas.architectures.segmentation.segnet import FCNBasic, SegNet, SegNetBasic, bilinear_
from convatlas.ops.transplant import transplant
from dense import blocks, learn_by_heart

NAMES = ["segnet_camvid", "segnet_basic", "fcn_basic_camvid"]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", NAMES)
def test_no_row_of_the_ledger_fails(name: str) -> None:
    assert [row for row in verify(name) if row.verdict == "fails"] == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(360, 480), (45, 60), (31, 17), (1, 1)])
def test_the_output_has_the_size_of_the_input(name: str, size: tuple[int, int]) -> None:
    with torch.device("meta"):
        net = registry.build(name, num_classes=5, in_channels=2).eval()
        assert net(torch.empty(2, 2, *size)).shape == (2, 5, *size)


@pytest.mark.parametrize(("name", "poolings"), [("segnet_camvid", 5), ("segnet_basic", 4)])
def test_each_value_is_unpooled_to_where_the_encoder_s_maximum_stood(name: str, poolings: int) -> None:
    net = registry.build(name).eval()
    pooled: list[Tensor] = []
    unpooled: dict[str, Tensor] = {}
    for path, layer in net.named_children():
        if path.startswith("relu") and not path.endswith("_D"):
            layer.register_forward_hook(lambda module, inputs, output, path=path: unpooled.update({path: output}))
        if path.startswith("pool"):
            layer.register_forward_pre_hook(lambda module, inputs: pooled.append(inputs[0]))
        if path.startswith("upsample"):
            layer.register_forward_hook(lambda module, inputs, output, path=path: unpooled.update({path: output}))
    with torch.no_grad():
        net(torch.rand(1, 3, 45, 60))
    assert len(pooled) == poolings
    for level, before in enumerate(pooled, start=1):
        after = unpooled[f"upsample{level}"]
        assert after.shape == before.shape
        largest = F.interpolate(F.max_pool2d(before, 2, ceil_mode=True), scale_factor=2)[..., : before.shape[2], :]
        filled = after != 0
        assert filled.any()
        assert torch.equal(before[filled], largest[..., : before.shape[3]][filled])


def kinds(name: str) -> list[str]:
    return [record.kind for record in trace_network(name)]


def test_normalisation_stands_between_convolution_and_rectification_except_at_the_end() -> None:
    order = kinds("segnet_camvid")
    assert order.count("conv") == 26
    assert order.count("batchnorm") == order.count("relu") == 25
    for place, kind in enumerate(order[:-1]):
        if kind == "conv":
            assert order[place : place + 3] == ["conv", "batchnorm", "relu"]
    assert order[-1] == "conv"


def test_segnet_basic_has_no_relu_in_the_decoder_and_normalises_its_input() -> None:
    order = kinds("segnet_basic")
    assert order[0] == "lrn"
    assert order.count("relu") == 4
    assert order[order.index("unpool") :] == ["unpool", "conv", "batchnorm"] * 4 + ["conv"]


def test_decoders_of_fcn_basic_add_reduced_maps_of_the_encoder() -> None:
    by_name = {record.name: record for record in trace_network("fcn_basic_camvid")}
    assert by_name["upsample4"].output_shape == (11, 46, 60)  # one row more than pool3 has
    for addition, level in (("/add", 3), ("/add_2", 2), ("/add_3", 1)):
        assert by_name[f"score{level}"].index in by_name[addition].inputs
        assert by_name[f"score{level}"].inputs == (by_name[f"pool{level}"].index,)


def test_up_convolutions_start_as_bilinear_interpolation() -> None:
    upconv = nn.ConvTranspose2d(2, 2, 8, stride=2, padding=3, bias=False)
    bilinear_(upconv.weight.data)
    x = torch.randn(1, 2, 6, 7)
    expected = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(upconv(x)[:, :, 2:-2, 2:-2], expected[:, :, 2:-2, 2:-2])


def test_starts_as_the_release() -> None:
    net = SegNetBasic()
    weight = net.get_submodule("conv2").get_parameter("weight")
    assert weight.std().item() == pytest.approx((2 / (49 * 64)) ** 0.5, rel=0.02)
    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert all(layer.weight.eq(1).all() and layer.bias.eq(0.001).all() for layer in norms)


def test_starts_from_a_trained_vgg() -> None:
    vgg, net = VGG("D", side=32), SegNet()
    copied = transplant(net, vgg.state_dict())
    assert (len(copied), copied[0], copied[-1]) == (2 * 13, "conv1_1.weight", "conv5_3.bias")
    assert torch.equal(net.get_submodule("conv5_3").get_parameter("weight"), vgg.get_submodule("conv5_3").weight)


def test_statistics_are_followed_in_train_mode() -> None:
    net, x = FCNBasic(num_classes=3), torch.rand(2, 3, 32, 32)
    before = net.get_submodule("conv1_bn").get_buffer("running_mean").clone()
    net.train()(x)
    assert not torch.equal(net.get_submodule("conv1_bn").get_buffer("running_mean"), before)
    net.eval()
    assert torch.equal(net(x), net(x))


def test_classes_and_channels_are_honoured() -> None:
    for name in NAMES:
        assert build_on_meta(name)(torch.empty(1, 3, 32, 32, device="meta")).shape == (1, 11, 32, 32)


@pytest.mark.slow
@pytest.mark.parametrize("net", [SegNetBasic, FCNBasic])
def test_two_images_are_learnt_by_heart(net: type[SegNetBasic | FCNBasic]) -> None:
    x, masks = blocks(32, classes=3)
    assert learn_by_heart(net(num_classes=3), x, masks, steps=30, lr=3e-3) > 0.95


@pytest.mark.slow
def test_two_images_are_learnt_by_heart_by_segnet() -> None:
    x, masks = blocks(32, classes=3)
    assert learn_by_heart(SegNet(num_classes=3), x, masks, steps=60, lr=1e-3) > 0.95
