"""`convatlas why`: true differences of libraries' networks and of small modifications, each known from the source."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from convatlas import facts
from convatlas.analysis.likeness import align, of_registered, sentences
from convatlas.cli import main
from convatlas.errors import ConvatlasError, UsageError
from convatlas.facts.departures import departures, libraries_own
from convatlas.inference.foreign import open_model
from convatlas.inference.why import Answer, why


def told(answer: Answer) -> list[str]:
    return [sentence.text for sentence in (answer.asked or answer.nearest).sentences]


def test_alexnet_of_torchvision_is_the_one_tower_network_of_2014() -> None:
    answer = why("torchvision:alexnet")
    assert (answer.nearest.network, answer.nearest.distance, answer.nearest.sentences) == ("alexnet_owt", 0, ())
    assert answer.asked is not None
    assert answer.asked.network == "alexnet"
    assert told(answer) == [
        "Added: an average pooling that does nothing at this size (avgpool).",
        "conv1 and conv4 (features.0 and features.8) have 0.6667 times the maps (96 to 384 become 64 to 256).",
        "conv2 (features.3) has 192 maps instead of 256.",
        "conv2, conv4 and conv5 (features.3, features.8 and features.10) have 1 group instead of 2.",
        "conv1 (features.0) is padded by 2 instead of 0.",
        "conv1 and conv2 (features.0 and features.3) are no longer followed by local response normalisation "
        "(alpha 0.0005, beta 0.75, k 2).",
        "fc7 (classifier.4) is no longer followed by dropout (p 0.5).",
        "The input is 3 x 224 x 224 instead of 3 x 227 x 227.",
        "It has 61,100,840 parameters instead of 60,965,224 (+0.22%).",
    ]
    assert {row.since for row in answer.asked.departures} == {"0.1.6", "0.2.2"}


def test_googlenet_of_torchvision() -> None:
    answer = why("torchvision:googlenet")
    assert (answer.nearest.network, answer.nearest.distance) == ("googlenet_bn", 0)
    lines = told(answer)
    assert "Every 5x5 convolution has a 3x3 window instead of 5x5." in lines
    assert "Every convolution has no bias." in lines
    assert "Every convolution is followed by batch normalisation (eps 0.001, momentum 0.1)." in lines
    assert any("pool1 and conv2" in line and "no longer" in line and "response" in line for line in lines)
    assert "pool4 (maxpool4) is 2x2 max pooling, stride 2 instead of 3x3 max pooling, stride 2." in lines
    assert "pool5 (avgpool) is followed by dropout of probability 0.2 instead of 0.4." in lines
    assert answer.asked is not None
    assert any("906" in row.reason for row in answer.asked.departures)


def test_resnet50_has_its_stride_in_the_3x3() -> None:
    answer = why("torchvision:resnet50")
    assert answer.nearest.network == "resnet50_stride3x3"
    stride = next(line for line in told(answer) if "stride" in line)
    assert stride.startswith("The stride is in the 3x3 convolution instead of the 1x1 convolution, in the 3 blocks")
    assert "layer2.0, layer3.0 and layer4.0" in stride


@pytest.mark.parametrize(
    ("model", "network", "lines"),
    [
        ("torchvision:vgg16", "vgg_d", ["Added: an average pooling that does nothing at this size (avgpool)."]),
        ("torchvision:squeezenet1_0", "squeezenet_v1_0", ["The input is 3 x 224 x 224 instead of 3 x 227 x 227."]),
        ("torchvision:inception_v3", "inception_v3",
         ["avgpool is followed by dropout of probability 0.5 instead of 0.2."]),
    ],
)  # fmt: skip
def test_other_networks_of_torchvision(model: str, network: str, lines: list[str]) -> None:
    answer = why(model)
    assert (answer.nearest.network, told(answer)) == (network, lines)


def test_densenet121_of_torchvision_is_the_published_one() -> None:
    densenet = open_model("torchvision:densenet121")
    assert densenet.net is not None
    answer = why(densenet.net, input_shape=(3, 224, 224))
    assert (answer.nearest.network, told(answer)) == ("densenet121", [])


def test_networks_of_timm() -> None:
    pytest.importorskip("timm")
    answer = why("timm:resnet34")
    assert (answer.nearest.network, told(answer)) == ("resnet34", [])
    assert any("option B" in row.reason for row in answer.nearest.departures)
    answer = why("timm:legacy_xception")
    assert answer.nearest.network == "xception"
    assert told(answer) == [
        "Every normalised layer has eps 1e-05 in its normalisation instead of 0.001.",
        "avgpool (global_pool.pool) is no longer followed by dropout (p 0.5).",
    ]


def test_a_resnet18_with_a_small_stem() -> None:
    net = models.resnet18(num_classes=10)
    net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    net.maxpool = nn.Identity()
    answer = why(net)
    assert answer.nearest.network == "resnet18"
    assert told(answer)[:4] == [
        "Dropped: a 3x3 max pooling, stride 2 (pool1).",
        "conv1 has a 3x3 window instead of 7x7.",
        "conv1 has a stride of 1 instead of 2.",
        "fc gives 10 outputs instead of 1,000.",
    ]


def test_a_vgg_with_one_more_convolution() -> None:
    layers = list(models.vgg11().features)
    layers[8:8] = [nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()]
    net = models.vgg11()
    net.features = nn.Sequential(*layers)
    answer = why(net)
    assert answer.nearest.network == "vgg_a"
    assert any(line.startswith("Added: a 3x3 convolution (features.") for line in told(answer))


def test_an_alexnet_with_another_head() -> None:
    net = models.alexnet()
    net.classifier = nn.Sequential(nn.Dropout(), nn.Linear(9216, 512), nn.ReLU(), nn.Linear(512, 10))
    answer = why(net)
    lines = [sentence.text for sentence in answer.nearest.sentences]
    assert answer.nearest.network == "alexnet_owt"
    assert answer.asked is not None  # the published one, which that network is a library's form of
    assert answer.asked.network == "alexnet"
    assert "Dropped: a fully connected layer of 4,096 (fc6)." in lines
    assert "fc8 (classifier.3) gives 10 outputs instead of 1,000." in lines


class Block(nn.Module):
    def __init__(self, maps_in: int, maps: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(maps_in, maps, 3, stride, 1, bias=False), nn.BatchNorm2d(maps))
        self.second = nn.Sequential(nn.Conv2d(maps, maps, 3, 1, 1, bias=False), nn.BatchNorm2d(maps))
        self.stride, self.more = stride, maps - maps_in

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(torch.relu(self.first(x)))
        x = nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return torch.relu(x + y)


class WideStage(nn.Module):
    """ResNet-20 for CIFAR, by functions and in other words, whose last stage has `width` maps."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
        plan = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, width, 2)] + [(width, width, 1)] * 2
        self.blocks = nn.ModuleList(Block(*row) for row in plan)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


