"""OverFeat: the dense evaluation by hand, against windows cut out one by one, and against the paper's table 5."""

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from convatlas import registry
from convatlas.analysis.verify import verify
from convatlas.architectures.classification.overfeat import BoxRegressor, OverFeat, OverFeatAccurate, slide
from convatlas.errors import UsageError
from convatlas.ops.sliding import sliding_windows


class Small(OverFeat):
    """A network of 27 x 27 pixels whose windows are 4 pixels apart: stride 2, pool 2, then pool 3 to 2 x 2."""

    last_pool, side = "pool2", 2

    def __init__(self) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(2, 3, 5, stride=2),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                conv2=nn.Conv2d(3, 4, 3, padding=1),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(3),
                flatten=nn.Flatten(),
                fc3=nn.Linear(4 * 2 * 2, 8),
                relu3=nn.ReLU(),
                drop3=nn.Dropout(0.5),
                fc4=nn.Linear(8, 5),
            )
        )


@pytest.fixture
def small() -> Small:
    torch.manual_seed(0)
    return Small().double().eval()


@pytest.mark.parametrize("name", ["overfeat_fast", "overfeat_accurate"])
def test_ledger_holds_but_for_the_connections(name: str) -> None:
    rows = [row for row in verify(name) if row.verdict != "holds"]
    assert [(row.quantity, row.layer, row.verdict) for row in rows] == [("connections", None, "disputed")]


def test_windows_by_hand() -> None:
    maps = torch.arange(6.0).view(1, 1, 2, 3)
    assert sliding_windows(maps, 2).tolist() == [[[[0, 1, 3, 4], [1, 2, 4, 5]]]]
    row = torch.arange(8.0).view(1, 2, 4)
    assert sliding_windows(row, 3).tolist() == [[[0, 1, 2, 4, 5, 6], [1, 2, 3, 5, 6, 7]]]


def test_a_window_is_flattened_as_a_network_does_it() -> None:
    maps = torch.randn(2, 3, 4, 4, 4)
    assert torch.equal(sliding_windows(maps, 4).view(2, -1), nn.Flatten()(maps))


def test_figure_3_by_hand() -> None:
    """Along an axis of 20 values pooled by 3 with offsets 0, 1 and 2, a window of 5 gives 2 outputs each, 6 in all.

    Values rise to the right, so that the output at place p, a sum over 5 pooled values and 5 equal rows, is
    5 x sum(p + 2 + 3 i, i = 0..4) = 5 x (5 p + 40).
    """
    maps = torch.arange(20.0).expand(1, 1, 20, 20)
    total = nn.Linear(25, 1)
    with torch.no_grad():
        total.weight.fill_(1.0)
        total.bias.fill_(0.0)
        out = slide(maps, nn.MaxPool2d(3), total, 5)
    assert out.shape == (1, 1, 6, 6)
    assert out[0, 0].unique(dim=0).tolist() == [[200.0, 225, 250, 275, 300, 325]]


@pytest.mark.parametrize("size", [(6, 6), (8, 7), (11, 9), (7, 12)])
def test_slide_is_the_head_at_every_place(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    maps, pool, head = torch.randn(2, 3, *size, dtype=torch.float64), nn.MaxPool2d(3), nn.Linear(12, 4).double()
    out = slide(maps, pool, head, 2)
    assert out.shape == (2, 4, size[0] - 5, size[1] - 5)
    for y in range(out.shape[2]):
        for x in range(out.shape[3]):
            expected = head(pool(maps[:, :, y : y + 6, x : x + 6]).flatten(1))
            torch.testing.assert_close(out[:, :, y, x], expected, rtol=0, atol=1e-12)


def test_dense_is_the_network_in_every_window(small: Small) -> None:
    """Exactly so where padding does not look past the window: only the middle of the padded filters is not zero."""
    with torch.no_grad():
        conv2 = small.get_parameter("conv2.weight")
        conv2.mul_(nn.functional.pad(torch.ones(1, 1, 1, 1), (1, 1, 1, 1)))
        image = torch.randn(2, 2, 35, 31, dtype=torch.float64)
        out = small.dense(image)
        assert out.shape == (2, 5, 3, 2)
        for y in range(3):
            for x in range(2):
                window = image[:, :, 4 * y : 4 * y + 27, 4 * x : 4 * x + 27]
                torch.testing.assert_close(out[:, :, y, x], small(window), rtol=0, atol=1e-12)


def test_dense_at_the_published_size_is_the_network(small: Small) -> None:
    image = torch.randn(3, 2, 27, 27, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(small.dense(image)[:, :, 0, 0], small(image), rtol=0, atol=1e-12)


def test_gradient_flows_through_the_offsets(small: Small) -> None:
    small.dense(torch.randn(1, 2, 35, 35, dtype=torch.float64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in small.parameters())


def test_too_small_an_image_is_refused(small: Small) -> None:
    with pytest.raises(UsageError, match="the map before the last pooling is 5 x 6; expected at least 6 x 6"):
        small.dense(torch.randn(1, 2, 23, 27, dtype=torch.float64))


@pytest.fixture(scope="module")
def accurate() -> OverFeatAccurate:
    with torch.device("meta"):
        return OverFeatAccurate()


@pytest.mark.parametrize(
    ("image", "unpooled", "output"),
    [
        ((245, 245), (17, 17), (3, 3)),
        ((281, 317), (20, 23), (6, 9)),
        ((317, 389), (23, 29), (9, 15)),
        ((389, 461), (29, 35), (15, 21)),
    ],
)
def test_sizes_of_table_5(
    accurate: OverFeatAccurate, image: tuple[int, int], unpooled: tuple[int, int], output: tuple[int, int]
) -> None:
    x = torch.empty(1, 3, *image, device="meta")
    assert accurate.unpooled(x).shape == (1, 1024, *unpooled)
    assert accurate.dense(x).shape == (1, 1000, *output)


@pytest.mark.parametrize(("name", "step"), [("overfeat_fast", 16), ("overfeat_accurate", 12)])
def test_windows_are_so_many_pixels_apart(name: str, step: int) -> None:
    with torch.device("meta"):
        net = registry.build(name)
    assert isinstance(net, OverFeat)
    side = registry.card(name).input_shape[1]
    for pixels, places in ((side, 1), (side + step - 1, 1), (side + step, 2), (side + 3 * step, 4)):
        assert net.dense(torch.empty(1, 3, pixels, side, device="meta")).shape == (1, 1000, places, 1)


def test_boxes_slide_in_the_classifiers_place(accurate: OverFeatAccurate) -> None:
    with torch.device("meta"):
        head = BoxRegressor(side=accurate.side)
        assert accurate.dense(torch.empty(1, 3, 245, 245), head).shape == (1, 4, 3, 3)
    shapes = [tuple(p.shape) for p in head.parameters() if p.dim() == 2]
    assert shapes == [(4096, 25600), (1024, 4096), (4, 1024)]


def test_box_regressor_by_hand() -> None:
    head = BoxRegressor(channels=1, side=1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        head.get_parameter("hidden1.weight")[0, 0] = 2.0
        head.get_parameter("hidden2.weight")[0, 0] = 3.0
        head.get_parameter("edges.weight")[:, 0] = torch.tensor([1.0, -1, 0.5, 0])
        out: Tensor = head(torch.tensor([[1.0], [-1.0]]))
    assert out.tolist() == [[6.0, -6.0, 3.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
