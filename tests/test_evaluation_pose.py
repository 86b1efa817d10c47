"""Joints from heat maps, and PCK by hand and written another way."""

import itertools
import math

import numpy as np
import pytest
import torch

from convatlas.data.pose.heatmaps import draw_heatmaps
from convatlas.errors import UsageError
from convatlas.evaluation import pose


def test_decode_by_hand() -> None:
    maps = torch.zeros(1, 4, 5, 6)
    maps[0, 0, 2, 3], maps[0, 0, 2, 4], maps[0, 0, 1, 3] = 1.0, 0.5, 0.2  # right and up
    maps[0, 1, 2, 3] = 0.7  # no higher neighbour
    maps[0, 2, 0, 3], maps[0, 2, 0, 4] = 1.0, 0.5  # on the border
    maps[0, 3] = -1.0
    found = pose.decode(maps, stride=4)
    assert found.joints[0].tolist() == [[15, 9], [14, 10], [14, 2], [2, 2]]
    assert found.scores[0].tolist() == pytest.approx([1, 0.7, 1, -1])


def test_decode_undoes_drawing_to_within_a_pixel_of_the_map() -> None:
    joints = torch.rand(3, 7, 2) * 200 + 20
    maps = draw_heatmaps(joints, torch.ones(3, 7, dtype=torch.bool), (60, 60))
    assert (pose.decode(maps).joints - joints).abs().max() <= 2


def test_the_mirror_is_undone_before_the_mean() -> None:
    images = torch.rand(2, 3, 4, 6)
    left_right = [1, 0, 2]

    def net(x: torch.Tensor) -> torch.Tensor:  # joint 0 is found on the left half, joint 1 on the right
        side = torch.linspace(-1, 1, 6).expand(4, 6)
        return torch.stack((x[:, 0] * (side < 0), x[:, 0] * (side > 0), x[:, 1] + side), dim=1)

    mean = pose.mean_with_mirror(net, images, left_right)
    assert torch.allclose(mean[:, :2], net(images)[:, :2])
    assert torch.allclose(mean[:, 2], images[:, 1])  # what depends on the side goes
    with pytest.raises(UsageError, match="pairs of the 3 joints"):
        pose.mean_with_mirror(net, images, [1, 2, 0])


def test_pck_by_hand() -> None:
    true = torch.tensor([[[0.0, 0.0], [10, 10], [5, 5]], [[0, 0], [4, 0], [0, 8]]])
    found = torch.tensor([[[3.0, 4.0], [10, 10], [99, 5]], [[0, 5.5], [math.nan, 0], [0, 8]]])
    visible = torch.tensor([[True, True, False], [True, True, False]])
    heads = torch.tensor([[0, 0, 10.0, 0], [0.0, 0, 6, 8]])  # diagonals of 10, lengths of 6
    distances = pose.normalised_distances(found, true, visible, pose.head_sizes(heads))
    assert distances[0].tolist() == pytest.approx([5 / 6, 0, math.nan], nan_ok=True)
    assert distances[1].tolist() == pytest.approx([5.5 / 6, math.inf, math.nan], nan_ok=True)
    correct = pose.pck(distances, 5 / 6)  # exactly at the threshold is right
    assert correct.of_joint.tolist() == pytest.approx([0.5, 0.5, math.nan], nan_ok=True)
    assert correct.mean == pytest.approx(2 / 4)
    assert math.isnan(pose.pck(distances[:, 2:], 1).mean)


def test_lengths_of_a_person_by_hand() -> None:
    joints = torch.tensor([[[0.0, 0.0], [9, 9], [3, 4]]])
    assert pose.torso_diameters(joints, left_hip=0, right_shoulder=2).tolist() == [5]
    assert pose.box_sides(torch.tensor([[1.0, 2, 4, 9]])).tolist() == [7]


def test_pck_equals_a_loop_over_joints() -> None:
    generator = np.random.default_rng(0)
    true, found = generator.random((40, 5, 2)) * 100, generator.random((40, 5, 2)) * 100
    visible, heads = generator.random((40, 5)) < 0.7, generator.random((40, 4)) * 100
    heads[:, 2:] += heads[:, :2] + 1
    right = [[] for _ in range(5)]
    for n in range(40):  # as MPII's toolkit says it: head size 0.6 times the norm of the head box's diagonal
        size = 0.6 * np.linalg.norm(heads[n, 2:] - heads[n, :2])
        for j in range(5):
            if visible[n, j]:
                right[j].append(np.linalg.norm(found[n, j] - true[n, j]) / size <= 0.5)
    tensors = [torch.from_numpy(array) for array in (found, true, visible)]
    distances = pose.normalised_distances(*tensors, pose.head_sizes(torch.from_numpy(heads)))
    evaluation = pose.summarise(distances, 0.1, "abcde", 1.0)
    assert evaluation.correct_of_joint.tolist() == pytest.approx([np.mean(each) for each in right])
    mean = np.mean(list(itertools.chain(*right)))
    assert evaluation.correct == pytest.approx(mean)
    assert evaluation.error == pytest.approx(1 - mean)
    assert 0.05 < evaluation.correct < 0.95


def test_poses_that_do_not_fit_are_refused() -> None:
    joints, visible = torch.zeros(2, 3, 2), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(UsageError, match=r"expected \(N, J, 2\) twice"):
        pose.normalised_distances(joints, joints, visible[:1], torch.ones(2))
    with pytest.raises(UsageError, match=r"length is 0.0; expected more than 0"):
        pose.normalised_distances(joints, joints, visible, torch.zeros(2))
    with pytest.raises(UsageError, match=r"expected \(N, 2\)"):
        pose.summarise(torch.zeros(2, 3), 0.0, "ab", 1.0)
