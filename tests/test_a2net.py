"""A2-Net: double attention against its formula, position by position, and ResNet-50 where it does nothing."""

import pytest
import torch

from convatlas import registry
from convatlas.analysis.verify import verify
from convatlas.architectures.classification.a2net import DoubleAttention, GatherDistribute

NAME = "a2net50_reading"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_no_row_of_the_ledger_fails() -> None:
    assert [row for row in verify(NAME) if row.verdict != "holds"] == []


def test_gather_and_distribute_by_hand() -> None:
    """One map of 1, 2, 3, 4 gathered by an even attention and by one on the last position: 2.5 and 4; then mixed."""
    features = torch.tensor([[[[1.0, 2], [3, 4]]]])
    gather = torch.tensor([[[0.25, 0.25, 0.25, 0.25], [0, 0, 0, 1]]])
    distribute = torch.tensor([[[1.0, 0, 0.5, 0], [0, 1, 0.5, 0]]])
    layer = GatherDistribute(2)
    assert layer(features, gather, distribute).tolist() == [[[[2.5, 4], [3.25, 0]]]]
    assert layer.count((1, 2, 2)) == (0, 2 * 1 * 2 * 4)


def test_double_attention_is_the_papers_formula() -> None:
    block = DoubleAttention(8).double().eval()
    x = torch.randn(2, 8, 3, 4, dtype=torch.float64)
    a, b, v = (layer(x).flatten(2) for layer in (block.phi_A, block.theta_B, block.rho_V))
    z = torch.zeros_like(a)
    for sample in range(2):
        attention = b[sample].exp() / b[sample].exp().sum(1, keepdim=True)  # each map over the positions
        wanted = v[sample].exp() / v[sample].exp().sum(0, keepdim=True)  # each position over the maps
        for position in range(12):
            for number in range(2):
                gathered = sum(attention[number, i] * a[sample, :, i] for i in range(12))
                z[sample, :, position] += wanted[number, position] * gathered
    expected = x + block.bn(block.expand(z.view(2, 2, 3, 4)))
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-12)


def test_blocks_follow_every_second_residual_block() -> None:
    with torch.device("meta"):
        net = registry.build(NAME)
    assert list(dict(net.get_submodule("conv3_x").named_children())) == [
        *("conv3_1", "conv3_2", "attention3_1", "conv3_3", "conv3_4", "attention3_2")
    ]
    assert sum(isinstance(m, DoubleAttention) for m in net.modules()) == 5


def test_starts_as_torchvisions_resnet50_and_leaves_it() -> None:
    """The last normalisation of each attention block starts with a scale of 0."""
    models = pytest.importorskip("torchvision.models")
    theirs = models.resnet50(num_classes=10).double().eval()
    ours = registry.build(NAME, num_classes=10).double().eval()
    own = [name for name in ours.state_dict() if "attention" not in name]
    ours.load_state_dict(dict(zip(own, theirs.state_dict().values(), strict=True)), strict=False)
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs(x)
        torch.testing.assert_close(ours(x), expected, rtol=0, atol=1e-10)
        for block in ours.modules():
            if isinstance(block, DoubleAttention):
                torch.nn.init.ones_(block.bn.weight)
        assert not torch.allclose(ours(x), expected)
