"""The names of the classes that released weights were trained for, in the order of their outputs."""

from functools import lru_cache

_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_DIGITS = tuple("0123456789")


@lru_cache(maxsize=4)
def class_names(key: str) -> tuple[str, ...]:
    """The classes of "imagenet", "cifar10" or "mnist". ImageNet's are in the order of their WordNet ids."""
    if key == "imagenet":
        from torchvision.models import AlexNet_Weights  # which names the classes, and is slow to import

        return tuple(AlexNet_Weights.IMAGENET1K_V1.meta["categories"])
    return {"cifar10": _CIFAR10, "mnist": _DIGITS}[key]
