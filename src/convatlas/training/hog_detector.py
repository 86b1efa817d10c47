"""`hog_svm_detector`: what detected objects before convolutional networks, histograms of gradients and a linear SVM.

Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005; and of Felzenszwalb et al., "Object
Detection with Discriminatively Trained Part-Based Models", TPAMI 32, 2010, the components by aspect and the mining of
hard negatives. There are no parts that move, and no training of latent positions: it is not the deformable parts model.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.svm import LinearSVC
from torch import Tensor

from convatlas.data.detection.split import DetectionSplit
from convatlas.data.random import uniforms
from convatlas.errors import ConvatlasError
from convatlas.evaluation.detector import Protocol, summarise_detections
from convatlas.lazy import Lazy
from convatlas.records import DetectionEvaluation, Detections, Objects
from convatlas.training.hog_features import BLOCK, CELL, MARGIN, Level, Template, looks_at, pyramid, warped, windows

ops = Lazy("torchvision.ops")

_LEAST_CELLS, _MOST_CELLS = 3, 10  # along a template's longer side, without its margin
_FAR = 0.3  # overlap below which a window is a negative
_RANDOM, _HARD = 8, 20  # negatives of an image: to begin with, and of each mining
_C = 0.01  # of the SVM, Dalal and Triggs'
_NEAR = -1.0  # the score from which a window can still move the SVM


@dataclass(frozen=True)
class HogSvmDetector:
    """Slides every template over a pyramid of the image."""

    classes: tuple[str, ...]
    templates: tuple[Template, ...]

    def detect(
        self, image: Tensor, *, min_score: float = _NEAR, max_overlap: float = 0.3, limit: int = 100
    ) -> Detections:
        """uint8 (C, H, W) -> up to `limit` detections in its pixels; scores are distances from the SVM's plane.

        Of two windows of a class that overlap more than `max_overlap` the better stays.
        """
        found = [windows(image, level, template, min_score) for level, template in self._looks(image)]
        none = (torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
        boxes, scores, labels = (torch.cat(parts) for parts in zip(none, *found, strict=True))
        kept = ops.batched_nms(boxes, scores, labels, max_overlap)[:limit]
        return Detections(boxes[kept], labels[kept], scores[kept])

    def _looks(self, image: Tensor) -> Iterator[tuple[Level, Template]]:
        for level in pyramid(image, self.templates):
            for template in self.templates:
                if looks_at(template, level.scale):
                    yield level, template

    def evaluate(
        self,
        split: DetectionSplit,
        *,
        protocol: Protocol = "voc10",
        progress: Callable[[int, int], None] | None = None,
    ) -> DetectionEvaluation:
        """All the numbers of a split, one image after the other; damaged images are dropped from it and named."""
        started = time.perf_counter()
        found: list[Detections] = []
        damaged: dict[int, str] = {}
        for index in range(len(split)):
            try:
                found.append(self.detect(split.read(index)[0]))
            except ConvatlasError as error:
                damaged[index] = str(error.__cause__ or error)
            if progress is not None:
                progress(index + 1, len(split))
        split.drop(damaged)
        objects = [split.objects(index) for index in range(len(split))]
        seconds = time.perf_counter() - started
        return summarise_detections(
            found, objects, self.classes, protocol, seconds=seconds, problems=split.problems
        )  # fmt: skip


def train_hog_svm(
    split: DetectionSplit,
    classes: Sequence[str],
    *,
    components: int = 1,
    rounds: int = 2,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> HogSvmDetector:
    """Positives are the objects (mirrored too), negatives first windows at random, then what was wrongly found.

    Args:
        split: of which damaged images are dropped and named in its `problems`.
        classes: K names; a class without objects has no template.
        components: templates of a class, by aspect.
        rounds: of hard-negative mining over all images.
        seed: of the random windows.
        progress: called with (images done, images of all rounds).

    Raises:
        ConvatlasError: no class has objects, or more than half of the images are damaged.
    """
    damaged: dict[int, str] = {}
    for index in range(len(split)):
        try:
            split.read(index)
        except ConvatlasError as error:
            damaged[index] = str(error.__cause__ or error)
    split.drop(damaged)
    total = (rounds + 1) * len(split)
    templates = outlines(split, len(classes), components)
    if not templates:
        raise ConvatlasError("no object is marked; expected images with boxes to train on")
    positives: list[list[np.ndarray]] = [[] for _ in templates]
    negatives: list[list[np.ndarray]] = [[] for _ in templates]
    for index in range(len(split)):
        image, objects = split.read(index)
        for place, template in enumerate(templates):
            positives[place] += [
                values for box in own_boxes(objects, templates, place) for values in warped(image, box, template)
            ]
            negatives[place] += random_windows(image, objects, template, index, seed)
        if progress is not None:
            progress(index + 1, total)
    templates = fit_all(templates, positives, negatives)
    for turn in range(rounds):
        for index in range(len(split)):
            image, objects = split.read(index)
            for place, hard in hard_windows(image, objects, templates).items():
                negatives[place] += hard
            if progress is not None:
                progress((turn + 1) * len(split) + index + 1, total)
        templates = fit_all(templates, positives, negatives)
    return HogSvmDetector(tuple(classes), tuple(templates))


def outlines(split: DetectionSplit, num_classes: int, components: int) -> list[Template]:
    """Templates without weights: their cells are the median object's, as many as it has pixels for."""
    found = []
    for label in range(num_classes):
        boxes = torch.cat([p.boxes[(p.labels == label) & ~p.difficult] for p in split.pages] or [torch.zeros(0, 4)])
        sides = (boxes[:, 2:] - boxes[:, :2]).double()
        groups = sides[(sides[:, 1] / sides[:, 0]).argsort()].tensor_split(components)
        for group in groups:
            if len(group) == 0:
                continue
            width, height = group.median(0).values.tolist()
            longest = min(max(round(max(width, height) / CELL), _LEAST_CELLS), _MOST_CELLS)
            cells = tuple(max(2, round(longest * side / max(width, height))) for side in (height, width))
            low, high = group[:, 1].quantile(torch.tensor([0.02, 0.98]).double()).tolist()
            blank = torch.zeros(BLOCK, cells[0] + 2 * MARGIN - 1, cells[1] + 2 * MARGIN - 1)
            found.append(Template(label, (cells[0], cells[1]), (low, high), blank, 0.0))
    return found


