"""One forward pass of one sample becomes a tuple of `LayerRecord`s: the source of every table in the atlas.

Leaf layers are seen by forward hooks; what a network does between them (add, cat, slice, pad, flatten) is seen by a
torch function mode. On the `meta` device nothing is computed and no weight is allocated.
"""

import difflib
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from convatlas import registry
from convatlas.analysis.kinds import UNCOUNTED, function_kind, function_name, module_kind, product_counts, weight_counts
from convatlas.analysis.liveness import Alive, storage
from convatlas.analysis.reads import function_reads, module_reads
from convatlas.analysis.shapes import quick_output
from convatlas.analysis.window import Window, module_window, slice_steps
from convatlas.errors import UsageError
from convatlas.network import Network
from convatlas.records import CountsItself, LayerRecord, NetworkCard, Reads, Shape

Built = TypeVar("Built")

FILLS = frozenset({"normal_", "uniform_", "fill_", "zero_", "trunc_normal_", "bernoulli_", "random_", "constant_"})
FILLS |= {"zeros_", "ones_", "xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_"}
INPUT = -1  # the index that stands for the network's input in `LayerRecord.inputs`


def trace(
    net: nn.Module, input_shape: Shape, *, device: str | torch.device = "meta", training: bool = False
) -> tuple[LayerRecord, ...]:
    """The operations of one forward pass of one sample, in the order in which they ran.

    Args:
        net: all its tensors on `device`; it runs without gradients, and is left as it was found.
        input_shape: without the batch axis, e.g. (3, 224, 224).
        device: where the net's tensors are; "meta" computes nothing.
        training: in train mode, so that auxiliary heads run too. Two samples go through, since batch normalisation
            can't train on one; the records are still those of one.

    A module without children, or one with a method `count` (`records.CountsItself`), is one record. A module
    without children that is neither known, nor counts itself, nor has parameters is looked into: its functions are
    recorded under its path. Parameters that are used twice are counted where they are used first.

    Raises:
        UsageError: the net can't take an input of this shape.
    """
    samples = torch.empty(2 if training else 1, *input_shape, device=device)
    return trace_of(net, samples, training=training)


