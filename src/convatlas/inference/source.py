"""A trained network with all that it needs to look at a picture: from a run folder, or a name with weights."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from convatlas import data, registry, weights
from convatlas.structures import ConvatlasError, NetworkCard, Prediction, Preprocessing, Problem, UsageError
from convatlas.training.recipe import Recipe
from convatlas.training.recipe import read as read_recipe

if TYPE_CHECKING:
    from convatlas.inference.boxes import BoxPrediction
    from convatlas.inference.maps import MaskPrediction
    from convatlas.inference.poses import PosePrediction

T = TypeVar("T")
VERBS = {"classification": "predict", "segmentation": "segment", "detection": "detect", "pose": "find_poses"}
BEST = Path("checkpoints", "best", "weights.safetensors")


@dataclass(frozen=True)
class Source:
    """A network in evaluation mode, the names of its outputs, and how it wants its pictures."""

    net: nn.Module
    name: str  # the registered name
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    run: Path | None  # the run folder, where it came from one
    recipe: Recipe | None = None  # of the run folder
    named_classes: bool = True  # False: the weights carry no names, and `classes` are "0", "1", ...
    aliases: Mapping[str, int] | None = None  # what data may call the classes, where that is more than their names
    colours: tuple[tuple[int, int, int], ...] | None = None  # of the classes in masks, where the weights know any

    @property
    def task(self) -> str:
        return registry.card(self.name).task

    @property
    def whole(self) -> Preprocessing:
        """How a whole picture becomes what the forward pass takes: one window, of a network that looks at windows."""
        side = registry.card(self.name).traits.window_px
        if side is None:
            return self.preprocessing
        return replace(self.preprocessing, size=(side, side), resize="stretch", resize_to=side)

    def predict(
        self,
        *pictures: str | Path,
        top_k: int = 5,
        batch_size: int = 32,
        device: str | torch.device = "cpu",
        engine: str = "auto",
    ) -> tuple[list[Prediction], list[Problem]]:
        """The most probable classes of files, folders and patterns, and what could not be read; as `predict`."""
        from convatlas.inference.predict import predict

        self._check_task("classification")
        return predict(self, pictures, top_k=top_k, batch_size=batch_size, device=device, engine=engine)

    def segment(
        self, *pictures: str | Path, device: str | torch.device = "cpu"
    ) -> "tuple[list[MaskPrediction], list[Problem]]":
        """The masks of files, folders and patterns, and what could not be read; as `maps.segment`."""
        from convatlas.inference.maps import segment

        self._check_task("segmentation")
        return _apart(segment(self, pictures, device=device))

    def detect(
        self, *pictures: str | Path, least_score: float | None = None, device: str | torch.device = "cpu"
    ) -> "tuple[list[BoxPrediction], list[Problem]]":
        """The objects on files, folders and patterns, and what could not be read; as `boxes.detect`."""
        from convatlas.inference.boxes import detect

        self._check_task("detection")
        return _apart(detect(self, pictures, least_score=least_score, device=device))

    def find_poses(
        self, *pictures: str | Path, device: str | torch.device = "cpu"
    ) -> "tuple[list[PosePrediction], list[Problem]]":
        """The joints on files, folders and patterns, and what could not be read; as `poses.find_poses`."""
        from convatlas.inference.poses import find_poses

        self._check_task("pose")
        return _apart(find_poses(self, pictures, device=device))

    def _check_task(self, task: str) -> None:
        if self.task != task:
            raise UsageError(f"{self.name} is for {self.task}, not {task}; expected {VERBS[self.task]}()")


def _apart(found: Iterable[T | Problem]) -> tuple[list[T], list[Problem]]:
    predictions: list[T] = []
    problems: list[Problem] = []
    for one in found:
        if isinstance(one, Problem):
            problems.append(one)
        else:
            predictions.append(one)
    return predictions, problems


def resolve_device(device: str = "auto") -> torch.device:
    """ "auto" is the first GPU, else the CPU.

    Raises:
        UsageError: not a device of this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise UsageError(f"--device {device} is not usable here; expected auto, cpu, or a GPU that "
                         "`convatlas doctor` lists") from error  # fmt: skip
    return found


