"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # with more, the threads of several workers spend their time waiting
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data beside the project, or a skip that says where it was looked for."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("CONVATLAS_DATA", default))
    if not root.is_dir():
        pytest.skip(f"no real data: {root} is absent (CONVATLAS_DATA names another folder)")
    return root


@pytest.fixture(autouse=True)
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the user's cache."""
    folder = tmp_path / "user_cache"
    monkeypatch.setenv("CONVATLAS_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `caffe_lenet` on `digits` as training leaves it, with untrained weights: made in a moment."""
    import torch

    from convatlas import data, registry, weights
    from convatlas.training import DataSource, Recipe
    from convatlas.training.recipe import SGD
    from convatlas.training.run import create

    torch.manual_seed(0)
    card = registry.card("caffe_lenet")
    digits = data.load("digits")
    preprocessing = data.default_preprocessing(card, digits.train)
    recipe = Recipe("caffe_lenet", "test", "a test", 2, 64, SGD(0.01), notes=("made <for> a test",), data=DataSource())
    run = create(tmp_path_factory.mktemp("runs") / "run", recipe, digits.classes, device="cpu")
    for epoch in (1, 2):
        row = {"epoch": epoch, "step": 23 * epoch, "images": 1438, "learning_rate": 0.01, "seconds": 1.5}
        errors = {"train_loss": 2.3, "train_error": 0.9 / epoch, "test_loss": 2.3, "test_error": 0.8 / epoch}
        run.log(row | errors)
    written = weights.make_card(
        "caffe_lenet", num_classes=10, in_channels=1, classes=digits.classes, preprocessing=preprocessing
    )
    run.save("best", registry.build("caffe_lenet"), written)
    return run.path
