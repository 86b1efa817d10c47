"""`convatlas weights`: which trained weights exist, what a file of them holds, and how it becomes ours."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convatlas.cli.arguments import complete_network, make_parent, validate_output
from convatlas.cli.common import console, literal, print_json, progress, visible
from convatlas.cli.tables import Column, print_table
from convatlas.errors import ConvatlasError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convatlas.weights import Read
    from convatlas.weights.compress import LayerSizes

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Which trained weights exist, what a file of them holds, and how it becomes ours.",
)
TAKE = Annotated[
    str | None,
    typer.Option(
        metavar="raw|averaged|ENTRY",
        help="Of a checkpoint with several: the raw or the averaged weights, or an entry.",
        show_default="averaged where there are both",
    ),
]
JSON = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
SHOWN_CLASSES = 5
PUBLISHED = (
    Column("network"),
    Column("release", wrap=20),
    Column("format", left_out=2),
    Column("licence", wrap=12, left_out=1),
    Column("fits", wrap=8),
)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A weights file, torchvision:NAME or timm:NAME.")],
    out: Annotated[Path, typer.Option(help="The .safetensors file to write.")],
    to: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", autocompletion=complete_network, help="The network, where the file does not tell."
        ),
    ] = None,
    take: TAKE = None,
    json: JSON = False,
) -> None:
    """Translate a file of Caffe, MatConvNet, Darknet, Torch7, Keras, torchvision or timm into ours."""
    from convatlas import registry, weights
    from convatlas.weights.formats.contents import MisfitError

    validate_output(out, "--out", (".safetensors",))
    try:
        with progress("Reading the file"):
            opened = weights.open_file(file, to, take=take)
        if opened.card is None and to is None:
            raise ConvatlasError(
                f"{file} ({describe(opened)}) is of no layout that is known here; "
                "expected --to NAME, and `convatlas weights show` lists its tensors"
            )
        network = registry.card(opened.card["network"] if opened.card else to or "")
        if to is not None and registry.card(to).name != network.name:
            raise UsageError(f"--to is {to}, but the card of {file} says {network.name}; leave --to out")
        with progress("Translating"):
            net = weights.build(opened, network.name)
    except MisfitError as error:
        if to is None:
            raise
        raise UsageError(f"--to {to} contradicts the file: {error}") from error
    card = opened.card or weights.make_card(
        network.name, num_classes=network.num_classes, in_channels=network.input_shape[0]
    )
    weights.save(make_parent(out), net, card)
    if json:
        notes = list(opened.notes)
        print_json({"file": str(file), "format": opened.format, "notes": notes, "out": str(out), "card": card})
        return
    say = console().print
    say(visible(f"{file}: {describe(opened)}"), markup=False)
    print_notes(opened)
    print_card(card)
    say(f"{out}: {sum(p.numel() for p in net.parameters()):,} parameters of {network.name}", markup=False)


@app.command("show")
def show(
    file: Annotated[Path, typer.Argument(help="A weights file, torchvision:NAME or timm:NAME.")],
    to: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", autocompletion=complete_network, help="The network, where the file does not tell."
        ),
    ] = None,
    take: TAKE = None,
    json: JSON = False,
) -> None:
    """The tensors of a weights file under the file's names or ours, their shapes, and the card."""
    from convatlas import weights
    from convatlas.weights.numbers import not_finite

    with progress("Reading the file"):
        opened = weights.open_file(file, to, take=take)
    shapes = {name: list(tensor.shape) for name, tensor in opened.tensors.items()}
    if json:
        print_json({
            "file": str(file), "format": opened.format, "notes": list(opened.notes), "tensors": shapes,
            "not_finite": not_finite(opened.tensors), "card": opened.card,
        })  # fmt: skip
        return
    say = console().print
    say(visible(f"{file}: {describe(opened)}"), markup=False)
    print_notes(opened)
    for name, count in not_finite(opened.tensors).items():
        say(visible(f"  {name} holds {count:,} values that are NaN or infinite"), markup=False)
    if opened.card is not None:
        print_card(opened.card)
    width = max(map(len, shapes), default=0)
    for name, shape in shapes.items():
        say(f"  {visible(name):<{width}}  {' x '.join(map(str, shape)) or 'one value'}", markup=False, soft_wrap=True)


