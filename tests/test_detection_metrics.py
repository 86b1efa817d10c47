"""Average precision by hand, against the devkit's own way of counting, and against pycocotools; proposal recall."""

import json
import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch

from convatlas.evaluation.coco import NUMBERS, coco_average_precision
from convatlas.evaluation.detection import (
    FALSE,
    IGNORED,
    TRUE,
    average_precision,
    match,
    precision_recall,
    proposal_recall,
    voc_average_precision,
)
from convatlas.records import DetectionEvaluation, Detections, Objects, PrecisionRecall

BOX = [10.0, 10.0, 20.0, 20.0]
FAR = [60.0, 60.0, 70.0, 70.0]


def objects(boxes: list[list[float]], labels: list[int] | None = None, difficult: list[bool] | None = None) -> Objects:
    n = len(boxes)
    return Objects(
        torch.tensor(boxes).reshape(n, 4),
        torch.tensor(labels or [0] * n, dtype=torch.int64),
        torch.tensor(difficult or [False] * n, dtype=torch.bool),
    )


def detections(boxes: list[list[float]], scores: list[float], labels: list[int] | None = None) -> Detections:
    n = len(boxes)
    return Detections(
        torch.tensor(boxes).reshape(n, 4),
        torch.tensor(labels or [0] * n, dtype=torch.int64),
        torch.tensor(scores, dtype=torch.float32),
    )


def curve(verdicts: list[int], positives: int) -> PrecisionRecall:
    right = torch.tensor(verdicts).cumsum(0).double()
    return PrecisionRecall(
        right / positives, right / torch.arange(1, len(verdicts) + 1), torch.zeros(len(verdicts)), positives
    )


def test_average_precision_by_hand() -> None:
    # right, wrong, right of 4 objects: recall 1/4, 1/4, 2/4; precision 1, 1/2, 2/3; envelope 1, 2/3, 2/3
    worked = curve([1, 0, 1], 4)
    assert average_precision(worked, "voc10") == pytest.approx(1 / 4 * 1 + 1 / 4 * 2 / 3)
    # recalls 0, 0.1, 0.2 see 1; 0.3, 0.4, 0.5 see 2/3; beyond it is 0
    assert average_precision(worked, "voc07") == pytest.approx((3 * 1 + 3 * 2 / 3) / 11)


def test_a_recall_of_exactly_a_tenth_counts_for_it() -> None:
    # 3 of 10 objects, all right: recalls 0, 0.1, 0.2 and 0.3 are reached; in floats 0.1 * 3 is more than 3 / 10
    assert average_precision(curve([1, 1, 1], 10), "voc07") == pytest.approx(4 / 11)


def test_all_found_is_one_and_nothing_found_is_zero() -> None:
    for rule in ("voc07", "voc10"):
        assert average_precision(curve([1, 1], 2), rule) == pytest.approx(1.0)
        assert average_precision(curve([0, 0], 2), rule) == 0.0
        ap, curves = voc_average_precision([detections([], [])], [objects([BOX])], 2, rule)
        assert ap[0] == 0.0
        assert math.isnan(ap[1].item())  # no object of the class
        assert curves[0].objects == 1


def test_second_detection_of_an_object_is_false() -> None:
    near = [10.0, 10.0, 20.0, 19.0]
    found = match([detections([near, BOX], [0.9, 0.8])], [objects([BOX])], 0)
    assert found.verdicts.tolist() == [TRUE, FALSE]
    assert found.overlaps.tolist() == pytest.approx([0.9, 1.0])


def test_a_detection_looks_at_its_nearest_object_only() -> None:
    # both answers lie nearest to the first object; the second would overlap the free one with 0.5 too
    first, second = [0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 20.0]
    found = match([detections([first, [0.0, 0.0, 10.0, 12.0]], [0.9, 0.8])], [objects([first, second])], 0)
    assert found.verdicts.tolist() == [TRUE, FALSE]


def test_difficult_objects_are_neither_found_nor_missed() -> None:
    truth = objects([BOX, FAR], difficult=[True, False])
    found = match([detections([BOX, BOX, FAR], [0.9, 0.8, 0.7])], [truth], 0)
    assert found.verdicts.tolist() == [IGNORED, IGNORED, TRUE]
    assert found.objects == 1
    assert average_precision(precision_recall(found), "voc10") == 1.0


