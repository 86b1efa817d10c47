"""Detectors on images of any size: boxes in each image's own pixels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from convatlas import data
from convatlas.blocks.region_svms import WithSvms
from convatlas.data import Loader, normalise
from convatlas.data.detection.assembly import BoxAssembly
from convatlas.data.detection.placing import place, shape
from convatlas.data.detection.split import DetectionSplit
from convatlas.errors import ConvatlasError, UsageError
from convatlas.evaluation.classifier import evaluating
from convatlas.evaluation.detector import Protocol, evaluate_detector
from convatlas.inference.classes import of_classes
from convatlas.inference.evaluate import load_data
from convatlas.inference.images import Images, Readable, collect_images, read_image
from convatlas.inference.trained import TrainedNetwork
from convatlas.records import DetectionEvaluation, Detections, Problem


@dataclass(frozen=True)
class BoxPrediction:
    """What a detector finds on one image."""

    path: str
    image: Tensor  # uint8 (C, H, W), as read
    found: Detections  # in its pixels, the most certain first


def detect(
    source: TrainedNetwork,
    images: Images,
    *,
    least_score: float | None = None,
    device: str | torch.device = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[BoxPrediction | Problem]:
    """The images one by one; what can't be read comes as a problem.

    Args:
        source: of a detector.
        images: as for `collect_images`.
        least_score: detections below it are left out: below 0.5, or 0 for margins of SVMs, unless another is given.
        on_progress: called with (images done, images).
    """
    margins = isinstance(source.net, WithSvms) and source.net.gives_margins
    least = (0.0 if margins else 0.5) if least_score is None else least_score
    if not margins and not 0 <= least <= 1:
        raise UsageError(f"least_score is {least}; expected 0 to 1")
    readable, problems = collect_images(images)
    yield from problems
    with evaluating(source.net.to(device)):
        for done, image in enumerate(readable, start=1):
            try:
                yield _of_one(source, image, least, torch.device(device))
            except ConvatlasError as error:
                yield Problem(str(image), str(error).removeprefix(f"{image}: "))
            if on_progress is not None:
                on_progress(done, len(readable))


@torch.inference_mode()
def _of_one(source: TrainedNetwork, named: Readable, least_score: float, device: torch.device) -> BoxPrediction:
    image = read_image(named, source.preprocessing)
    where = place((image.shape[1], image.shape[2]), source.preprocessing)
    ready = normalise(shape(image, source.preprocessing, where)[None].to(device), source.preprocessing)
    (found,) = source.net.detect(ready)  # pyright: ignore[reportCallIssue]
    return BoxPrediction(str(named), image, above(where.to_image(found), least_score))


def above(found: Detections, least_score: float) -> Detections:
    """The detections that are at least so certain."""
    kept = found.scores >= least_score
    masks = None if found.masks is None else found.masks[kept]
    return Detections(found.boxes[kept], found.labels[kept], found.scores[kept], masks)


def evaluate_boxes(
    source: TrainedNetwork,
    spec: str | None = None,
    *,
    protocol: Protocol = "voc10",
    root: Path | None = None,
    batch_size: int = 8,
    device: str | torch.device = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[data.DataSet, DetectionEvaluation]:
    """Runs the test part of a data set through a detector; gives the data set and the result.

    Raises:
        UsageError: no data named and none known, an unknown protocol, or objects of other classes.
    """
    dataset = load_data(source, spec, root)
    source = of_classes(source, dataset)
    split = cast(DetectionSplit, dataset.test)
    loader = Loader(BoxAssembly(split, source.preprocessing), batch_size=batch_size, device=device)
    found = evaluate_detector(
        source.net.to(device), loader, classes=dataset.classes, protocol=protocol, device=device, progress=on_progress
    )
    return dataset, found
