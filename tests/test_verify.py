"""The proof: the wing holds, and whatever is wrong is found."""

from dataclasses import replace

import pytest

from convatlas import facts, registry
from convatlas.analysis.cost import cost
from convatlas.analysis.trace import trace_network
from convatlas.analysis.verify import QUANTITIES, Row, compare, verify
from convatlas.errors import UsageError

# How many printed numbers of each network arithmetic denies; the ledger has the reasons.
DISPUTED = {
    "alexnet": 3,
    "bn_inception": 2,
    "bn_inception_paper": 2,
    "bn_inception_slim": 1,
    "densenet264": 1,
    "enet_640x360": 1,
    "faster_rcnn_zf": 1,
    "fractalnet20_cifar10": 1,
    "fractalnet40": 1,
    "googlenet": 13,
    "googlenet_fcn": 1,
    "inception_v2_rethinking": 3,
    "inception_v3": 2,
    "lenet5": 2,
    "overfeat_accurate": 1,
    "overfeat_fast": 1,
    "resnext101_32x4d": 1,
    "resnext101_64x4d": 1,
    "resnext50_32x4d": 1,
    "segnet_basic": 1,
    "segnet_camvid": 1,
    "squeezenet_v1_0_complex_bypass": 1,
    "squeezenet_v1_1": 1,
    "xception": 1,
}


def lenet5() -> facts.NetworkFacts:
    network = facts.network("lenet5")
    assert network is not None
    return network


def judge(ledger: facts.NetworkFacts) -> tuple[Row, ...]:
    return compare(ledger, trace_network("lenet5"), (1, 32, 32))


def failing(rows: tuple[Row, ...]) -> list[Row]:
    return [row for row in rows if row.verdict == "fails"]


def claim(value: str, **fields: str) -> facts.Claim:
    given = {"quantity": "parameters", "where": "", "confidence": "stated", **fields}
    return facts.Claim(value=value, **given)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", registry.names())
def test_every_network_agrees_with_its_paper(name: str) -> None:
    rows = verify(name)
    assert failing(rows) == []
    assert sum(row.verdict == "disputed" for row in rows) == DISPUTED.get(name, 0)
    assert all(row.reason for row in rows if row.verdict == "disputed")
    facts.paper(registry.card(name).paper)


@pytest.mark.parametrize(
    ("name", "parameters", "connections", "multiply_adds"),
    [
        ("lenet_1989", 9_760, 64_660, 63_660),
        ("lenet5", 60_000, 340_908, 332_824),
        ("caffe_lenet", 431_080, None, 2_293_000),
        ("alexnet", 60_965_224, None, 724_406_816),
        ("alexnet_owt", 61_100_840, None, 714_188_480),
        ("cifar_resnet20", 269_722, None, 40_551_040),
        ("resnet50", 25_557_032, None, 3_857_973_248),
        ("resnet50_stride3x3", 25_557_032, None, 4_089_184_256),
    ],
)
def test_totals(name: str, parameters: int, connections: int | None, multiply_adds: int) -> None:
    sums = cost(trace_network(name))
    assert (sums.parameters, sums.multiply_adds) == (parameters, multiply_adds)
    assert connections is None or sums.connections == connections
    assert sums.uncounted == ()


@pytest.mark.parametrize(
    ("value", "verdict"),
    [("60,000", "holds"), ("60,001", "fails"), ("59,999", "fails"), ("0.06M", "holds"), ("0.1M", "holds"),
     ("61k", "fails"), ("59.9k", "fails"), ("6e4", "holds")],
)  # fmt: skip
def test_a_claim_holds_within_one_unit_of_its_last_digit(value: str, verdict: str) -> None:
    (row,) = judge(replace(lenet5(), claims=(claim(value),), layers=(), totals=None, input=None, weight_layers=None))[
        :1
    ]
    assert (row.verdict, row.computed) == (verdict, "60,000")


def test_a_disputed_claim_that_holds_is_not_disputed() -> None:
    claims = (claim("60,000", confidence="disputed", note="no"), claim("61,000", confidence="disputed", note="why"))
    first, second, *_ = judge(replace(lenet5(), claims=claims))
    assert (first.verdict, second.verdict, second.reason) == ("holds", "disputed", "why")