def open_source(source: str, weights_path: Path | None = None) -> Source:
    """Opens a run folder, a registered name together with a weights file, or a .onnx file of `convatlas export`.

    Raises:
        UsageError: neither a run folder nor a name, or a name without weights.
        ConvatlasError: a run folder that is incomplete or of another version, or weights that do not fit.
    """
    folder = Path(source)
    if folder.is_dir() and ((folder / "recipe.toml").exists() or not is_registered(source)):
        return open_run(folder, weights_path)
    if folder.suffix == ".onnx" and folder.is_file():
        if weights_path is not None:
            raise UsageError(f"--weights {weights_path} with {source}, which holds its weights; expected one of them")
        return open_exported(folder)
    if folder.is_file() or (not is_registered(source) and ("/" in source or "\\" in source)):
        kind = "is a file" if folder.is_file() else "does not exist"
        raise UsageError(f"{source} {kind}; expected a run folder, the name of a network (`convatlas list`), or "
                         "a .onnx file of `convatlas export`")  # fmt: skip
    network = registry.card(source)
    if weights_path is None:
        raise UsageError(
            f"{network.name} is a network without trained weights; expected --weights FILE, or a run folder"
        )
    return open_weights(network.name, weights_path)


def load(source: str | Path, weights: str | Path | None = None) -> Source:
    """A trained network that predicts: `load("runs/ants").predict("pictures/")`. Raises as `open_source`."""
    return open_source(str(source), None if weights is None else Path(weights))


def is_registered(name: str) -> bool:
    try:
        registry.card(name)
    except UsageError:
        return False
    return True


def open_run(folder: Path, weights_path: Path | None = None) -> Source:
    if not (folder / "recipe.toml").is_file():
        raise UsageError(f"{folder} is no run folder: recipe.toml is absent; expected what `convatlas train` writes")
    recipe = read_recipe(folder / "recipe.toml")
    path = weights_path or folder / BEST
    if not path.is_file():
        raise ConvatlasError(f"{folder} is an incomplete run: {path} is absent; it is written after the first epoch")
    return open_weights(None, path, folder, recipe)


def open_weights(name: str | None, path: Path, run: Path | None = None, recipe: Recipe | None = None) -> Source:
    """The network of a weights file; `name` may be None where the file's card names it."""
    opened = weights.open_file(path, name)
    card = opened.card
    if card is None and name is None:
        raise ConvatlasError(f"{path} carries no card; expected weights that `convatlas train` wrote")
    network = registry.card(name if name is not None else card["network"] if card else "")
    net = weights.build(opened, network.name)
    if network.task != "classification":  # whose engines lay out the maps as they like them
        net = net.to(memory_format=torch.channels_last)  # up to twice as fast on a CPU
    known = weights.preprocessing_of(card) if card else None
    named = card["classes"] if card else None
    count = card["num_classes"] if card else network.num_classes
    classes = tuple(named) if named else tuple(str(index) for index in range(count))
    return Source(
        net.eval(),
        network.name,
        classes,
        known or usual_preprocessing(network),
        run,
        recipe,
        named_classes=bool(named),
        colours=colours_of(card),
    )


def colours_of(card: Mapping[str, Any] | None) -> tuple[tuple[int, int, int], ...] | None:
    """Of the classes in masks, where a card has any."""
    colours = card.get("colours") if card else None
    return tuple((red, green, blue) for red, green, blue in colours) if colours else None


def open_exported(path: Path) -> Source:
    from convatlas.inference.exported import read_exported

    net, card, preprocessing = read_exported(path)
    named = card["classes"]
    classes = tuple(named) if named else tuple(str(index) for index in range(card["num_classes"]))
    return Source(
        net, card["network"], classes, preprocessing, run=None, named_classes=bool(named), colours=colours_of(card)
    )


def usual_preprocessing(network: NetworkCard) -> Preprocessing:
    """For released weights that say nothing: what the network gets for pictures larger than its input."""
    channels, height, width = network.input_shape
    black = data.ArraySplit(torch.zeros(1, channels, 2 * height, 2 * width, dtype=torch.uint8), torch.zeros(1))
    return data.default_preprocessing(network, black)
