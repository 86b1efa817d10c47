"""The ledger of results: what stands in it, what stands beside a run, and `compare --published`."""

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from convatlas import registry
from convatlas.cli import main
from convatlas.facts import papers
from convatlas.facts.comparable import grouped, results_beside, same_data, view
from convatlas.facts.results import MEASURES, LedgerError, parse_results, printed_results, results_of
from convatlas.records import DetectionEvaluation, PoseEvaluation, SegmentationEvaluation
from convatlas.report.printed import printed_beside, sentence
from convatlas.training.recipes import PUBLISHED

TABLE = """
[[tables]]
data = "MNIST test"
where = "table 1"
confidence = "recalled"
rows = [{ network = "lenet5", top1_error = "0.95" }]
"""


def values(network: str, measure: str) -> set[str]:
    return {result.value for result in results_of(network) if result.measure == measure}


def test_each_row_is_of_a_registered_network_and_of_a_paper_of_the_ledger() -> None:
    names, keys = set(registry.names()), {paper.key for paper in papers()}
    assert {name for result in printed_results() for name in result.networks} <= names
    assert {result.paper for result in printed_results()} <= keys


def test_every_task_and_measure_is_there() -> None:
    tasks = {registry.card(name).task for result in printed_results() for name in result.networks}
    assert tasks == {"classification", "detection", "segmentation", "pose"}
    assert {result.measure for result in printed_results()} == MEASURES.keys() - {"mask_ap50"}


@pytest.mark.parametrize(("network", "measure", "printed"), [
    ("fast_rcnn_vgg16", "mean_ap", "66.9"), ("fast_rcnn_vgg16", "seconds_per_image", "0.22"),
    ("faster_rcnn_vgg16", "mean_ap", "73.2"), ("faster_rcnn_vgg16", "seconds_per_image", "0.196"),
    ("yolov1", "frames_per_s", "45"), ("ssd300", "mean_ap", "77.2"), ("fcn8s_vgg16_voc", "mean_iou", "65.5"),
    ("unet", "rand_error", "0.0382"), ("stacked_hourglass_8", "pckh", "90.9"), ("vgg_d", "top5_error", "7.3"),
    ("resnet152", "top5_error", "3.57"), ("inception_v3", "top5_error", "3.58"), ("inception_v4", "top5_error", "3.08"),
    ("bn_inception_paper", "top5_error", "4.82"), ("resnet34_a", "top1_error", "25.03"),
    ("densenet264", "top5_error", "5.29"),
])  # fmt: skip
def test_what_people_look_up(network: str, measure: str, printed: str) -> None:
    assert printed in values(network, measure)


def test_rcnn_with_vgg16_is_no_registered_network() -> None:
    rows = [row for row in printed_results() if row.of == "R-CNN with VGG-16" and row.paper == "girshick2015_fast"]
    assert {(row.measure, row.value, row.networks) for row in rows} == {
        ("mean_ap", "66.0", ()), ("seconds_per_image", "47.0", ()),
    }  # fmt: skip


def test_recipes_promise_what_the_ledger_holds() -> None:
    for recipe in PUBLISHED.values():
        for result in recipe.results:
            for measure, printed in (("top1_error", result.top1_error), ("top5_error", result.top5_error)):
                assert printed is None or printed in values(recipe.network, measure), (recipe.network, result)


@pytest.mark.parametrize(("change", "message"), [
    (("top1_error", "top9_error"), "unknown field 'top9_error'"),
    (('"0.95"', '"few"'), "expected a number as a string"),
    (('"recalled"', '"sure"'), "confidence is 'sure'"),
    (('network = "lenet5", ', ""), "names nobody"),
    ((', top1_error = "0.95"', ""), "has no measure"),
    (('where = "table 1"', ""), "'where' is missing"),
    (("[[tables]]", "[[rows]]"), "expected [[tables]] alone"),
])  # fmt: skip
def test_a_file_that_breaks_the_schema_is_refused(change: tuple[str, str], message: str) -> None:
    assert parse_results("x", TABLE)[0].value == "0.95"
    with pytest.raises(LedgerError) as caught:
        parse_results("x", TABLE.replace(*change))
    assert message in str(caught.value)


def detections(protocol: str) -> DetectionEvaluation:
    return DetectionEvaluation(("cup",), torch.tensor([0.5]), protocol, (), {}, 0.0, 0.0)  # pyright: ignore[reportArgumentType]


