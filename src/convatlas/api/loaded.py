"""A trained network with the verbs of its task as methods."""

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar, cast

from convatlas.api.arguments import suggest_arguments
from convatlas.api.predictions import Predictions
from convatlas.api.progress import show_progress
from convatlas.errors import UsageError
from convatlas.inference.boxes import BoxPrediction
from convatlas.inference.classes import with_classes
from convatlas.inference.images import Images
from convatlas.inference.maps import MaskPrediction
from convatlas.inference.opening import open_source, resolve_device
from convatlas.inference.poses import PosePrediction
from convatlas.inference.tasks import TASKS, AnyPrediction, Looking
from convatlas.inference.trained import TrainedNetwork
from convatlas.records import Prediction, Problem, Task

P = TypeVar("P", bound=AnyPrediction)
PathLike = str | os.PathLike[str]
_USUAL = asdict(Looking())


@dataclass(frozen=True)
class LoadedNetwork(TrainedNetwork):
    """A trained network that looks at images: files, folders, patterns, bytes, PIL images, arrays or tensors.

    Arrays are (H, W), (H, W, C) or (N, H, W, C); tensors (H, W), (C, H, W) or (N, C, H, W); 8-bit integers are 0 to
    255, floats 0 to 1. Give images as they are: resizing and normalisation are the network's own.

    >>> import convatlas, numpy as np
    >>> net = convatlas.load(RUN)
    >>> predictions = net.predict(np.zeros((28, 28), dtype=np.uint8))
    >>> len(predictions), predictions.problems
    (1, ())
    """

    @suggest_arguments
    def predict(
        self,
        *images: Images,
        top_k: int = 5,
        batch_size: int = 32,
        engine: str = "auto",
        crf: bool = False,
        least_score: float | None = None,
        device: str = "auto",
        progress: bool = True,
    ) -> Predictions[Prediction | MaskPrediction | BoxPrediction | PosePrediction]:
        """Looks at images in the way of the network's task.

        Args:
            images: one or many, see the class.
            top_k: classes of an image, the most probable first; of a classifier.
            batch_size: images of a forward pass; of a classifier.
            engine: "auto", "eager", "fused", "compile", "onnxruntime" or "openvino"; of a classifier.
            crf: refine masks by the fully connected CRF; of a segmenter.
            least_score: boxes below it are left out, 0 to 1 (or a margin of SVMs); of a detector. None: 0.5 (or 0).
            device: "auto", "cpu", "cuda", "cuda:1" ...
            progress: show how far it is, in a terminal or a notebook.

        Returns:
            The predictions in the order of the images. An image that can't be read is in `problems` instead.

        Raises:
            UsageError: no image, one that can be read in two ways, or an option of another task.
        """
        how = Looking(
            top_k=top_k, batch_size=batch_size, engine=engine, crf=crf, least_score=least_score,
            device=str(resolve_device(device)),
        )  # fmt: skip
        return self._look(images, how, progress)

    @suggest_arguments
    def classify(
        self, *images: Images, top_k: int = 5, batch_size: int = 32, engine: str = "auto", device: str = "auto",
        progress: bool = True,
    ) -> Predictions[Prediction]:  # fmt: skip
        """The most probable classes of images; arguments and errors as `predict`."""
        self._check_task("classification")
        where = str(resolve_device(device))
        how = Looking(top_k=top_k, batch_size=batch_size, engine=engine, device=where)
        return cast(Predictions[Prediction], self._look(images, how, progress))

    @suggest_arguments
    def segment(
        self, *images: Images, crf: bool = False, device: str = "auto", progress: bool = True
    ) -> Predictions[MaskPrediction]:
        """A class for every pixel of images, each in its own size; arguments and errors as `predict`."""
        self._check_task("segmentation")
        how = Looking(crf=crf, device=str(resolve_device(device)))
        return cast(Predictions[MaskPrediction], self._look(images, how, progress))

    @suggest_arguments
    def detect(
        self, *images: Images, least_score: float | None = None, device: str = "auto", progress: bool = True
    ) -> Predictions[BoxPrediction]:
        """The objects on images, boxes in their pixels; arguments and errors as `predict`."""
        self._check_task("detection")
        how = Looking(least_score=least_score, device=str(resolve_device(device)))
        return cast(Predictions[BoxPrediction], self._look(images, how, progress))

    @suggest_arguments
    def find_poses(self, *images: Images, device: str = "auto", progress: bool = True) -> Predictions[PosePrediction]:
        """The joints of the person on each image, in its pixels; arguments and errors as `predict`."""
        self._check_task("pose")
        how = Looking(device=str(resolve_device(device)))
        return cast(Predictions[PosePrediction], self._look(images, how, progress))

    def _look(self, images: tuple[Images, ...], how: Looking, progress: bool) -> Predictions[AnyPrediction]:
        if not images:
            raise UsageError("images is empty; expected at least one file, folder, PIL image, array or tensor")
        verbs = TASKS[self.task]
        for name, value in asdict(how).items():
            if value != _USUAL[name] and name not in verbs.options | {"device", "on_progress"}:
                raise UsageError(f"{name} is not for {self.task}, which is the task of {self.name}; leave it out")
        predictions: list[AnyPrediction] = []
        problems: list[Problem] = []
        with show_progress("Looking", shown=progress) as step:
            for item in verbs.look(self, cast(Images, images), replace(how, on_progress=step)):
                problems.append(item) if isinstance(item, Problem) else predictions.append(item)
        return Predictions(tuple(predictions), tuple(problems), self.classes, self.colours)

    def _check_task(self, task: Task) -> None:
        if self.task != task:
            raise UsageError(f"{self.name} is for {self.task}, not {task}; expected {TASKS[self.task].verb}()")


@suggest_arguments
def load(source: PathLike, weights: PathLike | None = None, *, classes: PathLike | None = None) -> LoadedNetwork:
    """Opens a trained network.

    Args:
        source: a run folder of `train`, a .onnx file of `export`, or a network's name together with `weights`.
        weights: a weights file of any format that `convatlas weights import` reads.
        classes: a file with the names of the outputs, one a line or a table (.tsv, .csv) with a header.

    Returns:
        The network in evaluation mode with its classes and preprocessing; `predict` looks at images.

    Raises:
        UsageError: neither a run folder nor a name, or a name without weights.
        ConvatlasError: a run folder that is incomplete or of another version, or weights that do not fit.

    >>> import convatlas
    >>> net = convatlas.load(RUN)
    >>> net.name, net.task, len(net.classes)
    ('lenet5', 'classification', 10)
    """
    path = None if weights is None else Path(weights).expanduser()
    return with_verbs(open_source(_spell(source), path), classes)


def with_verbs(trained: TrainedNetwork, classes: PathLike | None = None) -> LoadedNetwork:
    """The record with methods, and with the names of a file for its classes."""
    if classes is not None:
        trained = with_classes(trained, Path(classes).expanduser())
    if isinstance(trained, LoadedNetwork):
        return trained
    return LoadedNetwork(
        trained.net, trained.name, trained.classes, trained.preprocessing, trained.run, trained.recipe,
        trained.named_classes, trained.aliases, trained.colours,
    )  # fmt: skip


def _spell(source: PathLike) -> str:
    text = os.fspath(source)
    return str(Path(text).expanduser()) if text.startswith("~") else text


def open_loaded(source: "TrainedNetwork | PathLike") -> LoadedNetwork:
    """What is loaded already, or what a path or a name opens."""
    return with_verbs(source) if isinstance(source, TrainedNetwork) else load(source)
