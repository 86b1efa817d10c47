"""Batch normalisation folded into convolutions, and ReLUs computed with them: what PyTorch alone can save.

What may be folded is read off a trace, which every network has, so no graph has to be captured: a normalisation goes
into the convolution before it where nothing else reads that convolution's map, and so does a ReLU. A normalisation
that comes before its convolution, as in DenseNet, stays: with padding it is no convolution.
"""

import copy
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from convatlas.analysis.trace import INPUT, trace
from convatlas.blocks.dims import BATCH_NORMS, CONVS
from convatlas.records import LayerRecord, Shape

_OF_THEIR_OWN = frozenset({"conv", "fc", "batchnorm", "add", "cat"})  # whose output shares memory with no other


@dataclass(frozen=True)
class Chain:
    """A convolution and what alone reads it: a normalisation, a ReLU, both or neither. All are module paths."""

    conv: str
    norm: str | None
    relu: str | None
    input_shape: Shape


def fuse(net: nn.Module, input_shape: Shape, *, batch_size: int, pack: bool = True) -> nn.Module:
    """A copy in evaluation mode that computes the same with fewer passes over memory; `net` stays as it is.

    Args:
        net: on the CPU.
        input_shape: without the batch axis.
        batch_size: of the inputs to come; others give the same result, perhaps more slowly.
        pack: lay weights out for this processor and compute a ReLU with its convolution. False only folds
            normalisations, which leaves a network of ordinary layers, for a compiler or an export.
    """
    fused = copy.deepcopy(net).eval().requires_grad_(False)
    records = trace(fused, input_shape, device="cpu")
    for chain in find_chains(fused, records):
        conv: Any = fused.get_submodule(chain.conv)
        if chain.norm is not None:
            norm: Any = fused.get_submodule(chain.norm)
            conv = fuse_conv_bn_eval(conv, norm)
            fused.set_submodule(chain.norm, nn.Identity())
        if pack and can_pack(conv):
            conv = PackedConv2d(conv, (batch_size, *chain.input_shape), relu=chain.relu is not None)
            if chain.relu is not None:
                fused.set_submodule(chain.relu, nn.Identity())
        fused.set_submodule(chain.conv, conv)
    if pack:
        for path in overwritable_relus(fused, records):
            fused.set_submodule(path, nn.ReLU(inplace=True))
    return fused.eval().requires_grad_(False)


def find_chains(net: nn.Module, records: tuple[LayerRecord, ...]) -> list[Chain]:
    """The convolutions that run once, in their order, with what may be folded into them."""
    calls = Counter(record.name for record in records)
    readers = _readers(records)

    def only_reader(record: LayerRecord, kind: str) -> LayerRecord | None:
        following = readers[record.index]
        one = following[0] if len(following) == 1 else None
        return one if one is not None and one.kind == kind and calls[one.name] == 1 else None

    chains = []
    for record in records:
        if record.kind != "conv" or calls[record.name] != 1 or type(module_at(net, record.name)) not in CONVS:
            continue
        norm = only_reader(record, "batchnorm")
        if norm is not None and not _is_fixed(module_at(net, norm.name)):
            norm = None
        relu = only_reader(norm or record, "relu")
        if relu is not None and type(module_at(net, relu.name)) is not nn.ReLU:
            relu = None
        chains.append(
            Chain(record.name, norm and norm.name, relu and relu.name, record.input_shapes[0])
        )  # fmt: skip
    return chains


def overwritable_relus(net: nn.Module, records: tuple[LayerRecord, ...]) -> list[str]:
    """ReLUs that are left and may write over their input, since nothing else reads it."""
    readers = _readers(records)
    return [
        record.name
        for record in records
        if record.kind == "relu"
        and type(module_at(net, record.name)) is nn.ReLU
        and record.inputs != (INPUT,)
        and records[record.inputs[0]].kind in _OF_THEIR_OWN
        and len(readers[record.inputs[0]]) == 1
    ]


def _readers(records: tuple[LayerRecord, ...]) -> dict[int, list[LayerRecord]]:
    readers: dict[int, list[LayerRecord]] = {record.index: [] for record in records}
    for record in records:
        for index in record.inputs:
            if index != INPUT:
                readers[index].append(record)
    return readers


def module_at(net: nn.Module, path: str) -> nn.Module | None:
    """None for the record of a function."""
    return None if "/" in path else net.get_submodule(path)


def _is_fixed(norm: nn.Module | None) -> bool:
    """Whether the layer normalises by stored statistics, not by those of the batch."""
    return type(norm) in BATCH_NORMS and getattr(norm, "running_mean", None) is not None


def can_pack(conv: nn.Module) -> bool:
    return (
        type(conv) is nn.Conv2d
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
        and conv.weight.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
    )


class PackedConv2d(nn.Module):
    """oneDNN's convolution with weights in its own layout, ReLU included.  (B, C, H, W) -> (B, N, H', W')

    The operators are those that torch.compile emits.
    """

    def __init__(self, conv: nn.Conv2d, input_shape: Shape, *, relu: bool) -> None:
        super().__init__()
        self.padding, self.stride, self.dilation = list(conv.padding), list(conv.stride), list(conv.dilation)
        self.groups = conv.groups
        self.activation = "relu" if relu else "none"
        self.bias = conv.bias
        self.packed = torch.ops.aten.mkldnn_reorder_conv2d_weight(
            conv.weight.to_mkldnn(), self.padding, self.stride, self.dilation, self.groups, list(input_shape)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._convolution_pointwise(
            x, self.packed, self.bias, self.padding, self.stride, self.dilation, self.groups, self.activation, [], ""
        )
