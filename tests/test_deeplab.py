"""DeepLab-LargeFOV and CRF-RNN: holes that keep the field of view, any size, thinned weights, mean field behind FCN."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convatlas import registry
from convatlas.analysis.cost import cost
from convatlas.analysis.receptive_field import receptive_fields
from convatlas.analysis.trace import build_on_meta, trace_network
from convatlas.analysis.verify import verify
from convatlas.architectures.segmentation.deeplab import Interp
from convatlas.blocks.mean_field import MeanField

NAMES = ("deeplab_largefov_voc", "crf_rnn_fcn8s_voc")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", NAMES)
def test_no_row_of_the_ledger_fails(name: str) -> None:
    assert [row for row in verify(name) if row.verdict != "holds"] == []


@pytest.mark.parametrize("name", NAMES)
def test_any_size_comes_back_with_classes_and_channels(name: str) -> None:
    with torch.device("meta"):
        net = registry.build(name, num_classes=4, in_channels=2)
        for height, width in ((64, 97), (321, 320), *((n, n + 1) for n in range(32, 42))):
            assert net(torch.empty(2, 2, height, width)).shape == (2, 4, height, width)


def test_the_map_has_strides_of_8_on_every_eighth_pixel() -> None:
    records = trace_network("deeplab_largefov_voc", (3, 801, 801))
    fields = dict(zip((r.name for r in records), receptive_fields(records), strict=True))
    field = fields["fc8"]
    assert field is not None
    assert field.stride == (8, 8)
    assert field.offset[0] + (field.size[0] - 1) / 2 == 0
    shape = next(r.output_shape for r in trace_network("deeplab_largefov_voc") if r.name == "fc8")
    assert shape == (21, 41, 41)


def test_interp_keeps_positions_by_hand() -> None:
    y = Interp()(torch.tensor([[[[0.0, 8.0], [80.0, 88.0]]]]))
    assert y.shape == (1, 1, 9, 9)
    torch.testing.assert_close(y[0, 0, 0], torch.arange(9.0))
    torch.testing.assert_close(y[0, 0, :, 0], 10 * torch.arange(9.0))


def test_holes() -> None:
    net = build_on_meta("deeplab_largefov_voc")
    assert [net.get_submodule(f"pool{i}").stride for i in range(1, 6)] == [2, 2, 2, 1, 1]
    holes = {name: m.dilation[0] for name, m in net.named_modules() if isinstance(m, nn.Conv2d) and m.dilation[0] > 1}
    assert holes == {"conv5_1": 2, "conv5_2": 2, "conv5_3": 2, "fc6": 12}


def test_vggs_classifier_is_thinned_out() -> None:
    net = registry.build("deeplab_largefov_voc")
    drawn = net.get_parameter("fc8.weight").clone()
    fc6 = torch.zeros(4096, 512, 7, 7)
    fc6[4, 9] = torch.arange(49.0).view(7, 7)
    fc7 = torch.zeros(4096, 4096)
    fc7[8, 12] = 5.0
    given = {"fc6.weight": fc6.flatten(1), "fc6.bias": torch.arange(4096.0), "fc7.weight": fc7}
    given |= {"fc7.bias": torch.arange(4096.0), "fc8.weight": torch.ones(1000, 4096), "conv1_1.bias": torch.ones(64)}
    copied = net.start_from(given)
    assert set(copied) == {"fc6.weight", "fc6.bias", "fc7.weight", "fc7.bias", "conv1_1.bias"}
    assert net.get_parameter("fc6.weight")[1, 9].tolist() == [[0, 3, 6], [21, 24, 27], [42, 45, 48]]
    assert net.get_parameter("fc7.weight")[2, 3].item() == 5
    assert net.get_parameter("fc6.bias")[:3].tolist() == [0, 4, 8]
    assert torch.equal(net.get_parameter("fc8.weight"), drawn)


def test_its_own_weights_are_taken_whole() -> None:
    net, other = build_on_meta("deeplab_largefov_voc"), build_on_meta("deeplab_largefov_voc")
    assert set(net.start_from(other.state_dict())) == set(other.state_dict())


def test_crf_rnn_takes_all_of_fcn8s_and_names_what_is_not_counted() -> None:
    net, earlier = build_on_meta("crf_rnn_fcn8s_voc"), build_on_meta("fcn8s_vgg16_voc")
    copied = net.start_from(earlier.state_dict())
    left = net.state_dict().keys() - set(copied)
    assert left == {"crf.bilateral_weights", "crf.spatial_weights", "crf.compatibility"}
    assert cost(trace_network("crf_rnn_fcn8s_voc")).uncounted == ("crf",)
    crf = net.get_submodule("crf")
    assert isinstance(crf, MeanField)
    assert (crf.iterations, crf.eval_iterations, crf.position_px, crf.colour, crf.smoothness_px) == (5, 10, 160, 3, 3)


@pytest.mark.slow
def test_crf_rnn_smooths_over_like_colours_and_learns() -> None:
    net = registry.build("crf_rnn_fcn8s_voc", num_classes=2).eval()
    x = torch.zeros(1, 3, 12, 12)
    x[..., 6:] = 100.0
    unary = torch.stack((torch.zeros(12, 12), torch.cat((torch.full((12, 6), -2.0), torch.full((12, 6), 2.0)), 1)))
    unary[1, 5, 2] = 1.0  # one pixel that disagrees with its neighbours of the same colour
    refined = net.crf(unary[None], x)
    expected = (torch.arange(12) >= 6).long().expand(12, 12)
    assert torch.equal(refined.argmax(1)[0], expected)
    net.train()
    F.cross_entropy(net(x), expected[None]).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.crf.parameters())
    assert net.score_fr.weight.grad is not None


@pytest.mark.slow
def test_two_images_are_learnt_by_heart() -> None:
    net = registry.build("deeplab_largefov_voc", num_classes=3)
    masks = torch.zeros(2, 49, 49, dtype=torch.long)
    masks[0, :, 24:], masks[1, :24] = 1, 2
    x = torch.randn(2, 3, 49, 49) + 2 * masks[:, None]
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(net.train()(x), masks).backward()
        optimizer.step()
        with torch.no_grad():
            right = (net.eval()(x).argmax(1) == masks).float().mean()
        if right > 0.95:
            break
    assert right > 0.95
