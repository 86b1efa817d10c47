"""Earlier names of `trained` and `opening`, for those who import them from here."""

from convatlas.inference.opening import open_run, open_source, open_weights, resolve_device, usual_preprocessing
from convatlas.inference.trained import TrainedNetwork as Source

__all__ = ["Source", "open_run", "open_source", "open_weights", "resolve_device", "usual_preprocessing"]
