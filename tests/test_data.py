"""What `--data` accepts, and the one sentence that it says otherwise."""

from pathlib import Path

import numpy as np
import pytest
import torch

from convatlas.data import load
from convatlas.data.division import stratified
from convatlas.errors import ConvatlasError, UsageError

LABELS = np.arange(20) % 2


def save(path: Path, **arrays: object) -> str:
    np.savez(path, **{name: np.asarray(value) for name, value in arrays.items()})
    return str(path)


def grey(n: int = 20) -> np.ndarray:
    return (np.arange(n * 16) % 251).astype(np.uint8).reshape(n, 4, 4)


def test_digits_hold_out_the_same_fifth_for_every_seed() -> None:
    first, second = load("digits", seed=1), load("digits", seed=2)
    assert (len(first.train), len(first.test)) == (1438, 359)
    assert first.classes == tuple("0123456789")
    assert torch.equal(first.test.labels, second.test.labels)
    assert torch.equal(first.test.read(7), second.test.read(7))
    assert first.train.read(0).shape == (1, 8, 8)
    assert first.train.read(0).dtype == torch.uint8
    assert max(int(first.train.read(i).max()) for i in range(20)) == 255  # grey level 16


def test_stratified_holds_out_the_fraction_of_each_class() -> None:
    labels = torch.tensor([0] * 10 + [1] * 5 + [2] * 2 + [3])
    held_out = stratified(labels, 0.2, seed=0)
    assert torch.bincount(labels[held_out], minlength=4).tolist() == [2, 1, 1, 0]
    assert torch.equal(held_out, stratified(labels, 0.2, seed=0))
    assert not torch.equal(held_out, stratified(labels, 0.2, seed=1))


@pytest.mark.parametrize("shape", [(20, 4, 4), (20, 4, 4, 1), (20, 1, 4, 4)])
def test_npz_layouts_of_grey_images_agree(tmp_path: Path, shape: tuple[int, ...]) -> None:
    data = load(save(tmp_path / "x.npz", images=grey().reshape(shape), labels=LABELS))
    assert (data.name, len(data.train), len(data.test), data.classes) == ("x", 16, 4, ("0", "1"))
    assert data.train.read(0).shape == (1, 4, 4)


def test_npz_channels_last_becomes_channels_first(tmp_path: Path) -> None:
    images = np.zeros((20, 4, 4, 3), np.uint8)
    images[..., 2] = 9
    data = load(save(tmp_path / "x.npz", images=images, labels=LABELS))
    assert data.train.read(0)[:, 0, 0].tolist() == [0, 0, 9]


@pytest.mark.parametrize("suffix", ["_test", "_val"])
def test_npz_finds_its_partner_by_file_and_by_prefix(tmp_path: Path, suffix: str) -> None:
    train = save(tmp_path / "x_train.npz", images=grey(), labels=LABELS)
    save(tmp_path / f"x{suffix}.npz", images=grey(6), labels=LABELS[:6])
    for spec in (train, str(tmp_path / "x")):
        data = load(spec)
        assert (data.name, len(data.train), len(data.test)) == ("x", 20, 6)


def test_named_data_is_taken_from_npz_in_root(tmp_path: Path) -> None:
    save(tmp_path / "fashion-mnist_train.npz", images=grey(), labels=LABELS)
    save(tmp_path / "fashion-mnist_test.npz", images=grey(), labels=LABELS)
    data = load("fashion-mnist", root=tmp_path)
    assert data.name == "fashion-mnist"
    assert data.classes[9] == "ankle boot"


def test_explicit_test_part_is_matched_by_class_name(tmp_path: Path) -> None:
    train = save(tmp_path / "a.npz", images=grey(), labels=LABELS, classes=["cat", "dog"])
    other = save(tmp_path / "b.npz", images=grey(3), labels=[0, 0, 1], classes=["dog", "cat"])
    data = load(train, test=other)
    assert len(data.train) == 20
    assert data.test.labels.tolist() == [1, 1, 0]
    with pytest.raises(ConvatlasError, match="'bird'"):
        load(train, test=save(tmp_path / "c.npz", images=grey(1), labels=[0], classes=["bird"]))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": grey()}, "expected `images` and `labels`"),
        ({"labels": LABELS}, "expected `images` and `labels`"),
        ({"images": grey(), "labels": LABELS[:19]}, "20 images and 19 labels"),
        ({"images": grey(), "labels": LABELS - 1}, "label -1 of image 0"),
        ({"images": grey(), "labels": LABELS, "classes": ["only"]}, "label 1 of image 1 .* expected 0 to 0"),
        ({"images": grey(), "labels": LABELS * 0.5}, "expected integers"),
        ({"images": grey(), "labels": LABELS * 0}, "fewer than two classes"),
        ({"images": grey() / 255, "labels": LABELS}, "expected uint8"),
        ({"images": grey().reshape(20, 2, 8, 1, 1), "labels": LABELS}, "has shape"),
        ({"images": grey()[:0], "labels": LABELS[:0]}, "holds no images"),
        ({"images": np.array([None] * 20), "labels": LABELS}, "plain arrays"),
        ({"jpeg": np.zeros(9, np.uint8), "offsets": [0, 12], "labels": [0]}, "do not ascend"),
        ({"jpeg": np.zeros(9, np.uint8), "offsets": [0, 6, 4], "labels": [0, 1]}, "do not ascend"),
    ],
)
def test_npz_with_wrong_contents_is_refused_in_one_sentence(tmp_path: Path, arrays: dict, message: str) -> None:
    with pytest.raises(ConvatlasError, match=message) as refusal:
        load(save(tmp_path / "x.npz", **arrays))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("keep", [0, 10, 200, 600])
