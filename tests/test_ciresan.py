"""Ciresan's networks: sizes, columns, and the width of digits."""

import pytest
import torch
from torch import nn

from convatlas import registry
from convatlas.analysis.verify import verify
from convatlas.architectures.classification.mcdnn import MNISTColumn, NormalisedWidth, average_columns
from convatlas.blocks.activation import ScaledTanh
from convatlas.training.recipes.ciresan import RECIPES

NAMES = [*(f"ciresan2010_mlp_{net}" for net in range(1, 6)), "mcdnn_mnist", "mcdnn_cifar10", "mcdnn_gtsrb"]


@pytest.mark.parametrize("name", NAMES)
def test_the_ledger_holds(name: str) -> None:
    rows = verify(name)
    assert rows
    assert [row for row in rows if row.verdict != "holds"] == []


@pytest.mark.parametrize("name", ["ciresan2010_mlp_1", "mcdnn_mnist"])
def test_initialisation_and_squashing(name: str) -> None:
    torch.manual_seed(0)
    net = registry.build(name)
    weights = torch.cat([p.detach().flatten() for p in net.parameters()])
    assert weights.abs().max() <= 0.05
    assert weights.std().item() == pytest.approx(0.05 / 3**0.5, rel=0.02)
    layers = [layer for layer in net.children() if isinstance(layer, nn.Conv2d | nn.Linear)]
    squashes = [layer for layer in net.children() if isinstance(layer, ScaledTanh)]
    assert len(squashes) == len(layers) - 1


def test_columns_average_probabilities() -> None:
    torch.manual_seed(0)
    columns = [MNISTColumn(num_classes=4) for _ in range(3)]
    x = torch.randn(2, 1, 29, 29)
    expected = sum(column(x).softmax(dim=1) for column in columns) / 3
    net = average_columns(columns)
    torch.testing.assert_close(net(x).exp(), expected)
    net(x).sum().backward()
    assert all(p.grad is not None for column in columns for p in column.parameters())
    with pytest.raises(ValueError, match="nets is empty"):
        average_columns([])


def test_widths_by_hand() -> None:
    x = torch.full((2, 1, 9, 29), -1.0)
    x[0, 0, :, 3:9] = 1.0  # 6 pixels wide, left of the middle; the second image is blank
    for width in (3, 12):
        y = NormalisedWidth(width)(x)
        inked = (y[0, 0, 4] > 0).nonzero().flatten()
        assert abs(len(inked) - width) <= 1
        assert inked.float().mean().item() == pytest.approx(14, abs=0.51)
        assert torch.equal(y[0, 0, 0], y[0, 0, 8])
        torch.testing.assert_close(y[1], x[1])
    same = torch.full((1, 1, 5, 29), -1.0)
    same[..., 10:19] = 1.0
    torch.testing.assert_close(NormalisedWidth(9)(same), same, atol=1e-5, rtol=0)


def test_a_column_sees_its_own_width() -> None:
    torch.manual_seed(0)
    column = MNISTColumn()
    x = torch.full((1, 1, 29, 29), -1.0)
    x[..., 5:25, 8:18] = 1.0
    narrow, wide = (nn.Sequential(NormalisedWidth(width), column)(x) for width in (10, 20))
    assert not torch.allclose(narrow, wide)


@pytest.mark.parametrize("recipe", RECIPES, ids=[recipe.network for recipe in RECIPES])
def test_recipes_fall_from_the_first_rate_to_the_last(recipe) -> None:
    first, last = (recipe.schedule.rate(1.0, step, 1000) / recipe.batch_size for step in (0, 999))
    assert first == pytest.approx(1e-3)
    assert last == pytest.approx(1e-6 if "mlp" in recipe.network else 3e-5)
