"""`convatlas list`, `show` and `verify` as people call them."""

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from convatlas import facts, registry
from convatlas.cli import main
from convatlas.readable import integer, memory, scaled


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out
    return code, captured.out, captured.err


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    return json.loads(out)


def test_numbers_as_people_read_them() -> None:
    assert integer(60_965_224) == "60,965,224"
    assert [scaled(n) for n in (3_857_973_248, 724_406_816, 40_551_040, 9_760, 0, None)] == [
        "3.858 G", "724.4 M", "40.55 M", "9,760", "", "not counted",
    ]  # fmt: skip
    assert [memory(n) for n in (0, 480, 18_816, 1_161_600)] == ["", "480 B", "18.38 KiB", "1.108 MiB"]


def test_list_names_every_network_with_its_paper(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "list")
    assert code == 0
    (line,) = (line for line in out.splitlines() if line.startswith("resnet50 "))
    assert line.split()[1:] == [
        "He", "et", "al.", "2015", "25,557,032", "3.858", "G", "classification", "yes",
        "Deep", "Residual", "Learning", "for", "Image", "Recognition",
    ]  # fmt: skip
    assert len(out.splitlines()) == 1 + len(registry.names())


def test_list_as_json_is_sorted_by_year_and_filtered_by_task(capsys: pytest.CaptureFixture[str]) -> None:
    rows = run_json(capsys, "list", "--json")
    assert [row["year"] for row in rows] == sorted(row["year"] for row in rows)
    assert rows[0]["name"] == "perceptron"
    assert rows[0]["parameters"] == 5120
    assert run_json(capsys, "list", "--task", "pose", "--json") == [row for row in rows if row["task"] == "pose"]
    code, _, err = run(capsys, "list", "--task", "driving")
    assert (code, "--task is 'driving'; expected one of classification" in err) == (2, True)


def test_show_prints_the_layer_table(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show", "alexnet")
    lines = {line.split()[0]: line.split("  ") for line in out.splitlines() if line}
    assert code == 0
    assert "60,965,224 parameters · 724.4 M multiply-adds · 725.1 M connections" in out
    cells = [cell.strip() for cell in lines["conv2"] if cell.strip()]
    assert cells == [
        "conv2", "conv 5x5, pad 2, groups 2", "256 x 27 x 27", "307,456", "224.1 M", "223.9 M", "729.0 KiB", "51 / 8",
    ]  # fmt: skip


def test_a_narrow_window_leaves_columns_out_and_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convatlas.cli.show.console", lambda: Console(width=80))
    _, out, _ = run(capsys, "show", "alexnet")
    table = [line for line in out.splitlines() if line.startswith(("layer", "conv5", "fc8"))]
    assert table[0].split() == ["layer", "operation", "output", "parameters", "MACs", "field"]
    assert len(table) == 3
    assert "left out, the window is too narrow: connections, memory" in out
    monkeypatch.setattr("convatlas.cli.list_.console", lambda: Console(width=80))
    _, out, _ = run(capsys, "list")
    assert "25,557,032  3.858 G  classification" in out
    assert max(map(len, out.splitlines())) <= 80


def test_show_in_markdown_has_one_row_a_layer(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show", "lenet5", "--format", "markdown")
    rows = [line for line in out.splitlines() if line.startswith("|")]
    assert code == 0
    assert len(rows) == 2 + 14
    assert len({line.count("|") for line in rows}) == 1
    assert "| `C3` | sparse conv 5x5 | 16 x 10 x 10 | 1,516 | 151,600 | 150,000 | 6.250 KiB | 14 / 2 |" in rows


def test_show_in_csv_holds_plain_integers(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show", "resnet50", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert sum(int(row["parameters"]) for row in rows) == 25_557_032
    assert sum(int(row["multiply_adds"]) for row in rows) == 3_857_973_248
    assert rows[0]["receptive_field_size"] == "7"


def test_show_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    page = run_json(capsys, "show", "lenet_1989", "--format", "json")
    assert page["totals"]["connections"] == 64_660
    assert page["layers"][0]["name"] == "H1"
    assert page["layers"][0]["receptive_field"]["size"] == [5, 5]


def test_show_with_another_input(capsys: pytest.CaptureFixture[str]) -> None:
    page = run_json(capsys, "show", "cifar_resnet20", "--input", "1,64,48", "--format", "json")
    assert page["layers"][0]["output_shape"] == [16, 64, 48]
    assert page["layers"][0]["parameters"] == 16 * 9


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("show", "alexent"), "unknown network 'alexent'; did you mean alexnet"),
        (("show", "alexnet", "--input", "3,227"), "--input is '3,227'; expected three positive numbers"),
        (("show", "alexnet", "--input", "3,0,227"), "--input is '3,0,227'; expected three positive numbers"),
        (("show", "alexnet", "--input", "3,300,300"), "input is 300 x 300 pixels; AlexNet takes 227 to 258 pixels"),
        (("show", "alexnet", "--format", "pdf"), "pdf"),
        (("verify",), "verify expects the names of networks, or --all"),
        (("verify", "lenet5", "--all"), "verify expects the names of networks, or --all"),
        (("verify", "lenet4"), "unknown network 'lenet4'; did you mean lenet5"),
    ],
)
def test_wrong_usage_gets_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_verify_prints_every_row_of_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "verify", "lenet5")
    assert code == 0
    assert "disputed lenet5: connections: printed 345,308, computed 340,908" in out
    assert out.splitlines()[-1] == "14 printed claims: 12 hold, 2 disputed; 49 derived checks: 49 hold"
    assert sum(" holds " in line for line in out.splitlines()) == 61


def test_verify_all_is_green(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "verify", "--all")
    assert code == 0
    assert "printed claims" in out.splitlines()[-1]
    assert "fail" not in out.splitlines()[-1]
    assert any(line.split() == ["lenet5", "14", "49", "61", "2"] for line in out.splitlines())


def test_a_failing_row_ends_with_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = facts.network("lenet_1989")
    assert ledger is not None
    assert ledger.totals is not None
    wrong = replace(ledger, totals=replace(ledger.totals, parameters=9761))
    monkeypatch.setattr(facts, "network", lambda name: wrong)
    code, out, _ = run(capsys, "verify", "lenet_1989", "--failing")
    assert code == 1
    assert out.splitlines()[0] == "fails lenet_1989: parameters: printed 9,761, computed 9,760 (layer table)"
    assert out.splitlines()[-1] == "13 printed claims: 13 hold; 29 derived checks: 28 hold, 1 fail"
    code, out, _ = run(capsys, "verify", "lenet_1989", "--failing", "--json")
    assert code == 1
    assert json.loads(out)["summary"]["checks_fail"] == 1
    assert [row["computed"] for row in json.loads(out)["rows"]] == ["9,760"]


def test_the_commands_load_nothing_heavy_but_torch() -> None:
    code = (
        "import sys; from convatlas.cli import main\n"
        "main(['show', 'resnet18']); main(['verify', 'alexnet', 'lenet5'])\n"
        "print('loaded:', *({'torchvision', 'sklearn', 'matplotlib', 'sympy', 'accelerate'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"  # standard error says "preparing ..." on a slow machine
