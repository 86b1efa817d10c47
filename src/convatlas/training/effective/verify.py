"""The effective recipe beside what paper and release state, row by row."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from convatlas import registry
from convatlas.facts.recipes import RECIPE_QUANTITIES, RecipeFacts, Row, recipe_ledger
from convatlas.training.effective.recipe import EffectiveRecipe, effective_recipe
from convatlas.training.effective.updates import GroupEffect
from convatlas.training.recipe import Recipe

VERDICTS = ("holds", "recalled", "differs", "not comparable", "uncovered", "fails")
RELATIVE = 1e-3  # printed numbers are rounded
_KINDS = ("weights", "biases", "norm")
_SEPARATORS = re.compile(r"[\s,;x]+")


@dataclass(frozen=True)
class RecipeRow:
    """One stated thing beside what training does."""

    network: str
    variant: str
    quantity: str
    of: str
    paper: str
    release: str
    follows: str  # paper or release
    expected: str  # the followed value in comparable form
    effective: str
    verdict: str  # one of VERDICTS
    reason: str  # why it differs or can't be compared
    place: str
    confidence: str


def verify_recipes(recipes: Sequence[Recipe]) -> tuple[RecipeRow, ...]:
    """Each recipe beside its entry in the ledger; a recipe without entry gives one row, "uncovered"."""
    rows: list[RecipeRow] = []
    for recipe in recipes:
        entry = recipe_ledger().get((recipe.network, recipe.variant))
        if entry is None:
            rows.append(uncovered(recipe))
        else:
            rows += compare(entry, effective_recipe(registry.card(recipe.network), recipe))
    return tuple(rows)


def uncovered(recipe: Recipe) -> RecipeRow:
    if recipe.source.startswith("this project"):
        own = "this project's own recipe: no paper and no release states anything"
        return RecipeRow(
            recipe.network, recipe.variant, "recipe", "", "", "", "", "", "", "not comparable", own, "", ""
        )
    reason = f"nobody has written down yet what {recipe.source} states; add it to facts/recipes"
    return RecipeRow(recipe.network, recipe.variant, "recipe", "", "", "", "", "", "", "uncovered", reason, "", "")


def compare(entry: RecipeFacts, effect: EffectiveRecipe) -> list[RecipeRow]:
    """The verdicts on one recipe's rows."""
    return [_judge(entry, row, effect) for row in entry.rows]


def _judge(entry: RecipeFacts, row: Row, effect: EffectiveRecipe) -> RecipeRow:
    source = entry.source_of(row)
    stated, place, confidence = {
        "paper": (row.paper, row.paper_place, row.paper_confidence),
        "release": (row.release, row.release_place, row.release_confidence),
    }[source]
    expected, form = row.means or stated, RECIPE_QUANTITIES[row.quantity][0]
    value = None if form == "text" and row.quantity != "protocol" else value_of(effect, row.quantity, row.of)
    shown = "" if value is None else render(value)
    same = None if value is None else agrees(expected, value, form)
    if same is None:
        verdict = "not comparable"
        reason = row.note or _unseen(row.quantity, value)
    elif same:
        verdict, reason = ("recalled" if confidence == "recalled" else "holds"), row.note
    else:
        verdict, reason = ("differs" if row.departs else "fails"), row.departs or row.note
    return RecipeRow(
        entry.network, entry.variant, row.quantity, row.of, row.paper, row.release, source, expected, shown, verdict,
        reason, place, confidence,
    )  # fmt: skip


def _unseen(quantity: str, value: Any) -> str:
    if quantity == "samples":
        return "steps and drops are counted with it"
    return "training does not show it" if value is None else "stated in words"


def render(value: Any) -> str:
    """A value as the ledger writes it: "0.01", "32000 48000"."""
    if isinstance(value, tuple):
        return " ".join(map(render, value))
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def agrees(expected: str, value: Any, form: str) -> bool | None:
    """Whether the effective value is the stated one; None where the stated one can't be read in its form."""
    if form in ("number", "numbers"):
        numbers = [number(part) for part in ([expected] if form == "number" else _SEPARATORS.split(expected.strip()))]
        values = value if isinstance(value, tuple) else (value,)
        if None in numbers or not all(isinstance(item, int | float) for item in values):
            return None
        pairs = zip(numbers, values, strict=False)
        return len(numbers) == len(values) and all(close(a, float(b)) for a, b in pairs if a is not None)
    if form == "words":
        return words_agree(expected, render(value))
    return squeeze(expected) == squeeze(str(value)) if expected and squeeze(expected) in squeeze(str(value)) else None


def words_agree(expected: str, value: str) -> bool:
    """Equal but for case and blanks; a number at the end may differ by rounding."""
    head, _, tail = expected.strip().rpartition(" ")
    other_head, _, other_tail = value.strip().rpartition(" ")
    a, b = number(tail), number(other_tail)
    if a is not None and b is not None:
        return squeeze(head) == squeeze(other_head) and close(a, b)
    return squeeze(expected) == squeeze(value)