@pytest.mark.parametrize(
    ("quantity", "value", "compute", "verdict", "computed"),
    [
        ("ratio", "81%", "49 / 27 - 1", "holds", "0.8148"),
        ("ratio", "80%", "49 / 27 - 1", "fails", "0.8148"),
        ("output", "28 x 28 x 6", "output('lenet5', 'C1')", "holds", "28 x 28 x 6"),
        ("output", "28 x 28 x 7", "output('lenet5', 'C1')", "fails", "28 x 28 x 6"),
        ("receptive_field", "5", "field('lenet5', 'C1')", "holds", "5"),
        ("stride", "2", "jump('lenet5', 'S2')", "holds", "2"),
        ("megabytes", "0.24", "megabytes('lenet5')", "holds", "0.24"),
    ],
)
def test_a_claim_with_an_expression(quantity: str, value: str, compute: str, verdict: str, computed: str) -> None:
    ledger = replace(lenet5(), claims=(claim(value, quantity=quantity, compute=compute),))
    row = judge(ledger)[0]
    assert (row.verdict, row.computed, row.arithmetic) == (verdict, computed, compute)


def test_most_printed_claims_were_read_and_each_transcript_is_named() -> None:
    claims = [claim for paper in facts.papers() for entry in paper.networks.values() for claim in entry.claims]
    recalled = sum(claim.confidence == "recalled" for claim in claims)
    assert recalled < len(claims) / 5
    assert all(" at " in claim.source for claim in claims if claim.source)


def test_a_wrong_number_of_a_layer_fails_and_names_it() -> None:
    layers = [replace(row, params=157) if row.name == "C1" else row for row in lenet5().layers]
    (row,) = failing(judge(replace(lenet5(), layers=tuple(layers))))
    assert (row.quantity, row.layer, row.printed, row.computed) == ("parameters", "C1", "157", "156")


@pytest.mark.parametrize(
    ("field", "value", "quantity"),
    [("out", (6, 28, 27), "output"), ("kernel", (3, 3), "kernel"), ("stride", (2, 2), "stride"),
     ("op", "fc", "operation"), ("groups", 2, "groups"), ("macs", 1, "multiply_adds"),
     ("connections", 1, "connections")],
)  # fmt: skip
def test_each_stated_property_of_a_layer_is_compared(field: str, value: object, quantity: str) -> None:
    layers = [replace(row, **{field: value}) if row.name == "C1" else row for row in lenet5().layers]  # pyright: ignore
    assert [row.quantity for row in failing(judge(replace(lenet5(), layers=tuple(layers))))] == [quantity]


def test_a_layer_that_the_ledger_forgets_fails() -> None:
    layers = tuple(row for row in lenet5().layers if row.name not in ("S2", "output"))
    rows = failing(judge(replace(lenet5(), layers=layers)))
    assert [(row.layer, row.reason) for row in rows] == [("S2", "not in the ledger"), ("output", "not in the ledger")]


def test_a_layer_that_the_network_lacks_fails() -> None:
    layers = (*lenet5().layers, facts.LayerFacts("C7", "conv", params=0))
    claims = (*lenet5().claims, claim("5", layer="C9"))
    rows = failing(judge(replace(lenet5(), layers=layers, claims=claims)))
    assert [(row.layer, row.reason) for row in rows] == [
        ("C9", "the network has no layer 'C9'"),
        ("C7", "the network has no layer 'C7'"),
    ]


def test_of_a_pattern_only_the_layers_that_differ_fail() -> None:
    network = facts.network("cifar_resnet20")
    assert network is not None
    layers = [replace(row, macs=7) if row.name == "stage3.{2..3}.conv{1..2}" else row for row in network.layers]
    rows = failing(compare(replace(network, layers=tuple(layers)), trace_network("cifar_resnet20"), (3, 32, 32)))
    assert [row.layer for row in rows] == list(facts.expand("stage3.{2..3}.conv{1..2}"))


def test_totals_are_exact() -> None:
    network = lenet5()
    assert network.totals is not None
    rows = failing(judge(replace(network, totals=replace(network.totals, connections=340_909))))
    assert [(row.quantity, row.layer) for row in rows] == [("connections", None)]


def test_a_network_without_an_entry_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "network", lambda name: None)
    (row,) = verify("lenet5")
    assert (row.verdict, row.reason) == ("fails", "facts/papers/lecun1998.toml has no [networks.lenet5]")


def test_every_quantity_of_the_ledger_can_be_computed() -> None:
    assert set(QUANTITIES) == set(facts.QUANTITIES)


def test_an_unknown_network_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="unknown network 'lenet55'; did you mean lenet5"):
        verify("lenet55")
