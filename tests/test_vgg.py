"""VGG: the columns of table 1, the whole against torchvision, the dense evaluation, and the start from net A."""

import pytest
import torch
from torch import Tensor, nn

from convatlas import registry
from convatlas.analysis.verify import verify
from convatlas.architectures.classification.vgg import FROM_A, VGG, start_from
from convatlas.blocks.dims import CONVS
from convatlas.errors import UsageError
from convatlas.records import StartsFromOthers

NAMES = ["vgg_a", "vgg_a_lrn", "vgg_b", "vgg_c", "vgg_d", "vgg_e"]


def convolutions(net: nn.Module) -> dict[str, tuple[int, int, int]]:
    """(in, out, filter side) of each convolution."""
    return {
        name: (layer.in_channels, layer.out_channels, layer.kernel_size[0])
        for name, layer in net.named_modules()
        if isinstance(layer, CONVS)
    }


@pytest.mark.parametrize("name", NAMES)
def test_ledger_holds(name: str) -> None:
    assert [row for row in verify(name) if row.verdict != "holds"] == []


def test_the_usual_names() -> None:
    usual = ("vgg11", "vgg13", "vgg16", "vgg16c", "vgg19")
    assert [registry.card(name).name for name in usual] == ["vgg_a", "vgg_b", "vgg_d", "vgg_c", "vgg_e"]


def test_c_is_d_with_small_filters() -> None:
    with torch.device("meta"):
        c, d = convolutions(VGG("C")), convolutions(VGG("D"))
    differing = {name for name in d if c[name] != d[name]}
    assert c.keys() == d.keys()
    assert differing == {"conv3_3", "conv4_3", "conv5_3"}
    assert all(c[name] == (*d[name][:2], 1) for name in differing)


@pytest.fixture(scope="module")
def classifier() -> dict[str, Tensor]:
    """Random weights of fc6, fc7 and fc8, which have the same shapes in all columns."""
    torch.manual_seed(1)
    shapes = {"fc6": (4096, 25088), "fc7": (4096, 4096), "fc8": (10, 4096)}
    tensors = {}
    for name, (outputs, inputs) in shapes.items():
        tensors[f"{name}.weight"] = torch.empty(outputs, inputs, dtype=torch.float64).uniform_(-0.02, 0.02)
        tensors[f"{name}.bias"] = torch.empty(outputs, dtype=torch.float64).uniform_(-0.1, 0.1)
    return tensors


@pytest.mark.parametrize(("column", "theirs"), [("A", "vgg11"), ("B", "vgg13"), ("D", "vgg16"), ("E", "vgg19")])
def test_equals_torchvision(column: str, theirs: str, classifier: dict[str, Tensor]) -> None:
    """On 32 px, where torchvision spreads the last position over the 7 x 7 map that fc6 sees."""
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    with torch.device("meta"):
        peer, ours = models.get_model(theirs, num_classes=10).eval(), VGG(column, num_classes=10).eval()
    weights = {
        name: torch.randn(value.shape, dtype=torch.float64) * (2 / value[0].numel()) ** 0.5
        for name, value in ours.state_dict().items()
        if name.startswith("conv")
    } | classifier
    ours.load_state_dict(weights, assign=True)
    peer.load_state_dict(dict(zip(peer.state_dict(), weights.values(), strict=True)), assign=True)
    layers = list(ours)
    cut = list(dict(ours.named_children())).index("flatten")
    whole = nn.Sequential(*layers[:cut], nn.AdaptiveAvgPool2d(7), *layers[cut:]).eval()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        expected = peer(x)
        assert expected.std() > 1e-3
        torch.testing.assert_close(whole(x), expected, rtol=0, atol=1e-10)


def test_normalisation_stands_between_rectification_and_pooling() -> None:
    with torch.device("meta"):
        net = VGG("A-LRN")
    names = list(dict(net.named_children()))
    assert names[:4] == ["conv1_1", "relu1_1", "lrn", "pool1"]
    middle = net.get_submodule("lrn")(torch.full((1, 5, 1, 1), 100.0, dtype=torch.float64))[0, 2, 0, 0].item()
    assert middle == pytest.approx(100 / (2 + 1e-4 * 5 * 100**2) ** 0.75, rel=1e-9)


def test_initialisation_has_the_printed_variance() -> None:
    torch.manual_seed(0)
    net = VGG("A", side=32, num_classes=10)
    for layer in net:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            assert layer.weight.var().item() == pytest.approx(0.01, rel=0.1)
            assert layer.get_parameter("bias").abs().max() == 0


