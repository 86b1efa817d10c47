"""Which pixels, or which places of a layer, a class's score rests on: the methods that use gradients.

Every method works on one image x (1, C, H, W) and on the score (logit) of one class, and never on its probability,
whose gradient also tells what the other classes lose.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.analysis.trace import trace
from convatlas.errors import UsageError
from convatlas.sizes import bare_copy
from convatlas.visualise import backward
from convatlas.visualise.evidence import evidence
from convatlas.visualise.style import around_grey, house_style

Array = NDArray[np.float32]
AFTER_POOL = frozenset({"flatten", "view", "dropout", "identity", "fc"})
SIGNED = frozenset({"guided", "deconvolution"})  # methods whose values are drawn with their sign


@dataclass(frozen=True)
class Attribution:
    """What one class's score rests on."""

    method: str
    target: int  # the class
    score: float  # its logit
    values: Array  # (C, H, W) over the input's channels, or (h, w) over the places of a layer
    layer: str | None = None


def saliency(net: nn.Module, x: Tensor, target: int) -> Attribution:
    """The size of the score's derivative by every pixel: how little would have to change.

    Simonyan, Vedaldi, Zisserman, "Deep Inside Convolutional Networks", arXiv:1312.6034, 2013, section 3.
    """
    return _from_output("saliency", net, x, target, backward.GRADIENT, absolute=True)


def guided_backpropagation(net: nn.Module, x: Tensor, target: int) -> Attribution:
    """The derivative with only positive signals let through active rectifiers.

    Springenberg, Dosovitskiy, Brox, Riedmiller, "Striving for Simplicity", arXiv:1412.6806, 2014, section 3.4.
    """
    return _from_output("guided", net, x, target, backward.GUIDED)


def deconvolution(net: nn.Module, x: Tensor, target: int) -> Attribution:
    """The deconvnet from the class's output unit."""
    return _from_output("deconvolution", net, x, target, backward.DECONVNET)


def _from_output(
    method: str, net: nn.Module, x: Tensor, target: int, rule: backward.Rule, *, absolute: bool = False
) -> Attribution:
    seen = backward.forward(net, x, rule=rule)
    signal = torch.zeros_like(seen.logits)
    signal[:, checked_class(target, seen.logits)] = 1
    down = seen.down(signal)[0]
    return Attribution(method, target, float(seen.logits[0, target]), _array(down.abs() if absolute else down))


def integrated_gradients(
    net: nn.Module, x: Tensor, target: int, *, baseline: Tensor | None = None, steps: int = 50, batch_size: int = 10
) -> Attribution:
    """Each pixel's share of what the score gains from the baseline to the image.

    Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", arXiv:1703.01365, 2017. The integral is a
    Gauss-Legendre sum; the shares add up to the gain, as far as `steps` are enough.

    Args:
        baseline: (1, C, H, W), an image that shows nothing; None is zeros, the data's mean colour.
    """
    start = torch.zeros_like(x) if baseline is None else baseline
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    places = torch.from_numpy((nodes + 1) / 2).to(x)[:, None, None, None]
    shares = torch.from_numpy(weights / 2).to(x)[:, None, None, None]
    total = torch.zeros_like(x)
    for place, share in zip(places.split(batch_size), shares.split(batch_size), strict=True):
        seen = backward.forward(net, start + place * (x - start))
        signal = torch.zeros_like(seen.logits)
        signal[:, checked_class(target, seen.logits)] = 1
        total += (seen.down(signal) * share).sum(dim=0, keepdim=True)
    with torch.no_grad(), backward.evaluating(net):
        score = float(net(x)[0, target])
    return Attribution("ig", target, score, _array((total * (x - start))[0]))


def grad_cam(net: nn.Module, x: Tensor, target: int, layer: str | None = None) -> Attribution:
    """Where a layer's maps speak for the class: their sum, weighted by their mean derivative, rectified.

    Selvaraju et al., "Grad-CAM", arXiv:1610.02391, 2016. Below the layer nothing is kept for a derivative.

    Args:
        layer: by default the last one that has maps.

    Raises:
        UsageError: no such layer, or one without maps.
    """
    layer = last_maps(net, x) if layer is None else layer
    kept: list[Tensor] = []
    with ExitStack() as stack:

        def start_here(_: nn.Module, __: Any, output: Tensor) -> Tensor:
            stack.enter_context(torch.enable_grad())
            kept.append(output.detach().requires_grad_() if isinstance(output, Tensor) else output)
            return kept[-1]

        stack.enter_context(backward.evaluating(net))
        stack.enter_context(torch.no_grad())
        stack.callback(backward.find_layer(net, layer).register_forward_hook(start_here).remove)
        logits = net(x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x)
    maps = backward.checked(kept, layer)
    if maps.dim() != 4:
        raise UsageError(f"layer {layer!r} gives a vector, which has no places; expected a layer with maps")
    score = logits[0, checked_class(target, logits)]
    (gradient,) = torch.autograd.grad(score, maps)
    values = (gradient.mean(dim=(2, 3), keepdim=True) * maps.detach()).sum(dim=1).clamp(min=0)
    return Attribution("gradcam", target, float(score.detach()), _array(values[0]), layer)


