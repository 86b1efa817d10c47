"""Which numbers a comparison lays beside one another, what its charts look like, and a network that fails."""

import json
from pathlib import Path

import pytest

from convatlas.analysis.cost import cost
from convatlas.analysis.timing import Timing
from convatlas.analysis.trace import trace_network
from convatlas.cli import main
from convatlas.facts.comparable import view
from convatlas.readable import amount
from convatlas.report.accuracy import MEASURED, PUBLISHED, Accuracy, Row, grouped, published
from convatlas.report.comparison import Entry
from convatlas.report.comparison_page import groups, render
from convatlas.report.stopwatch import Candidate, Stopwatch
from convatlas.visualise import comparison as charts


def entry(name: str, accuracies: tuple[Accuracy, ...] | None = None, *, notes: tuple[str, ...] = ()) -> Entry:
    """A network as if it had been timed."""
    records = trace_network(name)
    timing = Timing(1, 5, 2100.0, (1900.0, 2300.0), 1 / 2.1, None)
    known = published(name) if accuracies is None else accuracies
    return Entry(name, name, records[0].input_shapes[0], cost(records), known, {1: 442_000}, {1: timing}, notes)


def test_only_the_same_question_is_in_a_group() -> None:
    def number(value: float, data: str, protocol: str, source: str = PUBLISHED, measure: str = "top-1 accuracy") -> Row:
        return Row(f"{value}", Accuracy(value, measure, data, protocol, source), 1000, 1000)

    rows = [
        number(0.7, "ILSVRC-2012 validation", "10 crops"),
        number(0.8, "ILSVRC-2012 validation", "10 crops, trained on more images"),
        number(0.6, "ILSVRC-2012 validation", "one crop"),
        number(0.5, "ILSVRC-2010 test", "10 crops"),
        number(0.4, "digits test", "one view", MEASURED),
        number(0.3, "digits test", "one view", MEASURED, "mean IoU"),
    ]
    found = [[row.name for row in group.rows] for group in grouped(rows)]
    assert found == [["0.8", "0.7"], ["0.6"], ["0.5"], ["0.4"], ["0.3"]]


@pytest.mark.parametrize(("protocol", "expected"), [
    ("", "one view"), ("one crop", "one view"), ("20 passes", "one view"), ("one crop of 320 px", "of 320 px"),
    ("10 crops", "10 crops"), ("5 networks, 10 crops", "5 networks, 10 crops"),
    ("best of 5 runs (6.61 +- 0.16)", "best of 5 runs"),
])  # fmt: skip
def test_what_of_a_protocol_counts(protocol: str, expected: str) -> None:
    assert view(protocol) == expected


def test_an_error_printed_for_another_network_says_so_and_enters_no_ratio() -> None:
    (option_a,) = published("resnet18")
    assert option_a.note == "printed for shortcut option A"
    assert not option_a.own
    both = published("resnet34")
    assert [one.own for one in both if one.protocol == "10 crops"] == [True, False, False]
    assert entry("resnet18").accuracy is None
    assert entry("resnet18").density is None
    (group,) = [group for group in groups([entry("resnet18"), entry("resnet50")]) if "10 crops" in group.title]
    assert [(row.name, row.density is None) for row in group.rows] == [("resnet50", False), ("resnet18", True)]


def test_several_networks_together_are_no_network() -> None:
    (together,) = [one for one in published("alexnet") if "5 networks" in one.protocol]
    assert together.note == "5 networks together"
    assert Row("alexnet", together, 60_000_000, 1).density is None


def test_a_page_has_charts_for_groups_that_compare_something() -> None:
    text = render([entry("lenet5"), entry("caffe_lenet"), entry("resnet18", notes=("/data/x is gone <b>",))])
    assert "Top-1 accuracy on MNIST test, one view, against multiply-adds" in text
    assert "against multiply-adds" in text
    assert "ILSVRC-2012 validation, 10 crops, against" not in text  # a single network, and another one's number
    assert "printed for shortcut option A" in text
    assert "…/x is gone &lt;b&gt;" in text
    assert "e+0" not in text.partition("<svg")[0]
    assert "2,100" in text
    assert "431.6 KiB" in text


@pytest.mark.parametrize(("low", "high"), [(1, 3), (0.9, 11), (3e4, 2e10), (120.0, 130.0), (1e-3, 1e7)])
def test_ticks_are_few_and_round(low: float, high: float) -> None:
    found = charts.ticks(low, high)
    assert 1 <= len(found) <= 6
    assert all(low <= value <= high for value in found)
    assert found == sorted(set(found))


@pytest.mark.parametrize("count", [2, 4, 12])
def test_labels_of_axes_do_not_overlap(count: int) -> None:
    points = [
        charts.Point(
            f"network_{i}", 10 ** (4 + i), {1: (2.0**i, (2.0**i, 2.1 * 2**i))}, {1: 4**i * 9_000, 64: 4**i * 10**5}
        )
        for i in range(count)
    ]
    known = [charts.Known(f"network_{i}", 0.5 + i / 40, 10 ** (4 + i), 10**6, True, 10.0**i) for i in range(count)]
    figures = (
        charts.time_figure(points, (1,)), charts.memory_figure(points, (1, 64)), charts.accuracy_figure(known),
        charts.density_figure(known),
    )  # fmt: skip
    for figure in figures:
        assert figure is not None
        figure.draw_without_rendering()
        for axis in figure.axes:
            for labels in (axis.get_xticklabels(), axis.get_yticklabels()):
                boxes = [label.get_window_extent() for label in labels if label.get_text()]
                assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
                assert not any("e+" in label.get_text() for label in labels)


def test_amounts_are_written_as_people_write_them() -> None:
    assert [amount(value) for value in (2143.2, 0.091249, 1e7, 9.996, 0, None, float("nan"))] == [
        "2,143", "0.0912", "10,000,000", "10", "0", "-", "-",
    ]  # fmt: skip


def test_a_run_that_is_broken_does_not_end_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    asked = ["compare", str(broken), "caffe_lenet", "--batch", "1", "--seconds", "5"]
    assert main([*asked, "--json", "--out", str(tmp_path / "new" / "page.html")]) == 0
    out, err = capsys.readouterr()
    first, second = json.loads(out)["networks"]
    assert "recipe.toml is absent" in first["notes"][0]
    assert first["batches"] == []
    assert second["batches"][0]["latency_ms"] > 0
    assert "recipe.toml is absent" in err
    assert "this will take " in err
    assert "recipe.toml is absent" in (tmp_path / "new" / "page.html").read_text(encoding="utf-8")


def test_a_pass_that_takes_too_long_is_ended_and_the_next_network_runs() -> None:
    slow = Candidate("vgg_d", "vgg_d", False, (3, 224, 224))
    quick = Candidate("caffe_lenet", "caffe_lenet", False, (1, 28, 28))
    with Stopwatch([slow, quick, Candidate("nothing", "nothing", False, (1,))], threads=1) as watch:
        assert watch.run(0, 64, 0.05) is None
        assert watch.reasons == {}
        found = watch.run(1, 1, 60)
        assert found is not None
        assert found.seconds > 0
        assert watch.run(2, 1, 60) is None
        assert "unknown network 'nothing'" in watch.reasons[2]
        assert watch.run(1, 1, 60) is not None
