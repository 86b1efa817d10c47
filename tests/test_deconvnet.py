"""The deconvnet: its parts by hand, its two forms against each other, and nothing outside the receptive field."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convatlas import registry
from convatlas.analysis.receptive_field import receptive_fields
from convatlas.analysis.trace import trace
from convatlas.errors import ConvatlasError, UsageError
from convatlas.visualise import backward, deconv_steps, deconvnet


def test_values_that_meet_in_overlapping_windows_are_summed() -> None:
    x = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0], [0, 0, 9, 0, 0], [0, 0, 0, 0, 1]])[None, None]  # 9 in both windows
    pooled, switches = nn.functional.max_pool2d(x, 3, 2, return_indices=True)
    assert pooled.flatten().tolist() == [9, 9]
    below = deconv_steps.unpool(torch.tensor([[[[2.0, 5.0]]]]), switches, (3, 5))
    assert below.nonzero().tolist() == [[0, 0, 1, 2]]
    assert below[0, 0, 1, 2] == 7
    lost = nn.functional.max_unpool2d(torch.tensor([[[[2.0, 5.0]]]]), switches, 3, 2, output_size=(3, 5))
    assert lost.sum() in (2, 5)  # why torch's own unpooling is not used: one is lost, which of them the threads decide
    net = nn.Sequential(OrderedDict(pool=nn.MaxPool2d(3, 2)))
    torch.testing.assert_close(
        backward.forward(net, x, "pool", backward.DECONVNET).down(torch.tensor([[[[2.0, 5.0]]]])), below
    )


def test_the_signal_is_rectified_and_not_masked_by_the_image() -> None:
    net = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 2, 1), relu=nn.ReLU(), mix=nn.Conv2d(2, 1, 1)))
    with torch.no_grad():
        net.conv.weight.copy_(torch.tensor([3.0, 5.0]).view(2, 1, 1, 1))
        net.conv.bias.copy_(torch.tensor([-100.0, 0.0]))  # the first map is silent
        net.mix.weight.copy_(torch.tensor([2.0, -7.0]).view(1, 2, 1, 1))
    x, one = torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    # deconvnet: relu(2) * 3 + relu(-7) * 5; guided: the first is masked; the derivative: -7 * 5
    for rule, expected in ((backward.DECONVNET, 6.0), (backward.GUIDED, 0.0), (backward.GRADIENT, -35.0)):
        assert backward.forward(net, x, "mix", rule).down(one).item() == expected


def test_contrast_normalisation_is_passed() -> None:
    net = nn.Sequential(OrderedDict(norm=nn.LocalResponseNorm(5, alpha=1.0)))
    x, signal = torch.rand(1, 8, 2, 2), torch.rand(1, 8, 2, 2)
    seen = backward.forward(net, x, "norm", backward.DECONVNET)
    torch.testing.assert_close(seen.maps, net(x))
    assert torch.equal(seen.down(signal), signal)


class Functional(nn.Module):
    """Calls functions where others have modules, and adds, pads and slices."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.head = nn.Conv2d(8, 3, 2)
        self.inplace = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.relu(self.conv(x))
        beside = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, 2))
        y = torch.cat([torch.relu(y + beside), nn.functional.avg_pool2d(y, 1)], 1)
        return self.inplace(self.head(y))


def test_functional_rectifiers_follow_the_rule_too() -> None:
    torch.manual_seed(0)
    net, x = Functional(), torch.rand(1, 2, 6, 6)
    seen = backward.forward(net, x, "head", backward.DECONVNET)
    signal = torch.randn_like(seen.maps)
    y = net.conv(x).relu()
    below = nn.functional.conv_transpose2d(signal, net.head.weight)
    summed = below[:, :4].relu()
    through = nn.functional.conv_transpose2d((summed + below[:, 4:]).relu(), net.conv.weight, None, 2, 1, 1)
    through[:, :, ::2, ::2] += summed[:, :2]
    torch.testing.assert_close(seen.down(signal), through)
    assert y.shape == summed.shape


NETWORKS = [
    ("alexnet", "fc8"),
    ("zfnet", "pool5"),
    ("googlenet", "inception_4c"),
    ("resnet18", "fc"),
    ("cifar_resnet20", "fc"),
    ("squeezenet_v1_0_complex_bypass", "flatten"),
    ("squeezenet_v1_1", "fire9"),
    pytest.param("vgg16", "fc8", marks=pytest.mark.slow),
    pytest.param("googlenet", "classifier", marks=pytest.mark.slow),
    pytest.param("resnet50", "fc", marks=pytest.mark.slow),
    pytest.param("densenet121", "classification_layer", marks=pytest.mark.slow),
    pytest.param("inception_v3", "fc", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "layer"), NETWORKS)
