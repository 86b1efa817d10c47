"""The ledger of recipes: what papers and releases state about training, in `recipes/<paper key>.toml`.

A file holds entries `[[recipes]]` with `network`, `variant`, `follows` and `rows`, which `Row` describes. `networks`
instead of `network` gives the same rows to several; what several entries say of one recipe adds up. `defaults` fills
the rows' places and confidences where they have none. `[sources]` names releases once, pinned by commit: with
caffe = "BVLC/caffe@9b89154", "caffe:models/x" is "BVLC/caffe@9b89154 models/x". Values are strings as printed. Where a
printed value is no number, word or list that can be compared, `means` says it so.
"""

import functools
import tomllib
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any, Literal

from convatlas.facts.loader import read_fields
from convatlas.facts.schema import CONFIDENCES, LedgerError

Source = Literal["paper", "release"]
Form = Literal["number", "numbers", "words", "text"]

RECIPE_QUANTITIES: dict[str, tuple[Form, str]] = {
    "optimizer": ("words", "name of the update rule: SGD, KrizhevskySGD, Adam, AdamW, RMSprop, ..."),
    "learning_rate": ("number", "at the first step; `of` a group of parameters: what reaches it, multiplier included"),
    "multiplier": ("number", "`of` a group: its factor before the schedule's rate (Caffe's lr_mult)"),
    "momentum": ("number", ""),
    "weight_decay": ("number", "the coefficient, as the update rule of the recipe takes it"),
    "decay_a_step": ("number", "fraction of a weight that one step at the first learning rate takes away"),
    "batch": ("number", "samples of one gradient: batch x accumulation (x GPUs)"),
    "steps": ("number", "updates of the published run"),
    "epochs": ("number", "passes over the published data"),
    "samples": ("number", "of the published training split"),
    "policy": ("words", "constant, drops, plateau, polynomial, inverse, staircase, cosine, passes"),
    "drops": ("numbers", 'steps after which the rate changes; means = ["32000 48000"]'),
    "drop_epochs": ("numbers", "the same in epochs"),
    "divisor": ("number", "by which the rate is divided at the first drop"),
    "last_rate": ("number", "learning rate of the last step"),
    "channel_order": ("words", "rgb, bgr or grey"),
    "input_black": ("numbers", "what a black pixel becomes, one value a channel in the order of the input"),
    "input_white": ("numbers", "what a white pixel becomes"),
    "input_size": ("numbers", "height and width of the input"),
    "mean": ("words", "what is subtracted: none, image (the training images' mean image), or colour"),
    "augmentation": ("words", "`of` an operation, by its name: present or absent; or, `of` Name.field, its value"),
    "initialisation": ("words", "`of` a layer or pattern of layers: normal 0.01, uniform 0.05, constant 1, zeros"),
    "dropout": ("number", "`of` a layer: the probability of being left out"),
    "batch_norm_momentum": ("number", "share of the new batch, as torch has it: 1 - 0.9997"),
    "batch_norm_epsilon": ("number", ""),
    "loss": ("words", "name of the loss"),
    "setting": ("words", "`of` a field of the optimiser or the loss: its value, as epsilon or a ridge's strength"),
    "auxiliary_weight": ("number", ""),
    "loss_weight": ("number", "`of` a part of the loss"),
    "clip": ("number", "norm or value at which the gradient is clipped"),
    "filter_norm": ("number", "root mean square to which larger filters are scaled back after each step"),
    "label_smoothing": ("number", ""),
    "averaging": ("number", "decay of the average of the weights"),
    "protocol": ("text", "how the finished network is tested"),
    "result": ("number", '`of` "top-1 error; 10 crops": figure; protocol, as the recipe promises it'),
    "hardware": ("text", ""),
    "time": ("text", ""),
    "other": ("text", "what no quantity above says; never compared"),
}


@dataclass(frozen=True)
class Row:
    """One thing that a paper or a release states about training."""

    quantity: str  # one of RECIPE_QUANTITIES
    of: str = ""  # "weights", "biases", "norm", a layer or pattern of parameter names; empty: the whole recipe
    paper: str = ""  # as printed; empty: it does not say
    paper_place: str = ""
    paper_confidence: str = "recalled"  # one of CONFIDENCES
    release: str = ""  # as written in the file; empty: it does not say, or there is none
    release_place: str = ""  # the file: "BVLC/caffe models/bvlc_alexnet/solver.prototxt"
    release_confidence: str = "recalled"
    means: str = ""  # the followed value in the form of its quantity, where the printed one is not in it
    follows: Source | Literal[""] = ""  # whose value the recipe takes here, where it is not the entry's `follows`
    departs: str = ""  # why the recipe differs from the value that it follows
    note: str = ""


