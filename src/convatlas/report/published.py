"""Which of the printed results a run may be laid beside, and what to say about the comparison."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from convatlas.facts import comparable
from convatlas.records import Evaluation, PublishedResult
from convatlas.report.tables import error_interval, plural
from convatlas.training.recipe import Recipe
from convatlas.training.recipes import PUBLISHED

SETTINGS = ("optimizer", "schedule", "batch_size", "loss", "augment", "groups", "averaging", "clip", "auxiliary_weight")


class Beside(NamedTuple):
    """A run and the printed result that is laid beside it."""

    result: PublishedResult | None
    same_data: bool
    sentence: str  # what the two numbers have in common
    same_protocol: bool = False

    @property
    def comparable(self) -> bool:
        """Whether the two numbers answer the same question."""
        return self.result is not None and self.same_data and self.same_protocol


class PrintedRow(Protocol):
    """A row of the ledger's results, as `convatlas.facts` holds it."""

    @property
    def value(self) -> str: ...
    @property
    def confidence(self) -> str: ...


def beside(
    evaluation: Evaluation, recipe: Recipe, metrics: Sequence[Mapping[str, Any]], dataset: str | None = None
) -> Beside:
    """The printed result for a finished run.

    Args:
        metrics: the rows of metrics.jsonl.
        dataset: its name; by default from the recipe.
    """
    dataset = dataset or dataset_name(recipe)
    result = nearest(published_results(recipe.network, recipe), dataset, evaluation.protocol)
    sentence = compare(
        result,
        recipe,
        dataset=dataset,
        protocol=evaluation.protocol,
        train_images=metrics[0].get("images") if metrics else None,
        epochs=len(metrics),
        interval=error_interval(evaluation),
    )
    if result is None:
        return Beside(None, same_data=False, sentence=sentence)
    return Beside(result, same_data(dataset, result), sentence, same_protocol(result, evaluation.protocol))


def dataset_name(recipe: Recipe) -> str:
    """ "mnist" of "/data/mnist_train.npz"."""
    return Path(recipe.data.spec).stem.removesuffix("_train")


def published_results(network: str, recipe: Recipe | None = None) -> tuple[PublishedResult, ...]:
    """Of the run's recipe, or of the network's published one where that has none (`modern`, or no run)."""
    if recipe is not None and recipe.results:
        return recipe.results
    published = PUBLISHED.get((network, "published"))
    return published.results if published is not None else ()


def nearest(results: Sequence[PublishedResult], dataset: str, protocol: str) -> PublishedResult | None:
    """The first result on this data by this protocol, else the first on this data, else the first of all.

    One that was printed for another network comes after those of the very network.
    """
    comparable = [result for result in results if result.top1_error is not None]
    comparable.sort(key=lambda result: bool(result.printed_for))
    same = [result for result in comparable if same_data(dataset, result)]
    alike = [result for result in same or comparable if same_protocol(result, protocol)]
    return next(iter((*alike, *same, *comparable)), None)


def confidence(result: PublishedResult, rows: Iterable[PrintedRow]) -> str:
    """How sure the ledger is of a printed error; "" where it does not hold it."""
    number = re.compile(rf"(?<![\d.]){re.escape(result.top1_error or '')}(?!\d)")
    return next((row.confidence for row in rows if number.search(row.value)), "")


def same_data(dataset: str, published: PublishedResult) -> bool:
    """ "mnist" is "MNIST test", and "cifar10" is not "CIFAR-100 test"."""
    return comparable.same_data(dataset, published.data)


def same_protocol(published: PublishedResult, protocol: str) -> bool:
    return comparable.views(published.protocol) == comparable.views(protocol)


def compare(
    published: PublishedResult | None,
    recipe: Recipe,
    *,
    dataset: str,
    protocol: str,
    train_images: int | None,
    epochs: int,
    interval: tuple[float, float],
) -> str:
    """One honest sentence: what the printed and the reached number have in common.

    Args:
        protocol: by which the run was tested, as `Evaluation.protocol`.
        train_images: in each epoch.
        epochs: that were made.
        interval: of the reached error, as fractions.
    """
    amount = f" ({train_images:,} training images)" if train_images else ""
    here = f"{dataset}{amount}, {plural(epochs, 'epoch', 'epochs')}, {protocol}"
    if published is None or published.top1_error is None:
        return f"No printed test error of this network could be laid beside this run ({here})."
    setting = ", ".join(filter(None, (published.data, published.protocol)))
    if not same_data(dataset, published):
        return (
            f"The two numbers answer different questions: the paper's is for {setting}, this run's for {here}. "
            "They stand side by side for orientation only."
        )
    differences = [f"the paper's number is of {published.printed_for}"] if published.printed_for else []
    original = PUBLISHED.get((recipe.network, recipe.variant))
    if original is None:
        differences.append("by another recipe than the paper's")
    else:
        if changed := [field for field in SETTINGS if getattr(recipe, field) != getattr(original, field)]:
            differences.append(f"this run changed the published {' and '.join(changed)}")
        as_stated = original.stated_steps is not None and recipe.stated_steps == original.stated_steps
        if original.epochs != epochs and not as_stated:
            planned = plural(original.epochs, "epoch", "epochs")
            differences.append(f"the published recipe makes {planned}, this run {epochs:,}")
    if not same_protocol(published, protocol):
        theirs = ", ".join(comparable.views(published.protocol)) or "one view"
        differences.append(f"the paper tested by {theirs}, this run by {protocol}")
    if differences:
        return f"Same data, but {'; '.join(differences)}."
    low, high = interval
    error = float(published.top1_error) / 100
    if low <= error <= high:
        return f"The published error ({setting}) lies inside this run's 95% interval."
    side = "below" if high < error else "above"
    return f"This run's whole 95% interval lies {side} the published error ({setting})."
