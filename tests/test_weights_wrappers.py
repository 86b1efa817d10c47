"""Checkpoints as training programs leave them: wrapped, averaged, pickled whole; and those that must be refused."""

import argparse
import io
import pathlib
import pickle
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from convatlas import cli, registry, weights
from convatlas.errors import ConvatlasError, UsageError
from convatlas.weights.checkpoints import unwrap
from convatlas.weights.files import read_file
from foreign import random_net

NAME = "caffe_lenet"


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return random_net(NAME)


@pytest.fixture(scope="module")
def state(net: nn.Module) -> dict[str, Tensor]:
    return dict(net.state_dict())


def other(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value + 1 for name, value in state.items()}


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in state.items()}


def written(folder: Path, content: Any, name: str = "x.pth", **options: Any) -> Path:
    torch.save(content, folder / name, **options)
    return folder / name


def same(tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return tensors.keys() == expected.keys() and all(torch.equal(tensors[name], expected[name]) for name in expected)


# ---------- prefixes of wrappers

PREFIXES = [
    "module.", "_orig_mod.", "model.", "net.", "network.", "module.module.", "module._orig_mod.", "_orig_mod.module.",
    "model._orig_mod.", "model.module.", "net._orig_mod.module.", "_fsdp_wrapped_module.", "_forward_module.model.",
    "state_dict.model.", "classifier_of_mine.", "my_lenet.",
]  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_a_prefix_that_all_names_carry(tmp_path: Path, state: dict[str, Tensor], prefix: str, ending: str) -> None:
    path = tmp_path / f"x{ending}"
    if ending == ".pth":
        torch.save(prefixed(state, prefix), path)
    else:
        safetensors.torch.save_file(prefixed(state, prefix), path)
    opened = weights.open_file(path, NAME)
    assert same(opened.tensors, state)
    assert opened.notes
    assert same(dict(weights.create(NAME, weights=path).state_dict()), state)


def test_a_wrapper_inside_the_network(tmp_path: Path) -> None:
    """As torchvision's old example wrapped the features of AlexNet and VGG."""
    from torchvision import models

    theirs = models.vgg11(num_classes=2).state_dict()
    inner = {name.replace("features.", "features.module."): value for name, value in theirs.items()}
    tensors, card = weights.read(written(tmp_path, {"state_dict": inner, "arch": "vgg11", "epoch": 90}))
    assert card is not None
    assert card["network"] == "vgg_a"
    assert torch.equal(tensors["conv1_1.weight"], theirs["features.0.weight"])


@pytest.mark.parametrize("compiled", ["layer1._orig_mod.0", "layer1.0._checkpoint_wrapped_module"])
def test_a_compiled_or_checkpointed_part(tmp_path: Path, compiled: str) -> None:
    from torchvision import models

    theirs = models.resnet18(num_classes=2).state_dict()
    inner = {name.replace("layer1.0", compiled): value for name, value in theirs.items()}
    opened = weights.open_file(written(tmp_path, inner))
    assert opened.card is not None
    assert opened.card["network"] == "resnet18"


@pytest.mark.slow
def test_no_network_of_ours_loses_a_part_of_its_names() -> None:
    for name in registry.names():
        with torch.device("meta"):
            own = registry.build(name).state_dict()
        assert unwrap(own, name)[0].keys() == own.keys(), name


# ---------- entries of checkpoints

CHECKPOINTS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "state_dict": lambda s: {"state_dict": s, "epoch": 3, "best_acc1": torch.tensor(71.0), "optimizer": adam(s)},
    "model_state_dict": lambda s: {"model_state_dict": s, "optimizer_state_dict": adam(s), "loss": torch.tensor(0.1)},
    "model": lambda s: {"model": s, "optimizer": adam(s), "lr_scheduler": {"last": 3}, "rng": torch.get_rng_state()},
    "net": lambda s: {"net": prefixed(s, "module."), "acc": 93.02, "epoch": 190},
    "network": lambda s: {"network": s},
    "nested": lambda s: {"checkpoint": {"state_dict": {"model": prefixed(s, "module._orig_mod.")}}},
    "lightning": lambda s: {
        "state_dict": prefixed(s, "model.") | {"criterion.weight": torch.ones(10), "val_acc.total": torch.tensor(0)},
        "optimizer_states": [adam(s)], "lr_schedulers": [], "callbacks": {"EMA": {}}, "pytorch-lightning_version": "2",
        "hyper_parameters": {"lr": 0.1}, "loops": {"fit_loop": {"state_dict": {}}},
    },
    "lightning net": lambda s: {"state_dict": prefixed(s, "net."), "optimizer_states": [adam(s)]},
    "averaged": lambda s: prefixed(s, "module.") | {"n_averaged": torch.tensor(5)},
    "averaged and wrapped": lambda s: {"model": prefixed(s, "module.module.") | {"module.n_averaged": torch.tensor(5)}},
    "deepspeed": lambda s: {"module": s, "optimizer": None, "global_steps": 10, "ds_config": {"a": 1}},
    "by layer": lambda s: {
        layer: {n.partition(".")[2]: v for n, v in s.items() if n.startswith(layer)}
        for layer in ("conv1", "conv2", "ip1", "ip2")
    },
    "shared": lambda s: {"state_dict": s, "model": None, "args": argparse.Namespace(arch="lenet", lr=0.1)},
    "paths and numpy": lambda s: {"state_dict": s, "best": np.float64(0.3), "where": pathlib.PurePosixPath("/x")},
    "only ema": lambda s: {"model_ema": prefixed(s, "module."), "epoch": 1},
}  # fmt: skip


