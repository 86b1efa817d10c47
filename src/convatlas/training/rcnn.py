"""What R-CNN and SPPnet fit on the features of their networks: an SVM and a box regression for each class.

Girshick et al. 2014, sections 2.3 and 3.5, appendices B and C, with the constants of the release.

Positives are the objects themselves; negatives are proposals with an IoU below 0.3 with every object of the class.
Negatives are mined: a picture's proposals that an SVM scores above -1 join its set, and when enough have joined it is
fitted again. Box regressions are ridge regressions on pool5, fitted on proposals with an IoU above 0.6.

Shapes   N proposals of a picture, G objects, K classes, D features.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.svm import LinearSVC
from torch import Tensor

from convatlas.architectures.detection.rcnn import RCNN, SvmHeads
from convatlas.architectures.detection.spp import SPPDetector
from convatlas.blocks.boxes import encode
from convatlas.blocks.regions import easy
from convatlas.lazy import Lazy
from convatlas.structures import ConvatlasError, Objects

ops = Lazy("torchvision.ops")

MEAN_NORM = 20.0  # to which features are scaled before the SVMs see them
HARD, EASY = -1.0, -1.2  # a negative above the first is taken, one below the second is put away again


@dataclass(frozen=True)
class SvmSettings:
    """The release's constants."""

    layer: str = "fc7"
    c: float = 1e-3
    bias_scale: int = 10
    positive_weight: float = 2.0
    negative_iou: float = 0.3
    refit_after: int = 2000  # negatives that have joined
    box_iou: float = 0.6
    ridge: float = 1000.0


@dataclass
class _Class:
    """What one class is learnt from."""

    positives: list[np.ndarray] = field(default_factory=list)
    negatives: list[np.ndarray] = field(default_factory=list)
    joined: int = 0
    svm: LinearSVC | None = None
    near: list[np.ndarray] = field(default_factory=list)  # pool5 and a constant, of proposals near an object
    codes: list[np.ndarray] = field(default_factory=list)  # and what to change of them


def fit_svms(
    net: RCNN | SPPDetector,
    pictures: Iterable[tuple[Tensor, Tensor, Objects]],
    num_classes: int,
    settings: SvmSettings | None = None,
) -> SvmHeads:
    """Fits SVMs and box regressions, and gives them to `net`, whose `detect` then uses them.

    Args:
        net: fine-tuned, or as it came from ImageNet. It runs in eval mode, and is left in it.
        pictures: (C, H, W) as the network takes them, (N, 4) proposals, and the objects; all are held in memory.
        num_classes: K.
        settings: None takes the release's.

    Raises:
        ConvatlasError: a class has no object.
    """
    chosen = settings or SvmSettings()
    net.eval()
    seen = list(pictures)
    classes = [_Class() for _ in range(num_classes)]
    scale = _scale(net, seen, chosen)
    for image, _, objects in seen:
        marked = easy(objects)
        (features,) = _features(net, image, marked.boxes, (chosen.layer,))
        for label, row in zip(marked.labels.tolist(), features * scale, strict=True):
            classes[label].positives.append(row[None])
    absent = [label for label, each in enumerate(classes) if not each.positives]
    if absent:
        raise ConvatlasError(f"class {absent[0]} has no object among {len(seen)} pictures; expected at least one")
    for image, proposals, objects in seen:
        features, pool5 = _features(net, image, proposals, (chosen.layer, "pool5"))
        for label, each in enumerate(classes):
            own = objects.boxes[objects.labels == label]
            overlaps = ops.box_iou(proposals, own).cpu()
            far = (overlaps < chosen.negative_iou).all(1).numpy()
            _mine(each, features[far] * scale, chosen)
            _gather_boxes(each, pool5, proposals, own, overlaps, chosen)
    for each in classes:
        _fit(each, chosen)
    net.svms = _heads(classes, scale, chosen).to(next(net.parameters()).device)
    return net.svms


