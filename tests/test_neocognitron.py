"""The neocognitron: its cells by hand, its competition, and that it learns without a teacher."""

import math

import pytest
import torch
from torch.nn import functional as F

from convatlas import data, registry
from convatlas.analysis.verify import verify
from convatlas.architectures.classification.neocognitron import (
    HANDWRITING,
    PAPER,
    PLANES,
    CCells,
    Constants,
    NamedPlanes,
    Neocognitron,
    SCells,
    falling_weights,
    seed_cells,
)
from convatlas.data import LabelAssembly, Loader, default_preprocessing


def cells(**other: float) -> SCells:
    torch.manual_seed(0)
    values = {"selectivity": 4.0, "learning_selectivity": 4.0, "speed": 1e6} | other
    return SCells(1, padding=0, column=5, **values)  # pyright: ignore[reportArgumentType]


def test_fixed_connections_fall_with_distance() -> None:
    assert falling_weights(3, 0.5)[1].tolist() == [0.5, 1, 0.5]
    assert falling_weights(3, 0.5, first=4)[1].tolist() == [2, 4, 2]
    assert falling_weights(5, 0.9, total=0.25).sum().item() == pytest.approx(0.25)
    assert falling_weights(3, 0.5)[0, 0].item() == pytest.approx(0.5 ** math.sqrt(2))
    assert cells().fall.sum().item() == pytest.approx(1)


def test_s_cell_by_hand() -> None:
    layer = cells(selectivity=2.0)
    layer.excitation.fill_(0.1)
    layer.inhibition.fill_(0.5)
    x = torch.full((1, 1, 5, 5), 0.8)
    v = 0.8  # the root mean square of a constant
    expected = 2 * ((1 + 25 * 0.1 * 0.8) / (1 + 2 * 2 / 3 * 0.5 * v) - 1)
    assert layer(x).flatten()[0].item() == pytest.approx(expected, rel=1e-5)


def test_a_trained_cell_is_silent_below_its_similarity() -> None:
    """r / (1 + r) = 0.8 for r = 4: the cosine of pattern and memory, weighted by the fixed connections."""
    layer, pattern = cells(), torch.rand(1, 1, 5, 5)
    layer.excitation.zero_()
    layer.excitation[3] = 1e-6 * torch.rand(1, 5, 5)
    layer.learn(pattern)
    for noise in (0.0, 0.3, 1.0, 3.0):
        other = pattern + noise * torch.rand(1, 1, 5, 5)
        c = layer.fall
        similarity = (c * pattern * other).sum() / ((c * pattern**2).sum() * (c * other**2).sum()).sqrt()
        expected = max(0.0, 5 * similarity.item() - 4)  # of r ((1 + r) / r s - 1)
        assert layer(other)[0, 3].item() == pytest.approx(expected, abs=1e-3)


def test_seed_cells_win_a_column_and_are_one_a_plane() -> None:
    s = torch.zeros(3, 8, 8)
    s[0, 1, 1], s[0, 6, 6] = 5, 4  # plane 0 wins two columns, and keeps the stronger
    s[1, 1, 2] = 3  # alone in a column only if that does not hold (1, 1)
    s[2, 6, 7] = 2
    assert seed_cells(s, 1) == [(0, 1, 1), (1, 1, 2), (2, 6, 7)]  # columns of one place: no rivals
    assert seed_cells(s, 3) == [(0, 1, 1), (1, 1, 2)]  # (1, 2) is the strongest around (1, 3); (6, 7) never is
    assert seed_cells(s, 15) == [(0, 1, 1)]
    assert seed_cells(torch.zeros(3, 4, 4), 3) == []


def test_learning_strengthens_the_winner_where_it_saw_the_pattern() -> None:
    layer = cells(speed=2.0)
    layer.excitation.zero_()
    layer.excitation[7] = 1e-4
    before = layer.excitation.clone()
    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 4:7, 3] = 1.0
    layer.learn(x)
    changed = (layer.excitation - before).flatten(1).any(dim=1).nonzero().flatten().tolist()
    assert changed == [7]
    s = layer.answer(x, 4.0)[0]
    assert s[0, 7].max() > 0
    added = (layer.excitation - before)[7] / (2 * layer.fall[0])
    assert set(added.round(decimals=3).unique().tolist()) == {0.0, 1.0}
    assert layer.inhibition[7] == (2 / 2) * (layer.fall[0] * added).sum().sqrt()


def test_c_cells_divide_by_the_mean_of_the_planes() -> None:
    layer = CCells(2)
    x = torch.zeros(1, 3, 2, 2)
    x[0, 0] = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    d = 4 * 0.8 ** math.sqrt(0.5)
    expected = (1 + d) / (1 + d / 3) - 1
    assert layer(x).flatten().tolist() == pytest.approx([expected / (1 + expected), 0, 0])


def test_c_cells_blur_positions() -> None:
    layer, x = CCells(5, stride=2, padding=3), torch.zeros(2, 2, 16, 16)
    x[0, 0, 8, 8] = x[1, 0, 8, 9] = 1.0
    first, second = layer(x)
    assert first.shape == (2, 10, 10)
    assert F.cosine_similarity(first.flatten(), second.flatten(), dim=0) > 0.7
    assert not (x[0] * x[1]).any()