def adam(state: dict[str, Tensor]) -> dict[str, Any]:
    moments = {
        index: {"exp_avg": value.clone(), "step": torch.tensor(3.0)} for index, value in enumerate(state.values())
    }
    return {"state": moments, "param_groups": [{"lr": 0.1, "params": list(moments)}]}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_the_network_of_a_checkpoint(tmp_path: Path, state: dict[str, Tensor], kind: str) -> None:
    path = written(tmp_path, CHECKPOINTS[kind](state), "x.ckpt")
    assert same(weights.open_file(path, NAME).tensors, state)


@pytest.mark.parametrize("name", ["x.pth", "x.pt", "x.th", "x.pth.tar", "x.ckpt", "x.bin", "x.pkl", "x.PTH"])
@pytest.mark.parametrize("zipped", [True, False])
def test_endings(tmp_path: Path, state: dict[str, Tensor], name: str, zipped: bool) -> None:
    path = written(tmp_path, {"state_dict": state}, name, _use_new_zipfile_serialization=zipped)
    assert same(weights.read(path)[0], state)


@pytest.mark.parametrize("name", ["x.bin", "x.ckpt", "x.pt"])
def test_a_file_of_another_format_than_its_ending(tmp_path: Path, state: dict[str, Tensor], name: str) -> None:
    safetensors.torch.save_file(state, tmp_path / name)
    assert same(weights.read(tmp_path / name)[0], state)


# ---------- averaged beside raw

BESIDE: dict[str, Callable[[dict[str, Tensor], dict[str, Tensor]], Any]] = {
    "timm": lambda raw, ema: {"state_dict": raw, "state_dict_ema": ema, "epoch": 3},
    "swin": lambda raw, ema: {"model": raw, "model_ema": prefixed(ema, "module."), "optimizer": adam(raw)},
    "basicsr": lambda raw, ema: {"params": raw, "params_ema": ema},
    "plain": lambda raw, ema: {"model": raw, "ema": ema | {"n_averaged": torch.tensor(3)}, "updates": 9},
    "averaged model": lambda raw, ema: {
        "net": raw, "ema": prefixed(ema, "module.") | {"n_averaged": torch.tensor(3)}},
    "lightning": lambda raw, ema: {"state_dict": prefixed(raw, "model.") | prefixed(ema, "model_ema.")},
    "lightning, wrapped": lambda raw, ema: {
        "state_dict": prefixed(raw, "net._orig_mod.") | prefixed(ema, "ema_model.module.")
        | {"ema_model.n_averaged": torch.tensor(3)}},
    "openmmlab": lambda raw, ema: {
        "state_dict": raw | {f"ema_{name.replace('.', '_')}": value for name, value in ema.items()}, "meta": {}},
    "swa": lambda raw, ema: {"model_state_dict": raw, "swa_state_dict": prefixed(ema, "module.")},
}  # fmt: skip


