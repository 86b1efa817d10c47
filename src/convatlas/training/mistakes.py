"""How much of a batch is wrong, as a sum over its samples: what is shown while a network learns."""

import torch
from torch import Tensor

from convatlas.evaluation.segmentation import centre_crop
from convatlas.records import VOID


def wrong_labels(logits: Tensor, labels: Tensor) -> Tensor:
    """How many of the samples: (B, K), (B,) -> scalar"""
    return (logits.argmax(dim=1) != labels).sum()


def wrong_joints(maps: Tensor, truth: Tensor) -> Tensor:
    """The share of each person's marked joints whose peak is more than a tenth of the map away, summed.

    (B, J, h, w), (B, J, h, w) -> scalar
    """
    marked = truth.flatten(2).amax(dim=2) > 0
    width = truth.shape[3]
    places = [found.flatten(2).argmax(dim=2) for found in (maps, truth)]
    peaks = [torch.stack((place % width, place // width)).float() for place in places]
    far = (peaks[0] - peaks[1]).norm(dim=0) > width / 10
    return ((far & marked).sum(1) / marked.sum(1).clamp_min(1)).sum()


def wrong_pixels(logits: Tensor, masks: Tensor) -> Tensor:
    """The share of each image's pixels, void left out, summed: (B, K, h, w), (B, H, W) -> scalar"""
    truth = centre_crop(masks, (logits.shape[2], logits.shape[3]))
    counted = truth != VOID
    wrong = (logits.argmax(dim=1) != truth) & counted
    return (wrong.flatten(1).sum(1) / counted.flatten(1).sum(1).clamp_min(1)).sum()
