"""The lineage: complete, forward in time, and found from any network."""

import json

import pytest

from convatlas import facts, registry
from convatlas.cli import main
from convatlas.facts.lineage import lineage


def test_every_paper_of_the_ledger_is_in_it() -> None:
    keys = {work.key for work in lineage().works}
    connected = {key for edge in lineage().edges for key in (edge.source, edge.target)}
    papers = {facts.network(name).paper for name in facts.network_names()}  # pyright: ignore[reportOptionalMemberAccess]
    assert papers <= keys
    assert keys == connected


def test_networks_exist() -> None:
    listed = {name for work in lineage().works for name in work.networks}
    assert listed <= set(registry.names())


def test_resnet_stands_on_highway_and_vgg() -> None:
    sources = {edge.source for edge in lineage().edges if edge.target == "he2015_resnet"}
    assert {"srivastava2015_highway", "simonyan2014_vgg", "ioffe2015_bn"} <= sources
    ancestors = {edge.source for edge in lineage().ancestors("he2015_resnet")}
    assert "fukushima1980_neocognitron" in ancestors
    descendants = {edge.target for edge in lineage().descendants("he2015_resnet")}
    assert {"huang2016_densenet", "xie2016_resnext", "he2017_mask"} <= descendants
    assert not ancestors & descendants


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lineage", "ResNet-50"]) == 0
    assert "The shortcut without gates" in capsys.readouterr().out
    assert main(["lineage", "--branch", "size", "--json"]) == 0
    edges = json.loads(capsys.readouterr().out)["The lineage"]
    assert {edge["branch"] for edge in edges} == {"size"}
    assert main(["lineage", "nobody"]) == 2
    assert main(["lineage", "--branch", "colour"]) == 2
