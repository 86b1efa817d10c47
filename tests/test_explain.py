"""`convatlas explain`: its page, its numbers, and a run's report that takes the panels in."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from convatlas.cli import main
from convatlas.report.seeing import page


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    found = []
    for index, digit in enumerate(load_digits().images[:2]):
        path = tmp_path / f"digit {index}.png"
        Image.fromarray((digit * 15).astype(np.uint8)).resize((28, 28)).save(path)
        found.append(str(path))
    return found


@pytest.fixture
def run(run_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


def test_all_methods_on_a_run(run: Path, images: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    report = run / "report.html"
    place = f"{page.OPEN} an earlier one {page.CLOSE} after</main>"
    report.write_text(f"<nav>{page.LINK_OPEN}{page.LINK_CLOSE}</nav><main>before {place}")
    assert main(["explain", str(run), *images, "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert Path(found["page"]) == run / "explain" / "index.html"
    assert {panel["method"] for panel in found["panels"]} == {
        "filters", "filterstats", "patches", "invariance", "equivariance", "correspondence",
        "deconvnet", "saliency", "guided", "gradcam", "occlusion", "ig",
    }  # fmt: skip
    assert [problem["what"] for problem in found["problems"]] == ["ensemble", "evolution", "cam"]
    assert "cam: CaffeLeNet has no class activation maps" in err
    assert {key: value for key, value in found.items() if key != "page"} == json.loads(
        (run / "explain" / "explain.json").read_text()
    )
    arrays = np.load(run / "explain" / "explain.npz")
    for panel in found["panels"]:
        assert (run / "explain" / f"{panel['file']}.png").stat().st_size > 1000
        for key in panel["arrays"]:
            assert np.isfinite(arrays[f"{panel['file']}/{key}"]).all()
    text = (run / "explain" / "index.html").read_text()
    assert text.count("<figure>") == len(found["panels"])
    assert "://" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", text)
    assert "<script" not in text
    extended = report.read_text()
    link = '<a href="#seeing">Seeing inside</a>'
    assert extended.startswith(f"<nav>{page.LINK_OPEN}{link}{page.LINK_CLOSE}</nav><main>before {page.OPEN}")
    assert extended.endswith(f"{page.CLOSE} after</main>")
    assert "earlier" not in extended
    assert extended.count("<figure>") == len(found["panels"])


def test_one_method_of_one_map_in_one_page(run: Path, images: list[str], tmp_path: Path) -> None:
    out = tmp_path / "pages" / "seen.html"
    asked = ["--method", "deconvnet", "--layer", "conv1", "--map", "7", "--out", str(out)]
    assert main(["explain", str(run), images[0], *asked]) == 0
    found = json.loads((out.parent / "explain.json").read_text())
    (panel,) = found["panels"]
    assert panel["layer"] == "conv1"
    assert [unit["map"] for unit in panel["units"]] == [7]
    assert out.is_file()


def test_the_class_that_is_asked_about(run: Path, images: list[str], tmp_path: Path) -> None:
    asked = ["--method", "saliency", "--class", "4", "--out", str(tmp_path / "out")]
    assert main(["explain", str(run), images[0], *asked]) == 0
    assert json.loads((tmp_path / "out" / "explain.json").read_text())["panels"][0]["target"] == 4


@pytest.mark.parametrize(("options", "sentence"), [
    (["--method", "magic"], "--method 'magic' is unknown; expected filters, "),
    (["--method", "cam"], "CaffeLeNet has no class activation maps"),
    (["--class", "eleven"], "--class 'eleven' does not exist"),
    (["--method", "gradcam", "--layer", "conv9"], "layer 'conv9' is not in caffe_lenet; did you mean 'conv"),
    (["--method", "correspondence"], "images are too few to compare: 1; name at least 2"),
    (["--method", "correspondence", "--part", "eye=0,0,2,1"], "expected shares inside 0 to 1"),
    (["--method", "correspondence", "--part", "eye=0,0,1"], "expected four numbers y, x, height, width"),
    (["--method", "correspondence", "--part", "nowhere.csv"], "--part nowhere.csv can't be read"),
    (["--method", "deconvnet", "--map", "99", "--layer", "conv1"], "map 99 is not in layer 'conv1'"),
])  # fmt: skip
def test_wrong_usage(run, images, options, sentence, capsys) -> None:  # type: ignore[no-untyped-def]
    assert main(["explain", str(run), images[0], *options]) == 2
    assert sentence in capsys.readouterr().err
    assert not (run / "explain").exists()


@pytest.mark.parametrize("options", [["--method", "saliency"], []])  # all methods: some need no image
def test_without_a_readable_image(run: Path, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    assert main(["explain", str(run), "nowhere.png", *options]) == 1
    assert "nowhere.png: no such file" in capsys.readouterr().err
    assert not (run / "explain").exists()


def test_a_report_without_a_place_stays_as_it_was() -> None:
    assert page.between("<main></main>", page.OPEN, page.CLOSE, "section") == "<main></main>"


def test_features_over_the_epochs_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    short = ["--epochs", "3", "--out", str(run), "--no-report", "--device", "cpu", "--workers", "0", "--json"]
    assert main(["train", "caffe_lenet", *short, "--keep-epochs", "1,3"]) == 0
    assert sorted(path.name for path in (run / "checkpoints" / "epochs").iterdir()) == ["001", "003"]
    capsys.readouterr()
    assert main(["explain", str(run), "--method", "evolution", "--layer", "conv2", "--map", "4", "--json"]) == 0
    (panel,) = json.loads(capsys.readouterr().out)["panels"]
    assert (panel["maps"], panel["epochs"]) == ([4], [1, 3])
    signals = np.load(run / "explain" / "explain.npz")[f"{panel['file']}/signals"]
    assert signals.shape == (1, 2, 1, 14, 14)  # conv2 sees 14 x 14 pixels
    assert np.abs(signals).max() > 0


def test_epochs_that_are_no_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "caffe_lenet", "--keep-epochs", "1;2"]) == 2
    assert "--keep-epochs is '1;2'; expected epochs from 1" in capsys.readouterr().err