@dataclass(frozen=True)
class RecipeFacts:
    """What is stated about one recipe."""

    network: str
    variant: str
    follows: Source
    rows: tuple[Row, ...] = ()
    paper: str = ""  # key of the file

    def source_of(self, row: Row) -> Source:
        """Whose value the recipe takes in a row: the row's own word, or the entry's if that source says something."""
        if row.follows:
            return row.follows
        other: Source = "release" if self.follows == "paper" else "paper"
        stated = {"paper": row.paper, "release": row.release}
        return self.follows if stated[self.follows] else other


def _row(table: Any, where: str) -> Row:
    row = Row(**read_fields(Row, table, where))
    checks = (
        ("quantity", row.quantity, tuple(RECIPE_QUANTITIES)),
        ("paper_confidence", row.paper_confidence, CONFIDENCES),
        ("release_confidence", row.release_confidence, CONFIDENCES),
        ("follows", row.follows, ("", "paper", "release")),
    )
    for field, value, allowed in checks:
        if value not in allowed:
            raise LedgerError(f"{where}.{field} is {value!r}; expected one of {', '.join(filter(None, allowed))}")
    if not (row.paper or row.release):
        raise LedgerError(f"{where}: neither the paper nor the release states anything; give one of them a value")
    stated = ((row.paper, row.paper_place, "paper"), (row.release, row.release_place, "release"))
    for value, place, source in stated:
        if value and not place:
            raise LedgerError(f"{where}.{source}_place is missing; say where {value!r} stands")
    return row


def parse_recipes(key: str, text: str) -> tuple[RecipeFacts, ...]:
    """The recipes of one ledger file from its text.

    Raises:
        LedgerError: the text is no TOML, or breaks the schema.
    """
    where = f"facts/recipes/{key}.toml"
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LedgerError(f"{where}: {error}") from None
    if not {"recipes"} <= set(table) <= {"recipes", "sources"} or not isinstance(table["recipes"], list):
        raise LedgerError(f"{where} holds {', '.join(table) or 'nothing'}; expected [[recipes]], and [sources] at most")
    sources = table.get("sources", {})
    entries: dict[tuple[str, str], RecipeFacts] = {}
    for index, body in enumerate(table["recipes"]):
        here = f"{where}: recipes[{index}]"
        if not isinstance(body, dict) or not isinstance(body.get("rows"), list) or not body["rows"]:
            raise LedgerError(f"{here}: expected network, variant, follows and at least one row")
        defaults = body.pop("defaults", {})
        filled = [_filled(row, defaults, sources) for row in body.pop("rows")]
        rows = tuple(_row(row, f"{here}.rows[{i}]") for i, row in enumerate(filled))
        for network in body.pop("networks", None) or (body.get("network"),):
            fields = {**body, "network": network, "paper": key}
            entry = RecipeFacts(**read_fields(RecipeFacts, fields, here, ignore=("rows",)), rows=rows)
            if entry.follows not in ("paper", "release"):
                raise LedgerError(f"{here}.follows is {entry.follows!r}; expected paper or release")
            before = entries.get((entry.network, entry.variant))
            if before is not None and before.follows != entry.follows:
                raise LedgerError(f"{here}.follows is {entry.follows!r}; an entry before says {before.follows!r}")
            whole = entry if before is None else replace(entry, rows=before.rows + rows)
            entries[entry.network, entry.variant] = whole
    return tuple(entries.values())


def _filled(row: Any, defaults: dict[str, str], sources: dict[str, str]) -> Any:
    """A row with its defaults, and with the releases' full names."""
    if not isinstance(row, dict):
        return row
    row = {name: value for name, value in defaults.items() if name.partition("_")[0] in row} | row
    name, colon, path = row.get("release_place", "").partition(":")
    return row | {"release_place": f"{sources[name]} {path}"} if colon and name in sources else row


@functools.cache
def recipe_ledger() -> dict[tuple[str, str], RecipeFacts]:
    """All entries, by network and variant.

    Raises:
        LedgerError: a file breaks the schema, or two entries are for the same recipe.
    """
    folder = resources.files("convatlas.facts") / "recipes"
    entries: dict[tuple[str, str], RecipeFacts] = {}
    for file in sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name):
        for entry in parse_recipes(file.name.removesuffix(".toml"), file.read_text(encoding="utf-8")):
            key = entry.network, entry.variant
            if key in entries:
                raise LedgerError(f"facts/recipes/{file.name}: {entry.network}, {entry.variant} has two entries")
            entries[key] = entry
    return entries
