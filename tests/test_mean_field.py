"""The lattice by hand and against sums over all pairs; mean field against the exact marginals of a tiny graph."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from convatlas.blocks.mean_field import MeanField
from convatlas.errors import UsageError
from convatlas.inference.crf import DenseCRF
from convatlas.ops import permutohedral
from convatlas.ops.mean_field import gaussian_kernel, mean_field, pixel_features
from convatlas.ops.permutohedral import Lattice


def all_pairs(features: Tensor) -> Tensor:
    return torch.exp(-(torch.cdist(features, features) ** 2) / 2)


def test_one_dimension_by_hand() -> None:
    # corners are sqrt(3) / 2 apart; the two blurs of (1/2, 1, 1/2) make (1, 4, 6, 4, 1) / 4
    points = torch.arange(7, dtype=torch.float64)[:, None] * math.sqrt(3) / 2
    impulse = torch.zeros(7, 1, dtype=torch.float64)
    impulse[3] = 1
    gain = math.sqrt(2 * math.pi) / (4 * math.sqrt(3) / 2)
    expected = [gain * weight / 4 for weight in (0, 1, 4, 6, 4, 1, 0)]
    assert Lattice.of(points).filter(impulse)[:, 0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_every_point_lies_in_its_simplex(d: int) -> None:
    features = 4 * torch.randn(300, d, generator=torch.Generator().manual_seed(d), dtype=torch.float64)
    corners, shares = permutohedral._simplex(features)
    assert shares.min() >= -1e-12
    assert torch.allclose(shares.sum(1), torch.ones(300, dtype=torch.float64))
    whole = torch.cat((corners, -corners.sum(2, keepdim=True)), dim=2)  # the last coordinate
    axis = torch.arange(1, d + 1)
    basis = torch.cat((torch.zeros(1, d), -torch.diag(axis.float()))) + torch.ones(d + 1, d).triu()
    basis = basis.double() * (d + 1) * (2 / 3) ** 0.5 / (axis * (axis + 1)).double().sqrt()
    assert torch.allclose(torch.einsum("nk,nkc->nc", shares, whole.double()), features @ basis.T)
    remainders = whole.remainder(d + 1)
    assert (remainders == remainders[..., :1]).all()  # congruent coordinates: corners of the lattice


@pytest.mark.parametrize(("d", "spread", "tolerance"), [(1, 3.0, 0.01), (2, 3.0, 0.02), (3, 1.5, 0.05)])
def test_filter_is_near_the_sum_over_all_pairs(d: int, spread: float, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(0)
    features = spread * torch.randn(1500, d, generator=generator)
    values = torch.rand(1500, 4, generator=generator)
    expected = all_pairs(features) @ values
    assert (Lattice.of(features).filter(values) - expected).norm() / expected.norm() < tolerance


def small_scene() -> tuple[Tensor, Tensor]:
    """A noisy image of two halves, uint8 (3, 24, 32), and its mask (24, 32)."""
    mask = (torch.arange(32) + torch.arange(24)[:, None] // 3 > 20).long()
    noise = 6 * torch.randn(3, 24, 32, generator=torch.Generator().manual_seed(1))
    return (80 + 70 * mask + noise).round().to(torch.uint8), mask


def test_bilateral_kernel_is_near_the_one_over_all_pairs() -> None:
    image, mask = small_scene()
    features = pixel_features((24, 32), 8.0, image, 10.0)
    values = torch.stack((mask.flatten().float(), torch.rand(24 * 32)), dim=1)
    exact = all_pairs(features)
    expected = exact @ values / exact.sum(1, keepdim=True)
    assert (gaussian_kernel(features, "pixel")(values) - expected).norm() / expected.norm() < 0.03
    root = exact.sum(1, keepdim=True).sqrt()
    expected = exact @ (values / root) / root
    assert (gaussian_kernel(features)(values) - expected).norm() / expected.norm() < 0.03


def test_filter_has_its_adjoint_as_gradient() -> None:
    features = 1.5 * torch.randn(30, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    lattice = Lattice.of(features)
    values = torch.randn(30, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lattice.filter, values)
    matrix = lattice.filter(torch.eye(30, dtype=torch.float64))
    assert not torch.allclose(matrix, matrix.T)  # blurs do not commute where corners are missing


def exact_marginals(logits: Tensor, coupling: Tensor, compatibility: Tensor) -> Tensor:
    """Sums over all K^N labellings.  (N, K), (N, N) symmetric, (K, K) -> (N, K)"""
    N, K = logits.shape
    total = torch.zeros(N, K, dtype=torch.float64)
    for labels in itertools.product(range(K), repeat=N):
        score = sum(logits[i, labels[i]] for i in range(N))
        score -= sum(
            coupling[i, j] * compatibility[labels[i], labels[j]] for i, j in itertools.combinations(range(N), 2)
        )
        for i in range(N):
            total[i, labels[i]] += score.exp()
    return total / total.sum(1, keepdim=True)


def test_mean_field_is_near_the_exact_marginals() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    coupling = all_pairs(torch.randn(4, 2, generator=generator, dtype=torch.float64)).fill_diagonal_(0)
    potts = 1 - torch.eye(3, dtype=torch.float64)

    def error(strength: float) -> float:
        found = mean_field(logits, [lambda values: coupling @ values], [strength], potts, 100).softmax(1)
        return (found - exact_marginals(logits, strength * coupling, potts)).abs().max().item()

    assert error(0) < 1e-12
    assert error(0.4) < 0.03  # unary terms alone are 0.1 off
    assert error(0.05) / error(0.1) == pytest.approx(1 / 4, rel=0.2)  # the approximation is right to the first order
    alone = (logits.softmax(1) - exact_marginals(logits, 0.4 * coupling, potts)).abs().max()
    assert alone > 0.1


def test_mean_field_as_algorithm_1_says_it() -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernels = [all_pairs(torch.randn(5, 2, dtype=torch.float64)).fill_diagonal_(0) for _ in range(2)]
    compatibility = torch.rand(3, 3, dtype=torch.float64)
    q = logits.softmax(1)
    for _ in range(3):
        new = torch.zeros(5, 3, dtype=torch.float64)
        for i, label in itertools.product(range(5), range(3)):
            cost = sum(
                compatibility[label, other] * weight * kernel[i, j] * q[j, other]
                for weight, kernel in zip((0.7, 0.2), kernels, strict=True)
                for j in range(5)
                if j != i
                for other in range(3)
            )
            new[i, label] = (logits[i, label] - cost).exp()
        q = new / new.sum(1, keepdim=True)
    filters = [lambda values, kernel=kernel: kernel @ values for kernel in kernels]
    assert torch.allclose(mean_field(logits, filters, [0.7, 0.2], compatibility, 3).softmax(1), q)


def test_as_printed_a_pixel_sends_itself_nothing() -> None:
    features = torch.tensor([[0.0, 0.0], [50.0, 0.0]])  # too far apart to meet
    gain = Lattice.of(features).filter(torch.ones(2, 1))
    assert torch.allclose(gaussian_kernel(features, "none")(torch.ones(2, 1)), gain - 1)
    assert torch.allclose(gaussian_kernel(features, "pixel")(torch.ones(2, 1)), torch.ones(2, 1))


def test_the_edge_of_the_image_wins() -> None:
    image, mask = small_scene()
    wrong = mask.roll(3, dims=1)
    wrong[:, :3] = 0
    logits = 2.0 * functional.one_hot(wrong, 2).permute(2, 0, 1)
    refined = DenseCRF(position_px=8, colour=20)(logits, image)
    assert torch.allclose(refined.sum(0), torch.ones(24, 32))
    before, after = (wrong != mask).float().mean(), (refined.argmax(0) != mask).float().mean()
    assert before > 0.08
    assert after < 0.01


def test_the_layer_starts_as_potts_and_learns() -> None:
    image, _ = small_scene()
    images = torch.stack((image, image.flip(-1)))
    logits = torch.randn(2, 3, 24, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    layer = MeanField(3, position_px=8, colour=20, iterations=2)
    refined = layer(logits, images)
    by_hand = DenseCRF(5, 8, 20, 3, 3, 2, "pixel")
    for index in range(2):
        assert torch.allclose(refined[index].softmax(0), by_hand(logits[index].detach(), images[index]), atol=1e-5)
    refined[:, 0].sigmoid().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in layer.parameters())
    assert logits.grad is not None
    assert logits.grad.abs().sum() > 0
    assert not torch.equal(layer.eval()(logits, images), refined)  # 10 iterations
    meta = layer.to("meta")(torch.empty(2, 3, 8, 8, device="meta"), torch.empty(2, 3, 8, 8, device="meta"))
    assert meta.shape == (2, 3, 8, 8)


@pytest.mark.data
@pytest.mark.slow
def test_a_coarse_mask_of_a_street_gets_better(data_root: Path) -> None:
    folder = data_root / "camvid" / "val"
    path = sorted((folder / "images").iterdir())[0]
    image = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)
    mask = torch.from_numpy(np.array(Image.open(folder / "masks" / f"{path.stem}.png"))).long()
    scores = functional.one_hot(mask, 12).permute(2, 0, 1)[None].float()
    small = functional.avg_pool2d(
        scores, 32, ceil_mode=True, count_include_pad=False
    )  # as a network's stride leaves it
    coarse = functional.interpolate(small, mask.shape, mode="bilinear")[0]
    refined = DenseCRF(2, 30, 5, 1)((coarse + 0.01).log(), image)
    before, after = ((guess.argmax(0) == mask).float().mean().item() for guess in (coarse, refined))
    assert after > before + 0.005


def test_fields_that_do_not_fit_are_refused() -> None:
    image = torch.zeros(3, 4, 5, dtype=torch.uint8)
    with pytest.raises(UsageError, match=r"expected \(K, H, W\) and \(C, H, W\)"):
        DenseCRF()(torch.zeros(2, 5, 4), image)
    with pytest.raises(UsageError, match="expected uint8"):
        DenseCRF()(torch.zeros(2, 4, 5), image.float())
    with pytest.raises(UsageError, match="expected one size"):
        MeanField(2)(torch.zeros(1, 2, 4, 5), torch.zeros(1, 3, 5, 5))
    with pytest.raises(UsageError, match="all finite"):
        Lattice.of(torch.tensor([[math.nan]]))
    with pytest.raises(UsageError, match="all finite"):
        Lattice.of(torch.zeros(0, 2))
    with pytest.raises(UsageError, match="steps of the lattice"):
        Lattice.of(torch.rand(4, 5) * 1e6)
