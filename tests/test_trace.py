"""The trace, its costs and receptive fields, on networks that can be worked out by hand."""

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas import registry
from convatlas.analysis.cost import cost
from convatlas.analysis.receptive_field import ReceptiveField, receptive_fields
from convatlas.analysis.trace import INPUT, trace, trace_network
from convatlas.errors import UsageError
from convatlas.records import LayerRecord, Shape


def on_meta(build: type[nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build()


def fields(records: tuple[LayerRecord, ...]) -> dict[str, ReceptiveField | None]:
    return dict(zip((record.name for record in records), receptive_fields(records), strict=True))


class Small(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            OrderedDict(
                conv=nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2),  # 4 x 4 x 4 from 2 x 8 x 8
                bn=nn.BatchNorm2d(4),
                relu=nn.ReLU(),
                pool=nn.MaxPool2d(2),  # 4 x 2 x 2
                flatten=nn.Flatten(),
                fc=nn.Linear(16, 3),
            )
        )


def test_a_chain_by_hand() -> None:
    conv, bn, relu, pool, flatten, fc = trace(on_meta(Small), (2, 8, 8))
    assert (conv.name, conv.kind, conv.kernel, conv.stride, conv.padding) == ("conv", "conv", (3, 3), (2, 2), (1, 1))
    assert (conv.dilation, conv.groups, conv.input_shapes, conv.output_shape) == ((1, 1), 2, ((2, 8, 8),), (4, 4, 4))
    assert conv.parameters == 4 * 1 * 9 + 4
    assert conv.multiply_adds == 36 * 16
    assert conv.connections == 36 * 16 + 4 * 16
    assert conv.output_bytes == 4 * 4 * 4 * 4
    assert (bn.parameters, bn.connections, bn.multiply_adds) == (8, 0, 0)
    assert (relu.parameters, relu.multiply_adds, pool.multiply_adds, pool.output_shape) == (0, 0, 0, (4, 2, 2))
    assert (flatten.output_shape, flatten.output_bytes) == ((16,), 0)
    assert (fc.parameters, fc.multiply_adds, fc.connections, fc.output_shape) == (51, 48, 51, (3,))
    assert [record.inputs for record in (conv, bn, relu, pool, flatten, fc)] == [(INPUT,), (0,), (1,), (2,), (3,), (4,)]


def test_transposed_convolution_counts_at_input_positions_and_interpolation_has_no_weights() -> None:
    net = nn.Sequential(nn.ConvTranspose2d(3, 5, 4, stride=2), nn.Upsample(scale_factor=2)).to("meta")
    records = trace(net, (3, 6, 6))
    assert records[0].output_shape == (5, 14, 14)
    assert records[0].multiply_adds == 3 * 5 * 16 * 36
    assert records[1].multiply_adds == 0
    assert cost(records).uncounted == ()
    assert [field and field.size for field in receptive_fields(records)] == [(2, 2), (2, 2)]


class Branches(nn.Module):
    """A residual block whose shortcut takes each second pixel, and a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, stride=2, padding=1)
        self.relu = nn.ReLU()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.conv(x)) + x[:, :, ::2, ::2] * self.scale
        return torch.cat((self.relu(y), F.pad(y, (0, 0, 0, 0, 0, 1))), dim=1)


def test_functions_between_layers_are_recorded_with_their_inputs() -> None:
    records = {record.name: record for record in trace(on_meta(Branches), (2, 8, 8))}
    names = ["conv", "relu", "/getitem", "/mul", "/add", "relu", "/pad", "/cat"]
    everything = trace(on_meta(Branches), (2, 8, 8))
    assert [record.name for record in everything] == names
    assert (records["/getitem"].kind, records["/getitem"].stride) == ("subsample", (2, 2))
    assert records["/getitem"].output_bytes == 0
    assert records["/mul"].parameters == 1  # a parameter of the container, where it is used first
    assert records["/add"].inputs == (1, 3)
    assert everything[5].inputs == (4,)
    assert records["/cat"].inputs == (5, 6)
    assert records["/cat"].output_shape == (5, 4, 4)
    assert sum(record.parameters for record in everything) == 2 * 2 * 9 + 2 + 1


def test_branches_of_equal_stride_unite_their_fields() -> None:
    found = fields(trace(on_meta(Branches), (2, 8, 8)))
    assert found["/getitem"] == ReceptiveField((1, 1), (2, 2), (0, 0))
    assert found["conv"] == ReceptiveField((3, 3), (2, 2), (-1, -1))
    assert found["/cat"] == ReceptiveField((3, 3), (2, 2), (-1, -1))


class Uneven(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.big, self.small, self.down = nn.Conv2d(1, 1, 5, padding=2), nn.Conv2d(1, 1, 3, padding=1), nn.MaxPool2d(2)
        self.up = nn.Upsample(scale_factor=2)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat((self.big(x), self.small(x)), 1)
        return both + self.up(self.down(both))


def test_the_union_is_the_larger_field() -> None:
    found = fields(trace(on_meta(Uneven), (1, 8, 8)))
    assert found["/cat"] == ReceptiveField((5, 5), (1, 1), (-2, -2))
    assert found["down"] == ReceptiveField((6, 6), (2, 2), (-2, -2))
    assert found["/add"] == ReceptiveField((6, 6), (1, 1), (-2, -2))


def test_dilation_and_global_pooling() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 3, dilation=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2)).to(
        "meta"
    )
    records = trace(net, (1, 9, 9))
    assert [field and field.size for field in receptive_fields(records)] == [(5, 5), (9, 9), (9, 9), (9, 9)]
    assert records[1].kernel == (5, 5)


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.conv(x))


def test_shared_weights_are_counted_once_and_used_twice() -> None:
    sums = cost(trace(on_meta(Shared), (3, 2, 2)))
    assert (sums.parameters, sums.multiply_adds) == (9, 2 * 9 * 4)


class Counted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(1, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * 2

    def count(self, output_shape: Shape) -> tuple[int, int]:
        return 7, 5


def test_a_layer_that_counts_itself_is_one_record() -> None:
    (record,) = trace(nn.Sequential(on_meta(Counted)), (1, 4, 4))
    assert (record.name, record.kind, record.parameters) == ("0", "counted", 10)
    assert (record.connections, record.multiply_adds) == (7, 5)


def test_liveness_by_hand() -> None:
    """Input 128 floats, then conv 32, relu 32, product 32 (the slice is a view), sum 32, relu 32, pad 48, cat 80."""
    sums = cost(trace(on_meta(Branches), (2, 8, 8)))
    assert sums.activation_bytes == 4 * (32 + 32 + 32 + 32 + 32 + 48 + 80)
    assert sums.least_activation_bytes == 4 * (128 + 32 + 32)  # the input is needed until the product is made
    assert sums.peak_activation_bytes == 4 * (128 + 32 + 32 + 48 + 80)  # but the caller holds it to the end
    assert sums.weight_bytes == 4 * 39


def test_the_network_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1).eval(), nn.Dropout()).to("meta")
    trace(net, (1, 2, 2))
    assert [module.training for module in net] == [True, False, True]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_an_input_that_does_not_fit_is_named() -> None:
    with pytest.raises(UsageError, match="input shape 3,8,8 does not fit Small"):
        trace(on_meta(Small), (3, 8, 8))
    with pytest.raises(UsageError, match="input shape 2,16,16 does not fit Small"):
        trace(on_meta(Small), (2, 16, 16))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("lenet_1989", (1, 16, 16)),
        ("lenet5", (1, 32, 32)),
        ("caffe_lenet", (1, 28, 28)),
        ("cifar_resnet20", (3, 32, 32)),
        ("cifar_resnet20", (3, 37, 29)),
        ("resnet50", (3, 65, 97)),
    ],
)
def test_meta_says_what_real_tensors_say(name: str, shape: Shape) -> None:
    """The short ways that the trace takes on `meta` lead to the same shapes as torch's arithmetic."""
    assert trace(registry.build(name), shape, device="cpu") == trace_network(name, shape)


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "resnet18", "densenet121", "squeezenet1_1", "mobilenet_v2"])
def test_meta_says_what_torch_says_of_other_peoples_networks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        net = models.get_model(name)
    quick = trace(net, (3, 224, 224))
    monkeypatch.setattr("convatlas.analysis.trace.quick_output", lambda *_: None)
    assert quick == trace(net, (3, 224, 224))
    weights = models.get_model_weights(name).DEFAULT.meta
    sums = cost(quick)
    assert sums.parameters == weights["num_params"]
    assert round(sums.multiply_adds / 1e9, 3) == pytest.approx(weights["_ops"], abs=0.002)


