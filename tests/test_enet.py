"""ENet's encoder: its two kinds of blocks by hand, what it hands to a decoder, and the mean over regions."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convatlas import registry
from convatlas.analysis.verify import verify
from convatlas.architectures.classification.enet import Bottleneck, DownsamplingBottleneck, ENetEncoder, Initial
from convatlas.blocks.unpool import SwitchUnpool2d
from convatlas.errors import UsageError


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def net() -> ENetEncoder:
    return ENetEncoder(num_classes=5, in_channels=3).eval()


def test_no_row_of_the_ledger_fails() -> None:
    assert [row for row in verify("enet_encoder") if row.verdict != "holds"] == []


def test_initial_sets_the_pooled_image_beside_13_filters() -> None:
    initial = Initial(3).eval()
    initial.bn.eps = 0
    x = torch.rand(1, 3, 6, 8)
    y = initial(x)
    assert y.shape == (1, 16, 3, 4)
    torch.testing.assert_close(y[:, 13:], F.max_pool2d(x, 2))
    assert initial.prelu.weight.tolist() == [0.25] * 16


def silent(block: Bottleneck | DownsamplingBottleneck) -> None:
    """A branch of convolutions that gives nothing."""
    nn.init.zeros_(block.bn3.weight)


def test_a_bottleneck_adds_to_its_input() -> None:
    block = Bottleneck(8).eval()
    x = torch.randn(1, 8, 4, 4)
    assert not torch.allclose(block(x), F.leaky_relu(x, 0.25))
    silent(block)
    assert torch.equal(block(x), F.leaky_relu(x, 0.25))


def test_downsampling_pads_new_maps_with_zeros_and_tells_the_places() -> None:
    block = DownsamplingBottleneck(1, 4).eval()
    silent(block)
    y, switches = block(torch.tensor([[[[1.0, 2, 0, 0], [4, 3, 0, 9]]]]))
    assert y.tolist() == [[[[4, 9]], [[0, 0]], [[0, 0]], [[0, 0]]]]
    assert switches.places.tolist() == [[[[4, 7]]]]
    assert SwitchUnpool2d()(y[:, :1], switches).tolist() == [[[[0, 0, 0, 0], [4, 0, 0, 9]]]]


def test_convolutions_of_stages_2_and_3() -> None:
    with torch.device("meta"):
        net = registry.build("enet_encoder")
    kinds = []
    for path in [f"bottleneck2.{i}" for i in range(1, 9)] + [f"bottleneck3.{i}" for i in range(8)]:
        middle = [m for name, m in net.get_submodule(path).named_children() if name.startswith("conv2")]
        kinds.append([(m.kernel_size, m.dilation[0]) for m in middle if isinstance(m, nn.Conv2d)])
    square, asymmetric = (3, 3), [((1, 5), 1), ((5, 1), 1)]
    eight = [[(square, 1)], [(square, 2)], asymmetric, [(square, 4)], [(square, 1)], [(square, 8)], asymmetric]
    assert kinds == [*eight, [(square, 16)]] * 2


def test_spatial_dropout_drops_whole_maps_and_more_so_after_stage_1(net: ENetEncoder) -> None:
    rates = {name: m.p for name, m in net.named_modules() if isinstance(m, nn.Dropout2d)}
    assert len(rates) == 22
    assert {rate for name, rate in rates.items() if name.startswith("bottleneck1.")} == {0.01}
    assert {rate for name, rate in rates.items() if not name.startswith("bottleneck1.")} == {0.1}
    dropped = net.get_submodule("bottleneck2.1.dropout").train()(torch.ones(1, 500, 2, 2)).flatten(2)
    assert torch.equal(dropped.amin(2), dropped.amax(2))


def test_the_image_is_the_mean_of_its_regions(net: ENetEncoder) -> None:
    x = torch.randn(2, 3, 64, 32)
    regions = net.classify_regions(x)
    assert regions.shape == (2, 5, 8, 4)
    torch.testing.assert_close(net(x), regions.mean((2, 3)))


def test_a_decoder_gets_features_and_places(net: ENetEncoder) -> None:
    features, (first, second) = net.encode(torch.randn(1, 3, 64, 32))
    assert features.shape == (1, 128, 8, 4)
    assert (first.places.shape, first.size) == ((1, 16, 16, 8), (32, 16))
    assert (second.places.shape, second.size) == ((1, 64, 8, 4), (16, 8))


@pytest.mark.parametrize("size", [(8, 8), (10, 24), (360, 640)])
def test_even_sizes_fit(size: tuple[int, int]) -> None:
    with torch.device("meta"):
        assert registry.build("enet_encoder").eval()(torch.empty(1, 3, *size)).shape == (1, 1000)


def test_more_channels_than_the_next_stage_has_maps() -> None:
    assert ENetEncoder(num_classes=2, in_channels=51).eval()(torch.randn(1, 51, 16, 16)).shape == (1, 2)
    with pytest.raises(UsageError, match="in_channels is 52; expected at most 51"):
        ENetEncoder(num_classes=2, in_channels=52)


@pytest.mark.slow
def test_eight_images_are_learnt_by_heart() -> None:
    net, x, labels = ENetEncoder(num_classes=8, in_channels=3), torch.randn(8, 3, 32, 32), torch.arange(8)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        F.cross_entropy(net(x), labels).backward()
        optimizer.step()
    assert (net(x).argmax(1) == labels).sum() >= 7
