"""Weights: what is read is what was saved, foreign layouts compute the same, and bad files say why."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas import registry, weights
from convatlas.errors import ConvatlasError, UsageError
from convatlas.records import Preprocessing
from convatlas.weights.layouts import cifar_resnet, translate

CLASSES = [f"class {index}" for index in range(4)]
CARD = weights.make_card(
    "cifar_resnet20",
    num_classes=4,
    in_channels=1,
    classes=CLASSES,
    preprocessing=Preprocessing(size=(32, 32), channels=1, mean=(0.5,), std=(0.25,)),
)


def small() -> nn.Module:
    return registry.build("cifar_resnet20", num_classes=4, in_channels=1)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "weights.safetensors"
    weights.save(path, small(), CARD)
    return path


def with_card(path: Path, card: Any) -> Path:
    text = card if isinstance(card, str) else json.dumps(card)
    safetensors.torch.save_file(small().state_dict(), path, {"convatlas": text})
    return path


# Ours


def test_round_trip_takes_the_numbers_from_the_card(saved: Path) -> None:
    tensors, card = weights.read(saved)
    assert card == weights.read_card(saved) == CARD
    net = weights.create("cifar_resnet20", weights=saved)
    assert net.state_dict().keys() == tensors.keys()
    assert all(torch.equal(value, tensors[name]) for name, value in net.state_dict().items())
    assert net(torch.zeros(1, 1, 32, 32)).shape == (1, 4)


def test_preprocessing_survives(saved: Path) -> None:
    card = weights.read_card(saved)
    assert card is not None
    assert weights.preprocessing_of(card) == Preprocessing(size=(32, 32), channels=1, mean=(0.5,), std=(0.25,))
    assert weights.preprocessing_of({**card, "preprocessing": None}) is None


def test_saving_replaces_and_leaves_nothing_else(saved: Path) -> None:
    net = small()
    weights.save(saved, net, CARD)
    assert torch.equal(weights.read(saved)[0]["fc.weight"], net.get_parameter("fc.weight"))
    assert os.listdir(saved.parent) == [saved.name]


def test_failed_save_keeps_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConvatlasError, match="No space left on device"):
        weights.save(saved, small(), CARD)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_save_refuses_other_endings_folders_and_cards(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.safetensors"):
        weights.save(tmp_path / "weights.pth", small(), CARD)
    with pytest.raises(ConvatlasError, match="No such file"):
        weights.save(tmp_path / "absent" / "weights.safetensors", small(), CARD)
    with pytest.raises(ConvatlasError, match="num_classes None"):
        weights.save(tmp_path / "w.safetensors", small(), {**CARD, "num_classes": None})
    assert os.listdir(tmp_path) == []


def test_create_without_weights_is_the_published_network() -> None:
    net = weights.create("cifar_resnet20")
    assert net(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_weights_of_another_network_are_refused(saved: Path) -> None:
    with pytest.raises(UsageError, match="are of cifar_resnet20; expected weights of cifar_resnet32"):
        weights.create("cifar_resnet32", weights=saved)


# Files that do not fit


def test_misfit_lists_names_and_shapes(tmp_path: Path) -> None:
    tensors = small().state_dict()
    del tensors["bn1.bias"]
    tensors["extra.weight"] = torch.zeros(2, 5)
    tensors["fc.weight"] = torch.zeros(9, 64)
    net = small()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ConvatlasError) as caught:
        weights.load_into(net, tensors)
    message = str(caught.value)
    assert "1 missing: bn1.bias (16,)" in message
    assert "1 left over: extra.weight (2, 5)" in message
    assert "1 misshapen: fc.weight is (9, 64), expected (4, 64)" in message
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_misfit_lists_a_dozen(tmp_path: Path) -> None:
    with pytest.raises(ConvatlasError) as caught:
        weights.load_into(small(), {"only": torch.zeros(1)})
    message = str(caught.value)
    counters = sum(name.endswith("num_batches_tracked") for name in small().state_dict())
    count = len(small().state_dict()) - counters
    assert f"{count} missing:" in message
    assert f"and {count - 12} more" in message
    assert message.endswith("1 left over: only (1,)")
    assert "\n" not in message


def test_given_number_of_classes_must_fit(saved: Path) -> None:
    with pytest.raises(ConvatlasError, match=r"fc\.weight is \(4, 64\), expected \(5, 64\)"):
        weights.create("cifar_resnet20", num_classes=5, weights=saved)


def test_counters_may_be_absent_but_nothing_else() -> None:
    tensors = {name: value for name, value in small().state_dict().items() if "num_batches" not in name}
    assert weights.load_into(small(), tensors) is None


# Files that are bad


def test_missing_file_folder_and_unknown_ending(tmp_path: Path) -> None:
    (tmp_path / "weights.docx").write_text("hello")
    for path, reason in (("none.pth", "no such file"), ("", "is a folder"), ("weights.docx", "unknown ending")):
        with pytest.raises(UsageError, match=reason):
            weights.read(tmp_path / path)
    with pytest.raises(UsageError, match="no such file"):
        weights.read_card(tmp_path / "none.safetensors")


@pytest.mark.parametrize("kept", [0, 5, 100, 0.5, -1])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_cut_off_file(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(small().state_dict(), path)
    else:
        weights.save(path, small(), CARD)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept) if 0 < kept < 1 else int(kept)])
    with pytest.raises(ConvatlasError, match="can't be read"):
        weights.create("cifar_resnet20", weights=path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".th", ".tar"])
def test_text_is_no_weights_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_text("this is a text, not a file of weights\n" * 10)
    with pytest.raises(ConvatlasError, match="can't be read"):
        weights.read(path)


class Hostile:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.victim),)


@pytest.mark.parametrize("protocol", [None, 2, 4])
def test_hostile_pickle_is_not_executed(tmp_path: Path, protocol: int | None) -> None:
    path, victim = tmp_path / "weights.pth", tmp_path / "executed"
    content = {"state_dict": Hostile(victim)}
    if protocol is None:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(ConvatlasError, match=r"Python objects \(\w+\.mkdir\)"):
        weights.read(path)
    assert not victim.exists()
    pickle.loads(pickle.dumps(content))
    assert victim.exists(), "the file was not hostile, so the test proved nothing"


@pytest.mark.parametrize("content", [[], {"epoch": 3}, {"state_dict": {"a": 1}}, torch.zeros(3)])
def test_pickle_without_named_tensors(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(ConvatlasError, match="no named tensors"):
        weights.read(tmp_path / "weights.pt")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "format 2"),
        ({"network": None}, "network None"),
        ({"num_classes": 0}, "num_classes 0"),
        ({"in_channels": "3"}, "in_channels '3'"),
        ({"classes": ["one"]}, "names 1 classes for num_classes 4"),
        ({"classes": "abcd"}, "no list of names"),
    ],
)
def test_bad_card(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    path = with_card(tmp_path / "weights.safetensors", {**CARD, **change})
    with pytest.raises(ConvatlasError, match=reason):
        weights.read_card(path)


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000])
def test_card_that_is_no_json_object(tmp_path: Path, text: str) -> None:
    path = with_card(tmp_path / "weights.safetensors", text)
    with pytest.raises(ConvatlasError, match="the card of"):
        weights.read(path)


def test_card_cannot_ask_for_a_huge_network(tmp_path: Path) -> None:
    path = with_card(tmp_path / "weights.safetensors", {**CARD, "num_classes": 10**12, "classes": None})
    with pytest.raises(ConvatlasError, match="num_classes 1000000000000; expected a whole number from 1 to 100,000"):
        weights.create("cifar_resnet20", weights=path)
    path = with_card(tmp_path / "weights.safetensors", {**CARD, "num_classes": 99_999, "classes": None})
    with pytest.raises(ConvatlasError, match=r"fc\.bias is \(4,\), expected \(99999,\)"):
        weights.create("cifar_resnet20", weights=path)


def test_card_with_unknown_preprocessing() -> None:
    with pytest.raises(ConvatlasError, match="warp"):
        weights.preprocessing_of({"preprocessing": {"size": [32, 32], "warp": True}})


# Foreign layouts


@pytest.mark.parametrize(
    ("theirs", "ours", "prefix", "key"),
    [
        ("resnet18", "resnet18", "", None),
        ("resnet34", "resnet34", "module.", "state_dict"),
        ("resnet50", "resnet50_stride3x3", "", "model"),
        ("alexnet", "alexnet_owt", "", None),
    ],
)
def test_torchvision_files(tmp_path: Path, theirs: str, ours: str, prefix: str, key: str | None) -> None:
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    reference = models.get_model(theirs, num_classes=5).eval()
    state = {f"{prefix}{name}": value for name, value in reference.state_dict().items()}
    path = tmp_path / "theirs.pth"
    torch.save({key: state, "epoch": 90} if key else state, path)
    card = weights.read_card(path)
    assert card is not None
    assert (card["network"], card["num_classes"], card["in_channels"]) == (ours, 5, 3)
    net = weights.create(ours, weights=path).eval()
    x = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(net(x), reference(x))


def test_torchvision_resnet50_is_not_the_published_one(tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision.models")
    torch.save(models.resnet50(num_classes=2).state_dict(), tmp_path / "theirs.pth")
    with pytest.raises(UsageError, match="are of resnet50_stride3x3; expected weights of resnet50"):
        weights.create("resnet50", weights=tmp_path / "theirs.pth")


@pytest.mark.parametrize("name", ["wide_resnet50_2", "resnext101_32x8d", "vgg11_bn", "mobilenet_v2"])
def test_other_networks_are_not_recognised(name: str) -> None:
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        assert translate(models.get_model(name).state_dict()) is None


def test_stream_orders_by_hand() -> None:
    """2 channels are padded to 4, then to 8, half of the zeros on each side."""
    assert cifar_resnet.stream_orders((2, 4, 8)) == [[0, 1], [1, 2, 0, 3], [3, 4, 2, 5, 0, 1, 6, 7]]


class HalfPadded(nn.Module):
    """The other option A: half of the zeros before the old channels, half after."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        self.state = state

    def normalised(self, x: Tensor, conv: str, bn: str, stride: int = 1) -> Tensor:
        x = F.conv2d(x, self.state[f"{conv}.weight"], stride=stride, padding=1)
        mean, variance = self.state[f"{bn}.running_mean"], self.state[f"{bn}.running_var"]
        return F.batch_norm(x, mean, variance, self.state[f"{bn}.weight"], self.state[f"{bn}.bias"])

    def forward(self, x: Tensor) -> Tensor:
        x = self.normalised(x, "conv1", "bn1").relu()
        for stage in (1, 2, 3):
            for index in range(3):
                block, stride = f"layer{stage}.{index}", 2 if stage > 1 and index == 0 else 1
                y = self.normalised(x, f"{block}.conv1", f"{block}.bn1", stride).relu()
                y = self.normalised(y, f"{block}.conv2", f"{block}.bn2")
                if stride == 2:
                    half = x.shape[1] // 2
                    x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, half))
                x = (x + y).relu()
        return F.linear(x.mean(dim=(2, 3)), self.state["linear.weight"], self.state["linear.bias"])


