"""FCN's and U-Net's decoders on SqueezeNet: where maps lie, any size, an encoder that takes trained weights."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convatlas import registry, weights
from convatlas.analysis.receptive_field import receptive_fields
from convatlas.analysis.trace import build_on_meta, trace_network
from convatlas.analysis.verify import verify
from convatlas.architectures.segmentation.squeezenet_decoders import encoder
from convatlas.errors import UsageError
from convatlas.sizes import find_sizes
from convatlas.training import finetuning
from convatlas.training.finetuning import FineTune

NAMES = ("fcn8s_squeezenet", "unet_squeezenet")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", NAMES)
def test_no_row_of_the_ledger_fails(name: str) -> None:
    assert [row for row in verify(name) if row.verdict != "holds"] == []


def test_the_encoder_is_squeezenet_up_to_fire9() -> None:
    with torch.device("meta"):
        theirs = registry.build("squeezenet_v1_1").state_dict()
        ours = nn.Sequential(encoder(3)).state_dict()
    assert {name: t.shape for name, t in ours.items()} == {
        name: t.shape for name, t in theirs.items() if not name.startswith("conv10")
    }
    assert sum(t.numel() for t in ours.values()) == 1_235_496 - 513_000


# By hand: conv1, padded by 1, lies on 2 i; a 3x3 pool of stride 2 lies on the second position of its three.
@pytest.mark.parametrize(
    ("layer", "stride", "first"), [("conv1", 2, 0), ("fire3", 4, 2), ("fire5", 8, 6), ("fire9", 16, 14)]
)
def test_where_the_maps_lie(layer: str, stride: int, first: int) -> None:
    records = trace_network("fcn8s_squeezenet", (3, 800, 800))
    fields = [f for r, f in zip(records, receptive_fields(records), strict=True) if r.name.startswith(layer) and f]
    field = fields[-1]
    assert field.stride == (stride, stride)
    assert field.offset[0] + (field.size[0] - 1) / 2 == first


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_slope_stays_where_it_was(name: str) -> None:
    """Scores that rise by one a position come out at the pixel at which that position lies."""
    net = registry.build(name, num_classes=1)
    if name == "fcn8s_squeezenet":
        up, stride, first = net.upscore8, 8, 6
    else:
        up, stride, first = net.upscore2, 2, 0
    places = torch.arange(20.0) * stride + first
    ramp = places.expand(1, 1, 20, 20)
    pixels = net.score(up(ramp), (140, 140) if stride == 8 else (30, 30))[0, 0, 20]
    inner = torch.arange(len(pixels))[first + 1 : -stride]
    torch.testing.assert_close(pixels[inner], inner.float())


@pytest.mark.parametrize(("name", "smallest"), [("fcn8s_squeezenet", 31), ("unet_squeezenet", 15)])
def test_any_size_comes_back(name: str, smallest: int) -> None:
    net = build_on_meta(name)
    sizes = find_sizes(net, (3, 64, 64))
    assert [(size.smallest, size.largest, size.step) for size in sizes if size] == [(smallest, None, 1)] * 2
    for side in (*range(smallest, smallest + 40), 360, 480, 501):
        assert net(torch.empty(1, 3, side, side + 9, device="meta")).shape == (1, 11, side, side + 9)


@pytest.mark.parametrize("name", NAMES)
def test_classes_and_channels_and_zero_scores(name: str) -> None:
    net = registry.build(name, num_classes=4, in_channels=1).eval()
    y = net(torch.randn(2, 1, 48, 64))
    assert y.shape == (2, 4, 48, 64)
    assert not y.any()


@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_reaches_every_parameter_that_learns(name: str) -> None:
    net = registry.build(name, num_classes=3)
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)  # scores of zero let no gradient through
    y = net(torch.randn(2, 3, 64, 64))
    (y * torch.randn_like(y)).sum().backward()
    without = [path for path, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == [path for path, p in net.named_parameters() if not p.requires_grad]
    assert len(without) == 1


@pytest.mark.parametrize("name", NAMES)
def test_two_images_are_learnt_by_heart(name: str) -> None:
    net = registry.build(name, num_classes=3)
    masks = torch.zeros(2, 64, 64, dtype=torch.long)
    masks[0, :, 24:], masks[1, :32] = 1, 2
    x = torch.randn(2, 3, 64, 64) + 2 * masks[:, None]
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(80):
        optimizer.zero_grad()
        F.cross_entropy(net(x), masks).backward()
        optimizer.step()
    assert (net.eval()(x).argmax(1) == masks).float().mean() > 0.95


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """Weights of SqueezeNet 1.1 for five classes, as drawn."""
    path = tmp_path / "classifier.safetensors"
    card = weights.make_card("squeezenet_v1_1", num_classes=5, in_channels=3, classes=tuple("abcde"))
    weights.save(path, registry.build("squeezenet_v1_1", num_classes=5), card)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_a_trained_classifier_becomes_the_encoder(name: str, classifier: Path) -> None:
    net = registry.build(name, num_classes=5)
    drawn = {entry: tensor.clone() for entry, tensor in net.state_dict().items()}
    theirs, _ = weights.read(classifier)
    assert finetuning.start(net, name, tuple("vwxyz"), FineTune(str(classifier)))
    for entry, tensor in net.state_dict().items():
        assert torch.equal(tensor, theirs[entry] if entry in theirs else drawn[entry]), entry
    new = {entry.partition(".")[0] for entry in finetuning.head_of(name)}
    assert new == {entry.partition(".")[0] for entry in drawn.keys() - theirs.keys()}


def test_first_what_is_new_learns_and_a_fixed_enlargement_never() -> None:
    net = registry.build("unet_squeezenet")
    fixed = {name for name, parameter in net.named_parameters() if not parameter.requires_grad}
    for epoch, encoder_learns in ((0, False), (1, True)):
        finetuning.hold_back(net, "unet_squeezenet", FineTune("", head_epochs=1), epoch, fixed)
        assert net.get_parameter("fire2.squeeze1x1.weight").requires_grad is encoder_learns
        assert net.get_parameter("u8.upconv.weight").requires_grad
        assert not net.get_parameter("upscore2.weight").requires_grad


def test_an_earlier_stage_gives_all_that_it_has_where_the_classes_are_the_same(tmp_path: Path) -> None:
    path, classes = tmp_path / "stage.safetensors", tuple("abcde")
    earlier, net = registry.build("fcn8s_squeezenet", num_classes=5), registry.build("unet_squeezenet", num_classes=5)
    card = weights.make_card("fcn8s_squeezenet", num_classes=5, in_channels=3, classes=classes)
    weights.save(path, earlier, card)
    assert not finetuning.start(net, "unet_squeezenet", classes, FineTune(str(path)))
    assert torch.equal(net.get_parameter("fire9.squeeze1x1.weight"), earlier.get_parameter("fire9.squeeze1x1.weight"))


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "lenet.safetensors"
    card = weights.make_card("caffe_lenet", num_classes=5, in_channels=1, classes=tuple("abcde"))
    weights.save(path, registry.build("caffe_lenet", num_classes=5), card)
    net = registry.build("fcn8s_squeezenet")
    drawn = net.get_parameter("conv1.weight").clone()
    with pytest.raises(UsageError, match=r"are of caffe_lenet, not fcn8s_squeezenet: the weights' conv1\.weight is"):
        finetuning.start(net, "fcn8s_squeezenet", tuple("vwxyz"), FineTune(str(path)))
    assert torch.equal(net.get_parameter("conv1.weight"), drawn)


@pytest.mark.data
def test_imagenet_weights_see_in_the_encoder_what_they_see_in_the_classifier(data_root: Path) -> None:
    path = data_root / "weights" / "squeezenet1_1_caffe_bgr.pth"
    net = registry.build("fcn8s_squeezenet").eval()
    assert finetuning.start(net, "fcn8s_squeezenet", tuple("abcdefghijk"), FineTune(str(path)))
    classifier = weights.create("squeezenet_v1_1", weights=path).eval()
    x = 60 * torch.randn(1, 3, 225, 225)
    with torch.no_grad():
        _, fire9, _ = net.encode(F.pad(x, (-1, 0, -1, 0)))  # conv1's border stands for the row that is cut off
        expected = classifier.get_submodule("conv1")(x)
        for layer in list(classifier.children())[1 : list(classifier._modules).index("drop9")]:
            expected = layer(expected)
    assert fire9.shape == expected.shape
    torch.testing.assert_close(fire9[..., 7:, 7:], expected[..., 7:, 7:])
