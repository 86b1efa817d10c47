"""The strongest patches against a search over everything at once."""

from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convatlas import registry
from convatlas.analysis.receptive_field import ReceptiveField
from convatlas.errors import ConvatlasError, UsageError
from convatlas.visualise import patches


def in_batches(x: Tensor, size: int) -> Iterator[tuple[Tensor, list[int]]]:
    for start in range(0, len(x), size):
        part = x[start : start + size]
        yield part, [100 + start + i for i in range(len(part))]


@pytest.mark.parametrize("size", [1, 4, 50])
def test_as_a_search_over_everything(size: int) -> None:
    torch.manual_seed(0)
    net, x = nn.Sequential(OrderedDict(conv=nn.Conv2d(2, 3, 3), relu=nn.ReLU())), torch.randn(21, 2, 8, 7)
    seen: list[int] = []
    found = patches.strongest(net, in_batches(x, size), "conv", count=5, on_images=seen.append)
    with torch.no_grad():
        maps = net.conv(x)
    assert seen[-1] == 21
    assert found.activations.shape == (3, 5)
    for index in range(3):
        values, samples = maps[:, index].amax(dim=(1, 2)).topk(5)
        np.testing.assert_allclose(found.activations[index], values, rtol=1e-5)
        assert found.images[index].tolist() == [100 + sample for sample in samples.tolist()]
        for rank, (sample, (y, column)) in enumerate(zip(samples, found.positions[index], strict=True)):
            assert maps[sample, index, y, column].item() == pytest.approx(float(found.activations[index, rank]))


def test_fewer_images_than_places_and_none() -> None:
    net = registry.build("caffe_lenet")
    assert patches.strongest(net, in_batches(torch.rand(2, 1, 28, 28), 2), "conv1").activations.shape == (20, 2)
    with pytest.raises(ConvatlasError, match="no image"):
        patches.strongest(net, [], "conv1")
    with pytest.raises(UsageError, match="'ip1' gives a vector"):
        patches.strongest(net, in_batches(torch.rand(1, 1, 28, 28), 1), "ip1")


def test_a_region_is_cut_at_the_edges() -> None:
    field = ReceptiveField((5, 5), (2, 2), (-1, -1))
    inner = patches.region(field, (2, 1), (9, 9))
    assert (inner.rows, inner.columns) == (slice(3, 8), slice(1, 6))
    corner = patches.region(field, (0, 4), (9, 9))
    assert (corner.rows, corner.columns) == (slice(0, 4), slice(7, 9))
    assert patches.region(None, (0, 0), (9, 8)).columns == slice(0, 8)


def test_the_field_of_a_layer() -> None:
    x = torch.rand(1, 3, 227, 227)
    field = patches.field_of(registry.build("squeezenet_v1_1"), x, "pool3")
    assert field is not None
    assert (field.size, field.stride) == ((31, 31), (8, 8))


def test_patches_are_drawn() -> None:
    one = patches.MapPatches(3, np.ones(9, np.float32), [np.zeros((5, 5, 3))] * 9, [np.zeros((3, 5, 5))] * 9)
    sheet = patches.figure("conv5", [one, one, one])
    assert sum(bool(axis.images) for part in sheet.subfigs for axis in part.axes) == 54
