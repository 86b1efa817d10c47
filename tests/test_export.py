"""Exported files compute what the network computes, and carry what a prediction needs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas import cli, inference, registry
from convatlas.errors import ConvatlasError, UsageError
from convatlas.inference import exporting
from convatlas.inference.exported import WithNormalisation
from convatlas.records import Preprocessing

pytest.importorskip("onnxscript")
onnx = pytest.importorskip("onnx")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for index in range(6):
        Image.fromarray(generator.integers(0, 256, (28, 28), dtype=np.uint8)).save(folder / f"{index}.png")
    return folder


def test_normalisation_inside_is_the_one_outside() -> None:
    from convatlas.data import normalise

    pixels = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    for order in ("rgb", "bgr"):
        preprocessing = Preprocessing((4, 5), mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), channel_order=order)
        inside = WithNormalisation(torch.nn.Identity(), preprocessing)(pixels)
        torch.testing.assert_close(inside, normalise(pixels, preprocessing))


@pytest.mark.parametrize("pixels", [False, True])
def test_an_onnx_file_predicts_what_the_run_predicts(
    run_folder: Path, images: Path, tmp_path: Path, pixels: bool
) -> None:
    source = inference.open_source(str(run_folder))
    path = tmp_path / "net.onnx"
    exported = inference.export(source, path, pixels=pixels, licence="CC0-1.0")
    assert exported.difference < 1e-5
    expected, _ = inference.predict(source, [images], engine="eager", batch_size=4)
    opened = inference.open_source(str(path))
    assert opened.name == "caffe_lenet"
    assert opened.classes == source.classes
    for engine in ("eager", "onnxruntime", "openvino", "auto"):
        got, problems = inference.predict(opened, [images], engine=engine, batch_size=4)
        assert problems == []
        assert [p.classes for p in got] == [p.classes for p in expected]
        for one, other in zip(got, expected, strict=True):
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_the_card_is_in_the_metadata(run_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    inference.export(inference.open_source(str(run_folder)), path, licence="CC0-1.0")
    model = onnx.load(path)
    onnx.checker.check_model(model)
    (entry,) = model.metadata_props
    card = json.loads(entry.value)
    assert card["licence"] == "CC0-1.0"
    assert card["classes"] == list("0123456789")
    assert card["preprocessing"]["size"] == [28, 28]
    assert not model.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value")
    assert model.opset_import[0].version == exporting.OPSET


@pytest.mark.parametrize(("name", "ending"), [("torch-export", ".pt2"), ("torchscript", ".pt")])
@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
def test_torchs_own_formats(run_folder: Path, tmp_path: Path, name: exporting.Format, ending: str) -> None:
    source = inference.open_source(str(run_folder))
    path = tmp_path / f"net{ending}"
    assert inference.export(source, path, format=name).difference < 1e-5
    extra = {exporting.EXTRA_FILE: ""}
    if name == "torch-export":
        torch.export.load(path, extra_files=extra)
    else:
        torch.jit.load(str(path), _extra_files=extra)
    assert json.loads(extra[exporting.EXTRA_FILE])["network"] == "caffe_lenet"
    assert [file.name for file in tmp_path.glob(f"*net{ending}")] == [path.name]


def test_a_file_that_computes_something_else_does_not_stay(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = inference.open_source(str(run_folder))
    monkeypatch.setattr(exporting, "_read_back", lambda path, name: lambda x: source.net(x) + 1)
    with pytest.raises(ConvatlasError, match="differs from the network"):
        inference.export(source, tmp_path / "net.onnx")
    assert list(tmp_path.glob("*.onnx")) == []


def test_int8(run_folder: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.onnx"
    (images / "broken.png").write_bytes(b"no image")
    arguments = ["export", str(run_folder), "--out", str(path), "--int8", "--calibration", str(images)]
    assert cli.main([*arguments, "--data", "digits", "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert "broken.png" in captured.err
    assert found["calibration_images"] == 6
    assert found["agreement"] >= 5 / 6
    assert abs(found["accuracy_before"] - found["accuracy_after"]) < 0.05
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert found["bytes"] < 0.3 * 4 * 431_080


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "net.pt"], "--out is 'net.pt'; expected a name that ends in .onnx for format onnx"),
        (["--out", "net.x", "--format", "caffe"], "--format is 'caffe'; expected onnx"),
        (["--out", "net.onnx", "--int8"], "--int8 and --calibration FOLDER go together"),
        (["--out", "n.pt", "--format", "torchscript", "--int8", "--calibration", "."], "expected --format onnx"),
    ],
)
def test_wrong_use(run_folder: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", str(run_folder), *arguments]) == 2
    assert words in capsys.readouterr().err


def test_files_that_are_no_export(run_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"\x08nothing")
    with pytest.raises(ConvatlasError, match="no ONNX file, or damaged"):
        inference.open_source(str(path))
    inference.export(inference.open_source(str(run_folder)), path)
    with pytest.raises(UsageError, match="which holds its weights"):
        inference.open_source(str(path), Path("other.pth"))
    with pytest.raises(UsageError, match="comes from an exported file"):
        inference.export(inference.open_source(str(path)), path)
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    with pytest.raises(ConvatlasError, match="carries no card"):
        inference.open_source(str(path))


@pytest.mark.data
@pytest.mark.slow
def test_int8_squeezenet_keeps_its_classes(data_root: Path, tmp_path: Path) -> None:
    source = inference.open_source("squeezenet_v1_1", data_root / "weights" / "squeezenet1_1_caffe_bgr.pth")
    path = tmp_path / "int8.onnx"
    inference.quantise(source, path, [data_root / "voc100" / "images"])
    with (data_root / "imagenet_classes.tsv").open() as file:
        index = {line.split("\t")[1]: line.split("\t")[0] for line in file}
    right = []
    for opened in (source, inference.open_source(str(path))):
        numbered = inference.Source(opened.net, opened.name, tuple(map(str, range(1000))), opened.preprocessing, None)
        predictions, _ = inference.predict(numbered, [data_root / "imagenet100"], top_k=1)
        right.append(sum(index[Path(p.path).name.split("_")[0]] == p.classes[0] for p in predictions))
    assert right[0] >= 60
    assert right[1] >= right[0] - 2


@pytest.mark.parametrize("name", ["segnet_basic", "segnet_camvid", "enet_640x360"])
def test_switches_are_exported_for_any_batch(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = registry.build(name, num_classes=3)
    with torch.no_grad():
        net.train()(torch.randn(2, 3, 64, 96))  # statistics that tell places apart
    source = inference.Source(net.eval(), name, ("a", "b", "c"), Preprocessing((64, 96)), run=None)
    found = inference.export(source, tmp_path / "net.onnx")
    assert found.classes_differ is not None
    assert found.classes_differ <= exporting.SWITCHED


def test_what_searches_for_regions_is_not_exported(tmp_path: Path) -> None:
    net = registry.build("sppnet_zf5", num_classes=2)
    source = inference.Source(net, "sppnet_zf5", ("a", "b"), Preprocessing((96, 128)), run=None)
    with pytest.raises(ConvatlasError, match="takes its regions from selective search, which no file can hold"):
        inference.export(source, tmp_path / "net.onnx")
