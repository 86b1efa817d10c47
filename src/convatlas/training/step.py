"""One step: a batch goes through the network, and everything that learns changes. What a step changes is in `state`."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.optim import Optimizer

from convatlas import registry
from convatlas.data import Batch
from convatlas.data.batch import Labels
from convatlas.errors import UsageError
from convatlas.records import AuxiliaryOutputs, LearnsByItself, RemembersPass
from convatlas.training import finetuning, sharding
from convatlas.training.averaging import Average
from convatlas.training.dense_losses import PixelCrossEntropy
from convatlas.training.distributed import Processes, without_sync
from convatlas.training.losses import CrossEntropy
from convatlas.training.mechanisms import ClipNorm, ClipValue
from convatlas.training.mistakes import wrong_labels
from convatlas.training.own_losses import LossesOf, OwnLosses
from convatlas.training.prepare import renormalise_filters
from convatlas.training.recipe import OutputLoss, OwnRule, Recipe


class NotFiniteError(Exception):
    """The loss of a step (counted from 0 over the run) is NaN or infinite; `indices` are its samples."""

    def __init__(self, loss: float, indices: Tensor, step: int) -> None:
        super().__init__(f"loss {loss} in step {step}")
        self.loss, self.indices, self.step = loss, indices, step


def forward(
    net: nn.Module, recipe: Recipe, images: Tensor, labels: Labels, class_weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(logits, loss) in train mode; each auxiliary head adds its weighted loss.

    Of a network with losses of its own there is the loss alone.
    """
    if isinstance(recipe.loss, OwnLosses):
        return images.new_zeros(0), net(images, labels)
    if not isinstance(labels, Tensor):
        raise UsageError(f"loss: {type(recipe.loss).__name__} takes no objects; expected OwnLosses")
    loss = weighted(recipe.loss, class_weights)
    outputs = net(images)
    if not isinstance(outputs, AuxiliaryOutputs):
        return outputs, loss(outputs, labels)
    auxiliary = sum(loss(head, labels) for head in outputs.auxiliary)
    return outputs.logits, loss(outputs.logits, labels) + recipe.auxiliary_weight * auxiliary


