"""Keras's nested and subclassed models give all their tensors, in all three of its files; heads may be absent.

The files are written by h5py alone, in the layout that Keras 3.15 and the h5 writer of Keras 2 gave such models.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from convatlas import registry, weights
from convatlas.errors import ConvatlasError
from convatlas.training import finetuning
from convatlas.training.finetuning import FineTune
from convatlas.weights.formats import keras
from convatlas.weights.layouts import keras as layouts
from convatlas.weights.layouts.layout import headless
from foreign import keras_arrays, keras_h5, random_net

Tree = Mapping[str, Any]  # a group: its name ("name"), its variables ("vars"), and the groups in it
RNG = np.random.default_rng(0)


def values(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def conv(inside: int, outside: int, name: str | None = None) -> dict[str, Any]:
    return {"name": name, "vars": [values(3, 3, inside, outside), values(outside)]}


def norm(width: int, name: str | None = None) -> dict[str, Any]:
    return {"name": name, "vars": [values(width) for _ in range(4)]}


def dense(inside: int, outside: int, name: str | None = None) -> dict[str, Any]:
    return {"name": name, "vars": [values(inside, outside), values(outside)]}


def put(group: h5py.Group, tree: Tree, named: bool) -> None:
    for key, inner in tree.items():
        if key == "vars" or (key == "name" and "vars" not in tree and inner is not None):
            variables = group.require_group("vars")
            for index, array in enumerate(tree.get("vars", ())):
                if str(index) not in variables:
                    variables.create_dataset(str(index), data=array)
            if named and tree.get("name"):
                variables.attrs["name"] = tree["name"]
        elif key != "name":
            put(group.create_group(key), inner, named)


def weights_h5(tree: Tree, *, named: bool = True) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        put(file, tree, named)
    return out.getvalue()


def archive(tree: Tree, config: Any) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("config.json", json.dumps(config))
        file.writestr("metadata.json", "{}")
        file.writestr("model.weights.h5", weights_h5(tree, named=False))
    return out.getvalue()


def read(data: bytes) -> dict[str, torch.Tensor]:
    return keras.read(memoryview(data), "x").tensors


def arrays_of(tree: Any) -> list[np.ndarray]:
    if not isinstance(tree, Mapping):
        return []
    own = list(tree.get("vars", ()))
    return own + [array for key, inner in tree.items() if key not in ("vars", "name") for array in arrays_of(inner)]


def sums(arrays: Any) -> list[tuple[int, float]]:
    return sorted((array.size, round(float(np.asarray(array, np.float64).sum()), 3)) for array in arrays)


def model(name: str, *layers: tuple[str, str, Any]) -> dict[str, Any]:
    """The config of a model: (class, name, config of a model inside or None)."""
    inner = [{"class_name": kind, "config": (own or {"config": {}})["config"] | {"name": n}} for kind, n, own in layers]
    return {"class_name": "Functional", "config": {"name": name, "layers": inner}}


NESTED: Tree = {
    "layers": {
        "dense": dense(5, 3, "head"),
        "sequential": {"name": "enc", "layers": {"conv2d": conv(3, 4, "c_a"), "batch_normalization": norm(4, "bn_a")}},
        "functional": {
            "name": "mid",
            "layers": {
                "conv2d": conv(4, 2, "q"),
                "sequential": {"name": "deep", "layers": {"conv2d": conv(4, 4, "r")}},
            },
        },
        "input_layer": {"name": "input"},
    }
}
NESTED_CONFIG = model(
    "whole", ("InputLayer", "input", None),
    ("Sequential", "enc", model("enc", ("Conv2D", "c_a", None), ("BatchNormalization", "bn_a", None))),
    ("Functional", "mid", model(
        "mid", ("Sequential", "deep", model("deep", ("Conv2D", "r", None))), ("Conv2D", "q", None))),
    ("Dense", "head", None),
)  # fmt: skip


@pytest.mark.parametrize("data", [weights_h5(NESTED), archive(NESTED, NESTED_CONFIG)], ids=["weights.h5", "keras"])
def test_models_within_models(data: bytes) -> None:
    tensors = read(data)
    assert sums(tensor.numpy() for tensor in tensors.values()) == sums(arrays_of(NESTED))
    assert {name.rpartition(".")[0] for name in tensors} == {"head", "enc.c_a", "enc.bn_a", "mid.q", "mid.deep.r"}
    kernel = NESTED["layers"]["functional"]["layers"]["conv2d"]["vars"][0]
    assert np.array_equal(tensors["mid.q.weight"].numpy(), kernel.transpose(3, 2, 0, 1))
    assert np.array_equal(tensors["enc.bn_a.running_var"].numpy(),
                          NESTED["layers"]["sequential"]["layers"]["batch_normalization"]["vars"][3])  # fmt: skip


def block(width: int) -> dict[str, Any]:
    return {
        "name": "block", "vars": [values(width)], "bn": norm(width, "batch_normalization_2"),
        "conv": conv(width, width, "conv2d_3"), "d": {"dense": dense(width, width, "dense_2")},
        "more": {"conv2d": conv(width, width, "conv2d_4"), "conv2d_1": conv(width, width, "conv2d_5")},
    }  # fmt: skip


SUBCLASSED: Tree = {
    "name": "net", "blocks": {"block": block(4), "block_1": block(4)}, "head": dense(3, 2, "dense_4"),
    "inner": {"name": "sequential_1", "layers": {"conv2d": conv(4, 3, "conv2d_9")}},
    "layers": {"conv2d": conv(3, 4, "conv2d_2")},
    "optimizer": {"vars": [values(1), values(3, 3, 3, 4)]},
    "drop": {"seed_generator": {"vars": [values(2)]}},
}  # fmt: skip


def test_a_subclassed_model_gives_all_by_its_attributes() -> None:
    contents = keras.read(memoryview(weights_h5(SUBCLASSED)), "x")
    network = {key: tree for key, tree in SUBCLASSED.items() if key not in ("optimizer", "drop")}
    assert sums(tensor.numpy() for tensor in contents.tensors.values()) == sums(arrays_of(network))
    assert {"blocks.block.variable0", "blocks.block_1.bn.running_mean", "blocks.block.more.conv2d_1.weight",
            "head.bias", "inner.conv2d_9.weight", "conv2d_2.weight"} <= contents.tensors.keys()  # fmt: skip
    assert any("optimizer" in note for note in contents.notes)
    assert any("seed_generator" in note for note in contents.notes)


def test_layers_whose_variables_have_no_usual_order() -> None:
    tree = {"layers": {
        "lstm": {"name": "lstm", "cell": {"name": "lstm_cell", "vars": [values(8, 16), values(4, 16), values(16)]}},
        "separable_conv2d": {"name": "s", "vars": [values(3, 3, 4, 1), values(1, 1, 4, 5), values(5)]},
        "depthwise_conv2d": {"name": "d", "vars": [values(3, 3, 5, 2), values(10)]},
        "p_re_lu": {"name": "p", "vars": [values(1, 1, 2)]},
        "layer_normalization": {"name": "ln", "vars": [values(2), values(2)]},
        "conv1d": {"name": "one", "vars": [values(3, 4, 5), values(5)]},
        "of_mine": {"name": "mine", "vars": [values(2), values(3, 4, 5), values(1), values(7), values(2, 2)]},
    }}  # fmt: skip
    tensors = read(weights_h5(tree))
    assert sums(tensor.numpy() for tensor in tensors.values()) == sums(arrays_of(tree))
    assert tensors["lstm.cell.recurrent_kernel"].shape == (16, 4)
    assert tensors["s.depthwise.weight"].shape == (4, 1, 3, 3)
    assert tensors["d.depthwise.weight"].shape == (10, 1, 3, 3)
    assert tensors["one.weight"].shape == (5, 4, 3)
    assert {f"mine.variable{index}" for index in range(5)} <= tensors.keys()


def legacy(layers: Mapping[str, Mapping[str, np.ndarray]], top: Mapping[str, np.ndarray] | None = None) -> bytes:
    """Keras's .h5: layer -> full name of a tensor -> array."""
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = np.array([name.encode() for name in layers])
        for layer, tensors in [*layers.items(), *([("top_level_model_weights", top)] if top else [])]:
            group = root.create_group(layer)
            group.attrs["weight_names"] = np.array([name.encode() for name in tensors])
            for name, array in tensors.items():
                group.create_dataset(name, data=array)
    return out.getvalue()


