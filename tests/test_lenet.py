"""The LeNets against hand calculation, autograd and an independent formulation."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convatlas import registry
from convatlas.analysis.verify import verify
from convatlas.architectures.classification import lenet
from convatlas.architectures.classification.lenet import (
    C3_TABLE,
    H2_TABLE,
    EuclideanRBF,
    SparseConv2d,
    SubSampling,
    class_codes,
)


def test_sub_sampling_by_hand():
    layer = SubSampling(2)
    layer.coefficient.data = torch.tensor([0.5, 2.0]).view(2, 1, 1)
    layer.bias.data = torch.tensor([1.0, -1.0]).view(2, 1, 1)
    x = torch.tensor([[[1.0, 2], [3, 4]], [[1, 1], [1, 1]]]).unsqueeze(0)
    assert layer(x).flatten().tolist() == [0.5 * 10 + 1, 2 * 4 - 1]


def test_sub_sampling_is_four_times_average_pooling():
    layer, x = SubSampling(3), torch.randn(2, 3, 8, 6)
    torch.testing.assert_close(layer.sums(x), 4 * F.avg_pool2d(x, 2))


def test_sparse_convolution_is_a_dense_one_with_zeros():
    torch.manual_seed(0)
    layer = SparseConv2d(6, C3_TABLE, 5)
    layer.initialise()
    x = torch.randn(2, 6, 14, 14)
    expected = torch.zeros(2, 16, 10, 10)
    kernels = iter(layer.weight)
    for target, sources in enumerate(C3_TABLE):
        for source in sources:
            expected[:, target] += F.conv2d(x[:, source : source + 1], next(kernels)[None, None])[:, 0]
    torch.testing.assert_close(layer(x), expected + layer.bias)


@pytest.mark.parametrize(("target", "hidden"), [(0, (3, 4, 5)), (15, ())])
def test_a_c3_map_hears_only_its_sources(target, hidden):
    layer = SparseConv2d(6, C3_TABLE, 5)
    layer.initialise()
    x = torch.randn(1, 6, 14, 14, requires_grad=True)
    layer(x)[0, target].sum().backward()
    silent = [source for source in range(6) if x.grad[0, source].abs().max() == 0]
    assert silent == list(hidden)


def test_the_c3_table_is_that_of_the_paper():
    assert [len(sources) for sources in C3_TABLE] == [3] * 6 + [4] * 9 + [6]
    assert all(sum(source in sources for sources in C3_TABLE) == 10 for source in range(6))  # each S2 map is used alike


def test_every_h1_map_is_used_alike_and_every_h2_map_sees_eight():
    assert all(len(sources) == 8 for sources in H2_TABLE)
    assert all(sum(source in sources for sources in H2_TABLE) == 8 for source in range(12))


def test_pixels_outside_the_1989_image_are_minus_one_and_each_unit_has_its_bias():
    layer = SparseConv2d(1, ((0,),), 5, stride=2, padding=2, background=-1.0, units=(8, 8))
    nn.init.ones_(layer.weight)
    nn.init.zeros_(layer.bias)
    layer.bias.data[0, 3, 4] = 7.0
    out = layer(torch.zeros(1, 1, 16, 16))
    assert out[0, 0, 0, 0] == -16  # 25 - 9 pixels lie outside
    assert out[0, 0, 3, 4] == 7
    assert out[0, 0, 3, 3] == 0


def test_the_output_is_minus_the_squared_distance():
    layer = EuclideanRBF(torch.tensor([[1.0, -1.0], [1.0, 1.0]]))
    assert layer(torch.tensor([[1.0, -0.5]])).tolist() == [[-0.25, -2.25]]


def test_codes_are_84_signs_and_all_different():
    codes = class_codes(40)
    assert codes.shape == (40, 84)
    assert set(codes.unique().tolist()) == {-1.0, 1.0}
    assert torch.cdist(codes, codes).fill_diagonal_(9).min() > 4
    assert torch.equal(class_codes(10), codes[:10])
    assert all(len(code.replace(" ", "")) == 84 for code in lenet.DIGIT_CODES)


def test_the_codes_are_fixed_and_travel_with_the_weights():
    net = registry.build("lenet5")
    assert "output.codes" in net.state_dict()
    assert "output.codes" not in dict(net.named_parameters())


@pytest.mark.parametrize(("name", "layer", "fan_in"), [("lenet5", "C5", 400), ("lenet_1989", "H3", 192)])
def test_initial_weights_fill_the_papers_range(name, layer, fan_in):
    torch.manual_seed(0)
    weight = registry.build(name).get_submodule(layer).weight
    bound = 2.4 / fan_in
    assert weight.abs().max() <= bound
    assert weight.abs().max() > 0.99 * bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_c3_is_initialised_map_by_map():
    torch.manual_seed(0)
    layer = registry.build("lenet5").C3
    assert layer.weight[:3].abs().max() > 2.4 / 100  # a map with three sources has the wider range
    assert layer.weight[-6:].abs().max() <= 2.4 / 150


def test_caffes_lenet_equals_its_prototxt_written_out():
    torch.manual_seed(0)
    net, x = registry.build("caffe_lenet").double(), torch.rand(3, 1, 28, 28, dtype=torch.float64)
    y = F.max_pool2d(F.conv2d(x, net.conv1.weight, net.conv1.bias), 2, 2)
    y = F.max_pool2d(F.conv2d(y, net.conv2.weight, net.conv2.bias), 2, 2)
    y = F.linear(F.linear(y.flatten(1), net.ip1.weight, net.ip1.bias).relu(), net.ip2.weight, net.ip2.bias)
    torch.testing.assert_close(net(x), y, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["lenet_1989", "lenet5", "caffe_lenet"])
def test_the_ledger_agrees(name):
    rows = verify(name)
    assert rows
    assert not [row for row in rows if row.verdict == "fails"]