def test_overlap_of_exactly_a_half_is_enough() -> None:
    half = [10.0, 10.0, 20.0, 15.0]
    assert match([detections([half], [1.0])], [objects([BOX])], 0).verdicts.tolist() == [TRUE]
    assert match([detections([half], [1.0])], [objects([BOX])], 0, min_overlap=0.51).verdicts.tolist() == [FALSE]


def test_order_over_images_is_the_scores() -> None:
    found = match(
        [detections([BOX, FAR], [0.2, 0.9]), detections([BOX], [0.5]), detections([FAR], [0.95], [1])],
        [objects([BOX]), objects([BOX]), objects([])],
        0,
    )
    assert found.images.tolist() == [0, 1, 0]
    assert found.places.tolist() == [1, 0, 0]
    assert found.verdicts.tolist() == [FALSE, TRUE, TRUE]


def test_nothing_that_is_not_a_number_is_right() -> None:
    found = match([detections([[math.nan] * 4, FAR, BOX], [0.9, math.nan, 0.8])], [objects([BOX, FAR])], 0)
    assert found.verdicts.tolist() == [FALSE, TRUE, TRUE]
    assert found.places.tolist() == [0, 2, 1]  # a score of NaN comes last


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(ValueError, match="expected as many"):
        match([], [objects([BOX])], 0)
    with pytest.raises(ValueError, match=r"outside 0\.\.0"):
        voc_average_precision([detections([BOX], [0.5], [1])], [objects([BOX])], 1)
    with pytest.raises(ValueError, match="masks"):
        coco_average_precision([detections([BOX], [0.5])], [objects([BOX])], 1, masks=True)


def test_evaluation_takes_the_mean_over_classes_that_have_objects() -> None:
    ap = torch.tensor([0.5, math.nan, 1.0], dtype=torch.float64)
    found = DetectionEvaluation(("a", "b", "c"), ap, "voc10", (), {}, math.nan, 0.0)
    assert found.mean_ap == 0.75
    assert found.error == 0.25


def test_proposal_recall_by_hand() -> None:
    truth = objects([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0], FAR], difficult=[False, False, True])
    boxes = torch.tensor([[0.0, 0.0, 10.0, 8.0], [20.0, 0.0, 30.0, 6.0], [0.0, 0.0, 10.0, 10.0]])
    found = proposal_recall([boxes], [truth], thresholds=(0.5, 0.6, 0.9, 1.0))  # overlaps 1.0 and 0.6
    assert found.recall.tolist() == [1.0, 1.0, 0.5, 0.5]
    assert found.average == pytest.approx(2 * (0.5 + 0.1) / 2)
    limited = proposal_recall([boxes], [truth], limit=1, thresholds=(0.5, 0.9))  # 0.8 and nothing
    assert limited.recall.tolist() == [0.5, 0.0]
    assert limited.average == pytest.approx(0.3)
    assert math.isnan(proposal_recall([boxes], [objects([])]).average)


def test_one_proposal_covers_one_object() -> None:
    wide = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    truth = objects([[0.0, 0.0, 10.0, 9.0], [0.0, 1.0, 10.0, 10.0]])
    assert proposal_recall([wide], [truth], thresholds=(0.5,)).recall.tolist() == [0.5]


def test_coco_by_hand() -> None:
    # overlap 0.8: right at IoU 0.50 to 0.80, seven of ten thresholds; the object is small
    found = coco_average_precision([detections([[10.0, 10.0, 20.0, 18.0]], [0.9])], [objects([BOX])], 2)
    assert found.ap[0].item() == pytest.approx(0.7)
    assert found.ap50[0].item() == pytest.approx(1.0)
    assert math.isnan(found.ap[1].item())
    assert found.numbers["AP"] == pytest.approx(0.7)
    assert found.numbers["AR100"] == pytest.approx(0.7)
    assert math.isnan(found.numbers["AP large"])


def test_coco_of_masks_by_hand() -> None:
    mask = torch.zeros(1, 80, 80, dtype=torch.bool)
    mask[0, 10:20, 10:20] = True
    half = mask.clone()
    half[0, 10:14] = False  # overlap 0.6
    truth, answer = objects([BOX]), detections([BOX], [0.9])
    found = coco_average_precision(
        [Detections(answer.boxes, answer.labels, answer.scores, half)],
        [Objects(truth.boxes, truth.labels, truth.difficult, mask)],
        1,
        masks=True,
    )
    assert found.ap[0].item() == pytest.approx(0.3)  # 0.50, 0.55, 0.60


