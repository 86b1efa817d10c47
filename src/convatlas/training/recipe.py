"""A recipe is a typed value: everything that is needed to repeat a run, and what to expect of it."""

import dataclasses
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from convatlas.data import Augmentation
from convatlas.structures import ConvatlasError, Preprocessing
from convatlas.training.losses import CrossEntropy, MaximumAPosteriori, SquaredError
from convatlas.training.schedules import Constant, Schedule

FORMAT = 1


@dataclass(frozen=True)
class SGD:
    """`torch.optim.SGD`, or the paper's own form of it where `form` is "krizhevsky"."""

    lr: float
    momentum: float = 0.9
    weight_decay: float = 0.0
    nesterov: bool = False
    form: typing.Literal["torch", "krizhevsky"] = "torch"


@dataclass(frozen=True)
class AdamW:
    lr: float
    weight_decay: float = 0.01


@dataclass(frozen=True)
class Adam:
    """`torch.optim.Adam`: the weight decay is added to the gradient, as the papers before AdamW had it."""

    lr: float
    weight_decay: float = 0.0


@dataclass(frozen=True)
class RMSProp:
    """TensorFlow's form of it, `optimizers.TensorFlowRMSProp`."""

    lr: float
    decay: float = 0.9
    eps: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 0.0


@dataclass(frozen=True)
class DiagonalLM:
    """Stochastic diagonal Levenberg-Marquardt; the rates are the schedule's."""

    mu: float = 0.02
    patterns: int = 500


@dataclass(frozen=True)
class OwnRule:
    """The network learns by a rule of its own (`structures.LearnsByItself`), without gradient."""


@dataclass(frozen=True)
class DataSource:
    """Where the samples come from: the arguments of `data.load`."""

    spec: str = "digits"
    root: str | None = None
    test: str | None = None
    test_fraction: float = 0.2


@dataclass(frozen=True)
class Recipe:
    """How one network is trained. `source`, `expected` and `cost` are for people."""

    network: str
    variant: str
    source: str
    epochs: int
    batch_size: int
    optimizer: SGD | AdamW | Adam | RMSProp | DiagonalLM | OwnRule
    schedule: Schedule = field(default_factory=Constant)
    loss: CrossEntropy | SquaredError | MaximumAPosteriori = field(default_factory=CrossEntropy)
    auxiliary_weight: float = 0.0  # of each auxiliary head's loss
    augment: tuple[Augmentation, ...] = ()
    preprocessing: Preprocessing | None = None  # None: the default for the network and the data
    expected: str = ""
    cost: str = ""
    notes: tuple[str, ...] = ()
    small_data_epochs: int | None = None  # instead of `epochs` on sets of under 6,000 samples
    keep: typing.Literal["last", "best"] = "last"  # which weights are the result; "best" is chosen on the test part
    precision: typing.Literal["no", "bf16", "fp16"] = "no"
    channels_last: bool = False
    seed: int = 0
    data: DataSource = field(default_factory=DataSource)


UNMARKED = (Recipe, DataSource, Preprocessing)  # the only ones that can stand in their place


def to_toml(recipe: Recipe) -> str:
    return tomli_w.dumps({"format": FORMAT, **_plain(recipe)})


def read(path: Path) -> Recipe:
    """A recipe from its file.

    Raises:
        ConvatlasError: the file is absent, damaged, or of another version.
    """
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConvatlasError(f"{path}: no recipe to read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConvatlasError(f"{path}: not a recipe ({error})") from error
    if (found := values.pop("format", None)) != FORMAT:
        raise ConvatlasError(f"{path}: recipe format {found}; this version of convatlas reads format {FORMAT}")
    try:
        return _typed(Recipe, values)
    except (TypeError, KeyError, ValueError) as error:
        raise ConvatlasError(f"{path}: not a recipe ({error})") from error


def _plain(value: Any) -> Any:
    """Dataclasses as tables with a `kind`; absent values are left out, as TOML has no null."""
    if dataclasses.is_dataclass(value):
        table = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        table = {name: entry for name, entry in table.items() if entry is not None}
        return (
            table if isinstance(value, Recipe | DataSource | Preprocessing) else {"kind": type(value).__name__, **table}
        )
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return value


def _typed(annotation: Any, value: Any) -> Any:
    """The inverse of `_plain`, guided by the annotations."""
    choices = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    if isinstance(value, dict):
        kinds: dict[str, Any] = {c.__name__: c for c in choices if isinstance(c, type) and dataclasses.is_dataclass(c)}
        cls = kinds[value["kind"]] if "kind" in value else next(iter(kinds.values()))
        hints = typing.get_type_hints(cls)
        return cls(**{name: _typed(hints[name], entry) for name, entry in value.items() if name != "kind"})
    if isinstance(value, list):
        sequence = next(choice for choice in choices if typing.get_origin(choice) is tuple)
        inner = typing.get_args(sequence)
        return tuple(_typed(inner[0] if inner[-1] is ... else inner[i], entry) for i, entry in enumerate(value))
    return value


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)
