"""`convatlas.evaluate`, `explain` and `export`: a trained network on data, opened up, and as a file."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from convatlas import inference
from convatlas.api.arguments import suggest_arguments
from convatlas.api.loaded import open_loaded
from convatlas.api.pages import Page
from convatlas.api.progress import show_progress
from convatlas.errors import UsageError
from convatlas.evaluation.detector import Protocol
from convatlas.evaluation.protocols import named
from convatlas.inference.evaluate import evaluate_source
from convatlas.inference.exporting import Exported, Format
from convatlas.inference.images import Images, MemoryImage, collect_images
from convatlas.inference.opening import resolve_device
from convatlas.inference.quantise import Quantised
from convatlas.inference.tasks import score
from convatlas.inference.trained import TrainedNetwork
from convatlas.records import AnyEvaluation, Problem
from convatlas.report import seeing
from convatlas.report.image_uris import as_array

PathLike = str | os.PathLike[str]
RULES: dict[str, Protocol] = {"voc07": "voc07", "voc10": "voc10", "coco": "coco"}


@suggest_arguments
def evaluate(
    network: TrainedNetwork | PathLike,
    data: PathLike | None = None,
    *,
    protocol: str | None = None,
    scales: Sequence[int] = (),
    data_root: PathLike | None = None,
    batch_size: int = 256,
    device: str = "auto",
    progress: bool = True,
) -> AnyEvaluation:
    """Scores a trained network on the test split of a data set.

    Args:
        network: of `load` or `train`, or a run folder.
        data: a data set with the network's classes, or some of them; None: the run's own.
        protocol: how each image is looked at. Classifiers: "1-crop", "10-crop", "12-crop", "144-crop", "grid", "dense";
            None: the recipe's. Detectors: "voc07", "voc10", "coco".
        scales: lengths of the short side, for a classifier's protocol.
        data_root: where known data sets lie.
        batch_size: views of a forward pass, of a classifier.
        device: "auto", "cpu", "cuda", "cuda:1" ...
        progress: show how far it is, in a terminal or a notebook.

    Returns:
        `Evaluation`, `SegmentationEvaluation`, `DetectionEvaluation` or `PoseEvaluation`; all have `error`, `loss`,
        `classes`, `problems` and `scores()`.

    Raises:
        UsageError: data or classes that do not suit the network, or a protocol of another task.

    >>> import convatlas
    >>> evaluation = convatlas.evaluate(RUN, progress=False)
    >>> len(evaluation.labels), 0 <= evaluation.error <= 1
    (359, True)
    """
    trained = open_loaded(network)
    spec = None if data is None else os.path.expanduser(data)
    root = None if data_root is None else Path(data_root).expanduser()
    where = resolve_device(device)
    if trained.task == "classification":
        views = named(protocol, tuple(scales)) if protocol else None
        with show_progress("Evaluating", shown=progress) as step:
            return evaluate_source(
                trained, spec, protocol=views, root=root, batch_size=batch_size, device=where, on_progress=step
            )[1]
    if trained.task == "detection":
        return _evaluate_boxes(trained, spec, root, protocol, device, progress)
    if protocol is not None:
        raise UsageError(
            f"protocol is {protocol!r}; {trained.name} is for {trained.task}, which has none: leave it out"
        )
    return score(trained, spec, root=root)[1]


def _evaluate_boxes(
    trained: TrainedNetwork, spec: str | None, root: Path | None, protocol: str | None, device: str, progress: bool
) -> AnyEvaluation:
    if protocol is not None and protocol not in RULES:
        raise UsageError(f"protocol is {protocol!r}; expected {', '.join(RULES)} for a detector")
    rules = RULES[protocol or "voc10"]
    with show_progress("Evaluating", shown=progress) as step:
        where = resolve_device(device)
        return inference.evaluate_boxes(trained, spec, protocol=rules, root=root, device=where, on_progress=step)[1]


@dataclass(frozen=True)
class Explanation(Page):
    """The page, with the panels that are on it; each has a matplotlib `figure`, a `caption` and `numbers`."""

    panels: tuple[seeing.Panel, ...]
    problems: tuple[Problem, ...]  # images that can't be read, and methods that this network can't have


@suggest_arguments
def explain(
    network: TrainedNetwork | PathLike,
    *images: Images,
    methods: Sequence[str] = ("all",),
    layer: str | None = None,
    target: str | int | None = None,
    data: str | None = None,
    data_root: PathLike | None = None,
    out: PathLike | None = None,
    limit: int | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Explanation:
    """Shows what a network looks at: deconvnet, occlusion, saliency, Grad-CAM, strongest patches and more.

    Args:
        network: of `load` or `train`, or a run folder.
        images: one or many, as for `predict`.
        methods: names of `convatlas explain --help`, or "all".
        layer: a module path; None: each method's own choice.
        target: the class to ask about, by name or number; None: the most probable.
        data: images for the methods that look at many, and without `images` for the others; None: the run's own.
        data_root: where known data sets lie.
        out: a folder, or a page that ends in .html; None: explain/ in the run, or explain-<network>.
        limit: images that are looked at one by one; None: 8 of `images`, 3 of data.
        device: "auto", "cpu", "cuda", "cuda:1" ...
        progress: show how far it is, in a terminal or a notebook.

    Raises:
        UsageError: an unknown method, class or layer, or nothing to look at.
        ConvatlasError: none of the images can be read.

    >>> import convatlas, numpy as np
    >>> image = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    >>> page = convatlas.explain(RUN, image, methods=["gradcam"], out=OUT, progress=False)
    >>> [panel.method for panel in page.panels]
    ['gradcam']
    """
    question = seeing.Question(
        methods=tuple(methods), layer=layer, target=target, data=data, limit=limit,
        data_root=None if data_root is None else Path(data_root).expanduser(),
    )  # fmt: skip
    seeing.choose_methods(question.methods)
    trained: TrainedNetwork = open_loaded(network)
    where = resolve_device(device)
    default = trained.run / "explain" if trained.run else Path(f"explain-{trained.name}")
    place = Path(out).expanduser() if out is not None else default
    files, unreadable = _as_files(images, place)
    with show_progress("Looking", shown=progress) as step:
        seen = seeing.look(trained, files, question, device=where, unreadable=unreadable, on_progress=step)
    if not seen.panels:
        reason = f": {seen.problems[0].path}: {seen.problems[0].reason}" if seen.problems else ""
        raise UsageError(f"images show nothing that these methods can explain{reason}")
    page = seeing.write(place, seen.source, seen.subjects, seen.panels, seen.problems)
    return Explanation(page, tuple(seen.panels), tuple(seen.problems))


def _as_files(images: tuple[Images, ...], place: Path) -> tuple[list[Path], list[Problem]]:
    """The images as files; those in memory are written beside the page."""
    readable, problems = collect_images([*images])  # pyright: ignore[reportArgumentType] - nested lists are read too
    folder = (place.parent if place.suffix.lower() in (".html", ".htm") else place) / "images"
    files: list[Path] = []
    for number, image in enumerate(readable):
        if isinstance(image, MemoryImage):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"image_{number:03}.png"
            Image.fromarray(as_array(image.pixels)).save(path)
            files.append(path)
        else:
            files.append(image)
    return files, problems


@suggest_arguments
def export(
    network: TrainedNetwork | PathLike,
    out: PathLike,
    *,
    format: Format = "onnx",  # noqa: A002 - the word for it
    pixels: bool = False,
    calibration: Images | None = None,
    licence: str | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> Exported:
    """Writes a trained network as a file for other programs, and a program of a few lines that runs it.

    The file is run and compared with the network before it gets its name. Beside an ONNX file lies
    `<name>_predict.py`, which needs onnxruntime, numpy and Pillow, and neither torch nor this package.

    Args:
        network: of `load` or `train`, or a run folder.
        out: ends in .onnx, .pt2 or .pt, as the format asks.
        format: "onnx", "torch-export" or "torchscript".
        pixels: put normalisation and channel order inside, so that uint8 RGB goes in.
        calibration: images like those to come, as for `predict`: quantise to eight bits with their ranges.
        licence: of the weights, for the card.
        thresholds: arguments of a detector's `detect`, which are then fixed; None: the paper's.

    Raises:
        UsageError: an unknown format, another ending, or thresholds that the network does not have.
        ConvatlasError: a package is missing, the network can't be expressed, or the file computes something else.

    >>> import convatlas
    >>> exported = convatlas.export(RUN, OUT + "/net.onnx")
    >>> exported.format, exported.difference < 1e-4
    ('onnx', True)
    """
    trained, path = open_loaded(network), Path(out).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    if calibration is None:
        return inference.export(trained, path, format=format, pixels=pixels, licence=licence, thresholds=thresholds)
    if format != "onnx":
        raise UsageError(f"format is {format!r}; expected onnx with calibration images")
    quantised: Quantised = inference.quantise(trained, path, calibration, pixels=pixels, licence=licence)
    return quantised.exported
