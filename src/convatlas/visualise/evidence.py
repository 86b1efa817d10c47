"""Segmenters, pose networks and detectors asked as if they were classifiers: one number a class for an image.

So saliency, Grad-CAM and occlusion answer for them too. For a map it is the mean over its pixels (Vinogradova et al.,
"Towards Interpretable Semantic Segmentation via Gradient-Weighted Class Activation Mapping", AAAI 2020, take the sum),
for a detector the most certain of its boxes, or what it says of the whole image as one region.
"""

from torch import Tensor, nn

from convatlas.errors import UsageError


def as_classifier(net: nn.Module) -> nn.Module:
    """The network itself, whose forward pass gives (B, K) from now on; module paths stay as they are."""
    net.register_forward_hook(lambda _, __, outputs: evidence(outputs))
    return net


def evidence(outputs: object) -> Tensor:
    """The outputs of a network of any task -> (B, K)

    Raises:
        UsageError: outputs of another kind.
    """
    if isinstance(outputs, Tensor) and outputs.ndim in (2, 4):
        return outputs if outputs.ndim == 2 else outputs.mean(dim=(2, 3))
    if isinstance(logits := getattr(outputs, "logits", None), Tensor):
        return logits[:, :, 1:].amax(dim=1)  # (B, boxes, K + 1), the background first
    if isinstance(scores := getattr(outputs, "scores", None), Tensor):
        return scores[:, 1:]
    raise UsageError(f"outputs are {type(outputs).__name__}; expected a map, or scores of boxes")