def class_activation_map(net: nn.Module, x: Tensor, target: int) -> Attribution:
    """The last maps weighted as the class weighs them; its mean over the places is the score without bias.

    Zhou, Khosla, Lapedriza, Oliva, Torralba, "Learning Deep Features for Discriminative Localization",
    arXiv:1512.04150, 2015. Only for networks that end in a global average pool and at most one linear layer.

    Raises:
        UsageError: the network ends otherwise.
    """
    pool, layer = global_pool(net, x)
    kept: list[Tensor] = []
    with backward.evaluating(net), torch.no_grad():
        handle = net.get_submodule(pool).register_forward_hook(lambda _, inputs, __: kept.append(inputs[0]))
        try:
            logits = net(x)
        finally:
            handle.remove()
    maps = kept[-1][0]  # (N, h, w)
    checked_class(target, logits)
    if layer is None:
        values = maps[target]
    else:
        head = net.get_submodule(layer)
        assert isinstance(head, nn.Linear)
        values = torch.einsum("n,nhw->hw", head.weight[target].detach(), maps)
    return Attribution("cam", target, float(logits[0, target]), _array(values), pool)


def global_pool(net: nn.Module, x: Tensor) -> tuple[str, str | None]:
    """(global average pool, linear layer after it or None) at a network's end. Raises UsageError where it has none."""
    records = trace(net, tuple(x.shape[1:]), device=x.device)
    pools = [r.index for r in records if r.kind == "avgpool" and r.output_shape[1:] == (1, 1) and "/" not in r.name]
    after = records[pools[-1] + 1 :] if pools else records
    linear = [record.name for record in after if record.kind == "fc"]
    if not pools or len(linear) > 1 or any(record.kind not in AFTER_POOL for record in after):
        raise UsageError(
            f"{type(net).__name__} has no class activation maps: they need a global average pool and at most one "
            "linear layer at the end; method='gradcam' works on any network"
        )
    return records[pools[-1]].name, linear[0] if linear else None


def last_maps(net: nn.Module, x: Tensor) -> str:
    """The last layer on which the scores rest whose maps have more than one place.

    A mask head comes after the scores. Found by a backward pass on `meta`.

    Raises:
        UsageError: there is none.
    """
    records = trace(net, tuple(x.shape[1:]), device=x.device)
    names = [r.name for r in records if "/" not in r.name and len(r.output_shape) == 3 and max(r.output_shape[1:]) > 1]
    kept: dict[str, Tensor] = {}
    trial = bare_copy(net).eval()
    for name in names:
        layer = backward.find_layer(trial, name)
        layer.register_forward_hook(
            lambda _, __, output, name=name: kept.update({name: output}) if isinstance(output, Tensor) else None
        )
    with torch.enable_grad():
        scores = evidence(trial(torch.empty(1, *x.shape[1:], device="meta", requires_grad=True)))
    gradients = torch.autograd.grad(scores.sum(), list(kept.values()), allow_unused=True)
    found = [name for name, gradient in zip(kept, gradients, strict=True) if gradient is not None]
    if not found:
        raise UsageError(f"{type(net).__name__} has no layer with maps; expected a convolutional network")
    return found[-1]


def checked_class(target: int, logits: Tensor) -> int:
    """Raises UsageError for a class that the network does not have."""
    if not 0 <= target < logits.shape[1]:
        raise UsageError(f"class {target} does not exist; expected 0 to {logits.shape[1] - 1}")
    return target


def _array(values: Tensor) -> Array:
    return values.detach().float().cpu().numpy()


def figure(image: Array, found: Attribution, *, bgr: bool = False) -> Figure:
    """The image (H, W, 3) or (H, W) in [0, 1], the attribution, and both laid over each other.

    Signed values over the input's channels are drawn around mid-grey; sizes and maps from black (none) upwards.
    """
    over_pixels = found.values.shape[-2:] == image.shape[:2] and found.values.ndim == 3
    heat = found.values
    if over_pixels:
        heat = np.abs(found.values).max(axis=0) if found.method != "ig" else found.values.sum(axis=0).clip(min=0)
    scaled = enlarged(heat, image.shape[:2])
    limit = float(np.quantile(scaled, 0.995)) or 1.0
    with house_style():
        sheet = Figure(figsize=(6.6, 2.4), layout="constrained")
        axes = sheet.subplots(1, 3)
        for axis in axes:
            axis.set_axis_off()
        axes[0].imshow(image, cmap="gray", vmin=0, vmax=1)
        axes[0].set_title("image", fontsize=8)
        if found.method in SIGNED and over_pixels:
            axes[1].imshow(around_grey(found.values, bgr=bgr), cmap="gray", vmin=0, vmax=1)
        else:
            axes[1].imshow(heat, cmap="gray" if over_pixels else "inferno", vmin=0, vmax=limit)
        axes[1].set_title(found.layer or found.method, fontsize=8)
        grey = image if image.ndim == 2 else image.mean(axis=2)
        axes[2].imshow(0.35 + 0.5 * grey, cmap="gray", vmin=0, vmax=1)
        axes[2].imshow(scaled, cmap="inferno", vmin=0, vmax=limit, alpha=np.clip(scaled / limit, 0, 1) * 0.85)
        axes[2].set_title("over the image", fontsize=8)
    return sheet


def enlarged(heat: Array, size: tuple[int, ...]) -> Array:
    """(h, w) -> (H, W), bilinear"""
    batch = torch.from_numpy(np.ascontiguousarray(heat))[None, None]
    return F.interpolate(batch, size=size, mode="bilinear", align_corners=False)[0, 0].numpy()