def test_a_detector_stands_beside_its_own_rules_of_precision() -> None:
    of_2007 = printed_beside(("fast_rcnn_vgg16",), "VOC2007", detections("voc07"))
    assert {row.value for row in of_2007} == {"66.9", "66.6", "68.1", "70.0"}
    assert printed_beside(("fast_rcnn_vgg16",), "VOC2007", detections("voc10")) == ()
    assert printed_beside(("fast_rcnn_vgg16",), "bccd", detections("voc07")) == ()
    of_2012 = printed_beside(("fast_rcnn_vgg16",), "VOC2012", detections("voc10"))
    assert {row.value for row in of_2012} == {"65.7", "68.4"}
    assert {row.value for row in printed_beside(("ssd300",), "COCO test-dev", detections("coco"))} == {"25.1"}
    assert "66.9% mean AP on VOC 2007 test" in sentence(of_2007, "VOC2007", detections("voc07"))
    assert sentence((), "bccd", detections("voc10")) == (
        "No printed result of this network is of bccd, measured like this (VOC 2010)."
    )


def test_a_segmenter_with_the_crf_stands_beside_those_with_it() -> None:
    plain = SegmentationEvaluation(("a", "b"), torch.eye(2), 0.0, 1.0, 1.0, 1.0, 1.0, 0.0)
    refined = replace(plain, protocol="whole image, fully connected CRF")
    names = ("deeplab_largefov_voc",)
    dataset = "VOC 2012"
    assert {row.value for row in printed_beside(names, dataset, plain)} == {"62.25"}
    assert {row.value for row in printed_beside(names, dataset, refined)} == {"67.64", "70.3"}
    assert printed_beside(("deconvnet_voc",), dataset, plain) == ()  # the paper averages 50 proposals an image


def test_a_pose_network_stands_beside_its_own_measure() -> None:
    head = PoseEvaluation(("hip",), torch.zeros(1, 1), 0.0, "PCKh@0.5", 0.5, 1.0, torch.ones(1), 0.0)
    mirrored = replace(head, protocol="one view and its mirror image")
    assert {row.value for row in printed_beside(("stacked_hourglass_8",), "mpii", mirrored)} == {"90.9"}
    assert printed_beside(("stacked_hourglass_8",), "mpii", head) == ()
    assert printed_beside(("stacked_hourglass_8",), "mpii", replace(mirrored, measure="PCK@0.2")) == ()


def test_an_ensemble_stands_beside_the_same_networks() -> None:
    measures, protocol = ("top1_error",), "2 networks, dense at 256, 384 and 512 px"
    (both,) = results_beside("vgg_d", "imagenet", protocol, measures)
    assert (both.value, both.networks) == ("24.0", ("vgg_d", "vgg_e"))
    assert results_beside("vgg_a", "imagenet", protocol, measures) == ()
    alone = results_beside("vgg_d", "imagenet", "dense at 256, 384 and 512 px", measures)
    assert {row.value for row in alone} == {"24.8"}


def test_groups_are_of_one_question_and_the_best_stands_first() -> None:
    groups = grouped(printed_results())
    for rows in groups.values():
        assert len({row.measure for row in rows}) == 1
    voc = [row.value for row in groups["VOC 2007 test, VOC 2007: mean AP, %"]]
    assert voc == sorted(voc, key=float, reverse=True)
    errors = [row.value for row in groups["ILSVRC-2012 validation, 10 crops: top-1 error, %"]]
    assert errors == sorted(errors, key=float)
    assert "50 proposals an image, fully connected CRF" in view("50 proposals an image, fully connected CRF")
    assert not same_data("voc", "VOC 2007 test")


class Cells(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.feed(text)

    def handle_data(self, data: str) -> None:
        self.cells.append(data)


def test_compare_published_prints_tables_csv_json_and_a_page(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "results.html"
    assert main(["compare", "--published", "yolov1", "ssd", "--out", str(page)]) == 0
    text = capsys.readouterr().out
    assert "VOC 2007 test, VOC 2007: mean AP, %" in text
    assert "63.4" in text
    assert "77.2" in text
    cells = Cells(page.read_text(encoding="utf-8")).cells
    assert {"VOC 2007 test, VOC 2007: mean AP, %", "63.4", "yolov1"} <= set(cells)
    assert main(["compare", "--published", "yolov1", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert ("frames_per_s", "45", "Titan X", "frames/s") in {
        (row["measure"], row["value"], row["hardware"], row["unit"]) for row in rows
    }
    assert main(["compare", "--published", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["results"]) == len(printed_results())


@pytest.mark.parametrize(("arguments", "message"), [
    ([], "nothing to compare"),
    (["--published", "lenet9"], "unknown network 'lenet9'"),
    (["--published", "lenet5", "--side", "64"], "--side with --published: nothing is built, timed or tested"),
    (["--published", "perceptron"], "nothing printed is known of perceptron"),
    (["--published", "."], "is a run folder"),
    (["--published", "--csv", "--json"], "--csv and --json exclude each other"),
])  # fmt: skip
def test_wrong_usage(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_nothing_heavy_is_loaded() -> None:
    code = (
        "import sys; from convatlas.cli import main; main(['compare', '--published', 'vgg_d']); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
