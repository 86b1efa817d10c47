"""Linear SVMs with mined negatives and ridge regressions of boxes, while they are made from the features of regions.

Girshick et al. 2014, sections 2.3 and 3.5, appendices B and C, with the constants of the release.

Positives are the objects themselves; negatives are proposals with an IoU below 0.3 with every object of the class.
Negatives are mined: an image's proposals that an SVM scores above -1 join its set, and when enough have joined it is
fitted again. Features are scaled to a mean norm of 20, measured on up to 200 regions of each of 200 images.
Box regressions are ridge regressions on pool5, scaled alike, fitted on proposals with an IoU above 0.6: each belongs to
the class of the object that it overlaps most. Their targets are centred and decorrelated, class by class, as
`rcnn_train_bbox_regressor.m` does. Objects are proposals too, as in the release's lists of regions.

Shapes   N proposals of an image, G objects, K classes, D features, P values of pool5.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from convatlas.errors import ConvatlasError
from convatlas.lazy import Lazy
from convatlas.ops.box_regression import box_regression
from convatlas.ops.boxes import encode
from convatlas.ops.regions import lie_in_difficult
from convatlas.records import Objects

ops = Lazy("torchvision.ops")

MEAN_NORM = 20.0  # to which features are scaled
STATISTICS = 200  # images, and regions of each, whose features' norms are averaged
HARD, EASY = -1.0001, -1.2  # a negative above the first is taken, one below the second is put away again
_NEVER = -2.0  # the margin of a class that had no object, below every threshold
_ROWS = ("positives", "negatives", "near", "codes")


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
    difficult: bool = True  # whether objects that are marked as difficult are learned


class Fitted(NamedTuple):
    """float32, for features as the network gives them."""

    weight: Tensor  # (K, D)
    bias: Tensor  # (K,)
    box_weight: Tensor  # (K, 4, P + 1), the constant last


class _Class:
    """What one class is learnt from; rows are float32."""

    def __init__(self) -> None:
        self.positives: list[np.ndarray] = []
        self.negatives: list[np.ndarray] = []
        self.joined = 0
        self.plane: np.ndarray | None = None  # (D + 1,), the bias last
        self.near: list[np.ndarray] = []  # pool5 and a constant, of proposals near an object
        self.codes: list[np.ndarray] = []  # and what to change of them

    def margins(self, features: np.ndarray) -> np.ndarray:
        assert self.plane is not None
        return features @ self.plane[:-1] + self.plane[-1]

    def fit(self, chosen: SvmSettings) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import LinearSVC

        if not self.positives or not self.negatives:
            return
        positives, negatives = np.concatenate(self.positives), np.concatenate(self.negatives)
        if not len(negatives):
            return
        svm = LinearSVC(
            loss="hinge",
            C=chosen.c,
            intercept_scaling=chosen.bias_scale,
            class_weight={1: chosen.positive_weight},
            max_iter=10_000,
            random_state=0,
        )
        labels = np.concatenate([np.ones(len(positives)), -np.ones(len(negatives))])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a plane between few examples is near enough
            svm.fit(np.concatenate([positives, negatives]).astype(np.float64), labels)
        self.plane = np.append(svm.coef_[0], svm.intercept_)


class Fitting:
    """The SVMs and regressions of K classes while they are made."""

    def __init__(self, num_classes: int, settings: SvmSettings) -> None:
        self.settings = settings
        self.scale: float | None = None  # of the features; None while objects are gathered
        self.box_scale: float | None = None  # of pool5
        self._norms: list[np.ndarray] = []  # (n, 2) of an image: of its regions' features and of their pool5
        self._classes = [_Class() for _ in range(num_classes)]

    def gather(self, features: np.ndarray, labels: Tensor) -> None:
        """The objects of an image.  (G, D), (G,)"""
        for label, row in zip(labels.tolist(), features, strict=True):
            self._classes[label].positives.append(row[None])

    @property
    def wants_statistics(self) -> bool:
        """Whether too few images' regions have been measured yet; a run sees images in random order."""
        return len(self._norms) < STATISTICS

    def choose(self, count: int) -> np.ndarray:
        """Which of an image's regions are measured: at most 200, at random but always the same for a run's image."""
        return np.random.default_rng(len(self._norms)).permutation(count)[:STATISTICS]

    def measure(self, features: np.ndarray, pool5: np.ndarray) -> None:
        """Takes the norms of an image's regions.  (n, D), (n, P)"""
        self._norms.append(np.stack([np.linalg.norm(values, axis=1) for values in (features, pool5)], 1))

    def end_gathering(self) -> None:
        """Scales features to the mean norm, the gathered objects at once."""
        if not any(each.positives for each in self._classes):
            raise ConvatlasError("no image has an object; expected at least one to fit SVMs on")
        if not self._norms or not len(norms := np.concatenate(self._norms)):
            raise ConvatlasError("no region was measured; expected at least one to scale the features by")
        self.scale, self.box_scale = (MEAN_NORM / max(float(mean), 1e-12) for mean in norms.mean(0))
        for each in self._classes:
            each.positives = [row * np.float32(self.scale) for row in each.positives]

    def mine(self, features: np.ndarray, pool5: np.ndarray, proposals: Tensor, objects: Objects) -> None:
        """The proposals of an image.  (N, D), (N, P), (N, 4)"""
        assert self.scale is not None
        scaled = (features * np.float32(self.scale)).astype(np.float64)
        is_ignored = lie_in_difficult(proposals, objects).cpu() & (not self.settings.difficult)
        overlaps = ops.box_iou(proposals, objects.boxes).cpu()
        labels = objects.labels.cpu()
        for label, each in enumerate(self._classes):
            if each.positives:
                is_far = (overlaps[:, labels == label] < self.settings.negative_iou).all(1) & ~is_ignored
                self._mine(each, scaled[is_far.numpy()])
        if len(labels):
            self._gather_boxes(pool5, proposals.cpu(), objects.boxes.cpu(), labels, overlaps)

    def _mine(self, each: _Class, far: np.ndarray) -> None:
        """Takes the negatives that are still hard; of the first image, all."""
        hard = far if each.plane is None else far[each.margins(far) > HARD]
        each.negatives.append(hard.astype(np.float32))
        each.joined += len(hard)
        if each.plane is None or each.joined > self.settings.refit_after:
            each.fit(self.settings)
            negatives = np.concatenate(each.negatives)
            each.negatives = [negatives[each.margins(negatives) >= EASY]] if each.plane is not None else [negatives]
            each.joined = 0

    def _gather_boxes(
        self, pool5: np.ndarray, proposals: Tensor, boxes: Tensor, labels: Tensor, overlaps: Tensor
    ) -> None:
        """Takes the proposals near an object for the box regression of the class of the object that is nearest."""
        largest, nearest = overlaps.max(1)
        for label in labels.unique().tolist():
            near = (largest > self.settings.box_iou) & (labels[nearest] == label)
            rows = np.pad(pool5[near.numpy()], ((0, 0), (0, 1)), constant_values=1.0)
            self._classes[label].near.append(rows)
            self._classes[label].codes.append(encode(boxes[nearest[near]], proposals[near]).numpy())

    def result(self) -> Fitted:
        """The SVMs of all that was seen. A class without objects gets one that finds nothing.

        Raises:
            ConvatlasError: no proposal lay away from the objects.
        """
        assert self.scale is not None
        assert self.box_scale is not None
        for each in self._classes:
            each.fit(self.settings)
        planes = [each.plane for each in self._classes if each.plane is not None]
        if not planes:
            raise ConvatlasError("no proposal lies away from the objects; expected negatives for the SVMs")
        none = np.append(np.zeros(len(planes[0]) - 1), _NEVER)
        table = np.stack([none if each.plane is None else each.plane for each in self._classes])
        width = max((rows.shape[1] for each in self._classes for rows in each.near), default=1)  # with the constant
        boxes = []
        for each in self._classes:  # of no proposals they are 0: boxes stay as they are
            near, codes = (
                np.concatenate([np.zeros((0, n)), *rows]) for n, rows in ((width, each.near), (4, each.codes))
            )
            boxes.append(box_regression(near, codes, self.box_scale, self.settings.ridge))
        parts = (table[:, :-1] * self.scale, table[:, -1], np.stack(boxes))
        return Fitted(*(torch.from_numpy(np.ascontiguousarray(part)).float() for part in parts))

    def state(self) -> dict[str, Tensor]:
        """All that was gathered, by name."""
        scales = {"scale": self.scale, "box_scale": self.box_scale}
        state = {name: torch.tensor(v, dtype=torch.float64) for name, v in scales.items() if v is not None}
        if self._norms:
            state["norms"] = torch.from_numpy(np.concatenate(self._norms))
            state["measured"] = torch.tensor([len(norms) for norms in self._norms])
        for label, each in enumerate(self._classes):
            for name in _ROWS:
                if rows := getattr(each, name):
                    state[f"{label}.{name}"] = torch.from_numpy(np.concatenate(rows))
            if each.plane is not None:
                state[f"{label}.plane"] = torch.from_numpy(each.plane)
            state[f"{label}.joined"] = torch.tensor(each.joined)
        return state

    def restore(self, state: Mapping[str, Tensor]) -> None:
        if ("scale" in state) != ("box_scale" in state):
            raise ConvatlasError("the fitting was begun by an older version, without the scale of pool5; begin it anew")
        self.scale, self.box_scale = (float(state[name]) if name in state else None for name in ("scale", "box_scale"))
        self._norms = []
        if "norms" in state:
            ends = np.cumsum(state["measured"].numpy())[:-1]
            self._norms = list(np.split(state["norms"].numpy(), ends))
        for label, each in enumerate(self._classes):
            for name in _ROWS:
                rows = state.get(f"{label}.{name}")
                setattr(each, name, [] if rows is None else [rows.numpy()])
            plane = state.get(f"{label}.plane")
            each.plane = None if plane is None else plane.numpy()
            each.joined = int(state[f"{label}.joined"])
