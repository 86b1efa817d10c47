"""One recipe as it really trains a network."""

from collections import defaultdict
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from convatlas.data import DataSet
from convatlas.errors import UsageError
from convatlas.evaluation.protocols import describe
from convatlas.facts.recipes import recipe_ledger
from convatlas.records import NetworkCard
from convatlas.training.effective.draws import Initialisation, build_watched
from convatlas.training.effective.inputs import InputEffect, Operation, input_of, operations
from convatlas.training.effective.updates import (
    Change,
    GroupEffect,
    changes_of,
    groups_of,
    plateau_rates,
    recipe_rate,
    stand_in,
)
from convatlas.training.plain import plain
from convatlas.training.prepare import make_optimizer, set_batch_norm_momentum
from convatlas.training.recipe import Recipe, length
from convatlas.training.schedules import StepDrops

# Training samples of the published data sets, by the beginning of the name that results print.
SAMPLES = {
    "ILSVRC-2012": 1_281_167,
    "ILSVRC-2010": 1_261_406,
    "CIFAR-10": 50_000,
    "CIFAR-100": 50_000,
    "MNIST": 60_000,
    "GTSRB": 39_209,
    "zip code": 7_291,
}


@dataclass(frozen=True)
class NormEffect:
    """Settings that some batch normalisation layers share."""

    momentum: float | None  # the share of the new batch, as torch has it
    epsilon: float
    layers: int
    first: str


@dataclass(frozen=True)
class DropoutEffect:
    name: str
    probability: float


@dataclass(frozen=True)
class EffectiveRecipe:
    """What training does, in numbers: see `convatlas recipe`."""

    network: str
    variant: str
    source: str
    optimizer: str
    optimizer_settings: dict[str, Any]  # of the recipe, before groups and schedule
    groups: tuple[GroupEffect, ...]
    policy: str
    changes: tuple[Change, ...]  # of the schedule's rate, the first at step 0
    continuous: bool  # the rate changes all the time: `changes` are five points of it
    after_plateaus: tuple[float, ...]  # rates after each wait in vain, of a schedule that waits for the error
    last_rate: float
    batch: int  # samples of one gradient
    parts: int  # in which it is computed
    samples: int | None  # of the training split; None: not known
    steps_an_epoch: int | None
    steps: int | None
    epochs: float
    input: InputEffect
    augmentation: tuple[Operation, ...]
    initialisation: tuple[Initialisation, ...]
    batch_norm: tuple[NormEffect, ...]
    dropout: tuple[DropoutEffect, ...]
    loss: dict[str, Any]
    auxiliary_weight: float
    clip: dict[str, Any] | None
    filter_norm: float | None  # root mean square to which larger filters are scaled back after each step
    averaging: dict[str, Any] | None
    class_weights: Any
    keep: str
    protocol: str
    results: tuple[dict[str, Any], ...]
    expected: str
    cost: str
    notes: tuple[str, ...]  # what is ours and not the paper's, and what is to be known beside

    def to_json(self) -> dict[str, Any]:
        """Plain tables, lists, text and numbers."""
        return asdict(self)


def effective_recipe(
    card: NetworkCard, recipe: Recipe, *, data: DataSet | None = None, samples: int | None = None
) -> EffectiveRecipe:
    """What training a network by a recipe really does. No weights are allocated and no image is needed.

    Args:
        card: of the network.
        recipe: for that network.
        data: whose training split gives the number of samples and what is measured on it.
        samples: of the training split; None takes the data's, or the published number where it is known.

    Raises:
        UsageError: `samples` is below 1, or the recipe does not go with the network.

    Example:
        >>> from convatlas import registry
        >>> from convatlas.training.recipes import find
        >>> effect = effective_recipe(registry.card("alexnet"), find("alexnet"))
        >>> effect.groups[0].learning_rate, effect.groups[0].decay_a_step
        (0.01, (5e-06,))
    """
    if samples is not None and samples < 1:
        raise UsageError(f"samples is {samples}; expected at least 1")
    number = samples or (len(data.train) if data is not None else published_samples(recipe))
    net, drawn = build_watched(card, len(data.classes) if data is not None else None)
    set_batch_norm_momentum(net, recipe.batch_norm_momentum)
    stand_in(net)
    optimizer = make_optimizer(recipe, net)
    an_epoch = None if number is None else ceil(number / recipe.batch_size)
    stated = None if recipe.steps is None else recipe.steps.count
    epochs, steps = (recipe.epochs, stated) if an_epoch is None else length(recipe, an_epoch)
    reach = steps or recipe.epochs * 1_000
    changes, continuous = changes_of(recipe, reach)
    if steps is None:
        changes = changes[:1]
    waits = plateau_rates(recipe)
    last = waits[-1] if waits else recipe.schedule.rate(recipe_rate(recipe), reach - 1, reach)
    rates = [*(change.rate for change in changes), *waits]
    return EffectiveRecipe(
        network=card.name,
        variant=recipe.variant,
        source=recipe.source,
        optimizer=type(recipe.optimizer).__name__ if optimizer is None else type(optimizer).__name__,
        optimizer_settings={name: value for name, value in plain(recipe.optimizer).items() if name != "kind"},
        groups=groups_of(net, optimizer, rates),
        policy=policy_of(recipe),
        changes=changes,
        continuous=continuous,
        after_plateaus=waits,
        last_rate=last,
        batch=recipe.batch_size,
        parts=recipe.accumulate,
        samples=number,
        steps_an_epoch=an_epoch,
        steps=steps,
        epochs=epochs,
        input=input_of(recipe, card, data),
        augmentation=operations(recipe.augment),
        initialisation=drawn,
        batch_norm=norms_of(net),
        dropout=tuple(DropoutEffect(n, float(m.p)) for n, m in net.named_modules() if isinstance(m, _DropoutNd)),
        loss=plain(recipe.loss),
        auxiliary_weight=recipe.auxiliary_weight,
        clip=None if recipe.clip is None else plain(recipe.clip),
        filter_norm=None if recipe.filter_norm is None else recipe.filter_norm.rms,
        averaging=None if recipe.averaging is None else plain(recipe.averaging),
        class_weights=plain(recipe.class_weights),
        keep=recipe.keep,
        protocol=describe(recipe.test_time) if card.task == "classification" else f"the task's own: {card.task}",
        results=tuple(plain(result) for result in recipe.results),
        expected=recipe.expected,
        cost=recipe.cost,
        notes=recipe.notes,
    )


def published_samples(recipe: Recipe) -> int | None:
    """Samples of the training split that the source used: by the ledger, or by the data set of its results."""
    stated = recipe_ledger().get((recipe.network, recipe.variant))
    for row in stated.rows if stated is not None else ():
        if row.quantity == "samples":
            return int((row.means or row.paper or row.release).replace(",", ""))
    names = [name for result in recipe.results[:1] for name in SAMPLES if result.data.startswith(name)]
    return SAMPLES[max(names, key=len)] if names else None


def policy_of(recipe: Recipe) -> str:
    """The schedule by its kind: "drops", whether they are stated in parts of the run or in steps."""
    return "drops" if isinstance(recipe.schedule, StepDrops) else type(recipe.schedule).__name__.lower()


def norms_of(net: nn.Module) -> tuple[NormEffect, ...]:
    """Batch normalisation layers by their settings."""
    layers: defaultdict[tuple[float | None, float], list[str]] = defaultdict(list)
    for name, module in net.named_modules():
        if isinstance(module, _BatchNorm):
            layers[module.momentum, module.eps].append(name)
    return tuple(NormEffect(*settings, len(names), names[0]) for settings, names in layers.items())
