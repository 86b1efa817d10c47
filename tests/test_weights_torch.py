"""State dicts of torchvision and timm: every table has the names and shapes of the library, and computes the same."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from convatlas import registry, weights
from convatlas.errors import ConvatlasError
from convatlas.weights.layouts import timm as timm_layouts
from convatlas.weights.layouts import torchvision as torchvision_layouts
from convatlas.weights.layouts import translate
from convatlas.weights.layouts.layout import Layout, skeleton
from convatlas.weights.settings import apply_settings

LAYOUTS = {layout.release: layout for layout in (*torchvision_layouts.layouts(), *timm_layouts.layouts())}
FAST = ("torchvision squeezenet1_1", "torchvision googlenet")
SIDES = {"inception": 75, "vgg": 224, "googlenet": 64}


def reference(layout: Layout, num_classes: int = 1000) -> nn.Module:
    """The library's network without weights."""
    library, name = layout.release.split()
    if library == "timm" or name == "resnext101_32x4d":
        return pytest.importorskip("timm").create_model(name, num_classes=num_classes).eval()
    models = pytest.importorskip("torchvision.models")
    quick = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return models.get_model(name, num_classes=num_classes, **quick).eval()


@pytest.mark.parametrize("release", LAYOUTS)
def test_names_and_shapes_are_the_library_s(release: str) -> None:
    layout = LAYOUTS[release]
    with torch.device("meta"):
        theirs = reference(layout).state_dict()
    ours = skeleton(layout.network).state_dict()
    assert {name.rpartition(".")[0] for name in theirs} == layout.layers.keys()
    assert layout.recognises(frozenset(layout.layers))
    assert layout.recognises(frozenset(t for t, ours in layout.layers.items() if not ours.startswith("aux")))
    for name, value in theirs.items():
        layer, _, entry = name.rpartition(".")
        assert ours[f"{layout.layers[layer]}.{entry}"].shape == value.shape


def randomise(net: nn.Module) -> None:
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_uniform_(module.weight)
        elif isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)


@pytest.mark.parametrize("release", [r if r in FAST else pytest.param(r, marks=pytest.mark.slow) for r in LAYOUTS])
def test_same_outputs(release: str) -> None:
    layout = LAYOUTS[release]
    theirs = reference(layout, num_classes=5)
    randomise(theirs)
    translated = translate(theirs.state_dict())
    assert translated is not None
    tensors, card = translated
    assert (card["network"], card["num_classes"], card["classes"]) == (layout.network, 5, None)
    net = registry.build(layout.network, num_classes=5)
    weights.load_into(net, tensors)
    apply_settings(net, card)
    side = next((side for key, side in SIDES.items() if key in release), 64)
    x = torch.randn(1, 3, side, side, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(net.double().eval()(x), theirs.double()(x), rtol=1e-9, atol=1e-9)


def test_classes_are_named_where_there_are_a_thousand(tmp_path: Path) -> None:
    safetensors.torch.save_file(
        reference(LAYOUTS["torchvision squeezenet1_1"]).state_dict(), tmp_path / "x.safetensors"
    )
    card = weights.read_card(tmp_path / "x.safetensors")
    assert card is not None
    assert (card["network"], card["source"]) == ("squeezenet_v1_1", "safetensors: torchvision squeezenet1_1")
    assert (card["classes"][0], card["classes"][999]) == ("tench", "toilet tissue")


def test_old_names_of_densenet() -> None:
    with torch.device("meta"):
        state = reference(LAYOUTS["torchvision densenet121"]).state_dict()
    old = {}
    for name, value in state.items():
        for part in ("norm1", "norm2", "conv1", "conv2"):
            name = name.replace(f".{part}.", f".{part[:4]}.{part[4]}.") if "denselayer" in name else name
        old[name] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    translated = translate(old)
    assert translated is not None
    assert translated[1]["network"] == "densenet121"


def test_weights_without_auxiliary_heads_load() -> None:
    net = registry.build("googlenet_bn", num_classes=3)
    state = {name: value for name, value in net.state_dict().items() if not name.startswith("aux")}
    other = registry.build("googlenet_bn", num_classes=3)
    before = other.get_parameter("aux1.fc.weight").clone()
    weights.load_into(other, state)
    assert torch.equal(other.get_parameter("aux1.fc.weight"), before)
    del state["conv1.conv.weight"]
    with pytest.raises(ConvatlasError, match="1 missing"):
        weights.load_into(other, state)
