"""`torchvision:alexnet` and `timm:resnet34`: networks of libraries, without weights and without a download."""

import difflib
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any

from torch import nn

from convatlas.analysis.trace import build_unfilled
from convatlas.errors import ConvatlasError, UsageError
from convatlas.inference.foreign.model import Model
from convatlas.records import Shape

Arguments = Mapping[str, Any]

REFUSED = ("weights", "pretrained", "checkpoint_path", "pretrained_cfg_overlay")  # what would fetch or read a file


def torchvision_model(name: str, arguments: Arguments) -> Model:
    """A network of torchvision.models, on `meta`.

    Raises:
        UsageError: there is none of that name.
        ConvatlasError: it can't be built with these arguments.
    """
    from torchvision import models

    names = models.list_models()
    if name not in names:
        raise UsageError(f"torchvision has no network {name!r}; {_near(name, names, 'alexnet')}")
    _refuse(name, arguments)
    known = inspect.signature(models.get_model_builder(name)).parameters
    quiet = {"weights_backbone": None, "init_weights": False}  # nothing is fetched, nothing filled
    chosen = {key: value for key, value in quiet.items() if key in known} | dict(arguments)
    net = build("torchvision", name, lambda: models.get_model(name, weights=None, **chosen))
    images = models.get_model_weights(name).__members__.get("DEFAULT")
    crop = getattr(images.transforms(), "crop_size", None) if images is not None else None  # of classifiers only
    return _model("torchvision", name, net, (3, *(crop * 2)[:2]) if crop else None)


def timm_model(name: str, arguments: Arguments) -> Model:
    """A network of timm, on `meta`.

    Raises:
        UsageError: timm is not installed, or has no network of that name.
        ConvatlasError: it can't be built with these arguments.
    """
    try:
        import timm
    except ImportError as error:
        raise UsageError(
            f"timm:{name} is a network of timm, which is not installed; get it: pip install timm"
        ) from error
    base = name.partition(".")[0]
    if not timm.is_model(base):
        raise UsageError(f"timm has no network {name!r}; {_near(base, timm.list_models(), 'resnet34')}")
    _refuse(name, arguments)
    net = build("timm", name, lambda: timm.create_model(name, pretrained=False, **dict(arguments)))
    settings = vars(net).get("pretrained_cfg") or {}
    return _model("timm", base, net, tuple(settings["input_size"]) if "input_size" in settings else None)


def build(owner: str, name: str, make: Callable[[], nn.Module]) -> nn.Module:
    """What `make` builds, on `meta`.

    Raises:
        ConvatlasError: it fails; the message has its reason.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return build_unfilled(make)
    except Exception as error:  # whatever foreign code raises
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConvatlasError(f"{name} of {owner} can't be built: {reason}") from error


def _refuse(name: str, arguments: Arguments) -> None:
    for argument in REFUSED:
        if argument in arguments:
            raise UsageError(
                f"{argument} is an argument of {name} that loads weights; expected none: they change no layer"
            )


def _near(name: str, names: Sequence[str], example: str) -> str:
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"expected one of its names, such as {example}"


def _model(library: str, name: str, net: nn.Module, input_shape: Shape | None) -> Model:
    title = f"{name} of {library} {metadata.version(library).partition('+')[0]}"
    return of_module(net, f"{library}:{name}", title, input_shape, library=library, name=name)


def of_module(
    net: nn.Module, source: str, title: str, input_shape: Shape | None = None, *, library: str = "", name: str = ""
) -> Model:
    """A model from a module on `meta`."""
    tensors = {path: tuple(parameter.shape) for path, parameter in net.named_parameters()}
    count = sum(parameter.numel() for parameter in net.parameters())
    return Model(
        source, title, net, tensors=tensors, parameters=count, input_shape=input_shape, library=library, name=name
    )