def trace_of(
    net: nn.Module,
    samples: Tensor,
    *,
    training: bool = False,
    gradients: bool = False,
    see: Callable[[int, Tensor], None] | None = None,
) -> tuple[LayerRecord, ...]:
    """The trace of a forward pass of `samples`, (B, C, H, W); the records are those of one of them.

    Args:
        net: on the samples' device; it is left as it was found.
        samples: any number of them, with values where they matter.
        training: in train mode.
        gradients: whether outputs can be differentiated.
        see: called with each operation's index and its (first) output as soon as it is made.

    Raises:
        UsageError: the net can't take an input of this shape.
    """
    tracer = _Tracer(net, len(samples), see)
    tracer.alive.follow(samples)
    tracer.made[id(samples)] = INPUT
    modes = [(module, module.training) for module in net.modules()]
    statistics = [(buffer, buffer.clone()) for buffer in net.buffers()] if training else []
    net.train(training)
    try:
        with ExitStack() as stack, torch.set_grad_enabled(gradients):
            for handle in tracer.hooks():
                stack.callback(handle.remove)
            stack.enter_context(tracer)
            net(samples)
    except (RuntimeError, ValueError, IndexError) as error:
        shape = ",".join(map(str, samples.shape[1:]))
        raise UsageError(
            f"input shape {shape} does not fit {type(net).__name__}: {str(error).splitlines()[0]}"
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode
        for buffer, value in statistics:
            buffer.copy_(value)
    return tuple(tracer.records)


def find_layer(records: Sequence[LayerRecord], name: str) -> LayerRecord:
    """The record of that name; of a block, its last one.

    Raises:
        UsageError: there is none; the message suggests the nearest names.
    """
    named = [record for record in records if record.name == name]
    if named:
        return named[0]
    inside = [record for record in records if record.name.startswith((f"{name}.", f"{name}/"))]
    if inside:
        return inside[-1]
    near = difflib.get_close_matches(name, [record.name for record in records], n=3, cutoff=0.5)
    hint = " or ".join(near) or f"one from {records[0].name} to {records[-1].name}"
    raise UsageError(f"layer is {name!r}; expected a layer of the network, such as {hint}")


@functools.lru_cache(maxsize=256)
def trace_network(
    network: str | NetworkCard, input_shape: Shape | None = None, *, training: bool = False
) -> tuple[LayerRecord, ...]:
    """Traces a registered network on `meta`, without storage for its weights.

    Args:
        network: its card, or its name.
        input_shape: (C, H, W); None: as published.
        training: in train mode, with the auxiliary heads.

    Raises:
        UsageError: unknown name, or a shape that the network can't take.

    Example:
        >>> [record.name for record in trace_network("caffe_lenet")][:2]
        ['conv1', 'pool1']
    """
    card = registry.card(network) if isinstance(network, str) else network
    shape = input_shape or card.input_shape
    return trace(build_on_meta(card, in_channels=shape[0]), shape, training=training)


def build_on_meta(network: str | NetworkCard, *, in_channels: int | None = None) -> Network:
    """Builds a registered network without storage for its weights.

    Args:
        network: its card, or its name.
        in_channels: None: as published.

    Raises:
        UsageError: unknown name.
    """
    return build_unfilled(lambda: registry.build(network, in_channels=in_channels))


def build_unfilled(build: Callable[[], Built]) -> Built:
    """What `build` returns, with its tensors on `meta`: without storage, and without the time to fill it."""
    with torch.device("meta"), _Uninitialised():
        return build()


class _Uninitialised(TorchFunctionMode):
    """Leaves out what fills tensors: there is nothing to fill on `meta`, and torch takes a slow way to do so."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in FILLS:
            filled = args[0] if args else kwargs.get("tensor")
            if isinstance(filled, Tensor) and filled.is_meta:
                return filled
        return func(*args, **kwargs)


class _Tracer(TorchFunctionMode):
    """Collects the records of one forward pass."""

    def __init__(self, net: nn.Module, samples: int, see: Callable[[int, Tensor], None] | None) -> None:
        super().__init__()
        self.net = net
        self.samples = samples
        self.see = see
        self.records: list[LayerRecord] = []
        self.alive = Alive((*net.parameters(), *net.buffers()))
        self.made = self.alive.made
        self.parameters = {id(parameter) for parameter in net.parameters()}
        self.unclaimed = {id(parameter): parameter.numel() for parameter in net.parameters()}
        self.path: list[str] = []
        self.leaf: nn.Module | None = None
        self.functions: Counter[str] = Counter()

    def hooks(self) -> Iterator[Any]:
        """Registers the hooks; yields their handles."""
        for path, module in self.net.named_modules():
            if _is_one_record(module):
                yield module.register_forward_pre_hook(self._enter_leaf)
                yield module.register_forward_hook(functools.partial(self._leave_leaf, path), with_kwargs=True)
            else:
                yield module.register_forward_pre_hook(functools.partial(self._enter, path))
                yield module.register_forward_hook(self._leave)

    def _enter(self, path: str, module: nn.Module, args: Any) -> None:
        self.path.append(path)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self.path.pop()

    def _enter_leaf(self, module: nn.Module, args: Any) -> None:
        if self.leaf is None:
            self.leaf = module

    def _leave_leaf(self, path: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self.leaf is not module:  # a part of a layer that counts itself
            return
        self.leaf = None
        sources, outputs = _tensors((args, kwargs)), _tensors(output)
        kind = module_kind(module) or type(module).__name__.lower()
        counts = _module_counts(module, kind, sources, outputs)
        window = module_window(module, sources, outputs)
        reads = module_reads(module, kind, window, sources[0])
        self._record(path, kind, window, sources, outputs, counts, list(module.parameters()), reads)

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        is_attribute = getattr(func, "__name__", "") == "__get__"
        output = None if is_attribute else quick_output(func, args, kwargs)
        if output is None:
            output = func(*args, **kwargs)
        if not isinstance(output, (Tensor, tuple, list)) or isinstance(output, torch.Size):
            return output
        outputs = _tensors(output)
        for out in outputs:
            self.alive.follow(out)
        if self.leaf is None and outputs:
            sources = _tensors((args, kwargs))
            if any(id(source) in self.made for source in sources):
                self._function(func, args, kwargs, sources, outputs)
        return output

    def _function(self, func: Any, args: Any, kwargs: Any, sources: list[Tensor], outputs: list[Tensor]) -> None:
        """Records a function that was called outside any layer."""
        name = function_name(func)
        kind, free = function_kind(name)
        window, counts = Window(), (0, 0) if free else None
        if kind in ("conv", "fc") and len(sources) > 1:
            bias = sources[2] if len(sources) > 2 else None
            counts = weight_counts(kind, sources[1], bias, sources[0], outputs[0])
        elif kind == "matmul":
            counts = product_counts(sources[0], outputs[0])
        if name == "getitem" and (steps := slice_steps(args[1], outputs[0].dim())):
            kind, window = "subsample", Window((1,) * len(steps), steps, (0,) * len(steps))
        path = f"{self.path[-1] if self.path else ''}/{name}"
        self.functions[path] += 1
        if self.functions[path] > 1:
            path = f"{path}_{self.functions[path]}"
        known = sum(id(source) in self.made for source in sources)
        reads = function_reads(name, args, kwargs, known)
        self._record(path, kind, window, sources, outputs, counts, sources, reads)

    def _record(
        self,
        name: str,
        kind: str,
        window: Window,
        sources: list[Tensor],
        outputs: list[Tensor],
        counts: tuple[int, int] | None,
        weights: list[Any],
        reads: Reads | None,
    ) -> None:
        inputs = [source for source in sources if id(source) in self.made]
        storages = {storage(source) for source in inputs}
        index = len(self.records)
        for out in outputs:
            self.alive.follow(out)
        connections, multiply_adds = counts if counts is not None else (None, None)
        self.records.append(
            LayerRecord(
                index=index,
                name=name,
                kind=kind,
                kernel=window.kernel,
                stride=window.stride,
                padding=window.padding,
                dilation=window.dilation,
                groups=window.groups,
                inputs=tuple(self.made[id(source)] for source in inputs),
                input_shapes=tuple(tuple(source.shape[1:]) for source in inputs),
                output_shape=tuple(outputs[0].shape[1:]),
                parameters=sum(self.unclaimed.pop(id(weight), 0) for weight in weights),
                connections=connections,
                multiply_adds=multiply_adds,
                output_bytes=sum(out.numel() * out.element_size() for out in outputs if storage(out) not in storages)
                // self.samples,
                weights_read=sum(weight.numel() for weight in weights if id(weight) in self.parameters),
                alive_bytes=self.alive.take_peak() // self.samples,
                reads=reads,
            )
        )
        for out in outputs:
            self.made[id(out)] = index
        if self.see is not None:
            self.see(index, outputs[0])


def _tensors(value: object) -> list[Tensor]:
    """All tensors in nested tuples, lists and dictionaries, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (tuple, list)):
        return []
    return [tensor for item in value for tensor in _tensors(item)]


def _is_one_record(module: nn.Module) -> bool:
    if isinstance(module, CountsItself):
        return True
    childless = not any(True for _ in module.children())
    return childless and (module_kind(module) is not None or any(True for _ in module.parameters()))


def _module_counts(
    module: nn.Module, kind: str, sources: list[Tensor], outputs: list[Tensor]
) -> tuple[int, int] | None:
    if isinstance(module, CountsItself):
        return module.count(tuple(outputs[0].shape[1:]))
    if kind in ("conv", "deconv", "fc"):
        bias = module.bias if isinstance(module.bias, Tensor) else None
        assert isinstance(module.weight, Tensor)
        return weight_counts(kind, module.weight, bias, sources[0], outputs[0])
    return None if module_kind(module) is None or kind in UNCOUNTED else (0, 0)
