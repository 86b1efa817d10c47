"""Any network, as far as it is known."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from convatlas.records import LayerRecord, Shape


@dataclass(frozen=True)
class Model:
    """Any network: a module on `meta`, or the graph of an ONNX file, or nothing but the shapes of its weights."""

    source: str  # as it was asked for
    title: str  # "alexnet of torchvision 0.29.1"
    net: nn.Module | None = None
    records: tuple[LayerRecord, ...] = ()  # of an ONNX file
    constants: Mapping[int, tuple[tuple[str, str], ...]] = field(default_factory=dict)  # by the records' index
    tensors: Mapping[str, Shape] = field(default_factory=dict)  # shapes; of a module all parameters
    parameters: int = 0
    input_shape: Shape | None = None  # (C, H, W) by its library; None: not known
    library: str = ""  # "torchvision", "timm"; "" for others
    name: str = ""  # what it is called there
    published: str = ""  # the registered network that it claims to be
    notes: tuple[str, ...] = ()
