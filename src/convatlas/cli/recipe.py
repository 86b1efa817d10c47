"""`convatlas recipe`: what training a network by a recipe really does."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convatlas.cli.arguments import complete_network
from convatlas.cli.common import console, print_json, visible
from convatlas.cli.tables import Column, print_table
from convatlas.errors import UsageError

if TYPE_CHECKING:
    from convatlas.training.effective import EffectiveRecipe

MANY_LAYERS = 12  # parameters whose initialisation is listed one by one
Line = tuple[str, str]


class Format(StrEnum):
    """How the recipe is written."""

    table = "table"
    markdown = "markdown"


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", autocompletion=complete_network, help="A network.")],
    recipe: Annotated[str, typer.Option("--recipe", help="Which of its recipes.")] = "published",
    data: Annotated[
        str | None, typer.Option("--data", help="A data set: its samples, classes, and what is measured on it.")
    ] = None,
    data_root: Annotated[Path | None, typer.Option(help="Where known data sets lie.")] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="Training samples, instead of the published number.")
    ] = None,
    output_format: Annotated[Format, typer.Option("--format", help="A table, or Markdown.")] = Format.table,
    json: Annotated[bool, typer.Option("--json", help="One JSON document with every parameter.")] = False,
) -> None:
    """What training by a recipe really does, asked of the live optimiser, schedule, preprocessing and constructor.

    Learning rate, momentum and decay as they reach each group of parameters; the share of a weight that one step of
    decay takes away; batch, steps and the steps at which the rate drops; what a black, a grey and a white image become
    at the input; augmentation, initialisation as drawn, dropout; the test protocol and the results promised; and what
    is ours and not the paper's. No data and no weights are needed.
    """
    if data is not None and samples is not None:
        raise UsageError("data and samples both give the number of training samples; expected one of them")
    from convatlas import registry
    from convatlas.training import load_data
    from convatlas.training.effective import effective_recipe
    from convatlas.training.recipe import DataSource
    from convatlas.training.recipes import find

    card = registry.card(name)
    chosen = find(card.name, recipe)
    loaded = None if data is None else load_data(DataSource(data), card.name, root=data_root)
    effect = effective_recipe(card, chosen, data=loaded, samples=samples)
    if json:
        print_json(effect.to_json())
    elif output_format is Format.markdown:
        write_markdown(effect)
    else:
        out = console()
        print_table(out, [Column("what", style="cyan"), Column("training does", wrap=40)], lines_of(effect))


def lines_of(effect: "EffectiveRecipe") -> list[Line]:
    """The effective recipe as (what, value) in the order in which people ask."""
    return [
        ("recipe", f"{effect.network}, {effect.variant}"),
        ("source", effect.source),
        ("optimizer", f"{effect.optimizer} ({settings_text(effect.optimizer_settings)})"),
        *group_lines(effect),
        *schedule_lines(effect),
        *input_lines(effect),
        *(
            ("augmentation", f"{step.name}({settings_text(step.settings)}): {step.distribution}")
            for step in effect.augmentation
        ),
        *drawn_lines(effect),
        *(
            ("batch norm", f"momentum {norm.momentum}, epsilon {norm.epsilon:g} in {norm.layers} layers")
            for norm in effect.batch_norm
        ),
        *(("dropout", f"{entry.probability:g} in {entry.name}") for entry in effect.dropout),
        ("loss", settings_text(effect.loss)),
        *([("auxiliary weight", f"{effect.auxiliary_weight:g}")] if effect.auxiliary_weight else []),
        *([("clip", settings_text(effect.clip))] if effect.clip else []),
        *([("filters", f"scaled back to a root mean square of {effect.filter_norm:g}")] if effect.filter_norm else []),
        *([("averaging", settings_text(effect.averaging))] if effect.averaging else []),
        ("test protocol", effect.protocol),
        *(("result promised", settings_text(result)) for result in effect.results),
        *([("expected", effect.expected)] if effect.expected else []),
        *([("cost", effect.cost)] if effect.cost else []),
        *(("note", note) for note in effect.notes),
    ]


def settings_text(settings: dict) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items() if value not in (None, ""))


def group_lines(effect: "EffectiveRecipe") -> list[Line]:
    """A line for each group of parameters."""
    lines = []
    for group in effect.groups:
        momentum = "no momentum" if group.momentum is None else f"momentum {group.momentum:g}"
        taken = ", then ".join(f"{share:.4g}" for share in group.decay_a_step[:6])
        decay = f"decay {group.weight_decay:g}: a step takes {taken} of a weight" if group.weight_decay else "no decay"
        rate = f"rate {group.learning_rate:g} (x {group.multiplier:g}), {momentum}, {decay}"
        lines.append((group.kind, f"{rate}; {group.parameters:,} values, {group.label}"))
    return lines or [("parameters", "learn by the network's own rule, without gradient")]


def schedule_lines(effect: "EffectiveRecipe") -> list[Line]:
    """Batch, length and the steps at which the rate changes."""
    known = effect.steps is not None
    length = (
        f"{effect.steps:,} steps of {effect.batch}" if known else f"unknown steps of {effect.batch}; give --samples"
    )
    samples = f", {effect.samples:,} samples" if effect.samples else ""
    changes = "; ".join(f"{change.rate:.4g} from step {change.step:,}" for change in effect.changes)
    waits = ", ".join(f"{rate:.4g}" for rate in effect.after_plateaus)
    shape = "changes all the time, for example " if effect.continuous else ""
    return [
        ("batch", f"{effect.batch} samples a gradient, computed in {effect.parts} part{'s' * (effect.parts > 1)}"),
        ("length", f"{effect.epochs:g} epochs{samples}: {length}"),
        ("schedule", f"{effect.policy}: {shape}{changes}" + (f"; after each plateau {waits}" if waits else "")),
    ]


def input_lines(effect: "EffectiveRecipe") -> list[Line]:
    """What a black, a grey and a white image become."""
    shown = effect.input
    values = "; ".join(
        f"{name} becomes {', '.join(f'{value:.4g}' for value in numbers)}"
        for name, numbers in (("black", shown.black), ("grey 128", shown.grey), ("white", shown.white))
    )
    height, width = shown.size
    head = f"{shown.channel_order}, {height} x {width}, resize {shown.resize}, mean subtracted: {shown.mean}"
    return [("input", head), ("input values", values), *(("input note", note) for note in shown.notes)]


def drawn_lines(effect: "EffectiveRecipe") -> list[Line]:
    """Initialisation, by parameter in small networks and by distribution in others."""
    if len(effect.initialisation) <= 2 * MANY_LAYERS:
        return [("initialisation", f"{entry.name}: {entry}{drawn_text(entry)}") for entry in effect.initialisation]
    by_words: dict[str, list[str]] = {}
    for entry in effect.initialisation:
        by_words.setdefault(str(entry), []).append(entry.name)
    listed = [
        ("initialisation", f"{words}: {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else ""))
        for words, names in by_words.items()
    ]
    rest = len(listed) - MANY_LAYERS
    return [*listed[:MANY_LAYERS], *([("initialisation", f"{rest} more distributions (--json)")] if rest > 0 else [])]


def drawn_text(entry: object) -> str:
    from convatlas.training.effective import Initialisation

    if not isinstance(entry, Initialisation) or entry.std is None or entry.mean is None or entry.family == "constant":
        return ""
    return f"; drawn: mean {entry.mean:.2g}, deviation {entry.std:.4g}"


def write_markdown(effect: "EffectiveRecipe") -> None:
    """The same lines as a Markdown table."""
    rows = [f"| {what} | {escape_cell(value)} |" for what, value in lines_of(effect)]
    heading = f"## {effect.network}: recipe {effect.variant}"
    sys.stdout.write("\n".join([heading, "", "| what | training does |", "|:--|:--|", *rows]) + "\n")


def escape_cell(text: str) -> str:
    return visible(text).replace("|", "\\|").replace("<", "&lt;")
