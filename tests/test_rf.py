"""`convatlas rf`, and the effective receptive field."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convatlas.analysis.effective_field import effective_field
from convatlas.cli import main


def test_the_surveys_exercise_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rf", "lenet5", "S2", "--unit", "3,5"]) == 0
    out = capsys.readouterr().out
    assert "field 6 x 6 pixels; the first unit's starts at (0, 0), the next one's 2 x 2 further on" in out
    assert "unit (3, 5) sees 36 of the input's 1,024 pixels: rows 6 to 11 and columns 10 to 15" in out


def test_a_block_has_the_fields_of_its_branches(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rf", "googlenet", "inception_3a", "--json"]) == 0
    page = json.loads(capsys.readouterr().out)
    assert page["layer"] == "inception_3a/cat"
    assert page["receptive_field"]["size"] == [59, 59]
    assert [field["size"] for field in page["path_fields"]] == [[27, 27], [43, 43], [59, 59]]
    assert page["pixels"] == sum(row.count("1") for row in page["region"]) == 59 * 59


def test_the_figure_and_the_effective_field(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    drawn = tmp_path / "field.png"
    arguments = ["rf", "lenet5", "C3", "--effective", "--draws", "4", "--figure", str(drawn)]
    assert main(arguments) == 0
    assert "effective field" in capsys.readouterr().out
    assert drawn.stat().st_size > 5_000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("lenet5", "S9"), "layer is 'S9'; expected a layer of the network, such as S"),
        (("lenet5", "S2", "--unit", "3"), "--unit is '3'; expected 2 numbers such as 3,5"),
        (("lenet5", "S2", "--unit", "3,14"), "--unit is 3,14; expected less than 14,14"),
        (("lenet5", "S2", "--figure", "field.txt"), "--figure is field.txt; expected a name that ends in .png"),
        (("hog_svm", "svm"), "layer is 'svm'; expected one whose reading of the input is known"),
    ],
)
def test_wrong_usage_gets_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    assert main(["rf", *arguments]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert len(captured.err.splitlines()) == 1


def uniform(layers: int) -> nn.Sequential:
    """3x3 convolutions with equal weights: the strength is a box filtered again and again."""
    net = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(layers)))
    for weight in net.parameters():
        torch.nn.init.constant_(weight, 1 / 9)
    return net


def test_the_effective_field_is_that_of_the_convolved_boxes() -> None:
    """Luo et al., section 2.2: with n uniform layers of kernel 3, the variance of the strength is n (9 - 1) / 12."""
    field = effective_field(uniform(8), (1, 33, 33), 7, (16, 16), draws=1)
    kernel = np.ones(3) / 3
    profile = np.ones(1)
    for _ in range(8):
        profile = np.convolve(profile, kernel)
    np.testing.assert_allclose(field.strength[16, 8:25], profile / profile.max(), atol=1e-6)
    assert field.sigma[0] == pytest.approx((8 * 8 / 12) ** 0.5, rel=0.03)
    assert field.size < 17


def test_the_effective_field_lies_inside_the_exact_one() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 3, 3, stride=2))
    field = effective_field(net, (2, 16, 16), 3, (0, 1), draws=8)
    rows, columns = np.nonzero(field.strength)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 7, 4, 11)
    assert field.strength.max() == 1
