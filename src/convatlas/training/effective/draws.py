"""How each parameter is initialised, read off the operations that a network's constructor really runs.

A network is built on the meta device, where no memory is taken, under a mode that sees every operation. What is drawn
in place is repeated on a small sample of each parameter, so that the drawn values can be measured for VGG-16 as well.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from convatlas import registry
from convatlas.records import NetworkCard

SAMPLE = 2_048  # values of a parameter that are drawn
SMALL = 2_000_000  # parameters of a network that is built in full where its constructor draws some in parts
_SOURCES = {"normal_": "normal", "uniform_": "uniform", "fill_": "constant", "zero_": "constant"}
_FACTORIES = {"zeros": 0.0, "ones": 1.0}


@dataclass(frozen=True)
class Initialisation:
    """The distribution of one parameter, and what was drawn from it."""

    name: str
    shape: tuple[int, ...]
    family: str  # normal, truncated normal, uniform, constant; computed: from other values, not drawn in place
    given: tuple[float, ...]  # mean and deviation, lower and upper bound, or the constant; empty where none were given
    mean: float | None  # of the drawn sample; None: nothing was drawn
    std: float | None
    least: float | None
    greatest: float | None
    drawn: int  # values in the sample

    def __str__(self) -> str:
        match self.family, self.given:
            case "normal", (_, std):
                return f"normal {std:.4g}"
            case "uniform", (_, high):
                return f"uniform {high:.4g}"
            case "truncated normal", (std,):
                return f"truncated normal {std:.4g}"
            case "constant", (value,):
                return f"constant {value:.4g}"
        return self.family if self.std is None else f"{self.family}, deviation {self.std:.4g}"


@dataclass
class _Drawn:
    """A tensor as the constructor has made it so far."""

    tensor: Tensor  # keeps its storage alive, and so its address its own
    sample: Tensor
    family: str
    given: tuple[float, ...]


class _Watch(TorchDispatchMode):
    """Repeats what is done to each storage in place on a sample of it."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: dict[int, _Drawn] = {}
        self.random = torch.Generator().manual_seed(0)

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = str(func.overloadpacket).removeprefix("aten.")
        if name in _FACTORIES and isinstance(result, Tensor):
            value = _FACTORIES[name]
            self._put(result, torch.full((min(result.numel(), SAMPLE),), value), "constant", (value,))
        elif name.endswith("_") and args and isinstance(args[0], Tensor):
            self._repeat(func, name, args, kwargs or {})
        return result

    def _put(self, tensor: Tensor, sample: Tensor, family: str, given: tuple[float, ...]) -> None:
        self.drawn[key(tensor)] = _Drawn(tensor, sample, family, given)

    def _repeat(self, func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        tensor, given = args[0], args[1:]
        before = self.drawn.get(key(tensor))
        whole = tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()
        if any(isinstance(value, Tensor) for value in (*given, *kwargs.values())):
            given_sample = [self._value(value) for value in given]
            if name == "fill_" and given_sample and given_sample[0] is not None:
                sample = torch.full((min(tensor.numel(), SAMPLE),), given_sample[0])
                self._put(tensor, sample, "constant", (given_sample[0],))
            else:
                self._put(tensor, torch.empty(0), "computed", ())
            return
        if name in _SOURCES and whole:
            sample = torch.empty(min(tensor.numel(), SAMPLE))
            self._on_sample(func, sample, given, kwargs)
            numbers = tuple(float(value) for value in given if isinstance(value, int | float))
            defaults = {"normal_": (0.0, 1.0), "uniform_": (0.0, 1.0), "zero_": (0.0,)}.get(name, ())
            self._put(tensor, sample, _SOURCES[name], numbers + defaults[len(numbers) :])
        elif before is None or not whole:
            family = "in parts" if name in _SOURCES else "computed"
            self._put(tensor, torch.empty(0), family, ())
        else:
            self._on_sample(func, before.sample, given, kwargs)
            erf = name == "erfinv_" or before.family == "truncated normal"
            self._put(
                tensor, before.sample, "truncated normal" if erf else before.family, self._moved(before, name, given)
            )

    def _on_sample(self, func: Any, sample: Tensor, given: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        own = {**kwargs, "generator": self.random} if "generator" in kwargs else kwargs
        with torch.no_grad():
            func(sample, *given, **own)

    @staticmethod
    def _moved(before: _Drawn, name: str, given: Sequence[Any]) -> tuple[float, ...]:
        """The parameters after an operation on what was drawn: a constant's value is known, the others' no longer."""
        if before.family == "constant" and len(before.sample):
            return (float(before.sample[0]),)
        if before.family == "truncated normal" and name == "mul_" and not before.given:
            return (float(given[0]) / math.sqrt(2),)  # inversion draws with a deviation of 1 / sqrt(2)
        return before.given if name in ("requires_grad_", "detach_") else ()

    @staticmethod
    def _value(value: Any) -> float | None:
        plain = isinstance(value, Tensor) and value.device.type != "meta" and value.numel() == 1
        return float(value) if plain else None


def key(tensor: Tensor) -> int:
    """The storage of a tensor, which a parameter shares with the tensor that it was made from."""
    return tensor.untyped_storage()._cdata


def build_watched(card: NetworkCard, num_classes: int | None = None) -> tuple[nn.Module, tuple[Initialisation, ...]]:
    """A network on the meta device, and how each of its parameters is initialised.

    Args:
        card: of the registry.
        num_classes: None takes the published number.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        with _Watch() as watch, torch.device("meta"):
            net = registry.build(card, num_classes=num_classes)
        found = [_describe(name, parameter, watch) for name, parameter in net.named_parameters()]
        small = sum(parameter.numel() for parameter in net.parameters()) <= SMALL
        if small and any(entry.drawn == 0 for entry in found):
            whole = dict(registry.build(card, num_classes=num_classes).named_parameters())
            found = [entry if entry.drawn else _measure(entry, whole[entry.name].detach()) for entry in found]
    return net, tuple(found)


def _measure(entry: Initialisation, values: Tensor) -> Initialisation:
    """The initialisation with the drawn values of the network as built."""
    flat = values.double().flatten()
    numbers = float(flat.mean()), float(flat.std(correction=0)), float(flat.min()), float(flat.max())
    return Initialisation(entry.name, entry.shape, entry.family, (), *numbers, len(flat))


def _describe(name: str, parameter: Tensor, watch: _Watch) -> Initialisation:
    shape, drawn = tuple(parameter.shape), watch.drawn.get(key(parameter))
    if drawn is None or len(drawn.sample) == 0:
        family = "computed" if drawn is None else drawn.family
        return Initialisation(name, shape, family, (), None, None, None, None, 0)
    sample = drawn.sample.double()
    return Initialisation(
        name, shape, drawn.family, drawn.given, float(sample.mean()), float(sample.std(correction=0)),
        float(sample.min()), float(sample.max()), len(sample),
    )  # fmt: skip
