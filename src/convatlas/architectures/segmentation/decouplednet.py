"""DecoupledNet: one branch says which classes are there, another where, told by what the first one looked at.

Hong, Noh, Han, "Decoupled Deep Neural Network for Semi-supervised Semantic Segmentation", NIPS 2015, arXiv:1506.04924.

Follows  Figure 1 and the authors' release (DecoupledNet_Full_anno_inference_deploy.prototxt), whose names the layers
         have: VGG-16 as classification branch, its scores pooled over the map. Bridging layers propagate the score of a
         class back to pool5 (its class-specific saliency) and set it beside pool5, both normalised. The segmentation
         branch, DeconvNet's decoder under 2,048 instead of 4,096 maps, tells that class from all else. An image's
         answer is put together as in DecoupledNet_inference.m: the background from a pass with all classes that are
         there, each of these from a pass of its own, normalised to probabilities.
Departs  The score of a class is the maximum over the map; the release also averages, and which of the two its script
         takes is not clear. Logits are logarithms of the probabilities. The release's hyphens are underscores.
Shapes   B batch, C channels, H x W image, L classes without the background, h x w map of pool5.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.architectures.segmentation.deconvnet import add_decoder, add_encoder
from convatlas.blocks.init import gaussian, initialise, initialise_norms
from convatlas.blocks.unpool import Switches, SwitchPool2d, SwitchUnpool2d
from convatlas.network import Network
from convatlas.records import VOID, Shape, Traits
from convatlas.registry import register

THERE = 0.5  # probability above which a class counts as seen
LEAST = 1e-12  # probability, so that its logarithm is finite


class Evidence(NamedTuple):
    """What the classification branch hands on."""

    scores: Tensor  # (B, L, h - 6, w - 6)
    pool5: Tensor  # (B, 512, h, w)
    fc6: Tensor  # (B, 4096, h - 6, w - 6), rectified, as fc7
    fc7: Tensor
    switches: tuple[Switches, ...]  # of pool1 to pool5

    def probabilities(self) -> Tensor:
        """(B, L), each class by itself."""
        return self.scores.amax((2, 3)).sigmoid()


class ConvolutionBackward(nn.Module):
    """The gradient at the input of an unpadded convolution: its transpose, by the same weights, without biases.

    (B, D, H, W) and weights (D, C, k, k) -> (B, C, H + k - 1, W + k - 1)
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.in_channels, self.out_channels = layer.out_channels, layer.in_channels
        self.kernel_size, self.stride, self.padding, self.groups = layer.kernel_size, (1, 1), (0, 0), 1

    def forward(self, gradient: Tensor, weight: Tensor) -> Tensor:
        return F.conv_transpose2d(gradient, weight)

    def count(self, output_shape: Shape) -> tuple[int, int]:
        channels, *sides = output_shape
        positions = math.prod(side - k + 1 for side, k in zip(sides, self.kernel_size, strict=True))
        multiply_adds = self.in_channels * channels * math.prod(self.kernel_size) * positions
        return multiply_adds, multiply_adds


class ClassificationBranch(nn.Module):
    """VGG-16 as convolutions.  (B, in_channels, H, W) -> `Evidence`"""

    def __init__(self, num_labels: int, in_channels: int) -> None:
        super().__init__()
        add_encoder(self, in_channels, normalised=False)
        self.encoder = tuple(self._modules)
        self.fc6 = nn.Conv2d(512, 4096, 7)
        self.relu6 = nn.ReLU()
        self.fc7 = nn.Conv2d(4096, 4096, 1)
        self.relu7 = nn.ReLU()
        self.cls_score_voc = nn.Conv2d(4096, num_labels, 1)
        self.cls_score_voc_bp = ConvolutionBackward(self.cls_score_voc)
        self.fc7_bp = ConvolutionBackward(self.fc7)
        self.fc6_bp = ConvolutionBackward(self.fc6)

    def forward(self, x: Tensor) -> Evidence:
        switches: list[Switches] = []
        for name in self.encoder:
            layer = self.get_submodule(name)
            if isinstance(layer, SwitchPool2d):
                x, places = layer(x)
                switches.append(places)
            else:
                x = layer(x)
        fc6 = self.relu6(self.fc6(x))
        fc7 = self.relu7(self.fc7(fc6))
        return Evidence(self.cls_score_voc(fc7), x, fc6, fc7, tuple(switches))

    def saliency(self, evidence: Evidence, labels: Tensor) -> Tensor:
        """The gradient at pool5 of the classes' scores, weighted by `labels` (B, L).  -> (B, 512, h, w)

        Written out as the release does, by the transposed layers, so that it can be traced and differentiated.
        """
        looked_at = evidence.scores >= evidence.scores.amax((2, 3), keepdim=True)
        fc7 = self.cls_score_voc_bp(labels[:, :, None, None] * looked_at, self.cls_score_voc.weight)
        fc6 = self.fc7_bp(fc7 * (evidence.fc7 > 0), self.fc7.weight)
        return self.fc6_bp(fc6 * (evidence.fc6 > 0), self.fc6.weight)


