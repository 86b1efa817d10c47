"""`train`, `eval`, `predict`, `explain` and `export` of a segmenter and a pose network, as people call them."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas import inference
from convatlas.cli import main
from convatlas.inference.crf import DenseCRF
from masks import drawn, read_masks_folder, write_pairs, write_parts
from people import write_coco

QUICK = ["--device", "cpu", "--workers", "0", "--recipe", "modern"]
COLOURS = {"ground": (10, 20, 30), "brick": (200, 0, 0), "leaf": (0, 250, 0)}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    folder = write_parts(tmp_path_factory.mktemp("masks"), 4, 2)
    rows = [f"{i},{name},#{bytes(colour).hex()}" for i, (name, colour) in enumerate(COLOURS.items())]
    (folder / "classes.csv").write_text("\n".join(["value,name,colour", *rows]))
    return folder


@pytest.fixture(scope="module")
def trained(pairs, tmp_path_factory) -> tuple[Path, dict]:
    """A finished run of a segmenter, and what `--json` said of it."""
    run = tmp_path_factory.mktemp("runs") / "segmenter"
    with pytest.MonkeyPatch.context() as patch:
        said: list = []
        patch.setattr("convatlas.cli.training_display.print_json", said.append)
        command = ["train", "fcn8s_squeezenet", "--data", str(pairs), "--out", str(run), "--epochs", "1", "--json"]
        assert main([*command, *QUICK, "--set", "preprocessing.size=(33,49)", "--batch-size", "2"]) == 0
    return run, said[0]


@pytest.fixture
def run(trained) -> Path:
    return trained[0]


def said_as_json(capsys, *command: str) -> dict:
    capsys.readouterr()
    assert main(list(command)) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *command: str) -> str:
    capsys.readouterr()
    assert main(list(command)) == 2
    return capsys.readouterr().err


def image_in(file: str) -> Image.Image:
    with Image.open(file) as found:
        found.load()
    return found


# --- a segmenter ---


def test_a_run_of_a_segmenter_is_a_folder_with_its_report(trained, pairs):
    run, said = trained
    assert said["report"] == str(run / "report.html")
    page = (run / "report.html").read_text()
    assert all(word in page for word in ("brick", "mean IoU", "Loss of every epoch", "fcn8s_squeezenet"))
    recipe = tomllib.loads((run / "recipe.toml").read_text())
    assert recipe["preprocessing"]["size"] == [33, 49]
    (row,) = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert (row["mean_iu"], row["test_loss"]) == (said["mean_iu"], said["test_loss"])
    assert json.loads((run / "classes.json").read_text()) == list(COLOURS)
    assert 0 <= said["pixel_accuracy"] <= 1
    assert said["protocol"] == "whole image"


def test_eval_finds_what_training_found(trained, capsys, tmp_path):
    run, said = trained
    page = tmp_path / "page.html"
    found = said_as_json(capsys, "eval", str(run), "--json", "--device", "cpu", "--report", str(page))
    assert (found["pictures"], found["problems"]) == (2, [])
    for name in ("mean_iu", "pixel_accuracy"):
        assert found[name] == pytest.approx(said[name])
    assert found["loss"] == pytest.approx(said["test_loss"], rel=1e-5)
    assert [row["name"] for row in found["classes"]] == list(COLOURS)
    assert sum(row["share"] for row in found["classes"]) == pytest.approx(1)
    assert "brick" in page.read_text()


def test_eval_as_text_and_on_other_data(run, capsys, tmp_path):
    capsys.readouterr()
    assert main(["eval", str(run), "--device", "cpu"]) == 0
    text = capsys.readouterr().out
    assert "2 test images, whole image" in text
    assert all(word in text for word in ("mean IoU", "boundary F1", "brick", "leaf"))
    other = write_parts(tmp_path / "other", 1, 3)
    assert said_as_json(capsys, "eval", str(run), "--data", str(other), "--json", "--device", "cpu")["pictures"] == 3


def test_eval_with_a_crf_has_a_finite_loss(run, capsys):
    found = said_as_json(capsys, "eval", str(run), "--crf", "--json", "--device", "cpu")
    assert found["loss"] < 100
    assert 0 <= found["mean_iu"] <= 1


def test_a_damaged_mask_is_named_and_the_rest_counted(run, capsys, tmp_path):
    other = write_parts(tmp_path / "other", 1, 2)
    (other / "val" / "masks" / "p1.png").write_bytes(b"no mask")
    found = said_as_json(capsys, "eval", str(run), "--data", str(other), "--json", "--device", "cpu")
    assert found["pictures"] == 1
    (problem,) = found["problems"]
    assert problem["path"].endswith("images/p1.png")
    assert "masks/p1.png: not a mask" in problem["reason"]


def expected_mask(run: Path, image: Path, refine=None) -> np.ndarray:
    source = inference.open_source(str(run))
    (one,) = inference.segment(source, [image], refine=refine)
    return one.mask.numpy()


@pytest.mark.parametrize("crf", [False, True])
def test_predicted_masks_decode_to_the_predicted_classes(crf, run, pairs, capsys, tmp_path):
    image = pairs / "val" / "images" / "p4.png"
    (tmp_path / "broken.png").write_bytes(b"no image")
    options = ["--crf"] if crf else []
    command = ["predict", str(run), str(image), str(tmp_path / "broken.png"), "--out", str(tmp_path / "out")]
    said = said_as_json(capsys, *command, *options, "--json", "--device", "cpu")
    (row,) = said["predictions"]
    expected = expected_mask(run, image, DenseCRF() if crf else None)
    mask = image_in(row["mask"])
    assert (mask.mode, mask.size) == ("P", (64, 48))
    assert np.array_equal(np.array(mask), expected)
    assert mask.getpalette()[:9] == [part for colour in COLOURS.values() for part in colour]
    assert np.array_equal(read_masks_folder(pairs)[2].decode(row["mask"]).numpy(), expected)
    for name, share in row["shares"].items():
        assert share == pytest.approx((expected == list(COLOURS).index(name)).mean())
    assert image_in(row["overlay"]).size[0] >= 64
    assert [Path(problem["path"]).name for problem in said["problems"]] == ["broken.png"]


def test_two_images_of_one_name_give_two_masks(run, capsys, tmp_path):
    for folder, number in (("a", 0), ("b", 1)):
        (tmp_path / folder).mkdir()
        Image.fromarray(drawn(number)[0]).save(tmp_path / folder / "p.png")
    places = [str(tmp_path / folder) for folder in "ab"]
    said = said_as_json(
        capsys, "predict", str(run), *places, "--out", str(tmp_path / "out"), "--json", "--device", "cpu"
    )
    names = sorted(Path(row["mask"]).name for row in said["predictions"])
    assert names == ["p_2_mask.png", "p_mask.png"]
    capsys.readouterr()
    assert main(["predict", str(run), places[0], "--device", "cpu"]) == 0
    assert "p.png: " in (text := capsys.readouterr().out)
    assert "%" in text


def test_nothing_to_read_is_a_failure(run, capsys, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert main(["predict", str(run), str(tmp_path / "broken.png"), "--device", "cpu"]) == 1
    assert "broken.png" in capsys.readouterr().err


def test_explain_answers_for_a_segmenter(run, pairs, capsys, tmp_path):
    image = str(pairs / "val" / "images" / "p4.png")
    command = ["explain", str(run), image, "--method", "saliency", "--method", "gradcam", "--out", str(tmp_path)]
    said = said_as_json(capsys, *command, "--class", "leaf", "--device", "cpu", "--json")
    assert Path(said["page"]).is_file()
    assert "leaf" in Path(said["page"]).read_text()
    assert len(list(tmp_path.rglob("*.png"))) >= 2


def test_an_exported_file_gives_the_same_mask(run, pairs, capsys, tmp_path):
    file, image = tmp_path / "net.onnx", tmp_path / "p.png"
    Image.fromarray(drawn(4, (33, 49))[0]).save(image)  # the file takes one size, which this is
    assert main(["export", str(run), "--out", str(file)]) == 0
    said = said_as_json(capsys, "predict", str(file), str(image), "--out", str(tmp_path / "out"), "--json")
    mask = image_in(said["predictions"][0]["mask"])
    assert (np.array(mask) == expected_mask(run, image)).mean() > 0.998  # sums in another order
    assert mask.getpalette()[:9] == [part for colour in COLOURS.values() for part in colour]
    larger = said_as_json(capsys, "predict", str(file), str(pairs / "val" / "images"), "--json")
    assert len(larger["predictions"]) == 2


# --- what is refused ---


def test_settings_that_are_not_for_segmenters_are_refused(run, pairs, capsys, tmp_path):
    said = refused(capsys, "eval", str(run), "--protocol", "10-crop")
    assert "--protocol 10-crop; a segmenter sees whole images" in said
    for option, value in (("--scales", "256"), ("--with", str(run)), ("--classes", str(pairs / "classes.csv"))):
        said = refused(capsys, "eval", str(run), option, value)
        assert f"{option} is for classification; fcn8s_squeezenet is for segmentation" in said
    said = refused(capsys, "predict", str(run), str(pairs), "--csv")
    assert "--csv is for classification; fcn8s_squeezenet is for segmentation" in said
    said = refused(capsys, "export", str(run), "--out", str(tmp_path / "net.onnx"), "--data", str(pairs))
    assert "--data is for classification; fcn8s_squeezenet is for segmentation" in said
    assert not (tmp_path / "net.onnx").exists()


def test_a_classifier_has_no_masks_to_refine(run_folder, pairs, capsys):
    assert "--crf" in refused(capsys, "eval", str(run_folder), "--crf")
    assert "--crf" in refused(capsys, "predict", str(run_folder), str(pairs), "--crf")


def test_data_of_other_classes_are_refused(run, capsys, tmp_path):
    other = write_parts(tmp_path / "other", 1, 1)
    (other / "classes.txt").write_text("ground\nleaf\nbrick\n")
    assert "brick" in refused(capsys, "eval", str(run), "--data", str(other))


@pytest.mark.parametrize(
    ("network", "settings", "sentence"),
    [
        ("fcn8s_squeezenet", "augment=[PadCrop(padding=2)]", "PadCrop knows no masks"),
        ("fcn8s_squeezenet", "loss=HeatmapSquaredError()", "HeatmapSquaredError is not for segmentation"),
        ("fcn8s_squeezenet", "loss=CrossEntropy()", "CrossEntropy is not for segmentation; expected PixelCrossEntropy"),
        ("fcn8s_squeezenet", "class_weights=(1.0,2.0)", "--class-weights has 2 entries; expected 3"),
    ],
)
def test_a_recipe_for_something_else_is_refused(network, settings, sentence, pairs, capsys, tmp_path):
    command = ["train", network, "--data", str(pairs), "--out", str(tmp_path / "run"), "--epochs", "1", *QUICK]
    said = refused(capsys, *command, "--set", "preprocessing.size=(33,49)", "--set", settings)
    assert sentence in said


@pytest.mark.parametrize("network", ["fcn8s_squeezenet", "stacked_hourglass_1", "ssd300_squeezenet"])
def test_images_must_be_named(network, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = refused(capsys, "train", network, *QUICK)
    assert f"--data is missing: {network} is for " in said
    assert "'nowhere'" in refused(capsys, "train", network, "--data", "nowhere", *QUICK)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_classes_holds_no_masks(capsys, tmp_path):
    write_pairs(tmp_path / "cats", tmp_path / "dogs", range(2))
    assert main(["train", "fcn8s_squeezenet", "--data", str(tmp_path), *QUICK]) == 1
    assert "has no folders of images and masks; expected images/ and masks/" in capsys.readouterr().err


# --- a pose network ---


@pytest.fixture(scope="module")
def poses(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    write_coco(folder, "train", 2)
    write_coco(folder, "val", 2, seed=1)
    return folder


@pytest.fixture(scope="module")
def pose_run(poses, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "pose"
    command = ["train", "stacked_hourglass_1", "--data", str(poses), "--out", str(run), "--epochs", "1", *QUICK]
    assert main([*command, "--set", "preprocessing.size=(64,64)", "--batch-size", "2"]) == 0
    return run


def test_a_run_of_a_pose_network(pose_run, poses, capsys, tmp_path):
    assert "PCK" in (pose_run / "report.html").read_text()
    found = said_as_json(capsys, "eval", str(pose_run), "--json", "--device", "cpu")
    assert (found["people"], found["measure"], len(found["joints"])) == (2, "PCK@0.2", 17)
    assert "for classifiers and detectors" in refused(capsys, "eval", str(pose_run), "--protocol", "coco")
    assert "--crf" in refused(capsys, "eval", str(pose_run), "--crf")
    images = str(poses / "val2017")
    said = said_as_json(capsys, "predict", str(pose_run), images, "--out", str(tmp_path), "--json", "--device", "cpu")
    assert [len(row["joints"]) for row in said["predictions"]] == [17, 17]
    assert all(image_in(row["overlay"]).size == (120, 96) for row in said["predictions"])
    assert torch.tensor([[joint["x"], joint["y"]] for joint in said["predictions"][0]["joints"]]).isfinite().all()


# --- detectors ---


@pytest.fixture(scope="module")
def crates(tmp_path_factory) -> Path:
    """Four images with a box each, as COCO marks them."""
    folder = tmp_path_factory.mktemp("crates")
    images, annotations = [], []
    for number in range(4):
        image = np.full((96, 128, 3), 60, np.uint8)
        left = 10 + 15 * number
        image[20:80, left : left + 60] = (200, 40, 40) if number % 2 else (40, 200, 40)
        Image.fromarray(image).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 128, "height": 96})
        box = {
            "id": number,
            "image_id": number,
            "category_id": 1 + number % 2,
            "bbox": [left, 20, 60, 60],
            "iscrowd": 0,
        }
        annotations.append(box)
    categories = [{"id": 1, "name": "green"}, {"id": 2, "name": "red"}]
    (folder / "crates.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return folder


@pytest.mark.parametrize(
    "network", ["faster_rcnn_squeezenet", pytest.param("rcnn_alexnet_voc_finetune", marks=pytest.mark.slow)]
)
def test_a_run_of_a_detector(network, crates, capsys, tmp_path):
    run, image = tmp_path / "run", str(crates / "1.png")
    command = ["train", network, "--data", str(crates / "crates.json"), "--out", str(run), "--epochs", "1", *QUICK]
    shape = ("size=(96,128)", "resize=stretch", "resize_to=96")
    size = [part for one in shape for part in ("--set", f"preprocessing.{one}")]
    assert main([*command, *size, "--batch-size", "2"]) == 0
    assert "mAP" in (run / "report.html").read_text()
    found = said_as_json(capsys, "eval", str(run), "--json", "--device", "cpu")
    assert found["pictures"] == 2
    said = said_as_json(capsys, "predict", str(run), image, "--out", str(tmp_path), "--json", "--least-score", "0")
    (row,) = said["predictions"]
    assert image_in(row["overlay"]).size[0] >= 128
    assert all(0 <= one["score"] <= 1 and one["class"] in ("green", "red") for one in row["objects"])
    methods = ["--method", "filterstats", "--method", "saliency"]  # one looks at the run's data, one at the image
    said = said_as_json(capsys, "explain", str(run), image, *methods, "--class", "red", "--json", "--device", "cpu")
    assert len(said["panels"]) == 2
