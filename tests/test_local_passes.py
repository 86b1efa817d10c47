"""Passes that compute only what a square changes against whole passes, and windows by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convatlas import registry
from convatlas.analysis.stages import Axis, leading_stages
from convatlas.analysis.trace import trace_of
from convatlas.visualise.attribution import last_maps
from convatlas.visualise.local_passes import LocalPasses


def chain(net: nn.Module, x: Tensor) -> list[str]:
    """The names of the modules of all stages."""
    records = trace_of(net, x)
    stages = leading_stages(net, records, tuple(x.shape[1:]), before=len(records))
    names = {module: path for path, module in net.named_modules()}
    return [names[module] for stage in stages for module in stage.modules]


def compare(net: nn.Module, x: Tensor, size: tuple[int, int], places: list[tuple[int, int]]) -> LocalPasses:
    """The square at every place, locally and in an image of its own, in float64."""
    layer = last_maps(net.eval(), x)
    net, x = net.double(), x.double()
    square = torch.randn(x.shape[1], *size, dtype=x.dtype)
    with torch.inference_mode():
        local = LocalPasses(net, x, np.array(places), size, until=layer, batch_size=3)
        found = torch.cat([local(range(i, min(i + 3, len(places))), square) for i in range(0, len(places), 3)])
        images = x.repeat(len(places), 1, 1, 1)
        for image, (top, left) in zip(images, places, strict=True):
            image[:, top : top + size[0], left : left + size[1]] = square
        expected = torch.cat([net(some) for some in images.split(3)])
    effect = (expected - expected[:1]).abs().max()
    assert effect > 0, "the square changes nothing"
    assert (found - expected).abs().max() <= 1e-8 * effect
    assert all("forward" not in vars(module) for module in net.modules())
    return local


def around(extent: tuple[int, int], size: tuple[int, int]) -> list[tuple[int, int]]:
    """All corners and borders, and two places inside."""
    rows, columns = ([0, 13, (whole - part) // 2 + 1, whole - part] for whole, part in zip(extent, size, strict=True))
    return [(top, left) for top in rows for left in columns if 0 in (top, left) or top == rows[-1] or top == rows[2]]


@pytest.mark.parametrize(("name", "extent", "stages"), [
    ("alexnet", (227, 227), 2), ("squeezenet_v1_1", (131, 118), 3), ("squeezenet_v1_0", (127, 150), 3),
    ("resnet18", (129, 160), 3), ("resnet50", (96, 97), 2), ("googlenet", (224, 224), 4),
    ("cifar_resnet20", (32, 32), 3), ("caffe_lenet", (28, 28), 2),
])  # fmt: skip
def test_as_whole_passes(name: str, extent: tuple[int, int], stages: int) -> None:
    torch.manual_seed(0)
    net = registry.build(name)
    size = (11, 8) if min(extent) < 50 else (27, 20)
    x = torch.randn(1, registry.card(name).input_shape[0], *extent)
    local = compare(net, x, size, around(extent, size)[::2])
    assert len(local.stages) >= stages


@pytest.mark.slow
def test_vgg_as_whole_passes() -> None:
    torch.manual_seed(0)
    local = compare(registry.build("vgg_d"), torch.randn(1, 3, 224, 224), (40, 40), around((224, 224), (40, 40))[::3])
    assert len(local.stages) >= 6


@pytest.mark.parametrize("seed", range(12))
def test_any_windows_at_any_place(seed: int) -> None:
    """Kernels, strides, paddings, holes and pools of any size, on odd maps, with the square at every place."""
    rng = np.random.default_rng(seed)
    layers: list[nn.Module] = []
    for _ in range(3):
        kernel, stride, dilation = int(rng.integers(1, 5)), int(rng.integers(1, 3)), int(rng.integers(1, 3))
        layers.append(nn.Conv2d(2, 2, kernel, stride, int(rng.integers(0, 3)), dilation))
        kernel = int(rng.integers(2, 4))
        pool = nn.MaxPool2d if rng.random() < 0.5 else nn.AvgPool2d
        layers += [nn.Tanh(), pool(kernel, int(rng.integers(1, 3)), kernel // 2, ceil_mode=bool(rng.random() < 0.5))]
    torch.manual_seed(seed)
    net = nn.Sequential(*layers, nn.Conv2d(2, 3, 1), nn.AdaptiveMaxPool2d(1), nn.Flatten())
    height, width, size = 61 + seed, 50 + 2 * seed, (1 + seed, 4)
    places = [(t, i) for t in range(0, height - size[0] + 1, 9) for i in range(0, width - 3, 11)]
    places += [(height - size[0], width - 4), (0, width - 4), (height - size[0], 0)]
    compare(net, torch.randn(1, 2, height, width), size, places)


def test_windows_by_hand() -> None:
    """A 3x3 filter of stride 2 on 9 positions reads 0-2, 2-4, 4-6, 6-8."""
    first = np.array([0, 2, 4, 6])
    found = Axis(first, first + 2, 2, 9).windows(np.array([0, 3, 8]), 1)
    assert found.kept.tolist() == [0, 1, 3]
    assert found.start.tolist() == [0, 2, 6]
    assert (found.kept_length, found.length) == (1, 3)
    assert found.skipped.tolist() == [0, 0, 0]
    found = Axis(first, first + 2, 2, 9).windows(np.array([2, 7]), 2)  # 2 and 3 are read twice, 7 and 8 once
    assert (found.kept_length, found.length) == (2, 5)
    assert found.kept.tolist() == [0, 2]


class Backwards(nn.Module):
    """The last sum reads the first layer's maps again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(2, 2, 3, padding=1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.second(x)
        return self.third(y) + x


def test_the_chain_ends_where_it_is_none() -> None:
    x = torch.randn(1, 2, 12, 12)
    assert chain(Backwards().eval(), x) == ["first"]
    conv = nn.Conv2d(2, 2, 3, padding=1)
    assert chain(nn.Sequential(conv, nn.ReLU(), conv), x) == []
    circular = nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular")
    assert chain(nn.Sequential(nn.Conv2d(2, 2, 1), circular), x) == ["0"]
    assert chain(nn.Sequential(nn.Conv2d(2, 2, 1), nn.AdaptiveAvgPool2d(4), nn.Conv2d(2, 2, 1)), x) == ["0"]
    assert chain(nn.Sequential(nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU()), nn.Conv2d(2, 2, 1)), x) == [
        "0.0",
        "0.1",
        "1",
    ]
