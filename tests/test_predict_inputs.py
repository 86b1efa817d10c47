"""Every way in which people hold images: one or many, on disk or in memory; all give what the file gives."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import convatlas
from convatlas import registry
from convatlas.api.loaded import with_verbs
from convatlas.data import decode
from convatlas.errors import UsageError
from convatlas.inference.images import MemoryImage, collect_images, read_image
from convatlas.inference.trained import TrainedNetwork
from convatlas.records import Preprocessing

RGB = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]


@pytest.fixture(scope="module")
def net() -> convatlas.LoadedNetwork:
    """A small classifier of colour images with random weights."""
    torch.manual_seed(0)
    trained = TrainedNetwork(
        registry.build("cifar_resnet20", num_classes=4).eval(), "cifar_resnet20", ("a", "b", "c", "d"),
        Preprocessing((32, 32), 3, "short_side", 32), None,
    )  # fmt: skip
    return with_verbs(trained)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.fromarray(RGB).save(path)
    return path


def probabilities(net: convatlas.LoadedNetwork, *images: object) -> list[dict[str, float]]:
    found = net.predict(*images, top_k=4, engine="eager", progress=False)  # pyright: ignore[reportArgumentType]
    assert found.problems == ()
    return [{row["class"]: row["probability"] for row in found.rows() if row["image"] == item.path} for item in found]  # pyright: ignore


SINGLE = {
    "path": lambda file: file,
    "text": str,
    "bytes": lambda file: file.read_bytes(),
    "PIL": Image.open,
    "PIL in memory": lambda file: Image.fromarray(RGB),
    "array": lambda file: RGB,
    "read-only array": lambda file: np.broadcast_to(RGB, RGB.shape),
    "array of floats": lambda file: RGB / 255,
    "array in Fortran's order": lambda file: np.asfortranarray(RGB),
    "array read backwards": lambda file: RGB[::-1][::-1],
    "array with alpha": lambda file: np.dstack([RGB, np.full(RGB.shape[:2], 255, dtype=np.uint8)]),
    "batch of one": lambda file: RGB[None],
    "tensor": lambda file: torch.from_numpy(RGB).permute(2, 0, 1),
    "tensor of floats": lambda file: torch.from_numpy(RGB).permute(2, 0, 1) / 255,
    "tensor with gradient": lambda file: (torch.from_numpy(RGB).permute(2, 0, 1) / 255).requires_grad_(),
    "tensor batch": lambda file: torch.from_numpy(RGB).permute(2, 0, 1)[None],
    "list": lambda file: [file],
    "tuple": lambda file: (str(file),),
    "generator": lambda file: (path for path in [file]),
    "folder": lambda file: file.parent,
    "pattern": lambda file: str(file.parent / "*.png"),
    "array of names": lambda file: np.array([str(file)]),
}


@pytest.mark.parametrize("kind", SINGLE)
def test_one_image_however_it_comes(kind: str, net: convatlas.LoadedNetwork, file: Path) -> None:
    (expected,) = probabilities(net, file)
    (got,) = probabilities(net, SINGLE[kind](file))
    assert got == pytest.approx(expected, abs=1e-6)


def test_many_images_of_all_kinds_in_their_order(net: convatlas.LoadedNetwork, file: Path) -> None:
    darker = RGB // 2
    batch = np.stack([RGB, darker])
    (bright,), (dark,) = probabilities(net, RGB), probabilities(net, darker)
    assert bright != pytest.approx(dark, abs=1e-6)
    found = net.predict([file, darker], batch, Image.fromarray(darker), top_k=4, engine="eager", progress=False)
    assert [item.path for item in found] == [str(file), "images[1]", "images[2][0]", "images[2][1]", "images[3]"]
    tops = [item.probabilities for item in found if not isinstance(item, str)]  # pyright: ignore
    for place, expected in enumerate((bright, dark, bright, dark, dark)):
        assert sorted(tops[place]) == pytest.approx(sorted(expected.values()), abs=1e-6)


def test_a_file_named_twice_comes_once_and_an_array_twice(file: Path) -> None:
    readable, problems = collect_images([file, str(file), RGB, RGB])
    assert [str(image) for image in readable] == [str(file), "images[2]", "images[3]"]
    assert problems == []


def test_grey_images(net: convatlas.LoadedNetwork, tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    Image.fromarray(GREY).save(path)
    (expected,) = probabilities(net, path)
    for image in (GREY, GREY[:, :, None], torch.from_numpy(GREY), torch.from_numpy(GREY)[None], Image.fromarray(GREY)):
        (got,) = probabilities(net, image)
        assert got == pytest.approx(expected, abs=1e-6)


REFUSED = {
    "channels first": (RGB.transpose(2, 0, 1), r"channels come first; pass x.transpose\(1, 2, 0\)"),
    "batch with channels first": (RGB.transpose(2, 0, 1)[None], r"channels come first; pass x.transpose\(0, 2, 3, 1\)"),
    "tensor with channels last": (torch.from_numpy(RGB), r"channels come last; pass x.permute\(2, 0, 1\)"),
    "tensor batch with channels last": (torch.from_numpy(RGB)[None], r"come last; pass x.permute\(0, 3, 1, 2\)"),
    "either": (np.zeros((3, 20, 3), dtype=np.uint8), "may be the first axis or the last"),
    "either, a tensor": (torch.zeros(1, 20, 3, dtype=torch.uint8), "may be the first axis or the last"),
    "many grey images": (np.zeros((5, 20, 30), dtype=np.uint8), r"many grey images are x\[..., None\]"),
    "many grey tensors": (torch.zeros(5, 20, 30, dtype=torch.uint8), r"many grey images are x\[:, None\]"),
    "normalised": (RGB / 127.5 - 1, "floats from -1 to 1; expected 0 to 1 before any normalisation"),
    "floats to 255": (RGB.astype(np.float32), "floats from 0 to 255"),
    "not a number": (np.full((20, 20), np.nan), "floats from nan"),
    "wide integers": (RGB.astype(np.int64), "int64 from 0 to 255; expected uint8"),
    "yes and no": (RGB > 3, "an array of bool"),
    "complex": (RGB.astype(np.complex64), "an array of complex64"),
    "one axis": (np.zeros(20, dtype=np.uint8), r"shape \(20,\)"),
    "five axes": (torch.zeros(1, 1, 3, 4, 4), "shape"),
    "nothing": (np.zeros((0, 20, 3), dtype=np.uint8), "which is empty"),
    "five channels": (np.zeros((20, 20, 5), dtype=np.uint8), "1, 3 or 4 channels"),
    "a number": (3, "an entry of type int"),
    "none": (None, "an entry of type NoneType"),
    "numbers": ([1, 2], "an entry of type int"),
    "a table": ({"a": 1}, "an entry of type dict"),
    "an empty name": ("", "an empty path"),
    "floating PIL": (Image.new("F", (4, 4)), "floating-point"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused(kind: str, net: convatlas.LoadedNetwork) -> None:
    image, words = REFUSED[kind]
    with pytest.raises(UsageError, match=words):
        net.predict(image, progress=False)  # pyright: ignore[reportArgumentType]


def test_no_image_at_all(net: convatlas.LoadedNetwork) -> None:
    with pytest.raises(UsageError, match="images is empty"):
        net.predict()
    assert len(net.predict([], progress=False)) == 0


def saved(image: Image.Image, suffix: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, suffix, **options)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(Image.fromarray(RGB), "JPEG", exif=exif, quality=95)


PIL_MODES = {
    "palette": lambda: saved(Image.fromarray(RGB).quantize(16)),
    "palette with transparency": lambda: saved(Image.fromarray(RGB).quantize(16), transparency=3),
    "transparent": lambda: saved(Image.fromarray(np.dstack([RGB, GREY]))),
    "grey with transparency": lambda: saved(Image.fromarray(np.dstack([GREY, GREY]))),
    "black and white": lambda: saved(Image.fromarray(GREY).convert("1")),
    "16 bits": lambda: saved(Image.fromarray(GREY.astype(np.uint16) * 257)),
    "CMYK": lambda: saved(Image.fromarray(RGB).convert("CMYK"), "TIFF"),
    "turned by EXIF": turned,
    "animation": lambda: saved(
        Image.fromarray(GREY), "GIF", save_all=True, append_images=[Image.fromarray(255 - GREY)]
    ),
}


@pytest.mark.parametrize("mode", PIL_MODES)
def test_a_pil_image_is_what_its_file_is(mode: str) -> None:
    content = PIL_MODES[mode]()
    expected = decode(content)
    (image,), problems = collect_images(Image.open(io.BytesIO(content)))
    assert problems == []
    got = read_image(image)
    assert got.shape == expected.shape
    assert (got.int() - expected.int()).abs().max() <= 1


def test_damage_is_named_and_the_rest_goes_on(net: convatlas.LoadedNetwork, file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    found = net.predict(
        tmp_path / "cut.png", whole[:100], Image.open(io.BytesIO(whole[: len(whole) // 2])), "nowhere.png", RGB,
        progress=False,
    )  # fmt: skip
    assert [item.path for item in found] == ["images[4]"]
    assert {problem.path for problem in found.problems} == {
        str(tmp_path / "cut.png"), "images[1]", "images[2]", "nowhere.png"
    }  # fmt: skip
    assert "nowhere.png" in found._repr_html_()


def test_results_are_tables(net: convatlas.LoadedNetwork) -> None:
    pandas = pytest.importorskip("pandas")
    found = net.predict([RGB, RGB], top_k=2, progress=False)
    frame = found.to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == ["image", "rank", "class", "probability"]
    assert len(frame) == 4
    assert found._repr_html_().count("<tr>") == 5
    assert repr(found).startswith("Predictions (2)")


def test_options_of_other_tasks(net: convatlas.LoadedNetwork) -> None:
    with pytest.raises(UsageError, match="crf is not for classification"):
        net.predict(RGB, crf=True)
    with pytest.raises(UsageError, match=r"is for classification, not detection; expected classify\(\)"):
        net.detect(RGB)
    with pytest.raises(UsageError, match="device meta is not usable"):
        net.predict(RGB, device="meta")
    with pytest.raises(UsageError, match="did you mean top_k"):
        net.predict(RGB, topk=3)  # pyright: ignore[reportCallIssue]


TASKS = {
    "fcn8s_squeezenet": (Preprocessing((64, 64), 3), ["image", "class", "share"]),
    "ssd300_squeezenet": (
        Preprocessing((300, 300), 3, "stretch", 300),
        ["image", "class", "score", "x1", "y1", "x2", "y2"],
    ),
    "stacked_hourglass_1": (Preprocessing((64, 64), 3), ["image", "joint", "x", "y", "score"]),
}


@pytest.mark.parametrize("name", TASKS)
def test_other_tasks_take_the_same_images(name: str, file: Path) -> None:
    torch.manual_seed(0)
    preprocessing, columns = TASKS[name]
    pose = registry.card(name).task == "pose"
    classes = tuple(f"joint {number}" for number in range(16)) if pose else ("a", "b")
    built = registry.build(name, num_classes=len(classes)).eval()
    net = with_verbs(TrainedNetwork(built, name, classes, preprocessing, None))
    options = {"least_score": 0.0} if net.task == "detection" else {}
    found = net.predict(file, RGB, Image.fromarray(RGB), torch.from_numpy(RGB).permute(2, 0, 1)[None], **options)  # pyright: ignore
    assert len(found) == 4
    rows = [[{**row, "image": ""} for row in found.rows() if row["image"] == item.path] for item in found]
    assert rows[0] == rows[1] == rows[2] == rows[3]
    assert list(rows[0][0]) == columns
    assert found._repr_html_().count("<img") == 4
    assert isinstance(found[0].image, torch.Tensor)  # pyright: ignore


def test_memory_images_have_names() -> None:
    image = MemoryImage("images[0]", torch.zeros(1, 2, 2, dtype=torch.uint8))
    assert str(image) == "images[0]"
    assert read_image(image) is image.pixels
