"""The doctor's findings are about this machine, so the tests hold what must be true on any."""

import json
import sys

import pytest

from convatlas import cli
from convatlas.cli import doctor


def test_json_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["machine"]["usable_cores"] >= 1
    assert found["machine"]["free_disk_gib"] > 0
    assert [row["engine"] for row in found["engines"]] == ["eager", "compile", "onnxruntime", "openvino"]


def test_the_advised_precision_is_the_faster_one() -> None:
    import torch

    measured = doctor.precisions(torch)
    faster = measured["cpu_bfloat16_over_float32"] < 0.8
    assert measured["advice"]["cpu"] == ("bfloat16" if faster else "float32")
    assert measured["cpu_float32_ms"] > 0


def test_what_is_missing_comes_with_a_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    rows = {row["engine"]: row for row in doctor.engines()}
    assert rows["eager"]["ready"]
    assert not rows["compile"]["ready"]
    assert rows["compile"]["get"]
    assert rows["openvino"]["get"] == "pip install openvino"


def test_text_has_no_colours_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "float32" in out
    assert "engine eager" in out
