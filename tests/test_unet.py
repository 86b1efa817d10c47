"""U-Net: its sizes by hand, its crops, its release, and images cut into tiles without a seam."""

import math

import pytest
import torch
from torch import Tensor, nn

from convatlas import registry
from convatlas.analysis.receptive_field import receptive_fields
from convatlas.analysis.trace import build_on_meta, trace_network
from convatlas.analysis.verify import verify
from convatlas.architectures.segmentation.unet import CropConcat, EvenPool2d, TwoConvolutions, UNet
from convatlas.errors import UsageError
from convatlas.evaluation.tiles import margins, mirror, overlap_tile, tile_for_memory
from convatlas.sizes import Sizes, find_sizes
from dense import blocks, learn_by_heart

NAMES = ["unet", "unet_phseg_v5_release"]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", NAMES)
def test_no_row_of_the_ledger_fails(name: str) -> None:
    assert [row for row in verify(name) if row.verdict != "holds"] == []


def output_by_hand(side: int) -> int | None:
    """Four times two convolutions and an even pool, two convolutions, four times doubled and two convolutions."""
    for _ in range(4):
        side -= 4
        if side % 2:
            return None
        side //= 2
    side -= 4
    for _ in range(4):
        side = 2 * side - 4
    return side if side > 0 else None


def test_sizes_by_hand() -> None:
    assert output_by_hand(572) == 388
    fitting = [side for side in range(1, 400) if output_by_hand(side)]
    found = find_sizes(build_on_meta("unet"), (1, 572, 572))
    assert found == (Sizes(188, None, 16),) * 2
    assert fitting == [side for side in range(1, 400) if side in Sizes(188, None, 16)]
    for side in (188, 204, 572):
        output = build_on_meta("unet")(torch.empty(1, 1, side, 588, device="meta"))
        assert output.shape == (1, 2, output_by_hand(side), 404)


def test_other_sizes_are_refused_with_those_that_fit() -> None:
    for height, width in ((573, 572), (572, 574), (172, 572)):
        with pytest.raises(UsageError, match="UNet takes at least 188 pixels in steps of 16 along each axis"):
            build_on_meta("unet")(torch.empty(1, 1, height, width, device="meta"))


def test_a_pixel_sees_no_further_than_the_margin_allows() -> None:
    """Valid convolutions: the field of the first output pixel starts at the first pixel of the input, not before."""
    field = receptive_fields(trace_network("unet"))[-1]
    assert field is not None
    assert (field.offset, field.stride) == ((0, 0), (1, 1))


def test_the_middle_is_copied() -> None:
    copied, upsampled = torch.arange(36.0).view(1, 1, 6, 6), torch.full((1, 1, 2, 4), -1.0)
    both = CropConcat()(copied, upsampled)
    assert both[0].tolist() == [[[13, 14, 15, 16], [19, 20, 21, 22]], [[-1] * 4] * 2]
    assert torch.equal(CropConcat(copied_first=False)(copied, upsampled), both.flip(1))


def test_what_the_release_does_otherwise() -> None:
    paper, release = map(build_on_meta, NAMES)
    assert paper.get_submodule("upconv_u0").out_channels == 64
    assert release.get_submodule("upconv_u0.upconv").out_channels == 128
    records = {record.name: record for record in trace_network("unet_phseg_v5_release")}
    relus = [record for record in records.values() if record.name.startswith("upconv") and record.kind == "relu"]
    assert [record.name for record in relus] == [f"upconv_u{level}.relu" for level in (3, 2, 1, 0)]
    cat = records["crop_concat_u3/cat"]
    assert [record.name for record in records.values() if record.index in cat.inputs] == [
        "upconv_u3.relu",
        "crop_concat_u3/getitem",
    ]


def test_starts_from_two_over_the_inputs() -> None:
    net = UNet()
    for name, inputs in (("d1.b_c", 9 * 128), ("d4.a_b", 9 * 512), ("upconv_u3", 1024), ("score", 64)):
        layer = net.get_submodule(name)
        assert layer.get_parameter("weight").std().item() == pytest.approx(math.sqrt(2 / inputs), rel=0.1)
        assert not layer.get_parameter("bias").any()


def test_dropout_acts_at_the_end_of_the_contracting_path() -> None:
    net = build_on_meta("unet")
    assert {name: m.p for name, m in net.named_modules() if isinstance(m, nn.Dropout)} == {
        "dropout_d3c": 0.5,
        "dropout_d4c": 0.5,
    }
    by_name = {record.name: record for record in trace_network("unet")}
    dropped = by_name["dropout_d3c"].index
    assert by_name["pool_d3"].inputs == (dropped,)
    assert by_name["crop_concat_u3/getitem"].inputs == (dropped,)


def test_classes_and_channels_are_honoured() -> None:
    for name in NAMES:
        with torch.device("meta"):
            net = registry.build(name, num_classes=5, in_channels=3)
            assert net(torch.empty(2, 3, 188, 204)).shape == (2, 5, 4, 20)


