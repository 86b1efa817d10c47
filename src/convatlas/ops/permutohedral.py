"""The permutohedral lattice: Gaussian filtering of N points with any features, in time that grows with N, not N^2.

Adams, Baek, Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Eurographics 2010

Each point gives its value to the d + 1 corners of the simplex around it, by its barycentric weights (splat); the
corners are blurred with (1/2, 1, 1/2) along each of the lattice's d + 1 directions; each point reads its corners again
(slice). Together that is close to the sum over all points j of exp(-|f_i - f_j|^2 / 2) v_j.

Follows  Sections 3.1 to 3.4, and the release's blur, which meets only corners that some point has touched.
Departs  The release ends with a factor of 1 / (1 + 2^-d). Ours gives the filter the Gaussian's own integral, so that
         the sums are right where there are many points, in any number of dimensions.
Shapes   N points, d features, M corners, K values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from convatlas.errors import UsageError


@dataclass(frozen=True)
class Lattice:
    """The corners around N points, ready to filter their values: build it with `of`."""

    corners: Tensor  # (N, d + 1) int64: corners of the simplex around each point
    shares: Tensor  # (N, d + 1): its barycentric weights, which sum to 1
    points: Tensor  # (N (d + 1),) int64: the points that touch each corner, corner by corner
    point_shares: Tensor  # (N (d + 1),)
    starts: Tensor  # (M,) int64: where each corner's points begin
    neighbours: Tensor  # (d + 1, M, 3) int64: itself and both neighbours along each direction; M where there is none

    @staticmethod
    def of(features: Tensor) -> Lattice:
        """(N, d) float, in standard deviations of the Gaussian.

        Raises:
            UsageError: features are no finite (N, d), or too far apart for the lattice's numbering.
        """
        if features.ndim != 2 or features.numel() == 0 or not bool(features.isfinite().all()):
            raise UsageError(f"features are {tuple(features.shape)}; expected (N, d), all finite")
        d = features.shape[1]
        keys, shares = _simplex(features.detach().double())
        lowest = keys.amin((0, 1)) - d  # a neighbour lies up to d steps further
        extent = keys.amax((0, 1)) - lowest + d + 1
        if math.prod(extent.tolist()) >= 2**62:
            raise UsageError(f"features span {extent.tolist()} steps of the lattice; expected less than 2^62 in all")
        places = torch.cat((extent[1:].flip(0).cumprod(0).flip(0), extent.new_ones(1)))  # of a number's digits
        numbers, inverse = torch.unique(((keys - lowest) * places).sum(2), return_inverse=True)
        order = inverse.flatten().argsort(stable=True)
        counts = torch.bincount(inverse.flatten(), minlength=len(numbers))
        steps = places.sum() - (d + 1) * torch.cat((places, places.new_zeros(1)))  # +1 along all axes, -d along one
        neighbours = torch.stack([_find(numbers, numbers + sign * steps[:, None]) for sign in (1, -1)], dim=2)
        own = torch.arange(len(numbers), device=numbers.device).expand(d + 1, -1)[..., None]
        shares = shares.to(features.dtype)
        return Lattice(
            corners=inverse,
            shares=shares,
            points=order // (d + 1),
            point_shares=shares.flatten()[order],
            starts=counts.cumsum(0) - counts,
            neighbours=torch.cat((own, neighbours), dim=2),
        )

    def filter(self, values: Tensor) -> Tensor:
        """The Gaussian-weighted sums, each point's own value included; a gradient reaches the values: (N, K) -> (N, K)

        The features have no gradient. Corners that no point touches are missing from the blur, so far apart in many
        dimensions the weights come out too small: dividing by the filtered ones puts most of that right.
        """
        return _Filter.apply(values, self)

    def _run(self, values: Tensor, reverse: bool) -> Tensor:
        table = F.embedding_bag(  # (M, K)
            self.points, values, self.starts, mode="sum", per_sample_weights=self.point_shares.to(values.dtype)
        )
        weights = values.new_tensor((1.0, 0.5, 0.5)).expand(len(table), 3)
        for direction in self.neighbours.flip(0) if reverse else self.neighbours:
            table = F.embedding_bag(direction, F.pad(table, (0, 0, 0, 1)), mode="sum", per_sample_weights=weights)
        summed = F.embedding_bag(self.corners, table, mode="sum", per_sample_weights=self.shares.to(values.dtype))
        return summed * _gain(self.corners.shape[1] - 1)


class _Filter(torch.autograd.Function):
    """Splat and slice are each other's transposes and each blur is its own: the adjoint blurs in the other order."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, lattice: Lattice) -> Tensor:
        ctx.lattice = lattice
        return lattice._run(values.contiguous(), reverse=False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.lattice._run(gradients[0].contiguous(), reverse=True), None


def _gain(d: int) -> float:
    """The Gaussian's integral, (2 pi)^(d/2), over the sum of the blurs' weights and a corner's volume."""
    return (2 * math.pi) ** (d / 2) / (2 ** (d + 1) * 1.5 ** (d / 2) / math.sqrt(d + 1))


def _simplex(features: Tensor) -> tuple[Tensor, Tensor]:
    """The corners of each point's simplex and its weights: (N, d) -> (N, d + 1, d) int64, (N, d + 1)

    A corner has d + 1 coordinates that sum to 0, of which d are kept.
    """
    N, d = features.shape
    axis = torch.arange(1, d + 1, device=features.device)
    # spaced so that splat, blur and slice together have a variance of 1
    scaled = features * ((d + 1) * math.sqrt(2 / 3) / (axis * (axis + 1)).double().sqrt())
    following = F.pad(scaled.flip(1).cumsum(1).flip(1), (0, 1))  # (N, d + 1): the sums of x_j, x_(j+1), ...
    elevated = following - F.pad(axis * scaled, (1, 0))
    nearest = (elevated / (d + 1)).round().long() * (d + 1)
    rest = elevated - nearest
    rank = rest.argsort(dim=1, descending=True, stable=True).argsort(dim=1)  # 0: the largest rest
    rank += nearest.sum(1, keepdim=True) // (d + 1)  # the nearest multiples may not sum to 0: then they move
    shift = (rank < 0).long() - (rank > d).long()
    rank += (d + 1) * shift
    nearest += (d + 1) * shift
    rest = (elevated - nearest) / (d + 1)
    shares = features.new_zeros(N, d + 2).scatter_add_(1, d - rank, rest).scatter_add_(1, d + 1 - rank, -rest)
    shares[:, 0] += 1 + shares[:, d + 1]
    colour = torch.arange(d + 1, device=features.device)[:, None]
    offset = colour - (d + 1) * (torch.arange(d + 1, device=features.device) > d - colour)  # (d + 1, d + 1)
    return nearest[:, None, :d] + offset[:, rank[:, :d]].transpose(0, 1), shares[:, : d + 1]


def _find(numbers: Tensor, wanted: Tensor) -> Tensor:
    """Where each wanted number stands in the sorted `numbers`; their count where it is missing."""
    place = torch.searchsorted(numbers, wanted)
    known = numbers[place.clamp(max=len(numbers) - 1)] == wanted
    return torch.where(known, place, len(numbers))