def test_planes_are_named_by_their_largest_mean_response() -> None:
    named = NamedPlanes(3)
    assert named.names.sum(dim=1).unique().tolist() == [1]
    responses = torch.zeros(4, PLANES, 1, 1)
    responses[0, 5], responses[1, 5], responses[2, 5] = 0.9, 0.1, 0.6  # class 2 has fewer patterns, and a larger mean
    named.note(responses, torch.tensor([0, 0, 2, 1]))
    named.name()
    assert named.names[5].tolist() == [0, 0, 1]
    assert named(responses)[0].tolist() == pytest.approx([0, 0, 0.9])


def test_each_pass_belongs_to_one_layer() -> None:
    torch.manual_seed(0)
    net, x = Neocognitron(HANDWRITING), torch.rand(4, 1, 16, 16)
    for learning in ("US1", "US2", "US3", None):
        before = {name: value.clone() for name, value in net.named_parameters()}
        net.learn(x, torch.tensor([0, 1, 2, 3]))
        net.end_pass(0)
        changed = {name.split(".")[0] for name, value in net.named_parameters() if not torch.equal(value, before[name])}
        assert changed == ({learning} if learning else set())


@pytest.mark.parametrize("side", [16, 17, 24])
def test_other_sizes(side: int) -> None:
    assert Neocognitron(HANDWRITING)(torch.rand(2, 1, side, side)).shape == (2, 10)


def test_learns_digits_far_better_than_chance() -> None:
    """27% to 31% with the whole set; a third of it does for a test. Chance is 90%."""
    digits = data.load("digits")
    preprocessing = default_preprocessing(registry.card("neocognitron_handwriting"), digits.train)
    assert (preprocessing.mean, preprocessing.std) == ((0.0,), (1.0,))
    torch.manual_seed(0)
    net = Neocognitron(HANDWRITING)
    train = Loader(LabelAssembly(digits.train, preprocessing), batch_size=50, shuffle=True)
    for epoch in range(4):
        for index, batch in enumerate(train.epoch(epoch)):
            if index < 10 or epoch == 3:
                net.learn(batch.images, batch.labels)
        net.end_pass(epoch)
    (batch,) = Loader(LabelAssembly(digits.test, preprocessing), batch_size=1000).epoch(0)
    error = (net(batch.images).argmax(dim=1) != batch.labels).float().mean()
    assert error < 0.45


DRAWN = {
    0: ("..####..", ".#....#.", *("#......#",) * 6, ".#....#.", "..####.."),
    1: ("....#...",) * 10,
    2: (
        "..####..", ".#....#.", "......#.", "......#.", ".....#..",
        "....#...", "...#....", "..#.....", ".#......", ".######.",
    ),
    3: (".#####..", *("......#.",) * 3, "..####..", *("......#.",) * 4, ".#####.."),
    4: (
        ".....#..", "....##..", "...#.#..", "..#..#..", ".#...#..",
        "#....#..", "########", ".....#..", ".....#..", ".....#..",
    ),
}  # fmt: skip


def drawn_digits(down: int = 3, right: int = 4) -> torch.Tensor:
    """The paper's five digits, drawn by us.  () -> (5, 1, 16, 16)"""
    images = torch.zeros(5, 1, 16, 16)
    for digit, rows in DRAWN.items():
        strokes = torch.tensor([[float(mark == "#") for mark in row] for row in rows])
        images[digit, 0, down : down + 10, right : right + 8] = strokes
    return images


def taught(constants: Constants, seed: int) -> Neocognitron:
    """A network to which each of the five was shown 20 times, without a teacher."""
    torch.manual_seed(seed)
    net, digits = Neocognitron(constants, num_classes=5), drawn_digits()
    for epoch in range(4):
        for _ in range(20 if epoch < 3 else 1):
            net.learn(digits, torch.arange(5))
        net.end_pass(epoch)
    return net


def test_the_papers_experiment() -> None:
    """Section 4: five digits in 20 presentations, recognised where they were not shown, by the paper's constants; those
    for handwriting part the five less well. Chance is a fifth."""
    places = [(1, 4), (5, 4), (3, 2), (3, 6)]
    right = {PAPER: 0, HANDWRITING: 0}
    for constants in right:
        for seed in range(3):
            net = taught(constants, seed)
            for place in places:
                right[constants] += int((net(drawn_digits(*place)).argmax(dim=1) == torch.arange(5)).sum())
    assert right[PAPER] >= 50  # of 60
    assert right[PAPER] > right[HANDWRITING]


def test_the_registered_names_have_their_constants() -> None:
    paper, handwriting = registry.build("neocognitron_1980"), registry.build("neocognitron_handwriting")
    assert isinstance(paper, Neocognitron)
    assert isinstance(handwriting, Neocognitron)
    assert [cells.selectivity for cells, _ in paper.stages()] == [4, 1.5, 1.5]
    assert [cells.learning_selectivity for cells, _ in paper.stages()] == [4, 1.5, 1.5]
    assert (paper.UC1.alpha, handwriting.UC1.alpha) == (0.5, 1.0)
    assert [cells.selectivity for cells, _ in handwriting.stages()] == [4, 3, 1.5]


@pytest.mark.parametrize("name", ["neocognitron_1980", "neocognitron_handwriting"])
def test_the_ledger_holds(name: str) -> None:
    assert [row for row in verify(name) if row.verdict == "fails"] == []
