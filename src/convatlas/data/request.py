"""What is asked of a source of data, for a network of any task."""

from dataclasses import dataclass
from pathlib import Path

from convatlas.data.division import Division


@dataclass(frozen=True)
class DataRequest:
    """The arguments of `data.load`."""

    spec: str
    root: Path | None = None
    download: bool = False
    test: str | None = None
    test_fraction: float = 0.2
    seed: int = 0
    division: Division | None = None
    masks: bool = False
