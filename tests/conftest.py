"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data beside the project, or a skip that says where it was looked for."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("CONVATLAS_DATA", default))
    if not root.is_dir():
        pytest.skip(f"no real data: {root} is absent (CONVATLAS_DATA names another folder)")
    return root
