"""ENet: what its decoder unpools and by which switches, PReLU per map, spatial dropout, and its 0.7 MB."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from convatlas import registry
from convatlas.analysis.trace import build_on_meta, trace_network
from convatlas.analysis.verify import verify
from convatlas.architectures.classification.enet import ENetEncoder
from convatlas.architectures.segmentation.enet import ENet, UpsamplingBottleneck
from convatlas.blocks.unpool import SwitchPool2d
from convatlas.errors import UsageError
from convatlas.ops.transplant import transplant
from dense import blocks, learn_by_heart

NAMES = ["enet_cityscapes_512", "enet_640x360", "enet_relu_decoder_512"]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", NAMES)
def test_no_row_of_the_ledger_fails(name: str) -> None:
    assert [row for row in verify(name) if row.verdict == "fails"] == []


def test_sizes_are_multiples_of_eight() -> None:
    net = build_on_meta("enet").eval()
    for side in (8, 24, 360):
        assert net(torch.empty(1, 3, side, 16, device="meta")).shape == (1, 19, side, 16)
    with pytest.raises(UsageError, match="ENet takes at least 8 pixels in steps of 8 along each axis"):
        net(torch.empty(1, 3, 10, 10, device="meta"))


def test_upsampling_puts_projected_values_back_by_the_switches() -> None:
    """A silent branch of convolutions, and a projection that leaves its one map as it is."""
    block = UpsamplingBottleneck(4, 4).eval()
    nn.init.zeros_(block.bn3.weight)
    nn.init.eye_(block.skip_conv.weight.data.view(4, 4))
    block.skip_bn.eps = 0
    x = torch.rand(1, 4, 4, 6) + 1
    pooled, switches = SwitchPool2d()(x)
    y = block(pooled, switches)
    assert torch.equal(y[y > 0], x[y > 0])
    assert int((y > 0).sum()) == pooled.numel()


def test_bottleneck_4_unpools_what_2_pooled_and_5_what_1_pooled() -> None:
    by_name = {record.name: record for record in trace_network("enet")}
    for decoder, encoder in (
        ("bottleneck4.0.unpool", "bottleneck2.0.pool"),
        ("bottleneck5.0.unpool", "bottleneck1.0.pool"),
    ):
        assert by_name[encoder].index in by_name[decoder].inputs
        assert by_name[decoder].output_shape == by_name[encoder].input_shapes[0]


def test_one_slope_for_each_map_everywhere() -> None:
    """Section 3, and the 255 layers of the released weights, have no ReLU."""
    assert not [layer for layer in build_on_meta("enet").modules() if isinstance(layer, nn.ReLU)]
    slopes = {record.name: record for record in trace_network("enet") if record.kind == "prelu"}
    assert all(record.parameters == record.output_shape[0] for record in slopes.values())
    assert len(slopes) == 1 + 3 * 22 + 3 * 5


def test_the_training_code_has_relu_in_the_decoder() -> None:
    net = build_on_meta("enet_relu_decoder_512")
    for name, layer in net.named_modules():
        if isinstance(layer, (nn.PReLU, nn.ReLU)):
            assert isinstance(layer, nn.ReLU) == name.startswith(("bottleneck4", "bottleneck5")), name


def test_slopes_of_zero_are_relu() -> None:
    """The two decoders are one where all slopes are 0."""
    released, trained = registry.build("enet").eval(), registry.build("enet_relu_decoder_512").eval()
    released.load_state_dict(trained.state_dict(), strict=False)
    for name, layer in released.named_modules():
        if isinstance(layer, nn.PReLU) and name.startswith(("bottleneck4", "bottleneck5")):
            nn.init.zeros_(layer.weight)
    x = torch.rand(1, 3, 32, 64)
    assert torch.equal(released(x), trained(x))


def test_spatial_dropout_acts_in_the_encoder_alone() -> None:
    net = ENet(num_classes=3)
    rates = {name.partition(".")[0]: m.p for name, m in net.named_modules() if isinstance(m, nn.Dropout2d)}
    assert rates == {"bottleneck1": 0.01, "bottleneck2": 0.1, "bottleneck3": 0.1}
    x = torch.rand(2, 3, 32, 32)
    assert not torch.equal(net.train()(x), net(x))
    assert torch.equal(net.eval()(x), net(x))


def test_starts_from_the_trained_encoder() -> None:
    encoder, net = ENetEncoder(num_classes=5, in_channels=3), ENet(num_classes=5)
    encoder.train()(torch.rand(2, 3, 32, 32))
    transplant(net, encoder.state_dict())
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(net.eval().encode(x)[0], encoder.eval().encode(x)[0])


def test_a_float16_file_takes_0_7_megabytes(tmp_path: Path) -> None:
    """As table 2 prints; the names and shapes of a file of safetensors take 0.05 MB more."""
    save_file(registry.build("enet").half().state_dict(), tmp_path / "enet.safetensors")
    data = (tmp_path / "enet.safetensors").read_bytes()
    tensors = len(data) - 8 - int.from_bytes(data[:8], "little")
    assert round(tensors / 1e6, 1) == 0.7
    assert len(data) < 0.81e6


def test_classes_and_channels_are_honoured() -> None:
    for channels in (1, 3, 4):
        with torch.device("meta"):
            net = registry.build("enet", num_classes=4, in_channels=channels)
            assert net(torch.empty(2, channels, 32, 64)).shape == (2, 4, 32, 64)


@pytest.mark.slow
def test_two_images_are_learnt_by_heart() -> None:
    x, masks = blocks(32, classes=3)
    assert learn_by_heart(ENet(num_classes=3), x, masks, steps=120, lr=5e-3) > 0.95
