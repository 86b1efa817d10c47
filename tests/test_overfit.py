"""Networks of most families learn eight pictures by heart, from the published initialisation.

The pictures are patches of colour, of a size that leaves something to learn and little to compute. Batch
normalisation uses the batch; what is dropped at random is dropped in training, and there when the pictures are named.
"""

from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.dropout import _DropoutNd

from convatlas import registry
from convatlas.structures import AuxiliaryOutputs

CLASSES = 4
LABELS = torch.arange(8) % CLASSES
STEPS = 100

Value = TypeVar("Value")

# The longest beginning of a name holds; the published side where none is given here.
SIDES = {
    "a2net50_reading": 32,
    "alexnet_owt": 63,
    "bn_inception": 32,
    "cifar_": 8,
    "densenet": 32,
    "enet_encoder": 32,
    "googlenet": 64,
    "highway": 16,
    "inception": 75,
    "nin_cifar10": 16,
    "nin_imagenet": 64,
    "plain": 32,
    "preresnet200": 32,
    "resne": 32,
    "squeezenet": 64,
    "stochastic_depth": 8,
    "xception": 64,
}
# A ReLU stands after the class maps of these, and of four some are dead from the start: they start from biases of 1.
RECTIFIED = {"nin_imagenet": "cccp8", "squeezenet": "conv10"}
NAMES = (
    "a2net50_reading", "bn_inception", "bn_inception_slim", "caffe_lenet", "cifar_densenet_100_12",
    "cifar_densenet_100_24", "cifar_densenet_40_12", "cifar_densenet_bc_100_12", "cifar_plain20", "cifar_plain32",
    "cifar_plain44", "cifar_plain56", "cifar_preresnet110", "cifar_preresnet164", "cifar_resnet110",
    "cifar_resnet20", "cifar_resnet32", "cifar_resnet44", "cifar_resnet56", "cifar_resnext29_8x64d",
    "ciresan2010_mlp_1", "ciresan2010_mlp_2", "ciresan2010_mlp_3", "ciresan2010_mlp_4", "densenet121",
    "densenet169", "enet_encoder", "fractalnet_thin_c1", "fractalnet_thin_c2", "googlenet", "googlenet_bn",
    "highway19_cifar10", "highway32_cifar10", "lenet5", "mcdnn_gtsrb", "nin_cifar10", "nin_imagenet",
    "squeezenet_v1_0", "stochastic_depth_110",
)  # fmt: skip


def entry(table: dict[str, Value], name: str) -> Value | None:
    keys = [beginning for beginning in table if name.startswith(beginning)]
    return table[max(keys, key=len)] if keys else None


def network(name: str) -> nn.Module:
    net = registry.build(name, num_classes=CLASSES)
    if name.startswith("fractalnet"):
        for layer in net.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0  # on top of drop-path it takes more than eight pictures hold
    if last := entry(RECTIFIED, name):
        nn.init.ones_(net.get_parameter(f"{last}.bias"))
    return net


def pictures(name: str) -> Tensor:
    channels, side, _ = registry.card(name).input_shape
    side = entry(SIDES, name) or side
    patches = torch.randn(8, channels, 2, 2)
    return 2 * F.interpolate(patches, size=(side, side), mode="bilinear")


def loss_of(outputs: Tensor | AuxiliaryOutputs) -> Tensor:
    if isinstance(outputs, AuxiliaryOutputs):
        return sum((0.3 * F.cross_entropy(head, LABELS) for head in outputs.auxiliary), loss_of(outputs.logits))
    return F.cross_entropy(outputs, LABELS)


def named(net: nn.Module, x: Tensor) -> Tensor:
    """What the network says of the pictures with nothing dropped, normalised by the batch.  -> (8,)"""
    net.train()
    for layer in net.modules():
        if isinstance(layer, _DropoutNd) or getattr(layer, "draws_randomly", False):
            layer.eval()
    with torch.no_grad():
        outputs = net(x)
    return (outputs.logits if isinstance(outputs, AuxiliaryOutputs) else outputs).argmax(dim=1)


@pytest.mark.parametrize("name", NAMES)
def test_learns_eight_pictures_by_heart(name: str) -> None:
    torch.manual_seed(0)
    net, x = network(name), pictures(name)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        loss_of(net.train()(x)).backward()
        optimizer.step()
        if step % 4 == 0 and torch.equal(named(net, x), LABELS):
            return
    pytest.fail(f"after {STEPS} steps the pictures are {named(net, x).tolist()}")
