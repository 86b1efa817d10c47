"""Metrics by hand and against scikit-learn, and one pass over a split."""

import math

import pytest
import torch
from torch import nn

from convatlas.data import ArraySplit, LabelAssembly, Loader
from convatlas.errors import ConvatlasError, UsageError
from convatlas.evaluation import confusion_matrix, evaluate, per_class, top_k_error, wilson_interval
from convatlas.records import Preprocessing

PIXELS = Preprocessing((1, 2), channels=1, mean=(0.0,), std=(1 / 255,))  # values stay 0..255


def test_top_k_error_by_hand() -> None:
    scores = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [0.0, 1.0, 5.0]])
    labels = torch.tensor([0, 1, 2, 2])
    assert [top_k_error(scores, labels, k) for k in (1, 2, 3)] == [0.5, 0.25, 0.0]


def test_top_k_error_gives_no_credit_for_ties_and_nan() -> None:
    labels = torch.tensor([0, 1, 2, 3])
    assert top_k_error(torch.zeros(4, 4), labels, 1) == 0.75
    assert top_k_error(torch.zeros(4, 4), labels, 2) == 0.5
    assert top_k_error(torch.full((4, 4), math.nan), labels, 4) == 1.0
    assert math.isnan(top_k_error(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 1))


def test_confusion_and_per_class_by_hand() -> None:
    labels, predicted = torch.tensor([0, 0, 0, 1, 1, 3]), torch.tensor([0, 0, 1, 1, 0, 0])
    confusion = confusion_matrix(predicted, labels, 4)
    assert confusion.tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    recall, precision, f1 = per_class(confusion)
    assert recall[:2].tolist() == pytest.approx([2 / 3, 1 / 2])
    assert precision[:2].tolist() == pytest.approx([2 / 4, 1 / 2])
    assert f1[:2].tolist() == pytest.approx([4 / 7, 1 / 2])
    assert recall.isnan().tolist() == [False, False, True, False]  # class 2 has no samples
    assert precision.isnan().tolist() == [False, False, True, True]  # classes 2 and 3 are never predicted
    assert f1.isnan().tolist() == [False, False, True, False]


def test_metrics_equal_scikit_learn() -> None:
    from sklearn import metrics

    generator = torch.Generator().manual_seed(0)
    scores, labels = torch.randn(200, 7, generator=generator), torch.randint(0, 6, (200,), generator=generator)
    predicted = scores.argmax(1)
    confusion = confusion_matrix(predicted, labels, 7)
    assert confusion.tolist() == metrics.confusion_matrix(labels, predicted, labels=range(7)).tolist()
    for k in (1, 3):
        accuracy = metrics.top_k_accuracy_score(labels, scores.double(), k=k, labels=range(7))
        assert top_k_error(scores, labels, k) == pytest.approx(1 - accuracy)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        labels, predicted, labels=range(7), zero_division=math.nan
    )
    for ours, theirs in zip(per_class(confusion), (recall, precision, f1), strict=True):
        assert ours.tolist() == pytest.approx(theirs.tolist(), nan_ok=True)


def test_wilson_interval() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (errors, n), expected in published.items():
        assert wilson_interval(errors, n) == pytest.approx(expected, abs=5e-5)
    assert wilson_interval(20, 20)[1] == 1.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: top_k_error(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64), 0),
        lambda: top_k_error(torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64), 1),
        lambda: confusion_matrix(torch.tensor([0]), torch.tensor([3]), 3),
        lambda: confusion_matrix(torch.tensor([0, 1]), torch.tensor([0]), 3),
        lambda: wilson_interval(3, 2),
        lambda: wilson_interval(0, 0),
    ],
)
def test_what_does_not_fit_is_refused(call) -> None:
    with pytest.raises(ValueError, match=r"expected|outside"):
        call()


class TwoPixels(nn.Module):
    """The two pixels are the logits of the first two of K classes."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.dropout = nn.Dropout(0.9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.pad(self.dropout(x.flatten(1)), (0, self.num_classes - 2), value=-50.0)


def split() -> ArraySplit:
    pixels = torch.tensor([[3, 0], [0, 3], [3, 0], [0, 0], [1, 2]], dtype=torch.uint8)
    return ArraySplit(pixels.view(5, 1, 1, 2), torch.tensor([0, 1, 1, 0, 0]))


@pytest.mark.parametrize("shuffle", [False, True])
def test_evaluate_by_hand(shuffle: bool) -> None:
    net = TwoPixels(2)
    net.train()
    net.dropout.eval()  # each module's own mode comes back
    told: list[tuple[int, int]] = []
    loader = Loader(LabelAssembly(split(), PIXELS), batch_size=2, shuffle=shuffle)
    result = evaluate(net, loader, classes=["a", "b"], progress=lambda done, total: told.append((done, total)))
    right = torch.tensor([3.0, 3.0, 3.0, 0.0, 1.0]).sigmoid()  # probability of the larger logit
    true = torch.tensor([right[0], right[1], 1 - right[2], right[3], 1 - right[4]])
    assert result.top1_error == pytest.approx(2 / 5)
    assert result.top5_error is None
    assert result.loss == pytest.approx(-true.log().mean().item(), rel=1e-5)
    assert result.confusion.tolist() == [[2, 1], [1, 1]]
    assert result.labels.tolist() == [0, 1, 1, 0, 0]
    assert torch.allclose(result.probabilities.gather(1, result.labels[:, None])[:, 0], true)
    assert not result.probabilities.is_inference()
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert net.training
    assert not net.dropout.training


def test_evaluate_with_six_classes_and_another_loss() -> None:
    loader = Loader(LabelAssembly(split(), PIXELS), batch_size=5)
    result = evaluate(TwoPixels(6), loader, classes="abcdef", loss=lambda logits, labels: logits[:, 0].mean())
    assert result.top5_error == 0.0
    assert result.loss == pytest.approx(7 / 5)


def test_evaluate_refuses_wrong_classes_and_dropped_samples_and_restores_the_mode() -> None:
    net = TwoPixels(3)
    with pytest.raises(ConvatlasError, match=r"expected \(batch, 2\)"):
        evaluate(net, Loader(LabelAssembly(split(), PIXELS), batch_size=2), classes=["a", "b"])
    assert net.training
    with pytest.raises(UsageError, match="drops its last batch"):
        evaluate(net, Loader(LabelAssembly(split(), PIXELS), batch_size=2, drop_last=True), classes="abc")
