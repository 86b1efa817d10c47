"""A pose network on a split of people: one pass, all the numbers."""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from convatlas.data.pose.people import PeopleSplit, mirrored
from convatlas.data.pose.transform import STRIDE, PersonTransform
from convatlas.data.preprocess import normalise
from convatlas.data.splits import problem_of
from convatlas.errors import ConvatlasError
from convatlas.evaluation.classifier import evaluating
from convatlas.evaluation.pose import decode, mean_with_mirror, normalised_distances, summarise
from convatlas.records import PoseEvaluation, Preprocessing, Problem

THRESHOLDS = {"PCKh@0.5": 0.5, "PCK@0.2": 0.2}


def evaluate_pose(
    net: nn.Module,
    split: PeopleSplit,
    preprocessing: Preprocessing,
    *,
    loss: Callable[[Tensor, Tensor], Tensor],
    mirror: bool = True,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
    share: tuple[int, int] = (0, 1),
    gather: Callable[[Tensor], Tensor] | None = None,
) -> PoseEvaluation:
    """Every person of a split, cut out upright; distances are measured in the images.

    Args:
        net: a pose network. Its mode is restored.
        loss: (heat maps, their truth) -> the mean over the batch.
        mirror: the mean of the maps of an image and of its mirror image, as the hourglass is tested.
        progress: called with (people done, people).
        share: (rank, processes): this process takes every so many-th person.
        gather: each process's rows (n, ...) -> everybody's (N, ...).
    """
    assemble, order = PersonTransform(preprocessing, split.names), mirrored(split.names)
    rows: list[Tensor] = []
    problems: list[Problem] = []
    total, start = 0.0, time.perf_counter()
    mine = range(share[0], len(split), share[1])
    with evaluating(net), torch.inference_mode():
        for done, index in enumerate(mine, start=1):
            try:
                image, person = split.read_pair(index)
            except ConvatlasError as error:
                problems.append(problem_of(split.name(index), error))
                continue
            source_image, truth = assemble(image, person, None)
            batch = normalise(source_image[None].to(device), preprocessing)
            maps = mean_with_mirror(net, batch, order) if mirror else net(batch)
            total += loss(maps, truth[None].to(device)).item()
            found = assemble.view(person).to_image(decode(maps.float().cpu(), stride=STRIDE).joints[0])
            length = torch.tensor([person.length_px])
            rows.append(normalised_distances(found[None], person.joints[None], person.marked[None], length))
            if progress is not None:
                progress(done, len(mine))
    distances = torch.cat(rows) if rows else torch.zeros(0, len(split.names), dtype=torch.float64)
    count = len(rows)
    if gather is not None:
        distances = gather(distances.to(device)).cpu()
        total, count = gather(torch.tensor([[total, count]], dtype=torch.float64, device=device)).sum(0).tolist()
    if count == 0:
        first = f"; the first: {problems[0].reason}" if problems else ""  # another process may have met them
        raise ConvatlasError(f"none of the {len(split)} images can be read{first}")
    return summarise(
        distances,
        total / count,
        split.names,
        time.perf_counter() - start,
        threshold=THRESHOLDS[split.measure],
        measure=split.measure,
        problems=(*split.problems, *(problem for problem in problems if problem not in split.problems)),
        protocol="one view and its mirror image" if mirror else "one view",
    )
