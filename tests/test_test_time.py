"""Evaluation as published: where the crops lie, the dense form against the sliding window, averages by hand."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.transforms import v2

import convatlas
from convatlas import registry
from convatlas.architectures.classification.vgg import VGG
from convatlas.data import ArraySplit, LabelAssembly, Loader, normalise
from convatlas.errors import ConvatlasError, UsageError
from convatlas.evaluation import (
    Crops144,
    Dense,
    GridCrops,
    OneCrop,
    TenCrops,
    TwelveCrops,
    average,
    evaluate,
    evaluate_views,
    to_fully_convolutional,
)
from convatlas.evaluation.protocols import describe, named, with_scales
from convatlas.evaluation.views import five_crops, grid_crops, squares, ten_crops, views
from convatlas.records import Preprocessing

SMALL = Preprocessing((2, 2), channels=1, resize="short_side", resize_to=4, mean=(0.0,), std=(1 / 255,))


def numbered(height: int, width: int) -> torch.Tensor:
    """An image whose pixels count up, row by row."""
    return torch.arange(height * width, dtype=torch.uint8).view(1, height, width)


def test_the_five_crops_lie_in_the_corners_and_the_centre() -> None:
    crops = five_crops(numbered(4, 6), (2, 2))  # rows start at 0, 6, 12, 18
    assert [crop[0].tolist() for crop in crops] == [
        [[0, 1], [6, 7]],
        [[4, 5], [10, 11]],
        [[12, 13], [18, 19]],
        [[16, 17], [22, 23]],
        [[8, 9], [14, 15]],
    ]


def test_ten_crops_are_torchvisions() -> None:
    image = torch.randint(0, 256, (3, 256, 256), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    ours = ten_crops(image, (224, 224))[[0, 1, 2, 3, 4, 6, 5, 8, 7, 9]]  # theirs cuts the corners after mirroring
    assert torch.equal(ours, torch.stack(v2.TenCrop(224)(image)))


def test_ten_crops_come_from_the_middle_square() -> None:
    (crops,) = views(numbered(4, 6), TenCrops((4,)), SMALL)
    assert torch.equal(crops, ten_crops(numbered(4, 6)[:, :, 1:5], (2, 2)))


def test_a_grid_reaches_all_edges() -> None:
    crops = grid_crops(numbered(6, 6), (2, 2), 5)
    assert crops.shape == (50, 1, 2, 2)
    assert crops[:5, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert crops[24, 0].tolist() == [[28, 29], [34, 35]]
    assert torch.equal(crops[25:], crops[:25].flip(-1))


def test_squares_of_a_wide_and_an_upright_image() -> None:
    wide, upright = numbered(2, 6), numbered(6, 2)
    assert [int(square[0, 0, 0]) for square in squares(wide)] == [0, 2, 4]
    assert [int(square[0, 0, 0]) for square in squares(upright)] == [0, 4, 8]


def test_144_crops_are_all_different_and_repeat_only_in_a_square_image() -> None:
    draw = torch.Generator().manual_seed(0)
    preprocessing = Preprocessing((56, 56), resize="short_side", resize_to=64)
    protocol = with_scales(Crops144(), preprocessing)
    assert protocol.scales == (64, 72, 80, 88)  # a quarter of the paper's, as the input is
    for (height, width), different in (((90, 120), 144), ((90, 90), 48)):
        image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=draw)
        (crops,) = views(image, protocol, preprocessing)
        assert crops.shape == (144, 3, 56, 56)
        assert len({crop.numpy().tobytes() for crop in crops}) == different


def test_twelve_crops_are_the_ten_and_the_whole_square() -> None:
    (crops,) = views(numbered(4, 6), TwelveCrops((4,)), SMALL)
    (ten,) = views(numbered(4, 6), TenCrops((4,)), SMALL)
    assert torch.equal(crops[[0, 1, 2, 3, 4, 6, 7, 8, 9, 10]], ten)
    # columns 1 to 4 halved: weights 3, 3, 1 of 7 give columns 12/7 and 23/7, rounded, and rows 30/7 and 96/7
    assert crops[5, 0].tolist() == [[6, 7], [16, 17]]
    assert torch.equal(crops[11], crops[5].flip(-1))
    large = Preprocessing((299, 299), resize="short_side", resize_to=342)
    assert describe(with_scales(named("12-crop"), large)) == "12 crops at 342 px"


def test_protocols_know_their_scales_and_say_what_they_do() -> None:
    large = Preprocessing((299, 299), resize="short_side", resize_to=342)
    assert with_scales(Crops144(), large).scales == (342, 384, 427, 470)  # in proportion to 299 / 224
    assert describe(with_scales(TenCrops(), large)) == "10 crops at 342 px"
    assert describe(Dense((256, 384, 512))) == "dense at 256, 384 and 512 px"
    assert named("grid", (300,)) == GridCrops((300,))
    with pytest.raises(UsageError, match="1-crop, 10-crop"):
        named("11-crop")
    with pytest.raises(UsageError, match="smaller than the network's input, 299"):
        with_scales(TenCrops((256,)), large)
    with pytest.raises(UsageError, match="expected scales="):
        with_scales(TenCrops(), Preprocessing((32, 32)))


class Corner(nn.Module):
    """The logits of three classes from the first pixel and the mean."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack((x[:, 0, 0, 0], x.mean(dim=(1, 2, 3)), torch.zeros(len(x))), dim=1) / 4


