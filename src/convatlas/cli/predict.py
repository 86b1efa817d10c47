"""`convatlas predict`: the most probable classes of pictures."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from convatlas.cli.common import print_json, progress, warn


def command(
    source: Annotated[
        str, typer.Argument(metavar="RUN|NAME", help="A run folder, or a network's name with --weights.")
    ],
    inputs: Annotated[list[str], typer.Argument(metavar="PICTURES", help="Files, folders or patterns.")],
    weights: Annotated[Path | None, typer.Option(help="A weights file for a network's name.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="How many classes per picture.")] = 5,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per forward pass.")] = 32,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False,
) -> None:
    """The most probable classes of pictures, one line a picture.

    Damaged pictures are named on standard error and the rest goes on; the exit code is 1 only if none could be read.
    """
    from convatlas import inference

    opened = inference.open_source(source, weights)
    where = inference.resolve_device(device)
    with progress("Predicting") as step:
        predictions, problems = inference.predict(
            opened, inputs, top_k=top_k, batch_size=batch_size, device=where, on_progress=step
        )
    if json:
        print_json({"network": opened.name, "predictions": [asdict(p) for p in predictions],
                    "problems": [asdict(p) for p in problems]})  # fmt: skip
    else:
        for prediction in predictions:
            ranked = zip(prediction.classes, prediction.probabilities, strict=True)
            typer.echo(f"{prediction.path}: {', '.join(f'{name} {100 * value:.1f}%' for name, value in ranked)}")
    for problem in problems:
        warn(f"{problem.path}: {problem.reason}")
    if not predictions:
        raise typer.Exit(1)
