"""Receptive fields: by hand, against published numbers, and against probing, unit by unit."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas import registry
from convatlas.analysis.probe import lines, pixels, probe, seen_along
from convatlas.analysis.reach import reach, reaches
from convatlas.analysis.receptive_field import ReceptiveField, path_fields, receptive_fields
from convatlas.analysis.trace import trace, trace_network
from convatlas.errors import UsageError
from convatlas.records import Shape

QUICK: dict[str, Shape] = {
    "lenet5": (1, 32, 32),
    "lenet_1989": (1, 16, 16),
    "caffe_lenet": (1, 28, 28),
    "mcdnn_mnist": (1, 29, 29),
    "cifar_plain20": (3, 16, 16),
    "cifar_resnet20": (3, 16, 12),
    "highway19_cifar10": (3, 32, 32),
    "squeezenet_v1_1": (3, 48, 40),
    "enet_encoder": (3, 32, 24),
    "resnet18": (3, 33, 40),
}
SLOW: dict[str, Shape] = {
    "alexnet": (3, 227, 227),
    "zfnet": (3, 224, 224),
    "vgg_a": (3, 224, 224),
    "overfeat_fast": (3, 231, 231),
    "nin_cifar10": (3, 32, 32),
    "nin_imagenet": (3, 99, 83),
    "mcdnn_cifar10": (3, 32, 32),
    "mcdnn_gtsrb": (3, 48, 48),
    "ciresan2010_mlp_2": (1, 29, 29),
    "cifar_densenet_40_12": (3, 16, 24),
    "cifar_densenet_bc_100_12": (3, 16, 16),
    "cifar_preresnet110": (3, 16, 16),
    "cifar_resnet110": (3, 16, 16),
    "stochastic_depth_110": (3, 16, 16),
    "cifar_resnext29_8x64d": (3, 8, 8),
    "fractalnet20_cifar10": (3, 32, 32),
    "fractalnet_thin_c4": (3, 32, 32),
    "squeezenet_v1_0_complex_bypass": (3, 64, 64),
    "googlenet": (3, 64, 48),
    "googlenet_bn": (3, 64, 64),
    "bn_inception": (3, 64, 64),
    "inception_v2_rethinking": (3, 80, 80),
    "inception_v3": (3, 75, 83),
    "inception_v4": (3, 75, 75),
    "inception_resnet_v1": (3, 75, 75),
    "xception": (3, 64, 64),
    "densenet121": (3, 48, 48),
    "resnet50": (3, 49, 64),
    "resnet50_stride3x3": (3, 49, 48),
    "resnext50_32x4d": (3, 33, 33),
    "a2net50_reading": (3, 33, 48),
    "preresnet200": (3, 33, 33),
    "plain34": (3, 33, 33),
    "stacked_hourglass_1": (3, 64, 64),
    "unet": (1, 188, 188),
    "unet_squeezenet": (3, 64, 64),
    "fcn8s_squeezenet": (3, 64, 48),
    "segnet_basic": (3, 32, 48),
    "enet_640x360": (3, 32, 24),
}
SWITCHES = {"segnet_basic", "enet_640x360"}  # where what is seen shows only when a maximum moves
MANY_PIXELS = 100  # where all lines would take too long, every so many, and those at the edges


def assert_probing_agrees(net: nn.Module, input_shape: Shape, *, draws: int = 1) -> None:
    """Each line of the input is seen by exactly the predicted positions of every layer."""
    for axis in range(len(input_shape) - 1):
        extent = input_shape[axis + 1]
        positions = range(extent) if extent < MANY_PIXELS else [0, 1, *range(2, extent - 1, 37), extent - 1]
        probed = probe(net, input_shape, lines(input_shape, axis, positions), draws=draws, batch=8)
        for record, seen, known in zip(probed.records, seen_along(probed, axis), reaches(probed.records), strict=True):
            assert known is not None, record.name
            predicted = known.along(axis)[:, list(positions)]
            if not known.is_map:
                predicted, seen = predicted.any(axis=0), seen.any(axis=0)
            np.testing.assert_array_equal(predicted, seen, err_msg=f"{record.name}, axis {axis}")


def assert_pixels_agree(net: nn.Module, input_shape: Shape, *, draws: int = 1) -> None:
    """Each pixel of the input is seen by exactly the predicted units of every layer."""
    probed = probe(net, input_shape, pixels(input_shape), draws=draws, batch=64)
    for record, changed, known in zip(probed.records, probed.changed, reaches(probed.records), strict=True):
        assert known is not None, record.name
        if not known.is_map:
            continue
        for unit in np.ndindex(*changed.shape[1:]):
            seen = changed[(slice(None), *unit)].reshape(input_shape[1:])
            np.testing.assert_array_equal(known.region(unit), seen, err_msg=f"{record.name}, unit {unit}")


@pytest.mark.parametrize("name", QUICK)
def test_probing_agrees_on_every_layer(name: str) -> None:
    torch.manual_seed(0)
    assert_probing_agrees(registry.build(name), QUICK[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_probing_agrees_on_every_layer_of_larger_networks(name: str) -> None:
    torch.manual_seed(0)
    assert_probing_agrees(registry.build(name), SLOW[name], draws=4 if name in SWITCHES else 1)


class UNetLike(nn.Module):
    """Valid convolutions, transposed convolution, and a skip that is cropped before it is joined."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(1, 2, 3)
        self.pool = nn.MaxPool2d(2)
        self.bottom = nn.Conv2d(2, 2, 3)
        self.up = nn.ConvTranspose2d(2, 2, 2, stride=2)
        self.out = nn.Conv2d(4, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down(x)
        up = self.up(self.bottom(self.pool(skip)))
        border = (skip.shape[2] - up.shape[2]) // 2
        return self.out(torch.cat((skip[:, :, border:-border, border:-border], up), dim=1))


class HourglassLike(nn.Module):
    """Down twice, up twice by nearest neighbours, each level beside a branch."""

    def __init__(self, depth: int = 2) -> None:
        super().__init__()
        self.skip = nn.Conv2d(2, 2, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.inner = HourglassLike(depth - 1) if depth > 1 else nn.Conv2d(2, 2, 3, padding=1)
        self.up = nn.Upsample(scale_factor=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.up(self.inner(self.pool(x)))


class SwitchesLike(nn.Module):
    """Pooling and unpooling by switches, with windows that overlap when pooled."""

    def __init__(self, kernel: int, stride: int, padding: int = 0) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(kernel, stride, padding, return_indices=True)
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.unpool = nn.MaxUnpool2d(kernel, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        pooled, switches = self.pool(x)
        return self.unpool(self.conv(pooled), switches)


class DenseLike(nn.Module):
    """Each layer reads all that came before it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(1 + i, 1, 3, padding=1, stride=1) for i in range(3))
        self.transition = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat((x, layer(x)), dim=1)
        return self.transition(x)


class Cross(nn.Module):
    """A row and a column of filters beside each other: what they see together is no rectangle."""

    def __init__(self) -> None:
        super().__init__()
        self.row, self.column = nn.Conv2d(1, 1, (1, 3), padding=(0, 1)), nn.Conv2d(1, 1, (5, 1), padding=(2, 0))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.row(x), self.column(x)), dim=1)


class Gated(nn.Module):
    """Squeeze and excitation, a softmax over positions, and an attention product."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 2, 3, padding=1), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        gate = torch.sigmoid(self.fc(x.mean(dim=(2, 3))))
        x = x * gate[:, :, None, None]
        rows = x.flatten(2)
        return (rows @ torch.softmax(rows, dim=2).transpose(1, 2) @ rows).view_as(x)


class Moves(nn.Module):
    """Slices, padding of all modes, channels last and back, windows cut out."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x[:, :, 1::2, ::3], (1, 2, 0, 1))
        x = F.pad(F.pad(x, (2, 1, 1, 2), mode="reflect"), (1, 0, 0, 2), mode="replicate")
        x = F.pad(x, (1, 2, 2, 1), mode="circular")
        x = x.permute(0, 2, 3, 1).contiguous().movedim(-1, 1)
        x = x.transpose(2, 3).transpose(3, 2)
        windows = x.unfold(2, 3, 2)  # B, C, H', W, 3
        return windows.movedim(4, 2).flatten(1, 2).narrow(2, 1, 3)


class Resized(nn.Module):
    def __init__(self, **how: object) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, **self.how)  # type: ignore[arg-type]


SYNTHETIC: dict[str, tuple[nn.Module, Shape]] = {
    "u-net": (UNetLike(), (1, 16, 20)),
    "hourglass": (HourglassLike(), (2, 12, 8)),
    "two hourglasses": (nn.Sequential(HourglassLike(), HourglassLike()), (2, 8, 16)),
    "unpooling": (SwitchesLike(2, 2), (2, 8, 8)),
    "overlapping unpooling": (SwitchesLike(3, 2), (2, 9, 7)),
    "dense": (DenseLike(), (1, 8, 6)),
    "cross": (nn.Sequential(Cross(), nn.Conv2d(2, 1, 2, stride=2)), (1, 8, 9)),
    "gates": (Gated(), (1, 5, 6)),
    "moves": (Moves(), (1, 12, 15)),
    "dilated": (
        nn.Sequential(nn.Conv2d(1, 1, 3, dilation=2), nn.Conv2d(1, 1, 2, dilation=(3, 1), stride=2)),
        (1, 14, 9),
    ),
    "transposed": (
        nn.Sequential(nn.ConvTranspose2d(1, 1, 4, 2, 1), nn.ConvTranspose2d(1, 1, 3, 3, dilation=2)),
        (1, 4, 3),
    ),
    "gaps": (nn.ConvTranspose2d(1, 1, 2, stride=3, output_padding=1), (1, 4, 5)),
    "ceil": (nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(2, 3, 1, ceil_mode=True)), (1, 10, 12)),
    "adaptive": (nn.Sequential(nn.AdaptiveAvgPool2d((3, 5)), nn.AdaptiveMaxPool2d((2, 2))), (1, 7, 13)),
    "nearest": (nn.Sequential(Resized(scale_factor=1.5), nn.Conv2d(1, 1, 2)), (1, 6, 8)),
    "nearest to a size": (Resized(size=(5, 13)), (1, 7, 6)),
    "bilinear": (nn.Sequential(Resized(scale_factor=2, mode="bilinear"), nn.Conv2d(1, 1, 3)), (1, 5, 6)),
    "bilinear, corners": (Resized(size=(9, 4), mode="bilinear", align_corners=True), (1, 5, 7)),
    "bicubic": (Resized(size=(11, 6), mode="bicubic"), (1, 6, 9)),
    "norms": (
        nn.Sequential(nn.LocalResponseNorm(3), nn.Conv2d(2, 2, 3), nn.GroupNorm(1, 2), nn.Softmax(dim=1)),
        (2, 5, 6),
    ),
    "padded": (
        nn.Sequential(nn.ZeroPad2d((1, 0, 2, 1)), nn.ReflectionPad2d(2), nn.Conv2d(1, 1, 3, padding="same")),
        (1, 5, 6),
    ),
    "signal": (nn.Sequential(nn.Conv1d(1, 2, 3, stride=2), nn.ConvTranspose1d(2, 1, 3, stride=2)), (1, 9)),
    "volume": (nn.Sequential(nn.Conv3d(1, 1, (1, 3, 2), stride=(1, 2, 1)), nn.MaxPool3d(2)), (1, 4, 7, 5)),
}


@pytest.mark.parametrize("kind", SYNTHETIC)
def test_probing_each_pixel_agrees_on_every_unit(kind: str) -> None:
    torch.manual_seed(1)
    net, shape = SYNTHETIC[kind]
    draws = 100 if "unpooling" in kind else 1  # a switch moves to some pixel of its window at each try
    assert_pixels_agree(net, shape, draws=draws)
    assert_probing_agrees(net, shape, draws=draws)


def test_probing_each_pixel_agrees_on_registered_networks() -> None:
    torch.manual_seed(0)
    for name, shape in (("lenet_1989", (1, 16, 16)), ("cifar_resnet20", (3, 8, 10)), ("squeezenet_v1_1", (3, 23, 19))):
        assert_pixels_agree(registry.build(name), shape)


def test_the_prober_finds_a_wrong_prediction() -> None:
    """Told of a kernel of 3, it must see that the network has one of 5."""
    shape = (1, 9, 9)
    told = trace(nn.Conv2d(1, 1, 3, padding=1).to("meta"), shape)
    seen = next(seen_along(probe(nn.Conv2d(1, 1, 5, padding=2), shape, lines(shape, 0)), 0))
    assert not np.array_equal(reach(told, 0).along(0), seen)


def last_map(name: str) -> ReceptiveField:
    """The field of the last map that has more than one position."""
    records = trace_network(name)
    field = receptive_fields(records)[
        max(r.index for r in records if len(r.output_shape) == 3 and r.output_shape[1] > 1)
    ]
    assert field is not None
    return field


@pytest.mark.parametrize(
    ("name", "size"),
    [("vgg_d", 212), ("resnet50", 483), ("resnet101", 1027), ("resnet152", 1507), ("inception_v3", 1311)],
)
def test_published_sizes(name: str, size: int) -> None:
    """Araujo, Norris and Sim, Distill 2019, table 1: before global pooling, with the stride in the first 1x1."""
    assert last_map(name).size == (size, size)


def test_a_unit_of_the_surveys_exercise() -> None:
    """LeNet-5: a unit of S2 sees 6 x 6 pixels, one of C3 14 x 14, one of S4 16 x 16; neighbours are 2, 2, 4 apart."""
    records = trace_network("lenet5")
    index = {record.name: record.index for record in records}
    fields = receptive_fields(records)
    assert fields[index["S2"]] == ReceptiveField((6, 6), (2, 2), (0, 0))
    assert fields[index["C3"]] == ReceptiveField((14, 14), (2, 2), (0, 0))
    assert fields[index["S4"]] == ReceptiveField((16, 16), (4, 4), (0, 0))
    region = reach(records, index["S2"]).region((3, 5))
    rows, columns = np.nonzero(region)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 11, 10, 15)
    assert region.sum() == 36


def test_a_cross_is_no_rectangle() -> None:
    records = trace(Cross().to("meta"), (1, 9, 9))
    region = reach(records, 2).region((4, 4))
    assert region.sum() == 3 + 5 - 1
    assert path_fields(records, 2) == (
        ReceptiveField((1, 3), (1, 1), (0, -1)),
        ReceptiveField((5, 1), (1, 1), (-2, 0)),
    )
    assert receptive_fields(records)[2] == ReceptiveField((5, 3), (1, 1), (-2, -1))


def test_transposed_convolution_by_hand() -> None:
    """Kernel 4, stride 2, padding 1: each unit reads two positions, and two neighbours share one of them."""
    net = nn.Sequential(nn.Conv2d(1, 1, 3, stride=2), nn.ConvTranspose2d(1, 1, 4, stride=2, padding=1)).to("meta")
    records = trace(net, (1, 9, 9))  # 4 x 4, then 8 x 8
    assert receptive_fields(records)[1] == ReceptiveField((5, 5), (1, 1), (-2, -2))
    seen = reach(records, 1).along(0)
    assert [(row.nonzero()[0].min(), row.nonzero()[0].max()) for row in seen[:4]] == [(0, 2), (0, 4), (0, 4), (2, 6)]


def test_gates_make_every_unit_see_everything() -> None:
    records = trace(Gated().to("meta"), (1, 5, 6))
    fields = {record.name: field for record, field in zip(records, receptive_fields(records), strict=True)}
    assert fields["conv"] == ReceptiveField((3, 3), (1, 1), (-1, -1))
    assert fields["/mul"] == ReceptiveField((7, 8), (0, 0), (-1, -1))


class Unequal(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x[:, :, :4], x[:, :, ::2]), dim=1)


class Strange(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(x, dim=2) + 1


def test_what_has_no_one_field_or_is_not_known() -> None:
    records = trace(Unequal(), (1, 8, 8))
    assert receptive_fields(records)[-1] is None  # branches with different strides
    assert len(path_fields(records, len(records) - 1)) == 2
    assert reach(records, len(records) - 1).region((1, 3)).sum() == 2
    records = trace(Strange(), (1, 8, 8))
    assert receptive_fields(records) == (None, None)
    with pytest.raises(UsageError, match="layer is '/add'; expected one whose reading of the input is known"):
        reach(records, 1)
