"""DenseNets: who reads whom, memory for time with the same gradients, and the whole against torchvision."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas import registry
from convatlas.analysis.verify import verify
from convatlas.architectures.classification.cifar_densenet import CifarDenseNet, CifarDenseNetBC
from convatlas.architectures.classification.densenet import DenseNet
from convatlas.blocks.dense import BottleneckLayer, DenseBlock, PlainLayer, transition_layer
from convatlas.errors import UsageError
from convatlas.training import find

NAMES = [name for name in registry.names() if registry.card(name).paper == "huang2016_densenet"]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_the_names_are_those_of_the_ledger() -> None:
    assert len(NAMES) == 11


@pytest.mark.parametrize("name", NAMES)
def test_no_row_of_the_ledger_fails(name: str) -> None:
    disputed = [row.quantity for row in verify(name) if row.verdict != "holds"]
    assert disputed == (["weight_layers"] if name == "densenet264" else [])


def test_densenet264_has_a_layer_more_than_its_name() -> None:
    (row,) = [row for row in verify("densenet264") if row.verdict == "disputed"]
    assert (row.printed, row.computed) == ("264", "265")
    assert find("densenet264", "published").results[1].top5_error == "5.29"


def ones(layer: nn.Module) -> None:
    """Convolutions that add up the middle pixels of all maps; normalisation that changes nothing."""
    if isinstance(layer, nn.Conv2d):
        nn.init.zeros_(layer.weight)
        layer.weight.data[:, :, layer.kernel_size[0] // 2, layer.kernel_size[1] // 2] = 1
    elif isinstance(layer, nn.BatchNorm2d):
        layer.eps = 0


def test_a_layer_reads_all_before_it() -> None:
    """Growth rate 1 and sums: 2, then 2, then 2 + 2, then 2 + 2 + 4; a negative map counts for nothing."""
    block = DenseBlock(PlainLayer, 2, 3, 1).eval().apply(ones)
    x = torch.tensor([2.0, -5.0]).view(1, 2, 1, 1)
    assert block(x).flatten().tolist() == [2, -5, 2, 4, 8]


def test_a_bottleneck_widens_to_four_times_the_growth_rate() -> None:
    block = DenseBlock(BottleneckLayer, 1, 2, 1).eval().apply(ones)
    assert block(torch.full((1, 1, 1, 1), 2.0)).flatten().tolist() == [2, 8, 40]  # 4 x 2, then 4 x (2 + 8)
    assert block.get_submodule("layer2.conv1").weight.shape == (4, 2, 1, 1)


def test_a_transition_halves_the_map() -> None:
    layer = transition_layer(1, 1).eval().apply(ones)
    x = torch.tensor([[1.0, -1, 4, 4], [2, 1, 4, 4]])
    assert layer(x.view(1, 1, 2, 4)).flatten().tolist() == [1, 4]  # (1 + 0 + 2 + 1) / 4, since ReLU stands before


def small(**kwargs: int) -> DenseNet:
    return DenseNet((2, 2, 3, 2), 8, num_classes=5, in_channels=3, **kwargs)


def deep() -> DenseNet:
    return DenseNet((10, 6, 2, 2), 8, num_classes=5, in_channels=3)


@pytest.mark.parametrize("make", [deep, lambda: CifarDenseNet(16, 8, num_classes=5, in_channels=3, dropout=0.2)])
def test_memory_efficient_training_gives_the_same(make) -> None:
    """Gradients, running statistics and random numbers; what is stored for the backward pass shrinks."""
    stored, results = [], []
    for efficient in (False, True):
        torch.manual_seed(0)
        net = make().double().train()
        net.memory_efficient = efficient
        x = torch.randn(4, 3, 32, 32, dtype=torch.float64)
        weights = {p.data_ptr() for p in net.parameters()}
        held: dict[int, int] = {}

        def pack(tensor: Tensor, held: dict[int, int] = held) -> Tensor:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = F.cross_entropy(net(x), torch.arange(4))
        loss.backward()
        stored.append(sum(size for place, size in held.items() if place not in weights))
        gradients = {name: p.grad for name, p in net.named_parameters()}
        results.append((loss.detach(), gradients, dict(net.named_buffers())))
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-12)
    assert stored[1] < 0.7 * stored[0]


def test_memory_efficient_nets_evaluate_as_others() -> None:
    net, x = small().eval(), torch.randn(1, 3, 40, 40)
    with torch.no_grad():
        expected = net(x)
        net.memory_efficient = True
        assert torch.equal(net(x), expected)


@pytest.mark.parametrize("train", [False, True])
def test_densenet121_equals_torchvision(train: bool) -> None:
    models = pytest.importorskip("torchvision.models")
    theirs = models.densenet121(num_classes=10).double().train(train)
    ours = registry.build("densenet121", num_classes=10).double().train(train)
    copied = zip(ours.state_dict(), theirs.state_dict().values(), strict=True)
    ours.load_state_dict({name: value.clone() for name, value in copied})
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["densenet169", "densenet201", "densenet161"])
def test_deeper_ones_equal_torchvision(name: str) -> None:
    models = pytest.importorskip("torchvision.models")
    theirs = getattr(models, name)(num_classes=10).double().eval()
    ours = registry.build(name, num_classes=10).double().eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_signals_and_volumes(dims: int) -> None:
    net = small(dims=dims)
    assert net(torch.randn(2, 3, *(64, 32, 32)[:dims])).shape == (2, 5)
    cifar = CifarDenseNetBC(16, 4, num_classes=5, in_channels=3, dims=dims)
    assert cifar(torch.randn(2, 3, *(8, 8, 8)[:dims])).shape == (2, 5)


def test_other_dims_are_refused() -> None:
    with pytest.raises(UsageError, match="dims is 4"):
        small(dims=4)


def test_bc_halves_and_plain_keeps() -> None:
    with torch.device("meta"):
        plain, bc = registry.build("cifar_densenet_40_12"), registry.build("cifar_densenet_bc_100_12")
    assert plain.get_submodule("transition_layer1.conv").weight.shape[:2] == (160, 160)
    assert bc.get_submodule("transition_layer1.conv").weight.shape[:2] == (108, 216)
    assert plain.get_submodule("convolution").weight.shape[0] == 16
    assert bc.get_submodule("convolution").weight.shape[0] == 24


def test_dropout_acts_after_every_convolution_but_the_first() -> None:
    for net in (
        CifarDenseNet(16, 4, num_classes=5, in_channels=3, dropout=0.2),
        CifarDenseNetBC(16, 4, num_classes=5, in_channels=3, dropout=0.2),
    ):
        kinds = [type(m) for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Dropout))]
        assert kinds == [nn.Conv2d, *[nn.Conv2d, nn.Dropout] * (kinds.count(nn.Conv2d) - 1)]
        x = torch.randn(2, 3, 8, 8)
        assert not torch.equal(net(x), net(x))
    registered = registry.build("cifar_densenet_40_12")
    assert not any(isinstance(m, nn.Dropout) for m in registered.modules())


def test_initialisation_is_he_with_the_fan_out() -> None:
    net = registry.build("cifar_densenet_40_12")
    deviation = net.get_parameter("transition_layer2.conv.weight").std().item()
    assert deviation == pytest.approx((2 / 304) ** 0.5, rel=0.02)
    assert not net.get_parameter("classification_layer.fc.bias").any()


def test_eight_images_are_learnt_by_heart() -> None:
    net = CifarDenseNetBC(22, 8, num_classes=8, in_channels=3)
    net.memory_efficient = True
    x, labels = torch.randn(8, 3, 16, 16), torch.arange(8)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    for _ in range(25):
        optimizer.zero_grad()
        F.cross_entropy(net(x), labels).backward()
        optimizer.step()
    assert torch.equal(net(x).argmax(1), labels)