def half_padded_state() -> dict[str, Tensor]:
    """Random tensors, none of them symmetric in its channels, under the names of the common checkpoints."""
    torch.manual_seed(0)
    state = {}
    for name, value in registry.build("cifar_resnet20").state_dict().items():
        if "num_batches_tracked" in name:
            continue
        stage, _, rest = name.partition(".")
        if stage.startswith("stage"):
            index, _, rest = rest.partition(".")
            name = f"layer{stage[-1]}.{int(index) - 1}.{rest}"
        value = torch.rand_like(value) + 0.5 if value.ndim == 1 else torch.randn_like(value) / value[0].numel() ** 0.5
        state[name.replace("fc.", "linear.")] = value.double()
    return state


def test_option_a_padded_on_both_sides_computes_the_same() -> None:
    state = half_padded_state()
    translated = translate(state)
    assert translated is not None
    tensors, card = translated
    net = registry.build(card["network"]).double().eval()
    weights.load_into(net, tensors)
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(net(x), HalfPadded(state)(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["layer2.1.conv2.weight", "layer3.0.bn2.bias", "linear.weight"])
def test_misshapen_foreign_tensor_is_named(tmp_path: Path, name: str) -> None:
    state = half_padded_state()
    state[name] = state[name][..., :1]
    torch.save(state, tmp_path / "theirs.th")
    with pytest.raises(ConvatlasError, match="1 misshapen"):
        weights.create("cifar_resnet20", weights=tmp_path / "theirs.th")


@pytest.mark.data
def test_trained_resnet20_gets_every_image_right(data_root: Path) -> None:
    path = data_root / "weights" / "resnet20_cifar10_option_a.th"
    card = weights.read_card(path)
    assert card is not None
    preprocessing = weights.preprocessing_of(card)
    assert preprocessing is not None
    assert preprocessing.size == (32, 32)
    net = weights.create("cifar_resnet20", weights=path).eval()
    folders = data_root / "cifar10_png" / "image_data_format_2"
    files = [(file, label) for label, name in enumerate(card["classes"]) for file in (folders / name).glob("*.png")]
    images = torch.stack([torch.from_numpy(np.array(Image.open(file).convert("RGB"))) for file, _ in files])
    images = images.movedim(-1, 1)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    with torch.no_grad():
        answers = net((images / 255 - mean) / std).argmax(dim=1)
    assert len(files) == 200
    assert answers.tolist() == [label for _, label in files]
