"""Segmenters on pictures of any size: a class for every pixel, as a mask."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from convatlas import data
from convatlas.data import decode
from convatlas.evaluation.classifier import evaluating
from convatlas.evaluation.segmenter import Segmenter, evaluate_segmenter
from convatlas.inference.evaluate import load_data
from convatlas.inference.pictures import find_pictures
from convatlas.inference.source import Source
from convatlas.structures import ConvatlasError, Problem, SegmentationEvaluation, UsageError
from convatlas.training.dense_losses import PixelCrossEntropy
from convatlas.training.losses import per_sample


@dataclass(frozen=True)
class MaskPrediction:
    """What a segmenter makes of one picture."""

    path: str
    image: Tensor  # uint8 (C, H, W), as read
    mask: Tensor  # uint8 (H, W), the most probable class of each pixel
    certainty: Tensor  # float32 (H, W), its probability

    def shares(self, classes: tuple[str, ...]) -> dict[str, float]:
        """The part of the picture that each class has, largest first, without those that it lacks."""
        counts = torch.bincount(self.mask.flatten().long(), minlength=len(classes)) / self.mask.numel()
        found = sorted(zip(classes, counts.tolist(), strict=True), key=lambda entry: -entry[1])
        return {name: share for name, share in found if share > 0}


def segment(
    source: Source,
    paths: Iterable[str | Path],
    *,
    device: str | torch.device = "cpu",
    refine: Callable[[Tensor, Tensor], Tensor] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[MaskPrediction | Problem]:
    """The pictures one by one, each whole and in its own size; what can't be read comes as a problem.

    Args:
        source: of a segmenter.
        paths: files, folders (searched recursively) and patterns.
        refine: (image uint8 (C, H, W), probabilities (K, H, W)) -> probabilities, such as `crf.refine`.
        on_progress: called with (pictures done, pictures).
    """
    files, problems = find_pictures(paths)
    yield from problems
    segmenter = Segmenter(source.net.to(device), source.preprocessing, device)
    with evaluating(source.net):
        for done, path in enumerate(files, start=1):
            try:
                yield _of_one(segmenter, path, refine)
            except ConvatlasError as error:
                yield Problem(str(path), str(error).removeprefix(f"{path}: "))
            if on_progress is not None:
                on_progress(done, len(files))


def _of_one(segmenter: Segmenter, path: Path, refine: Callable[[Tensor, Tensor], Tensor] | None) -> MaskPrediction:
    image = decode(path)
    probabilities = segmenter.logits(image).softmax(dim=0).cpu()
    if refine is not None:
        probabilities = refine(image, probabilities)
    certainty, mask = probabilities.max(dim=0)
    return MaskPrediction(str(path), image, mask.to(torch.uint8), certainty)


def evaluate_masks(
    source: Source,
    spec: str | None = None,
    *,
    root: Path | None = None,
    device: str | torch.device = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
    on_picture: Callable[[int, Tensor, Tensor, Tensor], object] | None = None,
) -> tuple[data.DataSet, SegmentationEvaluation]:
    """Runs the test part of a data set through a segmenter; gives the data set and the result.

    Raises:
        UsageError: no data named and none known, or masks of other classes.
    """
    dataset = load_data(source, spec, root)
    if len(dataset.classes) != len(source.classes) or (source.named_classes and dataset.classes != source.classes):
        raise UsageError(
            f"--data {dataset.name} has the classes {', '.join(dataset.classes)}; expected those of the network, "
            f"{', '.join(source.classes)}"
        )
    loss = per_sample(source.recipe.loss if source.recipe is not None else PixelCrossEntropy())
    result = evaluate_segmenter(
        source.net.to(device),
        dataset.test,  # pyright: ignore[reportArgumentType]
        source.preprocessing,
        classes=dataset.classes,
        loss=loss,
        device=device,
        progress=on_progress,
        on_picture=on_picture,
    )
    return dataset, result
