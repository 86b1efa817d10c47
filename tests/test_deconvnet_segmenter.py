"""DeconvNet, on `meta` since it has 252 million parameters: its order of layers, its switches, its start."""

import pytest
import torch
from torch import nn

from convatlas import registry
from convatlas.analysis.trace import build_on_meta, trace_network
from convatlas.analysis.verify import verify
from convatlas.architectures.classification.vgg import VGG
from convatlas.architectures.segmentation.deconvnet import add_decoder, add_encoder
from convatlas.blocks.init import gaussian, initialise, initialise_norms
from convatlas.blocks.unpool import MirroredSequential
from convatlas.errors import UsageError


def test_no_row_of_the_ledger_fails() -> None:
    assert [row for row in verify("deconvnet_voc") if row.verdict != "holds"] == []


def test_each_unpooling_gets_the_switches_of_its_pooling() -> None:
    by_name = {record.name: record for record in trace_network("deconvnet_voc")}
    for level in range(1, 6):
        pool, unpool = by_name[f"pool{level}"], by_name[f"unpool{level}"]
        assert pool.index in unpool.inputs
        assert unpool.output_shape == pool.input_shapes[0]


def test_normalised_and_rectified_after_every_convolution_but_the_last() -> None:
    kinds = [record.kind for record in trace_network("deconvnet_voc")]
    assert kinds.count("batchnorm") == kinds.count("relu") == 15 + 14
    for place, kind in enumerate(kinds[:-1]):
        if kind in ("conv", "deconv"):
            assert kinds[place + 1 : place + 3] == ["batchnorm", "relu"]
    assert kinds[-1] == "conv"


def test_the_encoder_has_the_names_and_shapes_of_vgg() -> None:
    with torch.device("meta"):
        vgg = VGG("D")
    theirs = {name: value.shape for name, value in vgg.state_dict().items() if name.startswith("conv")}
    ours = build_on_meta("deconvnet_voc").state_dict()
    assert len(theirs) == 26
    assert {name: ours[name].shape for name in theirs} == theirs


def test_values_return_through_five_levels_of_switches() -> None:
    """Poolings and unpoolings alone: what is left are the maxima of 32 x 32 pixels, where they stood."""
    net = MirroredSequential()
    add_encoder(net, 3, normalised=True)
    add_decoder(net, 512, 2)
    kept = MirroredSequential(*(layer for name, layer in net.named_children() if "pool" in name))
    assert len(kept) == 10
    x = torch.rand(1, 2, 64, 96) + 1
    y = kept(x)
    assert int((y > 0).sum()) == 2 * 2 * 3
    assert torch.equal(y[y > 0], x[y > 0])
    assert torch.equal(nn.functional.max_pool2d(y, 32), nn.functional.max_pool2d(x, 32))


def test_starts_as_the_release() -> None:
    net = nn.Sequential(nn.Conv2d(64, 64, 3), nn.BatchNorm2d(64), nn.ConvTranspose2d(64, 64, 3))
    initialise(net, gaussian(0.01))
    initialise_norms(net, bias=0.001)
    conv, norm, deconv = net
    assert isinstance(norm, nn.BatchNorm2d)
    for layer in (conv, deconv):
        assert layer.get_parameter("weight").std().item() == pytest.approx(0.01, rel=0.05)
        assert not layer.get_parameter("bias").any()
    assert norm.bias.eq(0.001).all()


def test_classes_channels_and_sizes() -> None:
    with torch.device("meta"):
        net = registry.build("deconvnet_voc", num_classes=3, in_channels=1).eval()
        assert net(torch.empty(1, 1, 224, 300)).shape == (1, 3, 224, 300)
        with pytest.raises(UsageError, match="DeconvNet takes at least 224 pixels along each axis"):
            net(torch.empty(1, 1, 200, 224))
