"""`convatlas diff`: what differs between two networks."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convatlas.cli.arguments import complete_network
from convatlas.cli.common import console, print_json
from convatlas.cli.show import field_text, operation, parse_shape
from convatlas.cli.tables import Column, print_table
from convatlas.readable import integer, memory, scaled, shape

if TYPE_CHECKING:
    from rich.console import Console

    from convatlas.analysis.diff import Difference, Layer, Network, Pair
    from convatlas.facts.methods import StepBeside

SHOWN_BY_SHAPE = {"operation", "kernel", "stride", "padding", "dilation", "groups", "maps", "units"}
MANY = 20  # layers that differ, from which on a change is told of blocks and not of layers by their names
NAME = "A network; `convatlas list` shows all names."


def command(
    before: Annotated[str, typer.Argument(metavar="A", autocompletion=complete_network, help=NAME)],
    after: Annotated[str, typer.Argument(metavar="B", autocompletion=complete_network, help=NAME)],
    everything: Annotated[bool, typer.Option("--all", help="The layers that are the same, too.")] = False,
    input_shape: Annotated[
        str | None, typer.Option("--input", metavar="C,H,W", help="The input of both. [default: each as published]")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False,
) -> None:
    """What differs between two networks: in words, as methods, in all, and layer by layer.

    The words say a change once for all layers and blocks that have it. In the table layers are laid side by side by
    their names, and where names differ by what they do and their order; a receptive field of "195 / 32" sees 195
    pixels, and its neighbour starts 32 pixels on.
    """
    from convatlas.analysis import likeness
    from convatlas.analysis.diff import diff
    from convatlas.analysis.diff_words import sentences
    from convatlas.facts.methods import beside, method_of

    shape = parse_shape(input_shape) if input_shape is not None else None
    difference = diff(before, after, input_shape=shape)
    names = difference.before.name, difference.after.name
    levels = [likeness.of_registered(name, shape) for name in names]
    in_short = tuple(sentence.text for sentence in likeness.sentences(likeness.align(*levels).couples))
    methods = [method_of(name) for name in names]
    steps = beside(methods[0], methods[1]) if methods[0] and methods[1] and methods[0] != methods[1] else ()
    lines = sentences(difference)
    if json:
        print_json(values(difference, lines) | {"in_short": in_short, "steps": [asdict(step) for step in steps]})
        return
    out = console()
    changed = sum(pair.changes != () or None in (pair.before, pair.after) for pair in difference.pairs)
    print_words(out, difference, in_short if changed > MANY else lines)
    print_methods(out, steps)
    print_totals(out, difference)
    print_layers(out, difference, everything=everything)


def print_words(out: "Console", difference: "Difference", lines: Sequence[str]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    out.print(Text(f"From {difference.before.name} to {difference.after.name}", style="bold"))
    for line in lines:
        out.print(Padding(Text(line), (0, 0, 0, 2), expand=False))
    out.print()


def print_methods(out: "Console", steps: "Sequence[StepBeside]") -> None:
    """What each paper does, step by step."""
    if not steps:
        return
    first, second = steps[0].before_method, steps[0].after_method
    columns = (Column("step", style="cyan", wrap=9), Column(first, wrap=18), Column(second, wrap=18))
    print_table(out, columns, [(step.step, step.before, step.after) for step in steps])
    recalled = [step.step for step in steps if "recalled" in step.confidence]
    if recalled:
        out.print(f"From memory, not read in the paper: {', '.join(recalled)}.", style="dim", markup=False)
    out.print()


def totals(network: "Network") -> dict[str, str]:
    """What a network has in all, as people read it."""
    return {
        "input": shape(network.input_shape),
        "layers with weights": str(network.weight_layers),
        "of these on the longest path": str(network.depth),
        "parameters": integer(network.cost.parameters),
        "multiply-adds": scaled(network.cost.multiply_adds),
        "activations": memory(network.cost.activation_bytes),
        "receptive field of the last map": field_text(network.last_field),
    }


def ratio(before: int, after: int) -> str:
    """ "+0.2%", "x 3.61" from twice as much on; nothing where it is the same."""
    if before == after or not before:
        return ""
    factor = after / before
    return f"x {factor:.3g}" if factor >= 2 or factor <= 0.5 else f"{factor - 1:+.1%}"


def print_totals(out: "Console", difference: "Difference") -> None:
    first, second = difference.before, difference.after
    change = {
        "parameters": ratio(first.cost.parameters, second.cost.parameters),
        "multiply-adds": ratio(first.cost.multiply_adds, second.cost.multiply_adds),
        "activations": ratio(first.cost.activation_bytes, second.cost.activation_bytes),
    }
    columns = (
        Column("in all", style="cyan", wrap=16),
        *(Column(name, right=True) for name in (first.name, second.name)),
        Column("", right=True),
    )
    old, new = totals(first), totals(second)
    print_table(out, columns, [(name, value, new[name], change.get(name, "")) for name, value in old.items()])
    out.print()


def print_layers(out: "Console", difference: "Difference", *, everything: bool) -> None:
    """One line a pair; runs of pairs that differ in the receptive field at most are one line, but for `everything`."""
    from rich.text import Text

    columns = (
        Column("layer", style="cyan", wrap=14),
        *(Column(name, wrap=16) for name in (difference.before.name, difference.after.name)),
        *(Column(name, right=True, left_out=order) for order, name in enumerate(("parameters", "MACs", "field"), 1)),
    )
    lines: list[tuple[str | Text, ...]] = []
    same = 0
    for pair in (*difference.pairs, None):
        if pair is not None and not everything and cells(pair)[2:5] == ("same", "", ""):
            same += 1
            continue
        if same:
            lines.append((Text(f"... {same} the same", style="dim"), *[""] * 5))
            same = 0
        if pair is not None:
            lines.append(cells(pair))
    print_table(out, columns, lines)


def cells(pair: "Pair") -> tuple[str, str, str, str, str, str]:
    """(name, first, second, parameters, multiply-adds, field); empty where nothing changed."""
    old, new = pair.before, pair.after
    if old is None or new is None:
        layer = old or new
        assert layer is not None
        name, text = layer.record.name, described(layer)
        counts = (layer.record.parameters, layer.record.multiply_adds or 0)
        signed = [f"{'-' if new is None else '+'}{scaled(count)}" if count else "" for count in counts]
        return name, text if old else "", text if new else "", signed[0], signed[1], ""
    name = new.record.name if old.record.name == new.record.name else f"{old.record.name} | {new.record.name}"
    before, after = described(old), described(new)
    for change in pair.changes:
        if change.quantity not in SHOWN_BY_SHAPE:
            before, after = f"{before}, {change.quantity} {change.before}", f"{after}, {change.quantity} {change.after}"
    if pair.moved:
        after += " (moved)"
    return (
        name,
        before,
        "same" if before == after else after,
        arrow(scaled(old.record.parameters), scaled(new.record.parameters)),
        arrow(scaled(old.record.multiply_adds), scaled(new.record.multiply_adds)),
        arrow(field_text(old.field), field_text(new.field)),
    )


def described(layer: "Layer") -> str:
    """ "conv 11x11 / 4, 96 x 55 x 55"."""
    return f"{operation(layer.record)}, {shape(layer.record.output_shape)}"


def arrow(before: str, after: str) -> str:
    return "" if before == after else f"{before or 0} -> {after or 0}"


def values(difference: "Difference", lines: Sequence[str]) -> dict[str, Any]:
    """The difference as plain values."""

    def side(network: "Network") -> dict[str, Any]:
        field = network.last_field
        return {
            "name": network.name,
            "input_shape": network.input_shape,
            "totals": asdict(network.cost),
            "weight_layers": network.weight_layers,
            "depth": network.depth,
            "receptive_field": None if field is None else asdict(field),
        }

    def layer(value: "Layer | None") -> dict[str, Any] | None:
        if value is None:
            return None
        record = value.record
        return {
            "name": record.name,
            "operation": operation(record),
            "output_shape": record.output_shape,
            "parameters": record.parameters,
            "multiply_adds": record.multiply_adds,
            "settings": dict(value.settings),
            "receptive_field": None if value.field is None else asdict(value.field),
        }

    return {
        "before": side(difference.before),
        "after": side(difference.after),
        "explanation": list(lines),
        "layers": [
            {
                "before": layer(pair.before),
                "after": layer(pair.after),
                "moved": pair.moved,
                "changes": [asdict(change) for change in pair.changes],
            }
            for pair in difference.pairs
        ],
    }
