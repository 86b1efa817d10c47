"""`convatlas why`: which published network a model is nearest to, what differs, and since when."""

from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convatlas.cli.arguments import complete_network
from convatlas.cli.common import console, print_json, progress
from convatlas.readable import integer, scaled, shape

if TYPE_CHECKING:
    from rich.console import Console

    from convatlas.facts.departures import Departure
    from convatlas.inference.why import Against, Answer

MODEL = (
    "torchvision:alexnet, timm:resnet34, net.py:Net, package.module:build, Net(width=64), an .onnx file, a weights "
    "file, a run folder, or a name of `convatlas list`."
)


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL)],
    as_network: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", autocompletion=complete_network, help="Compare it with this network too."),
    ] = None,
    input_shape: Annotated[
        str | None,
        typer.Option("--input", metavar="C,H,W", help="Its input; by default its library's, or a usual one."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False,
) -> None:
    """Which published network a model is nearest to, and what differs: layers, widths, strides, norms, heads.

    Layers are laid side by side by what they compute and where they stand, whatever their names. Nothing is downloaded
    and no weights are needed; of a weights file nothing is executed. A Python path runs the file that it names.
    """
    from convatlas.analysis.likeness.index import is_made
    from convatlas.cli.show import parse_shape
    from convatlas.inference.why import why

    wanted = parse_shape(input_shape) if input_shape is not None else None
    with nullcontext(None) if is_made() else progress("Indexing the atlas") as step:
        answer = why(model, network=as_network, input_shape=wanted, on_progress=step)
    if json:
        print_json(values(answer))
    else:
        print_answer(console(), answer)


def print_answer(out: "Console", answer: "Answer") -> None:
    from rich.text import Text

    model = answer.model
    out.print(Text(model.title, style="bold"))
    facts = [f"{integer(answer.parameters)} parameters"]
    facts += [f"{scaled(answer.multiply_adds)} multiply-adds"] if answer.multiply_adds else []
    facts += [f"input {shape(answer.input_shape)}"] if answer.input_shape else []
    line(out, f"{', '.join(facts)}; compared by {answer.compared}", style="dim")
    for note in answer.notes:
        line(out, f"Note: {note}.", style="dim")
    print_against(out, answer.nearest, f"Nearest in the atlas: {named(answer.nearest.network)}")
    if answer.asked:
        print_against(out, answer.asked, f"Beside {named(answer.asked.network)}")
    if answer.others:
        near = ", ".join(f"{name} ({alike(distance)})" for name, distance in answer.others)
        out.print()
        line(out, f"Next: {near}", style="dim", indent=0)


def print_against(out: "Console", against: "Against", title: str) -> None:
    from rich.text import Text

    out.print()
    out.print(Text(f"{title}, {alike(against.distance)} alike", style="bold"))
    for sentence in against.sentences:
        line(out, sentence.text)
    if not against.sentences:
        line(out, "Nothing differs: the layers are the same.")
    for departure in against.departures:
        line(out, reason(departure), style="cyan")


def reason(departure: "Departure") -> str:
    """ "Since torchvision 0.1.6: it is the one-tower network ... (read in torchvision 0.1.6, models/alexnet.py)"."""
    since = departure.since
    since = f"Since {departure.library} {since}" if since[:1].isdigit() else f"{departure.library}, since {since}"
    return f"{since}: {departure.reason} (read in {departure.read})."


def line(out: "Console", text: str, *, style: str = "", indent: int = 2) -> None:
    """A paragraph, whose further lines are indented more than its first."""
    from rich.text import Text

    from convatlas.cli.common import UNWRAPPED, visible

    text = visible(text)
    if out.width >= UNWRAPPED:
        out.print(Text(" " * indent + text), soft_wrap=True)
        return
    wrapped = Text(text, style=style).wrap(out, out.width - indent - 2)
    for number, part in enumerate(wrapped):
        out.print(Text(" " * (indent + 2 * (number > 0))) + part)


def named(network: str) -> str:
    """ "alexnet (Krizhevsky, Sutskever, Hinton, 2012)"."""
    from convatlas import facts, registry

    card = registry.card(network)
    try:
        paper = facts.paper(card.paper)
    except KeyError:
        return network
    authors = paper.authors.split(", ")
    return f"{network} ({authors[0]}{' et al.' if len(authors) > 1 else ''}, {paper.year})"


def alike(distance: float) -> str:
    """ "100%" only where nothing differs."""
    percent = 100 * (1 - distance)
    return f"{percent:.1f}%" if 99 < percent < 100 else f"{percent:.0f}%"


def values(answer: "Answer") -> dict[str, Any]:
    """The answer as plain values."""

    def side(against: "Against | None") -> dict[str, Any] | None:
        if against is None:
            return None
        return {
            "network": against.network,
            "distance": against.distance,
            "input_shape": against.input_shape,
            "parameters": against.parameters,
            "multiply_adds": against.multiply_adds,
            "differences": [sentence_values(sentence) for sentence in against.sentences],
            "departures": [asdict(departure) for departure in against.departures],
        }

    def sentence_values(sentence: Any) -> dict[str, Any]:
        return {
            "topic": sentence.topic,
            "sentence": sentence.text,
            "published": sentence.before,
            "here": sentence.after,
            "layers": [{"published": old, "here": new} for old, new in sentence.layers],
        }

    return {
        "model": answer.model.source,
        "title": answer.model.title,
        "compared_by": answer.compared,
        "input_shape": answer.input_shape,
        "parameters": answer.parameters,
        "multiply_adds": answer.multiply_adds,
        "nearest": side(answer.nearest),
        "beside": side(answer.asked),
        "next": [{"network": name, "distance": distance} for name, distance in answer.others],
        "notes": answer.notes,
    }
