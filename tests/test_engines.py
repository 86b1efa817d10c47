"""Engines compute what the network computes, and the fastest is measured once and remembered."""

import copy
import json
import math
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from convatlas import registry
from convatlas.errors import ConvatlasError, UsageError
from convatlas.inference import engines
from convatlas.inference.engines import backends, choice
from convatlas.inference.engines.fused import PackedConv2d, find_chains, fuse, overwritable_relus

# One of each way to build a network: branches, normalisation before and after, sparse tables, grouped, tiny inputs.
QUICK = (
    "caffe_lenet", "cifar_resnet20", "fractalnet_thin_c2", "lenet5", "perceptron", "squeezenet_v1_1",
)  # fmt: skip
SLOW = (
    "alexnet", "a2net50_reading", "bn_inception", "cifar_densenet_bc_100_12", "cifar_preresnet110", "densenet121",
    "enet_encoder", "googlenet", "highway19_cifar10", "inception_resnet_v1", "inception_v3", "mcdnn_mnist",
    "neocognitron_1980", "nin_cifar10", "overfeat_fast", "resnet18", "resnet50", "resnext50_32x4d",
    "squeezenet_v1_0_complex_bypass", "stochastic_depth_110", "vgg_a_lrn", "xception", "zfnet",
)  # fmt: skip
EVERY = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
DEPLOY = ("onnxruntime", "openvino")


def _settled(name: str) -> nn.Module:
    """Untrained, but with the statistics of one batch: the maps of a trained network have such sizes."""
    torch.manual_seed(0)
    net = registry.build(name)
    for layer in net.modules():
        if isinstance(layer, _BatchNorm):
            layer.momentum = 1.0
            if layer.affine:
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.normal_(layer.bias, 0, 0.1)
    with torch.no_grad():
        net.train()(torch.randn(4, *registry.card(name).input_shape))
    return net.eval()


def _difference(run: backends.Run, net: nn.Module, batch: Tensor) -> float:
    with torch.inference_mode():
        expected = net(batch)
        return ((run(batch) - expected).abs().max() / expected.abs().max().clamp_min(1)).item()


@pytest.mark.parametrize("name", EVERY)
def test_float_engines_agree_with_the_network(name: str) -> None:
    pytest.importorskip("onnxscript")
    net, shape = _settled(name), registry.card(name).input_shape
    for engine in ("fused", *DEPLOY):
        built = engines.build(engine, net, shape, batch_size=2)
        for count in (2, 1, 3):
            assert _difference(built.run, net, torch.randn(count, *shape)) <= engines.TOLERANCE, (engine, count)


@pytest.mark.slow
def test_rounding_that_a_deep_network_amplifies_is_no_more_than_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """150 layers with the statistics of noise: eager is half a thousandth away from float64 itself."""
    monkeypatch.setattr(sys.modules[engines.Engine.__module__], "TOLERANCE", 1.0)
    net, shape = _settled("inception_v4"), registry.card("inception_v4").input_shape
    x = torch.randn(1, *shape)
    with torch.inference_mode():
        exact = copy.deepcopy(net).double()(x.double())
        own = (net(x) - exact).abs().max().item()
        for engine in ("fused", *DEPLOY):
            built = engines.build(engine, net, shape, batch_size=1)
            assert (built.run(x) - exact).abs().max().item() < 4 * own, engine


@pytest.mark.slow
@pytest.mark.parametrize("name", ["caffe_lenet", "cifar_resnet20", "squeezenet_v1_1"])
def test_compiled_agrees_with_the_network(name: str) -> None:
    net, shape = _settled(name), registry.card(name).input_shape
    built = engines.build("compile", net, shape, batch_size=2)
    for count in (2, 1, 3):
        assert _difference(built.run, net, torch.randn(count, *shape)) <= engines.TOLERANCE


def test_normalisations_go_into_convolutions_and_the_network_stays() -> None:
    net = _settled("cifar_resnet20")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    fused = fuse(net, (3, 32, 32), batch_size=1)
    assert not any(isinstance(layer, (_BatchNorm, nn.Conv2d)) for layer in fused.modules())
    assert sum(isinstance(layer, PackedConv2d) for layer in fused.modules()) == 19
    assert sum(isinstance(layer, nn.ReLU) for layer in fused.modules()) == 9  # those after the additions
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


