"""Opening a trained network, finding images, predicting and evaluating again."""

import csv
import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import convatlas
from convatlas import cli, inference, weights
from convatlas.errors import ConvatlasError, UsageError
from convatlas.inference import engines
from convatlas.inference.predict import rank, read_ahead
from convatlas.records import Preprocessing


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three digits, one in a sub-folder, a damaged image and a text file."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name in ("a.png", "b.png", "more/c.png"):
        Image.fromarray(generator.integers(0, 256, (28, 28), dtype=np.uint8)).save(folder / name)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_find_images(images: Path) -> None:
    found, problems = inference.find_images([images / "b.png", images, "nowhere.png", str(images / "*.jpg")])
    assert [path.name for path in found] == ["b.png", "a.png", "broken.png", "c.png"]
    assert [(Path(p.path).name, p.reason) for p in problems] == [
        ("nowhere.png", "no such file"), ("*.jpg", "no file matches"),
    ]  # fmt: skip


def test_rank_by_hand() -> None:
    # softmax of (ln 1, ln 2, ln 5) is (1/8, 2/8, 5/8)
    logits = torch.tensor([[1.0, 2.0, 5.0]]).log()
    (prediction,) = rank([Path("x.png")], logits, ("one", "two", "five"), top_k=2)
    assert prediction.classes == ("five", "two")
    assert prediction.probabilities == pytest.approx((0.625, 0.25))


def test_predict_equals_the_network_alone(run_folder: Path, images: Path) -> None:
    source = inference.open_source(str(run_folder))
    predictions, problems = inference.predict(source, [images], top_k=10, batch_size=2)
    assert [Path(p.path).name for p in predictions] == ["a.png", "b.png", "c.png"]
    assert [Path(p.path).name for p in problems] == ["broken.png"]
    pixels = torch.from_numpy(np.array(Image.open(images / "b.png"))).float() / 256  # Caffe's scale
    expected = source.net(pixels[None, None]).softmax(1)[0].sort(descending=True)
    assert predictions[1].probabilities == pytest.approx(expected.values.tolist(), abs=1e-5)
    assert predictions[1].classes == tuple(source.classes[i] for i in expected.indices.tolist())


def test_progress_reaches_the_end(run_folder: Path, images: Path) -> None:
    seen: list[tuple[int, int]] = []
    source = inference.open_source(str(run_folder))
    inference.predict(source, [images], batch_size=3, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 4), (4, 4)]


def test_command_prints_a_line_a_image(run_folder: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", str(run_folder), str(images), "--top-k", "2"]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 3
    assert captured.out.splitlines()[0].startswith(f"{images / 'a.png'}: ")
    assert captured.out.splitlines()[0].count("%") == 2
    assert "broken.png" in captured.err


def test_command_json(run_folder: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", str(run_folder), str(images), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["network"] == "caffe_lenet"
    assert [len(p["classes"]) for p in found["predictions"]] == [5, 5, 5]
    assert found["problems"][0]["path"].endswith("broken.png")


def test_command_csv(run_folder: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", str(run_folder), str(images), "--csv", "--top-k", "2"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [(Path(row["path"]).name, row["rank"]) for row in rows[:3]] == [
        ("a.png", "1"),
        ("a.png", "2"),
        ("b.png", "1"),
    ]
    assert len(rows) == 6
    assert float(rows[0]["probability"]) > float(rows[1]["probability"])


def test_frames_of_a_video(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (32, 32))
    for index in range(7):
        writer.write(np.full((32, 32, 3), (30 * index, 0, 255), dtype=np.uint8))
    writer.release()
    monkeypatch.setattr(
        engines, "choose", lambda net, *_, **__: (engines.build("eager", net, (1, 28, 28), batch_size=1), None)
    )
    assert cli.main(["predict", str(run_folder), "--video", str(path), "--every", "3", "--top-k", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.rsplit(": ", 1)[0] for line in lines] == [f"{path}@{t}s" for t in ("0.00", "0.30", "0.60")]

    colour = Preprocessing(size=(32, 32))
    _, frame = next(inference.read_frames(path, colour))
    assert isinstance(frame, torch.Tensor)
    red, green, blue = frame.float().mean((1, 2)).tolist()
    assert red > 240
    assert max(green, blue) < 15


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "expected one of: images, --video FILE, --camera NUMBER"),
        (["x.png", "--camera", "0"], 2, "expected one of: images"),
        (["x.png", "--json", "--csv"], 2, "--csv and --json exclude each other"),
        (["--video", "absent.avi"], 2, "--video absent.avi does not exist"),
        (["x.png", "--engine", "warp"], 2, "engine 'warp'; expected auto"),
    ],
)
def test_wrong_use(
    run_folder: Path, arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["predict", str(run_folder), *arguments]) == code
    assert words in capsys.readouterr().err