class SegmentationBranch(nn.Module):
    """pool5 and its saliency, (B, 512, h, w) each, and switches -> (B, 2, H, W) logits: all else, and the class."""

    def __init__(self) -> None:
        super().__init__()
        self.pool5_bn = nn.BatchNorm2d(512)
        self.pool5_bp_bn = nn.BatchNorm2d(512)
        head = tuple(self._modules)
        for name, maps, side in (("6", 1024, 7), ("7", 2048, 1)):
            self.add_module(f"fc{name}_seg", nn.Conv2d(maps, 2048, side))
            self.add_module(f"bnfc{name}_seg", nn.BatchNorm2d(2048))
            self.add_module(f"relu{name}_seg", nn.ReLU())
        add_decoder(self, 2048, 2)
        self.layers = tuple(name for name in self._modules if name not in head)

    def forward(self, pool5: Tensor, saliency: Tensor, switches: tuple[Switches, ...]) -> Tensor:
        x = torch.cat([self.pool5_bn(pool5), self.pool5_bp_bn(saliency)], 1)
        waiting = list(switches)
        for name in self.layers:
            layer = self.get_submodule(name)
            x = layer(x, waiting.pop()) if isinstance(layer, SwitchUnpool2d) else layer(x)
        return x


class DecoupledNet(Network):
    """(B, in_channels, 320, 320) -> (B, 1 + L, 320, 320) logits; any size from 224 px on is accepted.

    The segmentation branch runs once for the background and once for each class that is there in some image (for all
    of them while the network is traced or exported). It learns one class at a time (`losses`); the paper trains the
    classification branch before, which then stays.
    """

    def __init__(self, *, num_classes: int = 21, in_channels: int = 3) -> None:
        super().__init__()
        self.classification = ClassificationBranch(num_classes - 1, in_channels)
        self.segmentation = SegmentationBranch()
        initialise(self, gaussian(0.01))
        initialise_norms(self, bias=0.001)

    def segment(self, evidence: Evidence, labels: Tensor) -> Tensor:
        """(B, 2, H, W) logits of all else and the classes that `labels` (B, L) weighs: one-hot for one of them."""
        saliency = self.classification.saliency(evidence, labels)
        return self.segmentation(evidence.pool5, saliency, evidence.switches)

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Of the branches that are not frozen.  (B, in_channels, H, W), (B, H, W) masks

        `classes`: binary cross-entropy of each class by itself, from whether the mask has it. `pixels`: cross-entropy
        of the pixels that are one of the image's classes, drawn at random, against all else; 0 for an image without
        any. The bridge propagates the class times its probability, as at test time and in the release. Both are means
        over the images.
        """
        evidence = self.classification(images)
        labels = range(1, evidence.scores.shape[1] + 1)
        there = torch.stack([(targets == label).flatten(1).any(1) for label in labels], 1)
        losses = {}
        if self.classification.cls_score_voc.weight.requires_grad:
            losses["classes"] = F.binary_cross_entropy_with_logits(evidence.scores.amax((2, 3)), there.to(images))
        if self.segmentation.get_submodule("seg_score_voc").get_parameter("weight").requires_grad:
            marked = there.any(1, keepdim=True)
            drawn = torch.multinomial((there | ~marked).float(), 1)[:, 0]
            weighed = F.one_hot(drawn, there.shape[1]) * evidence.probabilities()
            logits = self.segment(evidence, weighed.to(images))
            void = targets == VOID
            one = (targets == drawn[:, None, None] + 1).long().masked_fill(void, VOID)
            each = F.cross_entropy(logits, one, ignore_index=VOID, reduction="none").flatten(1).sum(1)
            losses["pixels"] = (each * marked[:, 0] / (~void).flatten(1).sum(1).clamp_min(1)).mean()
        return losses

    def forward(self, x: Tensor) -> Tensor:
        evidence = self.classification(x)
        seen = evidence.probabilities()
        seen = seen * (seen > THERE)
        always = x.is_meta or torch.compiler.is_compiling()
        shares = [self.segment(evidence, seen).softmax(1)[:, :1]]
        for label in range(seen.shape[1]):
            alone = F.pad(seen[:, label : label + 1], (label, seen.shape[1] - label - 1))
            if always or bool(alone.any()):
                there = (alone.amax(1) > 0)[:, None, None, None]
                shares.append(self.segment(evidence, alone).softmax(1)[:, 1:] * there)
            else:
                shares.append(torch.zeros_like(shares[0]))
        joined = torch.cat(shares, 1)
        return (joined / joined.sum(1, keepdim=True)).clamp_min(LEAST).log()


@register(
    task="segmentation",
    paper="hong2015_decouplednet",
    input_shape=(3, 320, 320),
    num_classes=21,
    traits=Traits(draws_randomly=True),
)
def decouplednet_voc(*, num_classes: int = 21, in_channels: int = 3) -> DecoupledNet:
    """DecoupledNet: which classes and where in two branches, so that few masks are enough to learn from."""
    return DecoupledNet(num_classes=num_classes, in_channels=in_channels)
