"""AlexNet as it was trained: two towers on two devices, which talk only where the paper lets them.

Krizhevsky, Sutskever, Hinton 2012, section 3.5 and figure 2.

Follows  Each device holds half of the maps of every layer. Those of conv2, conv4 and conv5 see the maps of their own
         device alone; conv3 and the fully connected layers see those of both.
Departs  Response normalisation looks two maps to either side, so next to the middle it looks across. With `seam` these
         two maps are exchanged too, and the output is that of the network on one device; without, the towers talk only
         where figure 2 has crossing lines, and the four maps at the seam are normalised a little differently.
Shapes   B batch, C channels, H x W map, K classes.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.architectures.classification.alexnet import AlexNet
from convatlas.errors import UsageError

SEAM = 2  # maps that the normalisation looks across the middle
HALVED = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")


class AlexNetTowers(nn.Module):
    """(B, C, 227, 227) -> (B, K) logits on the first device.

    Args:
        net: `alexnet`, whose weights are copied, half to each device.
        devices: two, which may be the same.
        seam: exchange the maps at the middle before the response normalisation as well.

    Raises:
        UsageError: not two devices, or a network without the two groups.
    """

    def __init__(self, net: nn.Module, devices: Sequence[str | torch.device], *, seam: bool = True) -> None:
        super().__init__()
        if len(devices) != 2:
            raise UsageError(f"devices are {len(devices)}; expected two, one for each tower")
        if not isinstance(net, AlexNet) or getattr(net.get_submodule("conv2"), "groups", 1) != 2:
            raise UsageError("only alexnet has the two towers; expected a network with two groups")
        self.devices = [torch.device(device) for device in devices]
        self.seam = seam
        self.exchanges: list[str] = []  # of the last forward pass, in order
        halves = [{name: half(net.get_submodule(name), tower) for name in HALVED} for tower in (0, 1)]
        self.towers = nn.ModuleList(
            nn.ModuleDict(own).to(device) for own, device in zip(halves, self.devices, strict=True)
        )
        self.shared: Any = nn.ModuleDict(
            {name: copy.deepcopy(net.get_submodule(name)) for name in ("norm1", "norm2", "drop6")}
        )
        self.fc8 = copy.deepcopy(net.get_submodule("fc8")).to(self.devices[0])

    def forward(self, x: Tensor) -> Tensor:
        self.exchanges = []
        maps = [x.to(device) for device in self.devices]
        for number in (1, 2):
            maps = [F.relu(m) for m in self._layer(f"conv{number}", maps)]
            maps = self._normalised(f"norm{number}", maps)
            maps = [F.max_pool2d(m, 3, stride=2) for m in maps]
        maps = [F.relu(m) for m in self._layer("conv3", self._both("conv3", maps))]
        for name in ("conv4", "conv5"):
            maps = [F.relu(m) for m in self._layer(name, maps)]
        units = [F.max_pool2d(m, 3, stride=2).flatten(1) for m in maps]
        for name in ("fc6", "fc7"):
            units = [self.shared["drop6"](F.relu(u)) for u in self._layer(name, self._both(name, units))]
        return self.fc8(self._both("fc8", units)[0])

    def _layer(self, name: str, inputs: list[Tensor]) -> list[Tensor]:
        return [tower.get_submodule(name)(x) for tower, x in zip(self.towers, inputs, strict=True)]

    def _both(self, name: str, halves: list[Tensor]) -> list[Tensor]:
        """The maps of both towers, on each device."""
        self.exchanges.append(name)
        return [torch.cat([half.to(device) for half in halves], dim=1) for device in self.devices]

    def _normalised(self, name: str, halves: list[Tensor]) -> list[Tensor]:
        normalise = self.shared[name]
        if not self.seam:
            return [normalise(half) for half in halves]
        self.exchanges.append(name)
        first, second = halves
        left = torch.cat((first, second[:, :SEAM].to(first.device)), dim=1)
        right = torch.cat((first[:, -SEAM:].to(second.device), second), dim=1)
        return [normalise(left)[:, :-SEAM], normalise(right)[:, SEAM:]]


@torch.no_grad()
def half(layer: nn.Module, tower: int) -> nn.Module:
    """The part of a layer that makes one half of its outputs, with a copy of its weights."""
    own: Any = copy.deepcopy(layer)
    if isinstance(own, nn.Conv2d):
        own.in_channels, own.out_channels, own.groups = own.in_channels // own.groups, own.out_channels // 2, 1
    else:
        own.out_features //= 2
    for name in ("weight", "bias"):
        setattr(own, name, nn.Parameter(getattr(layer, name).chunk(2)[tower].clone()))
    return own


@torch.no_grad()
def joined(towers: AlexNetTowers) -> dict[str, Tensor]:
    """The weights of the network on one device, by its names, on the CPU."""
    found = {f"fc8.{name}": value.cpu() for name, value in towers.fc8.state_dict().items()}
    for layer in HALVED:
        for name in ("weight", "bias"):
            parts = [tower.get_submodule(layer).get_parameter(name).cpu() for tower in towers.towers]
            found[f"{layer}.{name}"] = torch.cat(parts)
    return found
