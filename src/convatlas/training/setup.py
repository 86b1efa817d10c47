"""Builds data, model and optimizer from a recipe, a data set and a device."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from convatlas import registry, weights
from convatlas.analysis.trace import trace_network
from convatlas.blocks.region_search import RegionSearch
from convatlas.blocks.region_svms import WithSvms
from convatlas.data import DataSet, LabelAssembly, Loader, Split, default_preprocessing, measured
from convatlas.data.depths import white_of
from convatlas.errors import UsageError
from convatlas.ops.selective_search import REMEMBERED
from convatlas.records import Preprocessing
from convatlas.training import compiling, finetuning, trainable
from convatlas.training.distributed import Processes
from convatlas.training.optimizers import StochasticDiagonalLM
from convatlas.training.own_losses import OwnLosses
from convatlas.training.prepare import make_optimizer, set_batch_norm_momentum
from convatlas.training.recipe import OwnRule, Recipe, RegionSvms, length, on_data
from convatlas.training.sharding import shard
from convatlas.training.start_images import check_start, preprocessing_of_start, with_values
from convatlas.training.step import Learner
from convatlas.training.summary import Compared
from convatlas.training.synchronised import synchronise
from convatlas.training.tasks import TASKS, build_parts
from convatlas.training.tasks.classification import augmentations
from convatlas.training.tasks.parts import Batches, Materials, Score

ENOUGH_FOR_STATISTICS = 32  # samples of a process, as on each GPU of the residual networks' authors


@dataclass(frozen=True)
class Setup:
    """The parts of a run."""

    recipe: Recipe
    processes: Processes
    train: Batches
    score: Score  # after each epoch: on the validation split, or the test split where there is none
    final: Score | None  # on the test split, once; None: `score` has done it
    learner: Learner
    card: dict[str, Any]  # of the weights
    preprocessing: Preprocessing
    before_pass: Callable[[int], None] | None  # called with the epoch
    all_steps: int  # of the run
    val_serves_as_test: bool = False

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return len(self.train)

    @property
    def compares_on(self) -> Compared:
        """The split on which epochs are compared."""
        return "test" if self.final is None else "val"

    @property
    def multiply_adds(self) -> int:
        """Of one sample's forward pass; of one window of it where the network looks at windows."""
        side = registry.card(self.recipe.network).traits.window_px
        size = self.preprocessing.size if side is None else (side, side)
        records = trace_network(self.recipe.network, (self.preprocessing.channels, *size))
        return sum(record.multiply_adds or 0 for record in records)