@torch.no_grad()
def _features(net: RCNN | SPPDetector, image: Tensor, boxes: Tensor, layers: tuple[str, ...]) -> tuple[np.ndarray, ...]:
    return tuple(values.cpu().double().numpy() for values in net.describe(image, boxes, layers))


def _scale(net: RCNN | SPPDetector, seen: list[tuple[Tensor, Tensor, Objects]], chosen: SvmSettings) -> float:
    """So that features of objects have a mean norm of 20."""
    boxes = [(image, objects.boxes) for image, _, objects in seen if len(objects.boxes)]
    norms = [np.linalg.norm(_features(net, image, each, (chosen.layer,))[0], axis=1) for image, each in boxes]
    return MEAN_NORM / max(float(np.concatenate(norms).mean()), 1e-12) if norms else 1.0


def _mine(each: _Class, features: np.ndarray, chosen: SvmSettings) -> None:
    """Takes the negatives that are still hard; of the first picture, all."""
    hard = features if each.svm is None else features[each.svm.decision_function(features) > HARD]
    each.negatives.append(hard)
    each.joined += len(hard)
    if each.svm is None or each.joined > chosen.refit_after:
        _fit(each, chosen)
        kept = np.concatenate(each.negatives)
        each.negatives = [kept[each.svm.decision_function(kept) >= EASY]] if each.svm is not None else [kept]
        each.joined = 0


def _fit(each: _Class, chosen: SvmSettings) -> None:
    negatives = np.concatenate(each.negatives) if each.negatives else np.zeros((0, 0))
    if not len(negatives):
        return
    positives = np.concatenate(each.positives)
    svm = LinearSVC(
        loss="hinge",
        C=chosen.c,
        intercept_scaling=chosen.bias_scale,
        class_weight={1: chosen.positive_weight},
        max_iter=10_000,
        random_state=0,
    )
    labels = np.concatenate([np.ones(len(positives)), -np.ones(len(negatives))])
    each.svm = svm.fit(np.concatenate([positives, negatives]), labels)


def _gather_boxes(
    each: _Class, pool5: np.ndarray, proposals: Tensor, own: Tensor, overlaps: Tensor, chosen: SvmSettings
) -> None:
    """Takes the proposals near an object for the class's box regression."""
    if not len(own):
        return
    largest, nearest = overlaps.max(1)
    near = largest > chosen.box_iou
    x = np.pad(pool5[near.numpy()], ((0, 0), (0, 1)), constant_values=1.0)
    each.near.append(x)
    each.codes.append(encode(own.cpu()[nearest[near]], proposals.cpu()[near]).double().numpy())


def ridge(x: np.ndarray, y: np.ndarray, strength: float) -> np.ndarray:
    """The weights (D, M) with the least |x w - y|^2 + strength |w|^2.  (N, D), (N, M)

    Solved for the N rows or for the D columns, whichever are fewer.
    """
    rows, columns = x.shape
    if rows < columns:
        return x.T @ np.linalg.solve(x @ x.T + strength * np.eye(rows), y)
    return np.linalg.solve(x.T @ x + strength * np.eye(columns), x.T @ y)


def _heads(classes: list[_Class], scale: float, chosen: SvmSettings) -> SvmHeads:
    weights, biases, boxes = [], [], []
    width = max((rows.shape[1] for each in classes for rows in each.near), default=1)  # of pool5 and the constant
    for each in classes:
        if each.svm is None:
            raise ConvatlasError("no proposal lies away from the objects; expected negatives for the SVMs")
        weights.append(each.svm.coef_[0] * scale)
        biases.append(float(np.ravel(each.svm.intercept_)[0]))
        near, codes = (np.concatenate([np.zeros((0, n)), *rows]) for n, rows in ((width, each.near), (4, each.codes)))
        boxes.append(ridge(near, codes, chosen.ridge).T)  # of none they are 0: boxes stay as they are
    made = [torch.from_numpy(np.stack(rows)).float() for rows in (weights, boxes)]
    return SvmHeads(made[0], torch.tensor(biases), made[1], layer=chosen.layer)
