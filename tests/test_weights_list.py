"""The list of published weights, hubs, and the commands: import, show, list."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from convatlas import cli, registry, weights
from convatlas.errors import ConvatlasError, UsageError
from convatlas.weights.layouts import caffe, caffe_dense, keras, matconvnet, timm, torch7, torchvision
from convatlas.weights.published import was_read
from convatlas.weights.settings import apply_settings, check_settings
from foreign import caffe_layers, caffemodel, random_net

CARD_OF_LENET5 = weights.make_card("lenet5", num_classes=10, in_channels=1)


def test_rows_name_networks_and_pages() -> None:
    rows = weights.published()
    assert len({(row.network, row.release, row.format) for row in rows}) == len(rows)
    for row in rows:
        assert registry.card(row.network)
        assert row.url.startswith("https://")
        assert row.licence
        assert row.fits


def test_what_fits_exactly_has_a_table() -> None:
    """And every table has a row, but for a ResNeXt of timm's."""
    tables = {"Caffe": caffe, "MatConvNet": matconvnet, "Keras": keras, "torchvision": torchvision, "timm": timm}
    known = {(key, layout.network) for key, module in tables.items() for layout in module.layouts()}
    known |= {("Torch7", layout.network) for layout in torch7.layouts()}
    known |= {("Caffe", layout.network) for layout in caffe_dense.layouts()}
    exact = ("exactly", "by its documentation")
    rows = {(row.format, registry.card(row.network).name) for row in weights.published() if row.fits in exact}
    assert {row for row in rows if row[0] in (*tables, "Torch7")} <= known
    assert known - rows == {("torchvision", "resnext101_32x4d")}


def test_only_what_was_read_fits_exactly() -> None:
    for row in weights.published():
        assert (row.fits == "exactly") <= bool(row.sha256), row
        assert all(len(digest) == 64 for digest in row.sha256)
    assert {row.network for row in weights.published() if row.fits == "exactly"} == {
        "squeezenet_v1_1", "squeezenet_v1_0_caffe_pad1", "cifar_resnet20", "retina_unet_orobix", "caffe_lenet",
    }  # fmt: skip


@pytest.mark.data
def test_the_files_that_were_read_are_known(data_root: Path) -> None:
    for path in (data_root / "weights").iterdir():
        assert (was_read(path) is not None) == (path.suffix != ".prototxt"), path


def test_a_network_by_its_alias() -> None:
    assert weights.published("vgg16") == weights.published("vgg_d")
    assert weights.published("lenet5") == []
    with pytest.raises(UsageError, match="unknown network"):
        weights.published("vgg17")


# ---------- hubs


def test_torchvision_s_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import models

    state = models.squeezenet1_1().state_dict()
    monkeypatch.setattr(models.SqueezeNet1_1_Weights, "get_state_dict", lambda *_, **__: state)
    opened = weights.open_file("torchvision:squeezenet1_1/IMAGENET1K_V1")
    assert opened.card is not None
    assert opened.card["network"] == "squeezenet_v1_1"
    assert opened.card["preprocessing"]["resize_to"] == 256
    net = weights.create("squeezenet_v1_1", weights="torchvision:squeezenet1_1")
    assert torch.equal(net.get_parameter("conv1.weight"), state["features.0.weight"])


def test_timm_s_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    timm_library = pytest.importorskip("timm")
    net = timm_library.create_model("resnet18")
    monkeypatch.setattr(timm_library, "create_model", lambda name, pretrained: net if pretrained else None)
    card = weights.read_card("timm:resnet18")
    assert card is not None
    assert (card["network"], card["preprocessing"]["size"]) == ("resnet18", [224, 224])


@pytest.mark.parametrize("spec", ["torchvision:lenet", "torchvision:resnet50/V7", "timm:lenet"])
def test_unknown_names_of_hubs(spec: str) -> None:
    with pytest.raises(UsageError, match=spec):
        weights.open_file(spec)


def test_a_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import models

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(models.AlexNet_Weights, "get_state_dict", fail)
    with pytest.raises(ConvatlasError, match="torchvision:alexnet can't be fetched: no route to host"):
        weights.open_file("torchvision:alexnet")


# ---------- settings


