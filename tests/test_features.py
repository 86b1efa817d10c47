"""Features are what the layers give; probes, neighbours and files keep rows beside their images."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas import cli, inference, registry
from convatlas.errors import ConvatlasError, UsageError
from convatlas.inference.features import extract, features, nearest, pooled, probe, save_vectors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """train/ and val/ with bright and dark images of noise, and a damaged one."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 6), ("val", 3)):
        for kind, low in (("bright", 150), ("dark", 0)):
            place = tmp_path / "data" / part / kind
            place.mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(low, low + 100, (28, 28), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{index}.png")
    (tmp_path / "data" / "train" / "dark" / "broken.png").write_bytes(b"no image")
    return tmp_path / "data"


def test_named_layers_at_once_and_a_gradient_through_them() -> None:
    torch.manual_seed(0)
    net = registry.build("cifar_resnet20").eval()
    x = torch.randn(2, 3, 32, 32)
    found = features(net, ["stage1", "conv1"])(x)
    assert list(found) == ["stage1", "conv1"]
    assert torch.equal(found["conv1"], net.get_submodule("conv1")(x))
    assert found["stage1"].shape == (2, 16, 32, 32)
    found["stage1"].sum().backward()
    gradient = net.get_submodule("conv1").weight.grad
    assert gradient is not None
    assert gradient.any()
    assert not net.get_submodule("conv1")._forward_hooks


def test_unknown_and_silent_layers() -> None:
    net = registry.build("googlenet").eval()
    with pytest.raises(UsageError, match=r"layer inception_3x is not in .* did you mean inception_3"):
        features(net, ["inception_3x"])
    with pytest.raises(UsageError, match="no layer is named"):
        features(net, [])
    with pytest.raises(ConvatlasError, match="layer aux1 did not run"):
        features(net, ["aux1"])(torch.zeros(1, 3, 64, 64))


def test_pooling_by_hand() -> None:
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    assert pooled(maps, "mean").tolist() == [[3.0]]
    assert pooled(maps, "max").tolist() == [[6.0]]
    assert pooled(maps, "flatten").tolist() == [[1.0, 2.0, 3.0, 6.0]]
    assert pooled(maps[0, 0], "mean").tolist() == maps[0, 0].tolist()


def test_nearest_by_hand() -> None:
    rows = np.array([[1.0, 0.0], [3.0, 4.0], [0.0, 2.0], [0.0, 0.0]])
    found = nearest(rows, np.array([0.0, 1.0]), 3)
    assert [row for row, _ in found] == [2, 1, 0]
    assert [value for _, value in found] == pytest.approx([1.0, 0.8, 0.0])


@pytest.mark.parametrize("kind", ["svm", "logistic"])
def test_a_probe_learns_the_training_rows_only(kind: str) -> None:
    rows = np.array([[0.0], [0.1], [1.0], [1.1], [0.05], [0.0]])
    labels = ["a", "a", "b", "b", "a", "b"]  # the last test row is named against its place
    test = [False] * 4 + [True] * 2
    assert probe(rows, labels, test, kind) == 0.5  # pyright: ignore[reportArgumentType]


def test_rows_are_those_of_the_network_alone(run_folder: Path, folder: Path, tmp_path: Path) -> None:
    source = inference.open_source(str(run_folder))
    layers = [name for name, _ in source.net.named_children()][:2]
    vectors = extract(source, [folder], layers, batch_size=4)
    assert len(vectors.paths) == 18
    assert [Path(problem.path).name for problem in vectors.problems] == ["broken.png"]
    pixels = torch.from_numpy(np.array(Image.open(vectors.paths[7]))).float() / 256  # Caffe's scale
    with torch.no_grad():
        expected = source.net.get_submodule(layers[0])(pixels[None, None]).mean((2, 3))[0]
    np.testing.assert_allclose(vectors.layers[layers[0]][7], expected.numpy(), rtol=1e-4, atol=1e-6)

    save_vectors(vectors, tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz") as file:
        assert list(file["paths"]) == list(vectors.paths)
        np.testing.assert_array_equal(file[layers[1]], vectors.layers[layers[1]])
    parquet = pytest.importorskip("pyarrow.parquet")
    save_vectors(vectors, tmp_path / "f.parquet")
    table = parquet.read_table(tmp_path / "f.parquet")
    assert table["path"].to_pylist() == list(vectors.paths)
    np.testing.assert_array_equal(np.array(table[layers[0]].to_pylist()), vectors.layers[layers[0]])


def test_command(run_folder: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, sheet = folder / "val" / "dark" / "1.png", tmp_path / "sheet.png"
    arguments = ["features", str(run_folder), str(folder), "--layer", "conv1", "--probe", "svm", "--json"]
    assert cli.main([*arguments, "--nearest", str(image), "--sheet", str(sheet), "--count", "4"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["probe_accuracy"]["conv1"] == 1.0
    assert found["nearest"][0]["path"] == str(image)
    likeness = [entry["cosine"] for entry in found["nearest"]]
    assert likeness[0] == pytest.approx(1, abs=1e-5)
    assert likeness == sorted(likeness, reverse=True)
    assert len(likeness) == 4
    assert "broken.png" in captured.err
    with Image.open(sheet) as opened:
        assert opened.width > 500


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to do; expected --out FILE"),
        (["--out", "f.txt"], "--out is f.txt; expected a name that ends in .npz or .parquet"),
        (["--sheet", "s.png", "--out", "f.npz"], "--sheet s.png without --nearest"),
    ],
)
def test_wrong_use(run_folder: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["features", str(run_folder), "x.png", "--layer", "conv1", *arguments]) == 2
    assert words in capsys.readouterr().err
