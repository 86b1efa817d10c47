"""Pose networks on images of one person each, and on the test part of a data set."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from convatlas import data
from convatlas.data import normalise
from convatlas.data.pose.people import PeopleSplit, mirrored
from convatlas.data.pose.transform import STRIDE, View
from convatlas.data.preprocess import convert_channels
from convatlas.errors import ConvatlasError
from convatlas.evaluation.classifier import evaluating
from convatlas.evaluation.pose import decode as decode_maps
from convatlas.evaluation.pose import mean_with_mirror
from convatlas.evaluation.pose_network import evaluate_pose
from convatlas.inference.classes import of_classes
from convatlas.inference.evaluate import load_data
from convatlas.inference.images import Images, collect_images, read_image
from convatlas.inference.trained import TrainedNetwork
from convatlas.records import PoseEvaluation, Problem
from convatlas.training.dense_losses import HeatmapSquaredError
from convatlas.training.losses import per_sample


@dataclass(frozen=True)
class PosePrediction:
    """The joints of the person on an image."""

    path: str
    image: Tensor  # uint8 (C, H, W), as read
    joints: Tensor  # (J, 2) x, y in its pixels
    scores: Tensor  # (J,) the heat maps' peaks


def find_poses(
    source: TrainedNetwork,
    images: Images,
    *,
    device: str | torch.device = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[PosePrediction | Problem]:
    """The images one by one, each taken as a person who fills it; what can't be read comes as a problem.

    Args:
        source: of a pose network.
        images: as for `collect_images`.
        on_progress: called with (images done, images).
    """
    readable, problems = collect_images(images)
    yield from problems
    with evaluating(source.net.to(device)):
        for done, image in enumerate(readable, start=1):
            try:
                yield pose_of(source, str(image), read_image(image, source.preprocessing), None, device)
            except ConvatlasError as error:
                yield Problem(str(image), str(error).removeprefix(f"{image}: "))
            if on_progress is not None:
                on_progress(done, len(readable))


@torch.inference_mode()
def pose_of(
    source: TrainedNetwork, name: str, image: Tensor, view: View | None, device: str | torch.device
) -> PosePrediction:
    """The joints that are found in a view of an image, uint8 (C, H, W); None: in the square around all of it."""
    height, width = image.shape[1:]
    view = view or View((width / 2, height / 2), max(height, width), 0.0, source.preprocessing.size[0])
    source_image = view.cut(convert_channels(image, source.preprocessing.channels))
    batch = normalise(source_image[None].to(device), source.preprocessing)
    maps = mean_with_mirror(source.net, batch, mirrored(source.classes)).float().cpu()
    found = decode_maps(maps, stride=STRIDE)
    return PosePrediction(name, image, view.to_image(found.joints[0]), found.scores[0])


def evaluate_poses(
    source: TrainedNetwork,
    spec: str | None = None,
    *,
    root: Path | None = None,
    device: str | torch.device = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[data.DataSet, PoseEvaluation]:
    """Runs the test part of a data set through a pose network; gives the data set and the result.

    Raises:
        UsageError: no data named and none known, or people with other joints.
    """
    dataset = load_data(source, spec, root)
    source = of_classes(source, dataset)
    found = evaluate_pose(
        source.net.to(device),
        cast(PeopleSplit, dataset.test),
        source.preprocessing,
        loss=per_sample(source.recipe.loss if source.recipe is not None else HeatmapSquaredError()),
        device=device,
        progress=on_progress,
    )
    return dataset, found
