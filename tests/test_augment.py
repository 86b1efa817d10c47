"""Crops at random scales, colours and lighting: by hand, and against torchvision's own transforms."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from convatlas.data import (
    ArraySplit,
    ColourJitter,
    FileSplit,
    HorizontalFlip,
    LabelAssembly,
    Loader,
    PadCrop,
    PCANoise,
    PhotometricDistortion,
    RandomCrop,
    RandomResizedCrop,
    RandomSizedCrop,
    ScaleJitter,
    measured,
    normalise,
)
from convatlas.data.augment import CornerCrop
from convatlas.data.cubic_crop import cubic
from convatlas.data.folder import SUFFIXES
from convatlas.data.preprocess import pack_mean_image, prepare, resize, shape, unpack_mean_image
from convatlas.data.random import table
from convatlas.errors import ConvatlasError, UsageError
from convatlas.evaluation import TenCrops
from convatlas.evaluation.protocols import with_scales
from convatlas.records import Preprocessing
from convatlas.training.recipe import SGD, Recipe, read, to_toml

IMAGES = torch.randint(0, 256, (6, 3, 40, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
NEW = (
    PCANoise(),
    ColourJitter(),
    ColourJitter(hue=0.2),
    PhotometricDistortion(),
    ScaleJitter((20, 20), (24, 48)),
    RandomSizedCrop((20, 20)),
    RandomSizedCrop((20, 24), ratio=(8.0, 9.0)),
    RandomCrop((16, 20), within=(24, 24)),
    CornerCrop((16, 20), within=(24, 24)),
    PadCrop(2, fill=(1, 2, 3)),
)


@pytest.mark.parametrize("augmentation", NEW)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_batch_equals_its_samples_one_by_one(augmentation, dtype: torch.dtype) -> None:
    u = table(6, augmentation.draws, seed=5, epoch=1)
    images = IMAGES.to(dtype)
    batch = augmentation(images, u)
    single = torch.cat([augmentation(images[i : i + 1], u[i : i + 1]) for i in range(6)])
    assert torch.equal(batch, single)
    assert not torch.equal(batch.float(), augmentation(images, u.flip(0)).float())


def test_every_augmentation_survives_a_recipes_file(tmp_path: Path) -> None:
    preprocessing = Preprocessing((20, 20), mean_image="training")
    recipe = Recipe("alexnet", "test", "a test", 1, 1, SGD(0.1), augment=NEW, preprocessing=preprocessing)
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    assert read(tmp_path / "recipe.toml") == recipe


def test_pca_noise_by_hand() -> None:
    noise = PCANoise(
        sigma=0.5, eigenvalues=(10 / 255, 4 / 255, 1 / 255), components=((1.0, 0, 0), (0, 0.6, 0.8), (0, -0.8, 0.6))
    )
    one_sigma = 0.8413447460685429  # the normal distribution's value at 1
    shifted = noise(IMAGES[:1], torch.tensor([[one_sigma, 1 - one_sigma, 0.5]], dtype=torch.float64))
    expected = torch.tensor([5.0, -1.2, -1.6])  # 0.5 x 10 x p1 - 0.5 x 4 x p2
    assert torch.allclose((shifted - IMAGES[:1]).mean((0, 2, 3)), expected, atol=1e-4)
    assert torch.isfinite(noise(IMAGES[:1], torch.zeros(1, 3, dtype=torch.float64))).all()
    with pytest.raises(UsageError, match="1 channels"):
        noise(IMAGES[:, :1], torch.zeros(6, 3))


def test_pca_noise_has_the_covariance_of_the_colours_scaled_by_sigma() -> None:
    noise = PCANoise()
    u = table(200_000, 3, seed=0, epoch=0)
    shifts = noise(torch.zeros(200_000, 3, 1, 1), u)[:, :, 0, 0].double()
    axes = torch.tensor(noise.components, dtype=torch.float64)
    spread = 255 * 0.1 * torch.tensor(noise.eigenvalues, dtype=torch.float64)
    assert torch.allclose(torch.cov(shifts.T), axes.T @ torch.diag(spread.square()) @ axes, atol=0.12)


def test_pca_noise_of_a_split_rebuilds_its_covariance() -> None:
    generator = torch.Generator().manual_seed(1)
    base = torch.randint(0, 200, (4, 1, 16, 16), generator=generator)
    colours = (base + torch.randint(0, 50, (4, 3, 16, 16), generator=generator)).to(torch.uint8)
    found = PCANoise.of(ArraySplit(colours, torch.arange(4)))
    axes = torch.tensor(found.components, dtype=torch.float64)
    rebuilt = axes.T @ torch.diag(torch.tensor(found.eigenvalues, dtype=torch.float64)) @ axes
    pixels = colours.transpose(0, 1).flatten(1).double() / 255
    assert torch.allclose(rebuilt, torch.cov(pixels, correction=0), rtol=1e-6)
    assert list(found.eigenvalues) == sorted(found.eigenvalues, reverse=True)
    with pytest.raises(ConvatlasError, match="no colour images"):
        PCANoise.of(ArraySplit(colours[:, :1], torch.arange(4)))


@pytest.mark.parametrize("changed", ["brightness", "contrast", "saturation", "hue"])
def test_colour_jitter_is_torchvisions_operation(changed: str) -> None:
    from torchvision.transforms.v2 import functional as V

    strengths = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0} | {changed: 0.4}
    u = torch.tensor([[0.3, 0.75, 0.75, 0.75, 0.75]])
    amount = 0.5 * 0.4
    reference = getattr(V, f"adjust_{changed}")(IMAGES[:1], amount if changed == "hue" else 1 + amount)
    assert torch.equal(ColourJitter(**strengths)(IMAGES[:1], u), reference)


def test_colour_jitter_visits_all_orders() -> None:
    jitter = ColourJitter(hue=0.1)
    amounts = [0.9, 0.1, 0.9, 0.9]
    results = {
        tuple(jitter(IMAGES[:1], torch.tensor([[(i + 0.5) / 24, *amounts]])).flatten().tolist()) for i in range(24)
    }
    assert len(results) > 6  # some orders agree: saturation and hue leave the luma that contrast takes nearly alone


@pytest.mark.parametrize("contrast_first", [True, False])
def test_photometric_distortion_is_torchvisions_transform(contrast_first: bool) -> None:
    from torchvision.transforms import v2

    u = torch.tensor(
        [[0.1] * 4 + [0.2, 0.4, 0.6, 0.8] + [0.2 if contrast_first else 0.8, 0.1, 0.9]], dtype=torch.float64
    )
    params = {
        "brightness_factor": 0.875 + 0.2 * 0.25,
        "contrast_factor": 0.9,
        "saturation_factor": 1.1,
        "hue_factor": -0.05 + 0.8 * 0.1,
        "contrast_before": contrast_first,
        "channel_permutation": [2, 1, 0],
    }
    reference = v2.RandomPhotometricDistort().transform(IMAGES[0], params)
    assert torch.equal(PhotometricDistortion()(IMAGES[:1], u)[0], reference)
    untouched = torch.full((1, 11), 0.9)
    assert torch.equal(PhotometricDistortion()(IMAGES[:1], untouched), IMAGES[:1])


def test_scale_jitter_is_torchvisions_resize_and_a_crop() -> None:
    from torchvision.transforms.v2 import functional as V

    jitter = ScaleJitter((20, 16), (24, 48))
    for scale, down, right in itertools.product((0.0, 0.5, 0.999), repeat=3):
        side = 24 + int(scale * 25)
        resized = V.resize(IMAGES[0], [side], antialias=True)
        top, left = int(down * (resized.shape[1] - 19)), int(right * (resized.shape[2] - 15))
        crop = jitter(IMAGES[:1], torch.tensor([[scale, down, right]], dtype=torch.float64))[0]
        assert torch.equal(crop, resized[:, top : top + 20, left : left + 16])
    with pytest.raises(UsageError, match="does not fit"):
        ScaleJitter((50, 50), (24, 48))(IMAGES, torch.zeros(6, 3))


def test_alexnets_crops_stay_in_the_middle_square_and_reach_all_of_it() -> None:
    places = torch.arange(256 * 341).view(1, 1, 256, 341).to(torch.float64)
    crop = RandomCrop((224, 224), within=(256, 256))
    corners = torch.tensor([[a, b] for a in (0.0, 0.9999) for b in (0.0, 0.9999)], dtype=torch.float64)
    cut = crop(places.expand(4, -1, -1, -1), corners)
    columns = cut % 341
    assert (columns.min(), columns.max()) == (42, 42 + 255)
    assert cut[0, 0, 0, 0] == 42
    assert cut[3, 0, -1, -1] == 255 * 341 + 42 + 255


def test_crops_and_flips_make_every_patch_equally_often() -> None:
    """He and Krizhevsky count (256 - 224)^2 x 2 = 2,048; here 6 - 3 + 1 = 4 places an axis: 4 x 4 x 2 patches."""
    image = torch.arange(36, dtype=torch.uint8).view(1, 1, 6, 6).expand(6400, -1, -1, -1)
    u = table(6400, 3, seed=0, epoch=0)
    patches = HorizontalFlip()(RandomCrop((3, 3))(image, u[:, :2]), u[:, 2:]).flatten(1)
    distinct, counts = patches.unique(dim=0, return_counts=True)
    assert len(distinct) == 32
    assert counts.min() > 140  # 200 each, standard deviation 14
    assert counts.max() < 260


def test_padding_with_the_mean_colour_is_padding_with_zero_after_normalisation() -> None:
    preprocessing = Preprocessing((40, 30), mean=(20 / 255, 40 / 255, 60 / 255), std=(0.2, 0.3, 0.4))
    u = torch.tensor([[0.0, 0.0]])
    padded = normalise(PadCrop(4, fill=(20, 40, 60))(IMAGES[:1], u), preprocessing)
    after = PadCrop(4)(normalise(IMAGES[:1], preprocessing), u)
    assert torch.allclose(padded, after, atol=1e-5)
    with pytest.raises(UsageError, match="fill has 2 values"):
        PadCrop(4, fill=(1, 2))(IMAGES, torch.zeros(6, 2))


def test_mean_image_is_subtracted_pixel_by_pixel() -> None:
    split = ArraySplit(IMAGES, torch.arange(6) % 2)
    asked = Preprocessing((40, 30), std=(1.0,), mean_image="training")
    with pytest.raises(UsageError, match="'training'"):
        normalise(IMAGES, asked)
    known = measured(asked, split)
    assert measured(known, split) is known
    centred = normalise(IMAGES, known)
    assert centred.mean(0).abs().max() < 3e-4  # half precision
    assert torch.allclose(centred, IMAGES / 255 - (IMAGES / 255).mean(0), atol=3e-4)
    turned = normalise(IMAGES, replace(known, channel_order="bgr"))
    assert torch.equal(turned, centred.flip(1))
    batch = next(Loader(LabelAssembly(split, known), batch_size=6).epoch(0))
    assert torch.equal(batch.images, centred)


def test_mean_image_that_is_damaged_or_of_another_size_is_refused() -> None:
    packed = pack_mean_image(torch.rand(3, 4, 5))
    good = Preprocessing((4, 5), mean_image=packed)
    assert unpack_mean_image(good).shape == (3, 4, 5)
    for wrong in (replace(good, size=(4, 4)), replace(good, size=(5, 5)), replace(good, mean_image="ä"),
                  replace(good, mean_image=packed[:40])):  # fmt: skip
        with pytest.raises(ConvatlasError, match="mean_image"):
            normalise(IMAGES, wrong)


def test_jitter_and_area_crops_see_images_before_the_resizing(tmp_path: Path) -> None:
    from PIL import Image

    path = str(tmp_path / "x.png")
    Image.fromarray(IMAGES[0].permute(1, 2, 0).numpy()).save(path)
    split = FileSplit([path, path], torch.tensor([0, 1]))
    preprocessing = Preprocessing((16, 16), mean=(0.0,), std=(1 / 255,), resize="short_side", resize_to=18)
    for crop in (ScaleJitter((16, 16), (18, 36)), RandomResizedCrop((16, 16))):
        u = table(2, crop.draws, seed=0, epoch=0)
        batch = next(Loader(LabelAssembly(split, preprocessing, (crop,)), batch_size=2).epoch(0))
        assert torch.allclose(batch.images, crop(IMAGES[[0, 0]], u).float(), atol=1e-3)
    smaller = replace(preprocessing, resize_to=10)  # 30 pixels are more than twice 10: first down to 20
    batch = next(Loader(LabelAssembly(split, smaller, (ScaleJitter((16, 16), (16, 16)),)), batch_size=2).epoch(0))
    assert batch.images.shape == (2, 3, 16, 16)


@pytest.mark.data
def test_photographs_have_the_published_principal_colours(data_root: Path) -> None:
    """100 photographs for 1.2 million: near, which tells eigenvalues from their square roots and [0, 1] from 0..255."""
    paths = sorted(str(path) for path in (data_root / "imagenet100").iterdir() if path.suffix.lower() in SUFFIXES)
    found, published = PCANoise.of(FileSplit(paths, torch.zeros(len(paths)))), PCANoise()
    assert found.eigenvalues == pytest.approx(published.eigenvalues, rel=0.3)
    for mine, its in zip(found.components, published.components, strict=True):
        assert abs(sum(a * b for a, b in zip(mine, its, strict=True))) > 0.97


def test_the_window_of_fb_resnet_is_uniform_in_aspect_and_may_lie_down() -> None:
    crop = RandomSizedCrop((8, 8))
    u = torch.rand(4000, 32, generator=torch.Generator().manual_seed(1)).tolist()
    windows = [window for row in u if (window := crop.window((400, 400), row)) is not None]
    aspects = torch.tensor([width / height for _, _, height, width in windows])
    assert aspects.min() > 0.72
    assert aspects.max() < 1.37
    # half of the aspects a are uniform in 3/4..4/3, the others their inverses: P(a < 1) = (3/7 + 4/7) / 2
    assert (aspects < 1).float().mean() == pytest.approx(0.5, abs=0.03)
    assert crop.window((400, 400), [0.5, 1.0, 0.9, *[0.0] * 29])[2:] == (255, 339)  # an area of 0.54 x 160,000
    assert crop.window((400, 400), [0.5, 1.0, 0.1, *[0.0] * 29])[2:] == (339, 255)
    assert RandomSizedCrop((8, 8), ratio=(5.0, 6.0), scale=(1.0, 1.0)).window((9, 9), [0.5] * 32) is None


def test_the_cubic_interpolation_is_torch7s() -> None:
    """By hand from `cubicInterpolate` of torch/image: p1 + t/2 (p2 - p0 + t (2p0 - 5p1 + 4p2 - p3 + t (...)))."""
    line = torch.tensor([10.0, 20.0, 60.0, 0.0])
    found = cubic(line.view(1, 1, 4).expand(1, 2, 4).contiguous(), (2, 7))[0, 0]

    def between(p0: float, p1: float, p2: float, p3: float, t: float) -> float:
        return p1 + t / 2 * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)))

    # beyond the edges the line goes on: 2 * 10 - 20 = 0 and 2 * 0 - 60 = -60
    steps = (between(0, 10, 20, 60, 0.5), between(10, 20, 60, 0, 0.5), between(20, 60, 0, -60, 0.5))
    expected = [10, steps[0], 20, steps[1], 60, steps[2], 0]
    assert found.tolist() == pytest.approx(expected, abs=1e-4)
    grey = torch.full((3, 50, 40), 77.0)
    assert torch.allclose(cubic(grey, (20, 33)), torch.full((3, 20, 33), 77.0), atol=1e-3)


def test_the_middle_of_a_test_image_fills_the_input() -> None:
    """tf.image.central_crop: the margins are whole pixels, equal on opposite sides."""
    shown = torch.arange(100, dtype=torch.uint8).view(1, 1, 100).expand(1, 80, 100)
    wide = Preprocessing((8, 8), 1, "stretch", 8, (0.0,), (1.0,), middle=0.875)
    plain = replace(wide, middle=1.0)
    assert torch.equal(prepare(shown, wide), prepare(shown[:, 5:75, 6:94], plain))
    assert with_scales(TenCrops(), wide).scales == (9,)
    random = shape(shown, wide, "native")  # random crops see the whole image, at the scale of the test's
    assert random.shape == resize(shown, replace(wide, resize="short_side", resize_to=18, middle=1.0)).shape
