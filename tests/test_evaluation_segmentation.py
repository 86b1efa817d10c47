"""Overlap of masks by hand, and against scikit-learn and torchmetrics."""

import math

import pytest
import torch

from convatlas.errors import UsageError
from convatlas.evaluation import segmentation
from convatlas.evaluation.segmentation import ConfusionMeter, centre_crop, image_confusions, overlaps, scores

TRUE = torch.tensor([[[0, 0, 0, 1], [0, 0, 1, 255]], [[1, 1, 255, 255], [1, 1, 0, 0]]])
FOUND = torch.tensor([[[0, 0, 1, 1], [0, 2, 1, 0]], [[1, 1, 1, 2], [1, 0, 0, 0]]])
CONFUSION = [[5, 1, 1, 0], [1, 5, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]  # class 2 is never true, class 3 not even found


def test_the_four_numbers_by_hand() -> None:
    meter = ConfusionMeter(4)
    each = meter.add(FOUND, TRUE)
    assert meter.confusion.tolist() == CONFUSION
    assert each[0].tolist() == [[3, 1, 1, 0], [0, 2, 0, 0], [0] * 4, [0] * 4]
    of_class = overlaps(meter.confusion)
    assert of_class.iu.tolist() == pytest.approx([5 / 8, 5 / 7, 0, math.nan], nan_ok=True)
    assert of_class.accuracy.tolist() == pytest.approx([5 / 7, 5 / 6, math.nan, math.nan], nan_ok=True)
    assert of_class.share.tolist() == pytest.approx([7 / 13, 6 / 13, 0, 0])
    assert scores(meter.confusion) == pytest.approx(
        (10 / 13, (5 / 7 + 5 / 6) / 2, (5 / 8 + 5 / 7) / 3, (7 * 5 / 8 + 6 * 5 / 7) / 13)
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_batches_and_types_make_no_difference(dtype: torch.dtype) -> None:
    meter = ConfusionMeter(4)
    for found, true in zip(FOUND, TRUE, strict=True):
        meter.add(found[None].to(dtype), true[None].to(dtype))
    assert meter.confusion.tolist() == CONFUSION


def test_many_classes_do_not_overflow_a_byte() -> None:
    true = torch.arange(150, dtype=torch.uint8).view(1, 10, 15)
    assert torch.equal(image_confusions(true, true, 150)[0], torch.eye(150, dtype=torch.int64))


def test_a_smaller_prediction_is_compared_with_the_middle() -> None:
    masks = torch.arange(30).view(1, 5, 6)
    assert centre_crop(masks, (2, 4)).tolist() == [[[7, 8, 9, 10], [13, 14, 15, 16]]]  # 3 rows off: 1 above, 2 below
    assert image_confusions(torch.tensor([[[14, 14]]]), masks, 30)[0, 14:16, 14].tolist() == [1, 1]


def test_without_a_counted_pixel_there_is_no_score() -> None:
    meter = ConfusionMeter(2)
    meter.add(torch.zeros(1, 2, 2, dtype=torch.int64), torch.full((1, 2, 2), 255))
    assert all(math.isnan(value) for value in scores(meter.confusion))


def test_equal_to_scikit_learn_and_torchmetrics() -> None:
    from sklearn import metrics
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

    generator = torch.Generator().manual_seed(0)
    true = torch.randint(0, 6, (3, 20, 30), generator=generator)
    found = torch.where(torch.rand(true.shape, generator=generator) < 0.6, true, (true + 1) % 6)
    void = torch.rand(true.shape, generator=generator) < 0.1
    masks = torch.where(void, 255, true)
    meter = ConfusionMeter(6)
    meter.add(found, masks)
    assert meter.confusion.tolist() == metrics.confusion_matrix(true[~void], found[~void]).tolist()
    ours = scores(meter.confusion)
    theirs = [
        multiclass_jaccard_index(found, masks, 6, average=average, ignore_index=255).item()
        for average in ("macro", "weighted")
    ]
    accuracy = [
        multiclass_accuracy(found, masks, 6, average=average, ignore_index=255).item() for average in ("micro", "macro")
    ]
    assert [ours.mean_iu, ours.frequency_weighted_iu] == pytest.approx(theirs, abs=1e-6)
    assert [ours.pixel_accuracy, ours.mean_accuracy] == pytest.approx(accuracy, abs=1e-6)
    assert overlaps(meter.confusion).iu.tolist() == pytest.approx(
        metrics.jaccard_score(true[~void], found[~void], average=None).tolist()
    )


def test_an_evaluation_has_all_of_it() -> None:
    found = segmentation.summarise(torch.tensor(CONFUSION), 0.5, "abcd", 2.0)
    assert found.error == pytest.approx(1 - (5 / 8 + 5 / 7) / 3)
    assert found.pixel_accuracy == pytest.approx(10 / 13)
    with pytest.raises(UsageError, match="expected 3 classes each way"):
        segmentation.summarise(torch.tensor(CONFUSION), 0.5, "abc", 2.0)


@pytest.mark.parametrize(
    ("predicted", "masks", "reason"),
    [
        (FOUND, TRUE[:1], r"expected \(B, h, w\)"),
        (FOUND[0], TRUE[0], r"expected \(B, h, w\)"),
        (FOUND.float(), TRUE, "predicted is torch.float32"),
        (FOUND + 2, TRUE, "the prediction has classes 2 to 4; expected 0 to 3"),
        (FOUND, TRUE + 4, "the masks have classes 4 to 259; expected 0 to 3, or 255 for void"),
        (torch.zeros(2, 3, 4, dtype=torch.int64), TRUE, "larger than its mask"),
    ],
)
def test_what_does_not_fit_is_refused(predicted: torch.Tensor, masks: torch.Tensor, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        image_confusions(predicted, masks, 4)
