"""R-CNN: warped regions by hand, what it is fine-tuned on, its SVMs and box regressions, and what it detects."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from convatlas import registry, weights
from convatlas.architectures.detection.rcnn import RCNN, warp
from convatlas.blocks.region_svms import SvmHeads
from convatlas.errors import ConvatlasError, UsageError
from convatlas.ops.box_regression import box_regression, ridge
from convatlas.ops.svm_fitting import Fitting, SvmSettings
from convatlas.records import Objects


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def objects(boxes: list[list[float]], labels: list[int]) -> Objects:
    easy = torch.zeros(len(boxes), dtype=torch.bool)
    return Objects(torch.tensor(boxes).float().reshape(-1, 4), torch.tensor(labels), easy)


def test_a_region_is_surrounded_by_context_by_hand() -> None:
    # 195 of 227 pixels are the region's: 39 pixels of it are seen as 45.4 around the same centre, 77 to 123.
    image = torch.zeros(1, 200, 200)
    image[:, :, 77:123] = 1
    window = warp(image, torch.tensor([[80.5, 80.5, 119.5, 119.5]]))
    assert window.shape == (1, 1, 227, 227)
    assert window.min() == window.max() == 1
    image[:, :, 77] = 0
    assert warp(image, torch.tensor([[80.5, 80.5, 119.5, 119.5]]))[0, 0, 100].tolist()[:2] == [0, 0]


def test_both_sides_are_stretched_alike() -> None:
    rows = torch.arange(100.0).reshape(1, 100, 1).expand(1, 100, 300)
    window = warp(rows, torch.tensor([[100.0, 30, 200, 50]]), context=0)
    assert window[0, 0, :, 0].min().item() == pytest.approx(30, abs=0.5)
    assert window[0, 0, :, 226].max().item() == pytest.approx(49, abs=0.5)


def test_outside_the_image_is_zero() -> None:
    window = warp(torch.ones(3, 100, 100), torch.tensor([[0.0, 0, 100, 100]]))[0, 0]
    # 16 pixels of context on each side lie outside; 8 pixels of ours, rounded, are 15.65 of the square.
    assert [round(v.item()) for v in window[113, [0, 14, 17, 113, 210, 226]]] == [0, 0, 1, 1, 1, 0]
    assert torch.allclose(window, window.T)


def test_a_region_beside_the_image_is_empty() -> None:
    assert warp(torch.ones(1, 50, 50), torch.tensor([[60.0, 60, 70, 70]])).count_nonzero() == 0


def test_windows_of_one_pixel() -> None:
    assert warp(torch.ones(1, 50, 50), torch.tensor([[10.0, 10, 10, 10], [49, 49, 50, 50]])).isfinite().all()


@pytest.fixture(scope="module")
def net() -> RCNN:
    torch.manual_seed(0)
    return RCNN(num_classes=2).eval()


@pytest.mark.parametrize(("name", "outputs"), [("rcnn_alexnet_voc_finetune", 21), ("rcnn_ilsvrc13", 200)])
def test_shapes_of_the_published(name: str, outputs: int) -> None:
    with torch.device("meta"):
        assert registry.build(name)(torch.empty(2, 3, 227, 227)).shape == (2, outputs)


def test_features_are_rectified_outputs(net: RCNN) -> None:
    x = torch.randn(2, 3, 227, 227)
    pool5, fc6, fc7 = net.features(x, ("pool5", "fc6", "fc7"))
    assert (pool5.shape, fc6.shape, fc7.shape) == ((2, 9216), (2, 4096), (2, 4096))
    assert min(pool5.min(), fc6.min(), fc7.min()) >= 0
    torch.testing.assert_close(net.get_submodule("fc8")(fc7), net(x))
    with pytest.raises(UsageError, match="layer is 'conv3'; expected one of pool5, fc6, fc7"):
        net.features(x, ("conv3",))


def test_fine_tuning_takes_a_quarter_of_objects(net: RCNN, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def forward(windows: Tensor) -> Tensor:
        seen.append(windows)
        return torch.zeros(len(windows), 3, requires_grad=True)

    monkeypatch.setattr(net, "forward", forward)
    near = torch.tensor([[10.0, 10, 50, 45 + i / 10] for i in range(50)])
    far = torch.tensor([[100.0, 10, 150, 45 + i / 10] for i in range(200)])
    losses = net.losses(torch.zeros(1, 3, 200, 200), [objects([[10, 10, 50, 50]], [1])], [torch.cat([near, far])])
    assert len(seen[0]) == 128
    assert losses["classes"].item() == pytest.approx(np.log(3))


def test_svms_without_a_background_learn_by_the_hinge_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        bare = RCNN(num_classes=2, background=False)
    scores = torch.tensor([[0.5, -2.0], [0.0, 0.0]])  # of the object of class 0, and of the one region far from it
    monkeypatch.setattr(bare, "forward", lambda windows: scores)
    given = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    losses = bare.losses(torch.zeros(1, 3, 100, 100), [objects([[0, 0, 10, 10]], [0])], [given])
    assert losses["hinge"].item() == pytest.approx((0.5 + 0 + 1 + 1) / 2)


def test_softmax_without_svms(net: RCNN) -> None:
    given = torch.tensor([[10.0, 10, 90, 90], [20, 20, 60, 60]])
    (found,) = net.detect(torch.randn(1, 3, 100, 100), [given], score_above=0.0)
    assert len(found.boxes) == 4
    assert {tuple(box) for box in found.boxes.tolist()} == {tuple(box) for box in given.tolist()}
    (nothing,) = net.detect(torch.randn(1, 3, 100, 100), [torch.zeros(0, 4)])
    assert len(nothing.boxes) == 0


def test_box_codes_by_hand() -> None:
    weight = torch.zeros(1, 4, 9217)
    weight[0, 0, 3], weight[0, 2, 9216] = 2.0, 0.5  # dx from the fourth feature, dw constant
    heads = SvmHeads(torch.zeros(1, 9216), torch.zeros(1), weight, layer="pool5")
    pool5 = torch.zeros(1, 9216)
    pool5[0, 3] = 0.1
    assert heads.codes(pool5)[0, 0].tolist() == pytest.approx([0.2, 0, 0.5, 0])


def test_svms_stand_beside_the_last_layer(net: RCNN) -> None:
    windows = torch.randn(1, 3, 227, 227)
    before = net(windows)
    net.svms = SvmHeads(torch.zeros(1, 9216), torch.zeros(1), torch.zeros(1, 4, 9217), layer="pool5")
    assert torch.equal(net(windows), before)
    net.svms = None
    assert torch.equal(net(windows), before)


def test_ridge_from_rows_and_from_columns() -> None:
    draw = np.random.default_rng(0)
    for rows, columns in ((30, 8), (8, 30)):
        x, y = draw.normal(size=(rows, columns)), draw.normal(size=(rows, 2))
        wanted = np.linalg.inv(x.T @ x + 3 * np.eye(columns)) @ x.T @ y
        np.testing.assert_allclose(ridge(x, y, 3.0), wanted, atol=1e-10)


def colours_of(image: Tensor, boxes: Tensor, layers: tuple[str, ...]) -> tuple[Tensor, ...]:
    """The mean colour of a region for the SVMs, and its width and left side for the box regression."""
    rows = [image[:, int(y1) : int(y2), int(x1) : int(x2)].mean((1, 2)) for x1, y1, x2, y2 in boxes.tolist()]
    colours = torch.stack(rows) if rows else torch.zeros(0, 3)
    pool5 = torch.zeros(len(boxes), 9216)
    pool5[:, 0], pool5[:, 1] = boxes[:, 2] - boxes[:, 0], boxes[:, 0]
    return tuple(pool5 if layer == "pool5" else colours for layer in layers)


def coloured() -> tuple[Tensor, Tensor, Objects]:
    image = torch.zeros(3, 100, 100)
    image[0, 10:40, 10:40] = 1
    image[1, 60:90, 50:90] = 1
    proposals = torch.tensor([[10.0, 10, 34, 40], [60, 60, 90, 90], [0, 45, 40, 95], [42, 0, 90, 40], [12, 12, 40, 41]])
    return image, proposals, objects([[10, 10, 40, 40], [50, 60, 90, 90]], [0, 1])


def fit(net: RCNN, images: list[tuple[Tensor, Tensor, Objects]]) -> SvmHeads:
    for epoch in range(2):
        for image, proposals, truth in images:
            net.learn(image[None], [truth], [proposals])
        net.end_pass(epoch)
    assert net.svms is not None
    return net.svms


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> RCNN:
    """Sees colours."""
    net = RCNN(num_classes=2)
    monkeypatch.setattr(net, "describe", colours_of)
    net.svm_settings = SvmSettings(c=1.0, ridge=1e-6)
    return net


def test_svms_tell_colours_apart(bare: RCNN) -> None:
    heads = fit(bare, [coloured()] * 2)
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 0]])
    assert (heads(colours) > 0).tolist() == [[True, False], [False, True], [False, False]]
    # Of class 0 two proposals are near enough, 24 px wide at 10 and 28 wide at 12, and the object; all fit exactly.
    pool5 = torch.zeros(3, 9216)
    pool5[:, :2] = torch.tensor([[24.0, 10], [28, 12], [30, 10]])
    codes = heads.codes(pool5)[:, 0]
    torch.testing.assert_close(codes[:, 0], torch.tensor([3 / 24, -1 / 28, 0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(codes[:, 2], torch.tensor([30 / 24, 30 / 28, 1.0]).log(), atol=1e-3, rtol=0)


def test_a_box_regression_by_the_releases_formulae() -> None:
    """rcnn_train_bbox_regressor.m and rcnn_predict_bbox_regressor.m, step by step."""
    rng = np.random.default_rng(0)
    x, y, scale, strength = rng.random((30, 5)), rng.normal(size=(30, 4)) @ rng.normal(size=(4, 4)) + 3, 1.7, 10.0
    a = np.c_[x * scale, np.ones(30)]
    mu = y.mean(0)
    values, axes = np.linalg.eig((y - mu).T @ (y - mu) / 30)
    t, t_inv = ((axes * power) @ axes.T for power in ((values + 0.001) ** -0.5, (values + 0.001) ** 0.5))
    beta = np.linalg.inv(a.T @ a + strength * np.eye(6)) @ a.T @ ((y - mu) @ t)
    weights = box_regression(np.c_[x, np.ones(30)], y, scale, strength)
    np.testing.assert_allclose(np.c_[x, np.ones(30)] @ weights.T, a @ beta @ t_inv + mu, atol=1e-9)


def test_each_proposal_belongs_to_the_class_of_its_best_object() -> None:
    fitting = Fitting(2, SvmSettings())
    fitting.measure(np.full((3, 4), 5.0), np.full((3, 2), 2.0))
    fitting.gather(np.ones((2, 4), dtype=np.float32), torch.tensor([0, 1]))
    fitting.end_gathering()
    assert (fitting.scale, fitting.box_scale) == pytest.approx((20 / 10, 20 / 8**0.5))
    truth = objects([[0, 0, 100, 100], [0, 0, 100, 110]], [0, 1])  # they overlap by 0.91
    proposals = torch.tensor([[0.0, 0, 100, 99], [0, 0, 100, 112], [0, 0, 30, 30]])
    fitting.mine(np.ones((3, 4), dtype=np.float32), np.eye(3, 2, dtype=np.float32), proposals, truth)
    state = fitting.state()
    assert [len(state[f"{label}.near"]) for label in (0, 1)] == [1, 1]
    assert state["1.codes"][0, 3].item() == pytest.approx(math.log(110 / 112))


def test_a_class_without_objects_is_never_found(bare: RCNN) -> None:
    bare.num_svms = 3
    heads = fit(bare, [coloured()])
    assert heads(torch.randn(5, 3))[:, 2].tolist() == [-2.0] * 5


def test_images_without_objects_or_without_anything_else(bare: RCNN) -> None:
    image, proposals, truth = coloured()
    with pytest.raises(ConvatlasError, match="no image was shown"):
        bare.end_pass(0)
    bare.learn(image[None], [objects([], [])], [proposals])
    with pytest.raises(ConvatlasError, match="no image has an object"):
        bare.end_pass(0)
    bare.load_pass_state({})
    bare.learn(image[None], [truth])
    bare.end_pass(0)
    bare.learn(image[None], [objects([], [])], [truth.boxes[:0]])
    with pytest.raises(ConvatlasError, match="no proposal lies away from the objects"):
        bare.end_pass(1)


def test_a_stopped_fit_goes_on_as_if_nothing_had_happened(bare: RCNN, monkeypatch: pytest.MonkeyPatch) -> None:
    image, proposals, truth = coloured()
    images = [(image, proposals, truth), (image.flip(2), proposals, objects([[60.0, 10, 90, 40]], [0]))]
    whole = fit(bare, images)
    bare.load_pass_state({})
    for epoch in range(2):
        for image, proposals, truth in images:
            other = RCNN(num_classes=2)
            monkeypatch.setattr(other, "describe", colours_of)
            other.svm_settings = bare.svm_settings
            other.load_pass_state({name: value.clone() for name, value in bare.pass_state().items()})
            other.learn(image[None], [truth], [proposals])
            bare = other
        bare.end_pass(epoch)
    assert bare.svms is not None
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in bare.svms.state_dict().items())


def test_weights_bring_their_svms(tmp_path: Path) -> None:
    heads = SvmHeads(torch.randn(2, 4096), torch.randn(2), torch.randn(2, 4, 9217), layer="fc6")
    net = RCNN(num_classes=2)
    net.take_svms(heads)
    card = weights.make_card("rcnn_alexnet_voc_finetune", num_classes=2, in_channels=3)
    weights.save(tmp_path / "a.safetensors", net, card)
    again = weights.create("rcnn_alexnet_voc_finetune", weights=tmp_path / "a.safetensors")
    assert isinstance(again, RCNN)
    assert again.svms is not None
    assert again.svms.layer == "fc6"
    assert torch.equal(again.svms.box_weight, heads.box_weight)
    again.load_state_dict(RCNN(num_classes=2).state_dict())
    assert again.svms is None


def test_without_a_background_the_svms_are_the_last_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    net = RCNN(num_classes=2, background=False).eval()
    net.take_svms(SvmHeads(torch.randn(2, 4096), torch.randn(2), torch.zeros(2, 4, 9217), layer="fc7"))
    assert net.svms is None
    net.svm_settings = SvmSettings(layer="fc6")  # of the same width
    with pytest.raises(UsageError, match="layer is 'fc6'; expected one of fc7"):
        net.learn(torch.zeros(1, 3, 100, 100), [objects([[0, 0, 10, 10]], [0])])
    windows = torch.randn(1, 3, 227, 227)
    (fc7,) = net.features(windows)
    torch.testing.assert_close(net(windows), fc7 @ net.get_submodule("fc8").weight.T + net.get_submodule("fc8").bias)  # pyright: ignore


@pytest.mark.slow
def test_the_whole_pipeline_finds_what_it_was_shown() -> None:
    net = RCNN(num_classes=2)
    for layer in net.children():
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:  # random features that tell images apart
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    image, proposals, truth = coloured()
    image = (image - 0.3) * 200
    net.svm_settings = SvmSettings(layer="pool5", c=0.1)
    fit(net, [(image, proposals, truth)])
    (found,) = net.eval().detect(image[None], [proposals])
    for label, box in zip(truth.labels, truth.boxes, strict=True):
        best = found.boxes[found.labels == label][0]
        assert box_iou(best[None], box[None]).item() > 0.6
