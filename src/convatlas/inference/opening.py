"""From a run folder, a name with weights or an exported file to a trained network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from convatlas import data, registry, weights
from convatlas.blocks.region_search import RegionSearch
from convatlas.errors import ConvatlasError, UsageError
from convatlas.inference.exported import read_exported
from convatlas.inference.trained import TrainedNetwork
from convatlas.records import NetworkCard, Preprocessing
from convatlas.training.recipe import Recipe
from convatlas.training.recipe import read as read_recipe
from convatlas.training.run import RunFolder

UNUSABLE = "is not usable here; expected auto, cpu, or a GPU that `convatlas doctor` lists"


def resolve_device(device: str = "auto") -> torch.device:
    """ "auto" is the first GPU, else the CPU.

    Raises:
        UsageError: not a device of this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise UsageError(f"device {device} {UNUSABLE}") from error
    if chosen.type == "meta":  # whose tensors hold no values
        raise UsageError(f"device {device} {UNUSABLE}")
    return chosen


def open_source(source: str, weights_path: Path | None = None) -> TrainedNetwork:
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
            raise UsageError(f"weights {weights_path} with {source}, which holds its weights; expected one of them")
        return open_exported(folder)
    if folder.is_file() or (not is_registered(source) and ("/" in source or "\\" in source)):
        kind = "is a file" if folder.is_file() else "does not exist"
        raise UsageError(f"{source} {kind}; expected a run folder, the name of a network (`convatlas list`), or "
                         "a .onnx file of `convatlas export`")  # fmt: skip
    network = registry.card(source)
    if weights_path is None:
        raise UsageError(f"{network.name} is a network without trained weights; expected weights=FILE, or a run folder")
    return open_weights(network.name, weights_path)


def is_registered(name: str) -> bool:
    try:
        registry.card(name)
    except UsageError:
        return False
    return True


def open_run(folder: Path, weights_path: Path | None = None) -> TrainedNetwork:
    if not (folder / "recipe.toml").is_file():
        raise UsageError(f"{folder} is not a run folder: recipe.toml is absent; expected what `convatlas train` writes")
    recipe = read_recipe(folder / "recipe.toml")
    path = weights_path or RunFolder(folder).kept(recipe)
    if not path.is_file():
        raise ConvatlasError(f"{folder} is an incomplete run: {path} is absent; it is written after the first epoch")
    return open_weights(None, path, folder, recipe)


def open_weights(name: str | None, path: Path, run: Path | None = None, recipe: Recipe | None = None) -> TrainedNetwork:
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
    preprocessing = known or usual_preprocessing(network)
    if isinstance(net, RegionSearch):
        net.shown = preprocessing
    named = card["classes"] if card else None
    count = card["num_classes"] if card else network.num_classes
    classes = tuple(named) if named else tuple(str(index) for index in range(count))
    return TrainedNetwork(
        net.eval(),
        network.name,
        classes,
        preprocessing,
        run,
        recipe,
        named_classes=bool(named),
        colours=colours_of(card),
        notes=opened.notes if known else (*opened.notes, unknown_images(usual_preprocessing(network))),
    )


def unknown_images(assumed: Preprocessing) -> str:
    """A note on weights whose card is absent, or silent about their images."""
    order = assumed.channel_order.upper() if assumed.channels == 3 else "grey"
    return f"say nothing of their images; these enter in {order} minus {assumed.mean}, divided by {assumed.std}"


def colours_of(card: Mapping[str, Any] | None) -> tuple[tuple[int, int, int], ...] | None:
    """Of the classes in masks, where a card has any."""
    colours = card.get("colours") if card else None
    return tuple((red, green, blue) for red, green, blue in colours) if colours else None


def open_exported(path: Path) -> TrainedNetwork:
    net, card, preprocessing = read_exported(path)
    named = card["classes"]
    classes = tuple(named) if named else tuple(str(index) for index in range(card["num_classes"]))
    return TrainedNetwork(
        net, card["network"], classes, preprocessing, run=None, named_classes=bool(named), colours=colours_of(card)
    )


def usual_preprocessing(network: NetworkCard) -> Preprocessing:
    """For released weights that say nothing: what the network gets for images larger than its input."""
    channels, height, width = network.input_shape
    black = data.ArraySplit(torch.zeros(1, channels, 2 * height, 2 * width, dtype=torch.uint8), torch.zeros(1))
    return data.default_preprocessing(network, black)
