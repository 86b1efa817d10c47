"""`convatlas.train` and `convatlas.recipe`."""

import html
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from convatlas import registry, report, training
from convatlas.api.arguments import suggest_arguments
from convatlas.api.loaded import LoadedNetwork, load
from convatlas.api.pages import Page
from convatlas.api.progress import NotebookElement, in_notebook, progress_html
from convatlas.api.rows import Cell, html_table
from convatlas.errors import ConvatlasError
from convatlas.inference.opening import usual_preprocessing
from convatlas.inference.tasks import score
from convatlas.records import SCORES, AnyEvaluation
from convatlas.terminal.epochs import epoch_display
from convatlas.training.asked import Asked
from convatlas.training.loop import Progress
from convatlas.training.plan import check_start, prepare
from convatlas.training.recipe import Recipe
from convatlas.training.run import RunFolder

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class TrainedRun(LoadedNetwork):
    """A finished run: the network with the weights that were kept, and how good it is on the test split.

    `run` is the run folder, `evaluation` the score, `predict` looks at images.
    """

    evaluation: AnyEvaluation
    seconds: float  # training, and testing after each epoch

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, one an epoch."""
        return RunFolder(self._folder()).rows()

    def report(self) -> Page:
        """The report of the run, which is written where it is absent."""
        page = self._folder() / "report.html"
        if not page.is_file():
            dataset, evaluation = score(self)
            report.write(self._folder(), evaluation, dataset.test)
        return Page(page)

    def _folder(self) -> Path:
        if self.run is None:
            raise ConvatlasError(f"{self.name} comes from no run folder; expected one of train()")
        return self.run

    def __str__(self) -> str:
        reached = ", ".join(f"{name} {100 * value:.2f}%" for name, value in _scores(self.evaluation).items())
        count = len(self.evaluation.problems)
        unread = f", {count} {'image' if count == 1 else 'images'} not read" if count else ""
        return f"{self.name}, {reached}, {self.seconds:.0f} s{unread}: {self.run}"

    def _repr_html_(self) -> str:
        table = html_table([_epoch_row(row) for row in self.metrics()])
        problems = html_table([{"not read": one.path, "why": one.reason} for one in self.evaluation.problems])
        return f"<p>{html.escape(str(self))}</p>{table}{problems if self.evaluation.problems else ''}"


@suggest_arguments
def train(
    network: str,
    *,
    data: str | PathLike = "digits",
    recipe: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    weights: PathLike | None = None,
    out: PathLike | None = None,
    val_fraction: float | None = None,
    fraction: float | None = None,
    size: str | int | None = None,
    balance: bool = False,
    class_weights: str | None = None,
    early_stopping: int | None = None,
    scale_lr: bool = False,
    trackers: Sequence[str] = (),
    settings: Mapping[str, str | int | float | bool] | None = None,
    data_root: PathLike | None = None,
    test_data: PathLike | None = None,
    download: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    workers: int = 2,
    write_report: bool = True,
    progress: bool = True,
) -> TrainedRun:
    """Trains a network and leaves a run folder, as `convatlas train` does.

    Args:
        network: a name or an alias.
        data: the name of a known data set, or a folder, list or file, as for `convatlas train --data`.
        recipe: "published", "modern", another variant of the network, or the recipe.toml of a run. None: the
            published one, or transfer with `weights`.
        epochs: None: the recipe's.
        batch_size: images of a step; None: the recipe's.
        lr: the learning rate; None: the recipe's.
        seed: of the initialisation, the order and the augmentation; None: the recipe's.
        weights: a weights file to start from.
        out: the run folder; None: runs/<network>-<data>-<time>.
        val_fraction: part of the training split that epochs are compared on.
        fraction: part of the training split that is used.
        size: another input size, 160 or "360x480" (height x width).
        balance: show every class equally often.
        class_weights: of the loss: "balanced", for masks also "median_frequency" or "inverse_log", or "1,2.5".
        early_stopping: end after so many epochs without a lower error, and keep the best epoch.
        scale_lr: scale the recipe's learning rate in proportion to `batch_size`.
        trackers: "mlflow", "wandb", besides TensorBoard's events in the run folder.
        settings: fields of the recipe by their path, {"optimizer.momentum": 0.8}.
        data_root: where known data sets lie.
        test_data: another source of the test split.
        download: fetch a known data set that is not there.
        overwrite: replace an earlier run in `out`.
        device: "auto", "cpu", "cuda", "cuda:1" ...
        workers: processes that decode images which do not fit in memory.
        write_report: write report.html into the run folder.
        progress: show how far it is, in a terminal, a notebook or as a line for each epoch.

    Returns:
        The trained network with its evaluation and its run folder; `report()` shows its report in a notebook.

    Raises:
        UsageError: an unknown name, recipe or argument, data that do not suit the network, or a folder in use.
        ConvatlasError: the loss is no longer finite, or the disk is full.

    >>> import convatlas
    >>> run = convatlas.train("caffe_lenet", data="digits", epochs=1, out=OUT, progress=False)
    >>> run.evaluation.top1_error < 0.9, len(run.metrics())
    (True, 1)
    """
    asked = Asked(
        network=network,
        recipe=recipe,
        weights=_path(weights),
        data=os.fspath(data),
        test_data=None if test_data is None else os.fspath(test_data),
        val_fraction=val_fraction,
        fraction=fraction,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        scale_lr=scale_lr,
        size=None if size is None else str(size),
        balance=balance,
        class_weights=class_weights,
        early_stopping=early_stopping,
        seed=seed,
        settings=tuple(f"{field}={value}" for field, value in (settings or {}).items()),
    )
    plan, where = prepare(asked, _path(data_root)), None if device == "auto" else device
    place = _path(out)
    check_start(place, device=where, trackers=trackers, overwrite=overwrite)
    chosen, loaded = plan.load(download=download)
    folder = place or _new_folder(chosen.network, loaded.name)
    with _display(chosen.epochs, shown=progress) as display:
        trained = training.fit(
            chosen,
            loaded,
            folder,
            device=where,
            workers=workers,
            overwrite=overwrite,
            trackers=trackers,
            on_loading=display.loading,
            on_progress=display.step,
            on_epoch=display.epoch,
            on_note=display.note,
        )
    if write_report:
        report.write(folder, trained.evaluation, loaded.test)
    opened = load(folder)
    return TrainedRun(
        opened.net, opened.name, opened.classes, opened.preprocessing, opened.run, opened.recipe,
        opened.named_classes, opened.aliases, opened.colours, evaluation=trained.evaluation, seconds=trained.seconds,
    )  # fmt: skip


@suggest_arguments
def recipe(network: str, variant: str | None = None) -> Recipe:
    """A training recipe as a typed value: optimizer, schedule, loss, augmentation, source and expected result.

    Args:
        network: a name or an alias.
        variant: "published", "modern" or another of the network's; None: the published one, else the modern one.

    Raises:
        UsageError: an unknown network or variant; the message lists the network's.

    >>> import convatlas
    >>> convatlas.recipe("resnet50").optimizer.momentum
    0.9
    """
    card = registry.card(network)
    variant = variant or training.variants(card.name)[0]
    return training.find(card.name, variant, preprocessing=usual_preprocessing(card))


class _Display(Protocol):
    def loading(self, done: int, total: int) -> None: ...
    def step(self, now: Progress) -> None: ...
    def epoch(self, row: dict[str, Any]) -> None: ...
    def note(self, sentence: str) -> None: ...


class _NotebookDisplay:
    """A bar, and a table with a row for each epoch, drawn anew in one place."""

    def __init__(self, epochs: int) -> None:
        self._epochs, self._bar, self._table = epochs, NotebookElement(), NotebookElement()
        self._rows: list[dict[str, Cell]] = []

    def loading(self, done: int, total: int) -> None:
        self._bar.draw(progress_html("reading images", done, total))

    def step(self, now: Progress) -> None:
        words = f"epoch {now.epoch} of {now.epochs}, loss {now.loss:.4f}, {now.images_per_s:,.0f} images/s, step"
        self._bar.draw(progress_html(words, (now.epoch - 1) * now.steps + now.step, now.epochs * now.steps))

    def epoch(self, row: dict[str, Any]) -> None:
        self._rows.append(_epoch_row(row))
        self._table.draw(html_table(self._rows))
        if row["epoch"] == self._epochs:
            self._bar.draw("")

    def note(self, sentence: str) -> None:
        self._bar.draw(html.escape(sentence))


@contextmanager
def _display(epochs: int, *, shown: bool) -> Iterator[_Display]:
    if shown and in_notebook():
        yield _NotebookDisplay(epochs)
        return
    with epoch_display(epochs, quiet=not shown) as display:
        yield display


def _epoch_row(row: Mapping[str, Any]) -> dict[str, Cell]:
    """What a person wants to see of a row of metrics.jsonl."""
    names = ("epoch", "train_loss", "test_loss", "train_error", "test_error", *SCORES, "images_per_s", "seconds")
    return {name.replace("_", " "): row[name] for name in names if name in row}


def _scores(evaluation: AnyEvaluation) -> dict[str, float]:
    scores = evaluation.scores()
    return {SCORES.get(name, name): value for name, value in scores.items()} or {"test error": evaluation.error}


def _path(path: PathLike | None) -> Path | None:
    return None if path is None else Path(path).expanduser()


def _new_folder(network: str, data: str) -> Path:
    """runs/<network>-<data>-<time>, with a number where two begin in one second."""
    base = Path("runs") / f"{network}-{data}-{datetime.now():%Y%m%d-%H%M%S}"
    folder, number = base, 2
    while folder.exists():
        folder, number = base.with_name(f"{base.name}-{number}"), number + 1
    return folder