def test_the_steps_give_what_the_autograd_rule_gives(name: str, layer: str) -> None:
    torch.manual_seed(0)
    net = registry.build(name).double().eval()
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 2)
            assert norm.running_var is not None
            norm.running_var.uniform_(0.5, 2)
    x = torch.randn(1, *registry.card(name).input_shape, dtype=torch.double)
    seen = backward.forward(net, x, layer, backward.DECONVNET)
    signal = torch.rand_like(seen.maps)
    below = seen.down(signal)
    assert below.abs().max() > 0
    stepped = deconv_steps.project(net, x, layer, signal)[-1].signal
    torch.testing.assert_close(stepped / below.abs().max(), below / below.abs().max(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("pool", [
    nn.AvgPool2d(2), nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(3, 2, ceil_mode=True), nn.AdaptiveAvgPool2d(3),
    nn.AvgPool2d(3, 2, 1, count_include_pad=False, ceil_mode=True), nn.AvgPool2d((2, 3), (2, 1)),
])  # fmt: skip
def test_an_average_is_spread_over_its_window(pool: nn.Module) -> None:
    net, x = nn.Sequential(OrderedDict(pool=pool)), torch.rand(1, 2, 8, 7, dtype=torch.double)
    seen = backward.forward(net, x, "pool", backward.DECONVNET)
    signal = torch.rand_like(seen.maps)
    torch.testing.assert_close(deconv_steps.project(net, x, "pool", signal)[-1].signal, seen.down(signal))


@pytest.mark.parametrize(("name", "layer"), [("alexnet", "conv3"), ("zfnet", "pool2"), ("squeezenet_v1_1", "fire5")])
def test_nothing_is_seen_outside_the_receptive_field(name: str, layer: str) -> None:
    torch.manual_seed(0)
    net, shape = registry.build(name), registry.card(name).input_shape
    records = trace(net, shape, device="cpu")
    index = max(record.index for record in records if record.name.split("/")[0].startswith(layer))
    field = receptive_fields(records)[index]
    assert field is not None
    (found,) = deconvnet.project(net, torch.randn(1, *shape), layer, limit=1)
    _, rows, columns = found.signal.nonzero()
    for axis, places in enumerate((rows, columns)):
        start = field.offset[axis] + found.position[axis] * field.stride[axis]
        assert start <= places.min()
        assert places.max() < start + field.size[axis]


def test_the_strongest_unit_of_each_map() -> None:
    net = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 2, 1, bias=False), relu=nn.ReLU()))
    with torch.no_grad():
        net.conv.weight.copy_(torch.tensor([1.0, 10.0]).view(2, 1, 1, 1))
    x = torch.zeros(1, 1, 3, 4)
    x[0, 0, 1, 2] = 3
    first, second = deconvnet.project(net.train(), x, "relu")
    assert (first.map, first.position, first.activation) == (1, (1, 2), 30)
    assert (second.map, second.activation) == (0, 3)
    assert first.signal[0, 1, 2] == 300
    assert np.count_nonzero(first.signal) == 1
    assert net.training
    assert not net.relu._forward_hooks


def test_what_is_not_there_is_named() -> None:
    net, x = registry.build("caffe_lenet"), torch.rand(1, 1, 28, 28)
    with pytest.raises(UsageError, match=r"no layer 'conv3'; expected .* conv2"):
        deconvnet.project(net, x, "conv3")
    with pytest.raises(UsageError, match="map 50 is not in layer 'conv2', which has 50 maps"):
        deconvnet.project(net, x, "conv2", maps=[50])
    with pytest.raises(ConvatlasError, match="LeNet5 can't be walked step by step"):
        deconv_steps.project(registry.build("lenet5"), torch.rand(1, 1, 32, 32), "F6", torch.ones(1, 84))
    with pytest.raises(ConvatlasError, match="a Tanh has no step here"):
        deconv_steps.project(nn.Sequential(OrderedDict(tanh=nn.Tanh())), x, "tanh", x)


def test_the_figure_shows_the_part_that_is_covered() -> None:
    image, signal = np.random.default_rng(0).random((6, 8), np.float32), np.zeros((1, 6, 8), np.float32)
    signal[0, 2, 3], signal[0, 4, 4] = 1, -1
    shown = deconvnet.pair(image, signal)
    assert shown.shape == (3, 5, 3)
    np.testing.assert_array_equal(shown[:, :2, 0], image[2:5, 3:5])
    np.testing.assert_array_equal(shown[:, 3:, 0], [[1, 0.5], [0.5, 0.5], [0.5, 0]])
    found = deconvnet.Projection("conv1", 3, (1, 1), 0.5, signal)
    assert sum(bool(axis.images) for axis in deconvnet.figure(image, [found] * 6).axes) == 7
