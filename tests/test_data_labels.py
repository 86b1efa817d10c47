"""`data labels`: planted label errors are found, by a probe and by retraining; CSV and page carry text as text."""

import csv
import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from convatlas import data, inference
from convatlas.cli import main
from convatlas.cli.data_labels import harmless
from convatlas.errors import UsageError
from convatlas.inference import label_issues
from convatlas.inference.label_issues import find_label_issues

pytest.importorskip("cleanlab")


@pytest.fixture(scope="module")
def noisy(tmp_path_factory) -> tuple[Path, set[str]]:
    """A run on 600 digits of which one in 25 has a wrong label, and the names of those."""
    folder, draw = tmp_path_factory.mktemp("labels"), torch.Generator().manual_seed(1)
    digits, wrong = data.load("digits").train, set()
    for i in range(600):
        label = int(digits.labels[i])
        if float(torch.rand(1, generator=draw)) < 0.04:
            label = (label + 1 + int(torch.randint(9, (1,), generator=draw))) % 10
            wrong.add(f"{i:04}.png")
        place = folder / "digits" / ("[/red]" if label == 7 else "=1+1" if label == 8 else str(label))
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.read(i)[0].numpy()).save(place / f"{i:04}.png")
    arguments = ["caffe_lenet", "--data", str(folder / "digits"), "--epochs", "6", "--no-report", "--device", "cpu"]
    assert main(["train", *arguments, "--out", str(folder / "run")]) == 0
    return folder / "run", wrong


def test_planted_errors_are_found_and_written_down(noisy, tmp_path, capsys):
    run, wrong = noisy
    capsys.readouterr()
    table, page = tmp_path / "new" / "issues.csv", tmp_path / "issues.html"
    arguments = ["data", "labels", str(run), "--csv", str(table), "--page", str(page), "--device", "cpu", "--json"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    names = [Path(issue["path"]).name for issue in found["issues"]]
    assert len(wrong & set(names)) >= 0.7 * len(wrong)
    assert len(set(names) - wrong) <= 0.5 * len(names)
    assert found["images"] == 600
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert [Path(row["path"]).name for row in rows] == names
    assert not any(row["label"].startswith("=") for row in rows)
    text = page.read_text()
    assert text.count("<img src=\"data:image/png;base64,") == len(names)  # fmt: skip
    assert "http" not in text.partition("</style>")[2]


def test_the_same_as_text_in_one_line_an_image(noisy, capsys):
    assert main(["data", "labels", str(noisy[0]), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "are probably wrong" in said.splitlines()[0]
    assert "label" in said.splitlines()[1]


def test_folds_that_are_trained_anew_find_them_too(noisy):
    run, wrong = noisy
    opened = inference.open_source(str(run))
    loaded = data.load(str(run.parent / "digits"), division=data.read_division(run / "splits.json"))
    found = find_label_issues(opened, loaded, way="retrain", folds=2)
    names = {Path(issue.path).name for issue in found.issues}
    assert len(wrong & names) >= 0.5 * len(wrong)
    assert {issue.split for issue in found.issues} == {"train", "test"}


def test_what_is_wrong_is_named(noisy, monkeypatch, capsys, tmp_path):
    opened = inference.open_source(str(noisy[0]))
    with pytest.raises(UsageError, match="other classes"):
        find_label_issues(opened, data.load("digits"))
    with pytest.raises(UsageError, match="folds is 1"):
        find_label_issues(opened, data.load(str(noisy[0].parent / "digits")), folds=1)
    assert main(["data", "labels", str(noisy[0]), "--csv", str(tmp_path / "a.txt")]) == 2
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    assert main(["data", "labels", str(noisy[0])]) == 1
    assert "cleanlab is not installed; do `pip install 'convatlas[labels]'`" in capsys.readouterr().err


def test_a_formula_is_text():
    assert [harmless(text) for text in ("=1+1", "@cmd", "cat", "")] == ["'=1+1", "'@cmd", "cat", ""]


def test_probabilities_are_out_of_sample_and_rare_classes_are_no_obstacle():
    draw = torch.Generator().manual_seed(0)
    labels = torch.tensor([0] * 20 + [1] * 20 + [2])
    vectors = torch.randn(41, 5, generator=draw) + labels[:, None] * 4
    found = label_issues._probed(vectors.numpy(), labels.numpy(), 4, folds=3, seed=0)
    assert found.shape == (41, 4)
    assert found.sum(1) == pytest.approx(1.0)
    assert (found.argmax(1)[:40] == labels.numpy()[:40]).mean() > 0.9
    assert found[40, 2] < 1e-3  # nobody has seen its class
