"""The perceptron: random connections that stay, and a rule that stops when there is nothing left to correct."""

import pytest
import torch

from convatlas import data, registry
from convatlas.analysis.verify import verify
from convatlas.architectures.classification.perceptron import AssociationLayer, Perceptron, correct_errors
from convatlas.data import LabelAssembly, Loader, default_preprocessing
from convatlas.records import LearnsByItself


def test_association_units_by_hand() -> None:
    layer = AssociationLayer(4, 2, connections=4, threshold=1.0)
    layer.connections = torch.tensor([[1.0, 1, -1, 0], [1, -1, 0, 1]])
    x = torch.tensor([[0.3, 0.7, 0.1, -1], [0.2, 0.9, -2, -2], [0.0, 0.0, 0.0, 5]]).view(3, 1, 2, 2)
    # an S-unit is on where the input is positive: (1, 1, 1, 0), (1, 1, 0, 0), (0, 0, 0, 1)
    assert layer(x).tolist() == [[1, 0], [1, 0], [0, 1]]


def test_connections_are_random_once_and_of_one_size() -> None:
    torch.manual_seed(3)
    first = Perceptron().A.connections
    torch.manual_seed(3)
    assert torch.equal(Perceptron().A.connections, first)
    assert not torch.equal(Perceptron().A.connections, first)
    assert first.abs().sum(dim=1).unique().tolist() == [20]
    assert first.unique().tolist() == [-1, 0, 1]


def test_error_correction_by_hand() -> None:
    weight = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 0]])
    wrong = correct_errors(weight, torch.tensor([1.0, 1, 0]), torch.tensor([1.0, -1, -1]))
    assert wrong.tolist() == [False, True, True]  # right; said +1; said nothing
    assert weight.tolist() == [[1, 0, 0], [-1, 0, 0], [-1, -1, 0]]


def test_separable_patterns_end_all_errors_within_novikoffs_bound() -> None:
    torch.manual_seed(0)
    patterns, teacher = torch.randn(200, 8), torch.randn(8)
    teacher /= teacher.norm()
    margins = patterns @ teacher
    patterns = patterns[margins.abs() > 0.2]
    targets = (patterns @ teacher).sign()
    bound = patterns.norm(dim=1).max() ** 2 / (patterns @ teacher).abs().min() ** 2
    weight, corrections = torch.zeros(1, 8), 0
    while True:
        errors = sum(int(correct_errors(weight, x, target[None])) for x, target in zip(patterns, targets, strict=True))
        corrections += errors
        if errors == 0:
            break
    assert 0 < corrections <= bound


def test_only_the_response_units_learn() -> None:
    torch.manual_seed(0)
    net = Perceptron(num_classes=3)
    assert isinstance(net, LearnsByItself)
    connections = net.A.connections.clone()
    net.learn(torch.randn(5, 1, 20, 20), torch.tensor([0, 1, 2, 0, 1]))
    net.end_pass(0)
    assert torch.equal(net.A.connections, connections)
    assert net.R.weight.any()


def test_learns_digits() -> None:
    """10% on the held-out fifth; a perceptron can't be expected to do much better."""
    digits = data.load("digits")
    preprocessing = default_preprocessing(registry.card("perceptron"), digits.train)
    train = Loader(LabelAssembly(digits.train, preprocessing), batch_size=50, shuffle=True)
    torch.manual_seed(0)
    net = Perceptron()
    for epoch in range(6):
        for batch in train.epoch(epoch):
            net.learn(batch.images, batch.labels)
        net.end_pass(epoch)
    (batch,) = Loader(LabelAssembly(digits.test, preprocessing), batch_size=1000).epoch(0)
    error = (net(batch.images).argmax(dim=1) != batch.labels).float().mean()
    assert error < 0.15


@pytest.mark.parametrize("name", ["perceptron", "mark1_perceptron"])
def test_the_ledger_holds(name: str) -> None:
    assert [row for row in verify(name) if row.verdict == "fails"] == []
