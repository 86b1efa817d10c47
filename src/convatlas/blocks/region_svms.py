"""The SVMs and box regressions that R-CNN and SPPnet have beside their networks, and fit in two passes over images.

Girshick et al. 2014, section 2.3. The first pass gathers the objects and measures the norms of some regions' features,
by which they are scaled; the second mines the proposals (`ops.svm_fitting`).

Shapes   N proposals of an image, K classes, D features, P values of pool5.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.blocks.region_search import RegionSearch
from convatlas.errors import ConvatlasError, UsageError
from convatlas.lazy import Lazy
from convatlas.ops.boxes import suppress
from convatlas.ops.regions import without_difficult
from convatlas.ops.svm_fitting import Fitting, SvmSettings
from convatlas.records import Detections, Objects

ops = Lazy("torchvision.ops")

LAYERS = ("pool5", "fc6", "fc7")
_PARTS = ("weight", "bias", "box_weight", "stands_on")


class SvmHeads(nn.Module):
    """K linear SVMs on features, and K box regressions on pool5."""

    weight: Tensor  # (K, D)
    bias: Tensor  # (K,)
    box_weight: Tensor  # (K, 4, P + 1) for P values of pool5; the last column is the constant
    stands_on: Tensor  # () int64, a place in LAYERS

    def __init__(self, weight: Tensor, bias: Tensor, box_weight: Tensor, *, layer: str) -> None:
        super().__init__()
        place = torch.tensor(LAYERS.index(layer))
        for name, value in zip(_PARTS, (weight, bias, box_weight, place), strict=True):
            self.register_buffer(name, value)

    @property
    def layer(self) -> str:
        """On whose output the SVMs stand."""
        return LAYERS[int(self.stands_on)]

    def forward(self, features: Tensor) -> Tensor:
        """The margins.  (N, D) -> (N, K)"""
        return features @ self.weight.T + self.bias

    def codes(self, pool5: Tensor) -> Tensor:
        """What to change of each region, for each class.  (N, P) -> (N, K, 4)"""
        return torch.einsum("nd,kcd->nkc", F.pad(pool5, (0, 1), value=1.0), self.box_weight)


class WithSvms(RegionSearch):
    """A network on regions that may have SVMs beside its last layer, and fits them by a rule of its own.

    The recipe is one with `RegionSvms`. Weights bring the SVMs with them.
    """

    svm_settings = SvmSettings()
    svm_layers: tuple[str, ...] = LAYERS  # on which the SVMs may stand

    def __init__(self, *args: Any, num_svms: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.num_svms = num_svms
        self.svms: SvmHeads | None = None
        self._fitting: Fitting | None = None
        self.register_load_state_dict_pre_hook(_make_room)

    @property
    def gives_margins(self) -> bool:
        """Whether the scores of detections are margins of SVMs, in place of probabilities."""
        return self.svms is not None

    def describe(self, image: Tensor, boxes: Tensor, layers: Sequence[str] = ("fc7",)) -> tuple[Tensor, ...]:
        """The outputs of these layers for each region of an image, rectified.  (C, H, W), (N, 4) -> (N, D) each"""
        raise NotImplementedError

    def judge(self, image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Scores regions of an image, and perhaps moves them.

        (C, H, W), (N, 4) -> (N, K) scores, and the boxes: (N, 4), or (N, K, 4) where they are regressed
        """
        raise NotImplementedError

    @torch.no_grad()
    def detect(
        self,
        images: Tensor,
        proposals: Sequence[Tensor] | None = None,
        *,
        score_above: float | None = None,
        iou_above: float = 0.3,
        most: int = 100,
    ) -> list[Detections]:
        """Finds the objects of each image; `proposals` are B times (N, 4), selective search's where there are none.

        `score_above` is -1 for the margins of SVMs and 0.05 for probabilities, unless another is given.
        """
        threshold = (-1.0 if self.gives_margins else 0.05) if score_above is None else score_above
        detections = []
        for image, boxes in zip(images, self.regions(images, proposals), strict=True):
            scores, fitted = self.judge(image, boxes)
            fitted = ops.clip_boxes_to_image(fitted, (image.shape[1], image.shape[2]))
            detections.append(suppress(fitted, scores, score_above=threshold, iou_above=iou_above, most=most))
        return detections

    def make_room(self, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
        """Has SVMs of the shapes that weights have, or none where they have none."""
        parts = [tensors[name] for part in _PARTS if (name := f"{prefix}svms.{part}") in tensors]
        self.svms = None
        if len(parts) == len(_PARTS):
            device = next(self.parameters()).device
            weight, bias, box_weight = (torch.empty(value.shape, device=device) for value in parts[:-1])
            self.svms = SvmHeads(weight, bias, box_weight, layer=LAYERS[0]).to(device)

    @torch.no_grad()
    def learn(self, images: Tensor, targets: list[Objects], proposals: Sequence[Tensor] | None = None) -> None:
        """Gathers the objects in the first pass, mines proposals in those after it.

        (B, C, H, W), B objects, B times (N, 4), which selective search makes where there are none.

        Raises:
            UsageError: the SVMs can't stand on the layer that the settings name.
        """
        was_training = self.training
        self.eval()
        layer = self.svm_settings.layer
        if layer not in self.svm_layers:
            raise UsageError(f"layer is {layer!r}; expected one of {', '.join(self.svm_layers)}")
        if self._fitting is None:
            self._fitting = Fitting(self.num_svms, self.svm_settings)
        fitting = self._fitting
        usable = targets if self.svm_settings.difficult else [without_difficult(each) for each in targets]
        if fitting.scale is None:
            for place, (image, each) in enumerate(zip(images, usable, strict=True)):
                if len(each.boxes):
                    fitting.gather(_numpy(*self.describe(image, each.boxes, (layer,)))[0], each.labels)
                if fitting.wants_statistics:
                    given = None if proposals is None else proposals[place : place + 1]
                    boxes = torch.cat([each.boxes.to(image), *self.regions(images[place : place + 1], given)])
                    chosen = torch.from_numpy(fitting.choose(len(boxes))).to(boxes.device)
                    fitting.measure(*_numpy(*self.describe(image, boxes[chosen], (layer, "pool5"))))
        else:
            for image, each, given in zip(images, usable, self.regions(images, proposals), strict=True):
                boxes = torch.cat([each.boxes.to(given), given])
                features, pool5 = _numpy(*self.describe(image, boxes, (layer, "pool5")))
                fitting.mine(features, pool5, boxes, each)
        self.train(was_training)

    def end_pass(self, epoch: int) -> None:
        """After the first pass the scale is known; after each other one the network has SVMs.

        Raises:
            ConvatlasError: no image had an object, or no proposal lay away from them.
        """
        if self._fitting is None:
            raise ConvatlasError("no image was shown; expected images with objects")
        if self._fitting.scale is None:
            self._fitting.end_gathering()
        else:
            heads = SvmHeads(*self._fitting.result(), layer=self.svm_settings.layer)
            self.take_svms(heads.to(next(self.parameters()).device))

    def take_svms(self, heads: SvmHeads) -> None:
        self.svms = heads

    def pass_state(self) -> dict[str, Tensor]:
        return {} if self._fitting is None else self._fitting.state()

    def load_pass_state(self, state: dict[str, Tensor]) -> None:
        self._fitting = None
        if state:
            self._fitting = Fitting(self.num_svms, self.svm_settings)
            self._fitting.restore(state)


def _make_room(net: WithSvms, tensors: Mapping[str, Tensor], prefix: str, *_: object) -> None:
    net.make_room(tensors, prefix)


def _numpy(*values: Tensor) -> tuple[np.ndarray, ...]:
    return tuple(value.cpu().numpy() for value in values)
