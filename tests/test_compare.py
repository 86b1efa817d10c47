"""`convatlas compare`: the numbers, the page, and timing in turns."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from convatlas.analysis.timing import measure
from convatlas.cli import main

QUICK = ("--side", "32", "--batch", "1", "--batch", "2", "--seconds", "0")


def test_subjects_run_in_turns_after_a_warm_up() -> None:
    order: list[str] = []
    found = measure(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, batch=4, budget_s=60, warmup=1, rounds=3
    )
    assert order == ["a", "b"] * 4
    assert found["a"].passes == 3
    low, high = found["a"].quartiles_ms
    assert low <= found["a"].latency_ms <= high
    assert found["a"].images_per_s == pytest.approx(4e3 / found["a"].latency_ms)


def test_a_spent_budget_leaves_three_measurements() -> None:
    found = measure({"a": lambda: sum(range(20_000))}, batch=1, budget_s=0, rounds=15)
    assert found["a"].passes == 3


def test_json_tells_where_an_accuracy_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "cifar_resnet20", "cifar_densenet_40_12", *QUICK, "--json"]) == 0
    page = json.loads(capsys.readouterr().out)
    first = page["networks"][0]
    assert (first["name"], first["top1_accuracy"]) == ("cifar_resnet20", pytest.approx(1 - 0.0875))
    assert first["accuracy_from"] == "published: CIFAR-10 test"
    assert first["points_per_million_parameters"] == pytest.approx(91.25 / (first["parameters"] / 1e6))
    assert [row["batch"] for row in first["batches"]] == [1, 2]
    assert all(row["passes"] == 3 and row["latency_ms"] > 0 for row in first["batches"])


def test_csv_has_a_row_for_each_batch(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "lenet5", "--batch", "1", "--batch", "4", "--seconds", "0", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["name"], row["batch"]) for row in rows] == [("lenet5", "1"), ("lenet5", "4")]
    assert rows[0]["parameters"] == "60000"


def test_a_run_is_tested_and_the_page_asks_for_nothing(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    names = [str(run_folder), "lenet5", "caffe_lenet"]
    assert main(["compare", *names, "--batch", "1", "--batch", "2", "--seconds", "0", "--out", str(page)]) == 0
    assert "\x1b" not in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    assert "measured: digits" in text
    assert text.count("<svg") == 4
    assert not re.search(r'(src|href)="(?!#)', re.sub(r'xlink:href="#[^"]*"', "", text))


def test_wrong_usage_gets_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, sentence in (
        (("lenet9",), "unknown network 'lenet9'"),
        (("lenet5", "--batch", "0"), "--batch is 0; expected at least 1"),
        (("alexnet", "--side", "30"), "input is 30 x 30 pixels; AlexNet takes"),
    ):
        assert main(["compare", *arguments]) == 2
        assert sentence in capsys.readouterr().err
