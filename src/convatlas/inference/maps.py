"""Segmenters on images of any size: a class for every pixel, as a mask."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from convatlas.data.segmentation.splits import MaskSplit
from convatlas.errors import ConvatlasError
from convatlas.evaluation.boundary import BoundaryMeter, TrimapMeter
from convatlas.evaluation.classifier import evaluating
from convatlas.evaluation.segmentation import image_confusions
from convatlas.evaluation.segmenter import Refine, Segmenter, evaluate_segmenter
from convatlas.evaluation.threshold import check_binary
from convatlas.inference.images import Images, collect_images, read_image
from convatlas.inference.trained import TrainedNetwork
from convatlas.records import Problem, SegmentationEvaluation
from convatlas.training.dense_losses import pixel_loss
from convatlas.training.losses import per_sample


@dataclass(frozen=True)
class MaskPrediction:
    """What a segmenter makes of one image."""

    path: str
    image: Tensor  # uint8 (C, H, W), as read
    mask: Tensor  # uint8 (H, W), the class of each pixel
    certainty: Tensor  # float32 (H, W), its probability

    def shares(self, classes: tuple[str, ...]) -> dict[str, float]:
        """The part of the image that each class has, largest first, without those that it lacks."""
        counts = torch.bincount(self.mask.flatten().long(), minlength=len(classes)) / self.mask.numel()
        found = sorted(zip(classes, counts.tolist(), strict=True), key=lambda entry: -entry[1])
        return {name: share for name, share in found if share > 0}


def segment(
    source: TrainedNetwork,
    images: Images,
    *,
    device: str | torch.device = "cpu",
    refine: Refine | None = None,
    threshold: float | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[MaskPrediction | Problem]:
    """The images one by one, each whole and in its own size; what can't be read comes as a problem.

    Args:
        source: of a segmenter.
        images: as for `collect_images`.
        refine: what is done to the logits of each image, such as `crf.DenseCRF`.
        threshold: of two classes the second is taken from this probability on; None: the more probable.
        on_progress: called with (images done, images).

    Raises:
        UsageError: a threshold, and not two classes.
    """
    if threshold is not None:
        check_binary(source.classes)
    readable, problems = collect_images(images)
    yield from problems
    segmenter = Segmenter(source.net.to(device), source.preprocessing, device, refine, threshold)
    with evaluating(source.net):
        for done, image in enumerate(readable, start=1):
            try:
                yield look(segmenter, str(image), read_image(image, source.preprocessing))
            except ConvatlasError as error:
                yield Problem(str(image), str(error).removeprefix(f"{image}: "))
            if on_progress is not None:
                on_progress(done, len(readable))


def look(segmenter: Segmenter, name: str, image: Tensor) -> MaskPrediction:
    """What a segmenter makes of an image, uint8 (C, H, W)."""
    logits = segmenter.logits(image).cpu()
    mask = segmenter.decide(logits)
    certainty = logits.softmax(dim=0).gather(0, mask[None])[0]
    return MaskPrediction(name, image, mask.to(torch.uint8), certainty)


@dataclass(frozen=True)
class Survey:
    """A segmenter's whole result on a test part: what a report shows."""

    source: TrainedNetwork
    split: MaskSplit
    evaluation: SegmentationEvaluation
    confusions: Tensor  # (N, K, K), of the images `indices`
    indices: tuple[int, ...]
    boundary: BoundaryMeter
    trimap: TrimapMeter
    device: str | torch.device
    refine: Refine | None
    threshold: float | None = None

    @property
    def colours(self) -> np.ndarray | None:
        """(K, 3) uint8"""
        return None if self.source.colours is None else np.array(self.source.colours, dtype=np.uint8)

    def again(self, place: int) -> tuple[MaskPrediction, Tensor]:
        """The prediction of the image at a place of `confusions`, once more, and its mask."""
        index = self.indices[place]
        image, mask = self.split.read_pair(index)
        segmenter = Segmenter(
            self.source.net.eval(), self.source.preprocessing, self.device, self.refine, self.threshold
        )
        return look(segmenter, self.split.name(index), image), mask


def survey_masks(
    source: TrainedNetwork,
    split: MaskSplit,
    *,
    device: str | torch.device = "cpu",
    refine: Refine | None = None,
    threshold: float | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Survey:
    """A segmenter on a test part, with the boundaries measured and each image's own confusions kept.

    Raises:
        UsageError: a threshold, and not two classes.
    """
    if threshold is not None:
        check_binary(source.classes)
    count = len(source.classes)
    boundary, trimap = BoundaryMeter(count), TrimapMeter(count)
    confusions: list[Tensor] = []
    indices: list[int] = []

    def note(index: int, _: Tensor, predicted: Tensor, mask: Tensor) -> None:
        boundary.add(predicted[None], mask[None].long())
        trimap.add(predicted[None], mask[None].long())
        confusions.append(image_confusions(predicted[None], mask[None], count)[0])
        indices.append(index)

    evaluation = evaluate_segmenter(
        source.net.to(device),
        split,
        source.preprocessing,
        classes=source.classes,
        loss=per_sample(pixel_loss(source.recipe.loss if source.recipe is not None else None)),
        device=device,
        progress=on_progress,
        refine=refine,
        threshold=threshold,
        on_image=note,
    )
    return Survey(
        source, split, evaluation, torch.stack(confusions), tuple(indices), boundary, trimap, device, refine, threshold
    )
