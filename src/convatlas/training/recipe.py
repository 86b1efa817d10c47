"""A recipe is a typed value: everything that is needed to repeat a run, and what to expect of it."""

import typing
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import tomli_w

from convatlas.data import Augmentation
from convatlas.data.detection.augment import BoxAugmentation
from convatlas.data.limits import load_toml
from convatlas.data.pose.transform import PersonAugmentation
from convatlas.data.segmentation.augment import JointAugmentation
from convatlas.errors import ConvatlasError, UsageError
from convatlas.evaluation import OneCrop, TestTime
from convatlas.ops.svm_fitting import SvmSettings
from convatlas.records import Preprocessing, PublishedResult
from convatlas.training.dense_losses import BorderCrossEntropy, HeatmapSquaredError, PixelCrossEntropy
from convatlas.training.finetuning import FineTune
from convatlas.training.losses import CrossEntropy, MaximumAPosteriori, SquaredError
from convatlas.training.mechanisms import (
    After,
    ClipNorm,
    ClipValue,
    EarlyStopping,
    Ema,
    FilterNorm,
    ParameterGroup,
    Polyak,
    StatedSteps,
    check_range,
    check_rates,
)
from convatlas.training.own_losses import OwnLosses
from convatlas.training.plain import override, plain, typed
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

    def __post_init__(self) -> None:
        check_rates(self.lr, self.weight_decay)
        check_range("momentum", self.momentum, least=0, most=1)


@dataclass(frozen=True)
class AdamW:
    lr: float
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        check_rates(self.lr, self.weight_decay)


@dataclass(frozen=True)
class Adam:
    """`torch.optim.Adam`: the weight decay is added to the gradient, as the papers before AdamW had it."""

    lr: float
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_rates(self.lr, self.weight_decay)


@dataclass(frozen=True)
class RMSProp:
    """TensorFlow's form of it, `optimizers.TensorFlowRMSProp`, or torch's, which is Torch7's too."""

    lr: float
    decay: float = 0.9
    eps: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 0.0
    form: typing.Literal["tensorflow", "torch"] = "tensorflow"

    def __post_init__(self) -> None:
        check_rates(self.lr, self.weight_decay)
        check_range("momentum", self.momentum, least=0, most=1)
        check_range("decay", self.decay, least=0, most=1)


@dataclass(frozen=True)
class DiagonalLM:
    """Stochastic diagonal Levenberg-Marquardt; the rates are the schedule's."""

    mu: float = 0.02
    patterns: int = 500


@dataclass(frozen=True)
class OwnRule:
    """The network learns by a rule of its own (`records.LearnsByItself`), without gradient."""


@dataclass(frozen=True)
class RegionSvms(OwnRule, SvmSettings):
    """SVMs and box regressions on the features of regions, the rule of a network `WithSvms`."""


@dataclass(frozen=True)
class DataSource:
    """Where the samples come from: the arguments of `data.load`, and what is made of the training split."""

    spec: str = "digits"
    root: str | None = None
    test: str | None = None
    test_fraction: float = 0.2
    val_fraction: float = 0.0  # of the training split, to choose the epoch on; 0: none, but what the data bring
    folds: int | None = None  # of the training split, instead of a fraction
    fold: int | None = None  # which of them is the validation split, from 1
    fraction: float = 1.0  # of what is left of the training split, to learn from


OutputLoss = (
    CrossEntropy | SquaredError | MaximumAPosteriori | PixelCrossEntropy | BorderCrossEntropy | HeatmapSquaredError
)
"""A loss of a network's outputs, with a label, a mask or heat maps as their truth."""


