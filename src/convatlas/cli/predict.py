"""`convatlas predict`: the classes of images, the masks of a segmenter, the boxes of a detector."""

import csv
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from convatlas.cli import predict_tasks
from convatlas.cli.arguments import complete_network, validate_folder
from convatlas.cli.common import csv_text, only_for, print_json, progress, say, warn, warn_of_choice
from convatlas.cli.tasks import TASKS
from convatlas.errors import UsageError
from convatlas.records import Prediction


def command(
    source: Annotated[
        str, typer.Argument(
            metavar="RUN|NAME|FILE.onnx", autocompletion=complete_network,
            help="A run, a network's name with --weights, or an export.",
        )
    ],
    inputs: Annotated[list[str] | None, typer.Argument(metavar="IMAGES", help="Files, folders or patterns.")] = None,
    weights: Annotated[Path | None, typer.Option(help="A weights file for a network's name.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="How many classes per image.")] = 5,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 32,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    engine: Annotated[
        str,
        typer.Option(help="auto (the fastest here: measured from 200 images on, and remembered), eager, fused, "
                     "compile, onnxruntime or openvino."),
    ] = "auto",
    video: Annotated[Path | None, typer.Option(help="Frames of a video file in place of images.")] = None,
    camera: Annotated[int | None, typer.Option(min=0, help="Frames of a camera, by number; Ctrl-C ends it.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Only every n-th frame.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV: a line for each class of an image.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="A folder for the masks of a segmenter and the images with what was found.")
    ] = None,
    crf: Annotated[bool, typer.Option("--crf", help="Refine a segmenter's masks by the fully connected CRF.")] = False,
    least_score: Annotated[
        float | None,
        typer.Option("--least-score", "--threshold", show_default="0.5, or margin 0",
                     help="Of a detector's boxes: 0 to 1, or a margin of SVMs. Of two classes, of images or pixels, "
                     "the second is taken from this probability on."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say which engine is taken, on standard error.")] = False,
) -> None:  # fmt: skip
    """The most probable classes of images, one line an image; of a segmenter the classes' shares, of a detector what
    it finds, with images to look at in --out.

    Damaged images are named on standard error and the rest goes on; the exit code is 1 only if none could be read.
    """
    validate_folder(out, "--out")
    check(inputs, video, camera, json)
    if every > 1 and video is None and camera is None:
        raise UsageError(f"--every {every} is for --video and --camera, whose frames it counts")
    from convatlas import inference
    from convatlas.inference.tasks import Looking

    opened = inference.open_source(source, weights)
    warn_of_choice(opened.notes)
    where = inference.resolve_device(device)
    only_for(opened, ("segmentation",), {"--crf": crf})
    moved = {"--engine": engine != "auto", "--video": video, "--camera": camera is not None, "--csv": as_csv}
    only_for(opened, ("classification",), moved)
    only_for(opened, ("segmentation", "detection", "pose"), {"--out": out})
    only_for(opened, ("classification", "segmentation", "detection"), {"--threshold": least_score is not None})
    if opened.task == "segmentation":
        check_probability(least_score)
    if (row_of := TASKS[opened.task].row_of) is not None:
        how = Looking(device=where, crf=crf, least_score=least_score)
        if not predict_tasks.predict(opened, inputs or [], out, row_of, how, json=json):
            raise typer.Exit(1)
        return
    decide = decision(opened.classes, least_score)
    say = warn if verbose else lambda _: None
    moving = video if video is not None else camera
    if moving is not None:
        frames = inference.read_frames(moving, opened.preprocessing, every=every)
        batch_size = batch_size if video is not None else 1  # a camera is watched while it runs
        chosen = inference.select_engine(
            opened, engine, images=None, batch_size=batch_size, device=where, on_engine=say
        )
        batches = inference.classify(opened, chosen, frames, top_k=top_k, batch_size=batch_size)
        predictions: Iterable[Prediction] = (decide(prediction) for found, _, _ in batches for prediction in found)
        problems = []
    else:
        with progress("Predicting") as step:
            predictions, problems = inference.predict(
                opened, inputs or [], top_k=top_k, batch_size=batch_size, device=where, engine=engine,
                on_progress=step, on_engine=say,
            )  # fmt: skip
        predictions = [decide(prediction) for prediction in predictions]
    if json:
        predictions = list(predictions)
        print_json({"network": opened.name, "predictions": [asdict(p) for p in predictions],
                    "problems": [asdict(p) for p in problems]})  # fmt: skip
        count = len(predictions)
    else:
        count = print_csv(predictions) if as_csv else print_lines(predictions)
    for problem in problems:
        warn(f"{problem.path}: {problem.reason}")
    if not count:
        raise typer.Exit(1)


def check(inputs: list[str] | None, video: Path | None, camera: int | None, json: bool) -> None:
    """Raises UsageError unless images come from one place and go to one format."""
    if [bool(inputs), video is not None, camera is not None].count(True) != 1:
        raise UsageError("expected one of: images, --video FILE, --camera NUMBER")
    if json and camera is not None:
        raise UsageError("--json is written at the end, and a camera has none; expected text or --csv")


def decision(classes: tuple[str, ...], threshold: float | None) -> Callable[[Prediction], Prediction]:
    """What a threshold makes of a prediction: the class that it decides for comes first."""
    from convatlas.evaluation.threshold import check_binary, decide_prediction

    if threshold is None:
        return lambda prediction: prediction
    check_binary(classes)
    check_probability(threshold)
    return lambda prediction: decide_prediction(prediction, classes, threshold)


def check_probability(threshold: float | None) -> None:
    """Raises UsageError for a threshold that no probability can be compared with."""
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"--threshold is {threshold}; expected a probability, 0 to 1")


def print_lines(predictions: Iterable[Prediction]) -> int:
    """A line an image as soon as it is known; gives the number of lines."""
    count = 0
    for prediction in predictions:
        count += 1
        ranked = zip(prediction.classes, prediction.probabilities, strict=True)
        said = ", ".join(f"{name} {100 * value:.1f}%" for name, value in ranked)
        say(f"{prediction.path}: {said}")
    return count


def print_csv(predictions: Iterable[Prediction]) -> int:
    """The columns path, rank, class, probability; gives the number of images."""
    writer: Any = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("path", "rank", "class", "probability"))
    count = 0
    for prediction in predictions:
        count += 1
        ranked = zip(prediction.classes, prediction.probabilities, strict=True)
        path = csv_text(prediction.path)
        writer.writerows((path, rank, csv_text(name), f"{value:.6f}") for rank, (name, value) in enumerate(ranked, 1))
        sys.stdout.flush()
    return count
