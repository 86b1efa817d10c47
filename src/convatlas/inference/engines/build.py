"""One engine by its name, compared with the network before it is given out."""

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convatlas.errors import ConvatlasError, UsageError
from convatlas.inference.engines.backends import BUILDERS, Run
from convatlas.records import ExportedProgram, Shape

ENGINES = tuple(BUILDERS)
TOLERANCE = 1e-4  # of float engines: of the largest logit, or of 1 where that is smaller


@dataclass(frozen=True)
class Engine:
    """A way to compute a network's logits: float32 (B, ...) on `device` -> (B, K), for any B."""

    name: str
    run: Run
    device: torch.device
    build_s: float


def build(
    name: str, net: nn.Module, input_shape: Shape, *, batch_size: int, device: str | torch.device = "cpu"
) -> Engine:
    """An engine for a network in evaluation mode.

    Args:
        name: one of `ENGINES`.
        net: it is moved to `device`, and put into evaluation mode.
        input_shape: without the batch axis.
        batch_size: the usual number of samples; any other works too.
        device: all engines but "eager" are for the CPU.

    Raises:
        UsageError: no such engine, a batch size below 1, or an engine that is not for this device.
        ConvatlasError: the engine can't be built for this network, or does not agree with it; the message is the
            reason.
    """
    check_name(name)
    if batch_size < 1:
        raise UsageError(f"batch_size is {batch_size}; expected at least 1")
    where = torch.device(device)
    if where.type != "cpu" and name != "eager":
        raise UsageError(f"engine {name} is for the CPU, and the device is {where}; expected engine eager or auto")
    net = net.eval().to(where)
    started = time.perf_counter()
    with torch.inference_mode():
        try:
            run = BUILDERS[name](net, input_shape, batch_size)
        except ConvatlasError as error:
            raise ConvatlasError(f"engine {name}: {error}") from error
        except Exception as error:  # compilers raise whatever they run into
            first_line = (str(error).strip().splitlines() or [""])[0]
            raise ConvatlasError(f"engine {name} failed with {type(error).__name__}: {first_line}") from error
        build_s = time.perf_counter() - started
        quantised = isinstance(net, ExportedProgram) and net.quantised  # integers are rounded in each engine's own way
        if name != "eager" and not quantised:
            difference = disagreement(net, run, input_shape)
            if not difference <= TOLERANCE:
                raise ConvatlasError(
                    f"engine {name} differs from the network by {difference:.1g} of its largest logit; "
                    f"expected at most {TOLERANCE:g}"
                )
    return Engine(name, run, where, build_s)


def check_name(name: str) -> None:
    """Raises UsageError for what is no engine."""
    if name not in BUILDERS:
        raise UsageError(f"engine {name!r}; expected auto, {', '.join(ENGINES)}")


def disagreement(net: nn.Module, run: Run, input_shape: Shape) -> float:
    """The largest difference between logits on noise, as a part of the largest logit, or of 1 where that is smaller."""
    noise = torch.randn(1, *input_shape, generator=torch.Generator().manual_seed(0))
    expected: Tensor = net(noise)
    return ((run(noise) - expected).abs().max() / expected.abs().max().clamp_min(1)).item()
