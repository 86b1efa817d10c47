"""Blocks counted from a line, against hand calculation and the trace of the networks."""

import json

import pytest

from convatlas.analysis.block_count import EXAMPLES, count_block
from convatlas.analysis.block_notation import parse_block
from convatlas.cli import main
from convatlas.errors import UsageError


def total(text: str, quantity: str) -> int:
    return count_block(text, parse_block(text)).total(quantity)


def test_bottleneck() -> None:
    """256 x 256 x 9 = 589,824 against 16,384 + 36,864 + 16,384 = 69,632."""
    assert total("conv 3x3 256->256", "weights") == 589_824
    assert total("conv 1x1 256->64; conv 3x3 64->64; conv 1x1 64->256", "multiply_adds") == 69_632


def test_weight_sharing() -> None:
    """From 10^12 connections to 100 parameters."""
    assert total("fc 1->1000000 nobias @1000", "connections") == 10**12
    assert total("local 10x10 1->1 nobias @1000", "parameters") == 10**8
    assert total("conv 10x10 1->1 nobias @1000", "parameters") == 100


@pytest.mark.parametrize(
    ("text", "field", "stride"),
    [
        ("conv 3x3 8->8; conv 3x3 8->8; conv 3x3 8->8", (7, 7), 1),
        ("conv 7x7/2 3->64; maxpool 3x3/2; conv 3x3 64->64", (19, 19), 4),  # 7; 7 + 2 x 2; 11 + 2 x 4
        ("conv 1x7 8->8; conv 7x1 8->8", (7, 7), 1),
        ("conv 3x3 8->8 d=2", (5, 5), 1),
        ("fc 3->10 @32", (32, 32), 1),
    ],
)
def test_receptive_fields(text: str, field: tuple[int, int], stride: int) -> None:
    count = count_block(text, parse_block(text))
    assert (count.receptive_field, count.stride) == (field, stride)


@pytest.mark.parametrize(
    ("text", "network", "layer"),
    [
        ("conv 11x11/4 3->96 valid @227", "alexnet", "conv1"),
        ("conv 5x5 96->256 g=2 @27", "alexnet", "conv2"),
        ("conv 5x5 1->6 valid @32", "lenet5", "C1"),
        ("conv 3x3/2 3->32 nobias p=1 @224", "", ""),
        ("fc 256->4096 @6", "alexnet", "fc6"),
    ],
)
def test_lines_agree_with_the_trace(text: str, network: str, layer: str) -> None:
    count = count_block(text, parse_block(text))
    if not network:
        assert count.steps[0].output == (112, 112)
        return
    from convatlas.analysis.layer_count import count_layer

    traced = count_layer(network, layer)
    for quantity in ("weights", "parameters", "connections", "multiply_adds"):
        assert count.total(quantity) == traced.total(quantity), quantity


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_can_be_counted(name: str) -> None:
    for text in EXAMPLES[name][1]:
        assert count_block(text, parse_block(text)).total("parameters") > 0


def test_published_ratios() -> None:
    """27/49 = 55%, ResNeXt's block within 1% of ResNet's, one depthwise separable layer under an eighth."""
    seven, three = (total(text, "weights") for text in EXAMPLES["stack3x3"][1])
    assert three / seven == 27 / 49
    resnet, resnext = (total(text, "multiply_adds") for text in EXAMPLES["cardinality"][1])
    assert 1 < resnext / resnet < 1.01
    plain, separable = (total(text, "multiply_adds") for text in EXAMPLES["separable"][1])
    assert separable / plain == pytest.approx(1 / 256 + 1 / 9)


@pytest.mark.parametrize(
    "text",
    ["", ";", "conv", "conv 3x3", "conv 3x3 0->4", "conv 3x3 4->", "pool 2x2 3->4", "conv 3x3 5->6 g=4",
     "kernel 3x3 1->1", "conv 3x3 1->2; conv 3x3 3->4", "conv 3x3 1->2 @5; relu @6",
     "conv 99999999999999999x3 1->1", "conv 3x3 1->1 x=2"],
)  # fmt: skip
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_block(text)


@pytest.mark.parametrize("text", ["conv 9x9 1->1 valid @4", "maxpool 3x3/2 @2", "local 3x3 1->1"])
def test_what_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        count_block(text, parse_block(text))


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["count", "--example", "bottleneck", "--steps"]) == 0
    out = capsys.readouterr().out
    assert "589,824" in out
    assert "8.47 times fewer" in out
    assert main(["count", "alexnet:conv2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["parameters"] == 307_456
    assert main(["count"]) == 2
    assert main(["count", "alexnet:nope"]) == 2
    assert main(["count", "--example", "nope"]) == 2
