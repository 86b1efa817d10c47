"""What a card declares, and that it agrees with the network that is built from it."""

import pytest
import torch
from torch import nn

from convatlas import registry
from convatlas.analysis.trace import build_on_meta
from convatlas.blocks.region_svms import WithSvms
from convatlas.errors import UsageError
from convatlas.network import Network, published_shape
from convatlas.records import Detects, HasLosses, Traits


def names_with(**traits: object) -> set[str]:
    """The networks whose traits have these values."""
    cards = map(registry.card, registry.names())
    return {card.name for card in cards if all(vars(card.traits)[key] == value for key, value in traits.items())}


def test_traits_are_declared() -> None:
    rcnn = {"rcnn_alexnet_voc_finetune", "rcnn_ilsvrc13"}
    assert names_with(window_px=227) == rcnn
    assert names_with(searches_regions=True) == rcnn | {"fast_rcnn_caffenet", "fast_rcnn_vgg16", "sppnet_zf5"}
    assert names_with(wants_masks=True) == {"mask_rcnn_resnet50_fpn"}
    assert {name for name in names_with(draws_randomly=True) if not name.startswith(("fractal", "stochastic"))} == {
        "decouplednet_voc"
    }
    assert names_with(window_px=None) == set(registry.names()) - rcnn


@pytest.mark.parametrize("name", registry.names("detection"))
def test_detectors_detect_and_have_losses(name: str) -> None:
    net, card = build_on_meta(name), registry.card(name)
    assert isinstance(net, Detects)
    assert isinstance(net, HasLosses)
    assert not isinstance(net, WithSvms) or card.traits.searches_regions
    if card.traits.window_px is not None:
        assert card.input_shape[1:] == (card.traits.window_px,) * 2


def test_a_network_carries_its_card() -> None:
    net = registry.build("vgg_d", num_classes=2)
    assert net.card is not None
    assert net.card.name in registry.names()
    assert published_shape(net) == (3, 224, 224)
    assert published_shape(nn.Conv2d(3, 4, 1)) is None


def test_a_card_builds_as_its_name_does() -> None:
    card = registry.card("caffe_lenet")
    torch.manual_seed(0)
    first = registry.build(card)
    torch.manual_seed(0)
    second = registry.build(card.name)
    assert all(torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items())
    assert first.card is second.card is card


def test_what_is_no_network_is_named() -> None:
    @registry.register(paper="lecun1998", input_shape=(1, 8, 8), name="registry_test_plain")
    def plain(*, num_classes: int = 10, in_channels: int = 1) -> nn.Linear:
        """A layer."""
        return nn.Linear(in_channels, num_classes)

    try:
        with pytest.raises(TypeError, match="builder of registry_test_plain returns a Linear; expected a Network"):
            registry.build("registry_test_plain")
        with pytest.raises(ValueError, match="registered twice"):
            registry.register(paper="lecun1998", input_shape=(1, 8, 8), name="registry_test_plain")(plain)
    finally:
        del registry._cards["registry_test_plain"]


def test_traits_default_to_a_network_on_whole_images() -> None:
    assert registry.card("lenet5").traits == Traits()
    assert issubclass(type(build_on_meta("lenet5")), Network)


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(UsageError, match="task is 'poses'; expected classification, detection, pose, segmentation"):
        registry.names("poses")
