"""COCO's average precision and recall, which pycocotools works out; here is the way there and back.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and cocodataset.org/#detection-eval.
"""

import contextlib
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from convatlas.lazy import Lazy
from convatlas.records import Detections, Objects

coco, cocoeval, rle = Lazy("pycocotools.coco"), Lazy("pycocotools.cocoeval"), Lazy("pycocotools.mask")

NUMBERS = ("AP", "AP50", "AP75", "AP small", "AP medium", "AP large",
           "AR1", "AR10", "AR100", "AR small", "AR medium", "AR large")  # fmt: skip


class CocoPrecision(NamedTuple):
    """NaN where there are no objects to find."""

    ap: Tensor  # (K,) float64: the mean over IoU 0.50, 0.55, ..., 0.95
    ap50: Tensor  # (K,) float64
    numbers: dict[str, float]  # the twelve that COCO prints, by `NUMBERS`


def coco_average_precision(
    detections: Sequence[Detections], objects: Sequence[Objects], num_classes: int, *, masks: bool = False
) -> CocoPrecision:
    """COCO's numbers over images in one order, of boxes or of masks.

    A difficult object is a crowd to COCO: neither found nor missed, and any number of detections may lie in it. Small,
    medium and large go by the area of the object's mask where it has one, else of its box.

    Raises:
        ValueError: the lengths differ, or `masks` are asked for and absent.
    """
    if len(detections) != len(objects):
        raise ValueError(f"{len(detections)} images with detections, {len(objects)} with objects; expected as many")
    if masks and any(found.masks is None for found in (*detections, *objects)):
        raise ValueError("masks are to be compared; expected every image's detections and objects to have them")
    images = [{"id": place, **_size(found)} for place, found in enumerate(objects, start=1)]
    categories = [{"id": label} for label in range(num_classes)]
    marked = [mark for place, found in enumerate(objects, start=1) for mark in _marks(place, found, masks)]
    answers = [answer for place, found in enumerate(detections, start=1) for answer in _answers(place, found, masks)]
    for number, annotation in enumerate(marked, start=1):
        annotation["id"] = number  # to pycocotools 0 is no match
    if not marked:
        nothing = torch.full((num_classes,), torch.nan, dtype=torch.float64)
        return CocoPrecision(nothing, nothing.clone(), dict.fromkeys(NUMBERS, torch.nan))
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        truth: Any = coco.COCO()  # its stubs know files of COCO's alone
        truth.dataset = {"info": {}, "images": images, "categories": categories, "annotations": marked}
        truth.createIndex()
        found: Any = truth.loadRes(answers) if answers else coco.COCO()
        if not answers:
            found.dataset = {"images": images, "categories": categories, "annotations": []}
            found.createIndex()
        judge = cocoeval.COCOeval(truth, found, "segm" if masks else "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    precision = np.where(judge.eval["precision"] < 0, np.nan, judge.eval["precision"])[..., 0, -1]  # (T, R, K)
    numbers = {name: torch.nan if value < 0 else float(value) for name, value in zip(NUMBERS, judge.stats, strict=True)}
    whole = torch.from_numpy(precision)
    return CocoPrecision(whole.flatten(0, 1).nanmean(0), whole[0].nanmean(0), numbers)


def _size(found: Objects) -> dict[str, int]:
    if found.masks is None:
        return {}
    return {"height": found.masks.shape[1], "width": found.masks.shape[2]}


def _marks(image: int, found: Objects, masks: bool) -> list[dict[str, Any]]:
    boxes = _xywh(found.boxes)
    marks = []
    for place, (box, label) in enumerate(zip(boxes, found.labels.tolist(), strict=True)):
        area = box[2] * box[3] if found.masks is None else float(found.masks[place].sum())
        mark = {"image_id": image, "category_id": label, "bbox": box, "area": area}
        mark["iscrowd"] = int(found.difficult[place])
        if masks and found.masks is not None:
            mark["segmentation"] = _rle(found.masks[place])
        marks.append(mark)
    return marks


def _answers(image: int, found: Detections, masks: bool) -> list[dict[str, Any]]:
    answers = []
    scores = found.scores.double().nan_to_num(nan=-torch.inf).tolist()
    for place, (box, label) in enumerate(zip(_xywh(found.boxes), found.labels.tolist(), strict=True)):
        answer = {"image_id": image, "category_id": label, "score": scores[place]}
        if masks and found.masks is not None:
            answer["segmentation"] = _rle(found.masks[place])
        else:
            answer["bbox"] = box
        answers.append(answer)
    return answers


def _xywh(boxes: Tensor) -> list[list[float]]:
    corners = boxes.double().cpu()
    return torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1).tolist()


def _rle(mask: Tensor) -> Any:
    """(H, W) bool -> run lengths"""
    return rle.encode(np.asfortranarray(mask.cpu().numpy().astype(np.uint8)))
