"""The paper's BN-Inception: figure 5's branches behind a separable first layer with a depth multiplier of 8."""

import torch
from torch import nn

from convatlas import registry
from convatlas.analysis.verify import verify
from convatlas.training import find, variants


def test_it_agrees_with_its_ledger() -> None:
    verdicts = {row.quantity: row.verdict for row in verify("bn_inception_paper") if row.verdict != "holds"}
    assert verdicts == {"parameters": "disputed", "weight_layers": "disputed"}


def test_only_the_first_layer_differs_from_figure_5_with_a_plain_one() -> None:
    with torch.device("meta"):
        ours, plain = registry.build("bn_inception_paper"), registry.build("bn_inception")
    differing = {key.split(".")[0] for key in ours.state_dict().keys() ^ plain.state_dict().keys()}
    assert differing == {"conv1"}
    assert [name for name, _ in ours.named_children()] == [name for name, _ in plain.named_children()]


def test_each_colour_has_eight_maps_of_its_own() -> None:
    conv1 = registry.build("bn_inception_paper").get_submodule("conv1")
    depthwise = conv1.get_submodule("depthwise")
    assert isinstance(depthwise, nn.Conv2d)
    assert (depthwise.groups, depthwise.out_channels) == (3, 24)
    red = torch.zeros(1, 3, 16, 16)
    red[:, 0] = 1
    lit = depthwise(red).abs().sum(dim=(0, 2, 3)) > 0
    assert lit.tolist() == [True] * 8 + [False] * 16


def test_it_has_the_recipes_of_the_paper() -> None:
    assert variants("bn_inception_paper") == ["published", "published-x30", "modern"]
    assert find("bn_inception_paper", "published-x30").network == "bn_inception_paper"