@pytest.mark.parametrize("kind", BESIDE)
def test_averaged_weights_are_taken_and_said_or_the_raw_ones_chosen(
    tmp_path: Path, state: dict[str, Tensor], kind: str
) -> None:
    path = written(tmp_path, BESIDE[kind](state, other(state)))
    for take, expected in ((None, other(state)), ("averaged", other(state)), ("raw", state)):
        opened = weights.open_file(path, NAME, take=take)
        assert same(opened.tensors, expected), take
        assert any("averaged" in note for note in opened.notes)


def test_an_entry_by_its_name(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = written(tmp_path, {"generator": state, "discriminator": other(state)})
    assert same(weights.open_file(path, take="discriminator").tensors, other(state))
    with pytest.raises(UsageError, match=r"take is 'encoder'.*generator, discriminator"):
        weights.open_file(path, take="encoder")
    lightning = written(tmp_path, {"state_dict": prefixed(state, "student.") | prefixed(other(state), "teacher.")})
    assert same(weights.open_file(lightning, take="teacher").tensors, other(state))


def test_two_networks_are_no_one_s_choice(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = written(tmp_path, {"model": state, "net": other(state)})
    with pytest.raises(ConvatlasError, match="hold several networks: model, net"):
        weights.open_file(path)
    assert same(weights.open_file(path, take="net").tensors, other(state))


def test_take_where_there_is_no_choice(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = written(tmp_path, {"state_dict": state})
    assert same(weights.open_file(path, take="raw").tensors, state)
    with pytest.raises(UsageError, match="take is 'averaged'"):
        weights.open_file(path, take="averaged")
    ema = written(tmp_path, {"ema": state})
    with pytest.raises(UsageError, match="have only ema"):
        weights.open_file(ema, take="raw")


def test_shadows_without_names_are_no_network(tmp_path: Path, state: dict[str, Tensor]) -> None:
    """As torch_ema keeps them."""
    path = written(tmp_path, {"model": state, "ema": {"decay": 0.9, "shadow_params": list(other(state).values())}})
    assert same(weights.open_file(path).tensors, state)


# ---------- whole modules and Python objects


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 3)
        self.tied = self.conv1
        self.register_buffer("kept", torch.ones(2))
        self.register_buffer("lost", torch.ones(2), persistent=False)


@pytest.mark.parametrize("wrap", [lambda m: m, nn.DataParallel, AveragedModel, lambda m: {"model": m, "epoch": 1}])
def test_a_whole_module_gives_its_tensors_and_is_never_built(tmp_path: Path, wrap: Callable[[nn.Module], Any]) -> None:
    module = Block()
    opened = weights.open_file(written(tmp_path, wrap(module)))
    assert same(opened.tensors, dict(module.state_dict()))
    assert any("Block" in note and "nothing was executed" in note for note in opened.notes)


class Trap:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.made = (function, arguments)

    def __reduce__(self) -> Any:
        return self.made


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("code", [eval, exec, __import__, getattr, open, bytearray])
def test_what_acts_is_refused_by_name(tmp_path: Path, state: dict[str, Tensor], code: Any, zipped: bool) -> None:
    content = {"state_dict": state, "extra": Trap(code, 10 if code is bytearray else "'x'")}
    path = written(tmp_path, content, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ConvatlasError, match=rf"Python objects \((builtins|io)\.{code.__name__}\).*weights_only=False"):
        weights.open_file(path)


def test_an_unknown_function_is_never_called(tmp_path: Path, state: dict[str, Tensor]) -> None:
    victim = tmp_path / "made"
    path = written(tmp_path, {"state_dict": state, "extra": Trap(np.savetxt, str(victim), [1.0])})
    assert same(weights.open_file(path).tensors, state)
    assert not victim.exists()
    with torch.serialization.safe_globals([np.savetxt]):
        torch.load(path, weights_only=False)
    assert victim.exists(), "the file called nothing, so the test proved nothing"


# ---------- refused, with the way out


def _zip(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def _tar(names: list[str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return out.getvalue()


def _scripted() -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated; its files go on existing
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), out)
    return out.getvalue()


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "cut off, damaged"),
    "text": (lambda: b"hello world, this is text\n" * 20, "cut off, damaged"),
    "html": (lambda: b"<!DOCTYPE html><html>404</html>" * 20, "cut off, damaged"),
    "git lfs": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "cut off, damaged"),
    "gzip": (lambda: b"\x1f\x8b\x08\0rest", "compressed as a whole; unpack it"),
    "scripted": (_scripted, r"TorchScript program; convert it by torch.save\(torch.jit.load\(FILE\)"),
    "another archive": (lambda: _zip({"a.txt": b"x"}), "an archive of a.txt; expected one of torch.save"),
    "empty archive": (lambda: _zip({}), "an archive of nothing"),
    "tar": (lambda: _tar(["weights/a.pth"]), "a tar archive of weights/a.pth; unpack it first"),
    "torch 0.1": (lambda: _tar(["sys_info", "pickle", "tensors", "storages"]), "of torch 0.1.*weights_only=False"),
    "pickle": (lambda: pickle.dumps({"conv1.weight": np.zeros(3)}, 4), r"it is a pickle.*pickle.load"),
    "pickle 2": (lambda: pickle.dumps({"a": 1}, 2), r"it is a pickle.*pickle.load"),
    "cut pickle": (lambda: b"\x80\x02", "cut off, damaged"),
    "deep tuples": (lambda: b"\x80\x02K\x01" + b"\x85" * 100_000 + b".", "nests tuples deeper"),
    "a number of a gigabyte": (lambda: b"\x80\x02\x8b\xff\xff\xff\x7f", "cut off, damaged"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_with_the_way_out(tmp_path: Path, kind: str) -> None:
    make, reason = REFUSED[kind]
    (tmp_path / "x.pth").write_bytes(make())
    with pytest.raises(ConvatlasError, match=reason) as caught:
        weights.open_file(tmp_path / "x.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [[], {}, {"epoch": 3}, 7, torch.zeros(3), {"a": {"b": {}}}, {1: torch.zeros(2)}, [torch.zeros(1)]]
)
def test_no_named_tensors(tmp_path: Path, content: Any) -> None:
    with pytest.raises(ConvatlasError, match="no named tensors"):
        weights.open_file(written(tmp_path, content))


def test_dictionaries_that_contain_themselves_or_multiply(tmp_path: Path) -> None:
    circle: dict[str, Any] = {"w": torch.ones(1)}
    circle["self"] = circle
    assert weights.read(written(tmp_path, circle))[0].keys() == {"w"}
    bomb: dict[str, Any] = {"w": torch.ones(1)}
    for _ in range(28):
        bomb = {"a": bomb, "b": bomb}
    weights.read(written(tmp_path, bomb))


# ---------- numbers


def changed(state: dict[str, Tensor], name: str, value: Any) -> dict[str, Tensor]:
    return state | {name: value}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_other_precisions(tmp_path: Path, state: dict[str, Tensor], dtype: torch.dtype, ending: str) -> None:
    path = tmp_path / f"x{ending}"
    cast = {name: value.to(dtype) for name, value in state.items()}
    if ending == ".pth":
        torch.save(cast, path)
    else:
        safetensors.torch.save_file(cast, path)
    net = weights.create(NAME, weights=path)
    for name, value in net.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, cast[name].float())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none_are_named(tmp_path: Path, state: dict[str, Tensor], value: float) -> None:
    bad = state["conv2.weight"].clone()
    bad.view(-1)[:3] = value
    path = written(tmp_path, changed(state, "conv2.weight", bad))
    with pytest.raises(ConvatlasError, match=r"NaN or infinite in conv2.weight \(3 of 25,000\)"):
        weights.create(NAME, weights=path)
    assert cli.main(["weights", "import", str(path), "--to", NAME, "--out", str(tmp_path / "y.safetensors")]) == 1
    assert not (tmp_path / "y.safetensors").exists()


def test_quantised_values_become_numbers(tmp_path: Path, state: dict[str, Tensor]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = torch.quantize_per_tensor(state["ip1.weight"], 0.01, 0, torch.qint8)
        path = written(tmp_path, changed(state, "ip1.weight", quantised))
    opened = weights.open_file(path, NAME)
    assert torch.equal(opened.tensors["ip1.weight"], quantised.dequantize())
    assert any("quantised" in note and "ip1.weight" in note for note in opened.notes)


@pytest.mark.parametrize(
    ("dtype", "word"), [(torch.int8, "int8"), (torch.complex64, "complex64"), (torch.bool, "bool")]
)
def test_numbers_that_would_be_misread(tmp_path: Path, state: dict[str, Tensor], dtype: torch.dtype, word: str) -> None:
    path = written(tmp_path, changed(state, "ip1.weight", state["ip1.weight"].to(dtype)))
    with pytest.raises(ConvatlasError, match=rf"ip1.weight \({word}\).*restore quantised values"):
        weights.create(NAME, weights=path)


def test_shapes_without_values(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = written(tmp_path, changed(state, "ip1.weight", state["ip1.weight"].to("meta")))
    with pytest.raises(ConvatlasError, match=r"shapes without values in ip1\.weight"):
        weights.open_file(path)


def test_views_strides_and_sparse_values(tmp_path: Path, state: dict[str, Tensor]) -> None:
    buffer = torch.cat([value.flatten() for value in state.values()])
    views, start = {}, 0
    for name, value in state.items():
        views[name] = buffer[start : start + value.numel()].view(value.shape)
        start += value.numel()
    views["ip2.weight"] = state["ip2.weight"].T.contiguous().T
    views["ip1.weight"] = state["ip1.weight"].to_sparse()
    views["conv1.weight"] = state["conv1.weight"].to(memory_format=torch.channels_last)
    views["conv1.bias"] = nn.Parameter(state["conv1.bias"])  # pyright: ignore[reportArgumentType]
    path = written(tmp_path, views)
    assert same(dict(weights.create(NAME, weights=path).state_dict()), state)
    assert all(not value.requires_grad for value in read_file(path).tensors.values())


def test_counters_of_old_files_may_be_absent(tmp_path: Path) -> None:
    net = random_net("cifar_resnet20")
    kept = OrderedDict((n, v) for n, v in net.state_dict().items() if not n.endswith("num_batches_tracked"))
    again = weights.create("cifar_resnet20", weights=written(tmp_path, {"state_dict": kept}))
    assert torch.equal(again.get_parameter("fc.weight"), net.get_parameter("fc.weight"))


# ---------- the command line


def test_import_says_what_was_taken(
    tmp_path: Path, state: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, BESIDE["swin"](state, other(state)))
    out = tmp_path / "y.safetensors"
    assert cli.main(["weights", "import", str(path), "--to", NAME, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "model_ema: averaged weights; the raw ones are in model" in text
    assert "--take raw" in text
    assert same(weights.read(out)[0], other(state))
    assert cli.main(["weights", "import", str(path), "--to", NAME, "--out", str(out), "--take", "raw"]) == 0
    assert same(weights.read(out)[0], state)
    assert cli.main(["weights", "show", str(path), "--take", "nothing"]) == 2
    assert "take is 'nothing'" in capsys.readouterr().err


def test_predict_says_what_was_taken(
    tmp_path: Path, state: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    Image.fromarray(np.zeros((28, 28), np.uint8)).save(tmp_path / "x.png")
    path = written(tmp_path, BESIDE["timm"](state, other(state)))
    assert cli.main(["predict", NAME, str(tmp_path / "x.png"), "--weights", str(path)]) == 0
    assert "state_dict_ema: averaged weights; the raw ones are in state_dict" in capsys.readouterr().err
