"""What the tests of segmenters share."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.architectures.segmentation.decouplednet import DecoupledNet
from convatlas.records import AuxiliaryOutputs


def blocks(size: int, *, classes: int, channels: int = 3, block: int = 8) -> tuple[Tensor, Tensor]:
    """Two noisy images of coloured blocks, and the class of each pixel.  -> (2, C, H, W), (2, H, W)"""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (2, 1, size // block, size // block), generator=generator)
    masks = F.interpolate(labels.float(), (size, size)).long()[:, 0]
    colours = torch.randn(classes, channels, generator=generator)
    noise = torch.randn(2, channels, size, size, generator=generator)
    return colours[masks].movedim(3, 1) + 0.3 * noise, masks


def centre(masks: Tensor, height: int, width: int) -> Tensor:
    """(B, H, W) -> (B, h, w)"""
    top, left = (masks.shape[1] - height) // 2, (masks.shape[2] - width) // 2
    return masks[:, top : top + height, left : left + width]


def losses_of(net: nn.Module, x: Tensor, masks: Tensor) -> list[Tensor]:
    """The network's own, or the cross-entropy of each of its heads."""
    if isinstance(net, DecoupledNet):
        return list(net.losses(x, masks).values())
    outputs = net(x)
    heads = (outputs.logits, *outputs.auxiliary) if isinstance(outputs, AuxiliaryOutputs) else (outputs,)
    targets = centre(masks, *heads[0].shape[2:])
    return [F.cross_entropy(logits, targets, ignore_index=255) for logits in heads]


def learn_by_heart(
    net: nn.Module, x: Tensor, masks: Tensor, *, steps: int, lr: float, own_statistics: bool = False
) -> float:
    """The share of pixels that the network gets right in eval mode, looked at every ten steps of Adam; 255 is void.

    It stops at over 0.95, or when the steps are done. With `own_statistics` batch normalisation takes those of the two
    images, also in eval mode: of two values a layer, as behind a 7x7 kernel, the running variance is twice theirs.
    """
    optimizer = torch.optim.Adam(net.parameters(), lr)
    share = 0.0
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        torch.stack(losses_of(net.train(), x, masks)).sum().backward()
        optimizer.step()
        if step % 10 == 0:
            net.eval()
            for layer in net.modules() if own_statistics else ():
                layer.train(isinstance(layer, nn.BatchNorm2d))
            with torch.no_grad():
                answers = net(x).argmax(1)
            targets = centre(masks, *answers.shape[1:])
            share = float((answers == targets)[targets != 255].double().mean())
            if share > 0.95:
                break
    return share