def test_truncated_npz_is_refused(tmp_path: Path, keep: int) -> None:
    path = Path(save(tmp_path / "x.npz", images=grey(), labels=LABELS))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ConvatlasError, match=r"is not a whole \.npz file"):
        load(str(path))


def test_npz_with_a_damaged_array_is_refused(tmp_path: Path) -> None:
    path = Path(save(tmp_path / "x.npz", images=grey(), labels=LABELS))
    content = bytearray(path.read_bytes())
    content[300] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ConvatlasError, match=r"is not a whole \.npz file"):
        load(str(path))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("minst", "unknown data 'minst'; did you mean mnist"),
        ("qqqqq", "or one of digits, mnist, fashion-mnist, cifar10"),
        ("no/such/folder", "'no/such/folder' does not exist"),
        ("absent.npz", "'absent.npz' does not exist"),
    ],
)
def test_unknown_data_is_a_usage_error(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(spec)


def test_arguments_out_of_range_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"test_fraction is 1\.5"):
        load("digits", test_fraction=1.5)
    with pytest.raises(UsageError, match="seed is -1"):
        load("digits", seed=-1)
    (tmp_path / "notes.txt").write_text("no data")
    with pytest.raises(UsageError, match=r"notes.txt' is a file"):
        load(str(tmp_path / "notes.txt"))


def test_named_data_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="data_root=FOLDER, or fetch it with download=True"):
        load("mnist", root=tmp_path)


def test_mnist_is_read_from_torchvision_files(tmp_path: Path) -> None:
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    images = np.arange(3 * 28 * 28, dtype=np.int64).reshape(3, 28, 28).astype(np.uint8)
    for part in ("train", "t10k"):
        sizes = np.array([3, 28, 28], ">i4").tobytes()
        (folder / f"{part}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + sizes + images.tobytes())
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + sizes[:4] + bytes([7, 1, 2]))
    data = load("mnist", root=tmp_path)
    assert data.train.labels.tolist() == [7, 1, 2]
    assert np.array_equal(data.test.read(1)[0].numpy(), images[1])
    (folder / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03")
    with pytest.raises(ConvatlasError, match="can't be read from"):
        load("mnist", root=tmp_path)


def test_cifar10_and_a_failing_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    class InPlace:
        def __init__(self, root: str, *, train: bool, download: bool) -> None:
            if download:
                raise OSError("no route to host")
            self.data = np.zeros((2, 32, 32, 3), np.uint8)
            self.data[..., 1] = 5
            self.targets = [3, 9]

    monkeypatch.setattr(datasets, "CIFAR10", InPlace)
    data = load("cifar10", root=tmp_path)
    assert data.test.labels.tolist() == [3, 9]
    assert data.train.read(0)[:, 0, 0].tolist() == [0, 5, 0]
    with pytest.raises(ConvatlasError, match=r"'cifar10' can't be fetched into .*: no route to host"):
        load("cifar10", root=tmp_path, download=True)


@pytest.mark.data
def test_mnist_arrays(data_root: Path) -> None:
    by_name, by_prefix = load("mnist", root=data_root), load(str(data_root / "mnist"))
    assert (len(by_name.train), len(by_name.test)) == (60_000, 10_000)
    assert torch.equal(by_name.train.labels, by_prefix.train.labels)
    # the class counts of the published training set
    assert by_name.train.labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


@pytest.mark.data
def test_packed_cifar_jpegs(data_root: Path) -> None:
    data = load(str(data_root / "cifar10_jpeg_train.npz"))
    assert (len(data.train), len(data.test)) == (50_000, 10_000)
    assert data.classes[:2] == ("airplane", "automobile")
    assert data.test.labels.bincount().tolist() == [1000] * 10
    assert data.train.read(49_999).shape == (3, 32, 32)


@pytest.mark.data
def test_photo_folder_with_train_and_val(data_root: Path) -> None:
    data = load(str(data_root / "ants_bees"))
    assert data.classes == ("ants", "bees")
    assert (len(data.train), len(data.test)) == (243, 153)