def test_deeper_nets_start_from_a() -> None:
    torch.manual_seed(0)
    shallower, deeper = VGG("A", side=32, num_classes=5), VGG("D", side=32, num_classes=5)
    before = {name: value.clone() for name, value in deeper.state_dict().items()}
    assert start_from(deeper, shallower) == FROM_A
    after, source = deeper.state_dict(), shallower.state_dict()
    changed = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"conv1_1", "conv2_1", "conv3_1", "conv3_2", "fc6", "fc7", "fc8"} == set(FROM_A)
    assert all(torch.equal(after[name], source[name]) for name in after if name.split(".")[0] in changed)


def test_weights_of_net_a_start_a_deeper_net_as_training_does() -> None:
    shallower, deeper = VGG("A", side=32, num_classes=5), VGG("D", side=32, num_classes=5)
    before = {name: value.clone() for name, value in deeper.state_dict().items()}
    taken = deeper.start_from(shallower.state_dict())
    after = deeper.state_dict()
    assert {name.rpartition(".")[0] for name in taken} == set(FROM_A)
    assert all(torch.equal(after[name], shallower.state_dict()[name]) for name in taken)
    assert all(torch.equal(after[name], before[name]) for name in after if name not in taken)
    assert isinstance(deeper, StartsFromOthers)
    headless = {name: value for name, value in shallower.state_dict().items() if not name.startswith("fc8")}
    assert not any(name.startswith("fc8") for name in deeper.start_from(headless))  # for other classes
    with pytest.raises(UsageError, match=r"lack conv1_1\.weight"):
        deeper.start_from({})
    with pytest.raises(UsageError, match=r"fc6\.weight has the shape"):
        deeper.start_from(VGG("A", side=64, num_classes=5).state_dict())


def test_a_start_from_another_kind_of_net_copies_nothing() -> None:
    deeper = VGG("D", side=32, num_classes=5)
    before = {name: value.clone() for name, value in deeper.state_dict().items()}
    with pytest.raises(UsageError, match=r"the shallower net's fc8 has weights \(3, 4096\); expected \(5, 4096\)"):
        start_from(deeper, VGG("A", side=32, num_classes=3))
    assert all(torch.equal(value, before[name]) for name, value in deeper.state_dict().items())


def test_dense_is_the_network_in_every_window() -> None:
    """Exactly so where padding does not look past the window: only the middle of each filter is not zero."""
    torch.manual_seed(0)
    net = VGG("A", side=32, num_classes=3).eval()
    middle = nn.functional.pad(torch.ones(1, 1, 1, 1), (1, 1, 1, 1))
    image = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, nn.Conv2d):
                layer.weight.mul_(middle)
        out = net.dense(image)
        assert out.shape == (1, 3, 3, 2)
        for y in range(3):
            for x in range(2):
                window = net(image[:, :, 32 * y : 32 * y + 32, 32 * x : 32 * x + 32])
                torch.testing.assert_close(out[:, :, y, x], window, rtol=1e-4, atol=1e-4 * float(window.abs().max()))


def test_dense_sizes() -> None:
    with torch.device("meta"):
        net = VGG("D")
        assert net.dense(torch.empty(1, 3, 224, 224)).shape == (1, 1000, 1, 1)
        assert net.dense(torch.empty(1, 3, 384, 512)).shape == (1, 1000, 6, 10)


@pytest.mark.parametrize("dims", [1, 3])
def test_other_dims_have_the_same_channels(dims: int) -> None:
    torch.manual_seed(0)
    net = VGG("A", dims=dims, side=32, in_channels=2, num_classes=4).eval()
    assert convolutions(net) == convolutions(VGG("A", side=32, in_channels=2, num_classes=4))
    with torch.no_grad():
        assert net(torch.randn(2, 2, *dims * (32,))).shape == (2, 4)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_builders_take_dims(name: str, dims: int) -> None:
    with torch.device("meta"):
        net = registry.card(name).builder(num_classes=7, in_channels=2, dims=dims)
    assert net.get_parameter("fc6.weight").shape == (4096, 512 * 7**dims)


@pytest.mark.slow
def test_learns_eight_images_by_heart() -> None:
    torch.manual_seed(0)
    net, x, y = VGG("A", side=32, num_classes=4), torch.randn(8, 3, 32, 32), torch.arange(8) % 4
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(80):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    assert net.eval()(x).argmax(1).tolist() == y.tolist()
