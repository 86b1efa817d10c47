"""The ledger: what it says, and that it refuses what breaks its schema."""

import math
import subprocess
import sys
from decimal import Decimal

import pytest

from convatlas import facts


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("60,000", "60000", "1"),
        ("9760", "9760", "1"),
        ("0.27M", "270000", "10000"),
        ("60M", "60000000", "1000000"),
        ("60 million", "60000000", "1000000"),
        ("1.7 M", "1700000", "100000"),
        ("3.8e9", "3800000000", "100000000"),
        ("24.3 G", "24300000000", "100000000"),
        ("1.5 billion", "1500000000", "100000000"),
        ("99%", "0.99", "0.01"),
        ("0.714 G", "714000000", "1000000"),
        ("2.5e-3", "0.0025", "0.0001"),
    ],
)
def test_printed_precision_survives(text: str, value: str, unit: str) -> None:
    assert facts.parse_quantity(text) == (Decimal(value), Decimal(unit))


@pytest.mark.parametrize("text", ["", "many", "60,00", "1.2.3", "12 crops", "1e"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a printed quantity"):
        facts.parse_quantity(text)


def test_brace_ranges_stand_for_all_names() -> None:
    assert facts.expand("stage1.{9..10}.conv{1..2}") == (
        "stage1.9.conv1",
        "stage1.9.conv2",
        "stage1.10.conv1",
        "stage1.10.conv2",
    )
    assert facts.expand("fc") == ("fc",)


def test_every_paper_loads() -> None:
    keys = {paper.key for paper in facts.papers()}
    assert keys >= {"lecun1989", "lecun1998", "krizhevsky2012", "krizhevsky2014", "he2015_resnet", "caffe_lenet"}


def test_a_paper_keeps_what_it_states() -> None:
    paper = facts.paper("lecun1998")
    assert paper.year == 1998
    assert paper.recipe["init"].startswith("uniform in +-2.4/F_i")
    assert ("connections_IEEE_print", "345308") in paper.claims
    assert paper.results[0].value == "0.95% (+-0.1)"
    assert paper.tables["c3_table"]["maps"]["15"] == [0, 1, 2, 3, 4, 5]
    with pytest.raises(KeyError, match="no paper 'lecun2098' in the ledger"):
        facts.paper("lecun2098")


def test_a_network_is_found_without_naming_its_paper() -> None:
    network = facts.network("lenet5")
    assert network is not None
    assert network.paper == "lecun1998"
    assert network.totals is not None
    assert network.totals.connections == 340_908
    assert facts.network("lenet6") is None


# Rows of layers that run on several maps are of the first: here the proposal network's on the four coarser levels.
ON_OTHER_MAPS = {"mask_rcnn_resnet50_fpn": 256 * (9 * 256 + 3 + 12) * (100 * 168 + 50 * 84 + 25 * 42 + 13 * 21)}


@pytest.mark.parametrize("paper", facts.papers(), ids=lambda paper: paper.key)
def test_the_layers_add_up_to_the_totals(paper: facts.Paper) -> None:
    for network in paper.networks.values():
        if network.totals is None:
            assert network.status == "partial", network.name
            continue
        copies = [(row, len(facts.expand(row.name))) for row in network.layers]
        trunk = [(row, n) for row, n in copies if not row.name.startswith("aux")]
        assert sum(n * (row.params or 0) for row, n in trunk) == network.totals.parameters, network.name
        multiply_adds = sum(n * (row.macs or 0) for row, n in trunk) + ON_OTHER_MAPS.get(network.name, 0)
        assert multiply_adds == network.totals.multiply_adds, network.name
        if len(trunk) < len(copies):
            assert sum(n * (row.params or 0) for row, n in copies) == network.totals.parameters_with_aux, network.name
            assert sum(n * (row.macs or 0) for row, n in copies) == network.totals.multiply_adds_with_aux, network.name


def test_the_formulas_of_the_table_give_its_numbers() -> None:
    rows = [row for paper in facts.papers() for net in paper.networks.values() for row in net.layers]
    checked = 0
    for row in rows:
        for name, formula in row.extra.get("formulas", {}).items():
            assert set(formula) <= set("0123456789+-*() "), formula
            value = getattr(row, name)
            assert eval(formula) == (math.prod(value) if isinstance(value, tuple) else value), row.name
            checked += 1
    assert checked >= 33  # three for each of the layers of LeNet-5 and the 1989 network, to begin with


HEAD = 'title = "T"\nauthors = "A"\nyear = 2000\nvenue = "V"\nid = "I"\n'
NET = HEAD + '[networks.n]\ntitle = "N"\n'
CLAIM = NET + "[[networks.n.claims]]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = ", "facts/papers/p.toml: Invalid value"),
        ('title = "T"\n', "the field 'authors' is missing"),
        (HEAD + 'colour = "red"\n', "unknown field 'colour'"),
        (HEAD.replace("2000", '"2000"'), "year is '2000'; expected an integer"),
        (HEAD + "[recipe]\nbatch = 128\n", "recipe.batch is 128; expected a string, as printed"),
        (NET + 'layers = [{name = "a"}]', r"networks.n.layers\[0\]: the field 'op' is missing"),
        (NET + 'layers = [{name = "a", op = "conv", out = "96"}]', "out is '96'; expected a list of integers"),
        (NET + 'layers = [{name = "a{1..2}", op = "fc"}, {name = "a2", op = "fc"}]', "'a2' stands in two rows"),
        (CLAIM + 'quantity = "size"\nvalue = "1"\nwhere = ""\nconfidence = "stated"', "quantity is 'size'; expected"),
        (CLAIM + 'quantity = "units"\nvalue = "few"\nwhere = ""\nconfidence = "stated"', "'few' is not a printed"),
        (CLAIM + 'quantity = "units"\nvalue = "1"\nwhere = ""\nconfidence = "sure"', "confidence is 'sure'; expected"),
        (CLAIM + 'quantity = "units"\nvalue = "1"\nwhere = ""\nconfidence = "disputed"', "needs a note"),
    ],
)
def test_a_broken_file_is_named_with_its_place(text: str, message: str) -> None:
    with pytest.raises(facts.LedgerError, match=message):
        facts.parse_paper("p", text)


def test_the_ledger_needs_neither_torch_nor_the_networks() -> None:
    code = "import sys, convatlas.facts as f; f.papers(); print({'torch', 'convatlas.registry'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