@pytest.mark.parametrize(
    "settings",
    [
        {"pool1": {"kernel_size": 3}},
        {"pool1": {"padding": -1}},
        {"*": {"eps": 2}},
        {"x": 1},
        {"*": {"eps": float("nan")}},
    ],
)
def test_a_card_can_not_set_what_it_likes(settings: Any) -> None:
    with pytest.raises(ConvatlasError, match=r"the card of x\.safetensors"):
        check_settings(settings, "x.safetensors")


def test_settings_reach_every_layer_or_none() -> None:
    net = registry.build("cifar_resnet20")
    apply_settings(net, {"settings": {"*": {"eps": 1e-3}}})
    assert {module.eps for module in net.modules() if hasattr(module, "eps")} == {1e-3}
    with pytest.raises(ConvatlasError, match=r"pool9\.padding, which ResNet does not have|pool9"):
        apply_settings(net, {"settings": {"pool9": {"padding": 1}}})


# ---------- commands


@pytest.fixture
def lenet(tmp_path: Path) -> Path:
    path = tmp_path / "lenet.caffemodel"
    path.write_bytes(caffemodel(caffe_layers(random_net("caffe_lenet"), caffe.layouts()[0])))
    return path


def test_import(lenet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "lenet.safetensors"
    assert cli.main(["weights", "import", str(lenet), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    for part in ("Caffe, 8 tensors, 431,080 values", "Caffe: lenet", "10: 0, 1, 2, 3, 4, ...", "grey of 0 to 255"):
        assert part in said
    ours, theirs = weights.create("caffe_lenet", weights=out), weights.create("caffe_lenet", weights=lenet)
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())
    assert weights.read_card(out) == weights.read_card(lenet)


def test_import_of_what_is_not_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "x.pth", tmp_path / "x.safetensors"
    torch.save(registry.build("caffe_lenet").state_dict(), path)
    assert cli.main(["weights", "import", str(path), "--out", str(out)]) == 1
    assert "expected --to NAME" in capsys.readouterr().err
    assert cli.main(["weights", "import", str(path), "--out", str(out), "--to", "caffe_lenet"]) == 0
    assert cli.main(["weights", "import", str(path), "--out", str(out), "--to", "lenet5"]) == 2
    assert "missing" in capsys.readouterr().err
    assert cli.main(["weights", "import", str(tmp_path / "none.mat"), "--out", str(out)]) == 2


def test_show(lenet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["weights", "show", str(lenet)]) == 0
    assert "conv2.weight  50 x 20 x 5 x 5" in capsys.readouterr().out
    assert cli.main(["weights", "show", str(lenet), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tensors"]["ip2.bias"] == [10]


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["weights", "list"]) == 0
    assert "bvlc_googlenet" in capsys.readouterr().out
    assert cli.main(["weights", "list", "resnet50"]) == 0
    said = capsys.readouterr().out
    assert "ResNet-50 (Caffe), fits by its documentation" in said
    assert "https://github.com/KaimingHe/deep-residual-networks" in said
    assert cli.main(["weights", "list", "vgg_d", "--json"]) == 0
    assert {row["format"] for row in json.loads(capsys.readouterr().out)} >= {"Caffe", "Keras", "Darknet", "MatConvNet"}


def test_to_that_contradicts_the_file_is_a_wrong_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.safetensors"
    torch.save(registry.build("caffe_lenet").state_dict(), tmp_path / "own.pth")
    with torch.device("cpu"):
        from torchvision import models

        torch.save(models.squeezenet1_1(num_classes=4).state_dict(), tmp_path / "theirs.pth")
    weights.save(tmp_path / "card.safetensors", registry.build("lenet5"), CARD_OF_LENET5)
    for file, to in (
        ("own.pth", "lenet5"), ("own.pth", "vgg_d"), ("theirs.pth", "squeezenet_v1_0"), ("theirs.pth", "resnet18"),
        ("card.safetensors", "caffe_lenet"), ("card.safetensors", "no_such_network"),
    ):  # fmt: skip
        assert cli.main(["weights", "import", str(tmp_path / file), "--to", to, "--out", str(out)]) == 2, (file, to)
        assert to in capsys.readouterr().err
        assert not out.exists()
    assert cli.main(["weights", "import", str(tmp_path / "own.pth"), "--to", "caffe_lenet", "--out", str(out)]) == 0