def weighted(loss: OutputLoss, class_weights: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss, with the weights of its classes where there are any."""
    if class_weights is None:
        return loss
    if not isinstance(loss, CrossEntropy | PixelCrossEntropy):
        raise UsageError(f"class_weights: {type(loss).__name__} takes none; expected CrossEntropy or PixelCrossEntropy")
    return partial(loss, class_weights=class_weights)


def split(targets: Labels, parts: int) -> list[Labels]:
    """Targets of a batch, a tensor or a list with one entry a sample, as `Tensor.tensor_split` splits the images."""
    if isinstance(targets, Tensor):
        return list(targets.tensor_split(parts))
    places = torch.arange(len(targets)).tensor_split(parts)
    return [[targets[place] for place in part.tolist()] for part in places]


class Learner:
    """A network, its optimiser, and whatever else a step changes.

    Args:
        net: as built, on its device.
        steps: of the whole run.
        wrong: (outputs, targets) -> how many of the samples are wrong; None: nobody knows.
        class_weights: (K,) or None.
        compile_with: makes the forward pass and the loss into something faster.
    """

    def __init__(
        self,
        recipe: Recipe,
        net: nn.Module,
        optimizer: Optimizer | None,
        processes: Processes,
        *,
        steps: int,
        wrong: Callable[[Tensor, Tensor], Tensor] | None = wrong_labels,
        class_weights: Tensor | None = None,
        compile_with: Callable[[Callable], Callable] | None = None,
    ) -> None:
        self.recipe, self.net, self.optimizer, self.processes = recipe, net, optimizer, processes
        device = processes.device
        leaves_out = registry.card(recipe.network).traits.draws_randomly
        self.draws_randomly = leaves_out or any(isinstance(m, _DropoutNd) for m in net.modules())
        self.average = Average(net, recipe.averaging, steps=steps) if recipe.averaging else None
        self.scaler = torch.amp.GradScaler(device.type) if recipe.precision == "fp16" else None
        self._sharded = recipe.shard and processes.count > 1
        unused = leaves_out or recipe.fine_tune is not None
        trained = LossesOf(net, recipe.loss) if isinstance(recipe.loss, OwnLosses) else net
        self._shared = trained if self._sharded else processes.share(trained, unused=unused)
        weights = None if class_weights is None else class_weights.to(device)
        self._count_wrong = wrong
        self._fixed = frozenset(name for name, parameter in net.named_parameters() if not parameter.requires_grad)
        self._plain = partial(forward, self._shared, recipe, class_weights=weights)
        self._fast = compile_with(self._plain) if compile_with else self._plain
        self._dtype = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}[recipe.precision]
        self._whole = math.ceil(math.ceil(recipe.batch_size / processes.count) / recipe.accumulate)

    def begin_pass(self, epoch: int) -> None:
        """Before the first step of a pass (counted from 0), or of what is left of it."""
        self.net.train()
        if self.recipe.fine_tune:
            finetuning.hold_back(self.net, self.recipe.network, self.recipe.fine_tune, epoch, self._fixed)

    def learn(self, batch: Batch[Labels], step: int, rate: float) -> tuple[Tensor, Tensor]:
        """One step, counted from 0 over the run; (2,) the sum of the losses and the errors of this process's samples,
        and () the loss of its last part.

        Raises:
            NotFiniteError: on the CPU at once, before the weights change. Asking would stop a GPU: there `watch` tells.
        """
        if self.draws_randomly:  # dropout is a function of seed, step and rank
            torch.manual_seed((self.recipe.seed << 40) + (step << 10) + self.processes.rank)
        if isinstance(self.recipe.optimizer, OwnRule):
            return self._learn_by_itself(batch)
        assert self.optimizer is not None
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        averaged = self.recipe.loss.reduction == "mean"
        sums, loss = torch.zeros(2, device=batch.images.device), batch.images.new_zeros(())
        for images, labels, last in self._parts(batch):
            with nullcontext() if last else without_sync(self._shared):
                logits, loss = self._forward(images, labels)
                # DDP takes the mean over the processes, the recipe the mean or the sum over the whole batch
                share = self.processes.count * (len(labels) / batch.total if averaged else 1.0)
                scaled = loss if share == 1 else loss * share
                (self.scaler.scale(scaled) if self.scaler else scaled).backward()
            with torch.no_grad():
                summed = loss * len(labels) if averaged else loss
                sums += torch.stack((summed, self._wrong(logits, labels)))
        if loss.device.type == "cpu" and not math.isfinite(value := float(sums[0])):
            self.optimizer.zero_grad()
            raise NotFiniteError(value, batch.indices, step)
        self._update(self.optimizer)
        if self.average:
            self.average.update(step)
        return sums, loss.detach()

    def _parts(self, batch: Batch[Labels]) -> Iterator[tuple[Tensor, Labels, bool]]:
        images, labels, parts = batch.images, batch.labels, self.recipe.accumulate
        if self.recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        if parts == 1:
            yield images, labels, True
            return
        for i, (some, theirs) in enumerate(zip(images.tensor_split(parts), split(labels, parts), strict=True)):
            # one process may skip an empty part; several must keep step, since they meet in layers
            if len(theirs) or i == parts - 1 or self.processes.count > 1:
                yield some, theirs, i == parts - 1

    def _forward(self, images: Tensor, labels: Labels) -> tuple[Tensor, Tensor]:
        run = self._fast if len(labels) == self._whole else self._plain  # a compiled pass is made for one size
        with torch.autocast(images.device.type, self._dtype) if self._dtype else nullcontext():
            if len(labels) or isinstance(self.recipe.loss, OwnLosses):
                return run(images, labels)
            outputs = self._shared(images)  # a small last batch has no sample for this process
            heads = [outputs.logits, *outputs.auxiliary] if isinstance(outputs, AuxiliaryOutputs) else [outputs]
            return heads[0], torch.stack([head.sum() for head in heads]).sum() * 0.0

    def _wrong(self, outputs: Tensor, labels: Labels) -> Tensor:
        """How many of the samples are wrong; NaN where the network adds up its own losses."""
        if self._count_wrong is None or not isinstance(labels, Tensor):
            return outputs.new_tensor(math.nan)
        return self._count_wrong(outputs, labels)

    def _update(self, optimizer: Optimizer) -> None:
        if self.recipe.clip:
            if self.scaler:
                self.scaler.unscale_(optimizer)
            match self.recipe.clip:
                case ClipNorm(norm=norm):
                    nn.utils.clip_grad_norm_(self.net.parameters(), norm)
                case ClipValue(value=value):
                    nn.utils.clip_grad_value_(self.net.parameters(), value)
        if self.scaler:
            self.scaler.step(optimizer)
            self.scaler.update()
        else:
            optimizer.step()
        if self.recipe.filter_norm:
            renormalise_filters(self.net, self.recipe.filter_norm)
        optimizer.zero_grad()

    @torch.no_grad()
    def _learn_by_itself(self, batch: Batch[Labels]) -> tuple[Tensor, Tensor]:
        assert isinstance(self.net, LearnsByItself)
        self.net.learn(batch.images, batch.labels)
        logits, loss = self._plain(batch.images, batch.labels)
        summed = loss * len(batch.labels) if self.recipe.loss.reduction == "mean" else loss
        return torch.stack((summed, self._wrong(logits, batch.labels))), loss

    @contextmanager
    def result_in_place(self) -> Iterator[None]:
        """The network has the weights that are the result so far: their average, where the recipe has one."""
        with self.average.in_place() if self.average else nullcontext():
            yield

    def weights(self) -> dict[str, Tensor]:
        """By name; of a network that is spread over the processes, whole and on the first of them alone."""
        return sharding.whole_weights(self.net) if self._sharded else dict(self.net.state_dict())

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        if self._sharded:
            sharding.load_whole_weights(self.net, weights)
        else:
            self.net.load_state_dict(weights)

    def _optimizer_state(self) -> dict[str, Any]:
        if self.optimizer is None:
            return {}
        if self._sharded:
            return sharding.whole_optimizer(self.net, self.optimizer)
        return self.optimizer.state_dict()

    def state(self) -> dict[str, Any]:
        """All that a step changes, on the CPU or not: what `restore` needs to go on as if nothing had happened."""
        names = self.net.state_dict().keys()
        passing = {name: buffer for name, buffer in self.net.named_buffers() if name not in names}
        return {
            "net": self.weights(),
            "passing": passing,  # buffers that are not part of the weights, but of a pass
            "remembered": self.net.pass_state() if isinstance(self.net, RemembersPass) else {},
            "optimizer": self._optimizer_state(),
            "sharded": self._sharded,
            "scaler": self.scaler.state_dict() if self.scaler else {},
            "average": {"kept": self.average.state(), "count": self.average.count} if self.average else {},
            "random": torch.get_rng_state(),
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        if state["sharded"] != self._sharded:
            raise UsageError("shard: a run goes on as it began, spread over several processes or not")
        self.load_weights(state["net"])
        buffers = dict(self.net.named_buffers())
        for name, value in state["passing"].items():
            if not torch.equal(buffers[name], value.to(buffers[name].device)):  # constants may be views of one number
                buffers[name].copy_(value)
        if isinstance(self.net, RemembersPass):
            self.net.load_pass_state(state["remembered"])
        if self.optimizer and self._sharded:
            sharding.load_whole_optimizer(self.net, self.optimizer, state["optimizer"])
        elif self.optimizer:
            self.optimizer.load_state_dict(state["optimizer"])
            _lay_out_like_parameters(self.optimizer)
        if self.scaler:
            self.scaler.load_state_dict(state["scaler"])
        if self.average:
            self.average.restore(state["average"]["kept"], state["average"]["count"])
        torch.set_rng_state(state["random"])


def _lay_out_like_parameters(optimizer: Optimizer) -> None:
    """A file has no channels-last; sums in another order of the same numbers could end in other last bits."""
    for parameter, entries in optimizer.state.items():
        for name, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                entries[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