def test_the_softmax_is_averaged_over_the_views() -> None:
    split = ArraySplit(torch.stack([numbered(4, 6), numbered(4, 6).flip(1)]), torch.tensor([0, 1]))
    told: list[tuple[int, int]] = []
    found = evaluate_views(
        Corner(), split, SMALL, TenCrops(), classes="abc", progress=lambda done, total: told.append((done, total))
    )
    expected = torch.stack(
        [
            Corner()(normalise(views(split.read(i), TenCrops((4,)), SMALL)[0], SMALL)).softmax(1).mean(0)
            for i in range(2)
        ]
    )
    assert torch.allclose(found.probabilities, expected)
    assert found.loss == pytest.approx(-(expected[0, 0].log() + expected[1, 1].log()).item() / 2, rel=1e-5)
    assert found.top1_error == (expected.argmax(1) != split.labels).double().mean().item()
    assert found.protocol == "10 crops at 4 px"
    assert told == [(2, 2)]
    assert not found.probabilities.is_inference()


def test_one_crop_by_views_is_the_ordinary_evaluation() -> None:
    split = ArraySplit(torch.stack([numbered(4, 6), numbered(4, 6).flip(1)]), torch.tensor([0, 1]))
    by_views = evaluate_views(Corner(), split, SMALL, OneCrop(), classes="abc")
    plain = evaluate(Corner(), Loader(LabelAssembly(split, SMALL), batch_size=2), classes="abc")
    assert torch.allclose(by_views.probabilities, plain.probabilities)
    assert by_views.loss == pytest.approx(plain.loss)


def test_a_damaged_image_is_left_out_and_named() -> None:
    class Damaged(ArraySplit):
        def read(self, index: int) -> torch.Tensor:
            if index == 1:
                raise ConvatlasError("cut off")
            return super().read(index)

    split = Damaged(numbered(4, 6).expand(3, 1, 4, 6), torch.tensor([0, 1, 2]))
    found = evaluate_views(Corner(), split, SMALL, TenCrops(), classes="abc")
    assert found.labels.tolist() == [0, 2]
    assert len(found.probabilities) == 2
    assert [problem.reason for problem in found.problems] == ["cut off"]


def test_networks_are_averaged_by_their_probabilities() -> None:
    split = ArraySplit(numbered(4, 6).expand(2, 1, 4, 6), torch.tensor([0, 1]))
    first = evaluate_views(Corner(), split, SMALL, OneCrop(), classes="abc")
    second = replace(first, probabilities=torch.tensor([[0.0, 0.9, 0.1], [0.0, 0.9, 0.1]]))
    both = average((first, second))
    assert torch.allclose(both.probabilities, (first.probabilities + second.probabilities) / 2)
    assert both.protocol == "2 networks, one crop at 4 px"
    with pytest.raises(UsageError, match="same images"):
        average((first, replace(first, labels=torch.tensor([1, 1]))))


