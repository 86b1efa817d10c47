"""ResNet-18 and 34 with option A: no parameter more than the plain networks, and shortcuts of pixels and zeros."""

import pytest
import torch
from torch import Tensor, nn

from convatlas import registry
from convatlas.analysis.verify import verify
from convatlas.architectures.classification.resnet_option_a import OptionABlock
from convatlas.training import find

PAIRS = {"resnet18_a": "plain18", "resnet34_a": "plain34"}


@pytest.mark.parametrize("name", PAIRS)
def test_it_agrees_with_its_ledger(name: str) -> None:
    assert [row for row in verify(name) if row.verdict != "holds"] == []


@pytest.mark.parametrize(("name", "plain"), PAIRS.items())
def test_shortcuts_have_no_parameters(name: str, plain: str) -> None:
    ours, theirs = registry.build(name), registry.build(plain)
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]
    assert not any("shortcut" in key for key in ours.state_dict())


def test_with_a_silent_residual_a_block_passes_each_second_pixel_and_zeros() -> None:
    block = OptionABlock(2, 4, stride=2).eval()
    nn.init.zeros_(block.bn2.weight)
    x = torch.arange(2 * 4 * 4, dtype=torch.float32).view(1, 2, 4, 4)
    expected = torch.tensor([
        [[0.0, 2], [8, 10]], [[16, 18], [24, 26]], [[0, 0], [0, 0]], [[0, 0], [0, 0]],
    ])  # fmt: skip
    assert block(x)[0].tolist() == expected.tolist()


class Nothing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(())


def test_without_its_shortcuts_it_is_the_plain_network() -> None:
    ours, plain = registry.build("resnet18_a").eval(), registry.build("plain18").eval()
    ours.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(ours(x), plain(x))
        for layer in ours.modules():
            if isinstance(layer, OptionABlock):
                layer.shortcut = Nothing()
        assert torch.equal(ours(x), plain(x))


def test_the_recipe_promises_the_numbers_of_table_2() -> None:
    printed = [find(name, "published").results[0] for name in PAIRS]
    assert [(result.top1_error, result.printed_for) for result in printed] == [("27.88", ""), ("25.03", "")]
