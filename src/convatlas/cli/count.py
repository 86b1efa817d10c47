"""`convatlas count`: blocks of layers side by side, counted from one line each."""

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convatlas.cli.common import console, print_json
from convatlas.cli.tables import Column, print_table
from convatlas.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from convatlas.analysis.block_count import BlockCount
    from convatlas.analysis.block_notation import Step

LAYER = re.compile(r"([\w-]+):([\w.\-/ +]+)")
QUANTITIES = {
    "weights": "weights",
    "parameters": "parameters (with biases)",
    "connections": "connections",
    "multiply_adds": "multiply-adds",
    "nonlinearities": "non-linearities",
    "activation_bytes": "activations",
    "parameter_bytes": "parameters' memory",
}
STEPS = (
    Column("step", wrap=16),
    Column("output"),
    Column("parameters", right=True),
    Column("multiply-adds", right=True),
    Column("arithmetic", wrap=16, left_out=1),
)


def command(
    blocks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[BLOCK]...",
            help="Layers in one line, such as 'conv 1x1 256->64; conv 3x3 64->64 @28', or NETWORK:LAYER.",
        ),
    ] = None,
    example: Annotated[
        str | None, typer.Option("--example", help="Blocks by name: bottleneck, stack3x3, weight_sharing ...")
    ] = None,
    examples: Annotated[bool, typer.Option("--examples", help="List the examples.")] = False,
    steps: Annotated[bool, typer.Option("--steps", help="Each step of each block, with its arithmetic.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Count blocks of layers side by side: receptive field, parameters, connections, multiply-adds, memory.

    A block is one line: conv, local, fc, maxpool, avgpool or relu, a window (3x3/2), channels (64->128) and options
    (g=32, d=2, p=1, valid, nobias, linear), separated by semicolons; @28 is the size of its input. Without a size the
    multiply-adds are those of one output position. NETWORK:LAYER takes a layer or a module of a registered network.
    """
    from convatlas.analysis.block_count import EXAMPLES

    if examples:
        if example is not None or blocks:
            raise UsageError("--examples stands alone: it lists the names for --example")
        print_examples(json=json)
        return
    chosen = list(blocks or [])
    title = ""
    if example is not None:
        if example not in EXAMPLES:
            raise UsageError(f"--example is {example!r}; expected {', '.join(EXAMPLES)}")
        title, lines = EXAMPLES[example]
        chosen = [*lines, *chosen]
    if not chosen:
        raise UsageError("BLOCK is missing: expected something like 'conv 3x3 256->256', or --example bottleneck")
    counts = [count_text(text) for text in chosen]
    if json:
        print_json([block_json(count) for count in counts])
        return
    out = console()
    if title:
        out.print(title, markup=False)
    print_counts(out, counts)
    if steps:
        for count in counts:
            out.print()
            print_steps(out, count)


def count_text(text: str) -> "BlockCount":
    """A block from its notation, or a layer or module of a network from `NETWORK:LAYER`."""
    from convatlas.analysis.block_count import count_block
    from convatlas.analysis.block_notation import parse_block

    if match := LAYER.fullmatch(text.strip()):
        from convatlas.analysis.layer_count import count_layer

        return count_layer(match[1], match[2])
    return count_block(" ".join(text.split()), parse_block(text))


def print_counts(out: "Console", counts: "list[BlockCount]") -> None:
    """A column for each block, with its ratio to the first."""
    columns = [Column(""), *(Column(letter(index), right=True) for index in range(len(counts)))]
    for index, count in enumerate(counts):
        out.print(f"{letter(index)}  {count.name}", markup=False)
    rows = [["receptive field", *(" x ".join(map(str, count.receptive_field)) for count in counts)]]
    for quantity, words in QUANTITIES.items():
        values = [value_of(count, quantity) for count in counts]
        if quantity.endswith("_bytes"):
            rows.append([words, *map(size, values)])
            continue
        rows.append([words, *(f"{value:,}" for value in values)])
        if quantity in ("parameters", "multiply_adds") and len(counts) > 1 and values[0]:
            rows.append(["  of the first", *(ratio(value, values[0]) for value in values)])
    print_table(out, columns, rows)


def ratio(value: int, first: int) -> str:
    """ "55.1%", "8.47 times fewer", "1.02 times as many"; empty for the first itself."""
    if value == first or not value:
        return ""
    if value > first:
        return f"{significant(value / first)} times"
    return f"{100 * value / first:.1f}%" if 2 * value > first else f"{significant(first / value)} times fewer"


def significant(number: float) -> str:
    """Three digits, without an exponent."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def letter(index: int) -> str:
    """A, B, ... Z, 27, 28 ..."""
    return chr(ord("A") + index) if index < 26 else str(index + 1)


def value_of(count: "BlockCount", quantity: str) -> int:
    return count.parameter_bytes if quantity == "parameter_bytes" else count.total(quantity)


def size(count: int) -> str:
    """ "9.4 kB", "2.4 MB"."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:,.3g} TB"


def print_steps(out: "Console", count: "BlockCount") -> None:
    out.print(count.name, markup=False, style="bold")
    rows = [
        (
            describe(step.step) if step.step else step.arithmetic,
            " x ".join(map(str, step.output)) if step.output else "",
            f"{step.parameters:,}",
            f"{step.multiply_adds:,}",
            step.arithmetic if step.step else "",
        )
        for step in count.steps
    ]
    print_table(out, STEPS, rows)


def describe(step: "Step") -> str:
    """A step in the notation, shortly."""
    window = f" {step.kernel[0]}x{step.kernel[1]}" if step.operation in ("conv", "local", "pool") else ""
    stride = f"/{step.stride}" if step.stride > 1 else ""
    channels = f" {step.channels[0]}->{step.channels[1]}" if step.channels else ""
    groups = f" g={step.groups}" if step.groups > 1 else ""
    return f"{step.operation}{window}{stride}{channels}{groups}"


def block_json(count: "BlockCount") -> dict[str, Any]:
    totals = {quantity: value_of(count, quantity) for quantity in QUANTITIES}
    steps = [asdict(step) for step in count.steps]
    head = {"block": count.name, "receptive_field": count.receptive_field, "stride": count.stride}
    return {**head, **totals, "steps": steps}


def print_examples(*, json: bool) -> None:
    from convatlas.analysis.block_count import EXAMPLES

    if json:
        print_json({name: {"shows": shows, "blocks": blocks} for name, (shows, blocks) in EXAMPLES.items()})
        return
    columns = (Column("example"), Column("shows", wrap=30))
    print_table(console(), columns, [(name, shows) for name, (shows, _) in EXAMPLES.items()])