@app.command("list")
def list_(
    network: Annotated[
        str | None, typer.Argument(metavar="NAME", autocompletion=complete_network, help="Only for this network.")
    ] = None,
    json: JSON = False,
) -> None:
    """Which published weights exist: from where, under which licence, whether they fit and who says so."""
    from convatlas import weights

    rows = weights.published(network)
    if json:
        print_json([asdict(row) for row in rows])
        return
    out = console()
    if not rows:
        out.print(f"no published weights are known here for {literal(network)}")
    if network is None:
        lines = [(row.network, row.release, row.format, row.licence, row.fits) for row in rows]
        print_table(out, PUBLISHED, lines)
        out.print("\n`convatlas weights list NAME` says where they are, what does not fit, and whose file was tried.")
        return
    for row in rows:
        out.print(f"{row.release} ({row.format}), fits {row.fits}", markup=False)
        for label, value in (("from", row.url), ("file", row.file), ("licence", row.licence), ("note", row.note)):
            if value:
                out.print(f"  {label:<8}{value}", markup=False, soft_wrap=label in ("from", "file"))


@app.command("compress")
def compress(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|NAME",
            autocompletion=complete_network,
            help="A run folder, or a network's name with --weights.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Written with Huffman's codes, .huff; as the paper's .net; or .safetensors.")
    ],
    weights: Annotated[Path | None, typer.Option(help="A weights file for a network's name.")] = None,
    sparsity: Annotated[
        float, typer.Option(min=0, max=1, help="The share of weights of each layer that become 0.")
    ] = 0.67,
    bits: Annotated[int, typer.Option(min=1, max=16, help="Bits of a code: 2^bits - 1 shared weights a layer.")] = 8,
    data: Annotated[str | None, typer.Option(help="Labelled images for the accuracy before and after.")] = None,
    data_root: Annotated[Path | None, typer.Option(help="Where known data sets lie.")] = None,
    retrain: Annotated[int, typer.Option(min=0, help="Epochs on --data between pruning and sharing.")] = 0,
    rate: Annotated[float, typer.Option(min=0, help="The learning rate of --retrain.")] = 1e-3,
    json: JSON = False,
) -> None:
    """Deep Compression: prune, share weights, code them by Huffman's method; tell the sizes and the accuracy."""
    from convatlas import data as loading
    from convatlas import inference
    from convatlas import weights as trained
    from convatlas.weights import files
    from convatlas.weights.compress import Retraining, with_tensors
    from convatlas.weights.formats import huffman

    validate_output(out, "--out", (".huff", ".net", ".safetensors"))
    if retrain and data is None:
        raise UsageError(f"--retrain is {retrain} without --data; expected images to learn from")
    opened = inference.open_source(source, weights)
    errors = []

    def evaluate() -> None:
        if data is not None or opened.recipe is not None:
            with progress("Evaluating") as step:
                _, found = inference.evaluate_source(opened, data, root=data_root, on_progress=step)
            errors.append((found.top1_error, found.top5_error))

    evaluate()
    with progress("Compressing") as step:
        retraining = None
        if retrain:
            images = loading.load(data or "", root=data_root).train
            loader = loading.Loader(loading.LabelAssembly(images, opened.preprocessing), batch_size=64, shuffle=True)
            retraining = Retraining(loader, retrain, rate, on_progress=step)
        compressed = trained.compress(opened.net, sparsity=sparsity, bits=bits, retraining=retraining)
    with_tensors(opened.net, compressed.tensors)
    evaluate()
    card = trained.make_card(
        opened.name, num_classes=len(opened.classes), in_channels=opened.preprocessing.channels,
        classes=opened.classes if opened.named_classes else None, preprocessing=opened.preprocessing,
        source=f"Deep Compression: sparsity {sparsity}, {bits} bits",
    )  # fmt: skip
    packed = huffman.write(compressed.coded, card)
    if out.suffix == ".safetensors":
        trained.save(make_parent(out), opened.net, card)
    else:
        files.write(make_parent(out), packed if out.suffix == ".huff" else compressed.data)
    if json:
        print_json({
            "network": opened.name, "sparsity": sparsity, "bits": bits, "out": str(out),
            "layers": [asdict(layer) for layer in compressed.layers], "huffman_file_bytes": len(packed),
            "top1_error": [top1 for top1, _ in errors], "top5_error": [top5 for _, top5 in errors],
        })  # fmt: skip
        return
    print_sizes(compressed.layers, len(packed))
    for when, (top1, top5) in zip(("before", "after"), errors, strict=False):
        console().print(f"error {when:<7}{100 * top1:.2f}%" + ("" if top5 is None else f", top-5 {100 * top5:.2f}%"))
    if out.suffix == ".net":
        console().print(f"{out} holds no card; it is read again with --to {opened.name}", markup=False)