@dataclass(frozen=True)
class Recipe:
    """How one network is trained. `source`, `expected` and `cost` are for people."""

    network: str
    variant: str
    source: str
    epochs: int
    batch_size: int
    optimizer: SGD | AdamW | Adam | RMSProp | DiagonalLM | OwnRule | RegionSvms
    schedule: Schedule = field(default_factory=Constant)
    loss: OutputLoss | OwnLosses = field(default_factory=CrossEntropy)
    auxiliary_weight: float = 0.0  # of each auxiliary head's loss
    augment: tuple[Augmentation | JointAugmentation | BoxAugmentation | PersonAugmentation, ...] = ()
    preprocessing: Preprocessing | None = None  # None: the default for the network and the data
    test_time: TestTime = field(default_factory=OneCrop)  # how the finished network looks at a test image
    expected: str = ""
    results: tuple[PublishedResult, ...] = ()  # the printed errors; the first is that of `test_time`
    cost: str = ""
    notes: tuple[str, ...] = ()
    small_data_epochs: int | None = None  # instead of `epochs` on sets of under 6,000 samples
    keep: typing.Literal["last", "best"] = (
        "last"  # which weights are the result; "best": of the lowest validation error
    )
    fine_tune: FineTune | None = None  # starts from trained weights
    groups: tuple[ParameterGroup, ...] = ()  # parameters with a learning rate or weight decay of their own
    averaging: Ema | Polyak | None = None  # of the weights; the averaged ones are tested and are the result
    clip: ClipNorm | ClipValue | None = None
    filter_norm: FilterNorm | None = None  # of the filters, after each step
    batch_norm_momentum: float | None = None  # the share of the new batch; None: the network's own
    accumulate: int = 1  # parts that a batch is computed in, one after another; the gradient stays the whole batch's
    sampling: typing.Literal["shuffled", "balanced"] = "shuffled"
    # of masks also SegNet's "median_frequency" and ENet's "inverse_log"; "balanced": 1 / frequency, mean 1
    class_weights: typing.Literal["balanced", "median_frequency", "inverse_log"] | tuple[float, ...] | None = None
    stop: EarlyStopping | None = None
    precision: typing.Literal["no", "bf16", "fp16"] = "no"
    channels_last: bool = False
    compile: bool | typing.Literal["auto"] = "auto"  # "auto": where the run is long enough to win back the compiling
    sync_batchnorm: bool | typing.Literal["auto"] = "auto"  # statistics of all processes' samples; "auto": if few each
    shard: bool = False  # parameters and optimiser are spread over the processes (FSDP)
    seed: int = 0
    data: DataSource = field(default_factory=DataSource)
    steps: StatedSteps | None = None  # the length, where the source states it in steps
    after: After | None = None  # the stage that is trained first

    def __post_init__(self) -> None:
        check_range("epochs", self.epochs, least=1)
        check_range("batch_size", self.batch_size, least=1)
        if self.batch_norm_momentum is not None:
            check_range("batch_norm_momentum", self.batch_norm_momentum, least=0, most=1)
        check_range("accumulate", self.accumulate, least=1, most=self.batch_size)
        check_range("seed", self.seed, least=0, most=2**63 - 1)
        check_range("auxiliary_weight", self.auxiliary_weight, least=0)

    @property
    def stated_steps(self) -> int | None:
        """The length in steps, where the source states it so and nobody has set other epochs."""
        return None if self.steps is None or self.steps.in_epochs != self.epochs else self.steps.count


def in_steps(recipe: Recipe, count: int, samples: int) -> Recipe:
    """The recipe with a length of `count` steps, which are so many epochs on the source's samples.

    Example:
        >>> recipe = in_steps(Recipe("lenet5", "mine", "nobody", 1, 128, SGD(0.1)), 64_000, 50_000)
        >>> recipe.epochs, length(recipe, 391), length(recipe, 1)
        (164, (164, 64000), (64000, 64000))
    """
    epochs = -(-count // -(-samples // recipe.batch_size))
    return replace(recipe, epochs=epochs, steps=StatedSteps(count, epochs))


def length(recipe: Recipe, steps_an_epoch: int) -> tuple[int, int]:
    """(epochs, steps) of a run whose epochs have so many steps; the last epoch may be shorter than the others."""
    if recipe.steps is not None and recipe.epochs == recipe.steps.in_epochs:
        return -(-recipe.steps.count // steps_an_epoch), recipe.steps.count
    return recipe.epochs, recipe.epochs * steps_an_epoch


def on_data(recipe: Recipe, steps_an_epoch: int) -> Recipe:
    """The recipe with the epochs that its stated steps take on the data; one without stated steps stays as it is."""
    epochs, count = length(recipe, steps_an_epoch)
    return recipe if epochs == recipe.epochs else replace(recipe, epochs=epochs, steps=StatedSteps(count, epochs))


def to_toml(recipe: Recipe) -> str:
    return tomli_w.dumps({"format": FORMAT, **plain(recipe)})


def read(path: Path) -> Recipe:
    """A recipe from its file.

    Raises:
        ConvatlasError: the file is absent, damaged, or of another version.
    """
    try:
        values = load_toml(path)
    except OSError as error:
        raise ConvatlasError(f"{path}: no recipe to read ({error.strerror})") from error
    except ConvatlasError as error:
        raise ConvatlasError(f"{path}: not a recipe ({str(error).removeprefix(f'{path} ')})") from error
    if (found := values.pop("format", None)) != FORMAT:
        raise ConvatlasError(
            f"{path}: recipe format {str(found)[:60]}; this version of convatlas reads format {FORMAT}"
        )
    try:
        return typed(Recipe, values, "")
    except UsageError as error:  # of a value that is out of range
        raise ConvatlasError(f"{path}: not a recipe ({error})") from error
    except (ValueError, TypeError, OverflowError, ArithmeticError) as error:
        raise ConvatlasError(f"{path}: not a recipe ({error})") from error


def changed(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """The recipe with fields set as on the command line: "optimizer.lr=0.1", "averaging=Ema(decay=0.999)".

    Raises:
        UsageError: not of the form field=value, no such field, or a value that does not fit.
    """
    for setting in settings:
        path, equals, text = setting.partition("=")
        try:
            if not equals:
                raise ValueError("expected field=value")
            table = plain(recipe)
            override(table, path.strip(), text)
            recipe = typed(Recipe, table, "")
        except ValueError as error:
            raise UsageError(f"settings {setting}: {error}") from error
    return recipe
