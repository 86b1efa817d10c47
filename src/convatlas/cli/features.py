"""`convatlas features`: what layers give for images, and what it is good for."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from convatlas.cli.arguments import complete_network, make_parent, validate_output
from convatlas.cli.common import print_json, progress, say, visible, warn
from convatlas.errors import ConvatlasError, UsageError

POOLS = ("mean", "max", "flatten")
PROBES = ("svm", "logistic")


def command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|NAME",
            autocompletion=complete_network,
            help="A run folder, or a network's name with --weights.",
        ),
    ],
    inputs: Annotated[list[str], typer.Argument(metavar="IMAGES", help="Files, folders or patterns.")],
    layer: Annotated[list[str], typer.Option(help="A layer by its name in `convatlas show`; can be repeated.")],
    weights: Annotated[Path | None, typer.Option(help="A weights file for a network's name.")] = None,
    out: Annotated[Path | None, typer.Option(help="A .npz or .parquet file: paths beside vectors.")] = None,
    pool: Annotated[str, typer.Option(help="What becomes of maps: mean, max or flatten.")] = "mean",
    probe: Annotated[
        str | None,
        typer.Option(help="svm or logistic: fit it to train/<class>/ of a folder, and test it on val/<class>/."),
    ] = None,
    nearest: Annotated[Path | None, typer.Option(help="An image: list those most like it.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="A PNG of the image of --nearest and those like it.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many images --nearest lists.")] = 9,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 32,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False,
) -> None:
    """What layers of a network give for images: as a file, for a linear probe, or to find images like another."""
    validate_output(out, "--out", (".npz", ".parquet"))
    validate_output(sheet, "--sheet", (".png",))
    if pool not in POOLS:
        raise UsageError(f"--pool is {pool!r}; expected {', '.join(POOLS)}")
    if probe is not None and probe not in PROBES:
        raise UsageError(f"--probe is {probe!r}; expected {' or '.join(PROBES)}")
    if sheet is not None and nearest is None:
        raise UsageError(f"--sheet {sheet} without --nearest IMAGE")
    if out is None and probe is None and nearest is None:
        raise UsageError("nothing to do; expected --out FILE, --probe svm|logistic or --nearest IMAGE")
    from convatlas.inference import features, open_source, resolve_device

    opened, where = open_source(source, weights), resolve_device(device)
    with progress("Reading") as step:
        vectors = features.extract(
            opened, inputs, layer, pool=pool, batch_size=batch_size, device=where, on_progress=step  # type: ignore[arg-type]
        )  # fmt: skip
    found: dict[str, Any] = {
        "network": opened.name,
        "pictures": len(vectors.paths),
        "layers": {name: rows.shape[1] for name, rows in vectors.layers.items()},
    }
    if out is not None:
        features.save_vectors(vectors, make_parent(out))
        found["file"] = str(out)
    if probe is not None:
        labels, test = split(vectors.paths)
        with progress("Fitting the probe"):
            found["probe_accuracy"] = {
                name: features.probe(rows, labels, test, probe)  # type: ignore[arg-type]
                for name, rows in vectors.layers.items()
            }
    if nearest is not None:
        one = features.extract(opened, [nearest], layer[:1], pool=pool, device=where)  # type: ignore[arg-type]
        ranked = features.nearest(vectors.layers[layer[0]], one.layers[layer[0]][0], count)
        found["nearest"] = [{"path": vectors.paths[row], "cosine": value} for row, value in ranked]
        if sheet is not None:
            draw(sheet, nearest, found["nearest"])
    found["problems"] = [asdict(problem) for problem in vectors.problems]
    if json:
        print_json(found)
    else:
        show(found)
    for problem in vectors.problems:
        warn(f"{problem.path}: {problem.reason}")


def split(paths: tuple[str, ...]) -> tuple[list[str], list[bool]]:
    """The class of each image, which is its folder, and whether it lies in the test part, val/ or test/."""
    parts = [Path(path).parts for path in paths]
    labels = [part[-2] if len(part) > 1 else "" for part in parts]
    test = [len(part) > 2 and part[-3] in ("val", "test", "valid", "validation") for part in parts]
    if all(test) or not any(test):
        raise UsageError("--probe needs images in train/<class>/ and in val/<class>/ below the folder")
    return labels, test


def draw(sheet: Path, image: Path, ranked: list[dict[str, Any]]) -> None:
    """The image and those most like it, with their cosine, five in a row."""
    from matplotlib.figure import Figure

    from convatlas.data.decode import decode

    entries = [(str(image), "the image"), *((entry["path"], f"{entry['cosine']:.3f}") for entry in ranked)]
    rows = -(-len(entries) // 5)
    figure = Figure(figsize=(10, 2.3 * rows), layout="constrained")
    axes = figure.subplots(rows, 5, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, (path, title) in zip(axes, entries, strict=False):
        try:
            pixels = decode(path)
        except ConvatlasError as error:
            raise ConvatlasError(f"{path}: {error}") from error
        axis.imshow(pixels.expand(3, -1, -1).permute(1, 2, 0).numpy())
        axis.set_title(f"{title}\n{visible(Path(path).stem[:28])}", fontsize=7, parse_math=False)
    figure.savefig(make_parent(sheet), dpi=120)


def show(found: dict[str, Any]) -> None:
    """The same as text."""
    layers = ", ".join(f"{name} ({size} values)" for name, size in found["layers"].items())
    say(f"{found['network']}, {found['pictures']:,} images: {layers}")
    if "file" in found:
        say(f"written to {found['file']}")
    for name, accuracy in found.get("probe_accuracy", {}).items():
        say(f"{name}: {100 * accuracy:.2f}% of the test part right")
    for entry in found.get("nearest", ()):
        say(f"{entry['cosine']:.4f}  {entry['path']}")
