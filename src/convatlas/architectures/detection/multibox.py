"""What detectors with default boxes share: the boxes, the heads that code them, the loss and the decoding.

Liu, Anguelov, Erhan, Szegedy, Reed, Fu, Berg, "SSD: Single Shot MultiBox Detector", ECCV 2016.

Follows  Sections 2.1 and 2.2, with the layers PriorBox, MultiBoxLoss and DetectionOutput of the authors' release. The
         loss is summed over a batch and divided by its matched boxes. Boxes that are marked difficult are learned too.
Departs  Equation 4 has the sizes at equal distances; the release rounds the distances to whole percents, and so do we.
Shapes   B batch, C channels, H x W map, N default boxes in all, K classes without the background, which comes first.
"""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.lazy import Lazy
from convatlas.network import Network
from convatlas.ops.boxes import (
    BACKGROUND,
    SSD_VARIANCES,
    decode,
    encode,
    hard_negatives,
    match_default_boxes,
    suppress,
)
from convatlas.records import Detections, Objects

ops = Lazy("torchvision.ops")


@dataclass(frozen=True)
class DefaultBoxes:
    """The boxes around each position of one map; all lengths in pixels of the image."""

    size: float  # side of the smaller square
    next_size: float  # the larger square has the geometric mean of both as its side
    ratios: tuple[float, ...]  # width : height of further boxes of the smaller square's area, each also turned
    step: float  # between positions
    first: float | None = None  # where the first position is; None: half a step

    @property
    def count(self) -> int:
        return 2 + 2 * len(self.ratios)

    def sizes(self) -> list[tuple[float, float]]:
        """Width and height of each, in the release's order."""
        larger = math.sqrt(self.size * self.next_size)
        roots = [math.sqrt(ratio) for ratio in self.ratios]
        turned = [((self.size * root, self.size / root), (self.size / root, self.size * root)) for root in roots]
        return [(self.size, self.size), (larger, larger), *itertools.chain.from_iterable(turned)]


def default_boxes(rows: Sequence[DefaultBoxes], maps: Sequence[tuple[int, int]]) -> Tensor:
    """All default boxes on maps of (H, W) positions: map by map, row by row, position by position.  -> (N, 4) xyxy

    They are not clipped, as in the release: those at the border reach beyond the image.
    """
    boxes = []
    for row, (height, width) in zip(rows, maps, strict=True):
        first = row.step / 2 if row.first is None else row.first
        y, x = (first + row.step * torch.arange(length, dtype=torch.float64) for length in (height, width))
        centres = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1).reshape(-1, 1, 2)
        sizes = torch.tensor(row.sizes(), dtype=torch.float64)
        grid = torch.cat([centres.expand(-1, len(sizes), 2), sizes.expand(len(centres), -1, 2)], -1)
        boxes.append(ops.box_convert(grid.flatten(0, 1), "cxcywh", "xyxy"))
    return torch.cat(boxes).float()


class MultiBoxOutputs(NamedTuple):
    """What the heads say of every default box."""

    codes: Tensor  # (B, N, 4), by `blocks.boxes.decode` with SSD's variances
    logits: Tensor  # (B, N, K + 1), the background first
    boxes: Tensor  # (N, 4), the default boxes, in pixels


def multibox_losses(outputs: MultiBoxOutputs, targets: Sequence[Objects]) -> dict[str, Tensor]:
    """Equations 1 to 3: smooth L1 of the codes, and softmax over the matched and the hardest unmatched boxes."""
    matches = torch.stack([match_default_boxes(ops.box_iou(target.boxes, outputs.boxes)) for target in targets])
    positive = matches != BACKGROUND
    chosen = [match[match != BACKGROUND] for match in matches]
    marked = torch.cat([target.boxes[match] for target, match in zip(targets, chosen, strict=True)])
    labels = torch.cat([target.labels[match] for target, match in zip(targets, chosen, strict=True)])
    references = outputs.boxes.expand(len(matches), -1, -1)[positive]
    codes = encode(marked, references, variances=SSD_VARIANCES)
    classes = torch.zeros_like(matches)
    classes[positive] = labels + 1
    cross_entropy = F.cross_entropy(outputs.logits.flatten(0, 1), classes.flatten(), reduction="none").view_as(classes)
    counted = positive | hard_negatives(cross_entropy.detach(), positive)
    count = positive.sum().clamp(min=1)
    return {
        "localisation": F.smooth_l1_loss(outputs.codes[positive], codes, reduction="sum") / count,
        "classification": cross_entropy[counted].sum() / count,
    }


