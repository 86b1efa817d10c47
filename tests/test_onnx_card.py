"""An exported file tells other programs all that they need: one of them runs here, without torch and this package."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas import inference, registry
from convatlas.data import decode, normalise, prepare
from convatlas.data.preprocess import pack_mean_image
from convatlas.errors import ConvatlasError
from convatlas.evaluation.pose import decode as decode_maps
from convatlas.inference import TrainedNetwork
from convatlas.inference.programs import program_of
from convatlas.records import Preprocessing, Task

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, *rest):
        if name.split(".")[0] in ("torch", "torchvision", "convatlas"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocker())
import runpy, json, numpy
found = runpy.run_path(sys.argv[1])["predict"](*sys.argv[2:4])
mask = isinstance(found[0], numpy.ndarray)
print(json.dumps({"mask": found[0].tolist(), "names": found[1]} if mask else found))
"""


def trained(name: str, classes: tuple[str, ...], preprocessing: Preprocessing, **options: object) -> TrainedNetwork:
    torch.manual_seed(0)
    channels = preprocessing.channels
    net = registry.build(name, num_classes=len(classes), in_channels=channels).eval()
    return TrainedNetwork(net, name, classes, preprocessing, None, **options)  # pyright: ignore[reportArgumentType]


def photograph(folder: Path, size: tuple[int, int] = (150, 101)) -> Path:
    """Smooth colours with edges, as a JPEG."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    image = np.stack([x, y, np.sin(9 * x * y) / 2 + 0.5], axis=2) * 200 + 55 * ((x > 0.4) & (y > 0.6))[..., None]
    path = folder / "photograph.jpg"
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path, quality=92)
    return path


def run_alone(program: Path, model: Path, image: Path) -> object:
    command = [sys.executable, "-W", "error", "-c", BLOCKED, str(program), str(model), str(image)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=program.parent, env={})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


CLASSIFIERS = {
    "short side, bgr": ("cifar_resnet20", Preprocessing((32, 32), 3, "short_side", 40, channel_order="bgr"), False),
    "fit": ("cifar_resnet20", Preprocessing((32, 32), 3, "fit", 30), False),
    "stretch, pixels inside": ("cifar_resnet20", Preprocessing((32, 32), 3, "stretch", 32, channel_order="bgr"), True),
    "native": ("cifar_resnet20", Preprocessing((32, 32), 3, "none"), False),
    "grey": ("lenet5", Preprocessing((32, 32), 1, "fit", 28, (0.1,), (0.8,)), False),
    "grey, pixels inside": ("lenet5", Preprocessing((32, 32), 1, "fit", 28, (0.1,), (0.8,)), True),
    "mean image": ("cifar_resnet20", Preprocessing((32, 32), 3, "short_side", 32, channel_order="bgr"), False),
    "mean image, pixels inside": ("cifar_resnet20", Preprocessing((32, 32), 3, "short_side", 32), True),
}


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_classes_by_another_program(kind: str, tmp_path: Path) -> None:
    name, preprocessing, pixels = CLASSIFIERS[kind]
    if "mean image" in kind:
        mean = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1))
        preprocessing = replace(preprocessing, mean_image=pack_mean_image(mean))
    source = trained(name, ("a", "b", "c"), preprocessing)
    exported = inference.export(source, tmp_path / "net.onnx", pixels=pixels)
    assert exported.program == tmp_path / "net_predict.py"
    image = photograph(tmp_path)
    with torch.inference_mode():
        ready = normalise(prepare(decode(image), preprocessing)[None], preprocessing)
        expected = source.net(ready).softmax(1)[0].tolist()
    found = run_alone(exported.program, exported.path, image)
    assert isinstance(found, list)
    assert dict(found) == pytest.approx(dict(zip("abc", expected, strict=True)), abs=2e-3)
    opened = inference.open_source(str(exported.path))
    (prediction,), _ = inference.predict(opened, [image], engine="onnxruntime")
    assert prediction.classes[0] == found[0][0]
    assert prediction.probabilities[0] == pytest.approx(found[0][1], abs=2e-3)


@pytest.mark.parametrize(("name", "side"), [("fcn8s_squeezenet", 64), ("unet", 300)])
def test_masks_by_another_program(name: str, side: int, tmp_path: Path) -> None:
    channels = registry.card(name).input_shape[0]
    statistics = {} if channels == 3 else {"mean": (0.5,), "std": (0.5,)}
    source = trained(name, ("a", "b", "c"), Preprocessing((side, side), channels, **statistics))
    exported = inference.export(source, tmp_path / "net.onnx")
    image = photograph(tmp_path)
    assert exported.program is not None
    found = run_alone(exported.program, exported.path, image)
    assert isinstance(found, dict)
    mask = np.array(found["mask"])
    assert mask.shape == (101, 150)
    margin = 92 if name == "unet" else 0
    inner = Preprocessing((side - 2 * margin,) * 2, channels, "stretch", side - 2 * margin, **statistics)
    ready = normalise(prepare(decode(image), inner)[None], inner)
    ready = torch.nn.functional.pad(ready, (margin,) * 4, mode="reflect") if margin else ready
    with torch.inference_mode():
        logits = torch.nn.functional.interpolate(source.net(ready), (101, 150), mode="bilinear")
    assert (mask != logits[0].argmax(0).numpy()).mean() < 0.02
    opened = inference.open_source(str(exported.path))
    (prediction,) = inference.segment(opened, [image])
    assert prediction.mask.shape == (101, 150)  # pyright: ignore[reportAttributeAccessIssue]


def test_boxes_by_another_program(tmp_path: Path) -> None:
    source = trained("ssd300_squeezenet", ("a", "b", "c"), Preprocessing((300, 300), 3, "stretch", 300))
    for layer in source.net.modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.out_channels % 4 == 0:
            torch.nn.init.normal_(layer.get_parameter("bias"), std=0.4)
    exported = inference.export(source, tmp_path / "net.onnx", thresholds={"score_above": 0.3})
    image = photograph(tmp_path)
    (expected,) = inference.detect(inference.open_source(str(exported.path)), [image], least_score=0.5)
    assert exported.program is not None
    found = run_alone(exported.program, exported.path, image)
    assert isinstance(found, list)
    boxes = expected.found  # pyright: ignore[reportAttributeAccessIssue]
    assert len(found) == len(boxes.labels) > 0
    for (label, score, box), k, s, b in zip(found, boxes.labels, boxes.scores, boxes.boxes, strict=True):
        assert (label, score) == ("abc"[int(k)], pytest.approx(float(s), abs=5e-3))
        assert box == pytest.approx(b.tolist(), abs=1.0)


def test_joints_by_another_program(tmp_path: Path) -> None:
    names = tuple(f"joint {number}" for number in range(16))
    source = trained("stacked_hourglass_1", names, Preprocessing((64, 64), 3))
    exported = inference.export(source, tmp_path / "net.onnx")
    image = photograph(tmp_path, (64, 48))  # in the input's own scale, so that no resampling blurs the comparison
    assert exported.program is not None
    found = run_alone(exported.program, exported.path, image)
    assert isinstance(found, list)
    ready = normalise(prepare(decode(image), Preprocessing((64, 64), 3))[None], source.preprocessing)
    with torch.inference_mode():
        maps = source.net(ready)
    joints, scores = decode_maps(maps)
    for (name, x, y, score), (x0, y0), score0 in zip(found, joints[0].tolist(), scores[0].tolist(), strict=True):
        assert name in names
        assert score == pytest.approx(score0, abs=1e-4)
        assert (x, y + 8) == (pytest.approx(x0, abs=1.01), pytest.approx(y0, abs=1.01))  # a quarter of 4 pixels


def test_the_card_is_complete(tmp_path: Path) -> None:
    source = trained("cifar_resnet20", ("a", "b"), Preprocessing((32, 32), 3, "short_side", 36, channel_order="bgr"))
    inference.export(source, tmp_path / "net.onnx", licence="CC0-1.0")
    entries = {entry.key: entry.value for entry in onnx.load(tmp_path / "net.onnx").metadata_props}
    card = json.loads(entries["convatlas"])
    assert (card["classes"], card["licence"]) == (["a", "b"], "CC0-1.0")
    told = card["interface"]
    assert told["task"] == "classification"
    shown = {key: told["input"][key] for key in ("name", "layout", "dtype", "shape", "channel_order", "value_range")}
    assert shown == {
        "name": "input", "layout": "NCHW", "dtype": "float32", "shape": ["any", 3, 32, 32], "channel_order": "bgr",
        "value_range": [0, 255],
    }  # fmt: skip
    assert told["input"]["scale"] == pytest.approx([1 / (255 * std) for std in (0.225, 0.224, 0.229)], rel=1e-5)
    assert told["input"]["offset"] == pytest.approx([-0.406 / 0.225, -0.456 / 0.224, -0.485 / 0.229], rel=1e-5)
    geometry = told["geometry"]
    assert (geometry["resize"], geometry["resize_to"], geometry["size"]) == ("short_side", 36, [32, 32])
    assert (geometry["interpolation"], geometry["antialias"]) == ("bilinear", True)
    assert "not probabilities" in told["outputs"]["logits"]


@pytest.mark.parametrize("task", Task.__args__)
def test_programs_are_short_and_import_three_packages(task: Task) -> None:
    text = program_of(task)
    compile(text, f"{task}.py", "exec")
    assert len(text.splitlines()) < 80
    words = {line.split()[1] for line in text.splitlines() if line.startswith(("import ", "from "))}
    assert words <= {"base64", "json", "zlib", "numpy", "onnxruntime", "PIL"}


def test_nobodys_program_is_lost(tmp_path: Path) -> None:
    (tmp_path / "net_predict.py").write_text("print('mine')\n")
    source = trained("cifar_resnet20", ("a", "b"), Preprocessing((32, 32), 3))
    with pytest.raises(ConvatlasError, match="is not the program of an export"):
        inference.export(source, tmp_path / "net.onnx")
    assert (tmp_path / "net_predict.py").read_text() == "print('mine')\n"
    assert not (tmp_path / "net.onnx").exists()


def test_a_failing_exporter_says_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = trained("faster_rcnn_squeezenet", ("a", "b"), Preprocessing((128, 160), 3, "short_side", 128))
    with pytest.raises(ConvatlasError, match="no ONNX model can be made"):
        inference.export(source, tmp_path / "net.onnx")
    assert capfd.readouterr() == ("", "")
