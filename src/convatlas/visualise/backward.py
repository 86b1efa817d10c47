"""A forward pass of which a layer's maps are kept, and signals sent from there down to the input.

Going down, every operation is transposed as autograd has it, so that branches, sums, concatenations, average pools,
normalised batches and fully connected layers need no rule of their own; a maximum pool sends each value to where the
maximum came from, and sums where overlapping windows chose the same place. Only what a `Rule` names is different.
"""

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from convatlas.analysis.kinds import function_name
from convatlas.errors import UsageError

RECTIFIERS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "relu6": F.relu6}


class _RectifySignal(Function):
    """Goes down as the deconvnet does: the signal itself is rectified, whatever the image did here."""

    @staticmethod
    def forward(ctx: object, x: Tensor, rectifier: Callable[[Tensor], Tensor]) -> Tensor:
        return rectifier(x)

    @staticmethod
    def backward(ctx: object, *signals: Tensor) -> tuple[Tensor, None]:
        return signals[0].clamp(min=0), None


class _RectifyBoth(Function):
    """Goes down as guided backpropagation does: positive signal, and only where the unit was active."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rectifier: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(x > 0)
        return rectifier(x)

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> tuple[Tensor, None]:
        (active,) = ctx.saved_tensors
        return signals[0].clamp(min=0) * active, None


class _Pass(Function):
    """Goes down unchanged."""

    @staticmethod
    def forward(ctx: object, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        return function(x)

    @staticmethod
    def backward(ctx: object, *signals: Tensor) -> tuple[Tensor, None]:
        return signals[0], None


@dataclass(frozen=True)
class Rule:
    """What is done on the way down instead of the derivative."""

    rectifier: type[Function] | None = None
    pass_contrast_normalisation: bool = False


GRADIENT = Rule()
GUIDED = Rule(_RectifyBoth)
DECONVNET = Rule(_RectifySignal, pass_contrast_normalisation=True)


class _Following(TorchFunctionMode):
    """Replaces rectifiers and contrast normalisation by what the rule asks for, wherever a network calls them."""

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule = rule

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = function_name(func)
        if name in RECTIFIERS and self.rule.rectifier is not None:
            return self.rule.rectifier.apply(args[0] if args else kwargs["input"], RECTIFIERS[name])
        if name == "local_response_norm" and self.rule.pass_contrast_normalisation:
            x = args[0] if args else kwargs.pop("input")
            return _Pass.apply(x, lambda value: func(value, *args[1:], **kwargs))
        return func(*args, **kwargs)


@dataclass(frozen=True)
class Forward:
    """One forward pass, from a layer of which signals can be sent down any number of times."""

    x: Tensor  # (B, C, H, W)
    maps: Tensor  # (B, N, h, w) or (B, N), what the layer gave
    logits: Tensor  # (B, K)

    def down(self, signal: Tensor) -> Tensor:
        """A signal of the shape of `maps`, sent down to the input: (B, C, H, W)."""
        return torch.autograd.grad(self.maps, self.x, signal, retain_graph=True)[0]


def forward(net: nn.Module, x: Tensor, layer: str = "", rule: Rule = GRADIENT) -> Forward:
    """Runs x (B, C, H, W) through the network in evaluation mode and keeps the maps of `layer` ("" is the output).

    Raises:
        UsageError: the network has no such layer, or the layer gives no tensor.
    """
    module = find_layer(net, layer)
    kept: list[object] = []
    x = x.detach().clone().requires_grad_()
    with ExitStack() as stack:
        stack.enter_context(evaluating(net))
        stack.enter_context(torch.enable_grad())
        stack.callback(module.register_forward_hook(lambda _, __, output: kept.append(output)).remove)
        stack.enter_context(_Following(rule))
        logits = net(x)
    return Forward(x, checked(kept, layer), logits.detach())


def checked(kept: Sequence[object], layer: str) -> Tensor:
    """The last output of a layer. Raises UsageError where there is none that could be looked at."""
    if not kept or not isinstance(kept[-1], Tensor):
        what = "does not run in evaluation mode" if not kept else f"gives a {type(kept[-1]).__name__}, no tensor"
        raise UsageError(f"layer {layer!r} {what}; expected another layer")
    return kept[-1]


def find_layer(net: nn.Module, layer: str) -> nn.Module:
    """The module of that path. Raises UsageError with the nearest names."""
    modules = dict(net.named_modules())
    if layer in modules:
        return modules[layer]
    near = difflib.get_close_matches(layer, modules, n=3, cutoff=0.5)
    shown = near or [name for name, _ in net.named_children()][:12]
    raise UsageError(f"{type(net).__name__} has no layer {layer!r}; expected a module path such as {', '.join(shown)}")


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """The network in evaluation mode; afterwards every module is in the mode in which it was."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
