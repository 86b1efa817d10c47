"""`convatlas compare`: the numbers, the page, and timing in turns."""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from convatlas.analysis.timing import Pass, Timing, measure
from convatlas.cli import main

QUICK = ("--side", "32", "--batch", "1", "--batch", "2", "--seconds", "60")


def test_subjects_run_in_turns_after_a_warm_up() -> None:
    order: list[str] = []

    def subject(name: str, seconds: list[float]) -> Callable[[float], Pass]:
        def run(_: float) -> Pass:
            order.append(name)
            return Pass(seconds.pop(0))

        return run

    found = measure(
        {"a": subject("a", [9, 0.1, 0.3, 0.2]), "b": subject("b", [1, 1, 1, 1])},
        batch=4, budget_s=60, warmup=1, rounds=3,
    )  # fmt: skip
    assert order == ["a", "b"] * 4
    assert found["a"] == Timing(4, 3, pytest.approx(200), pytest.approx((150, 250)), pytest.approx(20), None)


def test_nothing_runs_beyond_its_budget() -> None:
    limits: list[float] = []

    def run(limit_s: float) -> Pass | None:
        limits.append(limit_s)
        return Pass(0.4)

    found = measure({"a": run, "slow": lambda limit_s: None}, batch=1, budget_s=1.0)
    assert limits == [1.0, pytest.approx(0.6)]  # a third would end too late
    assert found["slow"] is None
    one, other = found["a"], measure({"a": run}, batch=1, budget_s=0.5)["a"]
    assert one is not None
    assert (one.passes, one.warm) == (1, True)
    assert other is not None
    assert (other.passes, other.warm) == (1, False)


def test_json_tells_where_an_accuracy_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "cifar_resnet20", "cifar_densenet_40_12", *QUICK, "--json"]) == 0
    page = json.loads(capsys.readouterr().out)
    first = page["networks"][0]
    assert (first["name"], first["top1_accuracy"]) == ("cifar_resnet20", pytest.approx(1 - 0.0875))
    assert first["accuracy_from"] == "published: CIFAR-10 test"
    assert first["points_per_million_parameters"] == pytest.approx(91.25 / (first["parameters"] / 1e6))
    assert [row["batch"] for row in first["batches"]] == [1, 2]
    assert all(row["passes"] >= 1 and row["latency_ms"] > 0 for row in first["batches"])


def test_csv_has_a_row_for_each_batch(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "lenet5", "--batch", "1", "--batch", "4", "--seconds", "60", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["name"], row["batch"]) for row in rows] == [("lenet5", "1"), ("lenet5", "4")]
    assert rows[0]["parameters"] == "60000"


def test_a_run_is_tested_and_the_page_asks_for_nothing(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    names = [str(run_folder), "lenet5", "caffe_lenet"]
    assert main(["compare", *names, "--batch", "1", "--batch", "2", "--seconds", "60", "--out", str(page)]) == 0
    assert "\x1b" not in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    cells = ("digits test", "one view", "measured here, 359 images")
    assert "".join(f'<td class="short">{cell}</td>' for cell in cells) in text
    assert text.count("<svg") == 2 + 2  # caffe_lenet and lenet5 are published on the same data
    assert not re.search(r'(src|href)="(?!#)', re.sub(r'xlink:href="#[^"]*"', "", text))


def test_wrong_usage_gets_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, sentence in (
        (("lenet9",), "unknown network 'lenet9'"),
        (("lenet5", "--batch", "0"), "Invalid value for '--batch'"),
        (("lenet5", "--seconds", "nan"), "--seconds is nan; expected a finite number"),
        (("lenet5", "--csv", "--json"), "--csv and --json exclude each other"),
        (("alexnet", "--side", "30"), "input is 30 x 30 pixels; AlexNet takes"),
    ):
        assert main(["compare", *arguments]) == 2
        assert sentence in capsys.readouterr().err
