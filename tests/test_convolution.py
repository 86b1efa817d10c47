"""Convolution by hand against scipy, and the command."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import convolve2d, correlate2d

from convatlas.analysis.convolution import KERNELS, Mode, as_matrices, convolve, positions, scipy_difference
from convatlas.cli import main
from convatlas.cli.matrices import parse_planes
from convatlas.errors import ConvatlasError, UsageError


def test_worked_example() -> None:
    """[[1, 2], [3, 4]] * [[5, 6], [7, 8]]: the middle is 1 x 8 + 2 x 7 + 3 x 6 + 4 x 5."""
    a, b = np.array([[[1.0, 2], [3, 4]]]), np.array([[[5.0, 6], [7, 8]]])
    assert convolve(a, b).tolist() == [[5, 16, 12], [22, 60, 40], [21, 52, 32]]
    assert convolve(a, b, mode="valid").tolist() == [[60]]
    assert convolve(a, b, mode="valid", correlate=True).tolist() == [[70]]  # 5 + 12 + 21 + 32
    (only,) = positions(a, b, mode="valid")
    assert only.sum() == "1 x 8 + 2 x 7 + 3 x 6 + 4 x 5 = 60"


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("correlate", [False, True])
@pytest.mark.parametrize("kernel", [(3, 3), (2, 2), (1, 2), (2, 3), (4, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_against_scipy(mode: Mode, correlate: bool, kernel: tuple[int, int], channels: int) -> None:
    random = np.random.default_rng(0)
    image, weights = random.normal(size=(channels, 5, 7)), random.normal(size=(channels, *kernel))
    function = correlate2d if correlate else convolve2d
    expected = sum(function(plane, part, mode=mode) for plane, part in zip(image, weights, strict=True))
    output = convolve(image, weights, mode=mode, correlate=correlate)
    np.testing.assert_allclose(output, expected, atol=1e-12)
    assert scipy_difference(image, weights, output, mode=mode, correlate=correlate) < 1e-12
    assert scipy_difference(image, weights, output + 1, mode=mode, correlate=correlate) == pytest.approx(1)
    rows, columns = as_matrices(image, [weights, 2 * weights], mode=mode, correlate=correlate)
    np.testing.assert_allclose((rows @ columns).reshape(2, *expected.shape), [expected, 2 * expected], atol=1e-12)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="does not fit"):
        convolve(np.zeros((1, 2, 2)), np.zeros((1, 3, 3)), mode="valid")
    with pytest.raises(UsageError, match="3 channels, the image 2"):
        convolve(np.zeros((2, 4, 4)), np.zeros((3, 3, 3)))


@pytest.mark.parametrize("text", ["1,2\n3", "1,x", "1 2\n\n3 4 5"])
def test_what_is_no_matrix_is_refused(text: str) -> None:
    with pytest.raises(ConvatlasError):
        parse_planes(text, "x.csv")


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, kernel, out = tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "new" / "y.csv"
    image.write_text("\ufeff1;2;3\n4;5;6\n7;8;9\n")
    kernel.write_text("5 6\n7 8\n")
    assert (
        main(["convolve", str(image), str(kernel), "--mode", "valid", "--steps", "--as-matrix", "--out", str(out)]) == 0
    )
    text = capsys.readouterr().out
    assert "Y[1,1] = 1 x 8 + 2 x 7 + 4 x 6 + 5 x 5 = 71" in text
    assert "windows, 4 x 4" in text
    assert out.read_text() == "71,97\n149,175\n"
    assert main(["convolve", str(image), "laplace", "--mode", "same", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["output"][0][1][1] == 2 + 4 + 6 + 8 - 4 * 5
    assert document["scipy_difference"] == 0


def test_command_on_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    image, out = tmp_path / "a.png", tmp_path / "edges.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(image)
    assert main(["convolve", str(image), "sobel_x", "--channels", "--mode", "same", "--out", str(out)]) == 0
    with Image.open(out) as edges:
        assert (edges.size, edges.mode) == ((10, 12), "RGB")
    capsys.readouterr()
    assert main(["convolve", str(image), "no_such_kernel"]) == 2
    assert "sobel_x" in capsys.readouterr().err


def test_edge_kernels_ignore_flat_images() -> None:
    flat = np.full((1, 5, 5), 7.0)
    for name in ("sobel_x", "sobel_y", "prewitt_x", "roberts_x", "roberts_y", "laplace", "laplace8"):
        assert not convolve(flat, np.array([KERNELS[name]], dtype=float), mode="valid").any()
    for name in ("identity", "box3", "gauss3", "sharpen"):
        np.testing.assert_allclose(convolve(flat, np.array([KERNELS[name]], dtype=float), mode="valid"), 7)
