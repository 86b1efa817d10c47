"""Designed features and linear machines: descriptors, the fit, and what is kept of it."""

import numpy as np
import pytest
import torch
from torch import nn

from convatlas import data, registry
from convatlas.analysis.cost import cost
from convatlas.analysis.trace import trace_network
from convatlas.analysis.verify import verify
from convatlas.architectures.classification.baselines import Hog, HogSVM, SiftBowSVM, SiftWords, fit_machines
from convatlas.data import LabelAssembly, Loader, default_preprocessing
from convatlas.errors import ConvatlasError, UsageError
from convatlas.records import LearnsByItself


def test_hog_sees_an_edges_orientation_and_not_the_light() -> None:
    x = torch.zeros(1, 1, 64, 64)
    x[..., 32:] = 1.0  # a vertical edge: gradients along the rows
    hog = Hog()(x).view(7, 7, 4, 9)
    edge = hog[:, 3]  # the blocks around column 32
    assert edge.sum(dim=(0, 1)).argmax() == 0
    assert edge[..., 1:].abs().max() == 0
    assert hog[:, :2].abs().max() == 0  # nothing to see further left
    torch.testing.assert_close(Hog()(5 * x - 2), Hog()(x), rtol=1e-3, atol=1e-4)
    turned = Hog()(x.transpose(2, 3)).view(7, 7, 4, 9)
    assert turned.sum(dim=(0, 1, 2)).argmax() == 4  # 90 degrees


def test_hog_takes_the_strongest_channel() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(Hog()(torch.cat((x, x / 10), dim=1)), Hog()(x))


def test_words_are_counted_by_the_nearest() -> None:
    words = SiftWords()
    words.vocabulary[1] = 10.0
    words.vocabulary[2:] = 1e4
    descriptors = torch.stack((torch.zeros(128), torch.full((128,), 9.0), torch.full((128,), 12.0)))
    histogram = words.words(descriptors.to(torch.uint8)[None])[0]
    assert histogram[:2].tolist() == pytest.approx([1 / 3, 2 / 3])
    assert histogram.sum().item() == pytest.approx(1)


def test_sift_does_not_see_light_or_contrast() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(SiftWords().describe(x), SiftWords().describe(x * 0.25 + 3))
    assert SiftWords().describe(x).shape == (1, 49, 128)


def test_a_blank_image_and_a_wrong_size() -> None:
    assert SiftBowSVM()(torch.zeros(1, 3, 64, 64)).isfinite().all()
    assert HogSVM()(torch.zeros(1, 3, 64, 64)).isfinite().all()
    with pytest.raises(UsageError, match="input is 48 x 64 pixels; HogSVM takes 64 pixels"):
        registry.build("hog_svm")(torch.zeros(1, 3, 48, 64))


def test_too_few_descriptors_for_a_vocabulary() -> None:
    with pytest.raises(ConvatlasError, match="1 different descriptors; expected at least 200"):
        SiftWords().learn_vocabulary(torch.zeros(3, 49, 128, dtype=torch.uint8))


@pytest.mark.parametrize("labels", [[0, 1], [0, 2], [1, 2, 3]])
def test_machines_of_two_or_more_classes_part_their_samples(labels: list[int]) -> None:
    torch.manual_seed(0)
    centres = 5 * torch.randn(4, 6)
    y = torch.tensor(labels).repeat(10)
    x = centres[y] + 0.1 * torch.randn(len(y), 6)
    layer = nn.Linear(6, 4)
    fit_machines(layer, x, y, penalty=10.0)
    assert (layer(x).argmax(dim=1) == y).all()
    absent = [k for k in range(4) if k not in labels]
    assert layer.weight[absent].abs().max() == 0
    assert layer.bias[absent].unique().tolist() == [-1]


def test_one_class_is_not_enough() -> None:
    with pytest.raises(ConvatlasError, match="two classes; there are 1"):
        fit_machines(nn.Linear(6, 4), torch.randn(5, 6), torch.zeros(5, dtype=torch.int64), penalty=1.0)


@pytest.mark.parametrize(("name", "limit"), [("hog_svm", 0.08), ("sift_bow_svm", 0.2)])
def test_learns_digits_and_keeps_what_it_learned(name: str, limit: float) -> None:
    """On a fifth of the digits; with all of them 1.9% and 5.0%."""
    digits = data.load("digits")
    preprocessing = default_preprocessing(registry.card(name), digits.train)
    net = registry.build(name)
    assert isinstance(net, LearnsByItself)
    batches = list(Loader(LabelAssembly(digits.train, preprocessing), batch_size=100, shuffle=True).epoch(0))
    for batch in batches[:3]:
        net.learn(batch.images, batch.labels)
    net.end_pass(0)
    (batch,) = Loader(LabelAssembly(digits.test, preprocessing), batch_size=1000).epoch(0)
    images, labels = batch.images[:200], batch.labels[:200]
    scores = net(images)
    assert (scores.argmax(dim=1) != labels).float().mean() < limit
    other = registry.build(name)
    other.load_state_dict(net.state_dict())
    assert np.array_equal(other(images[:20]).detach().numpy(), net(images[:20]).detach().numpy())


@pytest.mark.parametrize("name", ["hog_svm", "sift_bow_svm"])
def test_the_features_are_named_as_not_counted(name: str) -> None:
    assert cost(trace_network(name)).uncounted == ("features",)
    assert [row for row in verify(name) if row.verdict == "fails"] == []