def test_python_in_two_lines(run_folder: Path, images: Path) -> None:
    net = convatlas.load(run_folder)
    predictions = net.predict(images, top_k=1)
    assert len(predictions) == 3
    assert len(predictions.problems) == 1


def test_images_are_read_ahead_and_in_order(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    module = importlib.import_module("convatlas.inference.predict")  # whose name in the package is its function
    monkeypatch.setattr(module, "read_image", lambda path, *_: asked.append(path.name) or _grey())
    files = [Path(f"{index}.png") for index in range(9)]
    readings = read_ahead(files, Preprocessing(size=(4, 4), channels=1), ahead=3)
    assert asked == []
    got = [path for path, _ in (next(readings), next(readings))]
    assert got == ["0.png", "1.png"]
    readings.close()
    assert 2 <= len(asked) <= 5


def _grey() -> torch.Tensor:
    return torch.zeros(1, 4, 4, dtype=torch.uint8)


def test_nothing_readable_is_a_failure(run_folder: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", str(run_folder), str(images / "broken.png"), "nowhere.png"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 2


def test_a_name_with_weights_is_the_run(run_folder: Path) -> None:
    best = run_folder / "checkpoints" / "best" / "weights.safetensors"
    source = inference.open_source("caffe_lenet", best)
    assert source.run is None
    assert source.classes == tuple("0123456789")
    assert source.preprocessing == inference.open_source(str(run_folder)).preprocessing


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ("lenet5", UsageError, "expected weights=FILE"),
        ("lennet5", UsageError, "did you mean"),
        ("some/where", UsageError, "some/where does not exist"),
    ],
)
def test_sources_that_are_none(source: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        inference.open_source(source)


def test_incomplete_and_foreign_runs(run_folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match=r"recipe\.toml is absent"):
        inference.open_source(str(empty))
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    recipe = (copy / "recipe.toml").read_text()
    (copy / "recipe.toml").write_text(recipe.replace("format = 1", "format = 9"))
    with pytest.raises(ConvatlasError, match="format 9"):
        inference.open_source(str(copy))
    (copy / "recipe.toml").write_text(recipe)
    (copy / "checkpoints" / "best" / "weights.safetensors").unlink()
    with pytest.raises(ConvatlasError, match="incomplete run"):
        inference.open_source(str(copy))


def test_weights_without_a_card_get_numbered_classes(tmp_path: Path) -> None:
    path = tmp_path / "plain.pth"
    torch.save(weights.create("lenet5").state_dict(), path)
    source = inference.open_source("lenet5", path)
    assert not source.named_classes
    assert source.classes == tuple("0123456789")
    assert source.preprocessing.size == (32, 32)


def test_evaluate_the_runs_own_data(run_folder: Path) -> None:
    source = inference.open_source(str(run_folder))
    dataset, found = inference.evaluate_source(source)
    assert dataset.name == "digits"
    predicted = found.probabilities.argmax(1)
    assert found.top1_error == pytest.approx((predicted != dataset.test.labels).double().mean().item())


def test_evaluate_refuses_other_classes(run_folder: Path, tmp_path: Path) -> None:
    for kind in ("ants", "bees"):
        (tmp_path / kind).mkdir()
        for index in range(3):
            Image.new("L", (28, 28), 40 * index).save(tmp_path / kind / f"{index}.png")
    source = inference.open_source(str(run_folder))
    with pytest.raises(UsageError, match=r"2 classes \(ants, bees\).*10 classes"):
        inference.evaluate_source(source, str(tmp_path))


def test_eval_command(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", str(run_folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    low, high = found["top1_error_interval_95"]
    assert low <= found["top1_error"] <= high
    assert sum(row["n"] for row in found["classes"]) == found["samples"]
    assert cli.main(["eval", str(run_folder)]) == 0
    out = capsys.readouterr().out
    assert "95% interval" in out
    assert "precision" in out


def test_device_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="device abacus"):
        inference.resolve_device("abacus")


@pytest.mark.data
def test_released_resnet20_knows_its_images(data_root: Path) -> None:
    source = inference.open_source("cifar_resnet20", data_root / "weights" / "resnet20_cifar10_option_a.th")
    folder = data_root / "cifar10_png" / "image_data_format_2"  # one sub-folder a class
    predictions, problems = inference.predict(source, [folder], top_k=1, batch_size=100)
    assert len(predictions) == 200
    assert problems == []
    assert all(Path(p.path).parent.name == p.classes[0] for p in predictions)
    assert inference.evaluate_source(source, str(folder))[1].top1_error == 0
