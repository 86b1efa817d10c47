"""The diagonal of the Hessian and the optimiser that divides by it, against autograd and hand calculation."""

import pytest
import torch
from torch import nn

from convatlas import registry
from convatlas.architectures.classification.lenet import EuclideanRBF, SparseConv2d, SubSampling
from convatlas.blocks.activation import ScaledTanh
from convatlas.training.curvature import diagonal_curvature, propagate
from convatlas.training.losses import CrossEntropy, MaximumAPosteriori, SquaredError, per_sample
from convatlas.training.optimizers import KrizhevskySGD, StochasticDiagonalLM


def test_one_linear_layer_with_squared_error_has_the_squared_inputs_as_curvature():
    net = nn.Sequential(nn.Linear(2, 1))
    x = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    found = diagonal_curvature(net, x, torch.tensor([0, 0]), SquaredError())
    assert found["0.weight"].tolist() == [[5.0, 2.0]]  # (1 + 9) / 2, (4 + 0) / 2
    assert found["0.bias"].tolist() == [1.0]


def test_a_linear_chain_of_single_units_has_the_exact_hessian():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 1), nn.Linear(1, 2)).double()
    x, labels = torch.randn(4, 3, dtype=torch.float64), torch.tensor([0, 1, 1, 0])
    found = diagonal_curvature(net, x, labels, SquaredError())

    def loss(weight):
        hidden = x @ weight.T + net[0].bias
        return SquaredError()(net[1](hidden), labels) / 4

    hessian = torch.autograd.functional.hessian(loss, net[0].weight.detach())
    torch.testing.assert_close(found["0.weight"][0], hessian[0, :, 0, :].diagonal())


@pytest.mark.parametrize("layer", [SubSampling(3), SparseConv2d(3, ((0,), (1, 2), (0, 2)), 3)], ids=["sub", "sparse"])
def test_layers_linear_in_their_input_propagate_squares(layer):
    """One output unit at a time, its curvature reaches each input through the squared derivative."""
    torch.manual_seed(1)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    layer = layer.double()
    x = torch.randn(1, 3, 6, 6, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(layer, x).flatten(4).flatten(0, 3)  # outputs x inputs
    curvature = torch.rand_like(layer(x))
    with torch.no_grad():
        at_input, _ = propagate(layer, x, curvature, curvature)
    torch.testing.assert_close(at_input.flatten(), jacobian.square().T @ curvature.flatten())


def test_background_pixels_count_as_inputs():
    layer = SparseConv2d(1, ((0,),), 3, padding=1, background=-2.0)
    nn.init.ones_(layer.weight)
    nn.init.zeros_(layer.bias)
    with torch.no_grad():
        _, own = propagate(layer, torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
    assert own["weight"].tolist() == [[[4.0, 4.0, 4.0], [4.0, 0.0, 4.0], [4.0, 4.0, 4.0]]]
    assert layer.background == -2.0


def test_the_rbf_layer_keeps_the_curvature_of_its_own_square():
    layer = EuclideanRBF(torch.tensor([[1.0, -1.0]]))
    at_input, _ = propagate(layer, torch.zeros(1, 2), torch.zeros(1, 1), -torch.ones(1, 1))
    assert at_input.tolist() == [[2.0, 2.0]]  # E = |x - w|^2 has the second derivative 2


def test_scaled_tanh_maps_one_to_one_and_its_derivative_is_autograds():
    layer, x = ScaledTanh(), torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
    assert layer(torch.tensor([-1.0, 1.0])).tolist() == pytest.approx([-1, 1], abs=1e-4)
    torch.testing.assert_close(layer.derivative(x), torch.autograd.grad(layer(x).sum(), x)[0])


@pytest.mark.parametrize("loss", [CrossEntropy(), CrossEntropy(0.1), SquaredError(), MaximumAPosteriori()])
def test_derivatives_of_losses_are_autograds(loss):
    torch.manual_seed(2)
    logits, labels = torch.randn(1, 5, dtype=torch.float64), torch.tensor([3])
    slope, curvature = loss.derivatives(logits, labels)
    torch.testing.assert_close(slope, torch.autograd.functional.jacobian(lambda z: loss(z, labels), logits))
    hessian = torch.autograd.functional.hessian(lambda z: loss(z, labels), logits)[0, :, 0, :]
    torch.testing.assert_close(curvature[0], hessian.diagonal())


def test_equation_9_by_hand():
    loss = MaximumAPosteriori(j=2.0, scale=1.0)
    penalties = torch.tensor([[1.0, 3.0]])
    expected = 1 + torch.log(
        torch.exp(torch.tensor(-2.0)) + torch.exp(torch.tensor(-1.0)) + torch.exp(torch.tensor(-3.0))
    )
    assert loss(-penalties, torch.tensor([0])).item() == pytest.approx(expected.item())


def test_a_wrong_class_far_beyond_j_is_left_alone():
    loss = MaximumAPosteriori(j=2.0, scale=1.0)
    slope, _ = loss.derivatives(-torch.tensor([[0.5, 1.0, 40.0]]), torch.tensor([0]))
    assert slope[0, 1] > 0.1
    assert slope[0, 2] < 1e-15


def test_per_sample_divides_summed_losses_only():
    logits, labels = torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64)
    assert per_sample(SquaredError())(logits, labels).item() == 1.0  # two components of (0 -+ 1)^2 / 2
    assert per_sample(CrossEntropy())(logits, labels) == CrossEntropy()(logits, labels)


def test_the_step_of_each_weight_is_the_rate_over_mu_plus_curvature():
    net = nn.Sequential(nn.Linear(1, 1, bias=False))
    nn.init.ones_(net[0].weight)
    optimizer = StochasticDiagonalLM(net, lr=0.1, mu=0.5)
    x, label = torch.tensor([[2.0]]), torch.tensor([0])
    optimizer.estimate(x, label, SquaredError())
    SquaredError()(net(x), label).backward()  # (2 - 1) 2 = 2
    optimizer.step()
    assert net[0].weight.item() == pytest.approx(1 - 0.1 * 2 / (0.5 + 4))


def test_curvature_of_the_registered_lenets_is_positive_and_complete():
    for name, loss in (("lenet5", MaximumAPosteriori()), ("lenet_1989", SquaredError())):
        torch.manual_seed(0)
        net, card = registry.build(name), registry.card(name)
        found = diagonal_curvature(net, torch.randn(20, *card.input_shape), torch.arange(20) % 10, loss)
        assert {key: value.shape for key, value in found.items()} == {k: p.shape for k, p in net.named_parameters()}
        assert all((value >= 0).all() and value.max() > 0 for value in found.values())


def test_a_layer_without_a_rule_is_named():
    with pytest.raises(TypeError, match="MaxPool2d"):
        diagonal_curvature(nn.Sequential(nn.MaxPool2d(2), nn.Flatten()), torch.ones(1, 1, 2, 2), torch.tensor([0]),
                           SquaredError())  # fmt: skip


def test_krizhevskys_momentum_by_hand():
    weight = nn.Parameter(torch.tensor([1.0]))
    optimizer = KrizhevskySGD([weight], lr=0.1, momentum=0.9, weight_decay=0.5)
    velocity, expected = 0.0, 1.0
    for rate in (0.1, 0.1, 0.01):  # at the drop the old velocity goes on at its own size
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.tensor([2.0])
        optimizer.step()
        velocity = 0.9 * velocity - 0.5 * rate * expected - rate * 2.0
        expected += velocity
        assert weight.item() == pytest.approx(expected)
