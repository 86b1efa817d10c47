"""Evaluating a trained network again, on the data of its run or on others with the same classes."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from convatlas import data, evaluation, registry
from convatlas.data.depths import give
from convatlas.errors import ConvatlasError, UsageError
from convatlas.evaluation import OneCrop, TestTime
from convatlas.inference.classes import describe, match_labels
from convatlas.inference.trained import TrainedNetwork
from convatlas.records import Evaluation
from convatlas.training.losses import CrossEntropy, per_sample
from convatlas.training.run import RunFolder


def evaluate_source(
    source: TrainedNetwork,
    spec: str | None = None,
    *,
    along: Sequence[TrainedNetwork] = (),
    protocol: TestTime | None = None,
    root: Path | None = None,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[data.DataSet, Evaluation]:
    """Runs the test part of a data set through the network; gives the data set and the result.

    Data without a test part are taken whole, but for the run's own, which are divided as they were for training.

    Args:
        source: from `open_source`.
        spec: as for `data.load`; None takes the run's own data, split as the run split them.
        along: networks with the same classes, whose probabilities are averaged in.
        protocol: how each image is looked at; None is the recipe's way for a run, and one crop for weights.
        root: where known data sets lie.
        batch_size: views per forward pass.
        device: the networks are moved there.
        on_progress: called with (done, all) for one network after another.

    Raises:
        UsageError: no data named and none known, data or networks with other classes, or a protocol that does not
            suit the images.
    """
    for other in along:
        if len(other.classes) != len(source.classes) or (other.named_classes and other.classes != source.classes):
            raise UsageError(
                f"{other.name} in {other.run} tells {describe(other.classes)} apart, {source.name} "
                f"{describe(source.classes)}; expected the same classes"
            )
    dataset = load_data(source, spec, root)
    match_labels(dataset.test, dataset.classes, source, dataset.name)
    if len(dataset.test) == 0:
        raise ConvatlasError(f"data {dataset.name} has no test images")
    # Unnamed outputs are called as the data call them.
    classes = source.classes if source.named_classes else dataset.classes
    results = [
        _evaluate(one, dataset.test, classes, protocol, batch_size, torch.device(device), on_progress)
        for one in (source, *along)
    ]
    return dataset, evaluation.average(results) if along else results[0]


def _evaluate(
    source: TrainedNetwork,
    test: data.Split,
    classes: tuple[str, ...],
    protocol: TestTime | None,
    batch_size: int,
    device: torch.device,
    on_progress: Callable[[int, int], None] | None,
) -> Evaluation:
    if protocol is None:
        protocol = source.recipe.test_time if source.recipe is not None else OneCrop()
    net, preprocessing = source.net.to(device), source.preprocessing
    common = {"classes": classes, "device": device, "progress": on_progress}
    if protocol == OneCrop():
        loss = source.recipe.loss if source.recipe is not None else CrossEntropy()
        loader = data.Loader(data.LabelAssembly(test, preprocessing), batch_size=batch_size, device=device)
        return evaluation.evaluate(net, loader, loss=per_sample(loss), **common)
    return evaluation.evaluate_views(net, test, preprocessing, protocol, batch_size=batch_size, **common)


def load_data(source: TrainedNetwork, spec: str | None, root: Path | None) -> data.DataSet:
    """The data set that is named, or the run's own; 16-bit images are read in the range of those trained on."""
    dataset = _load(source, spec, root)
    if source.preprocessing.max_sample is not None:
        give((dataset.test,), source.preprocessing.max_sample)
    return dataset


def _load(source: TrainedNetwork, spec: str | None, root: Path | None) -> data.DataSet:
    recipe = source.recipe
    card = registry.card(source.name)
    if spec is not None and (recipe is None or data.lasting(spec) != recipe.data.spec):
        return data.load(spec, root=root, test=spec, task=card.task, masks=card.traits.wants_masks)
    if recipe is None:
        raise UsageError("data is absent and the network comes from no run; expected data=SPEC, a data set or a folder")
    known = recipe.data
    where = root or (Path(known.root) if known.root else None)
    return data.load(
        known.spec,
        root=where,
        test=known.test,
        test_fraction=known.test_fraction,
        seed=recipe.seed,
        division=RunFolder(source.run).division() if source.run is not None else None,
        task=card.task,
        masks=card.traits.wants_masks,
    )
