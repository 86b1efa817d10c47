"""`convatlas eval`: protocols, some of the classes, several networks, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from convatlas import cli, inference, weights
from convatlas.errors import UsageError
from convatlas.evaluation import TenCrops


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of SqueezeNet for three classes without names, their names in a table, and images of two of them."""
    folder = tmp_path_factory.mktemp("eval")
    torch.manual_seed(0)
    card = weights.make_card("squeezenet_v1_1", num_classes=3, in_channels=3)
    weights.save(folder / "weights.safetensors", weights.create("squeezenet_v1_1", num_classes=3), card)
    (folder / "classes.tsv").write_text("index\twnid\tname\n2\tn03\tnewt\n0\tn01\tape\n1\tn02\tbee\n")
    for wnid, colour in (("n01", "red"), ("n03", "blue")):
        (folder / "data" / wnid).mkdir(parents=True)
        for index in range(2):
            Image.new("RGB", (90 + index, 80), colour).save(folder / "data" / wnid / f"{index}.png")
    return folder


def test_data_may_hold_some_of_the_classes_under_another_name(made: Path) -> None:
    source = inference.open_source("squeezenet_v1_1", made / "weights.safetensors")
    named = inference.with_classes(source, made / "classes.tsv")
    assert named.classes == ("ape", "bee", "newt")
    _, found = inference.evaluate_source(named, str(made / "data"))
    assert found.labels.tolist() == [0, 0, 2, 2]  # all four: weights have seen none of them
    assert found.classes == named.classes


def test_unnamed_outputs_ask_for_names(made: Path) -> None:
    source = inference.open_source("squeezenet_v1_1", made / "weights.safetensors")
    with pytest.raises(UsageError, match="classes=FILE names them"):
        inference.evaluate_source(source, str(made / "data"))


def test_names_that_do_not_fit_are_refused(made: Path, tmp_path: Path) -> None:
    source = inference.open_source("squeezenet_v1_1", made / "weights.safetensors")
    few = tmp_path / "few.txt"
    few.write_text("ape\nbee\n")
    with pytest.raises(UsageError, match="2 names; squeezenet_v1_1 has 3 outputs"):
        inference.with_classes(source, few)
    with pytest.raises(UsageError, match="can't be read"):
        inference.with_classes(source, tmp_path / "none.txt")
    few.write_text("ape\nbee\ncow\n")
    with pytest.raises(UsageError, match="n01, n03"):
        inference.evaluate_source(inference.with_classes(source, few), str(made / "data"))


def test_the_command_says_its_protocol(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "eval",
        "squeezenet_v1_1",
        "--weights",
        str(made / "weights.safetensors"),
        "--data",
        str(made / "data"),
    ]
    arguments += ["--classes", str(made / "classes.tsv"), "--protocol", "10-crop"]
    assert cli.main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["protocol"] == "10 crops at 256 px"
    assert found["published"] == []  # three classes of one's own are not ILSVRC-2012 validation
    assert cli.main([*arguments, "--scales", "227,256"]) == 0
    out = capsys.readouterr().out
    assert "10 crops at 227 and 256 px" in out
    assert "published" not in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--protocol", "13-crop"], "expected one of 1-crop"),
        (["--scales", "256;384"], "whole numbers with commas"),
        (["--protocol", "10-crop"], "expected --scales SIDES, or --protocol 1-crop"),
        (["--scales", "20"], "smaller than the network's input"),
    ],
)
def test_options_that_do_not_fit(
    run_folder: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["eval", str(run_folder), *options]) == 2
    assert words in capsys.readouterr().err


def test_a_run_averaged_with_itself_is_itself(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", str(run_folder), "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert cli.main(["eval", str(run_folder), "--with", str(run_folder), "--json"]) == 0
    both = json.loads(capsys.readouterr().out)
    assert both["protocol"] == "2 networks, one view"
    assert both["top1_error"] == alone["top1_error"]
    assert both["loss"] == pytest.approx(alone["loss"], rel=1e-5)


def test_networks_of_other_classes_are_not_averaged(run_folder: Path, made: Path) -> None:
    other = inference.open_source("squeezenet_v1_1", made / "weights.safetensors")
    with pytest.raises(UsageError, match="expected the same classes"):
        inference.evaluate_source(inference.open_source(str(run_folder)), along=[other])


@pytest.mark.data
def test_released_squeezenet_by_ten_crops(data_root: Path, tmp_path: Path) -> None:
    for image in (data_root / "imagenet100").glob("*.jpg"):
        folder = tmp_path / image.name.split("_")[0]
        folder.mkdir()
        (folder / image.name).symlink_to(image)
    source = inference.open_source("squeezenet_v1_1", data_root / "weights" / "squeezenet1_1_caffe_bgr.pth")
    source = inference.with_classes(source, data_root / "imagenet_classes.tsv")
    _, one = inference.evaluate_source(source, str(tmp_path))
    _, ten = inference.evaluate_source(source, str(tmp_path), protocol=TenCrops())
    assert one.top1_error == pytest.approx(0.38, abs=0.03)
    assert ten.top5_error is not None
    assert ten.top5_error == pytest.approx(0.15, abs=0.03)
    assert ten.loss < one.loss
