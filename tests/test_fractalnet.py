"""FractalNets: who joins whom and when, what drop-path drops, and columns on their own."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas import registry
from convatlas.analysis.trace import trace_network
from convatlas.analysis.verify import verify
from convatlas.architectures.classification.fractalnet import FractalBlock, FractalNet, Join, column
from convatlas.errors import UsageError

NAMES = [name for name in registry.names() if registry.card(name).paper == "larsson2016_fractalnet"]
DISPUTED = {"fractalnet20_cifar10": ["38.6M"], "fractalnet40": ["22.9M"]}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def tiny(columns: int = 3) -> FractalNet:
    return FractalNet(columns, (4, 4, 6, 6, 8), num_classes=5, in_channels=3)


@pytest.mark.parametrize("name", NAMES)
def test_only_the_two_unexplained_counts_are_disputed(name: str) -> None:
    rows = [row for row in verify(name) if row.verdict != "holds"]
    assert {row.verdict for row in rows} <= {"disputed"}
    assert [row.printed for row in rows] == DISPUTED.get(name, [])


def test_the_names_are_those_of_the_ledger() -> None:
    assert len(NAMES) == 8


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


@pytest.mark.parametrize("pool_first", [False, True])
def test_a_block_of_three_columns_by_hand(pool_first: bool) -> None:
    """Layers that multiply by 2 in column 1, by 3 in column 2, by 5 in column 3.

    Step 2: (3 + 25) / 2 = 14 goes on in columns 2 and 3. Step 4: (2 + 3 x 14 + 25 x 14) / 3.
    """
    block = FractalBlock(3, 1, 1, 0.0, pool_first=pool_first).eval()
    for number, factor in ((1, 2.0), (2, 3.0), (3, 5.0)):
        for name, _ in list(block.get_submodule(f"column{number}").named_children()):
            block.get_submodule(f"column{number}").register_module(name, Times(factor))
    x = torch.tensor([[[[1.0, -1.0], [0.5, 0.0]]]])
    assert block(x).item() == pytest.approx((2 + 42 + 350) / 3)
    assert [block(x, number).item() for number in (1, 2, 3)] == [2, 9, 625]


def test_the_longest_column_of_c_has_2_to_the_c_minus_1_layers() -> None:
    with torch.device("meta"):
        block = FractalBlock(4, 3, 4, 0.0, pool_first=False)
    assert [len(block.get_submodule(f"column{number}")) for number in (1, 2, 3, 4)] == [1, 2, 4, 8]
    joins = {name: part.columns for name, part in block.named_children() if isinstance(part, Join)}
    assert joins == {"join2": 2, "join4": 3, "join6": 2, "join8": 4}


def test_a_join_is_the_mean_when_nothing_is_dropped() -> None:
    maps = [torch.full((1, 1, 1, 1), value) for value in (1.0, 2.0, 6.0)]
    assert Join(3).eval()(maps).item() == 3


def test_local_drop_path_keeps_85_of_100_and_always_one() -> None:
    """The mean of 1 and 3 is 2, unless one of them is dropped: 0.85 x 0.85 of the times both are there."""
    maps = [torch.tensor(1.0), torch.tensor(3.0)]
    join = Join(2).train()
    values = torch.stack([join(maps) for _ in range(4000)])
    assert set(values.tolist()) == {1.0, 2.0, 3.0}
    assert (values == 2).float().mean().item() == pytest.approx(0.85**2, abs=0.03)
    assert (values == 1).float().mean().item() == pytest.approx((1 - 0.85**2) / 2, abs=0.03)


def used_columns(net: FractalNet) -> set[int]:
    """The columns of block 1 that got a gradient in one step."""
    net.zero_grad()
    net(torch.randn(2, 3, 32, 32)).square().sum().backward()
    parts = {number: net.get_submodule(f"block1.column{number}").parameters() for number in range(1, net.columns + 1)}
    return {number for number, parameters in parts.items() if any(p.grad is not None for p in parameters)}


def test_global_drop_path_trains_one_column_for_half_of_the_batches() -> None:
    """Local drop-path seldom leaves one column of block 1 alone: less than 0.15 x 0.15 of the times."""
    net = tiny().train()
    counts = [len(used_columns(net)) for _ in range(100)]
    assert 35 <= counts.count(1) <= 68
    alone = [used_columns(net) for _ in range(60)]
    assert {1} in alone
    assert {3} in alone


def test_a_global_column_is_the_same_in_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    net = tiny().train()
    taken: list[int | None] = []
    for block in net.blocks():
        forward = block.forward
        monkeypatch.setattr(block, "forward", lambda x, c=None, f=forward: taken.append(c) or f(x, c))
    for _ in range(20):
        net(torch.randn(2, 3, 32, 32))
    steps = [set(taken[i : i + 5]) for i in range(0, 100, 5)]
    assert all(len(step) == 1 for step in steps)
    assert set.union(*steps) == {None, 1, 2, 3}


def test_what_is_drawn_is_a_function_of_the_seed() -> None:
    net, x = tiny().train(), torch.randn(2, 3, 32, 32)
    outputs = []
    for seed in (1, 1, 2, 3, 4, 5):
        torch.manual_seed(seed)
        outputs.append(net(x))
    assert torch.equal(outputs[0], outputs[1])
    assert len({output.sum().item() for output in outputs}) > 2


def test_nothing_is_dropped_in_testing() -> None:
    net, x = tiny().eval(), torch.randn(2, 3, 32, 32)
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize(("index", "convolutions"), [(1, 5), (2, 10), (3, 20)])
def test_a_column_alone_is_a_plain_network(index: int, convolutions: int) -> None:
    net = tiny()
    net(torch.randn(4, 3, 32, 32))
    net.eval()
    alone, x = column(net, index), torch.randn(2, 3, 32, 32)
    assert sum(isinstance(layer, nn.Conv2d) for layer in alone.modules()) == convolutions
    expected = x
    for block in net.blocks():
        expected = block(expected, index)
    assert torch.equal(alone(x), net.prediction(expected.flatten(1)))
    shared = {id(p) for p in net.parameters()}
    assert all(id(p) in shared for p in alone.parameters())


@pytest.mark.parametrize("index", [0, 4])
def test_a_column_that_is_not_there(index: int) -> None:
    with pytest.raises(UsageError, match=f"column index is {index}; expected 1 to 3"):
        column(tiny(), index)


def test_dropout_grows_from_block_to_block() -> None:
    rates = [{m.p for m in block.modules() if isinstance(m, nn.Dropout)} for block in tiny().blocks()]
    assert rates == [set(), {0.1}, {0.2}, {0.3}, {0.4}]


def test_columns_are_pooled_before_the_last_join() -> None:
    names = [record.name for record in trace_network("fractalnet_thin_c2")]
    assert names.index("block4.join2") < names.index("block4.pool")
    assert names.index("block5.pool2") < names.index("block5.join2")


@pytest.mark.slow
def test_eight_images_are_learnt_by_heart() -> None:
    """The mean of the last losses: single ones depend on the path that was drawn."""
    net, labels = FractalNet(2, (16, 16, 32, 32, 64), num_classes=8, in_channels=3), torch.arange(8)
    for layer in net.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0  # eight images are too few for it; drop-path stays
    x = torch.randn(8, 3, 32, 32)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    losses = []
    for _ in range(120):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-30:]) / 30 < 0.3
