"""SqueezeNets: fire, bypasses, padding and pooling by hand, the whole against torchvision, and the released weights."""

import csv
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from convatlas import registry, weights
from convatlas.analysis.verify import verify
from convatlas.architectures.classification.squeezenet import BypassFire, ConvBypassFire, Fire
from convatlas.data import decode, normalise, prepare
from convatlas.weights.layouts import translate

DISPUTED = {"squeezenet_v1_0_complex_bypass": "2.02M (derived)", "squeezenet_v1_1": "0.36 G (derived)"}
NAMES = [name for name in registry.names() if registry.card(name).paper == "iandola2016_squeezenet"]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", NAMES)
def test_only_what_the_paper_can_not_have_counted_is_disputed(name: str) -> None:
    rows = [row for row in verify(name) if row.verdict != "holds"]
    expected = [("disputed", DISPUTED[name])] if name in DISPUTED else []
    assert [(row.verdict, row.printed) for row in rows] == expected


def test_names_and_aliases() -> None:
    assert len(NAMES) == 5
    assert registry.card("squeezenet1_0").name == "squeezenet_v1_0"
    assert registry.card("squeezenet1_1").name == "squeezenet_v1_1"


def silent(fire: Fire) -> Fire:
    """Expand layers that give nothing."""
    for layer in (fire.expand1x1, fire.expand3x3):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.get_parameter("bias"))
    return fire


def test_fire_by_hand() -> None:
    """An image of ones: the squeeze gives 2; 1x1 doubles it; 3x3 adds the neighbours up, 4 in a corner of 2 x 2."""
    fire = Fire(2, squeeze=1, expand=1)
    for parameter in fire.parameters():
        nn.init.zeros_(parameter) if parameter.dim() == 1 else nn.init.ones_(parameter)
    nn.init.constant_(fire.expand1x1.weight, 2.0)
    assert fire(torch.ones(1, 2, 2, 2)).tolist() == [[[[4, 4], [4, 4]], [[8, 8], [8, 8]]]]
    assert fire(-torch.ones(1, 2, 2, 2)).unique().tolist() == [0]  # the squeeze is rectified


def test_a_bypass_adds_the_input() -> None:
    x = torch.randn(1, 4, 3, 3)
    assert torch.equal(silent(BypassFire(4, squeeze=1, expand=2))(x), x)
    assert not silent(Fire(4, squeeze=1, expand=2))(x).any()
    fire = ConvBypassFire(4, squeeze=1, expand=3)
    assert torch.equal(silent(fire)(x), fire.bypass_conv(x))


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("squeezenet_v1_0", [Fire] * 8),
        ("squeezenet_v1_0_simple_bypass", [Fire, BypassFire] * 4),
        ("squeezenet_v1_0_complex_bypass", [ConvBypassFire, BypassFire] * 4),
    ],
)
def test_bypasses_stand_around_every_second_fire(name: str, kinds: list[type]) -> None:
    with torch.device("meta"):
        net = registry.build(name)
    assert [type(net.get_submodule(f"fire{number}")) for number in range(2, 10)] == kinds


def test_the_release_averages_over_a_border_of_biases() -> None:
    """conv10 padded by 1: 15 x 15 positions of which 13 x 13 see something."""
    table, released = registry.build("squeezenet_v1_0"), registry.build("squeezenet_v1_0_caffe_pad1")
    released.load_state_dict(table.state_dict())
    x = torch.randn(1, 3, 227, 227)
    with torch.no_grad():
        torch.testing.assert_close(released.eval()(x), table.eval()(x) * (13 / 15) ** 2, rtol=1e-4, atol=1e-6)


def test_overhanging_windows_are_kept() -> None:
    pool = registry.build("squeezenet_v1_1").get_submodule("pool1")
    assert pool(torch.zeros(1, 1, 6, 6)).shape == (1, 1, 3, 3)


def test_initialisation_is_caffes() -> None:
    net = registry.build("squeezenet_v1_0")
    first = net.get_parameter("conv1.weight")
    assert first.abs().max().item() == pytest.approx(math.sqrt(3 / 147), rel=0.01)
    assert first.std().item() == pytest.approx(math.sqrt(1 / 147), rel=0.03)
    assert net.get_parameter("conv10.weight").std().item() == pytest.approx(0.01, rel=0.02)
    assert not any(p.any() for name, p in net.named_parameters() if name.endswith("bias"))


def test_dropout_acts_in_training() -> None:
    net, x = registry.build("squeezenet_v1_1"), torch.randn(1, 3, 64, 64)
    assert not torch.equal(net(x), net(x))
    assert torch.equal(net.eval()(x), net(x))


@pytest.mark.parametrize(
    ("name", "theirs"), [("squeezenet_v1_0", "squeezenet1_0"), ("squeezenet_v1_1", "squeezenet1_1")]
)
def test_equals_torchvision_through_its_layout(name: str, theirs: str) -> None:
    models = pytest.importorskip("torchvision.models")
    peer = getattr(models, theirs)(num_classes=10).double().eval()
    translated = translate(peer.state_dict())
    assert translated is not None
    tensors, card = translated
    assert (card["network"], card["num_classes"], card["in_channels"]) == (name, 10, 3)
    assert card["preprocessing"]["channel_order"] == "rgb"
    ours = registry.build(name, num_classes=10).double().eval()
    ours.load_state_dict(tensors)
    for size in (227, 64):
        x = torch.randn(2, 3, size, size, dtype=torch.float64)
        with torch.no_grad():
            torch.testing.assert_close(ours(x), peer(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", [96, 64])
def test_other_first_filters_are_no_squeezenet(size: int) -> None:
    tensors = {
        "features.0.weight": torch.zeros(size, 3, 5, 5),
        "features.3.squeeze.weight": torch.zeros(1),
        "classifier.1.weight": torch.zeros(10, 512, 1, 1),
    }
    assert translate(tensors) is None


@pytest.mark.data
def test_the_released_weights_know_photographs(data_root: Path) -> None:
    file = data_root / "weights" / "squeezenet1_1_caffe_bgr.pth"
    net = weights.create("squeezenet1_1", weights=file).eval()
    card = weights.read_card(file)
    assert card is not None
    preprocessing = weights.preprocessing_of(card)
    assert preprocessing is not None
    assert preprocessing.channel_order == "bgr"
    assert preprocessing.size == (227, 227)
    with open(data_root / "imagenet_classes.tsv", encoding="utf-8") as table:
        index = {row["wnid"]: int(row["index"]) for row in csv.DictReader(table, delimiter="\t")}
    paths = sorted((data_root / "imagenet100").glob("n*.*"))
    images = torch.stack([prepare(decode(path), preprocessing) for path in paths])
    labels = torch.tensor([index[path.name.split("_")[0]] for path in paths])
    with torch.inference_mode():
        logits = torch.cat([net(normalise(batch, preprocessing)) for batch in images.split(20)])
    best = logits.topk(5).indices == labels[:, None]
    assert len(paths) == 100
    assert best[:, 0].float().mean() >= 0.55
    assert best.any(1).float().mean() >= 0.78