def own_boxes(objects: Objects, templates: Sequence[Template], place: int) -> list[Tensor]:
    """The objects of a template's class whose aspect is nearest to it among those of the class."""
    template = templates[place]
    rivals = [t for t in templates if t.label == template.label]
    boxes = objects.boxes[(objects.labels == template.label) & ~objects.difficult]

    def distance(box: Tensor, other: Template) -> float:
        x1, y1, x2, y2 = box.tolist()
        return abs(math.log((y2 - y1) / (x2 - x1) * other.cells[1] / other.cells[0]))

    return [box for box in boxes if min(rivals, key=lambda other: distance(box, other)) is template]


def random_windows(image: Tensor, objects: Objects, template: Template, index: int, seed: int) -> list[np.ndarray]:
    """Windows of the template's aspect and of heights that occur, away from the objects of its class."""
    draws = uniforms(torch.tensor([index]), 3 * _RANDOM, seed, template.label)[0].view(_RANDOM, 3)
    height, width = image.shape[1:]
    low, high = template.sides
    tall = (low + draws[:, 0] * (high - low)).clamp(max=height)
    wide = (tall * template.cells[1] / template.cells[0]).clamp(max=width)
    x, y = draws[:, 1] * (width - wide), draws[:, 2] * (height - tall)
    boxes = torch.stack([x, y, x + wide, y + tall], 1).float()
    far = _far(boxes, objects, template.label)
    return [warped(image, box, template)[0] for box in boxes[far]]


def hard_windows(image: Tensor, objects: Objects, templates: Sequence[Template]) -> dict[int, list[np.ndarray]]:
    """By template: the best-scored windows that are away from the objects of the class."""
    found: dict[int, list[tuple[float, np.ndarray]]] = {place: [] for place in range(len(templates))}
    for level in pyramid(image, templates):
        for place, template in enumerate(templates):
            if not looks_at(template, level.scale):
                continue
            boxes, scores, _ = windows(image, level, template, _NEAR)
            far = _far(boxes, objects, template.label)
            best = scores[far].topk(min(_HARD, int(far.sum())))
            _, rows, columns = template.weights.shape
            for box, score in zip(boxes[far][best.indices], best.values.tolist(), strict=True):
                left, top = (round(edge * level.scale / CELL) for edge in box[:2].tolist())
                cut = level.blocks[:, top : top + rows, left : left + columns]
                if cut.shape == template.weights.shape:
                    found[place].append((score, cut.flatten().numpy().copy()))
    return {place: [v for _, v in sorted(hard, key=lambda p: -p[0])[:_HARD]] for place, hard in found.items()}


def fit_all(
    templates: Sequence[Template], positives: Sequence[list[np.ndarray]], negatives: Sequence[list[np.ndarray]]
) -> list[Template]:
    """Every template with an SVM's weights. Negatives that it finds easy are forgotten, as DPM's training does."""
    fitted = []
    for template, right, wrong in zip(templates, positives, negatives, strict=True):
        template = fit(template, right, wrong)
        flat = template.weights.flatten().numpy()
        wrong[:] = [values for values in wrong if float(values @ flat) + template.bias >= _NEAR]
        fitted.append(template)
    return fitted


def fit(template: Template, positives: Sequence[np.ndarray], negatives: Sequence[np.ndarray]) -> Template:
    """The template with an SVM's weights; unchanged where one of the sides is missing."""
    if not positives or not negatives:
        return template
    values = np.stack([*positives, *negatives])
    wanted = np.repeat([1, -1], [len(positives), len(negatives)])
    svm = LinearSVC(C=_C, loss="hinge", class_weight="balanced", max_iter=20000, random_state=0).fit(values, wanted)
    weights = torch.from_numpy(svm.coef_[0]).float().view_as(template.weights)
    return replace(template, weights=weights, bias=float(np.ravel(svm.intercept_)[0]))


def _far(boxes: Tensor, objects: Objects, label: int) -> Tensor:
    own = objects.boxes[objects.labels == label]
    return ops.box_iou(boxes, own).amax(1) < _FAR if len(own) else torch.ones(len(boxes), dtype=torch.bool)