def squeeze(text: str) -> str:
    return re.sub(r"[\s_-]+", "", text).lower()


def close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=RELATIVE, abs_tol=1e-12)


def number(text: str) -> float | None:
    """A printed number: "0.01", "5e-6", "1,281,167", "1/3", "50%"; None for anything else."""
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", text.strip())
    scale = 0.01 if plain.endswith("%") else 1.0
    top, slash, bottom = plain.removesuffix("%").partition("/")
    try:
        return scale * float(top) / (float(bottom) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        return None


def group_of(effect: EffectiveRecipe, of: str) -> GroupEffect | None:
    """The group with most parameters of a kind, or the one that has a parameter of that name."""
    kind = of or "weights"
    if kind in _KINDS:
        return max((g for g in effect.groups if g.kind == kind), key=lambda g: g.parameters, default=None)
    return next((g for g in effect.groups if any(fnmatchcase(name, kind) for name in g.names)), None)


def value_of(effect: EffectiveRecipe, quantity: str, of: str) -> Any:
    """What the effective recipe has for a quantity of the ledger; None where it shows nothing of the kind."""
    if quantity in ("learning_rate", "multiplier", "momentum", "weight_decay", "decay_a_step"):
        group = group_of(effect, of)
        if group is None:
            return None
        known = {
            "learning_rate": group.learning_rate, "multiplier": group.multiplier, "momentum": group.momentum,
            "weight_decay": group.weight_decay, "decay_a_step": group.decay_a_step[0],
        }  # fmt: skip
        return known[quantity]
    if quantity in ("drops", "drop_epochs", "divisor", "last_rate"):
        return _of_schedule(effect, quantity)
    if quantity == "augmentation":
        return _of_augmentation(effect, of)
    if quantity == "initialisation":
        drawn = {str(entry) for entry in effect.initialisation if fnmatchcase(entry.name, of)}
        zeros = {text.replace("constant 0", "zeros") if text == "constant 0" else text for text in drawn}
        return ", ".join(sorted(zeros)) or None
    if quantity == "dropout":
        rates = {entry.probability for entry in effect.dropout if fnmatchcase(entry.name, of or "*")}
        return tuple(sorted(rates)) or 0.0
    if quantity == "setting":
        return {**effect.loss, **effect.optimizer_settings}.get(of)
    if quantity == "result":
        return _of_results(effect, of)
    return _plain_value(effect, quantity)


def _of_schedule(effect: EffectiveRecipe, quantity: str) -> Any:
    if quantity == "last_rate":
        return effect.last_rate
    if quantity == "divisor":
        rates = [change.rate for change in effect.changes] + list(effect.after_plateaus)
        return rates[0] / rates[1] if len(rates) > 1 and rates[1] else None
    if effect.continuous or effect.steps is None or effect.steps_an_epoch is None or effect.after_plateaus:
        return None
    steps = tuple(change.step for change in effect.changes[1:])
    return steps if quantity == "drops" else tuple(step / effect.steps_an_epoch for step in steps)


def _of_augmentation(effect: EffectiveRecipe, of: str) -> Any:
    name, _, field = of.partition(".")
    step = next((step for step in effect.augmentation if step.name == name), None)
    if not field:
        return "absent" if step is None else "present"
    value = None if step is None else step.settings.get(field)
    return tuple(value) if isinstance(value, list) else value


def _of_results(effect: EffectiveRecipe, of: str) -> float | None:
    figure, _, protocol = (part.strip() for part in of.partition(";"))
    field = {"top-1 error": "top1_error", "top-5 error": "top5_error"}.get(figure, figure)
    values = [result.get(field) for result in effect.results if squeeze(result["protocol"]) == squeeze(protocol)]
    return number(str(values[0])) if values else None


def _plain_value(effect: EffectiveRecipe, quantity: str) -> Any:
    norm = effect.batch_norm[0] if effect.batch_norm else None
    known = {
        "optimizer": effect.optimizer,
        "batch": effect.batch,
        "steps": effect.steps,
        "epochs": effect.epochs,
        "policy": effect.policy,
        "channel_order": effect.input.channel_order,
        "input_black": effect.input.black,
        "input_white": effect.input.white,
        "input_size": effect.input.size,
        "mean": effect.input.mean,
        "batch_norm_momentum": None if norm is None else norm.momentum,
        "batch_norm_epsilon": None if norm is None else norm.epsilon,
        "loss": effect.loss["kind"],
        "auxiliary_weight": effect.auxiliary_weight,
        "label_smoothing": effect.loss.get("label_smoothing"),
        "clip": None if effect.clip is None else effect.clip.get("norm", effect.clip.get("value")),
        "filter_norm": effect.filter_norm,
        "averaging": None if effect.averaging is None else effect.averaging.get("decay"),
        "protocol": effect.protocol,
    }
    return known.get(quantity)
