"""What input sizes a network takes, and what it says of those that do not fit."""

import copy
import pickle

import pytest
import torch
from torch import nn

from convatlas import registry
from convatlas.analysis.trace import build_on_meta, trace_network
from convatlas.errors import UsageError
from convatlas.sizes import Sizes, find_sizes

ANY = Sizes(1, None)
SIZES = {  # counted from the layers; the longest beginning of a name holds
    "": ANY,
    **dict.fromkeys(("alexnet", "caffenet"), Sizes(227, 258)),
    "alexnet_owt": Sizes(63, None),
    "caffe_lenet": Sizes(28, 31),
    "cifar_densenet": Sizes(4, None),
    "ciresan": Sizes(29, 29),
    "densenet": Sizes(29, None),
    "enet_encoder": Sizes(8, None, step=2),
    "fractalnet": Sizes(32, 63),
    "googlenet": Sizes(31, None),
    "googlenet_bn": Sizes(15, None),
    "highway": Sizes(4, None),
    **dict.fromkeys(("hog_svm", "sift_bow_svm"), Sizes(64, 64)),
    "inception": Sizes(75, None),
    "lenet5": Sizes(32, 32),
    "lenet_1989": Sizes(15, 16),
    "mcdnn_cifar10": Sizes(32, 47),
    "mcdnn_gtsrb": Sizes(48, 55),
    "mcdnn_mnist": Sizes(29, 34),
    "neocognitron_1980": Sizes(16, None),
    "neocognitron_handwriting": Sizes(16, None),
    "nin_cifar10": Sizes(4, None),
    "nin_imagenet": Sizes(39, None),
    "overfeat_accurate": Sizes(221, 256),
    "overfeat_fast": Sizes(231, 262),
    "perceptron": Sizes(20, 20),
    "sppnet": Sizes(31, None),
    "squeezenet_v1_0": Sizes(21, None),
    "squeezenet_v1_1": Sizes(17, None),
    "vgg": Sizes(224, 255),
    "xception": Sizes(7, None),
    "zfnet": Sizes(207, 238),
}


def expected(name: str) -> Sizes:
    return SIZES[max((beginning for beginning in SIZES if name.startswith(beginning)), key=len)]


def run(net: nn.Module, name: str, side: int) -> None:
    net(torch.empty(1, registry.card(name).input_shape[0], side, side, device="meta"))


SLOW = ("1001", "1202", "1202_released", "thin_c4", "thin_c5", "thin_c6", "fractalnet40")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name.endswith(SLOW) else ())
     for name in registry.names("classification")],
)  # fmt: skip
def test_every_network_takes_its_sizes_and_names_them(name: str) -> None:
    sizes, net = expected(name), build_on_meta(name).eval()
    run(net, name, sizes.smallest)
    for side in (sizes.smallest - 1, sizes.largest and sizes.largest + 1, sizes.step > 1 and sizes.smallest + 1):
        if side:
            with pytest.raises(UsageError, match=f"input is {side} x {side} pixels; .* takes {sizes} along each axis"):
                run(net, name, side)


@pytest.mark.parametrize(
    ("sizes", "text", "inside", "outside"),
    [(Sizes(63, None), "at least 63 pixels", (63, 64, 500), (62,)),
     (Sizes(32, 32), "32 pixels", (32,), (31, 33)),
     (Sizes(227, 258), "227 to 258 pixels", (227, 258), (226, 259)),
     (Sizes(8, None, step=2), "at least 8 pixels in steps of 2", (8, 10), (6, 9))],
)  # fmt: skip
def test_sizes_read_as_they_are_meant(sizes: Sizes, text: str, inside: tuple, outside: tuple) -> None:
    assert str(sizes) == text
    assert all(side in sizes for side in inside)
    assert not any(side in sizes for side in outside)


class Strict(nn.Module):
    """Takes heights from 10 to 50 in steps of 5, and widths from 3 on."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2:]
        if height % 5 or not 10 <= height <= 50 or width < 3:
            raise ValueError(f"{height} x {width}")
        return x


def test_each_axis_has_its_own_sizes() -> None:
    assert find_sizes(Strict(), (3, 20, 30)) == (Sizes(10, 50, step=5), Sizes(3, None))
    assert find_sizes(Strict(), (3, 21, 30)) == (None, None)


def test_a_search_leaves_the_network_and_its_hooks_alone() -> None:
    net = registry.build("caffe_lenet").train()
    state, heard = copy.deepcopy(net.state_dict()), []
    net.register_forward_hook(lambda *_: heard.append(1))
    net.get_submodule("conv1").register_forward_hook(lambda *_: heard.append(2))
    assert find_sizes(net, (1, 28, 28)) == 2 * (Sizes(28, 31),)
    assert heard == []
    assert net.training
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


def test_the_smallest_size_depends_on_what_normalisation_needs() -> None:
    net = nn.Sequential(nn.MaxPool2d(2), nn.BatchNorm2d(3))
    assert find_sizes(net.train(), (3, 8, 8), samples=1) == 2 * (Sizes(4, None),)  # one value a map is not enough
    assert find_sizes(net.train(), (3, 8, 8), samples=2) == 2 * (Sizes(2, None),)
    assert find_sizes(net.eval(), (3, 8, 8), samples=1) == 2 * (Sizes(2, None),)


def test_only_the_size_is_explained() -> None:
    net = registry.build("caffe_lenet")
    with pytest.raises(RuntimeError, match="expected input"):
        net(torch.empty(1, 3, 28, 28))  # channels
    with pytest.raises(RuntimeError, match="type"):
        net(torch.empty(1, 1, 28, 28, dtype=torch.float64))
    with pytest.raises(UsageError, match="input is 27 x 30 pixels; CaffeLeNet takes 28 to 31 pixels") as caught:
        net(torch.empty(1, 1, 27, 30))
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_signals_and_volumes_have_sizes_too() -> None:
    for dims, given in ((1, "20"), (3, "20 x 20 x 20")):
        net = registry.build("caffe_lenet", dims=dims)
        with pytest.raises(UsageError, match=f"input is {given} pixels; CaffeLeNet takes 28 to 31 pixels along"):
            net(torch.empty(1, 1, *dims * (20,)))


def test_a_changed_network_is_judged_as_it_is() -> None:
    net = registry.build("alexnet_owt", num_classes=3)
    net.add_module("average", nn.Identity())  # without the averaging, fc6 sees maps of one size only
    with torch.no_grad(), pytest.raises(UsageError, match="takes 223 to 254 pixels along each axis"):
        net.eval()(torch.empty(1, 3, 100, 100))


def test_show_names_them() -> None:
    with pytest.raises(UsageError, match="input is 30 x 30 pixels; LeNet5 takes 32 pixels along each axis"):
        trace_network("lenet5", (1, 30, 30))


def test_copies_and_exports_are_as_without() -> None:
    net = registry.build("caffe_lenet").eval()
    x = torch.randn(1, 1, 28, 28)
    assert vars(net).keys() == vars(nn.Sequential()).keys() | {"card"}
    with torch.no_grad():
        for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), torch.export.export(net, (x,)).module()):
            assert torch.equal(other(x), net(x))
    graph = torch.compile(net, backend="eager", fullgraph=True)
    assert torch.equal(graph(x), net(x))
    assert copy.deepcopy(net).card == net.card == registry.card("caffe_lenet")
