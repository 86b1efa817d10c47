"""From what a person names to a model: a library's network, a Python path, a file, a run, or a module itself."""

import os
from dataclasses import replace
from pathlib import Path

from torch import nn

from convatlas import registry, weights
from convatlas.analysis.trace import build_unfilled
from convatlas.errors import UsageError
from convatlas.inference.foreign.libraries import of_module, timm_model, torchvision_model
from convatlas.inference.foreign.model import Model
from convatlas.inference.foreign.onnx_graph import onnx_model
from convatlas.inference.foreign.python_path import python_model, split_call
from convatlas.inference.opening import is_registered, open_run
from convatlas.sizes import bare_copy

EXPECTED = (
    "expected torchvision:NAME, timm:NAME, file.py:NAME, package.module:NAME, an .onnx file, a weights file, "
    "a run folder, or a name of `convatlas list`"
)
LIBRARIES = {"torchvision": torchvision_model, "timm": timm_model}


def open_model(source: str | os.PathLike[str] | nn.Module) -> Model:
    """Opens any network. Nothing is downloaded; no file's code runs but that of a Python path.

    Raises:
        UsageError: there is nothing of that name.
        ConvatlasError: it can't be read or built.

    >>> open_model("torchvision:alexnet").parameters
    61100840
    """
    if isinstance(source, nn.Module):
        return of_module(bare_copy(source), type(source).__name__, type(source).__name__)
    text = os.fspath(source)
    place, colon, name = text.partition(":")
    if colon and place in LIBRARIES:
        name, arguments = split_call(name.partition("/")[0])
        return LIBRARIES[place](name, arguments)
    path = Path(text).expanduser()
    if path.suffix.lower() == ".onnx":
        return onnx_model(path)
    if path.is_dir():
        return _of_run(path)
    if path.is_file() and path.suffix != ".py":
        return _of_weights(path)
    if is_registered(text):
        return _of_registered(text)
    place, colon, name = text.rpartition(":")
    if not colon:
        place, colon, name = text, "", ""
    if colon and place and name:
        name, arguments = split_call(name)
        return python_model(place, name, arguments)
    if path.suffix == ".py" and path.is_file():
        raise UsageError(f"{text} is a Python file; expected the name of a class or function too: {text}:NAME")
    if os.sep in text or path.suffix:
        raise UsageError(f"{text} does not exist; {EXPECTED}")
    raise UsageError(f"{text!r} is not a network; {EXPECTED}")


def _of_registered(name: str) -> Model:
    card = registry.card(name)
    model = of_module(build_unfilled(lambda: registry.build(card)), name, f"{card.name} of the atlas", card.input_shape)
    return replace(model, name=card.name, published=card.name)


def _of_run(path: Path) -> Model:
    opened = open_run(path)
    shape = registry.card(opened.name).input_shape
    sides = opened.preprocessing.size or shape[1:]
    channels = next((p.shape[1] for p in opened.net.parameters() if p.dim() > 2), shape[0])
    model = of_module(bare_copy(opened.net), str(path), f"the run {path}", (channels, *sides))
    return replace(model, name=opened.name, published=opened.name)


def _of_weights(path: Path) -> Model:
    """A weights file: a registered network where its layout is known, else the shapes of its tensors."""
    opened = weights.open_file(path)
    card = opened.card
    if card is None:
        tensors = {name: tuple(tensor.shape) for name, tensor in opened.tensors.items()}
        learned = [tensor for name, tensor in opened.tensors.items() if not name.endswith(UNLEARNED)]
        count = sum(tensor.numel() for tensor in learned)
        notes = (
            *opened.notes,
            "a weights file has no strides, poolings, activations or dropout: these are not compared",
        )
        return Model(str(path), path.name, tensors=tensors, parameters=count, notes=notes)
    network = registry.card(card["network"])
    net = build_unfilled(
        lambda: registry.build(network, num_classes=card["num_classes"], in_channels=card["in_channels"])
    )
    shape = (card["in_channels"], *network.input_shape[1:])
    model = of_module(net, str(path), path.name, shape)
    note = f"its tensors are those of {network.name}, in the layout of {opened.format}; constants are taken from there"
    return replace(model, name=network.name, published=network.name, notes=(*opened.notes, note))


UNLEARNED = ("running_mean", "running_var", "num_batches_tracked")
