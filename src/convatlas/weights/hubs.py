"""Weights that torchvision or timm fetch from their own hubs: `torchvision:resnet50`, `timm:inception_v4`.

A name of one set of weights may follow: `torchvision:resnet50/IMAGENET1K_V1`, `timm:resnet50.a1_in1k`. The libraries
keep what they fetched, check its hash where they know it, and state the images' sizes and means.
"""

import math
from collections.abc import Callable
from typing import Any

from convatlas.errors import ConvatlasError, UsageError
from convatlas.records import Preprocessing
from convatlas.weights.formats import Contents

_REWRITTEN = ("googlenet", "inception_v3")  # whose networks turn ImageNet's means into -1 to 1; the layout knows


def read_hub(spec: str) -> Contents | None:
    """The weights of a hub, or None: `spec` names none.

    Raises:
        UsageError: the library is absent, or has no such network or weights.
        ConvatlasError: the weights can't be fetched.
    """
    hub, separator, name = spec.partition(":")
    if not separator or hub not in _HUBS:
        return None
    return _HUBS[hub](name)


def _torchvision(name: str) -> Contents:
    from torchvision import models

    network, _, wanted = name.partition("/")
    if network not in models.list_models():
        raise UsageError(f"weights torchvision:{name}; expected a network of torchvision.models, such as resnet50")
    choices = models.get_model_weights(network)
    entry = getattr(choices, wanted or "DEFAULT", None)
    if entry is None:
        known = ", ".join(choice.name for choice in choices)
        raise UsageError(f"weights torchvision:{name}; torchvision has {known} for {network}")
    state = _fetched(f"torchvision:{name}", lambda: entry.get_state_dict(progress=False, check_hash=True))
    images = entry.transforms()
    stated = Preprocessing(
        size=(images.crop_size[0],) * 2,
        resize="short_side",
        resize_to=images.resize_size[0],
        mean=tuple(images.mean),
        std=tuple(images.std),
    )
    return Contents("PyTorch", dict(state), preprocessing=None if network in _REWRITTEN else stated)


def _timm(name: str) -> Contents:
    try:
        import timm
    except ImportError as error:
        raise UsageError(f"weights timm:{name}: timm is absent; `pip install timm` gets it") from error
    if not timm.is_model(name.partition(".")[0]):
        raise UsageError(f"weights timm:{name}; expected a network of timm, such as inception_v4")
    net = _fetched(f"timm:{name}", lambda: timm.create_model(name, pretrained=True))
    known: dict[str, Any] = net.pretrained_cfg
    side = known["input_size"][-1]
    stated = Preprocessing(
        size=(side, side),
        resize="short_side",
        resize_to=math.floor(side / known["crop_pct"]),
        mean=tuple(known["mean"]),
        std=tuple(known["std"]),
    )
    return Contents("PyTorch", dict(net.state_dict()), preprocessing=stated)


def _fetched(spec: str, fetch: Callable[[], Any]) -> Any:
    try:
        return fetch()
    except Exception as error:  # the libraries pass on whatever their network and their disk raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConvatlasError(f"weights {spec} can't be fetched: {reason}") from error


_HUBS = {"torchvision": _torchvision, "timm": _timm}
