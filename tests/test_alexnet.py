"""AlexNet and its neighbours: the layers that libraries get wrong, by hand, and the whole against torchvision."""

import pytest
import torch
from torch import nn

from convatlas import registry
from convatlas.architectures.classification.alexnet import AlexNet, AlexNetOWT, CaffeNet


@pytest.fixture(scope="module")
def alexnet() -> AlexNet:
    torch.manual_seed(0)
    return AlexNet(num_classes=10)


@pytest.fixture(scope="module")
def caffenet() -> CaffeNet:
    torch.manual_seed(0)
    return CaffeNet(num_classes=10)


def parameters(name: str) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in registry.build(name).parameters())


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("alexnet", 60_965_224),
        ("caffenet", 60_965_224),
        ("alexnet_owt", 61_100_840),
        ("alexnet_ungrouped", 62_378_344),
    ],
)
def test_parameters(name: str, count: int) -> None:
    assert parameters(name) == count


def test_paper_does_not_divide_alpha(alexnet: AlexNet) -> None:
    """One pixel of six maps valued 1 to 6, as the formula of section 3.3 has it."""
    a = torch.tensor([1.0, 2, 3, 4, 5, 6], dtype=torch.float64)
    squares = [1 + 4 + 9, 1 + 4 + 9 + 16, 1 + 4 + 9 + 16 + 25, 4 + 9 + 16 + 25 + 36, 9 + 16 + 25 + 36, 16 + 25 + 36]
    expected = torch.tensor([v / (2 + 1e-4 * s) ** 0.75 for v, s in zip(a.tolist(), squares, strict=True)])
    torch.testing.assert_close(
        alexnet.get_submodule("norm1")(a.view(1, 6, 1, 1)).flatten(), expected.double(), rtol=1e-7, atol=0
    )


def test_caffe_divides_alpha_and_starts_from_one(caffenet: CaffeNet) -> None:
    a = torch.full((1, 5, 1, 1), 100.0, dtype=torch.float64)
    middle = caffenet.get_submodule("norm1")(a)[0, 2, 0, 0].item()
    assert middle == pytest.approx(100 / (1 + 1e-4 / 5 * 5 * 100**2) ** 0.75, rel=1e-9)


def test_order_of_normalisation_and_pooling(alexnet: AlexNet, caffenet: CaffeNet) -> None:
    names, caffe_names = list(dict(alexnet.named_children())), list(dict(caffenet.named_children()))
    assert names[:4] == ["conv1", "relu1", "norm1", "pool1"]
    assert names[5:8] == ["relu2", "norm2", "pool2"]
    assert caffe_names[:4] == ["conv1", "relu1", "pool1", "norm1"]
    assert caffe_names[5:8] == ["relu2", "pool2", "norm2"]


@pytest.mark.parametrize("layer", ["conv2", "conv4", "conv5"])
def test_each_half_sees_only_its_gpu(alexnet: AlexNet, layer: str) -> None:
    conv = alexnet.get_submodule(layer)
    assert isinstance(conv, nn.Conv2d)
    x = torch.randn(1, conv.in_channels, 5, 5, requires_grad=True)
    conv(x)[:, : conv.out_channels // 2].sum().backward()
    assert x.grad is not None
    own, other = x.grad.split(conv.in_channels // 2, dim=1)
    assert own.abs().min() > 0
    assert other.abs().max() == 0


def test_conv3_sees_both_gpus(alexnet: AlexNet) -> None:
    x = torch.randn(1, 256, 5, 5, requires_grad=True)
    alexnet.get_submodule("conv3")(x)[:, :192].sum().backward()
    assert x.grad is not None
    assert x.grad.abs().amin() > 0


def test_without_groups_every_map_sees_all() -> None:
    with torch.device("meta"):
        net = registry.build("alexnet_ungrouped")
    assert {layer.groups for layer in net.modules() if isinstance(layer, nn.Conv2d)} == {1}


def test_initialisation(alexnet: AlexNet) -> None:
    ones = {"conv2", "conv4", "conv5", "fc6", "fc7"}
    for name, layer in alexnet.named_children():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            assert layer.weight.std().item() == pytest.approx(0.01, rel=0.02)
            assert layer.get_parameter("bias").unique().tolist() == [1.0 if name in ones else 0.0]


def test_caffe_initialisation(caffenet: CaffeNet) -> None:
    assert caffenet.get_parameter("fc6.weight").std().item() == pytest.approx(0.005, rel=0.02)
    assert caffenet.get_parameter("fc7.weight").std().item() == pytest.approx(0.005, rel=0.02)
    assert caffenet.get_parameter("fc8.weight").std().item() == pytest.approx(0.01, rel=0.02)
    assert caffenet.get_parameter("conv3.bias").unique().tolist() == [0.0]
    assert caffenet.get_parameter("conv4.bias").unique().tolist() == [1.0]


@pytest.mark.parametrize(
    ("network", "places"),
    [
        (AlexNet, {"drop6": "fc7", "drop7": "fc8"}),
        (CaffeNet, {"drop6": "fc7", "drop7": "fc8"}),
        (AlexNetOWT, {"drop5": "fc6", "drop6": "fc7"}),
    ],
)
def test_dropout_stands_before_its_layer(network: type[nn.Sequential], places: dict[str, str]) -> None:
    with torch.device("meta"):
        net = network()
    children = list(net.named_children())
    following = {name: children[i + 1][0] for i, (name, child) in enumerate(children) if isinstance(child, nn.Dropout)}
    assert following == places


def test_dropout_halves_and_doubles_in_training_only(alexnet: AlexNet) -> None:
    torch.manual_seed(0)
    drop = alexnet.get_submodule("drop6")
    x = torch.ones(10_000)
    y = drop.train()(x)
    assert set(y.tolist()) == {0.0, 2.0}
    assert y.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(drop.eval()(x), x)


def test_owt_equals_torchvision() -> None:
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    theirs = models.alexnet(num_classes=7).double().eval()
    ours = AlexNetOWT(num_classes=7).double().eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    for size in (224, 130):
        x = torch.randn(1, 3, size, size, dtype=torch.float64)
        with torch.no_grad():
            torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-10)
