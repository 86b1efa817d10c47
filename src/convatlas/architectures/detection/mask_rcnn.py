"""Mask R-CNN: Faster R-CNN with a third head that draws each object.

He, Gkioxari, Dollár, Girshick, "Mask R-CNN", ICCV 2017, arXiv:1703.06870.

Follows  Section 3 and figure 4 (right) on ResNet-50 with a feature pyramid (Lin et al. 2017), and the authors' release
         where the papers are silent: anchors of 32 to 512 pixels on five levels, one logit for each, 1,000 proposals
         (2,000 in training), 512 regions an image; batch normalisation is fixed, conv1 and conv2_x do not learn. A
         class's mask learns only where it is the true one. Layer names are the release's, but for the pyramid's, which
         carry their level, and the backbone's, which are ResNet's.
Departs  A mask's target is pooled from the mask of pixels; the release rasterises its polygon at 28 x 28. What anchors
         leave the image is left out, as in the release's Faster R-CNN. Without ImageNet weights the fixed
         normalisation is the identity, so that ResNet's maps grow from block to block: it needs them.
Shapes   B batch, C channels, H x W image, A anchors a cell, N anchors of all levels, R regions, K classes.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from convatlas.architectures.classification.resnet import resnet50
from convatlas.architectures.detection.fast_rcnn import RegionOutputs, fitted
from convatlas.architectures.detection.instance_masks import mask_loss, mask_targets, paste
from convatlas.blocks.feature_pyramid import FeaturePyramid, RoIAlign, align_on_levels, level_of_image
from convatlas.lazy import Lazy
from convatlas.network import Network
from convatlas.ops.anchors import (
    AnchorOutputs,
    LevelOutputs,
    anchor_losses,
    base_anchors,
    grid_anchors,
    propose_on_levels,
    sample_anchors,
)
from convatlas.ops.regions import region_losses, sample_regions, whole_image
from convatlas.ops.transplant import transplant
from convatlas.records import Detections, Objects, Traits
from convatlas.registry import register

ops = Lazy("torchvision.ops")

STAGES = ("conv2_x", "conv3_x", "conv4_x", "conv5_x")
STRIDES = (4, 8, 16, 32, 64)
SCALE = 8  # the side of a level's square anchors, in strides
FROZEN = ("conv1", "conv2_x")


class MaskOutputs(NamedTuple):
    """What the network says of its anchors, and of one region: the whole image."""

    anchor_logits: Tensor  # (B, N): of an object, level by level, cell by cell
    anchor_codes: Tensor  # (B, N, 4)
    scores: Tensor  # (B, K + 1) logits, the background first
    codes: Tensor  # (B, 4 (K + 1))
    masks: Tensor  # (B, K + 1, 28, 28) logits


class MaskRCNN(Network):
    """(B, in_channels, H, W) -> `MaskOutputs`. It starts from a trained ResNet-50."""

    def __init__(self, *, num_classes: int = 80, in_channels: int = 3) -> None:
        super().__init__()
        self.backbone_layers = ("conv1", "bn1", "relu1", "pool1", *STAGES)
        backbone = with_fixed_normalisation(resnet50(num_classes=1, in_channels=in_channels))
        for name in self.backbone_layers:
            self.add_module(name, backbone.get_submodule(name))
        self.fpn = FeaturePyramid((256, 512, 1024, 2048))
        self.rpn_conv = nn.Conv2d(256, 256, 3, padding=1)
        self.rpn_relu = nn.ReLU()
        self.rpn_cls_logits = nn.Conv2d(256, 3, 1)
        self.rpn_bbox_pred = nn.Conv2d(256, 4 * 3, 1)
        self.roi_align_box = RoIAlign(7)
        self.fc6 = nn.Linear(256 * 7 * 7, 1024)
        self.relu6 = nn.ReLU()
        self.fc7 = nn.Linear(1024, 1024)
        self.relu7 = nn.ReLU()
        self.cls_score = nn.Linear(1024, num_classes + 1)
        self.bbox_pred = nn.Linear(1024, 4 * (num_classes + 1))
        self.roi_align_mask = RoIAlign(14)
        for place in range(1, 5):
            self.add_module(f"mask_fcn{place}", nn.Conv2d(256, 256, 3, padding=1))
            self.add_module(f"mask_relu{place}", nn.ReLU())
        self.conv5_mask = nn.ConvTranspose2d(256, 256, 2, stride=2)
        self.mask_relu5 = nn.ReLU()
        self.mask_fcn_logits = nn.Conv2d(256, num_classes + 1, 1)
        names = tuple(self._modules)
        self.own_layers = names[names.index("fpn") :]
        self.mask_layers = names[names.index("mask_fcn1") :]
        self._initialise()
        for name in FROZEN:
            self.get_submodule(name).requires_grad_(False)

    def _initialise(self) -> None:
        deviations = {"cls_score": 0.01, "bbox_pred": 0.001}
        deviations |= dict.fromkeys(("rpn_conv", "rpn_cls_logits", "rpn_bbox_pred"), 0.01)
        for name in self.own_layers:
            layer = self.get_submodule(name)
            if not isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                continue
            if name in deviations:
                nn.init.normal_(layer.weight, std=deviations[name])
            elif name in self.mask_layers:
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            else:
                nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.get_parameter("bias"))

    def forward(self, images: Tensor) -> MaskOutputs:
        levels = self.features(images)
        logits, codes = zip(*map(self.rpn, levels), strict=True)
        rows = [each.permute(0, 2, 3, 1).flatten(1) for each in (*logits, *codes)]
        anchor_codes = torch.cat(rows[len(levels) :], 1)
        level = level_of_image((images.shape[2], images.shape[3]))
        own, stride, whole = levels[level - 2], 2**level, whole_image(images)
        scores, codes = self.classify(self.roi_align_box(own, whole, stride))
        masks = self.draw(self.roi_align_mask(own, whole, stride))
        return MaskOutputs(
            torch.cat(rows[: len(levels)], 1), anchor_codes.view(len(images), -1, 4), scores, codes, masks
        )

    def features(self, images: Tensor) -> list[Tensor]:
        """The pyramid.  (B, in_channels, H, W) -> five maps (B, 256, H / s, W / s), s = 4 to 64"""
        x, stages = images, []
        for name in self.backbone_layers:
            x = self.get_submodule(name)(x)
            if name in STAGES:
                stages.append(x)
        return self.fpn(stages)

    def rpn(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 256, h, w) -> (B, A, h, w), (B, 4A, h, w)"""
        x = self.rpn_relu(self.rpn_conv(level))
        return self.rpn_cls_logits(x), self.rpn_bbox_pred(x)

    def classify(self, pooled: Tensor) -> RegionOutputs:
        """(R, 256, 7, 7) -> of all regions"""
        x = self.relu7(self.fc7(self.relu6(self.fc6(pooled.flatten(1)))))
        return RegionOutputs(self.cls_score(x), self.bbox_pred(x))

    def draw(self, pooled: Tensor) -> Tensor:
        """(R, 256, 14, 14) -> (R, K + 1, 28, 28) logits"""
        for name in self.mask_layers:
            pooled = self.get_submodule(name)(pooled)
        return pooled

    def judged(self, levels: list[Tensor]) -> LevelOutputs:
        """One logit is the difference of two: the background's is 0."""
        judged = []
        for logits, codes in map(self.rpn, levels):
            judged.append(AnchorOutputs(torch.cat([torch.zeros_like(logits), logits], 1), codes))
        return LevelOutputs(tuple(judged))

    def anchors(self, levels: list[Tensor]) -> list[Tensor]:
        """Of each level: (h w A, 4)"""
        return [
            grid_anchors(
                base_anchors((SCALE,), base=stride).to(level.device), (level.shape[2], level.shape[3]), stride=stride
            )
            for level, stride in zip(levels, STRIDES, strict=True)
        ]

    def losses(self, images: Tensor, targets: list[Objects]) -> dict[str, Tensor]:
        """All five at once.  (B, in_channels, H, W), B objects with masks

        Raises:
            UsageError: an image's objects have no masks.
        """
        size = (images.shape[2], images.shape[3])
        levels = self.features(images)
        outputs, anchors = self.judged(levels), self.anchors(levels)
        grid = torch.cat(anchors)
        proposals = propose_on_levels(outputs, anchors, size, before=2_000, after=2_000)
        regions = [
            sample_regions(boxes, each, count=512, background_iou=(0.0, 0.5))
            for boxes, each in zip(proposals, targets, strict=True)
        ]
        scored = self.classify(align_on_levels(self.roi_align_box, levels, [each.boxes for each in regions]))
        objects = [each.boxes[each.classes > 0] for each in regions]
        masks = self.draw(align_on_levels(self.roi_align_mask, levels, objects))
        drawn = [mask_targets(each, whole) for each, whole in zip(regions, targets, strict=True)]
        classes = torch.cat([each.classes[each.classes > 0] for each in regions])
        return {
            **anchor_losses(outputs, [sample_anchors(grid, each, size) for each in targets]),
            **region_losses(*scored, regions),
            "masks": mask_loss(masks, classes, torch.cat(drawn)),
        }

    @torch.no_grad()
    def detect(
        self,
        images: Tensor,
        *,
        proposals: int = 1000,
        score_above: float = 0.05,
        iou_above: float = 0.5,
        most: int = 100,
        mask_above: float = 0.5,
    ) -> list[Detections]:
        """What is in each image, with masks.  (B, in_channels, H, W) -> B detections"""
        size = (images.shape[2], images.shape[3])
        levels = self.features(images)
        regions = propose_on_levels(self.judged(levels), self.anchors(levels), size, before=1000, after=proposals)
        scored = self.classify(align_on_levels(self.roi_align_box, levels, regions))
        detections = fitted(scored, regions, size, score_above=score_above, iou_above=iou_above, most=most)
        logits = self.draw(align_on_levels(self.roi_align_mask, levels, [each.boxes for each in detections]))
        result = []
        for each, own in zip(detections, logits.split([len(each.labels) for each in detections]), strict=True):
            chosen = own[torch.arange(len(own), device=own.device), each.labels + 1].sigmoid()
            result.append(replace(each, masks=paste(chosen, each.boxes, size, above=mask_above)))
        return result

    def start_from(self, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Copies the layers of the same names, of a ResNet-50 all but its classifier; as `transplant`."""
        return transplant(self, tensors)


def with_fixed_normalisation(net: nn.Module) -> nn.Module:
    """Every batch normalisation in `net` fixed: its statistics, scales and shifts are numbers that no one learns."""
    for layer in list(net.modules()):
        for name, child in layer.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(layer, name, ops.FrozenBatchNorm2d(child.num_features, eps=child.eps))
    return net


@register(
    task="detection", paper="he2017_mask", input_shape=(3, 800, 1344), num_classes=80, traits=Traits(wants_masks=True)
)
def mask_rcnn_resnet50_fpn(*, num_classes: int = 80, in_channels: int = 3) -> MaskRCNN:
    """Mask R-CNN on ResNet-50 with a feature pyramid, for COCO."""
    return MaskRCNN(num_classes=num_classes, in_channels=in_channels)
