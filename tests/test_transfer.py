"""Transfer: the head is new, the layers before it are not, and each learns when and as fast as it should."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from convatlas import data, registry, weights
from convatlas.errors import ConvatlasError, UsageError
from convatlas.training import finetuning, fit
from convatlas.training.distributed import Processes
from convatlas.training.finetuning import FineTune
from convatlas.training.recipe import SGD, Recipe
from convatlas.training.setup import set_up


@pytest.fixture(scope="module")
def digits() -> data.DataSet:
    return data.load("digits")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, digits: data.DataSet) -> Path:
    """Weights of `caffe_lenet` for five letters, drawn at random: what they compute does not matter here."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "letters.safetensors"
    preprocessing = data.default_preprocessing(registry.card("caffe_lenet"), digits.train)
    card = weights.make_card(
        "caffe_lenet", num_classes=5, in_channels=1, classes=tuple("abcde"), preprocessing=preprocessing
    )
    weights.save(path, registry.build("caffe_lenet", num_classes=5), card)
    return path


def lenet_recipe(path: Path, digits: data.DataSet, epochs: int) -> Recipe:
    preprocessing = data.default_preprocessing(registry.card("caffe_lenet"), digits.train)
    fine_tune = FineTune(str(path), head_epochs=1, last_rate=0.5, first_rate=0.05)
    return Recipe(
        "caffe_lenet", "test", "a test", epochs, 64, SGD(0.05), preprocessing=preprocessing, fine_tune=fine_tune
    )


def test_the_head_is_what_follows_the_number_of_classes() -> None:
    assert finetuning.head_of("caffe_lenet") == {"ip2.weight", "ip2.bias"}
    ends = {name.rpartition(".")[0] for name in finetuning.head_of("googlenet")}
    assert ends == {"loss1.classifier", "loss2.classifier", "loss3.classifier"} or len(ends) == 3


def test_everything_but_the_head_is_copied(trained: Path) -> None:
    torch.manual_seed(2)
    net = registry.build("caffe_lenet", num_classes=10)
    drawn = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    theirs, _ = weights.read(trained)
    assert finetuning.start(net, "caffe_lenet", tuple("0123456789"), FineTune(str(trained)))
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, drawn[name] if name.startswith("ip2.") else theirs[name]), name


def test_the_head_stays_for_the_same_classes(trained: Path) -> None:
    net = registry.build("caffe_lenet", num_classes=5)
    assert not finetuning.start(net, "caffe_lenet", tuple("abcde"), FineTune(str(trained)))
    assert torch.equal(net.state_dict()["ip2.weight"], weights.read(trained)[0]["ip2.weight"])


def test_settings_of_a_release_go_on_with_its_weights(digits: data.DataSet, tmp_path: Path) -> None:
    path = tmp_path / "release.safetensors"
    settings = {"pool1": {"ceil_mode": True}}
    card = weights.make_card("caffe_lenet", num_classes=5, in_channels=1, settings=settings)
    weights.save(path, registry.build("caffe_lenet", num_classes=5), card)
    setup = set_up(lenet_recipe(path, digits, epochs=1), digits, Processes(torch.device("cpu")))
    assert setup.learner.net.get_submodule("pool1").ceil_mode is True
    assert setup.card["settings"] == settings


def test_weights_without_auxiliary_heads_start_a_network_that_has_them() -> None:
    net = registry.build("googlenet_bn", num_classes=3)
    tensors = {name: value for name, value in net.state_dict().items() if not name.startswith("aux")}
    assert weights.absent_heads(net, tensors) == ("aux1.", "aux2.")
    assert weights.absent_heads(net, net.state_dict()) == ()


def test_weights_of_another_network_are_refused(trained: Path) -> None:
    with pytest.raises(UsageError, match="are of caffe_lenet; expected weights of lenet5"):
        finetuning.start(registry.build("lenet5"), "lenet5", tuple("0123456789"), FineTune(str(trained)))
    bare = trained.with_name("bare.safetensors")
    from safetensors.torch import save_file

    save_file({"conv1.weight": torch.zeros(20, 1, 5, 5)}, bare)
    with pytest.raises(ConvatlasError, match="missing"):
        finetuning.start(registry.build("caffe_lenet"), "caffe_lenet", tuple("0123456789"), FineTune(str(bare)))


def test_rates_rise_in_equal_ratios_to_the_head() -> None:
    net = registry.build("caffe_lenet")
    groups = finetuning.rates(net, "caffe_lenet", FineTune("", first_rate=0.01, last_rate=0.1))
    assert [group.match for group in groups] == ["conv1.*", "conv2.*", "ip1.*"]
    assert [group.lr_scale for group in groups] == pytest.approx([0.01, 10**-1.5, 0.1])


@pytest.mark.parametrize(("epoch", "frozen", "evaluating"), [(0, False, True), (1, False, False), (1, True, True)])
def test_statistics_stay_while_the_trunk_does(epoch: int, frozen: bool, evaluating: bool) -> None:
    net = registry.build("cifar_resnet20").train()
    finetuning.hold_back(net, "cifar_resnet20", FineTune("", head_epochs=1, frozen_batchnorm=frozen), epoch)
    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert all(layer.training is not evaluating for layer in norms)
    learning = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert learning == ({"fc.weight", "fc.bias"} if epoch == 0 else {name for name, _ in net.named_parameters()})


def test_first_the_head_learns_then_all_the_first_layer_least(
    tmp_path: Path, trained: Path, digits: data.DataSet
) -> None:
    before, _ = weights.read(trained)

    def moved(epochs: int) -> dict[str, float]:
        run = fit(lenet_recipe(trained, digits, epochs), digits, tmp_path / str(epochs), device="cpu").run
        after, _ = weights.read(run.weights("last"))
        return {name: float((after[name] - before[name]).norm() / before[name].norm())
                for name in ("conv1.weight", "conv2.weight", "ip1.weight")}  # fmt: skip

    assert set(moved(1).values()) == {0.0}
    second = moved(2)
    assert 0 < second["conv1.weight"] < second["ip1.weight"]


def test_rates_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match=r"first_rate is 0; expected above 0, at most 1"):
        FineTune("w", first_rate=0)
    with pytest.raises(UsageError, match="head_epochs"):
        replace(FineTune("w"), head_epochs=-1)
