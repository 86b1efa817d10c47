"""FCN: bilinear upsampling, offsets by hand, zero scores, any size, and what each stage takes from the one before."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas import registry
from convatlas.analysis.receptive_field import receptive_fields
from convatlas.analysis.trace import build_on_meta, trace, trace_network
from convatlas.analysis.verify import verify
from convatlas.architectures.segmentation.fcn import FCN, vgg16_trunk
from convatlas.blocks.bilinear import BilinearUpsampling, bilinear_kernel
from convatlas.blocks.crop import Crop
from convatlas.errors import UsageError
from convatlas.ops.transplant import transplant

STAGES = ("fcn32s_vgg16_voc", "fcn16s_vgg16_voc", "fcn8s_vgg16_voc")
NAMES = (*STAGES, "fcn8s_vgg16_voc_at_once", "fcn_alexnet_voc", "googlenet_fcn")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", NAMES)
def test_no_row_of_the_ledger_fails(name: str) -> None:
    assert [row for row in verify(name) if row.verdict not in ("holds", "disputed")] == []


def test_bilinear_kernels_by_hand() -> None:
    assert bilinear_kernel(3).tolist() == [[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]]
    assert (16 * bilinear_kernel(4)).tolist() == [[1, 3, 3, 1], [3, 9, 9, 3], [3, 9, 9, 3], [1, 3, 3, 1]]


@pytest.mark.parametrize(("side", "stride"), [(4, 2), (16, 8), (64, 32)])
def test_even_kernels_interpolate_as_torch_does(side: int, stride: int) -> None:
    x = torch.randn(1, 3, 5, 4)
    y = BilinearUpsampling(3, side, stride=stride, learned=False)(x)
    assert y.shape[2:] == (4 * stride + side, 3 * stride + side)
    inner = slice(stride // 2, -(stride // 2))
    expected = F.interpolate(x, scale_factor=stride, mode="bilinear", align_corners=False)
    torch.testing.assert_close(
        y[..., inner, inner][..., stride:-stride, stride:-stride], expected[..., stride:-stride, stride:-stride]
    )


@pytest.mark.parametrize(("side", "stride"), [(3, 2), (15, 8), (63, 32)])
def test_odd_kernels_interpolate_between_the_first_and_the_last_position(side: int, stride: int) -> None:
    x = torch.randn(1, 2, 5, 4)
    y = BilinearUpsampling(2, side, stride=stride, learned=True)(x)
    inner = slice(stride - 1, 1 - stride)
    expected = F.interpolate(x, size=(4 * stride + 1, 3 * stride + 1), mode="bilinear", align_corners=True)
    torch.testing.assert_close(y[..., inner, inner], expected)


def test_upsampling_leaves_maps_apart_at_first_and_may_be_fixed() -> None:
    layer = BilinearUpsampling(2, 4, stride=2, learned=True)
    assert layer.weight.requires_grad
    assert not layer.weight[0, 1].any()
    assert layer.groups == 1
    assert layer.bias is None
    assert not BilinearUpsampling(2, 4, stride=2, learned=False).weight.requires_grad


def test_crop_by_hand() -> None:
    x = torch.arange(20.0).view(1, 1, 4, 5)
    assert Crop(1)(x, (2, 3)).tolist() == [[[[6, 7, 8], [11, 12, 13]]]]


def place(layers: list[nn.Module]) -> tuple[float, float]:
    """(stride, place of the first position) on the input's axis of a chain's last map: position i is at a i + b."""
    stride, first = 1.0, 0.0
    for layer in layers:
        if isinstance(layer, nn.ConvTranspose2d):
            stride /= layer.stride[0]
            first -= stride * (layer.kernel_size[0] - 1) / 2
        elif isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            kernel, step, padding = (v[0] if isinstance(v, tuple) else v for v in _window(layer))
            first += stride * ((kernel - 1) / 2 - padding)
            stride *= step
    return stride, first


def _window(layer: nn.Conv2d | nn.MaxPool2d) -> tuple:
    return layer.kernel_size, layer.stride, layer.padding


def chain(net: FCN, last: str) -> list[nn.Module]:
    """The trunk up to a layer; inside an inception module the 1x1 branch, which all others are aligned with."""
    names = net.trunk[: net.trunk.index(last) + 1]
    return [net.get_submodule(name) for name in names]


# By hand, for VGG: conv1_1 lies at -99; the five pools, in the middle of two, add 1/2, 1, 2, 4, 8, to -83.5; fc6, in
# the middle of 7 at 32 px, adds 96: 12.5. The enlargement by 32 lies at u - 31.5 + 12.5 = u - 19: the offset is 19.
@pytest.mark.parametrize(
    ("name", "last", "first"),
    [("fcn32s_vgg16_voc", "drop7", 12.5), ("fcn8s_vgg16_voc", "pool4", -91.5), ("fcn8s_vgg16_voc", "pool3", -95.5),
     ("fcn_alexnet_voc", "drop7", 13), ("googlenet_fcn", "inception_5b", 30)],
)  # fmt: skip
def test_where_the_first_position_lies(name: str, last: str, first: float) -> None:
    assert place(chain(build_on_meta(name), last))[1] == first


@pytest.mark.parametrize(("name", "offset"), [("fcn32s_vgg16_voc", 19), ("fcn_alexnet_voc", 18), ("googlenet_fcn", 1)])
def test_offset_of_one_stream(name: str, offset: int) -> None:
    net = build_on_meta(name)
    stride, first = place([*chain(net, net.trunk[-1]), net.upscore])
    assert (stride, -first, net.score.offset) == (1, offset, offset)


def test_offsets_of_the_skips() -> None:
    net = build_on_meta("fcn8s_vgg16_voc")
    path = [*chain(net, "drop7"), net.upscore2]
    for skip, crop, enlarged, offset in (("pool4", "score_pool4c", "upscore_pool4", 5),
                                         ("pool3", "score_pool3c", "upscore8", 9)):  # fmt: skip
        (stride, first), (skip_stride, skip_first) = place(path), place(chain(net, skip))
        assert stride == skip_stride
        assert (first - skip_first) / stride == offset == net.get_submodule(crop).offset
        path.append(net.get_submodule(enlarged))
    assert place(path) == (1, -31)
    assert net.score.offset == 31
    other = build_on_meta("fcn16s_vgg16_voc")
    assert (other.score_pool4c.offset, other.score.offset) == (5, 27)


@pytest.mark.parametrize("name", NAMES)
def test_logits_have_the_size_of_the_image(name: str) -> None:
    net = build_on_meta(name).eval()
    for height, width in ((33, 500), (64, 97), (500, 375), (321, 128), *((n, n + 16) for n in range(31, 63))):
        assert net(torch.empty(1, 3, height, width, device="meta")).shape == (1, 21, height, width)


# Table 1 prints 355, 404 and 907; the last with GoogLeNet's 7 x 7 average, 6 steps of 32, which the network discards.
@pytest.mark.parametrize(
    ("name", "size", "centre"),
    [("fcn32s_vgg16_voc", 404, 12.5), ("fcn_alexnet_voc", 355, 13), ("googlenet_fcn", 907 - 6 * 32, 30)],
)
def test_receptive_fields_of_the_scores_are_the_papers(name: str, size: int, centre: float) -> None:
    records = trace_network(name, (3, 1000, 1000))
    fields = dict(zip((record.name for record in records), receptive_fields(records), strict=True))
    field = fields["score_fr"]
    assert field is not None
    assert (field.size, field.stride) == ((size, size), (32, 32))
    assert field.offset[0] + (size - 1) / 2 == centre
    enlarged, cropped = fields["upscore"], fields["score"]
    assert enlarged is not None
    assert cropped is not None
    assert cropped.size == enlarged.size == (size + 32, size + 32)


@pytest.mark.parametrize("name", NAMES)
def test_classes_and_channels(name: str) -> None:
    with torch.device("meta"):
        net = registry.build(name, num_classes=5, in_channels=2)
        assert net(torch.empty(2, 2, 40, 40)).shape == (2, 5, 40, 40)


def test_only_the_last_upsampling_is_fixed() -> None:
    net = build_on_meta("fcn8s_vgg16_voc")
    assert [name for name, p in net.named_parameters() if not p.requires_grad] == ["upscore8.weight"]


def test_zero_scores_give_zero_logits_and_then_learn() -> None:
    net = registry.build("googlenet_fcn", num_classes=3).eval()
    x = torch.randn(1, 3, 40, 52)
    y = net(x)
    assert y.shape == (1, 3, 40, 52)
    assert not y.any()
    F.cross_entropy(y, torch.ones(1, 40, 52, dtype=torch.long)).backward()
    assert net.score_fr.weight.grad is not None
    assert net.score_fr.weight.grad.any()


def test_the_at_once_variant_scales_the_early_maps() -> None:
    net = build_on_meta("fcn8s_vgg16_voc_at_once")
    assert (net.scale_pool4.factor, net.scale_pool3.factor) == (0.01, 0.0001)
    assert net.scale_pool4(torch.full((1, 1, 1, 1), 3.0)).item() == pytest.approx(0.03)
    names = [record.name for record in trace(net, (3, 64, 64))]
    assert names.index("scale_pool4/mul") < names.index("score_pool4")
    assert names.index("scale_pool3/mul") < names.index("score_pool3")


def filled(name: str, value: float, *, classes: int = 21) -> dict[str, Tensor]:
    """A state dict that costs no memory: each tensor is one value, seen many times."""
    with torch.device("meta"):
        state = registry.build(name, num_classes=classes).state_dict()
    return {entry: torch.tensor(value).expand(tensor.shape) for entry, tensor in state.items()}


def test_transplant_reshapes_fully_connected_layers() -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc6 = nn.Conv2d(2, 3, 2)
            self.new = nn.Conv2d(3, 1, 1)

    net, given = Small(), nn.Linear(8, 3)
    drawn = net.new.weight.clone()
    copied = transplant(net, {"fc6.weight": given.weight, "fc6.bias": given.bias, "fc8.bias": torch.ones(9)})
    assert copied == ("fc6.weight", "fc6.bias")
    x = torch.randn(1, 2, 2, 2)
    torch.testing.assert_close(net.fc6(x).flatten(1), given(x.flatten(1)))
    assert torch.equal(net.new.weight, drawn)
    with pytest.raises(UsageError, match=r"the weights' fc6.weight is \(5, 2\); Small has \(3, 2, 2, 2\)"):
        transplant(net, {"fc6.weight": torch.ones(5, 2)})
    with pytest.raises(UsageError, match=r"no layer of Small; expected names like fc6\.weight"):
        transplant(net, {"conv1.weight": torch.ones(1)})


@pytest.mark.parametrize(
    ("name", "source", "fresh"),
    [("fcn32s_vgg16_voc", "vgg_d", {"score_fr", "upscore"}),
     ("fcn16s_vgg16_voc", "fcn32s_vgg16_voc", {"upscore2", "score_pool4", "upscore16"}),
     ("fcn8s_vgg16_voc", "fcn16s_vgg16_voc", {"upscore_pool4", "score_pool3", "upscore8"}),
     ("fcn8s_vgg16_voc_at_once", "vgg_d", {"score_fr", "upscore2", "score_pool4", "upscore_pool4", "score_pool3",
                                           "upscore8"}),
     ("fcn_alexnet_voc", "caffenet", {"score_fr", "upscore"}),
     ("googlenet_fcn", "googlenet", {"score_fr", "upscore"})],
)  # fmt: skip
def test_what_each_stage_takes_from_the_one_before(name: str, source: str, fresh: set[str]) -> None:
    net = build_on_meta(name)
    copied = net.start_from(filled(source, 1.0))
    layers = {entry.rpartition(".")[0] for entry in net.state_dict()}
    assert layers - {entry.rpartition(".")[0] for entry in copied} == fresh


@pytest.mark.slow
def test_the_trunk_is_torchvisions_with_a_border_and_reshaped_classifier() -> None:
    import torchvision

    theirs = torchvision.models.vgg16(weights=None).eval()
    ours = nn.Sequential(vgg16_trunk(3)).eval()
    layers = [layer for layer in (*theirs.features, *theirs.classifier) if next(layer.parameters(), None) is not None]
    own = [layer for layer in ours.modules() if isinstance(layer, nn.Conv2d)]
    for mine, given in zip(own, layers[:-1], strict=True):
        transplant(mine, given.state_dict())
    x = torch.randn(1, 3, 26, 26)  # 224 with 99 zeros around it, to which torchvision's first layer adds one
    with torch.no_grad():
        expected = theirs.classifier[:6](theirs.avgpool(theirs.features(F.pad(x, (99,) * 4))).flatten(1))
        inner = ours(x)
    assert inner.shape == (1, 4096, 1, 1)
    torch.testing.assert_close(inner.flatten(1), expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


@pytest.mark.slow
def test_two_images_are_learnt_by_heart() -> None:
    net = registry.build("googlenet_fcn", num_classes=3)
    x, masks = torch.randn(2, 3, 64, 64), torch.zeros(2, 64, 64, dtype=torch.long)
    masks[0, :, 32:], masks[1, :32] = 1, 2
    x += 2 * masks[:, None]
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(net(x), masks).backward()
        optimizer.step()
    assert (net.eval()(x).argmax(1) == masks).float().mean() > 0.95
