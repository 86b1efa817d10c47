"""The page of a run in every state: what it shows, what it keeps to itself, and text that means something elsewhere."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torchmetrics.functional.classification import multiclass_calibration_error

from convatlas.cli import main
from convatlas.evaluation.calibration import calibration
from convatlas.report import frame, html, tables
from convatlas.report.page import surer
from convatlas.report.paths import below_common, short, without_paths
from convatlas.visualise import confusion, curves, panels, reliability
from convatlas.visualise.style import CHART, inline_svg


@pytest.fixture
def run(run_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


def report_of(run: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """The page that `convatlas report` writes, and what it says on standard error."""
    capsys.readouterr()
    assert main(["report", str(run)]) == 0
    return (run / "report.html").read_text(encoding="utf-8"), capsys.readouterr().err


# --- any state of a run ---


def test_a_finished_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "summary.json").write_text(json.dumps({"seconds": 754.0, "test_error": 0.4, "selection": "epoch 2 of 2"}))
    page, err = report_of(run, capsys)
    assert "12 min 34 s" in page  # the summary's time, and not the sum of the epochs'
    assert "Epoch 2 of 2." in page
    assert "stopped before its end" not in page
    assert err.count("convatlas:") == err.count(" ...")  # nothing but that it is at work
    for section in ("training", "classes", "calibration", "mistakes", "verification", "recipe", "environment"):
        assert f'id="{section}"' in page
    assert "Learning rate of every epoch" in page
    assert "Fraction right by the probability of the predicted class" in page
    assert "test image " in page  # of each mistake, as text


def test_a_stopped_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text(lines[0] + "\n")
    page, err = report_of(run, capsys)
    assert "This run was stopped before its end: 1 epoch of 2 are complete." in page
    assert "The numbers are those of the best epoch so far." in page
    assert "The numbers are those of the best epoch so far." in err
    assert "test error reached" in page


def test_a_run_before_its_first_epoch(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(run / "checkpoints")
    (run / "metrics.jsonl").unlink()
    page, _ = report_of(run, capsys)
    assert "No epoch is complete yet" in page
    assert "There are no weights yet to evaluate" in page
    assert "The network against its paper" in page


def test_damaged_weights_and_absent_data(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = run / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('spec = "digits"', f'spec = "{run}/gone/images"'))
    page, err = report_of(run, capsys)
    assert "The test split could not be evaluated" in page
    assert "Loss of every epoch" in page
    assert str(run) not in page
    assert "images" in err
    (run / "checkpoints" / "best" / "weights.safetensors").write_bytes(b"nothing")
    page, _ = report_of(run, capsys)
    assert "can&#39;t be read" in page


def test_a_folder_that_is_not_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 1
    assert "recipe.toml" in capsys.readouterr().err


def test_eval_writes_a_classifier_s_page(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "new" / "folder" / "page.html"
    assert main(["eval", str(run), "--report", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "359 test images of digits" in text
    assert 'id="calibration"' in text
    assert str(page) in capsys.readouterr().out.replace("\n", "")


# --- what a page keeps to itself ---


@pytest.mark.parametrize(("text", "expected"), [
    ("/home/ann/data/camvid", "…/data/camvid"),
    ("C:\\Users\\ann\\camvid", "…/ann/camvid"),
    ("camvid/train", "camvid/train"),
    ("/data/a b/c.png: cut off", "…/a b/c.png: cut off"),
    ("see https://doi.org/10.1/x and 1/2 of image/png", "see https://doi.org/10.1/x and 1/2 of image/png"),
    ("the weights in '/root/runs/x/best.safetensors' and /tmp/y/z.npz.", None),
])  # fmt: skip
def test_no_folder_of_the_machine(text: str, expected: str | None) -> None:
    found = without_paths(text)
    if expected is not None:
        assert found == expected
    assert not any(private in found for private in ("/home", "/root", "/tmp", "Users\\"))


def test_files_are_named_from_the_folder_that_holds_all() -> None:
    assert below_common(["/data/x/ants/1.jpg", "/data/x/bees/2.jpg"]) == ["ants/1.jpg", "bees/2.jpg"]
    assert below_common(["ants/1.jpg"]) == ["ants/1.jpg"]
    assert below_common([]) == []
    assert short("/a") == "a"


def test_unknown_numbers_are_a_dash() -> None:
    assert tables.percent(float("nan")) == "-"
    assert html.number(float("inf"), 2) == html.number(None, 2) == "-"


# --- calibration ---


@pytest.mark.parametrize("bins", [10, 15])
def test_calibration_is_that_of_torchmetrics(bins: int) -> None:
    random = torch.Generator().manual_seed(0)
    probabilities = torch.randn(500, 7, generator=random).mul(2).softmax(1)
    labels = torch.multinomial(probabilities, 1, generator=random)[:, 0]
    found = calibration(probabilities, labels, bins=bins)
    expected = multiclass_calibration_error(probabilities, labels, num_classes=7, n_bins=bins, norm="l1")
    assert found.error == pytest.approx(expected.item(), abs=1e-6)
    assert found.counts.sum() == 500
    assert found.accuracy == pytest.approx((probabilities.argmax(1) == labels).double().mean().item())


def test_calibration_by_hand() -> None:
    found = calibration(torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]]), torch.tensor([0, 1, 1]), bins=2)
    assert found.counts.tolist() == [0, 3]
    assert found.error == pytest.approx(abs(2 / 3 - 0.8))
    assert surer(found) == "it promises more than it keeps"
    assert np.isnan(calibration(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)).error)
    assert reliability.figure(found).axes[0].get_ylabel() == "fraction right"


# --- figures ---


def test_the_learning_rate_has_a_curve_and_a_rule_without_one_has_none() -> None:
    rows = [{"epoch": epoch, "learning_rate": rate} for epoch, rate in ((1, 0.1), (2, 0.01), (3, 0.001))]
    figure = curves.rate_figure(rows)
    assert figure is not None
    assert figure.axes[0].get_yscale() == "log"
    ending = curves.rate_figure([*rows, {"epoch": 4, "learning_rate": 0.0}])
    assert ending is not None
    assert ending.axes[0].get_yscale() == "linear"
    assert len(ending.axes[0].lines[0].get_xdata()) == 4
    assert curves.rate_figure([{"epoch": 1, "learning_rate": 0.0}]) is None


def test_validation_has_its_own_curve() -> None:
    rows = [{"epoch": 1, "train_loss": 1.0, "val_loss": 2.0}]
    assert [line.get_label() for line in curves.loss_figure(rows).axes[0].lines] == ["train", "val"]


@pytest.mark.parametrize(
    "name", ["$\\frac{", "$x$", "<script>alert(1)</script>", "漢字かな", "हिन्दी", "\U0001f41c", "a&b"]
)
def test_any_class_name_can_be_drawn(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = inline_svg(confusion.figure(np.eye(2, dtype=np.int64), (name, "other")), name)
    assert "<script" not in text
    escaped = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert (escaped if len(escaped) < 22 else escaped[:12]) in text


def test_a_broad_figure_becomes_one_drawing_a_panel() -> None:
    from matplotlib.figure import Figure

    broad, narrow = Figure(figsize=(9, 3), layout="constrained"), Figure(figsize=CHART)
    for axis in broad.subplots(1, 3):
        axis.plot([1, 2])
    narrow.add_subplot().plot([1, 2])
    text = inline_svg(broad, "three")
    assert text.count("<svg") == 3
    assert text.count("<use href=") == 2
    assert inline_svg(narrow, "one").count("<svg") == 1
    assert len(panels.cells(broad, limit=3)) == 3
    assert len(panels.cells(broad, limit=2)) < 2  # the whole stays together


# --- explain ---


def test_explain_looks_at_built_in_data(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    asked = [
        "explain",
        str(run),
        "--data",
        "digits",
        "--method",
        "saliency",
        "--limit",
        "2",
        "--out",
        str(out),
        "--json",
    ]
    assert main(asked) == 0
    found = json.loads(capsys.readouterr().out)
    assert [panel["method"] for panel in found["panels"]] == ["saliency", "saliency"]
    assert len({panel["picture"] for panel in found["panels"]}) == 2


def test_a_layer_that_is_not_there_is_refused_and_the_others_are_named(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", str(run), "--layer", "nope"]) == 2
    err = capsys.readouterr().err
    assert all(layer in err for layer in ("layer 'nope' is not in caffe_lenet", "conv1", "conv2", "ip1"))


@pytest.mark.parametrize("name", ["lenet5", "caffe_lenet", "alexnet_owt"])
def test_what_is_silent_does_not_contradict_itself(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    from convatlas import registry, weights

    file = tmp_path / "w.safetensors"
    shape = registry.card(name).input_shape
    torch.manual_seed(0)
    net = registry.build(name, num_classes=3)
    card = weights.make_card(name, num_classes=3, in_channels=shape[0], classes=("a", "b", "c"), preprocessing=None)
    weights.save(file, net, card)
    Image.fromarray((load_digits().images[0] * 15).astype(np.uint8)).resize((64, 64)).save(tmp_path / "p.png")
    asked = ["--method", "patches", "--method", "filterstats", "--out", str(tmp_path / "out"), "--weights", str(file)]
    assert main(["explain", name, str(tmp_path / "p.png"), *asked]) == 0
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    said = [sentence for sentence in page.split(". ") if "silent" in sentence]
    none_can_be = [
        sentence for sentence in said if "can be silent" in sentence or "no feature map is silent" in sentence
    ]
    counted = [sentence for sentence in said if "stay silent" in sentence or "silent for every image" in sentence]
    assert (bool(none_can_be), bool(counted)) == {
        "lenet5": (True, False), "caffe_lenet": (True, True), "alexnet_owt": (False, True)
    }[name]  # fmt: skip
    assert "Behind" in page if name != "alexnet_owt" else "Behind" not in page


def test_a_note_has_a_capital_but_for_the_network_s_name() -> None:
    assert frame.sentence("the published 20 epochs became 70", "lenet5") == "The published 20 epochs became 70"
    assert frame.sentence("ssd300 has no recipe called published", "ssd300") == "ssd300 has no recipe called published"


def test_the_recipe_has_no_empty_row_and_breaks_names_at_points(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, _ = report_of(run, capsys)
    assert '<th scope="row">optimizer.<wbr>' in page
    assert "</th><td></td>" not in page