class LittleUNet(nn.Module):
    """Two levels of the same blocks: 16 + 4n px in, 12 px less out."""

    def __init__(self) -> None:
        super().__init__()
        self.d0, self.pool, self.d1 = TwoConvolutions("abc", 1, 4), EvenPool2d(), TwoConvolutions("abc", 4, 8)
        self.up, self.join, self.u0 = nn.ConvTranspose2d(8, 4, 2, stride=2), CropConcat(), TwoConvolutions("bcd", 8, 4)

    def forward(self, x: Tensor) -> Tensor:
        d0c = self.d0(x)
        return self.u0(self.join(d0c, self.up(self.d1(self.pool(d0c)))))


# ---------- tiles


def test_mirroring_by_hand() -> None:
    assert mirror(4, 2, 9).tolist() == [2, 1, 0, 1, 2, 3, 2, 1, 0]
    assert mirror(2, 3, 7).tolist() == [1, 0, 1, 0, 1, 0, 1]
    assert mirror(1, 2, 4).tolist() == [0, 0, 0, 0]
    x = torch.randn(1, 1, 5, 7)
    expected = nn.functional.pad(x, (3, 3, 3, 3), mode="reflect")
    assert torch.equal(x.index_select(2, mirror(5, 3, 11)).index_select(3, mirror(7, 3, 13)), expected)


def test_margins_of_a_network_without_padding() -> None:
    (axis, other) = margins(LittleUNet(), (1, 32, 32))
    assert axis == other
    assert (axis.sizes, axis.margin) == (Sizes(18, None, 2), 8)
    assert [axis.margin for axis in margins(build_on_meta("unet"), (1, 572, 572))] == [92, 92]
    assert (axis.least(1), axis.least(2), axis.least(3), axis.advance(24)) == (18, 18, 20, 8)


def test_networks_with_padding_are_refused() -> None:
    with pytest.raises(UsageError, match="expected a network without padding"):
        margins(nn.Conv2d(1, 2, 3, padding=1), (1, 8, 8))


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (33, 47), (64, 64)])
@pytest.mark.parametrize("tile", [18, 24, 30])
def test_tiles_equal_one_pass(size: tuple[int, int], tile: int) -> None:
    net, x = LittleUNet().double().eval(), torch.randn(2, 1, *size, dtype=torch.double)
    whole = overlap_tile(net, x, (1, 32, 32))
    assert whole.shape == (2, 4, *size)
    torch.testing.assert_close(overlap_tile(net, x, (1, 32, 32), tile=tile), whole, rtol=0, atol=1e-12)


def test_one_pass_is_the_network_over_the_mirrored_image() -> None:
    net, x = LittleUNet().eval(), torch.randn(1, 1, 20, 24)
    expected = net(nn.functional.pad(x, (8, 8, 8, 8), mode="reflect"))
    torch.testing.assert_close(overlap_tile(net, x, (1, 32, 32)), expected)


def test_tiles_that_do_not_fit_are_named() -> None:
    net, x = LittleUNet().eval(), torch.randn(1, 1, 64, 64)
    with pytest.raises(UsageError, match="tile is 25; LittleUNet takes 18 pixels and more in steps of 2"):
        overlap_tile(net, x, (1, 32, 32), tile=25)
    with pytest.raises(UsageError, match="expected one of them"):
        overlap_tile(net, x, (1, 32, 32), tile=24, memory_bytes=10**6)


def test_the_tile_is_as_large_as_memory_allows() -> None:
    net = LittleUNet().eval()
    small, large = (tile_for_memory(net, (1, 32, 32), memory, most=200) for memory in (50_000, 500_000))
    assert 18 <= small < large < 200
    assert tile_for_memory(net, (1, 32, 32), 10**9, most=200) == 200
    x = torch.randn(1, 1, 90, 60)
    whole = overlap_tile(net, x, (1, 32, 32))
    torch.testing.assert_close(overlap_tile(net, x, (1, 32, 32), memory_bytes=50_000), whole, rtol=0, atol=1e-5)
    with pytest.raises(UsageError, match="memory_bytes is 10; a tile of 18 pixels takes"):
        tile_for_memory(net, (1, 32, 32), 10, most=200)


@pytest.mark.slow
def test_tiles_of_a_slice_equal_one_pass() -> None:
    """A 512 x 512 slice in tiles of 572 px, as the paper has it."""
    net, x = UNet().eval(), torch.rand(1, 1, 512, 512)
    whole = overlap_tile(net, x, (1, 572, 572))
    tiled = overlap_tile(net, x, (1, 572, 572), tile=572)
    assert whole.shape == tiled.shape == (1, 2, 512, 512)
    torch.testing.assert_close(tiled, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_images_are_learnt_by_heart(name: str) -> None:
    x, masks = blocks(204, classes=2, channels=1, block=6)
    assert learn_by_heart(registry.build(name), x, masks, steps=60, lr=1e-4) > 0.95