def set_up(
    recipe: Recipe,
    data: DataSet,
    processes: Processes,
    *,
    workers: int = 0,
    on_loading: Callable[[int, int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Setup:
    """Loads the data and builds the network with its optimiser.

    Raises:
        UsageError: the recipe's network is unknown, or a field of the recipe does not go with the network.
    """
    if isinstance(recipe.optimizer, OwnRule) and processes.count > 1:
        raise UsageError(f"{recipe.network} learns by a rule of its own, pattern by pattern: on one process only")
    network, device = registry.card(recipe.network), processes.device
    preprocessing = recipe.preprocessing or default_preprocessing(network, data.train)
    if recipe.preprocessing is None and (theirs := preprocessing_of_start(recipe)) is not None:
        preprocessing = with_values(preprocessing, theirs)
    check_channels(preprocessing)
    check_start(recipe, preprocessing)
    preprocessing = replace(measured(preprocessing, data.train), max_sample=white_of(data.train))
    card = weights.make_card(
        network.name,
        num_classes=len(data.classes),
        in_channels=preprocessing.channels,
        classes=data.classes,
        preprocessing=preprocessing,
    )
    if data.colours is not None:
        card["colours"] = [list(colour) for colour in data.colours]
    torch.manual_seed(recipe.seed)
    net = registry.build(recipe.network, num_classes=len(data.classes), in_channels=preprocessing.channels).to(device)
    set_batch_norm_momentum(net, recipe.batch_norm_momentum)
    if isinstance(net, RegionSearch):
        net.shown = preprocessing
    if recipe.fine_tune:
        finetuning.start(net, network.name, data.classes, recipe.fine_tune)
        started_from = weights.read_card(recipe.fine_tune.weights, network.name) or {}
        same = registry.card(started_from.get("network", network.name)).name == network.name
        card |= {"settings": started_from["settings"]} if same and "settings" in started_from else {}
    if isinstance(recipe.optimizer, RegionSvms):
        if not isinstance(net, WithSvms):
            raise UsageError(f"optimizer RegionSvms needs a network that looks at regions; {network.name} does not")
        net.svm_settings = recipe.optimizer
    made_of = Materials(recipe, data, preprocessing, processes, net, workers, on_loading)
    parts = build_parts(network.task, made_of)
    joined = joins_statistics(recipe, processes.count)
    trainable.check(recipe, preprocessing, len(parts.train.split), 1 if joined else processes.count)
    if on_note and network.traits.searches_regions:
        on_note(
            f"{network.name} takes its regions from selective search, which needs seconds for an image; "
            f"the last {REMEMBERED:,} are remembered"
        )
    sharded = recipe.shard and processes.count > 1
    if recipe.channels_last and not sharded:  # FSDP knows no other layout of parameters than the plain one
        net = net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if joined:
        net = synchronise(net, device)
    if sharded and recipe.filter_norm:
        raise UsageError("filter_norm has no place in a network that is spread over processes; expected shard=False")
    if sharded:
        net = shard(net, recipe, processes)
    optimizer = make_optimizer(recipe, net)
    before_pass = None
    if isinstance(optimizer, StochasticDiagonalLM):
        batch_size = min(optimizer.patterns, len(data.train))
        patterns = Loader(
            LabelAssembly(data.train, preprocessing, augmentations(recipe)),
            batch_size=batch_size,
            shuffle=True,
            seed=recipe.seed,
            device=device,
        )
        before_pass = partial(estimate_curvature, optimizer, patterns, recipe)
    recipe = on_data(recipe, len(parts.train))
    _, all_steps = length(recipe, len(parts.train))
    input_shape = (preprocessing.channels, *preprocessing.size)
    learner = Learner(
        recipe,
        net,
        optimizer,
        processes,
        steps=all_steps,
        wrong=None if isinstance(recipe.loss, OwnLosses) else TASKS[network.task].count_wrong,
        class_weights=parts.class_weights,
        compile_with=compiling.choose(recipe, input_shape, len(data.train), device, on_note),
    )
    score, final = (parts.test, None) if parts.val is None else (parts.val, parts.test)
    serves = data.val_serves_as_test
    return Setup(
        recipe, processes, parts.train, score, final, learner, card, preprocessing, before_pass, all_steps, serves
    )


def check_channels(preprocessing: Preprocessing) -> None:
    """Raises UsageError where images can't be brought to that many channels, or are normalised by another number."""
    channels = preprocessing.channels
    if channels not in (1, 3):
        raise UsageError(f"preprocessing.channels is {channels}; images are grey or coloured: expected 1 or 3")
    for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
        if len(values) != channels:
            raise UsageError(f"preprocessing.{name} has {len(values)} values; expected {channels}, one a channel")
    if not all(math.isfinite(value) for value in preprocessing.mean) or not all(
        0 < s < math.inf for s in preprocessing.std
    ):
        raise UsageError(f"preprocessing.std is {preprocessing.std}; expected finite numbers, std above 0")
    if min(preprocessing.size) < 1:
        raise UsageError(f"preprocessing.size is {preprocessing.size}; expected at least 1 pixel a side")


def joins_statistics(recipe: Recipe, processes: int) -> bool:
    """Whether batch normalisation takes the mean over all processes' samples: asked for, or each has few.

    The exchange in every layer costs more than half of what a second process on one machine brings.
    """
    if processes == 1 or recipe.sync_batchnorm != "auto":
        return processes > 1 and bool(recipe.sync_batchnorm)
    return recipe.batch_size < ENOUGH_FOR_STATISTICS * processes


def estimate_curvature(
    optimizer: StochasticDiagonalLM, patterns: Loader[Split, Tensor], recipe: Recipe, epoch: int
) -> None:
    """Renews the second derivatives from the first patterns of the pass."""
    batch = next(iter(patterns.epoch(epoch)))
    optimizer.estimate(batch.images, batch.labels, recipe.loss)  # pyright: ignore[reportArgumentType]
