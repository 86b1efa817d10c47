"""What the figures are drawn from, by hand; that they are drawn; and that they can stand in a page."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from convatlas import registry
from convatlas.errors import ConvatlasError
from convatlas.visualise import confusion, curves, filters, maps
from convatlas.visualise.style import INK, inline_svg


def test_filters_are_the_first_convolution() -> None:
    net = registry.build("caffe_lenet")
    name, weights = filters.first_layer_filters(net)
    assert name == "conv1"
    assert weights.shape == (20, 1, 5, 5)
    np.testing.assert_array_equal(weights, net.get_submodule("conv1").weight.detach().numpy())


def test_a_network_without_convolutions_has_no_filters() -> None:
    with pytest.raises(ConvatlasError, match="no convolution"):
        filters.first_layer_filters(nn.Linear(3, 2))


@pytest.mark.parametrize(("channels", "tiles", "bars"), [(1, 6, 1), (2, 12, 1), (3, 6, 0)])
def test_filter_grid(channels: int, tiles: int, bars: int) -> None:
    weights = np.linspace(-1, 1, 6 * channels * 25, dtype=np.float32).reshape(6, channels, 5, 5)
    axes = filters.figure(weights).axes
    assert sum(bool(axis.images) and axis.get_label() != "<colorbar>" for axis in axes) == tiles
    assert sum(axis.get_label() == "<colorbar>" for axis in axes) == bars


def test_columns_leave_few_places_empty() -> None:
    assert {count: filters.columns_for(count) for count in (1, 6, 16, 20, 23, 32, 96)} == {
        1: 1, 6: 6, 16: 8, 20: 10, 23: 12, 32: 8, 96: 16,
    }  # fmt: skip


def test_one_symmetric_scale_for_all_filters() -> None:
    weights = np.zeros((2, 1, 3, 3), dtype=np.float32)
    weights[0, 0, 0, 0], weights[1, 0, 0, 0] = 0.5, -2.0
    limits = {axis.images[0].get_clim() for axis in filters.figure(weights).axes if axis.images}
    assert limits == {(-2.0, 2.0)}


def test_lenet5_has_the_rows_of_figure_2() -> None:
    states = maps.feature_maps(registry.build("lenet5"), torch.rand(1, 1, 32, 32))
    assert [(name, values.shape) for name, values in states] == [
        ("C1", (6, 28, 28)), ("S2", (6, 14, 14)), ("C3", (16, 10, 10)), ("S4", (16, 5, 5)),
        ("C5", (120, 1, 1)), ("F6", (84,)), ("output", (10,)),
    ]  # fmt: skip


def test_a_row_is_the_state_after_the_non_linearity() -> None:
    net = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 1, 1), relu=nn.ReLU(), flatten=nn.Flatten(), fc=nn.Linear(4, 2)))
    with torch.no_grad():
        net.conv.weight.fill_(1.0)
        net.conv.bias.fill_(-2.0)
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None]
    states = maps.feature_maps(net, x)
    assert [name for name, _ in states] == ["conv", "fc"]
    np.testing.assert_array_equal(states[0][1], [[[0, 0], [1, 2]]])  # x - 2, negative values cut


def test_a_stage_of_blocks_is_one_row_and_the_mode_is_restored() -> None:
    net = registry.build("cifar_resnet20").train()
    states = maps.feature_maps(net, torch.rand(1, 3, 32, 32))
    assert len(states) < 10
    assert states[0][1].shape == (16, 32, 32)
    assert states[-1][1].shape == (10,)
    assert net.training
    assert not any(module._forward_hooks for module in net.modules())


def test_the_maps_that_vary_most_are_kept_in_order() -> None:
    values = np.zeros((20, 2, 2), dtype=np.float32)
    values[:, 0, 0] = [20, 1, 19, 2, *range(3, 19)]
    assert maps.strongest(values) == [0, 2, *range(6, 20)]
    assert maps.strongest(values[:16]) == list(range(16))


def test_confusion_rates_by_hand() -> None:
    rates = confusion.rates(np.array([[3, 1], [0, 0]]))
    np.testing.assert_array_equal(rates, [[0.75, 0.25], [0, 0]])


@pytest.mark.parametrize("count", [2, 10, 21, 100])
def test_confusion_from_2_to_100_classes(count: int) -> None:
    counts = np.eye(count, dtype=np.int64) * 9
    counts[0, 1] = 2
    names = tuple(f"<class & {index}>" for index in range(count))
    figure = confusion.figure(counts, names)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts.count("2") == (1 if count <= 20 else 0)
    assert len(figure.axes[0].get_yticklabels()) <= 50
    svg = inline_svg(figure, "Confusion")
    assert "&lt;class &amp; 0&gt;" in svg


def test_error_curve_with_gaps_and_a_published_error() -> None:
    rows = [{"epoch": 1, "train_error": 0.9, "test_error": None}, {"epoch": 2, "train_error": 0.1, "test_error": 0.01}]
    axis = curves.error_figure(rows, 0.0095).axes[0]
    assert axis.get_yscale() == "log"
    assert [len(line.get_xdata()) for line in axis.lines] == [2, 2, 2]
    assert axis.texts[0].get_text() == "published 0.95%"
    assert curves.error_figure(rows[:1]).axes[0].get_yscale() == "linear"


def test_a_loss_that_is_no_number_leaves_a_gap() -> None:
    rows = [{"epoch": 1, "train_loss": float("nan"), "test_loss": 1.0}]
    assert [line.get_label() for line in curves.loss_figure(rows).axes[0].lines] == ["test"]


def test_svg_follows_the_page_and_is_the_same_every_time() -> None:
    rows = [{"epoch": 1, "train_loss": 1.0, "test_loss": 1.0}]
    first, second = (inline_svg(curves.loss_figure(rows), 'a "loss"') for _ in range(2))
    assert first == second
    assert first.startswith("<svg")
    assert "var(--train)" in first
    assert INK not in first
    assert 'aria-label="a &quot;loss&quot;"' in first


@pytest.mark.parametrize("name", ["lenet5", "caffe_lenet", "cifar_resnet20"])
def test_maps_are_drawn(name: str) -> None:
    net, shape = registry.build(name), registry.card(name).input_shape
    states = maps.feature_maps(net, torch.rand(1, *shape))
    image = np.zeros(shape[1:] if shape[0] == 1 else (*shape[1:], 3), dtype=np.float32)
    svg = inline_svg(maps.figure(image, states, tuple("0123456789")), "maps")
    for layer, _ in states:
        assert f">{layer}</text>" in svg


def test_what_a_stride_folds_over() -> None:
    point, flat, waves = np.zeros((1, 1, 8, 8), np.float32), np.ones((1, 1, 8, 8)), np.ones((1, 1, 8, 8))
    point[0, 0, 0, 0] = 1
    waves[..., ::2] = -1  # the highest frequency along the rows
    assert filters.aliased_shares(point, (1, 1)) == pytest.approx(0)
    assert filters.aliased_shares(point, (2, 2)) == pytest.approx(1 - 1 / 4, abs=0.02)
    assert filters.aliased_shares(flat, (2, 2)) < 0.15
    assert filters.aliased_shares(waves, (2, 2)) > 0.9
    assert filters.aliased_shares(np.zeros((2, 1, 3, 3)), (2, 2)).tolist() == [0, 0]
