"""Values that cross packages: small, frozen, with units in their names. Nothing here imports torch at run time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn

Shape = tuple[int, ...]  # without the batch axis: (C, H, W), or (C,) for a vector
Task = Literal["classification", "segmentation", "detection", "pose"]
VOID = 255  # in a mask of classes: a pixel that nobody has to classify


class ConvatlasError(Exception):
    """Something the user can put right: one sentence that names the argument, the value and what was expected."""

    exit_code = 1


class UsageError(ConvatlasError):
    """The command or the call was wrong (exit code 2), not the machine or the data (exit code 1)."""

    exit_code = 2


@dataclass(frozen=True)
class NetworkCard:
    """What the registry knows of a network without building it."""

    name: str
    task: Task
    paper: str  # key of the ledger's file, facts/papers/<paper>.toml
    input_shape: Shape  # (C, H, W) as published
    num_classes: int
    summary: str  # first line of the builder's docstring
    aliases: tuple[str, ...]
    builder: Callable[..., nn.Module]
    wants_masks: bool = False  # a detector that learns from a mask of each object


class CountsItself(Protocol):
    """A layer whose connections do not follow from its weight's shape (sparse tables, sub-sampling, distances)."""

    def count(self, output_shape: Shape) -> tuple[int, int]:
        """(connections, multiply-adds) of one forward pass of one sample."""
        ...


@runtime_checkable
class LearnsByItself(Protocol):
    """A network with a learning rule of its own, without gradient: the loop shows it batches and nothing else."""

    def learn(self, images: Tensor, labels: Tensor) -> None:
        """(B, C, H, W), (B,): one batch of a pass, in its order."""
        ...

    def end_pass(self, epoch: int) -> None:
        """After the last batch of a pass; epochs count from 0."""
        ...


@runtime_checkable
class RemembersPass(Protocol):
    """A network that gathers something over a pass outside its buffers, so that a run can stop and go on within one."""

    def pass_state(self) -> dict[str, Tensor]: ...

    def load_pass_state(self, state: dict[str, Tensor]) -> None: ...


@runtime_checkable
class MakesRoom(Protocol):
    """A network some of whose parts are there only if its weights have them."""

    def make_room(self, tensors: Mapping[str, Tensor]) -> None:
        """Has the parts that the weights have, in their shapes; the values come later."""
        ...


