"""Images whose label is probably wrong: what a classifier says of an image when it has not learned its label.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70, 2021; the ranking
is cleanlab's. Probabilities are out of sample: of each fold by a model that was fitted to the other folds.
"""

import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from convatlas.data import DataSet, LabelAssembly, Loader, Split
from convatlas.data.validation import fold_of
from convatlas.errors import ConvatlasError, UsageError
from convatlas.evaluation import OneCrop
from convatlas.inference.source import Source
from convatlas.records import Evaluation, Problem
from convatlas.training import fit
from convatlas.training.recipe import Recipe

Way = Literal["probe", "retrain"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class LabelIssue:
    """An image that another class would suit better."""

    split: str  # "train", "val" or "test"
    index: int  # in its split
    path: str  # or its place in the source
    label: str
    suggested: str
    label_probability: float  # out of sample
    suggested_probability: float


@dataclass(frozen=True)
class LabelIssues:
    """The most suspicious first."""

    issues: tuple[LabelIssue, ...]
    images: int  # that were looked at
    accuracy: float  # of the out-of-sample predictions, against the labels
    way: Way
    folds: int
    problems: tuple[Problem, ...]


def find_label_issues(
    source: Source,
    dataset: DataSet,
    *,
    way: Way = "probe",
    folds: int = 5,
    device: str | torch.device = "cpu",
    on_progress: Progress | None = None,
) -> LabelIssues:
    """Finds images whose label is probably wrong, in all splits of a data set.

    Args:
        source: a trained classifier, from a run.
        dataset: the data that it was trained on, or others with the same classes.
        way: "probe" fits a linear classifier to what the network's last layer sees, which takes seconds; the network
            itself has learned the labels of its training split, so that errors to which it is overfitted are missed.
            "retrain" trains the run's recipe anew for each fold of the training split; of the others, which the run
            has not learned from, the run's own network tells.
        folds: how many parts the images are dealt out to.
        device: the network is moved there.
        on_progress: called with (done, all): images, or folds.

    Raises:
        UsageError: no classifier, other classes, fewer than two folds, or no recipe to retrain by.
        ConvatlasError: cleanlab is not installed.
    """
    if source.task != "classification":
        raise UsageError(f"{source.name} is for {source.task}; labels of images are for classification")
    if source.classes != dataset.classes:
        raise UsageError(f"{dataset.name} has other classes than the network; expected the data that it was trained on")
    if folds < 2:
        raise UsageError(f"folds is {folds}; expected at least 2")
    rank = _cleanlab()
    splits = {name: split for name, split in (("train", dataset.train), ("val", dataset.val), ("test", dataset.test))
              if split is not None}  # fmt: skip
    if way == "retrain" and source.recipe is None:
        raise UsageError("retrain needs a recipe; expected a run folder")
    seen = _look(source, splits, device, on_progress)  # damaged images are no longer in the splits
    labels, places = seen.labels, seen.places
    if way == "retrain" and source.recipe is not None:
        probabilities = seen.probabilities
        probabilities[: len(dataset.train)] = _retrained(source.recipe, dataset, folds, device, on_progress)
    else:
        seed = source.recipe.seed if source.recipe is not None else 0
        probabilities = _probed(seen.vectors, labels, len(dataset.classes), folds, seed)
    ranked = rank(labels, probabilities)
    issues = tuple(_issue(splits, places[row], labels[row], probabilities[row], dataset.classes) for row in ranked)
    problems = tuple(dict.fromkeys(problem for split in splits.values() for problem in split.problems))
    accuracy = float((probabilities.argmax(1) == labels).mean())
    return LabelIssues(issues, len(labels), accuracy, way, folds, problems)


def _cleanlab() -> Callable[[np.ndarray, np.ndarray], Sequence[int]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from cleanlab.filter import find_label_issues as issues
    except ImportError as error:
        raise ConvatlasError("cleanlab is not installed; do `pip install 'convatlas[labels]'`") from error

    def rank(labels: np.ndarray, probabilities: np.ndarray) -> Sequence[int]:
        with warnings.catch_warnings():  # of classes without an image
            warnings.simplefilter("ignore")
            found: object = issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
        return [int(row) for row in found]

    return rank


def _issue(
    splits: dict[str, Split], place: tuple[str, int], label: int, row: np.ndarray, classes: Sequence[str]
) -> LabelIssue:
    name, index = place
    others = row.copy()
    others[label] = -1.0
    best = int(others.argmax())
    path = splits[name].name(index)
    return LabelIssue(name, index, path, classes[label], classes[best], float(row[label]), float(row[best]))


@dataclass(frozen=True)
class _Seen:
    """What the run's own network makes of the images."""

    vectors: np.ndarray  # (N, D): what its last layer with weights sees
    probabilities: np.ndarray  # (N, K) float64
    labels: np.ndarray  # (N,)
    places: list[tuple[str, int]]  # split and index


def _look(source: Source, splits: dict[str, Split], device: str | torch.device, on_progress: Progress | None) -> _Seen:
    net, inputs_seen = source.net.to(device).eval(), []
    layer = _last_layer(net)
    hook = None if layer is None else layer.register_forward_pre_hook(lambda _, inputs: inputs_seen.append(inputs[0]))
    vectors, outputs_of, labels = [], [], []
    places: list[tuple[str, int]] = []
    loaders = {name: Loader(LabelAssembly(split, source.preprocessing), batch_size=64, device=device)
               for name, split in splits.items()}  # fmt: skip
    total = sum(map(len, splits.values()))
    try:
        with torch.inference_mode():
            for name, loader in loaders.items():
                for batch in loader.epoch(0):
                    inputs_seen.clear()
                    outputs = net(batch.images)
                    found = inputs_seen[-1] if inputs_seen else outputs
                    vectors.append(found.flatten(2).mean(2).cpu() if found.ndim > 2 else found.cpu())
                    outputs_of.append(outputs.double().softmax(1).cpu())
                    labels.append(batch.labels.cpu())
                    places += [(name, index) for index in batch.indices.tolist()]
                    if on_progress:
                        on_progress(len(places), total)
    finally:
        if hook is not None:
            hook.remove()
    features = torch.cat(vectors).float().numpy()
    return _Seen(features, torch.cat(outputs_of).numpy(), torch.cat(labels).numpy(), places)


def _last_layer(net: nn.Module) -> nn.Module | None:
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    return layers[-1] if layers else None


def _probed(vectors: np.ndarray, labels: np.ndarray, num_classes: int, folds: int, seed: int) -> np.ndarray:
    """Probabilities of each fold by a logistic regression that was fitted to the others: (N, D), (N,) -> (N, K)"""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    part = fold_of(torch.from_numpy(labels), folds, seed).numpy()
    probabilities = np.full((len(labels), num_classes), 1e-6)
    for fold in range(folds):
        rest, own = part != fold, part == fold
        if not own.any() or len(np.unique(labels[rest])) < 2:
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
        with warnings.catch_warnings():  # a probe that has not converged is good enough
            warnings.simplefilter("ignore")
            model.fit(vectors[rest], labels[rest])
        probabilities[np.ix_(own, model.classes_)] += model.predict_proba(vectors[own])
    return probabilities / probabilities.sum(1, keepdims=True)


def _retrained(
    recipe: Recipe, dataset: DataSet, folds: int, device: str | torch.device, on_progress: Progress | None
) -> np.ndarray:
    """Probabilities of the training split, of each fold by a network that has learned from the others by the recipe."""
    part = fold_of(dataset.train.labels, folds, recipe.seed)
    probabilities = np.zeros((len(part), len(dataset.classes)))
    alone = replace(recipe, keep="last", stop=None, test_time=OneCrop())
    for fold in range(folds):
        if on_progress:
            on_progress(fold, folds)
        rest, own = (dataset.train.select(chosen.nonzero()[:, 0].tolist()) for chosen in (part != fold, part == fold))
        with tempfile.TemporaryDirectory() as folder:
            fold_data = DataSet(dataset.name, rest, own, dataset.classes, dataset.source)
            trained = fit(alone, fold_data, Path(folder) / "run", device=str(device))
        assert isinstance(trained.evaluation, Evaluation)
        probabilities[(part == fold).numpy()] = trained.evaluation.probabilities.double().numpy()
    return probabilities
