"""The common CIFAR ResNet checkpoints with shortcut option A: layer1.0.conv1 -> stage1.1.conv1, linear -> fc.

They pad half of a stage's new channels before the old ones and half after; ours are all appended. So the channels of
the residual stream stand in another order in stages 2 and 3, and every tensor that writes or reads the stream is
permuted. The inner channels of a block are not part of it and keep their order.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from convatlas.records import Preprocessing
from convatlas.weights.cards import make_card
from convatlas.weights.layouts.naming import count_blocks, rename_layers

_STAGES = ("layer1", "layer2", "layer3")
_WIDTHS = (16, 32, 64)
_PUBLISHED = (20, 32, 44, 56, 110, 1202)
_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_PREPROCESSING = Preprocessing(size=(32, 32))


def stream_orders(widths: tuple[int, int, int]) -> list[list[int]]:
    """For each stage the place, among their channels, of each of our channels of the residual stream.

    A stage that doubles C channels puts them at C/2 to 3C/2 - 1 there, and first here.
    """
    orders = [list(range(widths[0]))]
    for width in widths[1:]:
        old = orders[-1]
        before = (width - len(old)) // 2
        padding = [*range(before), *range(before + len(old), width)]
        orders.append([before + place for place in old] + padding)
    return orders


def translate(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, object]] | None:
    """Our names, our order of channels and the card, or None: not this layout (nor is one with projections)."""
    if not {"conv1.weight", "linear.weight", *(f"{stage}.0.conv2.weight" for stage in _STAGES)} <= tensors.keys():
        return None
    first, last = tensors["conv1.weight"], tensors["linear.weight"]
    depths = count_blocks(tensors, _STAGES)
    inner = [tuple(tensors[f"{stage}.0.conv2.weight"].shape) for stage in _STAGES]
    layers = 6 * depths[0] + 2
    if len(set(depths)) != 1 or layers not in _PUBLISHED or any("shortcut" in name for name in tensors):
        return None
    if inner != [(width, width, 3, 3) for width in _WIDTHS] or first.ndim != 4 or last.ndim != 2:
        return None

    reordered = dict(tensors)

    def reorder(name: str, order: list[int], axis: int) -> None:
        # A tensor that is missing or misshapen stays so: the fit to the network names it.
        if name in tensors and tensors[name].ndim > axis and tensors[name].shape[axis] == len(order):
            reordered[name] = tensors[name].index_select(axis, torch.tensor(order))

    orders = stream_orders(_WIDTHS)
    read = orders[0]  # the order of the channels that a block reads
    for stage, written in zip(_STAGES, orders, strict=True):
        for index in range(depths[0]):
            block = f"{stage}.{index}"
            reorder(f"{block}.conv1.weight", read, axis=1)
            for entry in ("conv2.weight", "bn2.weight", "bn2.bias", "bn2.running_mean", "bn2.running_var"):
                reorder(f"{block}.{entry}", written, axis=0)
            read = written
    reorder("linear.weight", read, axis=1)

    names = {"linear": "fc"}
    for number, stage in enumerate(_STAGES, start=1):
        for index in range(depths[0]):
            for layer in ("conv1", "bn1", "conv2", "bn2"):
                names[f"{stage}.{index}.{layer}"] = f"stage{number}.{index + 1}.{layer}"
    card = make_card(
        f"cifar_resnet{layers}",
        num_classes=last.shape[0],
        in_channels=first.shape[1],
        classes=_CLASSES if last.shape[0] == len(_CLASSES) else None,
        preprocessing=_PREPROCESSING,
    )
    return rename_layers(reordered, names), card
