"""Region proposals that a network makes itself: anchors on its map, what they learn, and the boxes that they become.

Ren, He, Girshick, Sun, "Faster R-CNN", NIPS 2015, section 3.1, with the constants of py-faster-rcnn.

Shapes   B batch, h x w map, A anchors a cell, N = h w A anchors of an image, cell by cell.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from convatlas.lazy import Lazy
from convatlas.ops.boxes import BACKGROUND, decode, encode, match_anchors
from convatlas.ops.regions import lie_in_difficult, sample_places, without_difficult
from convatlas.records import Objects

ops = Lazy("torchvision.ops")

RATIOS = (0.5, 1.0, 2.0)  # height over width
BASE = 16  # pixels


class AnchorOutputs(NamedTuple):
    """What the proposal network says of each anchor."""

    scores: Tensor  # (B, 2A, h, w) logits: A of the background, then A of an object
    codes: Tensor  # (B, 4A, h, w)

    def flat(self) -> tuple[Tensor, Tensor]:
        """(B, N, 2), (B, N, 4): cell by cell"""
        scores = self.scores.unflatten(1, (2, -1)).permute(0, 3, 4, 2, 1)
        codes = self.codes.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2)
        return scores.flatten(1, 3), codes.flatten(1, 3)


class LevelOutputs(NamedTuple):
    """What it says of the anchors of several maps, the finest map first."""

    levels: tuple[AnchorOutputs, ...]

    def flat(self) -> tuple[Tensor, Tensor]:
        """(B, N, 2), (B, N, 4): map by map, cell by cell"""
        scores, codes = zip(*(level.flat() for level in self.levels), strict=True)
        return torch.cat(scores, 1), torch.cat(codes, 1)


def base_anchors(scales: Sequence[int] = (8, 16, 32), *, base: int = BASE) -> Tensor:
    """The anchors of the first cell, ratio by ratio.  -> (3 x scales, 4)

    The releases round the sides of the three shapes of `base` x `base` pixels, and then multiply.
    """
    boxes = []
    for ratio in RATIOS:
        width = round((base * base / ratio) ** 0.5)
        height = round(width * ratio)
        for scale in scales:
            x, y = scale * width / 2, scale * height / 2
            boxes.append([base / 2 - x, base / 2 - y, base / 2 + x, base / 2 + y])
    return torch.tensor(boxes)


def grid_anchors(base: Tensor, size: tuple[int, int], *, stride: int) -> Tensor:
    """Those of each cell of an h x w map, cell by cell.  (A, 4) -> (N, 4)"""
    rows, columns = (torch.arange(extent, device=base.device) * stride for extent in size)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    shifts = torch.stack([x, y, x, y], -1).reshape(-1, 1, 4)
    return (shifts + base).reshape(-1, 4)


@torch.no_grad()
def propose(
    outputs: AnchorOutputs,
    anchors: Tensor,
    size: tuple[int, int],
    *,
    before: int | None,
    after: int,
    iou_above: float = 0.7,
    smallest: float = 16.0,
) -> list[Tensor]:
    """The proposals of each image, the most certain first.  -> B times (N, 4)

    Args:
        outputs: of the network.
        anchors: (N, 4).
        size: H, W of the images, in pixels; boxes are cut to them.
        before: so many enter the suppression; None: all.
        after: so many stay.
        iou_above: what overlaps a more certain box by more is suppressed.
        smallest: boxes with a shorter side are left out.
    """
    candidates = _most_certain(outputs, anchors, size, before=before, smallest=smallest)
    return [boxes[ops.nms(boxes, certain, iou_above)[:after]] for boxes, certain in candidates]


@torch.no_grad()
def propose_on_levels(
    outputs: LevelOutputs,
    anchors: Sequence[Tensor],
    size: tuple[int, int],
    *,
    before: int,
    after: int,
    iou_above: float = 0.7,
    smallest: float = 1e-3,
) -> list[Tensor]:
    """The same of several maps with (N, 4) anchors each: suppressed map by map, `after` of all.  -> B times (N, 4)"""
    every = [
        _most_certain(level, own, size, before=before, smallest=smallest)
        for level, own in zip(outputs.levels, anchors, strict=True)
    ]
    proposals = []
    for of_image in zip(*every, strict=True):
        boxes, certain = (torch.cat(values) for values in zip(*of_image, strict=True))
        level = torch.cat([torch.full_like(each, i) for i, (_, each) in enumerate(of_image)])
        proposals.append(boxes[ops.batched_nms(boxes, certain, level, iou_above)[:after]])
    return proposals


def _most_certain(
    outputs: AnchorOutputs, anchors: Tensor, size: tuple[int, int], *, before: int | None, smallest: float
) -> list[tuple[Tensor, Tensor]]:
    """Each image's boxes, (N, 4), and how certain they are, (N,), before any suppression."""
    scores, codes = outputs.flat()
    candidates = []
    for certain, code in zip(scores.softmax(2)[..., 1], codes, strict=True):
        boxes = ops.clip_boxes_to_image(decode(code, anchors), size)
        large_enough = ops.remove_small_boxes(boxes, smallest)
        boxes, certain = boxes[large_enough], certain[large_enough]
        best = certain.argsort(descending=True, stable=True)[:before]
        candidates.append((boxes[best], certain[best]))
    return candidates


