"""Modules that are imported on first use."""

import pickle
import subprocess
import sys

import pytest

from convatlas.lazy import Lazy

LATE = """
import sys, torch
from convatlas.lazy import Lazy
ops = Lazy("torchvision.ops")
assert "torchvision" not in sys.modules
box = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
with torch.device("meta"):
    ops.box_iou
assert float(torch.jit.trace(lambda b: ops.box_iou(b, b), (box,))(box)) == 1.0
"""


def test_a_module_comes_when_it_is_asked_for() -> None:
    assert Lazy("math").sqrt(4.0) == 2.0


def test_it_stays_itself_in_another_process() -> None:
    assert pickle.loads(pickle.dumps(Lazy("math"))).floor(1.5) == 1


def test_an_absent_name_is_said_to_be_absent() -> None:
    with pytest.raises(AttributeError):
        _ = Lazy("math").no_such_name


def test_a_first_use_on_meta_or_in_a_trace_is_no_other_than_any() -> None:
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", LATE], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
