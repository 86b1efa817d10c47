"""Every segmenter learns two real street images by heart: which pixels are road, over 95% of them."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas import data, registry
from convatlas.data.preprocess import convert_channels
from convatlas.ops.transplant import transplant
from convatlas.records import VOID
from dense import learn_by_heart

ROAD = 3  # of CamVid's classes
SIDES = {  # pixels; by the longest beginning of a name. What pads by 100 sees enough of a small image.
    "": 96, "deconvnet": 224, "decoupled": 224, "retina": 48, "unet_phseg": 252, "unet": 252, "unet_squeezenet": 96,
    "fcn32s": 128, "fcn_alexnet": 128, "deeplab": 97, "enet": 128,
}  # fmt: skip
RATES = {"": 1e-3, "fcn": 1e-4, "fcn8s_squeezenet": 1e-3, "fcn_basic": 3e-3, "crf_rnn": 1e-5, "deconvnet": 1e-4,
         "decoupled": 1e-4, "unet": 1e-4, "unet_squeezenet": 1e-3, "enet": 5e-3, "segnet_basic": 3e-3,
         "googlenet": 3e-4, "deeplab": 3e-4, "retina": 3e-4}  # fmt: skip
QUICK = ("fcn8s_squeezenet", "unet_squeezenet")


def entry(table: dict, name: str):
    return table[max((beginning for beginning in table if name.startswith(beginning)), key=len)]


def streets(root: Path, name: str) -> tuple[Tensor, Tensor]:
    """Two images of CamVid as the network takes them, and where their road is: (2, C, s, s), (2, s, s)"""
    side, channels = entry(SIDES, name), registry.card(name).input_shape[0]
    split = data.load(str(root / "camvid"), task="segmentation").train
    images, masks = [], []
    for index in (0, 180):
        image, mask = split.read_pair(index)  # pyright: ignore[reportAttributeAccessIssue]
        square = convert_channels(image, channels)[None, :, :, :360].float()
        images.append(F.interpolate(square, (side, side), mode="bilinear", antialias=True)[0] / 128 - 1)
        road = torch.where(mask == VOID, VOID, (mask == ROAD).to(torch.uint8))
        masks.append(F.interpolate(road[None, None, :, :360].float(), (side, side))[0, 0].long())
    return torch.stack(images), torch.stack(masks)


def from_fcn(net: nn.Module, images: Tensor, masks: Tensor) -> Tensor:
    """CRF-RNN starts from FCN-8s, as published. The images come back with pixel values, which its colours are."""
    first = registry.build("fcn8s_vgg16_voc", num_classes=2)
    learn_by_heart(first, images, masks, steps=150, lr=entry(RATES, "fcn"))
    transplant(net, first.state_dict())
    with torch.no_grad():
        net.get_submodule("conv1_1").get_parameter("weight").div_(128)
    return images * 128


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in registry.names("segmentation")],
)  # fmt: skip
def test_the_road_of_two_streets_is_learnt_by_heart(name: str, data_root: Path) -> None:
    torch.manual_seed(0)
    images, masks = streets(data_root, name)
    net = registry.build(name, num_classes=2)
    if name.startswith("crf_rnn"):
        images = from_fcn(net, images, masks)
    own = name.startswith(("deconvnet", "decoupled"))
    assert learn_by_heart(net, images, masks, steps=150, lr=entry(RATES, name), own_statistics=own) > 0.95