class _ReadTwice(nn.Module):
    """The map of `conv` is read by `bn` and by the addition: neither may be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.relu = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return (self.relu(self.bn(x)) + x).mean((2, 3))


class _CalledTwice(_ReadTwice):
    """One convolution in two places, of which one is normalised."""

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.relu(self.bn(self.conv(x)))).mean((2, 3))


@pytest.mark.parametrize("kind", [_ReadTwice, _CalledTwice])
def test_what_is_read_or_called_twice_is_not_folded(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    net = kind()
    net(torch.randn(8, 3, 6, 6))
    fused = fuse(net.eval(), (3, 6, 6), batch_size=2)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in fused.modules()) == 1
    assert _difference(fused, net, torch.randn(2, 3, 6, 6)) < 1e-5


def test_a_relu_writes_over_its_input_only_where_nothing_else_reads_it() -> None:
    from convatlas.analysis.trace import trace

    net = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten()).eval()
    records = trace(net, (3, 4, 4), device="cpu")
    assert overwritable_relus(net, records) == ["2"]  # not "0", which would write over the caller's image
    assert find_chains(net, records) == []


def test_any_number_from_a_fixed_batch() -> None:
    def only_four(x: Tensor) -> Tensor:
        assert len(x) == 4
        return x + 1

    run = backends.in_batches_of(4, only_four)
    for count in (1, 4, 6, 8):
        x = torch.arange(count * 2.0).view(count, 2)
        assert torch.equal(run(x), x + 1)


def test_an_engine_that_disagrees_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backends.BUILDERS, "fused", lambda net, shape, batch: lambda x: net(x) + 1e-2)
    with pytest.raises(ConvatlasError, match=r"fused differs from the network by 0\.0"):
        engines.build("fused", _settled("caffe_lenet"), (1, 28, 28), batch_size=1)


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConvatlasError, match=r"onnxruntime is not installed.*convatlas\[deploy\]"):
        engines.build("onnxruntime", registry.build("caffe_lenet"), (1, 28, 28), batch_size=1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "warp", "batch_size": 1}, "engine 'warp'; expected auto, eager"),
        ({"name": "eager", "batch_size": 0}, "batch_size is 0"),
        ({"name": "fused", "batch_size": 1, "device": "meta"}, "engine fused is for the CPU"),
    ],
)
def test_wrong_arguments(arguments: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        engines.build(net=registry.build("caffe_lenet"), input_shape=(1, 28, 28), **arguments)


def _choose(**more: bool) -> tuple[engines.Engine, engines.Choice | None]:
    return engines.choose(registry.build("caffe_lenet"), "caffe_lenet", (1, 28, 28), batch_size=2, **more)


def test_the_fastest_is_measured_once_and_remembered(user_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "measure_ms", lambda built, batch: {name: 1.0 + (name != "fused") for name in built})
    engine, found = _choose()
    assert found is not None
    assert engine.name == found.engine == "fused"
    assert json.loads((user_cache / "engines.json").read_text()).keys() == engines.remembered().keys()

    monkeypatch.setattr(choice, "measure_ms", lambda built, batch: pytest.fail("measured again"))
    engine, again = _choose()
    assert engine.name == "fused"
    assert again == found
    (key,) = engines.remembered()
    assert key.startswith("caffe_lenet of 431080 parameters, 1 x 28 x 28, batch 2, ")


def test_all_engines_take_turns_and_then_the_close_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = [0.0], {"fast": 0, "close": 0, "slow": 0}
    seconds = {"fast": 0.1, "close": 0.11, "slow": 1.0}
    monkeypatch.setattr(choice.time, "perf_counter", lambda: clock[0])

    def engine(name: str) -> engines.Engine:
        def run(x: Tensor) -> Tensor:
            clock[0] += seconds[name]
            calls[name] += 1
            return x

        return engines.Engine(name, run, torch.device("cpu"), 0.0)

    ms = choice.measure_ms({name: engine(name) for name in calls}, torch.zeros(1))
    assert ms == pytest.approx({"fast": 100, "close": 110, "slow": 1000})
    rounds = [choice._LEAST_ROUNDS, math.ceil(choice._MORE_SECONDS / 0.42)]
    assert calls == {"fast": 1 + 2 * sum(rounds), "close": 1 + 2 * sum(rounds), "slow": 1 + 2 * rounds[0]}


@pytest.mark.parametrize(
    ("trial", "reason"),
    [
        ("import os; os.abort()", "dies of the model"),
        ("import threading; threading.Event().wait()", "has not compiled the model in 1 s"),
    ],
)
def test_a_quantised_model_that_takes_openvino_down_is_refused(
    trial: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(backends, "TRIAL", trial)
    monkeypatch.setattr(backends, "PATIENCE_S", 1)
    with pytest.raises(ConvatlasError, match=reason):
        backends.run_in_open_vino(b"... QuantizeLinear ...", 1)


def test_without_measuring_fused_is_taken(user_cache: Path) -> None:
    engine, found = _choose(measure=False)
    assert (engine.name, found) == ("fused", None)
    assert not (user_cache / "engines.json").exists()


def test_engines_that_fail_fall_out_with_their_reason(user_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> backends.Run:
        raise ConvatlasError("refused")

    for name in (*DEPLOY, "compile"):
        monkeypatch.setitem(backends.BUILDERS, name, refuse)
    _, found = _choose()
    assert found is not None
    assert set(found.ms) == {"eager", "fused"}
    assert found.left_out == {name: f"engine {name}: refused" for name in (*DEPLOY, "compile")}


def test_a_damaged_memory_is_measured_anew(user_cache: Path) -> None:
    user_cache.mkdir(exist_ok=True)
    for text in ("{", "[]", '{"x": {"engine": "fused"}}', '{"x": 1}'):
        (user_cache / "engines.json").write_text(text)
        assert engines.remembered() == {}