def print_sizes(layers: "Sequence[LayerSizes]", huffman_file_bytes: int) -> None:
    """A row for each layer, one for the header of the file with Huffman's codes, and their sums, the files' sizes."""
    headings = ("weights", "kept", "float32", ".net", ".huff, Huffman")
    columns = [
        [getattr(layer, field) for layer in layers]
        for field in ("weights", "kept", "dense_bytes", "stored_bytes", "huffman_bytes")
    ]
    *sums, coded = map(sum, columns)
    rows = [*zip((layer.name for layer in layers), *columns, strict=True), ("all", *sums, huffman_file_bytes)]
    lines = [
        (name, f"{count:,}", f"{kept / count:.1%}", f"{dense:,} B", f"{stored:,} B", f"{huffman:,} B")
        for name, count, kept, dense, stored, huffman in rows
    ]
    lines.append(("  of them header", "", "", "", "0 B", f"{huffman_file_bytes - coded:,} B"))
    out = console()
    print_table(out, (Column("layer"), *(Column(heading, right=True) for heading in headings)), lines)
    _, _, _, dense, stored, huffman = rows[-1]
    out.print(f"{dense / stored:.1f} times smaller as .net, {dense / huffman:.1f} times as .huff with Huffman's codes")


def describe(opened: "Read") -> str:
    """ "Caffe, 8 tensors, 431,080 values" """
    count = sum(tensor.numel() for tensor in opened.tensors.values())
    return f"{opened.format}, {len(opened.tensors)} tensors, {count:,} values"


def print_notes(opened: "Read") -> None:
    """What was done to find the tensors, how to have the others, and whether this very file is a known one."""
    from convatlas.weights.published import was_read

    known = was_read(Path(opened.source)) if Path(opened.source).is_file() else None
    if known is not None:
        say = f"  this very file of {known.release} was read before and gave right answers"
        console().print(say, markup=False)
    for note in opened.notes:
        chosen = "the raw ones are in" in note or note.startswith("taken: averaged")
        console().print(visible(f"  {note}{' (--take raw)' if chosen else ''}"), markup=False)


def print_card(card: dict[str, Any]) -> None:
    """The entries of a card that are there, one a line."""
    classes = card["classes"]
    named = (
        f": {', '.join(classes[:SHOWN_CLASSES])}{', ...' if len(classes) > SHOWN_CLASSES else ''}" if classes else ""
    )
    lines = {
        "from": card.get("source"),
        "network": card["network"],
        "classes": f"{card['num_classes']:,}{named}",
        "images": in_words(card["preprocessing"]) if card["preprocessing"] else "not known; the network's usual",
        "settings": "; ".join(
            f"{'all layers' if path == '*' else path} {', '.join(f'{key} {value}' for key, value in entry.items())}"
            for path, entry in card.get("settings", {}).items()
        ),
    }
    for label, value in lines.items():
        if value:
            console().print(f"  {label:<10}{visible(value)}", markup=False)


def in_words(entry: dict[str, Any]) -> str:
    """ "short side to 256, 227 x 227 from the centre, BGR, (value - mean) / std with values of 0 to 1 ..." """
    ways = {"short_side": "short side to", "fit": "fitted into", "stretch": "stretched to"}
    middle = f"middle {entry['middle']:.3g} of both sides, " if entry.get("middle", 1) != 1 else ""
    resized = f"{ways[entry['resize']]} {entry['resize_to']}, " if entry["resize"] in ways else ""
    order = "grey" if entry["channels"] == 1 else entry["channel_order"].upper()
    mean, std = ("/".join(f"{255 * value:.5g}" for value in entry[key]) for key in ("mean", "std"))
    height, width = entry["size"]
    return f"{middle}{resized}{height} x {width} from the centre, {order} of 0 to 255, minus {mean}, over {std}"
