"""A detector on a split of marked images: one pass, all the numbers."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from convatlas.data import Loader
from convatlas.data.detection.placing import place
from convatlas.data.detection.split import DetectionSplit
from convatlas.errors import ConvatlasError, UsageError
from convatlas.evaluation.classifier import evaluating
from convatlas.evaluation.coco import coco_average_precision
from convatlas.evaluation.detection import voc_average_precision
from convatlas.records import DetectionEvaluation, Detections, Detects, HasLosses, Objects, Problem

Protocol = Literal["voc07", "voc10", "coco"]


def evaluate_detector(
    net: nn.Module,
    loader: Loader[DetectionSplit, list[Objects]],
    *,
    classes: Sequence[str],
    protocol: Protocol = "voc10",
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
    gather: Callable[[Tensor], Tensor] | None = None,
    with_loss: bool = False,
    masks: bool = False,
) -> DetectionEvaluation:
    """Runs every image of a split through `net.detect`; the result is in the split's order and its images' pixels.

    Args:
        net: with `detect` and `losses`. It runs in eval mode; its mode is restored, also after an error.
        loader: without `drop_last` and augmentation.
        classes: K names.
        protocol: whose rules; AP at IoU 0.5 of VOC, or COCO's mean over IoU.
        device: of the network; batches are moved there.
        progress: called with (batches done, batches).
        gather: where each of several processes has a share of the images: its rows (n, ...) -> everybody's (N, ...).
        with_loss: work out the sum of `net.losses` too; where a network has other losses when it trains, it is another.
        masks: compare masks instead of boxes, by COCO's rules.

    Raises:
        UsageError: an unknown protocol, or the loader drops its last batch or augments.
        ConvatlasError: the network detects a class that is not among the K.
    """
    if not isinstance(net, Detects):
        raise UsageError(f"{type(net).__name__} has no `detect`; expected a detector")
    if with_loss and not isinstance(net, HasLosses):
        raise UsageError(f"{type(net).__name__} has no `losses`; expected a detector that has, or with_loss=False")
    if protocol not in get_args(Protocol):
        raise UsageError(f"protocol is {protocol!r}; expected one of {', '.join(get_args(Protocol))}")
    if (loader.drop_last and len(loader) * loader.batch_size < len(loader.split)) or loader.assembly.augments:
        raise UsageError("the loader drops its last batch or augments; expected every image as it is")
    if masks and (gather is not None or protocol != "coco"):
        raise UsageError("masks are to be compared; expected one process and the protocol coco")
    started = time.perf_counter()
    found: dict[int, Detections] = {}
    loss, n = 0.0, 0
    with evaluating(net), torch.inference_mode():
        for step, batch in enumerate(loader.epoch(0), start=1):
            images = batch.images.to(device)
            if len(images):  # a process's share of a small last batch may be empty
                detections = net.detect(images)
                for index, one in zip(batch.indices.tolist(), detections, strict=True):
                    placement = place(loader.split.pages[index].size, loader.preprocessing)
                    found[index] = placement.to_image(one if masks else replace(one, masks=None))
                if with_loss and isinstance(net, HasLosses):
                    loss += float(sum(net.losses(images, batch.labels).values())) * len(images)
            n += len(images)
            if progress is not None:
                progress(step, len(loader))
    seen = torch.tensor(list(found), dtype=torch.int64)
    if gather is not None:
        found, seen = unpack(gather(pack(found))), gather(seen)
        loss, n = gather(torch.tensor([[loss, n]], dtype=torch.float64)).sum(0).tolist()
    seconds = time.perf_counter() - started
    size, whole = len(loader.split), set(seen.tolist())
    every = [found.get(index, NOTHING) for index in range(size)]
    objects = [loader.split.objects(index) if index in whole else UNMARKED for index in range(size)]
    mean_loss = loss / n if with_loss else torch.nan
    return summarise_detections(
        every, objects, classes, protocol, loss=mean_loss, seconds=seconds, problems=loader.split.problems, masks=masks
    )


def summarise_detections(
    detections: Sequence[Detections],
    objects: Sequence[Objects],
    classes: Sequence[str],
    protocol: Protocol,
    *,
    loss: float = torch.nan,
    seconds: float = 0.0,
    problems: Sequence[Problem] = (),
    masks: bool = False,
) -> DetectionEvaluation:
    """All the numbers of detections on images in one order.

    Raises:
        ConvatlasError: a detection is of a class that is not among the K.
    """
    for found in detections:
        if len(found.labels) and not 0 <= int(found.labels.min()) <= int(found.labels.max()) < len(classes):
            raise ConvatlasError(
                f"the network detects class {int(found.labels.max())}; expected 0 to {len(classes) - 1}"
            )
    ap, curves = voc_average_precision(detections, objects, len(classes), "voc07" if protocol == "voc07" else "voc10")
    numbers = {"AP50": ap.nanmean().item()}
    if protocol == "coco":
        judged = coco_average_precision(detections, objects, len(classes), masks=masks)
        ap, numbers = judged.ap, judged.numbers
    return DetectionEvaluation(
        tuple(classes), ap, protocol, curves, numbers, loss, seconds, tuple(problems), tuple(detections)
    )


NOTHING = Detections(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0))
UNMARKED = Objects(NOTHING.boxes, NOTHING.labels, torch.zeros(0, dtype=torch.bool))  # an image that can't be read


def pack(found: dict[int, Detections]) -> Tensor:
    """Detections without masks as rows: image, x1, y1, x2, y2, label, score; (n, 7) float64"""
    rows = [
        torch.cat([torch.full((len(one.labels), 1), index).double(), one.boxes.double(), one.labels[:, None].double(),
                   one.scores[:, None].double()], 1)
        for index, one in found.items()
    ]  # fmt: skip
    return torch.cat([torch.zeros(0, 7, dtype=torch.float64), *rows])


def unpack(rows: Tensor) -> dict[int, Detections]:
    """The inverse of `pack`, but for images without detections."""
    images = rows[:, 0].long()
    return {
        index: Detections(own[:, 1:5].float(), own[:, 5].long(), own[:, 6].float())
        for index in images.unique().tolist()
        for own in [rows[images == index]]
    }