@pytest.mark.parametrize("ending", ["", ":0"])
def test_the_old_file_of_a_nested_model(ending: str) -> None:
    """Every second convolution was lost before, since their tensors are all called kernel and bias."""
    names = ["enc/c1/kernel", "enc/c1/bias", "enc/c2/kernel", "enc/c2/bias", "enc/bn/gamma", "enc/bn/moving_mean"]
    shapes = [(3, 3, 1, 4), (4,), (3, 3, 4, 2), (2,), (2,), (2,)]
    inner = {f"{name}{ending}": values(*shape) for name, shape in zip(names, shapes, strict=True)}
    head = {f"net/head/kernel{ending}": values(2, 3), f"net/head/bias{ending}": values(3)}
    tensors = read(legacy({"enc": inner, "head": head, "flatten": {}}, {f"net/scale{ending}": values(2)}))
    assert len(tensors) == 9
    assert tensors["enc.c2.weight"].shape == (2, 4, 3, 3)
    assert tensors["enc.c1.weight"].shape == (4, 1, 3, 3)
    assert {"enc.bn.running_mean", "head.weight"} <= tensors.keys()
    assert any(name.endswith("scale") for name in tensors)


def test_two_tensors_of_one_name_are_an_error() -> None:
    data = legacy({"enc": {"enc/a/kernel": values(2, 2), "enc/b/x": values(2)}, "enc.a": {"k/kernel": values(2, 2)}})
    with pytest.raises(ConvatlasError, match="a part would be lost"):
        read(data)


