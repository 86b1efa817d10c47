"""Writers of foreign weights files for tests: each with the format's own library, or by its specification."""

from typing import Any

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