def multibox_detections(
    outputs: MultiBoxOutputs,
    size: tuple[int, int],
    *,
    score_above: float,
    iou_above: float,
    most: int,
    most_per_class: int,
) -> list[Detections]:
    """Decoded, suppressed in each class, and then clipped to images of (H, W) pixels, as in the release."""
    boxes = decode(outputs.codes, outputs.boxes, variances=SSD_VARIANCES)
    scores = outputs.logits.softmax(-1)[..., 1:]
    limits = {"score_above": score_above, "iou_above": iou_above}
    detections = [
        suppress(*image, **limits, most=most, most_per_class=most_per_class)
        for image in zip(boxes, scores, strict=True)
    ]
    return [replace(image, boxes=ops.clip_boxes_to_image(image.boxes, size)) for image in detections]


class L2Norm(nn.Module):
    """Scales each position's vector to length 1, and each map by a learned factor.  (B, C, H, W) -> (B, C, H, W)

    Liu, Rabinovich, Berg, "ParseNet: Looking Wider to See Better", arXiv:1506.04579, section 3.3.
    """

    def __init__(self, channels: int, *, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), float(scale)))

    def forward(self, x: Tensor) -> Tensor:
        length = (x.square().sum(1, keepdim=True) + 1e-10).sqrt()  # the release's eps
        return x / length * self.scale[:, None, None]


class MultiBoxDetector(Network, ABC):
    """A detector whose maps, those of `maps`, each have a head for codes and one for classes.

    Heads are 3x3 convolutions named after their map, `<map>_mbox_loc` and `<map>_mbox_conf`.
    """

    def __init__(self, rows: Mapping[str, DefaultBoxes]) -> None:
        super().__init__()
        self.rows = dict(rows)

    def add_heads(self, channels: Sequence[int], num_classes: int) -> None:
        """For maps of so many channels, in the order of the rows."""
        for (name, row), width in zip(self.rows.items(), channels, strict=True):
            self.add_module(f"{name}_mbox_loc", nn.Conv2d(width, row.count * 4, 3, padding=1))
            self.add_module(f"{name}_mbox_conf", nn.Conv2d(width, row.count * (num_classes + 1), 3, padding=1))

    @abstractmethod
    def maps(self, x: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> the maps that the heads read, each (B, C, H, W)."""

    def forward(self, x: Tensor) -> MultiBoxOutputs:
        maps = self.maps(x)
        codes, logits = [], []
        for (name, row), features in zip(self.rows.items(), maps, strict=True):
            # B x boxes C x H x W  ->  B x H W boxes x C
            for per_map, head in ((codes, f"{name}_mbox_loc"), (logits, f"{name}_mbox_conf")):
                rows = self.get_submodule(head)(features).permute(0, 2, 3, 1)
                per_map.append(rows.reshape(len(x), -1, rows.shape[-1] // row.count))
        boxes = default_boxes(tuple(self.rows.values()), [(m.shape[2], m.shape[3]) for m in maps])
        return MultiBoxOutputs(torch.cat(codes, 1), torch.cat(logits, 1), boxes.to(x.device))

    def losses(self, images: Tensor, targets: Sequence[Objects]) -> dict[str, Tensor]:
        """ "localisation" and "classification", scalars whose sum is minimised.  (B, C, H, W), B images' objects"""
        return multibox_losses(self(images), targets)

    @torch.no_grad()
    def detect(
        self,
        images: Tensor,
        *,
        score_above: float = 0.01,
        iou_above: float = 0.45,
        most: int = 200,
        most_per_class: int = 400,
    ) -> list[Detections]:
        """What is on each image, in its pixels.  (B, C, H, W) -> B

        Section 2.2, "hard": scores over 0.01, suppression at 0.45 in each class, 200 boxes an image.
        """
        return multibox_detections(
            self(images),
            (images.shape[2], images.shape[3]),
            score_above=score_above,
            iou_above=iou_above,
            most=most,
            most_per_class=most_per_class,
        )
