"""Proposals of many images, worked out once: selective search takes seconds an image.

How many of the objects they cover: `evaluation.detection.proposal_recall`.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from convatlas.errors import ConvatlasError, UsageError
from convatlas.io import replace_file
from convatlas.ops.selective_search import search

VERSION = 1  # of what is searched and how it is ordered; another finds no file of the first


class ProposalCache:
    """Proposals by an image's values, in a folder of small files.

    Args:
        folder: made where it is absent.
        limit: so many of each image, the first ones; None: all. What is kept on disk are all.
        smallest: boxes with a shorter side, in pixels, are left out.

    Raises:
        UsageError: `limit` or `smallest` is below 1.
    """

    def __init__(self, folder: Path, *, limit: int | None = None, smallest: int = 20) -> None:
        for name, value in (("limit", limit), ("smallest", smallest)):
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}; expected at least 1")
        self.folder, self.limit, self.smallest = folder, limit, smallest
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, image: Tensor) -> Tensor:
        """(3, H, W) or (1, H, W) -> (N, 4), the most promising first.

        Raises:
            ConvatlasError: the image's file in the cache is damaged.
        """
        path = self.folder / f"{self._key(image)}.npy"
        if not path.exists():
            self._write(path, search(image, smallest=self.smallest).numpy())
        try:
            boxes = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ConvatlasError(f"{path}: not the proposals of an image ({error}); delete it") from error
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ConvatlasError(f"{path}: proposals of shape {boxes.shape}; expected (N, 4); delete it")
        return torch.from_numpy(boxes)[: self.limit].to(image.device)

    def _key(self, image: Tensor) -> str:
        values = image.detach().cpu().contiguous()
        what = f"{VERSION} {self.smallest} {values.dtype} {tuple(values.shape)}".encode()
        return hashlib.sha256(what + values.numpy().tobytes()).hexdigest()

    def _write(self, path: Path, boxes: np.ndarray) -> None:
        """Completely or not at all, so that no reader sees half a file."""
        with replace_file(path) as aside:
            np.save(aside, boxes)
