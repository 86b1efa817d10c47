"""Elastic deformation: a function of the draws, smooth, of the stated strength."""

import pytest
import torch
from torch import Tensor

from convatlas.data import ElasticDistortion
from convatlas.data.elastic import _gaussian, _mixed, _noise


def draws(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, ElasticDistortion.draws, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (40, 2, 29, 23), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_mixing_is_the_published_function() -> None:
    """lowbias32, worked out with Python's integers."""

    def reference(x: int) -> int:
        x = ((x ^ (x >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
        x = ((x ^ (x >> 15)) * 0x846CA68B) & 0xFFFFFFFF
        return x ^ (x >> 16)

    values = [0, 1, 2, 0x80000000, 0xFFFFFFFF, 123456789]
    assert _mixed(torch.tensor(values)).tolist() == [reference(value) for value in values]


def test_noise_is_uniform_and_different_for_each_sample_and_axis() -> None:
    noise = _noise(draws(50)[:, :2], 1000) / 2**15
    assert noise.shape == (50, 2, 1000)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert noise.std().item() == pytest.approx(3**-0.5, rel=0.01)
    rows = noise.flatten(0, 1)
    related = torch.corrcoef(rows) - torch.eye(100)
    assert related.abs().max() < 0.15


@pytest.mark.parametrize("sigma", [4.0, 6.0])
def test_displacements_have_the_stated_strength_and_are_smooth(sigma: float) -> None:
    field = ElasticDistortion(sigma, 36.0).displacements(draws(400), (61, 61))
    middle = field[:, :, 30, 30]
    assert middle.mean().item() == pytest.approx(0, abs=0.1)
    assert middle.std().item() == pytest.approx(36 * 3**-0.5 / (2 * torch.pi**0.5 * sigma), rel=0.1)
    neighbours = torch.corrcoef(torch.stack((field[:, 0, 30, 30], field[:, 0, 30, 31])))[0, 1]
    assert neighbours > 0.95
    far = torch.corrcoef(torch.stack((field[:, 0, 10, 10], field[:, 0, 50, 50])))[0, 1]
    assert abs(far) < 0.2


def test_smoothing_is_a_gaussian_that_moves_nothing_outside() -> None:
    matrix = _gaussian(41, 3.0) / 2**14
    offsets = torch.arange(-20, 21).double()
    expected = torch.exp(-0.5 * (offsets / 3) ** 2) / (3 * (2 * torch.pi) ** 0.5)
    torch.testing.assert_close(matrix[20], expected, atol=1e-4, rtol=0)
    assert matrix[0].sum().item() == pytest.approx(0.5, abs=0.1)


def test_a_batch_has_the_bits_of_its_samples(images: Tensor) -> None:
    distortion = ElasticDistortion(5.5, 37.0, rotation_degrees=15, scaling=0.15, translation=0.1)
    u = draws(40)
    batch = distortion(images, u)
    assert batch.shape == images.shape
    assert torch.equal(batch, torch.cat([distortion(images[i : i + 1], u[i : i + 1]) for i in range(40)]))
    assert torch.equal(batch, distortion(images, u))
    assert not torch.equal(batch, distortion(images, draws(40, seed=1)))


def test_without_strength_nothing_moves(images: Tensor) -> None:
    torch.testing.assert_close(ElasticDistortion(4, 0)(images, draws(40)), images.float(), atol=1e-2, rtol=0)


def test_turning_scaling_and_shifting_by_hand() -> None:
    image = torch.zeros(1, 1, 21, 21)
    image[0, 0, 10, 16] = 255.0  # six pixels right of the centre
    u = torch.full((1, 7), 0.5, dtype=torch.float64)

    def place(distortion: ElasticDistortion, column: int, value: float) -> tuple[int, int]:
        moved = u.clone()
        moved[0, column] = value
        return divmod(int(distortion(image, moved).argmax()), 21)

    assert place(ElasticDistortion(4, 0, rotation_degrees=90), 2, 1.0) == (16, 10)  # a quarter turn, clockwise
    assert place(ElasticDistortion(4, 0, scaling=0.5), 4, 1.0) == (10, 19)  # half as wide again
    assert place(ElasticDistortion(4, 0, scaling=0.5), 4, 0.0) == (10, 13)  # half as wide
    assert place(ElasticDistortion(4, 0, translation=1 / 7), 5, 1.0) == (13, 16)
    assert place(ElasticDistortion(4, 0, translation=1 / 7), 6, 0.0) == (10, 13)


def test_the_background_comes_in_from_outside() -> None:
    white = torch.full((3, 1, 15, 15), 255, dtype=torch.uint8)
    distortion = ElasticDistortion(4, 30, rotation_degrees=30, translation=0.2, background=255)
    torch.testing.assert_close(distortion(white, draws(3)), white.float())
