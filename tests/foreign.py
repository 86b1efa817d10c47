"""Writers of foreign weights files for tests: each with the format's own library, or by its specification."""

import io
import json
import struct
import zipfile
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convatlas import registry
from convatlas.weights.layouts.layout import Layout


def random_net(name: str, **sizes: int) -> nn.Module:
    """A network whose every parameter and statistic is random, and whose outputs do not explode."""
    torch.manual_seed(0)
    net = registry.build(name, **sizes).eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.normal_(module.bias)
            elif (
                isinstance(module, nn.BatchNorm2d)
                and module.running_mean is not None
                and module.running_var is not None
            ):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.1)
                nn.init.normal_(module.running_mean, std=0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net


def state(net: nn.Module) -> dict[str, Tensor]:
    """Without the counters of batches."""
    return {name: value for name, value in net.state_dict().items() if not name.endswith("num_batches_tracked")}


# ---------- Caffe, with Google's protobuf and the part of caffe.proto that is needed


def caffe_messages() -> dict[str, Any]:
    """NetParameter and the messages inside it."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="caffe_test.proto", package="caffe", syntax="proto2")
    F = descriptor_pb2.FieldDescriptorProto
    schema: dict[str, list[tuple]] = {
        "BlobShape": [("dim", 1, F.TYPE_INT64, True, True)],
        "BlobProto": [
            *((name, n, F.TYPE_INT32, False, None) for n, name in enumerate(("num", "channels", "height", "width"), 1)),
            ("data", 5, F.TYPE_FLOAT, True, True), ("shape", 7, ".caffe.BlobShape", False, None),
            ("double_data", 8, F.TYPE_DOUBLE, True, True), ("raw_data_type", 10, F.TYPE_INT32, False, None),
            ("raw_data", 12, F.TYPE_BYTES, False, None),
        ],
        "V1LayerParameter": [
            ("bottom", 2, F.TYPE_STRING, True, None), ("name", 4, F.TYPE_STRING, False, None),
            ("type", 5, F.TYPE_INT32, False, None), ("blobs", 6, ".caffe.BlobProto", True, None),
        ],
        "LayerParameter": [
            ("name", 1, F.TYPE_STRING, False, None), ("type", 2, F.TYPE_STRING, False, None),
            ("blobs", 7, ".caffe.BlobProto", True, None),
        ],
        "NetParameter": [
            ("name", 1, F.TYPE_STRING, False, None), ("layers", 2, ".caffe.V1LayerParameter", True, None),
            ("layer", 100, ".caffe.LayerParameter", True, None),
        ],
    }  # fmt: skip
    for message, fields in schema.items():
        added = file.message_type.add(name=message)
        for name, number, kind, repeated, packed in fields:
            label = F.LABEL_REPEATED if repeated else F.LABEL_OPTIONAL
            field = added.field.add(name=name, number=number, label=label)
            if isinstance(kind, str):
                field.type, field.type_name = F.TYPE_MESSAGE, kind
            else:
                field.type = kind
            if packed:
                field.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}")) for name in schema}


def caffemodel(layers: list[tuple[str, str, list[Tensor]]], name: str = "", *, v1: bool = False) -> bytes:
    """A NetParameter of (name, type, blobs); V1 has numbers for types and four axes for every blob."""
    messages = caffe_messages()
    net = messages["NetParameter"](name=name)
    for layer, kind, blobs in layers:
        if v1:
            added = net.layers.add(name=layer, type={"Convolution": 4, "InnerProduct": 14}.get(kind, 18))
        else:
            added = net.layer.add(name=layer, type=kind)
        for values in blobs:
            blob = added.blobs.add()
            blob.data.extend(values.flatten().numpy())
            if v1:
                shape = [1] * (4 - values.ndim) + list(values.shape)
                blob.num, blob.channels, blob.height, blob.width = shape
            else:
                blob.shape.dim.extend(values.shape)
    return net.SerializeToString()


def caffe_layers(net: nn.Module, layout: Layout) -> list[tuple[str, str, list[Tensor]]]:
    """A network as its release stores it: BatchNorm with a factor of 5, then Scale."""
    layers, norms_written = [], set()
    for theirs, ours in layout.layers.items():
        module = net.get_submodule(ours)
        values = module.state_dict()
        if isinstance(module, nn.BatchNorm2d):
            if ours in norms_written:
                layers.append((theirs, "Scale", [values["weight"], values["bias"]]))
            else:
                statistics = [values["running_mean"] * 5, values["running_var"] * 5, torch.tensor([5.0])]
                layers.append((theirs, "BatchNorm", statistics))
            norms_written.add(ours)
        else:
            kind = "InnerProduct" if isinstance(module, nn.Linear) else "Convolution"
            layers.append((theirs, kind, list(values.values())))
    return layers


# ---------- Torch7, by its specification


class Lua:
    """An object of a Lua class for `torch7`; "torch.FloatTensor" and its kin are made from tensors."""

    def __init__(self, kind: str, **fields: Any) -> None:
        self.kind, self.fields = kind, fields


def torch7(value: Any, *, tensor: str = "Float") -> bytes:
    """A value as torch.save writes it in binary: dicts are tables, lists are tables from 1; objects are shared."""
    out, known = bytearray(), {}
    codes = {"Float": np.float32, "Double": np.float64, "Half": np.float16, "Cuda": np.float32}

    def text(value: str) -> None:
        out.extend(struct.pack("<i", len(value)) + value.encode())

    def opened(tag: int, value: Any) -> bool:
        out.extend(struct.pack("<ii", tag, known.setdefault(id(value), len(known) + 1)))
        return known[id(value)] == len(known) and id(value) not in written

    def table(pairs: list[tuple[Any, Any]]) -> None:
        out.extend(struct.pack("<i", len(pairs)))
        for key, item in pairs:
            put(key)
            put(item)

    def put(value: Any) -> None:
        if value is None:
            out.extend(struct.pack("<i", 0))
        elif isinstance(value, bool):
            out.extend(struct.pack("<ii", 5, value))
        elif isinstance(value, (int, float)):
            out.extend(struct.pack("<id", 1, value))
        elif isinstance(value, str):
            out.extend(struct.pack("<i", 2))
            text(value)
        elif isinstance(value, (dict, list)):
            if opened(3, value):
                written.add(id(value))
                table(list(value.items()) if isinstance(value, dict) else list(enumerate(value, 1)))
        elif isinstance(value, Lua):
            if opened(4, value):
                written.add(id(value))
                text("V 1")
                text(value.kind)
                put(value.fields)
        elif isinstance(value, Tensor) and opened(4, value):
            written.add(id(value))
            text("V 1")
            text(f"torch.{tensor}Tensor")
            out.extend(struct.pack("<i", value.ndim))
            out.extend(struct.pack(f"<{2 * value.ndim}q", *value.shape, *value.stride()))
            out.extend(struct.pack("<q", value.storage_offset() + 1))
            storage = storages.setdefault(value.untyped_storage().data_ptr(), value.untyped_storage())
            if opened(4, storage):
                written.add(id(storage))
                text("V 1")
                text(f"torch.{tensor}Storage")
                flat = torch.tensor([], dtype=value.dtype).set_(storage).numpy().astype(codes[tensor])
                out.extend(struct.pack("<q", len(flat)) + flat.tobytes())

    written: set[int] = set()
    storages: dict[int, Any] = {}
    keep = value  # ids must not be used again
    put(keep)
    return bytes(out)


def torch7_layer(module: nn.Module) -> Lua:
    """nn.SpatialConvolution and so on with its tensors, and a gradient that readers have to leave."""
    kinds = {
        nn.Conv2d: "cudnn.SpatialConvolution",
        nn.BatchNorm2d: "nn.SpatialBatchNormalization",
        nn.Linear: "nn.Linear",
        nn.ConvTranspose2d: "nn.SpatialFullConvolution",
        nn.PReLU: "nn.PReLU",
    }
    values = {name: value for name, value in module.state_dict().items() if name != "num_batches_tracked"}
    return Lua(kinds[type(module)], gradWeight=torch.zeros(1), train=False, **values)


def torch7_sequential(*layers: Lua, kind: str = "nn.Sequential") -> Lua:
    return Lua(kind, modules=list(layers), train=False)


# ---------- Darknet, by its specification


def darknet_file(
    net: nn.Module, steps: list[Any], *, version: tuple[int, int] = (0, 2), transposed: bool = False
) -> bytes:
    """The header of a version and all layers; from 0.2 on images are counted in 64 bits."""
    wide = version[0] * 10 + version[1] >= 2
    out = struct.pack("<iii", *version, 0) + struct.pack("<q" if wide and not transposed else "<i", 1234)
    values = state(net)

    def put(value: Tensor) -> None:
        nonlocal out
        out += value.numpy().astype("<f4").tobytes()

    for step in steps:
        put(values[f"{step.norm or step.layer}.bias"])
        weight = values[f"{step.layer}.weight"]
        if weight.ndim == 2:
            put(weight.T if transposed else weight)
        if step.norm:
            for entry in ("weight", "running_mean", "running_var"):
                put(values[f"{step.norm}.{entry}"])
        if weight.ndim > 2:
            put(weight)
    return out


# ---------- MatConvNet, with scipy


def _cell(items: list[Any]) -> np.ndarray:
    cell = np.empty((1, len(items)), object)
    cell[0, :] = items
    return cell


def _matlab(module: nn.Module) -> list[np.ndarray]:
    """The arrays of a layer as MatConvNet has them."""
    values = {name: value.numpy() for name, value in module.state_dict().items()}
    if isinstance(module, nn.BatchNorm2d):
        moments = np.stack([values["running_mean"], np.sqrt(values["running_var"] + 1e-4)], 1)
        return [values["weight"][:, None], values["bias"][:, None], moments]
    weight = values["weight"]
    if weight.ndim == 2:  # a fully connected layer is a convolution there
        side = {25088: 7, 9216: 6}.get(weight.shape[1], 1)
        weight = weight.reshape(len(weight), -1, side, side)
    arrays = [np.asfortranarray(weight.transpose(2, 3, 1, 0))]
    return [*arrays, values["bias"][None]] if "bias" in values else arrays


def mat_file(layers: dict[str, nn.Module], *, dag: bool = False, compressed: bool = True, **top: Any) -> bytes:
    """SimpleNN or DagNN, with further variables."""
    from scipy.io import savemat

    kinds = {nn.Conv2d: "conv", nn.Linear: "conv", nn.BatchNorm2d: "bnorm"}
    if dag:
        params, entries = [], []
        for name, module in layers.items():
            names = [f"{name}_{part}" for part in "abc"[: len(_matlab(module))]]
            params += [{"name": n, "value": v} for n, v in zip(names, _matlab(module), strict=True)]
            block = "dagnn.BatchNorm" if isinstance(module, nn.BatchNorm2d) else "dagnn.Conv"
            entries.append({"name": name, "type": block, "params": _cell(names)})
        fields = {"layers": _structs(entries), "params": _structs(params)}
    else:
        fields = {
            "layers": _cell(
                [{"name": n, "type": kinds[type(m)], "weights": _cell(_matlab(m))} for n, m in layers.items()]
            )
        }
    out = io.BytesIO()
    savemat(out, fields | top, do_compression=compressed)
    return out.getvalue()


def _structs(entries: list[dict[str, Any]]) -> np.ndarray:
    array = np.empty((1, len(entries)), dtype=[(key, object) for key in entries[0]])
    for index, entry in enumerate(entries):
        for key, value in entry.items():
            array[0, index][key] = value
    return array


# ---------- Keras, with h5py


def keras_arrays(module: nn.Module, names: tuple[str, ...] = ("kernel", "bias")) -> dict[str, np.ndarray]:
    """The arrays of a layer under the names and in the order of axes of Keras 2."""
    values = {name: value.numpy() for name, value in module.state_dict().items() if name != "num_batches_tracked"}
    if isinstance(module, nn.BatchNorm2d):
        order = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
        return {theirs: values[ours] for theirs, ours in order.items()}
    weight = values["weight"]
    if weight.ndim == 4:
        weight = weight.transpose(2, 3, 0, 1) if module.groups > 1 else weight.transpose(2, 3, 1, 0)
    else:
        weight = weight.T
    return {names[0]: weight} | ({names[1]: values["bias"]} if "bias" in values else {})


def keras_h5(layers: dict[str, dict[str, np.ndarray]], *, whole_model: bool = False, **options: Any) -> bytes:
    """Keras 2's .h5 of weights, or of a whole model."""
    import h5py

    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        root = file.create_group("model_weights") if whole_model else file
        if whole_model:
            file.attrs["model_config"] = b"{}"
        root.attrs["layer_names"] = np.array([name.encode() for name in layers])
        for name, arrays in layers.items():
            group = root.create_group(name)
            paths = [f"{name}/{entry}:0" for entry in arrays]
            group.attrs["weight_names"] = np.array([path.encode() for path in paths])
            for path, array in zip(paths, arrays.values(), strict=True):
                group.create_dataset(path, data=array, **options)
    return out.getvalue()


def keras_zip(layers: dict[str, tuple[str, dict[str, np.ndarray]]]) -> bytes:
    """Keras 3's .keras: name -> (class, arrays); in the file layers are called by class and number."""
    import h5py

    weights, config, counts = io.BytesIO(), [], {}
    with h5py.File(weights, "w") as file:
        for name, (kind, arrays) in layers.items():
            snake = {"Conv2D": "conv2d", "BatchNormalization": "batch_normalization", "Dense": "dense"}[kind]
            counts[snake] = counts.get(snake, -1) + 1
            key = f"{snake}_{counts[snake]}" if counts[snake] else snake
            group = file.create_group(f"layers/{key}/vars")
            for index, array in enumerate(arrays.values()):
                group.create_dataset(str(index), data=array)
            config.append({"class_name": kind, "config": {"name": name}})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Functional", "config": {"layers": config}}))
        archive.writestr("model.weights.h5", weights.getvalue())
    return out.getvalue()
