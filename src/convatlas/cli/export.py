"""`convatlas export`: a trained network as a file for other programs."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from convatlas.cli.arguments import complete_network, make_parent, validate_output
from convatlas.cli.common import only_for, print_json, progress, say, warn
from convatlas.errors import UsageError

FORMATS = ("onnx", "torch-export", "torchscript")


def command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|NAME",
            autocompletion=complete_network,
            help="A run folder, or a network's name with --weights.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    weights: Annotated[Path | None, typer.Option(help="A weights file for a network's name.")] = None,
    format: Annotated[  # noqa: A002 - the name of the option
        str, typer.Option(help="onnx (.onnx), torch-export (.pt2) or torchscript (.pt).")
    ] = "onnx",
    pixels: Annotated[
        bool, typer.Option(help="Put normalisation and channel order inside: uint8 RGB images go in.")
    ] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Quantise to eight bits; needs --calibration.")] = False,
    calibration: Annotated[
        Path | None, typer.Option(help="A folder of images like those to come: 64 of them set the ranges.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Labelled images: the accuracy before and after is printed.")] = None,
    licence: Annotated[str | None, typer.Option(help="Of the weights, for the card.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False,
) -> None:
    """A trained network as ONNX, torch.export or TorchScript, for any batch size, with its card inside.

    The file is run and compared with the network before it gets its name. `convatlas predict FILE.onnx` opens it.
    """
    validate_output(out, "--out")
    if format not in FORMATS:
        raise UsageError(f"--format is {format!r}; expected {', '.join(FORMATS)}")
    if int8 != (calibration is not None):
        raise UsageError("--int8 and --calibration FOLDER go together; expected both or neither")
    if int8 and format != "onnx":
        raise UsageError(f"--int8 with --format {format}; expected --format onnx")
    from convatlas import inference

    opened = inference.open_source(source, weights)
    only_for(opened, ("classification",), {"--data": data})
    if calibration is not None:
        with progress("Quantising"):
            quantised = inference.quantise(opened, make_parent(out), [calibration], pixels=pixels, licence=licence)
        found, problems = quantised.exported, quantised.problems
    else:
        quantised, problems = None, ()
        with progress("Exporting and comparing"):
            found = inference.export(opened, make_parent(out), format=format, pixels=pixels, licence=licence)  # type: ignore[arg-type]
    errors = evaluate(opened, out, data) if data is not None else {}
    written = {
        "file": str(out),
        "task": opened.task,
        "format": found.format,
        "opset": found.opset,
        "bytes": found.size_bytes,
        "program": str(found.program) if found.program else None,
    }
    if quantised is None:
        written["difference"] = found.difference
        if found.classes_differ is not None:
            written["classes_differ"] = found.classes_differ
    else:
        written |= {"calibration_images": quantised.images, "agreement": quantised.agreement}
    if json:
        print_json({**written, **errors, "problems": [asdict(problem) for problem in problems]})
    else:
        show(written, errors)
    for problem in problems:
        warn(f"{problem.path}: {problem.reason}")


def evaluate(opened: Any, out: Path, data: str) -> dict[str, float]:
    """Top-1 accuracy of the network and, where `predict` can open it, of the file."""
    from convatlas import inference

    accuracy = {}
    sources = {"accuracy_before": opened}
    if out.suffix == ".onnx":
        sources["accuracy_after"] = inference.open_source(str(out))
    for name, source in sources.items():
        with progress("Evaluating") as step:
            accuracy[name] = 1 - inference.evaluate_source(source, data, on_progress=step)[1].top1_error
    return accuracy


def show(written: dict[str, Any], accuracy: dict[str, float]) -> None:
    """The same as text."""
    opset = f", opset {written['opset']}" if written["opset"] else ""
    detects = written["task"] == "detection"
    inside = "one image at a time, suppression inside" if detects else "any batch size"
    say(f"{written['file']}: {written['format']}{opset}, {written['bytes'] / 1e6:.2f} MB, {inside}")
    if detects:
        say(f"{100 * written['difference']:.1f}% of the detections differ from the network's")
    elif "difference" in written:
        say(f"logits differ by at most {written['difference']:.1g} of the largest, in batches of 1 and 3")
        if "classes_differ" in written:
            share = 100 * written["classes_differ"]
            say(f"{share:.2g}% of the pixels get another class, where switches flip on equal values")
    else:
        say(
            f"int8; the most probable class is the float network's for {100 * written['agreement']:.1f}% of the "
            f"{written['calibration_images']} images that set the ranges"
        )
    if written["program"]:
        say(f"{written['program']}: runs it on onnxruntime, numpy and Pillow alone")
    if accuracy:
        say(", ".join(f"{name.replace('_', ' ')} {100 * value:.2f}%" for name, value in accuracy.items()))