@pytest.mark.parametrize("damage", ["no variable 0", "a data set beside vars", "no weights at all", "a loop"])
def test_a_damaged_tree_is_an_error_and_no_part(damage: str) -> None:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        put(file, NESTED, True)
        if damage == "no variable 0":
            del file["layers/dense/vars/0"]
        elif damage == "a data set beside vars":
            file["layers/dense"].create_dataset("kernel", data=values(2))
        elif damage == "a loop":
            file["layers/again"] = file["layers"]
        else:
            for key in list(file["layers"]):
                del file["layers"][key]
    with pytest.raises(ConvatlasError):
        read(out.getvalue())


# ---------- names with slashes or dots


@pytest.mark.parametrize("separator", ["/", "."])
def test_slashes_and_dots_in_names_are_one(tmp_path: Path, separator: str) -> None:
    """DenseNet's conv1/conv of Keras 2, as a converter to a state dict wrote it."""
    layout = next(one for one in layouts.layouts() if one.release == "densenet121 of Keras 2")
    net = random_net("densenet121")
    by_layer: dict[str, dict[str, np.ndarray]] = {}
    for theirs, ours in layout.layers.items():
        module = net.get_submodule(ours)
        by_layer[theirs.replace("/", separator)] = keras_arrays(module)
    (tmp_path / "x.h5").write_bytes(keras_h5(by_layer))
    tensors, card = weights.read(tmp_path / "x.h5")
    assert card is not None
    assert card["network"] == "densenet121"
    assert torch.equal(tensors["convolution.weight"], net.get_parameter("convolution.weight"))


# ---------- without a head


def headless_file(folder: Path, name: str, release: str) -> tuple[Path, nn.Module]:
    layout = next(one for one in layouts.layouts() if one.release == release)
    net = random_net(name)
    top = {parameter.rpartition(".")[0] for parameter in headless(net)}
    arrays = {
        theirs: keras_arrays(net.get_submodule(ours)) for theirs, ours in layout.layers.items() if ours not in top
    }
    (folder / "notop.h5").write_bytes(keras_h5(arrays))
    return folder / "notop.h5", net


@pytest.mark.parametrize(
    ("name", "release", "head"),
    [("resnet50", "resnet50", {"fc"}), ("densenet121", "densenet121", {"classification_layer.fc"})],
)
def test_weights_without_a_head_serve_transfer(tmp_path: Path, name: str, release: str, head: set[str]) -> None:
    path, net = headless_file(tmp_path, name, release)
    tensors, card = weights.read(path)
    assert card is not None
    assert (card["network"], card["classes"]) == (name, None)
    assert not any(key.startswith(tuple(head)) for key in tensors)
    with pytest.raises(ConvatlasError, match=r"without its head: missing .*a training for other classes can start"):
        weights.create(name, weights=path)
    learner = registry.build(name, num_classes=3)
    fine_tune = FineTune(weights=str(path))
    drawn = {key: value.clone() for key, value in learner.state_dict().items() if key.startswith(tuple(head))}
    assert finetuning.start(learner, name, ("a", "b", "c"), fine_tune)
    assert {key.rpartition(".")[0] for key in finetuning.head_of(name, fine_tune)} == head
    for key, value in learner.state_dict().items():
        if key in drawn:
            assert torch.equal(value, drawn[key])
        elif not key.endswith("num_batches_tracked") and "bias" not in key:
            assert torch.equal(value, net.state_dict()[key]), key


@pytest.mark.slow
def test_all_three_layers_of_vgg_s_head_are_new(tmp_path: Path) -> None:
    path, _ = headless_file(tmp_path, "vgg_d", "vgg16")
    fine_tune = FineTune(weights=str(path))
    assert {key.rpartition(".")[0] for key in finetuning.head_of("vgg_d", fine_tune)} == {"fc6", "fc7", "fc8"}
    learner = registry.build("vgg_d", num_classes=2)
    assert finetuning.start(learner, "vgg_d", ("a", "b"), fine_tune)
    assert "fc6.*" not in {group.match for group in finetuning.rates(learner, "vgg_d", fine_tune)}


def test_torchvision_s_state_dict_without_a_head(tmp_path: Path) -> None:
    from torchvision import models

    state = {name: value for name, value in models.resnet18().state_dict().items() if not name.startswith("fc.")}
    torch.save(state, tmp_path / "x.pth")
    tensors, card = weights.read(tmp_path / "x.pth")
    assert card is not None
    assert card["network"] == "resnet18"
    assert len(tensors) == len(state)
