"""Series and volumes are never taken for images without a word."""

from pathlib import Path

import numpy as np
import pytest
import torch

from convatlas.cli import main
from convatlas.data.arrays import read_npz
from convatlas.errors import ConvatlasError, UsageError
from convatlas.inference.images import collect_images


def save(folder: Path, shape: tuple[int, ...], kind: str = "uint8") -> Path:
    images = np.zeros(shape, dtype=kind)
    np.savez(folder / "x.npz", images=images, labels=np.arange(len(images)) % 2)
    return folder / "x.npz"


@pytest.mark.parametrize(
    ("shape", "kind", "words"),
    [
        ((200, 1, 64), "uint8", "series of 1 channel and 64 steps"),
        ((200, 64, 1), "uint8", "series"),
        ((20, 12, 1000), "float32", "series of 12 channels and 1000 steps"),
        ((6, 3, 128), "uint8", "series"),
        ((6, 1, 8, 8, 8), "uint8", "volumes"),
        ((6, 8, 16, 16, 3), "float64", "volumes or videos"),
        ((6, 64), "uint8", "expected images"),
    ],
)
def test_npz_of_series_and_volumes_is_refused(tmp_path: Path, shape: tuple[int, ...], kind: str, words: str) -> None:
    with pytest.raises(ConvatlasError, match=words):
        read_npz(save(tmp_path, shape, kind))


@pytest.mark.parametrize("shape", [(4, 28, 28), (4, 2, 2), (4, 1, 1), (4, 16, 100), (4, 1, 64, 1), (4, 1, 1, 64)])
def test_npz_of_images_is_read(tmp_path: Path, shape: tuple[int, ...]) -> None:
    parts, _ = read_npz(save(tmp_path, shape))
    assert len(parts["train"]) == 4


@pytest.mark.parametrize("command", ["train lenet5 --data {}", "data check {}", "eval lenet5 --data {}"])
def test_commands_refuse_series(tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path, (200, 1, 64))
    assert main(command.format(path).split()) != 0
    captured = capsys.readouterr()
    assert "series" in captured.out + captured.err or command.startswith("eval")


def test_dims_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("train", "lenet5", "--dims", "1", "--data", "digits")) == 2
    assert "convatlas.create(name, dims=1)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("shape", "words"),
    [((200, 1, 64), "series"), ((1, 64), "a series"), ((3, 64), "a series"), ((2, 1, 8, 8, 8), "volumes")],
)
def test_arrays_in_memory_are_refused(shape: tuple[int, ...], words: str) -> None:
    for array in (np.zeros(shape, dtype=np.uint8), torch.zeros(shape, dtype=torch.uint8)):
        with pytest.raises(UsageError, match=words):
            collect_images(array)


def test_images_in_memory_are_taken() -> None:
    for shape in ((28, 28), (16, 200), (4, 28, 28, 1)):
        images, problems = collect_images(np.zeros(shape, dtype=np.uint8))
        assert images
        assert not problems
