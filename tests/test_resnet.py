"""ResNets: where the stride is, what the shortcuts do, and the whole against torchvision."""

import pytest
import torch
from torch import Tensor, nn

from convatlas import registry
from convatlas.architectures.classification.cifar_resnet import CifarBlock
from convatlas.architectures.classification.resnet import BasicBlock, Bottleneck, BottleneckStride3x3
from convatlas.blocks.residual import SubsampleAndPad

COUNTS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet50_v1_5": 25_557_032,
    "resnet101_v1_5": 44_549_160,
    "resnet152_v1_5": 60_192_808,
    "cifar_resnet20": 269_722,
    "cifar_resnet32": 464_154,
    "cifar_resnet44": 658_586,
    "cifar_resnet56": 853_018,
    "cifar_resnet110": 1_727_962,
    "cifar_resnet1202": 19_421_274,
}


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return registry.build(name)


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_parameters(name: str, count: int) -> None:
    assert sum(p.numel() for p in on_meta(name).parameters()) == count


@pytest.mark.parametrize("name", [name for name in COUNTS if "v1_5" not in name])
def test_weight_layers_are_those_of_the_name(name: str) -> None:
    layers = [
        path
        for path, layer in on_meta(name).named_modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and "shortcut" not in path
    ]
    assert f"resnet{len(layers)}" in name


@pytest.mark.parametrize("depth", [50, 101, 152])
def test_published_bottlenecks_stride_in_the_first_1x1(depth: int) -> None:
    published, common = on_meta(f"resnet{depth}"), on_meta(f"resnet{depth}_v1_5")
    for stage in (3, 4, 5):
        block = f"conv{stage}_x.conv{stage}_1"
        assert published.get_submodule(f"{block}.conv1").stride == (2, 2)
        assert published.get_submodule(f"{block}.conv2").stride == (1, 1)
        assert common.get_submodule(f"{block}.conv1").stride == (1, 1)
        assert common.get_submodule(f"{block}.conv2").stride == (2, 2)
        assert common.get_submodule(f"{block}.shortcut.conv").stride == (2, 2)


def test_option_b_projects_only_where_dimensions_change() -> None:
    shortcuts = {
        path: type(layer).__name__ for path, layer in on_meta("resnet34").named_modules() if path.endswith("shortcut")
    }
    projected = {path for path, kind in shortcuts.items() if kind == "Sequential"}
    assert projected == {"conv3_x.conv3_1.shortcut", "conv4_x.conv4_1.shortcut", "conv5_x.conv5_1.shortcut"}
    assert set(shortcuts.values()) == {"Sequential", "Identity"}


def test_option_a_by_hand() -> None:
    x = torch.arange(9.0).view(1, 1, 3, 3)
    y = SubsampleAndPad(1, 3, stride=2)(x)
    assert y.tolist() == [[[[0, 2], [6, 8]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]]]
    assert SubsampleAndPad(1, 2, stride=2)(x[..., :2, :2]).tolist() == [[[[0]], [[0]]]]


def test_option_a_has_no_parameters() -> None:
    assert not [name for name, _ in on_meta("cifar_resnet20").named_parameters() if "shortcut" in name]


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck, BottleneckStride3x3, CifarBlock])
def test_block_without_residual_is_the_rectified_shortcut(block: type[nn.Module]) -> None:
    """With gamma 0 in its last normalisation a block passes relu(x): the ReLU comes after the addition."""
    channels = 16 * getattr(block, "expansion", 1)
    unit = block(channels, 16, 1)
    last = unit.get_submodule("bn3" if "Bottleneck" in block.__name__ else "bn2")
    assert isinstance(last, nn.BatchNorm2d)
    nn.init.zeros_(last.weight)
    x = torch.randn(2, channels, 5, 5)
    torch.testing.assert_close(unit(x), x.relu())


@pytest.mark.parametrize("name", ["resnet18", "cifar_resnet20"])
def test_initialisation(name: str) -> None:
    torch.manual_seed(0)
    for path, layer in registry.build(name).named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.weight.unique().tolist() == [1.0]
            assert layer.bias.unique().tolist() == [0.0]
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 10_000:
            fan_in = layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
            assert layer.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05), path


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("resnet18", "resnet18"),
        ("resnet34", "resnet34"),
        ("resnet50_v1_5", "resnet50"),
        pytest.param("resnet101_v1_5", "resnet101", marks=pytest.mark.slow),
        pytest.param("resnet152_v1_5", "resnet152", marks=pytest.mark.slow),
    ],
)
def test_equals_torchvision(ours: str, theirs: str) -> None:
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    reference = models.get_model(theirs, num_classes=7).double().eval()
    net = registry.build(ours, num_classes=7).double().eval()
    randomise_statistics(reference)
    net.load_state_dict(dict(zip(net.state_dict(), reference.state_dict().values(), strict=True)))
    x = torch.randn(1, 3, 75, 64, dtype=torch.float64)
    with torch.no_grad():
        expected = reference(x)
        torch.testing.assert_close(net(x), expected, rtol=0, atol=1e-10 * float(expected.abs().max()))


def randomise_statistics(net: nn.Module) -> None:
    """Without it all the normalisations are alike, and a mix-up would go unseen."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            tensors: list[Tensor | None] = [layer.weight, layer.bias, layer.running_mean]
            for tensor in tensors:
                assert tensor is not None
                nn.init.normal_(tensor, std=0.5)
            assert layer.running_var is not None
            nn.init.uniform_(layer.running_var, 0.5, 2)


def test_published_resnet50_differs_from_torchvision() -> None:
    """The same weights, the other stride: the two must not be mistaken for each other."""
    torch.manual_seed(0)
    common, published = registry.build("resnet50_v1_5").eval(), registry.build("resnet50").eval()
    published.load_state_dict(common.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(common(x), published(x))


@pytest.mark.parametrize(("name", "size"), [("resnet18", (160, 231)), ("cifar_resnet20", (64, 41))])
def test_other_image_sizes(name: str, size: tuple[int, int]) -> None:
    with torch.device("meta"):
        assert registry.build(name)(torch.empty(2, 3, *size)).shape == (2, registry.card(name).num_classes)