class AnchorTargets(NamedTuple):
    """The anchors of one image to learn from."""

    places: Tensor  # (M,) of the N anchors
    objects: Tensor  # (M,) int64: 1 for an object, 0 for background
    codes: Tensor  # (M, 4); 0 for background


@torch.no_grad()
def sample_anchors(
    anchors: Tensor, objects: Objects, size: tuple[int, int], *, count: int = 256, positive: float = 0.5
) -> AnchorTargets:
    """A random choice of anchors inside the image, at most the part `positive` of them objects (section 3.1.2).

    Args:
        anchors: (N, 4).
        objects: of the image. Anchors that lie in a crowd or a difficult one are neither.
        size: H, W of the image.
        count: of the chosen; background makes up for objects that are not there.
    """
    every, objects = objects, without_difficult(objects)
    height, width = size
    limits = anchors.new_tensor([width, height])
    inside = ((anchors[:, :2] >= 0) & (anchors[:, 2:] <= limits)).all(1).nonzero().squeeze(1)
    matches = match_anchors(ops.box_iou(objects.boxes, anchors[inside]))
    near = sample_places(matches >= 0, int(positive * count))
    is_background = (matches == BACKGROUND) & ~lie_in_difficult(anchors[inside], every)
    far = sample_places(is_background, count - len(near))
    codes = anchors.new_zeros(len(near) + len(far), 4)
    codes[: len(near)] = encode(objects.boxes[matches[near]], anchors[inside[near]])
    is_object = torch.zeros(len(codes), dtype=torch.int64, device=anchors.device)
    is_object[: len(near)] = 1
    return AnchorTargets(inside[torch.cat([near, far])], is_object, codes)


def anchor_losses(outputs: AnchorOutputs | LevelOutputs, targets: Sequence[AnchorTargets]) -> dict[str, Tensor]:
    """The two-class loss, and smooth L1 with its bend at 1/9, both divided by the number of chosen anchors.

    With 256 of some 2,400 positions this is the paper's lambda of 10, as the release has it.
    """
    scores, codes = outputs.flat()
    rows = torch.cat([torch.full_like(each.places, i) for i, each in enumerate(targets)])
    places = torch.cat([each.places for each in targets])
    if not len(places):
        nothing = scores.sum() * 0 + codes.sum() * 0  # so that an image too small for anchors still has a gradient
        return {"anchor_classes": nothing, "anchor_boxes": nothing}
    is_object, wanted = (torch.cat([getattr(each, name) for each in targets]) for name in ("objects", "codes"))
    near = is_object == 1
    own = codes[rows, places]
    boxes = F.smooth_l1_loss(own[near], wanted[near], beta=1 / 9, reduction="sum") / len(places)
    return {"anchor_classes": F.cross_entropy(scores[rows, places], is_object), "anchor_boxes": boxes}
