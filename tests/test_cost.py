"""Costs against hand calculation, against torch's own counter and against what torch's allocator handed out."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import roi_pool

from convatlas import registry
from convatlas.analysis.cost import cost, layer_cost, peak_bytes
from convatlas.analysis.trace import build_on_meta, trace, trace_network

COUNTED_BY_BOTH = ("conv", "deconv", "fc", "matmul")
FEW = (
    "alexnet", "zfnet", "vgg_d", "nin_imagenet", "googlenet", "inception_v3", "resnet18", "resnext50_32x4d",
    "densenet121", "squeezenet_v1_1", "cifar_resnet20", "highway19_cifar10", "fractalnet20_cifar10", "xception",
)  # fmt: skip
DENSE = (
    "lenet5",
    "lenet_1989",
    "neocognitron_1980",
    "neocognitron_handwriting",
    "perceptron",
    "hog_svm",
    "sift_bow_svm",
)  # torch does more, or less


def meta(net: nn.Module) -> nn.Module:
    return net.to("meta").eval()


def counted_by_torch(name: str) -> int:
    net = build_on_meta(name).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.empty(1, *registry.card(name).input_shape, device="meta"))
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("name", FEW)
def test_multiply_adds_are_those_of_torchs_counter(name: str) -> None:
    records = trace_network(name)
    ours = sum(record.multiply_adds or 0 for record in records if record.kind in COUNTED_BY_BOTH)
    assert ours == counted_by_torch(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in registry.names("classification") if name not in (*FEW, *DENSE)])
def test_multiply_adds_of_every_network_are_those_of_torchs_counter(name: str) -> None:
    records = trace_network(name)
    kinds = (*COUNTED_BY_BOTH, "gather_distribute")
    assert sum(r.multiply_adds or 0 for r in records if r.kind in kinds) == counted_by_torch(name)


def handed_out(net: nn.Module, images: Tensor) -> int:
    """The most bytes that torch's CPU allocator had handed out at once in a forward pass, the images included."""
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        net(images)
    assert record.profiler is not None
    assert record.profiler.kineto_results is not None
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    alive = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        most = max(most, alive)
    return most + images.nbytes


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "name",
    ["alexnet", "vgg_a", "vgg_d", "resnet18", "resnet50", "densenet121", "googlenet", "squeezenet_v1_1", "caffe_lenet"],
)
def test_the_peak_is_what_the_allocator_hands_out(name: str, batch: int) -> None:
    net = build_on_meta(name).to_empty(device="cpu").eval()
    for tensor in (*net.parameters(), *net.buffers()):
        tensor.detach().zero_()
    measured = handed_out(net, torch.zeros(batch, *registry.card(name).input_shape))
    assert peak_bytes(trace_network(name), batch) == pytest.approx(measured, rel=0.03)


class Residual(nn.Module):
    """A block that keeps its input, which a chain would not."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.relu = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 2, 1), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.two(self.relu(self.one(x)))


def test_liveness_by_hand() -> None:
    """Two blocks on 2 x 4 x 4 = 32 values: the input is held by the caller, the first block's output by the second."""
    records = trace(meta(nn.Sequential(Residual(), Residual())), (2, 4, 4))
    values = [record.alive_bytes // 4 for record in records]
    one, relu, two, add = 32 + 64, 32 + 64, 32 + 64 + 32, 32 + 32 + 32
    assert values == [one, relu, two, add, *(32 + alive for alive in (one, relu, two, add))]
    assert cost(records).least_activation_bytes == 4 * (32 + 64 + 32)


class Functions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("boxes", torch.tensor([[0.0, 0, 0, 7, 7], [0, 2, 2, 5, 5]]))

    def forward(self, x: Tensor) -> Tensor:
        large = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        both = torch.cat((large, F.interpolate(x, size=(8, 8))), dim=1)
        pooled = roi_pool(both, self.get_buffer("boxes"), output_size=2)
        return pooled + torch.cumsum(pooled, dim=1)


def test_functions_count_and_what_does_not_is_named() -> None:
    records = {r.name: r for r in trace(Functions(), (3, 4, 4), device="cpu")}
    flops = {name: layer_cost(record).flops for name, record in records.items()}
    assert flops == {
        "/interpolate": 7 * 3 * 64,  # four products and three sums
        "/interpolate_2": 0,
        "/cat": 0,
        "/roi_pool": 2 * 6 * 64,  # two regions, each as if it were the whole map
        "/cumsum": None,
        "/add": 6 * 2 * 2,
    }
    sums = cost(tuple(records.values()))
    assert (sums.multiply_adds, sums.uncounted, sums.uncounted_flops) == (0, ("/cumsum",), ("/cumsum",))


def test_flops_and_bytes_by_hand() -> None:
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 5)
    )
    layers = [layer_cost(record) for record in trace(meta(net), (2, 4, 4))]
    outputs = 4 * 2 * 2
    assert [layer.flops for layer in layers] == [outputs * (2 * 18 + 1), 2 * outputs, outputs, 3 * 4, 0, 2 * 20 + 5]
    weights = 4 * 18 + 4
    moved = [32 + weights + outputs, outputs + 8 + outputs, 2 * outputs, outputs + 4, 0, 4 + 25 + 5]
    assert [layer.moved_bytes for layer in layers] == [4 * values for values in moved]
    assert layers[2].intensity == 1 / 8
    assert layers[4].intensity is None


def test_shared_weights_are_read_at_each_use() -> None:
    conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    records = trace(meta(nn.Sequential(conv, conv)), (1, 4, 4))
    assert [(record.parameters, record.weights_read) for record in records] == [(9, 9), (0, 9)]


class Product(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(2)  # B, 3, 16
        return rows @ rows.transpose(1, 2)


def test_products_of_matrices_are_multiply_adds_without_connections() -> None:
    (record,) = (r for r in trace(Product(), (3, 4, 4)) if r.kind == "matmul")
    assert (record.multiply_adds, record.connections) == (3 * 3 * 16, 0)
