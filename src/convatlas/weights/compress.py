"""Deep Compression: prune small weights, let the others share a few values, and code what is left by Huffman's method.

Han, Mao, Dally, "Deep Compression: Compressing Deep Neural Networks with Pruning, Trained Quantization and Huffman
Coding", ICLR 2016, arXiv:1510.00149; Iandola et al. 2016 (SqueezeNet), section 3.3 and table 2.

Follows  Section 2 for pruning by magnitude, section 3 for k-means within each layer from centroids spaced linearly
         between the smallest and the largest weight, section 4 for the codes.
Departs  What is left after pruning is retrained where images are given; shared weights are not trained any more. One
         sparsity holds for all layers. The released container has 8-bit codes and 4-bit gaps (`deep_compression`);
         the one with Huffman's codes is our own (`huffman`), and its sizes include the lengths of the codes.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.data import Loader, Split
from convatlas.errors import UsageError
from convatlas.records import AuxiliaryOutputs
from convatlas.weights.formats import deep_compression, huffman
from convatlas.weights.layouts.rows import compression_table

_ROUNDS = 50  # of k-means; most layers settle earlier


@dataclass(frozen=True)
class LayerSizes:
    """What became of one layer."""

    name: str
    weights: int
    kept: int  # not pruned
    dense_bytes: int  # float32 weights and biases
    stored_bytes: int  # in the released container, .net
    huffman_bytes: int  # in ours with Huffman's codes for shared weights and gaps, .huff, without its header


@dataclass(frozen=True)
class Compressed:
    """A compressed network: its containers, the network that they stand for, and the sizes."""

    data: bytes  # the container as released
    coded: Mapping[str, huffman.Coded]  # the layers of ours, which `huffman.write` joins
    tensors: dict[str, Tensor]  # as a reader of either gets them
    layers: tuple[LayerSizes, ...]


@dataclass(frozen=True)
class Retraining:
    """Images and how long the weights that were not pruned learn from them."""

    loader: Loader[Split, Tensor]
    epochs: int
    learning_rate: float = 1e-3  # with momentum 0.9; the paper takes a tenth to a hundredth of the original rate
    device: str | torch.device = "cpu"
    on_progress: Callable[[int, int], None] | None = None  # (batches done, batches)


def compress(net: nn.Module, *, sparsity: float, bits: int = 8, retraining: Retraining | None = None) -> Compressed:
    """Prunes, retrains and shares the weights of every convolution and fully connected layer of a network.

    Args:
        net: with biases in all of these layers, and no other weights; it is left as it is.
        sparsity: the share of weights, the smallest of each layer, that become 0; from 0 up to 1.
        bits: of a code; 2^bits - 1 shared weights a layer, 1 to 8 bits. The remaining code stands for 0.
        retraining: between pruning and sharing; None leaves it out.

    Raises:
        UsageError: `sparsity` or `bits` is out of range.
        ConvatlasError: the network has layers of another kind.
    """
    if not 0 <= sparsity < 1:
        raise UsageError(f"sparsity is {sparsity}; expected a share from 0 up to, but not, 1")
    if not 1 <= bits <= 8:
        raise UsageError(f"bits is {bits}; expected 1 to 8")
    table = compression_table(net)
    net = copy.deepcopy(net)
    for layer in table:
        weight = net.get_parameter(f"{layer}.weight")
        weight.data = torch.from_numpy(prune(weight.detach().cpu().numpy().astype(np.float32), sparsity))
    if retraining is not None:
        retrain(net, [f"{layer}.weight" for layer in table], retraining)
    layers: dict[str, tuple[np.ndarray, np.ndarray, Tensor]] = {}
    coded, sizes = {}, []
    for layer in table:
        weight, bias = net.get_parameter(f"{layer}.weight"), net.get_parameter(f"{layer}.bias")
        codebook, codes = share(weight.detach().cpu().numpy(), 2**bits - 1)
        layers[layer] = (codebook, codes, bias)
        coded[layer] = huffman.encode(codebook, codes, bias)
        sizes.append(_sizes(layer, codes, bias.numel(), len(coded[layer].data)))
    data = deep_compression.write(layers)
    tensors = deep_compression.read(memoryview(data), "compressed", table).tensors
    return Compressed(data, coded, tensors, tuple(sizes))


def prune(values: np.ndarray, sparsity: float) -> np.ndarray:
    """The same with 0 for the `sparsity` smallest by magnitude."""
    count = int(sparsity * values.size)
    pruned = values.copy()
    if count:
        pruned.reshape(-1)[np.argpartition(np.abs(values).reshape(-1), count - 1)[:count]] = 0
    return pruned


def retrain(net: nn.Module, names: Iterable[str], retraining: Retraining) -> None:
    """Goes on training in place with cross-entropy; the named weights that are 0 stay so."""
    net.to(retraining.device).train()
    weights = [net.get_parameter(name) for name in names]
    masks = [weight.detach() != 0 for weight in weights]
    optimiser = torch.optim.SGD(net.parameters(), lr=retraining.learning_rate, momentum=0.9)
    total = retraining.epochs * len(retraining.loader)
    batches = (batch for epoch in range(retraining.epochs) for batch in retraining.loader.epoch(epoch))
    for step, batch in enumerate(batches, start=1):
        output = net(batch.images)
        logits = output.logits if isinstance(output, AuxiliaryOutputs) else output
        optimiser.zero_grad()
        F.cross_entropy(logits, batch.labels).backward()
        optimiser.step()
        with torch.no_grad():
            for weight, mask in zip(weights, masks, strict=True):
                weight.mul_(mask)
        if retraining.on_progress is not None:
            retraining.on_progress(step, total)
    net.eval()


def share(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """At most `count` shared weights for those that are not 0: (codebook with 0 before them, codes of all values)."""
    kept = values[values != 0].astype(np.float64)
    codes = np.zeros(values.shape, np.uint8)
    if kept.size == 0:
        return np.zeros(1, np.float32), codes
    centroids = np.unique(kept) if len(np.unique(kept)) <= count else _k_means(kept, count)
    codes[values != 0] = _nearest(kept, centroids) + 1
    return np.concatenate([[0.0], centroids]).astype(np.float32), codes


def _k_means(values: np.ndarray, count: int) -> np.ndarray:
    """Lloyd's rounds on a line, from centroids spaced linearly; those that nothing belongs to are dropped."""
    centroids = np.linspace(values.min(), values.max(), count)
    for _ in range(_ROUNDS):
        nearest = _nearest(values, centroids)
        members = np.bincount(nearest, minlength=len(centroids))
        sums = np.bincount(nearest, values, minlength=len(centroids))
        moved = sums[members > 0] / members[members > 0]
        if len(moved) == len(centroids) and np.allclose(moved, centroids, rtol=1e-6, atol=0):
            return moved
        centroids = moved
    return centroids


def _nearest(values: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The index of the nearest of sorted centroids."""
    return np.searchsorted((centroids[1:] + centroids[:-1]) / 2, values)


def _sizes(layer: str, codes: np.ndarray, biases: int, huffman_bytes: int) -> LayerSizes:
    stored, _ = deep_compression.encode(codes.reshape(-1))
    return LayerSizes(
        name=layer,
        weights=codes.size,
        kept=int(np.count_nonzero(codes)),
        dense_bytes=4 * (codes.size + biases),
        stored_bytes=deep_compression.size_of([len(stored)], {layer: (biases,)}),
        huffman_bytes=huffman_bytes,
    )


def with_tensors(net: nn.Module, tensors: dict[str, Tensor]) -> nn.Module:
    """The network, in place, with compressed tensors."""
    with torch.no_grad():
        for name, value in tensors.items():
            net.get_parameter(name).copy_(value)
    return net
