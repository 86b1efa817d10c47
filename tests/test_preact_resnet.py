"""Pre-activation ResNets: a clean way through, where it starts, and the units against timm's."""

import pytest
import torch
from torch import Tensor, nn

from convatlas import registry
from convatlas.analysis.verify import verify
from convatlas.architectures.classification.preact_resnet import (
    PreActBlock,
    PreActBottleneck,
    PreActBottleneckStride3x3,
    PreResNet,
)

NAMES = ("cifar_preresnet110", "cifar_preresnet164", "cifar_preresnet1001", "preresnet200")


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return registry.build(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_ledger_holds(name: str) -> None:
    assert {row.verdict for row in verify(name)} == {"holds"}


@pytest.mark.parametrize("unit", [PreActBlock, PreActBottleneck, PreActBottleneckStride3x3])
def test_a_unit_without_residual_is_the_identity(unit: type[PreActBlock] | type[PreActBottleneck]) -> None:
    """Nothing on the shortcut: not even the ReLU that the original unit has after its addition."""
    block = unit(4 * unit.expansion, 4, 1)
    last = block.get_submodule("conv3" if unit.expansion == 4 else "conv2")
    assert isinstance(last, nn.Conv2d)
    nn.init.zeros_(last.weight)
    x = torch.randn(2, 4 * unit.expansion, 5, 5)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("name", ["cifar_preresnet110", "cifar_preresnet164"])
def test_shared_activations(name: str) -> None:
    """The shortcut starts after the first activation in the first unit, and where the channels change."""
    shared = {path for path, unit in on_meta(name).named_modules() if getattr(unit, "shared", False)}
    assert shared == {"stage1.1", "stage2.1", "stage3.1"}


def test_a_shared_activation_is_what_the_shortcut_gets() -> None:
    unit = PreActBlock(2, 2, 1).eval()
    nn.init.zeros_(unit.conv2.weight)
    x = torch.randn(1, 2, 3, 3)
    unit.shared = True
    expected = (x / (1 + unit.bn1.eps) ** 0.5).relu()  # running mean 0 and variance 1
    torch.testing.assert_close(unit(x), expected)


def test_option_a_by_hand() -> None:
    unit = PreActBlock(1, 3, 2).eval()
    nn.init.zeros_(unit.conv2.weight)
    unit.bn1.eps = 0.0
    x = torch.tensor([[-1.0, 2, 3], [4, 5, 6], [7, 8, -9]]).view(1, 1, 3, 3)
    assert unit(x).tolist() == [[[[0, 3], [7, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]]]


def test_where_the_strides_are() -> None:
    cifar, imagenet = on_meta("cifar_preresnet164"), on_meta("preresnet200")
    assert cifar.get_submodule("stage2.1.conv1").stride == (2, 2)
    assert cifar.get_submodule("stage2.1.conv2").stride == (1, 1)
    assert imagenet.get_submodule("conv3_x.conv3_1.conv1").stride == (1, 1)
    assert imagenet.get_submodule("conv3_x.conv3_1.conv2").stride == (2, 2)


def test_initialisation_is_the_release_s() -> None:
    torch.manual_seed(0)
    net = registry.build("cifar_preresnet164")
    conv = net.get_submodule("stage3.1.shortcut")
    assert isinstance(conv, nn.Conv2d)
    assert conv.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.05)
    fc = net.get_submodule("fc")
    assert isinstance(fc, nn.Linear)
    assert fc.weight.abs().max().item() == pytest.approx(1 / 16, rel=0.02)
    assert not fc.bias.any()


def test_equals_timm() -> None:
    """timm's pre-activation net has no normalisation before the max pooling; from there on the two are one."""
    resnetv2 = pytest.importorskip("timm.models.resnetv2")
    layers = pytest.importorskip("timm.layers")
    torch.manual_seed(0)
    theirs = resnetv2.ResNetV2(
        layers=(1, 2, 1, 1), num_classes=10, conv_layer=layers.create_conv2d, norm_layer=layers.BatchNormAct2d
    )
    ours = PreResNet((1, 2, 1, 1), num_classes=10, in_channels=3).double().eval()
    theirs = theirs.double().eval()
    randomise_statistics(theirs)
    ours.load_state_dict(from_timm(theirs.state_dict()), strict=False)
    x = torch.randn(2, 64, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs.head(theirs.norm(theirs.stages(x)))
        found = ours.conv5_x(ours.conv4_x(ours.conv3_x(ours.conv2_x(x))))
        found = ours.fc(ours.flatten(ours.pool(ours.relu_final(ours.bn_final(found)))))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10 * float(expected.abs().max()))


def from_timm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's names as ours, of all that comes after the stem."""
    named = {}
    for name, value in state.items():
        parts = name.split(".")
        if parts[0] == "stages":
            stage, block = int(parts[1]) + 2, int(parts[3]) + 1
            leaf = ".".join(parts[4:]).replace("downsample.conv", "shortcut").replace("norm", "bn")
            named[f"conv{stage}_x.conv{stage}_{block}.{leaf}"] = value
        elif parts[0] == "norm":
            named[f"bn_final.{parts[1]}"] = value
        elif parts[0] == "head":
            named[f"fc.{parts[-1]}"] = value.flatten(1) if value.dim() == 4 else value
    return named


def randomise_statistics(net: nn.Module) -> None:
    """Without it all the normalisations are alike, and a mix-up would go unseen."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean):
                assert tensor is not None
                nn.init.normal_(tensor, std=0.5)
            assert layer.running_var is not None
            nn.init.uniform_(layer.running_var, 0.5, 2)


@pytest.mark.parametrize(("name", "size"), [("preresnet200", (65, 40)), ("cifar_preresnet110", (41, 9))])
def test_other_image_sizes(name: str, size: tuple[int, int]) -> None:
    assert on_meta(name)(torch.empty(2, 3, *size, device="meta")).shape == (2, registry.card(name).num_classes)
