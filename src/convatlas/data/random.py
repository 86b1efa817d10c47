"""Randomness as a pure function: of (seed, epoch) for the order, of (seed, epoch, sample index) for augmentation.

Nothing here has a state, so a run that is stopped at any step and resumed sees the same numbers, whatever the batch
size or the number of worker processes. The bits come from Philox 4x64-10 (Salmon et al., "Parallel Random Numbers: As
Easy as 1, 2, 3", SC 2011), whose n-th block is computed from the counter n alone; only its raw output is used, which
is specified for good, and none of numpy's distributions, which may change between versions.
"""

import numpy as np
import torch
from torch import Tensor

_BLOCK = 4  # 64-bit words for each counter value
_ORDER, _DRAWS, _BALANCE = 0, 1, 2  # separate streams under one (seed, epoch)


def _philox(seed: int, epoch: int, stream: int) -> np.random.Philox:
    entropy = np.random.SeedSequence(seed, spawn_key=(epoch, stream))
    return np.random.Philox(key=entropy.generate_state(2, np.uint64))


def _blocks(draws: int) -> int:
    return -(-draws // _BLOCK)


def _unit_interval(raw: np.ndarray) -> np.ndarray:
    return (raw >> np.uint64(11)) * 2.0**-53


def permutation(n: int, seed: int, epoch: int) -> Tensor:
    """The order of n samples in an epoch: (n,) int64."""
    keys = _philox(seed, epoch, _ORDER).random_raw(n)
    return torch.from_numpy(np.argsort(keys, kind="stable").astype(np.int64, copy=False))


def balanced_order(labels: Tensor, seed: int, epoch: int) -> Tensor:
    """As many places as samples, every class equally often (to one place): (N,) int64 labels -> (N,) int64 indices

    A rare class is gone through several times, each time in another order; of a frequent one other samples are left out
    in each epoch. A repeated sample has the same augmentation each time, as that depends on its index.
    """
    philox, classes = _philox(seed, epoch, _BALANCE), labels.unique()
    chosen = []
    for place, label in enumerate(classes):
        members = (labels == label).nonzero()[:, 0].numpy()
        wanted = len(labels) // len(classes) + (place < len(labels) % len(classes))
        keys = philox.random_raw(-(-wanted // len(members)) * len(members)).reshape(-1, len(members))
        chosen.append(members[np.argsort(keys, axis=1, kind="stable")].ravel()[:wanted])
    order = np.argsort(philox.random_raw(len(labels)), kind="stable")
    return torch.from_numpy(np.concatenate(chosen)[order])


def table(n: int, draws: int, seed: int, epoch: int) -> Tensor:
    """The draws of all n samples of an epoch, uniform in [0, 1): (n, draws) float64; row i is `uniforms([i], ...)`."""
    width = _blocks(draws) * _BLOCK
    raw = _philox(seed, epoch, _DRAWS).random_raw(n * width).reshape(n, width)
    return torch.from_numpy(_unit_interval(raw[:, :draws]))


def uniforms(indices: Tensor, draws: int, seed: int, epoch: int) -> Tensor:
    """The draws of some samples, uniform in [0, 1): (B,) int64 -> (B, draws) float64.

    Each row is found by moving the counter, so that a worker process needs no table of the whole epoch.
    """
    blocks = _blocks(draws)
    rows = np.empty((len(indices), draws))
    start = _philox(seed, epoch, _DRAWS).state
    generator = np.random.Philox()
    for row, index in zip(rows, indices.tolist(), strict=True):
        generator.state = start
        raw = generator.advance(index * blocks).random_raw(blocks * _BLOCK)
        row[:] = _unit_interval(raw[:draws])
    return torch.from_numpy(rows)