@runtime_checkable
class StartsFromOthers(Protocol):
    """A network that takes trained layers of others: a classifier as its encoder, a stage that came before it."""

    own_layers: tuple[str, ...]  # beginnings of names that no other brings, besides those that follow the classes

    def start_from(self, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Copies the tensors that it can use, by their names; which of its own they became. UsageError if none."""
        ...


class AuxiliaryOutputs(NamedTuple):
    """What a network with auxiliary heads returns in train mode; in eval mode it returns the logits alone.

    A segmenter's logits are (B, K, h, w), a pose network's heat maps (B, J, h, w).
    """

    logits: Tensor  # (B, K)
    auxiliary: tuple[Tensor, ...]  # (B, K) each, in the order of the heads from the input on


@dataclass(frozen=True)
class Objects:
    """What a person has marked on one picture, in its pixels: N objects, perhaps none."""

    boxes: Tensor  # (N, 4) float32: x1, y1, x2, y2; pixel edges from 0 to W and 0 to H
    labels: Tensor  # (N,) int64, 0 to K - 1; the background has no number
    difficult: Tensor  # (N,) bool: counted neither as found nor as missed
    masks: Tensor | None = None  # (N, H, W) bool


@dataclass(frozen=True)
class Detections:
    """What a detector has found on one picture, in its pixels, the most certain first."""

    boxes: Tensor  # (N, 4) float32, as those of `Objects`
    labels: Tensor  # (N,) int64, 0 to K - 1
    scores: Tensor  # (N,) float32
    masks: Tensor | None = None  # (N, H, W) bool


@dataclass(frozen=True)
class Along:
    """Which positions of its input an output position reads along one axis."""

    rule: Literal[
        "window", "spread", "adaptive", "nearest", "linear", "cubic", "reflect", "replicate", "circular"
    ]  # "spread": transposed, each input position writes a window
    kernel: int = 1
    stride: int = 1
    padding: int = 0  # before the first position; negative where the first positions are cut off
    dilation: int = 1
    scale: float = 1.0  # input positions for one step of the output, where it is resized
    corners: bool = False  # resized so that the first and last positions stay where they are


@dataclass(frozen=True)
class Reads:
    """Which positions of its inputs an output position of an operation reads. Dimensions count without the batch."""

    rule: Literal["same", "slide", "mix", "contract", "reshape", "permute", "unfold", "cat", "all"]
    dims: tuple[int, ...] = ()  # that slide, are mixed or contracted, in the new order, or are joined
    along: tuple[Along, ...] = ()  # one per dimension that slides


@dataclass(frozen=True)
class LayerRecord:
    """One operation of one forward pass of one sample: a leaf module, or a function called outside any leaf module."""

    index: int
    name: str  # module path, e.g. "conv2_x.conv2_1.conv1"; for a function the enclosing path and "/" and its name
    kind: str  # "conv", "fc", "maxpool", "avgpool", "batchnorm", "lrn", "relu", "dropout", "add", "cat", ...
    kernel: tuple[int, ...] | None
    stride: tuple[int, ...] | None
    padding: tuple[int, ...] | None
    dilation: tuple[int, ...] | None
    groups: int | None
    inputs: tuple[int, ...]  # indices of the records that it reads; -1 is the network's input
    input_shapes: tuple[Shape, ...]
    output_shape: Shape
    parameters: int  # learnable, its own
    connections: int | None  # weights used, biases included, as LeCun counts; None: not counted
    multiply_adds: int | None  # None: not counted
    output_bytes: int
    weights_read: int = 0  # parameters that it uses, whether or not an earlier operation used them too
    alive_bytes: int = 0  # the most activations that were held at once until it was done, the input included
    reads: Reads | None = None  # which positions of its inputs an output position reads; None: not known


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes a network's input: convert, resize, centre-crop or pad with black, scale, normalise.

    `resize` scales the short side ("short_side"), or the whole picture into a square ("fit", which keeps the
    aspect), or each side ("stretch"), to `resize_to` pixels, bilinear with antialiasing. Then the picture is cropped or
    padded around its centre to `size`. Values in [0, 1] become (value - mean) / std, channel by channel.

    `mean_image` replaces `mean` by a value for each pixel: "training" asks for the mean of the training pictures, and
    becomes the packed values (`data.measured`), which the weights' card then carries.
    """

    size: tuple[int, int]  # H, W
    channels: int = 3  # 1 is grey
    resize: Literal["none", "short_side", "fit", "stretch"] = "none"
    resize_to: int | None = None
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    channel_order: Literal["rgb", "bgr"] = "rgb"
    mean_image: str | None = None


@dataclass(frozen=True)
class Problem:
    """A file that could not be used, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """The result of a classifier on N labelled samples with K classes."""

    classes: tuple[str, ...]
    labels: Tensor  # (N,) int64
    probabilities: Tensor  # (N, K) float32
    loss: float  # mean over samples, the recipe's loss
    top1_error: float  # fractions in [0, 1]
    top5_error: float | None  # None below six classes
    confusion: Tensor  # (K, K) int64, rows are true classes
    seconds: float
    problems: tuple[Problem, ...] = ()
    protocol: str = "one view"  # how each picture was looked at, in words

    @property
    def error(self) -> float:
        """What training tries to make small."""
        return self.top1_error

    def scores(self) -> dict[str, float]:
        """What is worth a column of its own beside loss and error."""
        return {}


@dataclass(frozen=True)
class SegmentationEvaluation:
    """The result of a segmenter on masks of K classes; the four fractions are those of Long et al. 2015."""

    classes: tuple[str, ...]
    confusion: Tensor  # (K, K) int64, pixels, rows are true classes; void is left out
    loss: float  # mean over pictures, the recipe's loss
    pixel_accuracy: float  # fractions in [0, 1], NaN without a counted pixel
    mean_accuracy: float  # over the classes that occur in the truth
    mean_iu: float  # over the classes that occur in the truth or in the prediction
    frequency_weighted_iu: float
    seconds: float
    problems: tuple[Problem, ...] = ()
    protocol: str = "whole picture"  # how each picture was looked at, in words

    @property
    def error(self) -> float:
        """What training tries to make small: 1 - mean IU."""
        return 1 - self.mean_iu

    def scores(self) -> dict[str, float]:
        """What is worth a column of its own beside loss and error."""
        return {"mean_iu": self.mean_iu, "pixel_accuracy": self.pixel_accuracy}


@dataclass(frozen=True)
class PrecisionRecall:
    """What a detector's answers for one class are worth, the n that count in the order of their scores."""

    recall: Tensor  # (n,) float64: of the class's objects, how many were found down to this score; NaN without objects
    precision: Tensor  # (n,) float64: of the answers down to this score, how many were right
    scores: Tensor  # (n,) float64
    objects: int  # that were to be found; difficult ones are none


@dataclass(frozen=True)
class DetectionEvaluation:
    """The result of a detector on N pictures with K classes."""

    classes: tuple[str, ...]
    ap: Tensor  # (K,) float64: average precision in [0, 1]; NaN for a class without objects
    protocol: Literal["voc07", "voc10", "coco"]
    curves: tuple[PrecisionRecall, ...]  # one a class, at IoU 0.5
    numbers: dict[str, float]  # what else the protocol names: "AP50", "AR100", ...; NaN where undefined
    loss: float  # mean over pictures; NaN where it was not asked for
    seconds: float
    problems: tuple[Problem, ...] = ()
    detections: tuple[Detections, ...] = ()  # of each picture, in the split's order and the picture's pixels

    @property
    def mean_ap(self) -> float:
        """Over the classes that have objects; NaN where none has."""
        return self.ap.nanmean().item()

    @property
    def error(self) -> float:
        """What training tries to make small."""
        return 1 - self.mean_ap

    def scores(self) -> dict[str, float]:
        """What is worth a column of its own beside loss and error."""
        return {"mean_ap": self.mean_ap}


@dataclass(frozen=True)
class PoseEvaluation:
    """The result of a pose network on N people with J joints."""

    joints: tuple[str, ...]
    distances: Tensor  # (N, J) float64, in the measure's lengths; NaN where a joint is not marked
    loss: float  # mean over people, the recipe's loss
    measure: str  # "PCKh@0.5": lengths of the head, right up to 0.5 of them
    threshold: float
    correct: float  # fraction of all marked joints that are right; NaN without any
    correct_of_joint: Tensor  # (J,) float64
    seconds: float
    problems: tuple[Problem, ...] = ()
    protocol: str = "one view"  # how each picture was looked at, in words

    @property
    def error(self) -> float:
        """What training tries to make small: 1 - PCKh."""
        return 1 - self.correct

    def scores(self) -> dict[str, float]:
        """What is worth a column of its own beside loss and error."""
        return {"pck": self.correct}


SCORES = {"mean_iu": "mean IU", "pixel_accuracy": "pixel accuracy", "pck": "PCK", "mean_ap": "mAP"}
"""What people call the entries of an evaluation's `scores`; the first of a task is what its error is taken from."""


AP_PROTOCOLS = {
    "voc07": "by VOC 2007's protocol (IoU 0.5, 11 points)",
    "voc10": "by VOC 2010's protocol (IoU 0.5, all points)",
    "coco": "by COCO's protocol (mean over IoU 0.5 to 0.95)",
}
"""How the protocols of `DetectionEvaluation` are called beside a number."""


@dataclass(frozen=True)
class PublishedResult:
    """Test errors of one network as a source printed them, in percent."""

    data: str  # "ILSVRC-2012 validation", "CIFAR-10 test"
    protocol: (
        str  # as `Evaluation.protocol` says it, "10 crops" or "" for the whole picture; and what else belongs here
    )
    top1_error: str | None = None  # "40.7"; None: not printed
    top5_error: str | None = None
    printed_for: str = ""  # "shortcut option A", where the source has no number of the very network

    def __str__(self) -> str:
        printed = ((self.top1_error, "top-1 " if self.top5_error else ""), (self.top5_error, "top-5 "))
        errors = " and ".join(f"{value}% {name}".rstrip() for value, name in printed if value is not None)
        other = f"printed for {self.printed_for}" if self.printed_for else ""
        return ", ".join(filter(None, (f"{errors} error on {self.data}", self.protocol, other)))


@dataclass(frozen=True)
class Prediction:
    """The k most probable classes of one picture, most probable first."""

    path: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