def test_coco_without_answers_and_without_objects() -> None:
    assert coco_average_precision([detections([], [])], [objects([BOX])], 1).ap.tolist() == [0.0]
    nothing = coco_average_precision([detections([BOX], [0.5])], [objects([])], 1)
    assert math.isnan(nothing.ap[0].item())
    assert all(math.isnan(nothing.numbers[name]) for name in NUMBERS)


def random_marks(seed: int) -> tuple[list[Detections], list[Objects]]:
    """Whole-pixel boxes of three classes on thirty images, some near objects and some not, some difficult."""
    g = np.random.default_rng(seed)
    found, marked = [], []
    for _ in range(30):
        corner = g.integers(0, 80, (g.integers(0, 7), 2))
        boxes = np.concatenate([corner, corner + g.integers(8, 40, corner.shape)], 1)
        labels = g.integers(0, 3, len(boxes))
        marked.append(
            Objects(torch.tensor(boxes).float(), torch.tensor(labels), torch.tensor(g.random(len(boxes)) < 0.2))
        )
        near = np.repeat(boxes, 2, 0) + g.integers(-5, 6, (2 * len(boxes), 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        answers = np.concatenate([near, g.integers(0, 20, (3, 4)) + np.array([0, 0, 30, 30])])
        own = np.concatenate([np.repeat(labels, 2), g.integers(0, 3, 3)])
        found.append(
            Detections(
                torch.tensor(answers).float(), torch.tensor(own), torch.tensor(g.permutation(len(own)) / 97 + 0.01)
            )
        )
    return found, marked


def devkit(found: list[Detections], marked: list[Objects], label: int, rule: str) -> float:
    """VOCevaldet.m and VOCap.m, line by line, in the devkit's coordinates: from 1, the last pixel inside."""
    truth = []
    for source_image in marked:
        own = (source_image.labels == label).numpy()
        boxes = source_image.boxes.double().numpy()[own] + np.array([1, 1, 0, 0])
        truth.append((boxes, source_image.difficult.numpy()[own], np.zeros(own.sum(), bool)))
    npos = sum((~difficult).sum() for _, difficult, _ in truth)
    rows = [
        (score, image, box + np.array([1, 1, 0, 0]))
        for image, source_image in enumerate(found)
        for score, box, own in zip(
            source_image.scores.tolist(), source_image.boxes.double().numpy(), source_image.labels.tolist(), strict=True
        )
        if own == label
    ]
    rows.sort(key=lambda row: -row[0])
    tp, fp = np.zeros(len(rows)), np.zeros(len(rows))
    for d, (_, image, bb) in enumerate(rows):
        ovmax, jmax = -np.inf, -1
        boxes, difficult, taken = truth[image]
        for j, bbgt in enumerate(boxes):
            iw = min(bb[2], bbgt[2]) - max(bb[0], bbgt[0]) + 1
            ih = min(bb[3], bbgt[3]) - max(bb[1], bbgt[1]) + 1
            if iw > 0 and ih > 0:
                ua = (bb[2] - bb[0] + 1) * (bb[3] - bb[1] + 1) + (bbgt[2] - bbgt[0] + 1) * (bbgt[3] - bbgt[1] + 1)
                overlap = iw * ih / (ua - iw * ih)
                if overlap > ovmax:
                    ovmax, jmax = overlap, j
        if ovmax < 0.5:
            fp[d] = 1
        elif not difficult[jmax]:
            tp[d], fp[d] = not taken[jmax], taken[jmax]
            taken[jmax] = True
    tp, fp = tp.cumsum(), fp.cumsum()
    rec, prec = tp / npos, tp / np.maximum(tp + fp, 1e-300)
    if rule == "voc07":
        reached = [prec[rec >= t - 1e-12] for t in np.linspace(0, 1, 11)]
        return float(sum(p.max() if len(p) else 0 for p in reached) / 11)
    mrec, mpre = np.concatenate([[0], rec, [1]]), np.concatenate([[0], prec, [0]])
    for i in range(len(mpre) - 2, -1, -1):
        mpre[i] = max(mpre[i], mpre[i + 1])
    i = np.flatnonzero(mrec[1:] != mrec[:-1]) + 1
    return float(((mrec[i] - mrec[i - 1]) * mpre[i]).sum())


@pytest.mark.parametrize("rule", ["voc07", "voc10"])
@pytest.mark.parametrize("seed", range(5))
def test_voc_equals_the_devkit(seed: int, rule: str) -> None:
    found, marked = random_marks(seed)
    ap, _ = voc_average_precision(found, marked, 3, rule)
    assert ap.tolist() == pytest.approx([devkit(found, marked, label, rule) for label in range(3)], abs=1e-12)


def voc100(data_root: Path) -> tuple[list[Detections], list[Objects], tuple[str, ...], list[str]]:
    """Truth from the XML files and a detector's answers from its text files, without the package's readers."""
    folder = data_root / "voc100"
    classes = tuple((folder / "voc.names").read_text().split())
    found, marked, names = [], [], []
    for file in sorted((folder / "gts" / "pascalvoc_format").glob("*.xml")):
        rows = [
            (
                [float(item.findtext(f"bndbox/{side}", "")) - (side in ("xmin", "ymin")) for side in
                 ("xmin", "ymin", "xmax", "ymax")],
                classes.index(item.findtext("name", "")),
                item.findtext("difficult") == "1",
            )
            for item in ElementTree.parse(file).iter("object")
        ]  # fmt: skip
        marked.append(objects(*map(list, zip(*rows, strict=True))))
        names.append(f"{file.stem}.jpg")
        text = folder / "dets" / "abs_xyx2y2" / f"{file.stem}.txt"
        lines = [line.split() for line in text.read_text().splitlines()] if text.exists() else []
        values = sorted(([*map(float, line)] for line in lines), key=lambda row: -row[1])
        found.append(detections([v[2:] for v in values], [v[1] for v in values], [int(v[0]) for v in values]))
    return found, marked, classes, names


@pytest.mark.data
@pytest.mark.parametrize("rule", ["voc07", "voc10"])
def test_voc_equals_the_devkit_on_a_real_detector(data_root: Path, rule: str) -> None:
    found, marked, classes, _ = voc100(data_root)
    ap, curves = voc_average_precision(found, marked, len(classes), rule)
    expected = [devkit(found, marked, label, rule) for label in range(len(classes))]
    assert ap.tolist() == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert sum(curve.objects for curve in curves) == sum(int((~image.difficult).sum()) for image in marked)


@pytest.mark.data
def test_coco_equals_pycocotools_on_the_files(data_root: Path) -> None:
    """The truth's own JSON goes to pycocotools as it is; ours takes the way over `Objects`."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    folder = data_root / "voc100"
    truth = COCO(str(folder / "gts" / "coco_format_v1" / "instances_default.json"))
    found, _, classes, names = voc100(data_root)
    ids = {truth.cats[key]["name"]: key for key in truth.cats}
    places = {image["file_name"]: key for key, image in truth.imgs.items()}
    answers = [
        {
            "image_id": places[name],
            "category_id": ids[classes[label]],
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "score": score,
        }
        for name, source_image in zip(names, found, strict=True)
        for box, label, score in zip(
            source_image.boxes.double().tolist(),
            source_image.labels.tolist(),
            source_image.scores.double().tolist(),
            strict=True,
        )
    ]
    judge = COCOeval(truth, truth.loadRes(json.loads(json.dumps(answers))), "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    marked = []
    for name in names:
        own = truth.imgToAnns[places[name]]
        boxes = [[a["bbox"][0], a["bbox"][1], a["bbox"][0] + a["bbox"][2], a["bbox"][1] + a["bbox"][3]] for a in own]
        labels = [classes.index(truth.cats[a["category_id"]]["name"]) for a in own]
        marked.append(objects(boxes, labels))
    ours = coco_average_precision(found, marked, len(classes))
    assert [ours.numbers[name] for name in NUMBERS] == pytest.approx(judge.stats.tolist(), abs=1e-6)
    assert ours.ap.nanmean().item() == pytest.approx(ours.numbers["AP"], abs=1e-6)
    assert ours.ap50.nanmean().item() == pytest.approx(ours.numbers["AP50"], abs=1e-6)
