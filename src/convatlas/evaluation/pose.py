"""How well joints are found: heat maps to coordinates, and PCK, the part of joints that are near enough.

Sapp, Taylor, "MODEC", CVPR 2013 (FLIC); Andriluka et al., "2D Human Pose Estimation", CVPR 2014 (MPII).

A joint is right when its distance to the truth is at most `threshold` times a length of the person: the torso (FLIC,
0.2), a side of the box around the person (Yang and Ramanan), or the head (PCKh, 0.5). Joints that nobody has marked are
left out. The mean is over all marked joints of all people, not over the kinds. It has two names where pelvis and thorax
are among the joints: `correct` counts them, `limbs_correct` leaves them out, as the usual evaluators of MPII do.

Shapes  N people, J joints, h x w heat map. Coordinates are x, y in the input's pixels, edges from 0 to W and 0 to H.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from convatlas.errors import UsageError
from convatlas.records import PoseEvaluation, Problem

HEAD_BIAS = 0.6  # of the diagonal of MPII's head box: the toolkit's length of the head segment


class Found(NamedTuple):
    """Joints read off heat maps."""

    joints: Tensor  # (N, J, 2) float32
    scores: Tensor  # (N, J) the maps' maxima


class Correct(NamedTuple):
    """The part of joints that are near enough, NaN where none is marked."""

    of_joint: Tensor  # (J,) float64
    mean: float  # over all marked joints


def decode(heatmaps: Tensor, *, stride: int = 4) -> Found:
    """The place of each map's maximum, a quarter of a pixel towards its higher neighbour: (N, J, h, w) -> (N, J, 2)

    Newell et al. 2016, section 3.1. As in their release the shift is along each axis by itself, none on the map's
    border, and none between equal neighbours. The middle of a map's first pixel is at stride / 2.
    """
    _, _, height, width = heatmaps.shape
    scores, place = heatmaps.flatten(2).max(dim=2)  # (N, J)
    row, column = place // width, place % width
    inside = (row > 0) & (row < height - 1) & (column > 0) & (column < width - 1)
    flat = heatmaps.flatten(2)

    def higher(step: int) -> Tensor:
        after = flat.gather(2, (place + step).clamp(0, height * width - 1)[..., None])
        before = flat.gather(2, (place - step).clamp(0, height * width - 1)[..., None])
        return torch.where(inside, (after - before)[..., 0].sign(), 0)

    x = column + 0.5 + 0.25 * higher(1)
    y = row + 0.5 + 0.25 * higher(width)
    return Found(torch.stack((x, y), dim=2).float() * stride, scores)


def mean_with_mirror(net: Callable[[Tensor], Tensor], images: Tensor, mirror_joints: Sequence[int]) -> Tensor:
    """The mean of the maps of an image and of its mirror image, mirrored back: (N, C, H, W) -> (N, J, h, w)

    Args:
        net: images -> heat maps.
        images: normalised.
        mirror_joints: for each joint the one whose place it takes in a mirror: left and right change, the rest stay.

    Raises:
        UsageError: `mirror_joints` is no exchange of the maps' joints.
    """
    maps = net(images)
    order = list(mirror_joints)
    exchange = sorted(order) == list(range(maps.shape[1])) and all(order[order[joint]] == joint for joint in order)
    if not exchange:
        raise UsageError(f"mirror_joints is {order}; expected pairs of the {maps.shape[1]} joints that change places")
    return (maps + net(images.flip(-1)).flip(-1)[:, order]) / 2


def normalised_distances(found: Tensor, true: Tensor, visible: Tensor, lengths: Tensor) -> Tensor:
    """Distances in lengths of the person: (N, J, 2), (N, J, 2), (N, J) bool, (N,) -> (N, J) float64

    NaN where a joint is not marked, or the person's length is not known (NaN). A joint that was not found (NaN) is
    infinitely far.

    Raises:
        UsageError: the shapes don't belong together, or a length is not positive.
    """
    if found.shape != true.shape or found.ndim != 3 or visible.shape != true.shape[:2] or len(lengths) != len(true):
        raise UsageError(
            f"found is {tuple(found.shape)}, true {tuple(true.shape)}, visible {tuple(visible.shape)}, lengths "
            f"{tuple(lengths.shape)}; expected (N, J, 2) twice, (N, J) and (N,)"
        )
    if bool((lengths <= 0).any()):
        raise UsageError(f"a person's length is {float(lengths[lengths <= 0][0])}; expected more than 0")
    distances = (found.double() - true.double()).norm(dim=2).nan_to_num(nan=torch.inf) / lengths.double()[:, None]
    return torch.where(visible, distances, torch.nan)


def pck(distances: Tensor, threshold: float) -> Correct:
    """The part of marked joints that are at most `threshold` away: (N, J), NaN where not marked."""
    marked, right = ~distances.isnan(), distances <= threshold
    return Correct(
        right.double().sum(0) / marked.sum(0), float(right.sum() / marked.sum()) if marked.any() else torch.nan
    )


def torso_diameters(joints: Tensor, left_hip: int, right_shoulder: int) -> Tensor:
    """From the left hip to the right shoulder, as FLIC's evaluation measures a person: (N, J, 2) -> (N,)"""
    return (joints[:, left_hip] - joints[:, right_shoulder]).norm(dim=1)


def box_sides(boxes_xyxy: Tensor) -> Tensor:
    """The longer side of the box around a person, as Yang and Ramanan measure: (N, 4) -> (N,)"""
    return (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).max(dim=1).values


def head_sizes(heads_xyxy: Tensor) -> Tensor:
    """0.6 of the diagonal of MPII's head box: (N, 4) -> (N,)"""
    return HEAD_BIAS * (heads_xyxy[:, 2:] - heads_xyxy[:, :2]).norm(dim=1)


def summarise(
    distances: Tensor,
    loss: float,
    joints: Sequence[str],
    seconds: float,
    *,
    threshold: float = 0.5,
    measure: str = "PCKh@0.5",
    problems: Sequence[Problem] = (),
    protocol: str = "one view",
) -> PoseEvaluation:
    """All the numbers of distances (N, J) in head sizes, or whatever lengths `measure` names.

    Raises:
        UsageError: there is not one name a joint.
    """
    if distances.ndim != 2 or distances.shape[1] != len(joints):
        raise UsageError(f"distances are {tuple(distances.shape)}; expected (N, {len(joints)})")
    correct = pck(distances, threshold)
    return PoseEvaluation(
        joints=tuple(joints),
        distances=distances,
        loss=loss,
        measure=measure,
        threshold=threshold,
        correct=correct.mean,
        correct_of_joint=correct.of_joint,
        seconds=seconds,
        problems=tuple(problems),
        protocol=protocol,
    )
