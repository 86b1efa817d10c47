"""Plain nets: ResNets less their shortcuts, layer by layer, and the ledger's counts."""

import pytest
import torch
from torch import nn

from convatlas import registry
from convatlas.analysis.verify import verify
from convatlas.architectures.classification.plain import PlainBlock

PAIRS = {"plain18": "resnet18", "plain34": "resnet34"} | {
    f"cifar_plain{depth}": f"cifar_resnet{depth}" for depth in (20, 32, 44, 56, 110)
}


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return registry.build(name)


@pytest.mark.parametrize("name", PAIRS)
def test_the_ledger_holds(name: str) -> None:
    assert {row.verdict for row in verify(name)} == {"holds"}


@pytest.mark.parametrize(("plain", "residual"), PAIRS.items())
def test_weights_are_those_of_the_resnet_without_its_shortcuts(plain: str, residual: str) -> None:
    ours = {path: p.shape for path, p in on_meta(plain).named_parameters()}
    theirs = {path: p.shape for path, p in on_meta(residual).named_parameters() if "shortcut" not in path}
    assert ours == theirs


def test_equals_a_resnet_whose_shortcuts_are_silent() -> None:
    """The same weights, and 0 instead of each shortcut: the same output."""

    class Silence(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.zeros(())

    torch.manual_seed(0)
    plain, residual = registry.build("cifar_plain20").eval(), registry.build("cifar_resnet20").eval()
    residual.load_state_dict(plain.state_dict())
    for path, _ in list(residual.named_modules()):
        if path.endswith("shortcut"):
            residual.set_submodule(path, Silence())
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(plain(x), residual(x))


def test_a_plain_block_passes_nothing_by() -> None:
    """With gamma 0 in its last normalisation nothing is left of the input."""
    block = PlainBlock(4, 4, 1)
    last = block.get_submodule("bn2")
    assert isinstance(last, nn.BatchNorm2d)
    nn.init.zeros_(last.weight)
    assert not block(torch.randn(2, 4, 5, 5)).any()


@pytest.mark.parametrize(("name", "size"), [("plain18", (160, 231)), ("cifar_plain20", (9, 41))])
def test_other_image_sizes(name: str, size: tuple[int, int]) -> None:
    assert on_meta(name)(torch.empty(2, 3, *size, device="meta")).shape == (2, registry.card(name).num_classes)
