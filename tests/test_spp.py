"""SPP-net: the pyramid's bins by hand, against the paper's windows, and on images of many sizes."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convatlas import registry
from convatlas.analysis.trace import trace_network
from convatlas.blocks.pyramid import SpatialPyramidPool


def test_the_pyramid_by_hand() -> None:
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert SpatialPyramidPool((2, 1))(x).tolist() == [[4, 5, 7, 8, 8]]  # windows of 2 at a stride of 1
    assert SpatialPyramidPool((3,))(x).flatten().tolist() == list(range(9))


def test_bins_at_13_are_the_papers_windows() -> None:
    """Figure 4's table: on 13 x 13 the pyramid 3 x 3, 2 x 2, 1 x 1 has windows 5, 7, 13 at strides 4, 6, 13."""
    x = torch.randn(2, 3, 13, 13)
    wanted = [F.max_pool2d(x, window, stride) for window, stride in ((5, 4), (7, 6), (13, 13))]
    assert torch.equal(SpatialPyramidPool((3, 2, 1))(x), torch.cat([level.flatten(1) for level in wanted], 1))


def test_bins_at_10_are_those_of_the_appendix() -> None:
    x = torch.randn(1, 1, 10, 10)
    pooled = SpatialPyramidPool((6,))(x).reshape(6, 6)
    for row in range(6):
        top, bottom = row * 10 // 6, -(-(row + 1) * 10 // 6)
        assert pooled[row, 0] == x[0, 0, top:bottom, 0:2].max()


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (13, 13), (40, 17)])
def test_any_map_gives_50_values_a_channel(size: tuple[int, int]) -> None:
    assert SpatialPyramidPool()(torch.randn(2, 4, *size)).shape == (2, 200)


@pytest.mark.parametrize("size", [(224, 224), (180, 180), (300, 500)])
def test_images_of_any_size_fit(size: tuple[int, int]) -> None:
    with torch.device("meta"):
        net = registry.build("sppnet_zf5_classification", num_classes=7)
        assert net(torch.empty(1, 3, *size)).shape == (1, 7)


def test_normalisation_within_maps_reads_its_neighbours() -> None:
    records = {record.name: record for record in trace_network("sppnet_zf5_classification")}
    assert records["norm1"].reads is not None
    assert [axis.kernel for axis in records["norm1"].reads.along] == [3, 3]
    assert records["spp"].reads is not None
    assert records["spp"].reads.rule == "all"


def test_the_first_weights() -> None:
    with torch.device("meta"):
        net = registry.build("sppnet_zf5_classification")
    assert [name for name, layer in net.named_children() if isinstance(layer, nn.Dropout)] == ["drop6", "drop7"]
