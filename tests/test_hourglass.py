"""The stacked hourglass: its blocks by hand, heat maps at every stack, and predictions put back in."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas import registry
from convatlas.analysis.trace import build_on_meta, trace_network
from convatlas.analysis.verify import verify
from convatlas.architectures.pose.hourglass import Hourglass, Residual, StackedHourglass
from convatlas.errors import UsageError
from convatlas.records import AuxiliaryOutputs

NAMES = ["stacked_hourglass_1", "stacked_hourglass_2", "stacked_hourglass_8"]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def silent(net: nn.Module) -> nn.Module:
    """All residual branches give nothing."""
    for block in net.modules():
        if isinstance(block, Residual):
            nn.init.zeros_(block.conv3.weight)
            nn.init.zeros_(block.conv3.get_parameter("bias"))
    return net


@pytest.mark.parametrize("name", [*NAMES[:2], pytest.param(NAMES[2], marks=pytest.mark.slow)])
def test_no_row_of_the_ledger_fails(name: str) -> None:
    assert [row for row in verify(name) if row.verdict == "fails"] == []


def test_normalised_and_rectified_before_each_convolution() -> None:
    kinds = [record.kind for record in trace_network(NAMES[0]) if record.name.startswith("r4.")]
    assert kinds == ["batchnorm", "relu", "conv"] * 3 + ["identity"]
    x = torch.randn(1, 4, 5, 5)
    assert torch.equal(silent(Residual(4, 4))(x), x)
    projected = silent(Residual(4, 6))
    assert torch.equal(projected(x), projected.get_submodule("skip")(x))


def test_an_hourglass_of_silent_blocks_by_hand() -> None:
    """Then each level adds what is pooled below it: x + up(x2 + up(x4)), xn the maximum of n x n pixels; twice at 4."""
    x = torch.randn(1, 2, 8, 8)
    y = silent(Hourglass(2, poolings=2))(x)
    down = [F.max_pool2d(x, side) for side in (2, 4)]
    up = [F.interpolate(level, (8, 8)) for level in down]
    torch.testing.assert_close(y, x + up[0] + up[1])


def test_four_poolings_down_to_4_pixels() -> None:
    pools = [record for record in trace_network(NAMES[0]) if record.kind == "maxpool"]
    assert [record.output_shape[1] for record in pools] == [64, 32, 16, 8, 4]


@pytest.mark.parametrize(("name", "stacks"), [(NAMES[0], 1), (NAMES[1], 2)])
def test_every_stack_is_supervised_in_train_mode_only(name: str, stacks: int) -> None:
    with torch.device("meta"):
        net = registry.build(name, num_classes=5)
        x = torch.empty(2, 3, 64, 128)
        assert net.eval()(x).shape == (2, 5, 16, 32)
        outputs = net.train()(x)
    if stacks == 1:
        assert outputs.shape == (2, 5, 16, 32)
        return
    assert isinstance(outputs, AuxiliaryOutputs)
    assert [t.shape for t in (outputs.logits, *outputs.auxiliary)] == [(2, 5, 16, 32)] * stacks


def test_the_last_stack_s_heat_maps_are_the_output() -> None:
    net, x = StackedHourglass(2, num_classes=3), torch.rand(2, 3, 64, 64)
    seen: dict[str, Tensor] = {}
    for number, stack in net.stacks.items():
        stack.register_forward_hook(lambda module, inputs, output, number=number: seen.update({number: output[1]}))
    outputs = net.train()(x)
    assert isinstance(outputs, AuxiliaryOutputs)
    assert torch.equal(outputs.logits, seen["2"])
    assert torch.equal(outputs.auxiliary[0], seen["1"])
    assert torch.equal(net.eval()(x), net(x))


def test_features_and_predictions_are_added_to_the_input_of_the_next() -> None:
    by_name = {record.name: record for record in trace_network(NAMES[1])}
    first, identity = by_name["remaps.1/add"], by_name["stacks.1.hourglass.up1.skip"]
    assert identity.inputs == (by_name["r5/add"].index,)  # hands on the hourglass's input itself
    assert {identity.index, by_name["remaps.1.ll_remap"].index} == set(first.inputs)
    assert set(by_name["remaps.1/add_2"].inputs) == {first.index, by_name["remaps.1.out_remap"].index}
    assert by_name["remaps.1.out_remap"].inputs == (by_name["stacks.1.out"].index,)
    assert by_name["stacks.2.hourglass.up1.bn1"].inputs == (by_name["remaps.1/add_2"].index,)


def test_sizes_are_multiples_of_64() -> None:
    net = build_on_meta(NAMES[0]).eval()
    with pytest.raises(UsageError, match="StackedHourglass takes at least 64 pixels in steps of 64 along each axis"):
        net(torch.empty(1, 3, 257, 257, device="meta"))


@pytest.mark.slow
def test_two_people_are_learnt_by_heart() -> None:
    """Heat maps with one Gaussian a joint: after some steps each has its maximum where the joint is."""
    net = StackedHourglass(2, num_classes=2)
    x, joints = torch.randn(2, 3, 64, 64), torch.tensor([[[3, 12], [8, 5]], [[10, 10], [1, 7]]])
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    distances = (rows - joints[..., 0, None, None]) ** 2 + (columns - joints[..., 1, None, None]) ** 2
    targets = torch.exp(-distances / 2)
    optimizer = torch.optim.RMSprop(net.parameters(), 1e-3, alpha=0.99)
    for _ in range(150):
        optimizer.zero_grad()
        outputs = net.train()(x)
        assert isinstance(outputs, AuxiliaryOutputs)
        (F.mse_loss(outputs.logits, targets) + F.mse_loss(outputs.auxiliary[0], targets)).backward()
        optimizer.step()
    with torch.no_grad():
        found = net.train()(x).logits.flatten(2).argmax(2)
    assert torch.equal(found, joints[..., 0] * 16 + joints[..., 1])
