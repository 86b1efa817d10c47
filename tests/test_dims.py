"""One set of names for the layers of signals, images and volumes."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from convatlas import registry
from convatlas.architectures.classification.caffe_lenet import CaffeLeNet
from convatlas.architectures.classification.cifar_resnet import CifarResNet
from convatlas.architectures.classification.lenet import SubSampling
from convatlas.blocks.dims import BATCH_NORMS, CONVS, layers
from convatlas.blocks.residual import SubsampleAndPad
from convatlas.errors import UsageError


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_every_layer_is_of_its_dims(dims: int) -> None:
    of = layers(dims)
    found = {field.name: getattr(of, field.name) for field in dataclasses.fields(of) if field.name != "dims"}
    assert all(cls.__name__.endswith(f"{dims}d") for cls in found.values())
    assert of.dims == dims
    assert of.conv in CONVS
    assert of.batch_norm in BATCH_NORMS


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_small_stack_runs(dims: int) -> None:
    of = layers(dims)
    net = nn.Sequential(
        of.conv(2, 3, 3, padding=1, bias=False),
        of.batch_norm(3),
        of.max_pool(3, stride=2, ceil_mode=True),
        of.map_dropout(0.5),
        of.avg_pool(2),
        of.adaptive_avg_pool(1),
    )
    assert net(torch.randn(2, 2, *dims * (8,))).shape == (2, 3, *dims * (1,))
    assert sum(p.numel() for p in net.parameters()) == 2 * 3 * 3**dims + 2 * 3


@pytest.mark.parametrize("dims", [0, 4])
def test_other_dims_are_refused(dims: int) -> None:
    with pytest.raises(UsageError, match=f"dims is {dims}; expected 1"):
        layers(dims)


@pytest.mark.parametrize("name", ["resnet18", "cifar_resnet20"])
def test_images_are_the_default(name: str) -> None:
    """The 2-D network keeps its layers, names and shapes, and draws its weights as before."""
    torch.manual_seed(0)
    implied = registry.build(name, num_classes=5)
    torch.manual_seed(0)
    stated = registry.card(name).builder(num_classes=5, in_channels=3, dims=2)
    assert not any(type(layer).__name__.endswith(("1d", "3d")) for layer in stated.modules())
    for (path, value), (other_path, other) in zip(implied.named_parameters(), stated.named_parameters(), strict=True):
        assert path == other_path
        assert torch.equal(value, other)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet50_stride3x3", "cifar_resnet20"])
@pytest.mark.parametrize("dims", [1, 3])
def test_resnets_of_signals_and_volumes(name: str, dims: int) -> None:
    """The same layers with kernels of as many axes: 3 x 3 = 9 weights become 3 or 27."""
    card = registry.card(name)
    with torch.device("meta"):
        images = registry.build(name, num_classes=5)
        net = card.builder(num_classes=5, in_channels=3, dims=dims)
        assert net(torch.empty(2, 3, *dims * (33,))).shape == (2, 5)
    shapes = {path: p.shape for path, p in net.named_parameters()}
    assert shapes.keys() == {path for path, _ in images.named_parameters()}
    for path, p in images.named_parameters():
        expected = (*p.shape[:2], *dims * (p.shape[2],)) if p.dim() == 4 else p.shape
        assert shapes[path] == expected, path


def test_option_a_of_a_signal_by_hand() -> None:
    signal = torch.arange(5.0).view(1, 1, 5)
    assert SubsampleAndPad(1, 2, stride=2)(signal).tolist() == [[[0, 2, 4], [0, 0, 0]]]
    volume = torch.arange(27.0).view(1, 1, 3, 3, 3)
    assert SubsampleAndPad(1, 1, stride=2)(volume).tolist() == [[[[[0, 2], [6, 8]], [[18, 20], [24, 26]]]]]


def _fit(net: nn.Module, x: Tensor, labels: Tensor, steps: int) -> None:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.01, steps)
    for step in range(steps):
        batch = torch.arange(step * 32, step * 32 + 32) % len(labels)
        loss = nn.functional.cross_entropy(net(x[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()


def test_a_resnet_of_signals_tells_frequencies_apart() -> None:
    """Sines of 2, 4, 6 and 8 periods with any phase, in noise: new ones are told apart."""
    torch.manual_seed(0)

    def sines(count: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(4, (count,))
        periods, phases = 2.0 * (labels + 1), torch.rand(count)
        time = torch.linspace(0, 1, 64)
        turns = periods[:, None] * time + phases[:, None]
        return (torch.sin(2 * torch.pi * turns) + 0.3 * torch.randn(count, 64))[:, None], labels

    net = CifarResNet(8, num_classes=4, in_channels=1, dims=1)
    _fit(net, *sines(256), steps=40)
    x, labels = sines(200)
    with torch.no_grad():
        error = (net.eval()(x).argmax(1) != labels).float().mean().item()
    assert error <= 0.05


def test_a_resnet_of_volumes_tells_axes_apart() -> None:
    """A rod along one of three axes, anywhere in a volume of noise: new ones are told apart."""
    torch.manual_seed(0)

    def rods(count: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(3, (count,))
        volumes = 0.3 * torch.randn(count, 1, 8, 8, 8)
        for volume, axis in zip(volumes, labels.tolist(), strict=True):
            place: list[slice | int] = torch.randint(8, (3,)).tolist()
            place[axis] = slice(None)
            volume[0][tuple(place)] += 2
        return volumes, labels

    net = CifarResNet(8, num_classes=3, in_channels=1, dims=3)
    _fit(net, *rods(640), steps=40)
    x, labels = rods(100)
    with torch.no_grad():
        error = (net.eval()(x).argmax(1) != labels).float().mean().item()
    assert error <= 0.1


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_lenets_of_every_dims(dims: int) -> None:
    net = CaffeLeNet(dims=dims, in_channels=2)
    assert net(torch.randn(2, 2, *dims * (28,))).shape == (2, 10)
    assert net.get_parameter("ip1.weight").shape == (500, 50 * 4**dims)
    net = registry.build("lenet5", dims=dims, in_channels=2)
    assert net(torch.randn(2, 2, *dims * (32,))).shape == (2, 10)
    assert net.get_parameter("C3.weight").shape == (60, *dims * (5,))
    assert net.get_parameter("C5.weight").abs().max().item() == pytest.approx(2.4 / (16 * 5**dims), rel=0.01)


def test_sub_sampling_of_a_signal_and_a_volume_by_hand() -> None:
    for dims, x in ((1, torch.tensor([1.0, 2, 3, 5])), (3, torch.ones(2, 2, 4))):
        layer = SubSampling(1, dims=dims)
        nn.init.constant_(layer.coefficient, 0.5)
        nn.init.constant_(layer.bias, 1.0)
        assert layer(x[None, None]).flatten().tolist() == ([2.5, 5] if dims == 1 else [5, 5])
