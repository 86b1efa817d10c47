"""Occlusion against captum and by hand."""

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn

from convatlas import registry
from convatlas.errors import UsageError
from convatlas.visualise import deconvnet, occlusion


@pytest.mark.parametrize(("size", "stride"), [(9, 5), (8, 8), (4, 7 - 4)])
def test_as_captum(size: int, stride: int) -> None:
    torch.manual_seed(0)
    net, x = registry.build("cifar_resnet20").eval(), torch.randn(1, 3, 24, 20)
    found = occlusion.occlude(net, x, 3, size=size, stride=stride, batch_size=7)
    theirs = captum.attr.Occlusion(net).attribute(
        x, target=3, sliding_window_shapes=(3, size, size), strides=(3, stride, stride), perturbations_per_eval=8
    )
    np.testing.assert_allclose(found.lost(24, 20), theirs[0, 0].numpy(), atol=2e-5)


def test_every_place_by_hand() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).train()
    x = torch.rand(1, 1, 7, 6)
    found = occlusion.occlude(net, x, 1, size=(3, 2), stride=2, layer="1", grey=0.5, batch_size=4)
    assert found.rows.tolist() == [0, 2, 4]
    assert found.columns.tolist() == [0, 2, 4]
    whole = net[1](net[0](x))
    assert found.map == int(whole[0].amax(dim=(1, 2)).argmax())
    for i, top in enumerate(found.rows):
        for j, left in enumerate(found.columns):
            hidden = x.clone()
            hidden[:, :, top : top + 3, left : left + 2] = 0.5
            maps = net[1](net[0](hidden))
            logits = maps.mean(dim=(2, 3))[0]
            assert found.score[i, j] == pytest.approx(logits[1].item(), abs=1e-6)
            assert found.probability[i, j] == pytest.approx(logits.softmax(0)[1].item(), abs=1e-6)
            assert found.activity[i, j] == pytest.approx(maps[0, found.map].sum().item(), abs=1e-5)
            assert found.predicted[i, j] == int(logits.argmax())
    assert found.whole_activity == pytest.approx(whole[0, found.map].sum().item(), abs=1e-5)
    assert net.training
    assert not net[1]._forward_hooks


def test_the_image_is_covered_to_its_edge() -> None:
    assert occlusion.places(10, 4, 3).tolist() == [0, 3, 6]
    assert occlusion.places(11, 4, 3).tolist() == [0, 3, 6, 9]
    assert occlusion.places(4, 4, 3).tolist() == [0]


@pytest.mark.parametrize(("settings", "sentence"), [
    ({"size": 29, "stride": 2}, "size is 29 x 29; expected 1 to the image's 28 x 28 pixels"),
    ({"size": 5, "stride": 6}, "stride is 6; expected 1 to the square's 5 pixels"),
    ({"size": 5, "stride": 5, "layer": "ip1"}, "'ip1' gives a vector"),
    ({"size": 5, "stride": 5, "batch_size": 0}, "batch_size is 0"),
])  # fmt: skip
def test_wrong_usage(settings: dict, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        occlusion.occlude(registry.build("caffe_lenet"), torch.rand(1, 1, 28, 28), 0, **settings)


def test_figure_6_is_drawn() -> None:
    torch.manual_seed(0)
    net, x = registry.build("caffe_lenet"), torch.rand(1, 1, 28, 28)
    found = occlusion.occlude(net, x, 2, size=7, stride=7)
    (projection,) = deconvnet.project(net, x, found.layer, maps=[found.map])
    sheet = occlusion.figure(x[0, 0].numpy(), found, projection, tuple("abcdefghij"))
    titles = [axis.get_title(loc="left") for axis in sheet.axes[:5]]
    assert titles[3] == "(d) probability of c"
    assert len(sheet.axes[4].get_legend().get_texts()) == len(np.unique(found.predicted))
