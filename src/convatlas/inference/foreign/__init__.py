"""Networks that are not ours: of torchvision and timm, of a Python file, of an ONNX file, of a weights file."""

from convatlas.inference.foreign.model import Model
from convatlas.inference.foreign.opening import open_model

__all__ = ["Model", "open_model"]
