"""Evaluating a trained network again, on the data of its run or on others with the same classes."""

from collections.abc import Callable
from pathlib import Path

import torch

from convatlas import data, evaluation
from convatlas.inference.source import Source
from convatlas.structures import ConvatlasError, Evaluation, UsageError
from convatlas.training.losses import CrossEntropy, per_sample


def evaluate_source(
    source: Source,
    spec: str | None = None,
    *,
    root: Path | None = None,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[data.DataSet, Evaluation]:
    """Runs the test part of a data set through the network; gives the data set and the result.

    Args:
        source: from `open_source`.
        spec: as for `data.load`; None takes the run's own data, split as the run split them.
        root: where known data sets lie.
        batch_size: pictures per forward pass.
        device: the network is moved there.
        on_progress: called with (batches done, batches).

    Raises:
        UsageError: no data named and none known, or data with other classes.
    """
    recipe = source.recipe
    if spec is None and recipe is None:
        raise UsageError("--data is absent and the network comes from no run; expected a data set or a folder")
    if spec is None and recipe is not None:
        known = recipe.data
        where = root or (Path(known.root) if known.root else None)
        dataset = data.load(
            known.spec, root=where, test=known.test, test_fraction=known.test_fraction, seed=recipe.seed
        )
    else:
        dataset = data.load(spec or "", root=root)
    if len(dataset.classes) != len(source.classes) or (source.named_classes and dataset.classes != source.classes):
        raise UsageError(
            f"--data {dataset.name} has {describe(dataset.classes)}; "
            f"{source.name} was trained for {describe(source.classes)}"
        )
    if len(dataset.test) == 0:
        raise ConvatlasError(f"--data {dataset.name} has no test pictures")
    where = torch.device(device)
    loader = data.Loader(dataset.test, source.preprocessing, batch_size=batch_size, shuffle=False, device=where)
    loss = recipe.loss if recipe is not None else CrossEntropy()
    return dataset, evaluation.evaluate(
        source.net.to(where), loader, classes=dataset.classes, loss=per_sample(loss), device=where, progress=on_progress
    )


def describe(classes: tuple[str, ...]) -> str:
    shown = ", ".join(classes[:4])
    return f"{len(classes)} classes ({shown}{', ...' if len(classes) > 4 else ''})"