def chain() -> nn.Sequential:
    """Unpadded and with stride 2 in all, so that its windows are exactly those of the image."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 3 * 3, 5), nn.ReLU(),
        nn.Dropout(0.5), nn.Linear(5, 6),
    ).eval()  # fmt: skip


def averaging_chain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6)
    ).eval()


@pytest.mark.parametrize("make", [chain, averaging_chain])
def test_the_dense_form_is_the_sliding_window(make) -> None:
    net, image = make(), torch.randn(2, 3, 12, 14)
    sliding = to_fully_convolutional(net, (3, 8, 8))
    found = sliding(image)
    windows = image.unfold(2, 8, 2).unfold(3, 8, 2)  # B x C x h x w x 8 x 8
    assert found.shape == (2, 6, 3, 4) == (2, 6, *windows.shape[2:4])
    for row in range(3):
        for column in range(4):
            assert torch.allclose(found[:, :, row, column], net(windows[:, :, row, column]), atol=1e-5)


def test_the_dense_form_shares_its_weights_and_leaves_the_network_alone() -> None:
    net = chain()
    sliding = to_fully_convolutional(net, (3, 8, 8))
    assert sliding.get_submodule("4").weight.data_ptr() == net[4].weight.data_ptr()
    assert isinstance(net[4], nn.Linear)
    assert not net[0]._forward_hooks
    assert not sliding.get_submodule("0")._forward_hooks


def test_vggs_own_dense_form_is_the_general_one() -> None:
    torch.manual_seed(0)
    net = VGG("A", num_classes=3, side=32).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        own, general = net.dense(image), to_fully_convolutional(net, (3, 32, 32))(image)
    assert own.shape == (1, 3, 2, 3)
    assert torch.allclose(general, own, atol=1e-4 * own.abs().max().item())


@pytest.mark.parametrize(("name", "side"), [("cifar_resnet20", 32), ("squeezenet_v1_1", 99), ("resnet18", 64)])
def test_registered_networks_slide(name, side) -> None:
    net = registry.build(name, num_classes=4).eval()
    sliding = to_fully_convolutional(net, (3, side, side))
    with torch.inference_mode():
        scores = sliding(torch.randn(1, 3, side, 2 * side))
    assert scores.shape[1] == 4
    assert scores.shape[3] > scores.shape[2] == 1


def test_lenet_slides_over_a_larger_image_as_over_its_windows() -> None:
    torch.manual_seed(0)
    net = registry.build("caffe_lenet").eval()
    sliding, image = convatlas.to_fully_convolutional(net), torch.randn(1, 1, 36, 40)
    with torch.inference_mode():
        scores = sliding(image)
        assert scores.shape == (1, 10, 3, 4)
        for row in range(3):
            for column in range(4):
                window = image[:, :, 4 * row : 4 * row + 28, 4 * column : 4 * column + 28]
                assert torch.allclose(scores[:, :, row, column], net(window), atol=1e-5)


# Every kind of head: flattened maps, averages, score maps that are averaged, branches, dense blocks.
@pytest.mark.parametrize(
    "name",
    ["alexnet", "alexnet_owt", "nin_imagenet", "googlenet", "squeezenet_v1_0", "resnet50", "densenet121", "zfnet",
     pytest.param("overfeat_fast", marks=pytest.mark.slow), pytest.param("vgg_a", marks=pytest.mark.slow)],
)  # fmt: skip
def test_the_published_size_gives_the_published_scores(name) -> None:
    net = registry.build(name, num_classes=5).eval()
    x = torch.randn(1, *registry.card(name).input_shape)
    sliding = to_fully_convolutional(net)
    with torch.inference_mode():
        expected, found = net(x), sliding(x)
    assert found.shape == (1, 5, 1, 1)
    torch.testing.assert_close(found.flatten(1), expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item() + 1e-6)
    larger = [side + 64 for side in x.shape[2:]]
    assert min(sliding.to("meta")(torch.empty(1, 3, *larger, device="meta")).shape[2:]) > 1


def test_a_network_of_ones_own_needs_its_size() -> None:
    with pytest.raises(UsageError, match=r"input_shape is None; Sequential was not published with one size"):
        to_fully_convolutional(chain())


def test_what_cannot_slide_says_so() -> None:
    with pytest.raises(UsageError, match="does not follow a flattened map"):
        to_fully_convolutional(nn.Sequential(nn.Linear(8, 2)), (3, 8, 8))
    with pytest.raises(UsageError, match="no fully convolutional form"):
        to_fully_convolutional(registry.build("lenet5").eval(), (1, 32, 32))


@pytest.mark.parametrize(("pool", "expected"), [("mean", 3.5), ("max", 7.0)])
def test_a_dense_protocol_pools_the_score_map_and_averages_over_mirror_images(pool, expected) -> None:
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2, bias=False)).eval()
    with torch.no_grad():
        net[2].weight.copy_(torch.tensor([[1.0], [0.0]]))
    pixels = Preprocessing((1, 1), channels=1, resize="short_side", resize_to=2, mean=(0.0,), std=(1 / 255,))
    split = ArraySplit(numbered(2, 4)[None].clone(), torch.tensor([0]))
    found = evaluate_views(net, split, pixels, Dense(pool=pool), classes="ab")
    assert found.probabilities[0, 0].item() == pytest.approx(torch.sigmoid(torch.tensor(expected)).item())
