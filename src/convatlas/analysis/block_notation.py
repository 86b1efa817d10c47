"""Blocks of layers written as one line: "conv 1x1 256->64; conv 3x3 64->64; conv 1x1 64->256 @28".

A step is an operation, its window, its channels and options, in this order:

    conv 3x3/2 64->128      convolution, stride 2, padded so that stride 1 keeps the size
    conv 3x3 64->64 g=32    in 32 groups; `g=in` has a group for each channel (depthwise)
    conv 7x7/2 3->64 valid  without padding; `p=3` pads by 3; `d=2` is dilated
    local 10x10 1->1        locally connected: a kernel of its own at each position
    fc 4096->1000           fully connected; from an image `fc 3->10 @32` reads 3 x 32 x 32 values
    maxpool 2x2/2           also avgpool, pool
    relu                    a non-linearity by itself

Convolutions and fully connected layers have a bias and a non-linearity behind them, unless they say `nobias` or
`linear`. `@28` behind a step is the size of the input of the whole line, 28 x 28; `@28x40` is 28 x 40.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

from convatlas.errors import UsageError

Operation = Literal["conv", "local", "fc", "pool", "relu"]

OPERATIONS: dict[str, Operation] = {
    "conv": "conv", "convolution": "conv", "local": "local", "fc": "fc", "linear": "fc", "dense": "fc",
    "pool": "pool", "maxpool": "pool", "avgpool": "pool", "relu": "relu", "tanh": "relu", "sigmoid": "relu",
}  # fmt: skip
MAX_STEPS = 1000
MAX_NUMBER = 10**9
PER_CHANNEL = -1  # groups, until the channels are known

_WINDOW = re.compile(r"(\d+)(?:x(\d+))?(?:/(\d+))?")
_CHANNELS = re.compile(r"(\d+)->(\d+)")
_SIZE = re.compile(r"@(\d+)(?:x(\d+))?")
_OPTION = re.compile(r"(g|groups|p|padding|d|dilation)=(\d+|in)")


@dataclass(frozen=True)
class Step:
    """One operation of a line."""

    operation: Operation
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    channels: tuple[int, int] | None = None  # in, out; None for operations that keep them
    groups: int = 1
    padding: int | None = None  # None: as much as keeps the size at stride 1
    dilation: int = 1
    bias: bool = True
    nonlinear: bool = True
    size: tuple[int, int] | None = None  # of the input of the line, where this step names it


def parse_block(text: str) -> tuple[Step, ...]:
    """The steps of a line.

    >>> [step.channels for step in parse_block("conv 1x1 256->64; conv 3x3 64->64")]
    [(256, 64), (64, 64)]

    Raises:
        UsageError: a step is not of the notation; the message names the step and what was expected.
    """
    steps = tuple(_step(part.strip()) for part in text.split(";") if part.strip())
    if not steps:
        raise UsageError(f"block {text!r} is empty; expected something like 'conv 3x3 64->128'")
    if len(steps) > MAX_STEPS:
        raise UsageError(f"block has {len(steps)} steps; expected at most {MAX_STEPS}")
    if len({step.size for step in steps if step.size}) > 1:
        raise UsageError(f"block {text!r} names several sizes of its input; expected one @SIZE")
    _check_chain(steps)
    return steps


def _step(text: str) -> Step:
    word, *rest = text.replace("→", "->").replace(" -> ", "->").split()
    if word.casefold() not in OPERATIONS:
        raise UsageError(f"{text!r} begins with {word!r}; expected {', '.join(dict.fromkeys(OPERATIONS))}")
    step = Step(OPERATIONS[word.casefold()])
    for token in rest:
        step = _with_token(step, token, text)
    return _checked(step, text)


def _with_token(step: Step, token: str, text: str) -> Step:
    """The step with what one more word of it says."""
    if match := _CHANNELS.fullmatch(token):
        return replace(step, channels=(_number(match[1], text), _number(match[2], text)))
    if match := _SIZE.fullmatch(token):
        return replace(step, size=(_number(match[1], text), _number(match[2] or match[1], text)))
    if match := _OPTION.fullmatch(token):
        return _with_option(step, match[1][0], match[2], text)
    if match := _WINDOW.fullmatch(token):
        kernel = (_number(match[1], text), _number(match[2] or match[1], text))
        return replace(step, kernel=kernel, stride=_number(match[3] or "1", text))
    match token:
        case "nobias":
            return replace(step, bias=False)
        case "linear":
            return replace(step, nonlinear=False)
        case "valid":
            return replace(step, padding=0)
        case "same":
            return replace(step, padding=None)
    raise UsageError(
        f"{text!r}: {token!r} is not understood; expected a window (3x3/2), channels (64->128), @SIZE, g=, p=, d=, "
        "nobias, linear, valid or same"
    )


def _with_option(step: Step, letter: str, value: str, text: str) -> Step:
    if letter == "g":
        return replace(step, groups=PER_CHANNEL if value == "in" else _number(value, text))
    if letter == "p":
        return replace(step, padding=_number(value, text, zero=True))
    return replace(step, dilation=_number(value, text))


def _number(digits: str, text: str, *, zero: bool = False) -> int:
    if digits.isdecimal() and len(digits) < 12 and (0 if zero else 1) <= int(digits) <= MAX_NUMBER:
        return int(digits)
    raise UsageError(f"{text!r}: {digits[:20]} is out of range; expected a number from 1 to {MAX_NUMBER:,}")


def _checked(step: Step, text: str) -> Step:
    if step.operation in ("conv", "local", "fc") and step.channels is None:
        raise UsageError(f"{text!r} has no channels; expected IN->OUT, such as 64->128")
    if step.operation in ("pool", "relu") and step.channels is not None:
        raise UsageError(f"{text!r} keeps its channels; expected no {step.channels[0]}->{step.channels[1]}")
    if step.channels is None:
        return step
    groups = step.channels[0] if step.groups == PER_CHANNEL else step.groups
    if any(count % groups for count in step.channels):
        raise UsageError(f"{text!r}: {groups} groups do not divide the channels; expected a divisor of both")
    return replace(step, groups=groups)


def _check_chain(steps: tuple[Step, ...]) -> None:
    """Each step takes as many channels as the one before gives, unless an image becomes a vector."""
    last: int | None = None
    for step in steps:
        if step.channels is None:
            continue
        if last is not None and step.operation != "fc" and step.channels[0] != last:
            raise UsageError(f"{step.operation} takes {step.channels[0]} channels, but the step before gives {last}")
        last = step.channels[1]
