"""`convatlas facts` and `convatlas verify --surveys`."""

import json
import subprocess
import sys

import pytest

from convatlas.cli import main


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


def test_a_network_in_any_spelling(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("facts", "LeNet-5", capsys=capsys)
    assert code == 0
    assert "340,908" in out
    assert "Gradient-Based Learning" in out
    assert "What surveys say" in out


def test_what_surveys_get_wrong_about_resnet(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run("facts", "resnet", "--surveys", "--disputed", "--json", capsys=capsys)
    statements = json.loads(out)["statements"]
    assert {row["verdict"] for row in statements} == {"false", "imprecise"}
    assert any("2 x i paths" in row["says"] for row in statements)


def test_a_topic(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("facts", "pooling", capsys=capsys)
    assert code == 0
    assert "2 x 2 max pools stand between the modules" in out


def test_disputed_claims_only(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run("facts", "alexnet", "--disputed", "--json", capsys=capsys)
    claims = json.loads(out)["claims"]
    assert {claim["confidence"] for claim in claims} == {"disputed"}
    assert "253,440" in {claim["value"] for claim in claims}


@pytest.mark.parametrize("topic", ["nobody_knows_this", "???"])
def test_nothing_known(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("facts", topic, capsys=capsys)
    assert code == 2
    assert "nothing is known" in err


def test_facts_loads_no_torch() -> None:
    script = "import sys; from convatlas.cli import main; main(['facts', 'alexnet']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0


def test_verify_surveys(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("verify", "--surveys", "--json", capsys=capsys)
    document = json.loads(out)
    assert code == 0
    assert document["summary"]["fails"] == 0
    assert document["summary"]["statements"] == len(document["rows"])
    assert run("verify", "--surveys", "lenet5", capsys=capsys)[0] == 2


def test_verify_keeps_claims_and_checks_apart(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run("verify", "lenet5", "--json", capsys=capsys)
    document = json.loads(out)
    assert document["summary"]["claims"] + document["summary"]["checks"] == document["summary"]["rows"]
    assert all(row["where"] != "layer table" for row in document["rows"] if row["claim"])
    by_layer = {
        row["layer"]: row["arithmetic"] for row in document["rows"] if row["quantity"] == "parameters" and row["claim"]
    }
    assert by_layer["C1"] == "6 x (1 x 5 x 5 + 1)"