def test_a_wider_stage_of_a_cifar_resnet() -> None:
    answer = why(WideStage())
    assert (answer.nearest.network, answer.input_shape) == ("cifar_resnet20", (3, 32, 32))
    assert told(answer)[0] == "Every convolution of stage3 has 96 maps instead of 64."
    assert (why(WideStage(64)).nearest.distance) == 0


def test_python_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "mine.py"
    place.write_text(
        "from torch import nn\ndef build(maps=6):\n    return nn.Sequential(nn.Conv2d(1, maps, 5))\nx = 3\n"
    )
    assert open_model(f"{place}:build(maps=8)").tensors["0.weight"] == (8, 1, 5, 5)
    monkeypatch.syspath_prepend(tmp_path)
    assert open_model("mine:build").tensors["0.weight"] == (6, 1, 5, 5)
    sys.modules.pop("mine", None)
    for source, message in (
        (f"{place}", "expected the name of a class or function too"),
        (f"{place}:nothing", "has no 'nothing'"),
        (f"{place}:x", "is a int"),
        (f"{place}:build(", "can't be read"),
        ("no_such_module:Net", "can't be imported"),
        ("torchvision:alexnt", "did you mean alexnet"),
        ("torchvision:alexnet(weights='DEFAULT')", "loads weights"),
        ("nothing_like_it", "is not a network"),
        (str(tmp_path / "no.onnx"), "does not exist"),
    ):
        with pytest.raises(UsageError, match=message):
            open_model(source)
    with pytest.raises(ConvatlasError, match="can't be built"):
        open_model(f"{place}:build(depth=3)")


def test_weights_files(tmp_path: Path) -> None:
    net = WideStage()
    torch.save(net.state_dict(), tmp_path / "wide.pth")
    answer = why(tmp_path / "wide.pth")
    assert answer.compared == "the shapes of the weights"
    assert answer.nearest.network == "cifar_plain20"  # which has the weights of the residual one
    assert "just as near: cifar_resnet20" in answer.notes
    assert told(answer)[0] == "Every convolution of stage3 has 96 maps instead of 64."
    (tmp_path / "evil.pth").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(ConvatlasError):
        why(tmp_path / "evil.pth")


def test_onnx_files(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from convatlas.inference.engines.graph import to_onnx

    net = nn.Sequential(*models.squeezenet1_1().features, nn.Conv2d(512, 10, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    (tmp_path / "net.onnx").write_bytes(to_onnx(net.eval(), (3, 224, 224)))
    answer = why(tmp_path / "net.onnx")
    assert (answer.nearest.network, answer.input_shape) == ("squeezenet_v1_1", (3, 224, 224))
    assert any("gives 10 outputs instead of 1,000" in line for line in told(answer))
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    with pytest.raises(ConvatlasError, match="no ONNX file"):
        why(tmp_path / "bad.onnx")


def test_every_row_of_departures_is_about_what_there_is() -> None:
    names = facts.network_names()
    for row in departures():
        assert any(row.concerns(name, row.library, row.models[0]) for name in names), row
    assert {*libraries_own(), *libraries_own().values()} <= set(names)


def test_networks_are_equal_to_themselves_alone() -> None:
    alexnet = of_registered("alexnet")
    assert align(alexnet, alexnet).distance == 0
    assert sentences(align(alexnet, alexnet).couples) == ()
    assert 0 < align(alexnet, of_registered("caffenet")).distance < align(alexnet, of_registered("vgg_a")).distance < 1


def test_text_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", "torchvision:alexnet"]) == 0
    out = capsys.readouterr().out
    assert "Nearest in the atlas: alexnet_owt (Krizhevsky, 2014), 100% alike" in out
    assert "Beside alexnet (Krizhevsky et al., 2012), 84% alike" in out
    assert "Since torchvision 0.1.6: it is the one-tower network" in out
    assert main(["why", "alexnet", "--as", "caffenet", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["nearest"]["network"] == "alexnet"
    assert answer["beside"]["network"] == "caffenet"
    assert {"topic", "sentence", "published", "here", "layers"} == answer["beside"]["differences"][0].keys()
    assert main(["why", "torchvision:alexnt"]) == 2
    assert "did you mean alexnet" in capsys.readouterr().err
