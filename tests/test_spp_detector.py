"""SPPnet's detector: where a window lies on the map, at which scale, and that the map does not learn."""

import pytest
import torch

from convatlas import registry
from convatlas.architectures.detection.faster_rcnn import zf_trunk
from convatlas.architectures.detection.spp import SPPDetector, cells, nearest_scale
from convatlas.blocks.pyramid import SpatialPyramidPool
from convatlas.errors import UsageError
from convatlas.records import Objects


def test_a_window_takes_the_cells_whose_centres_it_holds() -> None:
    # Pixels 10 to 99: cells at 16, 32, ..., 96 are 1 to 6. Pixels 16 to 47: floor(1) + 1 = 2 to ceil(2.94) - 1 = 2.
    boxes = torch.tensor([[10.0, 16, 100, 48]])
    assert cells(boxes, (20, 20)).tolist() == [[1, 2, 6, 2]]


def test_a_window_between_two_cells_takes_the_nearest() -> None:
    assert cells(torch.tensor([[33.0, 17, 36, 47]]), (20, 20)).tolist() == [[2, 2, 2, 2]]
    assert cells(torch.tensor([[300.0, 300, 330, 330]]), (10, 10)).tolist() == [[9, 9, 9, 9]]


def test_a_window_is_seen_at_the_scale_nearest_to_224() -> None:
    boxes = torch.tensor([[0.0, 0, 224, 224], [0, 0, 112, 112], [0, 0, 20, 20], [0, 0, 400, 400], [0, 0, 448, 112]])
    # Short side 480: factors 1, 1.2, 1.43, 1.8, 2.5. 112 at 1.8 is 202, at 2.5 is 280.
    assert nearest_scale(boxes, 480).tolist() == [0, 3, 4, 0, 0]


@pytest.fixture(scope="module")
def net() -> SPPDetector:
    torch.manual_seed(0)
    return SPPDetector(zf_trunk(3), num_classes=2, scales=(96, 192)).eval()


def test_windows_are_pooled_at_their_scales(net: SPPDetector) -> None:
    image = torch.randn(3, 96, 128) * 50
    boxes = torch.tensor([[0.0, 0, 128, 96], [10, 10, 60, 60]])
    with torch.no_grad():
        pooled = net.pyramids(image, boxes)
        large = torch.nn.functional.interpolate(image[None], (192, 256), mode="bilinear", antialias=True)
        features = net.features(large)
    x1, y1, x2, y2 = cells(boxes * 2, (features.shape[2], features.shape[3]))[1].tolist()
    torch.testing.assert_close(pooled[1:], SpatialPyramidPool()(features[:, :, y1 : y2 + 1, x1 : x2 + 1]))


def test_only_the_fully_connected_layers_learn(net: SPPDetector) -> None:
    target = Objects(torch.tensor([[10.0, 10, 60, 60]]), torch.tensor([1]), torch.tensor([False]))
    boxes = torch.tensor([[12.0, 10, 60, 60], [10, 40, 60, 90], [70, 10, 100, 40]])
    net.losses(torch.randn(1, 3, 96, 128) * 50, [target], [boxes])["classes"].backward()
    learnt = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None}
    assert learnt == {"fc6", "fc7", "fc8"}
    net.zero_grad(set_to_none=True)


def test_what_it_gives(net: SPPDetector) -> None:
    boxes = torch.tensor([[10.0, 10, 60, 60], [70, 10, 100, 40]])
    (found,) = net.detect(torch.randn(1, 3, 96, 128), [boxes], score_above=0.0)
    assert len(found.boxes) == 4
    (nothing,) = net.detect(torch.randn(1, 3, 96, 128), [torch.zeros(0, 4)])
    assert len(nothing.boxes) == 0
    pool5, fc7 = net.describe(torch.randn(3, 96, 128), boxes, ("pool5", "fc7"))
    assert (pool5.shape, fc7.shape) == ((2, 12800), (2, 4096))
    with pytest.raises(UsageError, match="layer is 'conv5'; expected one of pool5, fc6, fc7"):
        net.describe(torch.randn(3, 96, 128), boxes, ("conv5",))


def test_shape_of_the_published() -> None:
    with torch.device("meta"):
        assert registry.build("sppnet_zf5")(torch.empty(2, 3, 480, 640)).shape == (2, 21)