def test_receptive_fields_of_lenet5() -> None:
    found = fields(trace_network("lenet5"))
    sizes = {name: field.size[0] for name, field in found.items() if field is not None}
    assert {name: sizes[name] for name in ("C1", "S2", "C3", "S4", "C5", "F6", "output")} == {
        "C1": 5, "S2": 6, "C3": 14, "S4": 16, "C5": 32, "F6": 32, "output": 32,
    }  # fmt: skip


def test_receptive_fields_of_alexnet() -> None:
    found = fields(trace_network("alexnet"))
    shown = {name: (field.size[0], field.stride[0], field.offset[0]) for name, field in found.items() if field}
    assert shown["conv1"] == (11, 4, 0)
    assert shown["pool1"] == (19, 8, 0)
    assert shown["conv2"] == (51, 8, -16)
    assert shown["pool5"] == (195, 32, -64)
    assert shown["fc6"] == (355, 32, -64)


def test_no_weights_are_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    trace_network.cache_clear()
    seen: list[bool] = []
    real = registry.build

    def build(*args: str, **kwargs: int) -> nn.Module:
        net = real(*args, **kwargs)
        seen.append(all(tensor.is_meta for tensor in (*net.parameters(), *net.buffers())))
        return net

    monkeypatch.setattr(registry, "build", build)
    for name in ("alexnet", "lenet5", "resnet18"):
        trace_network(name)
    assert seen == [True] * 3
