"""Correspondence by hand, and its panel."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from convatlas.cli import main
from convatlas.errors import UsageError
from convatlas.visualise import correspondence
from convatlas.visualise.correspondence import measure, sign_distances

SAME = ((0, 0, 1, 1), (0, 0, 1, 1), (0, 0, 1, 1))


def test_distances_by_hand() -> None:
    changes = torch.tensor([[1.0, -2.0, 0.0, 0.5], [3.0, 2.0, 0.0, 0.1], [-1.0, -1.0, 1.0, 0.0]])
    assert sign_distances(changes).tolist() == [0.25, 0.75, 1.0]  # (0, 1), (0, 2), (1, 2)


def test_pixels_that_are_their_own_features() -> None:
    """Hiding a positive pixel changes one feature by +, a negative one by -, and no other."""
    x = torch.tensor([[2.0, 5.0, 5.0, 5.0], [1.0, 7.0, 7.0, 7.0], [-3.0, 1.0, 1.0, 1.0]]).reshape(3, 1, 2, 2)
    net = nn.Sequential(nn.Identity(), nn.Flatten())
    found = measure(net, x, {"corner": SAME}, ["0", "1"], draws=2)
    assert [(row.part, row.layer) for row in found] == [
        ("corner", "0"), ("corner", "1"), ("random", "0"), ("random", "1"),
    ]  # fmt: skip
    assert found[0].distances.tolist() == [0, 0.25, 0.25]
    assert found[0].map_distances is not None
    assert found[0].map_distances.tolist() == [0, 1, 1]  # the only map's mean: +, +, -
    assert found[1].distances.tolist() == [0, 0.25, 0.25]
    assert found[1].map_distances is None  # vectors have no places
    assert found[2].distances.shape == (6,)  # two draws of three pairs


def test_a_image_without_the_part_is_left_out() -> None:
    x = torch.tensor([[2.0, 5.0], [1.0, 7.0], [-3.0, 1.0]]).reshape(3, 1, 1, 2)
    found = measure(nn.Sequential(nn.Flatten()), x, {"left": ((0, 0, 1, 1), None, (0, 0, 1, 1))}, ["0"])
    assert found[0].distances.tolist() == [0.5]


def test_rounding_is_no_change() -> None:
    before = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    after = torch.tensor([[1.0 - 1e-7, 0.5], [1.0, 0.5]])
    assert correspondence.distances(before, after)[0].tolist() == [0]


def test_random_boxes_lie_inside_and_repeat() -> None:
    draw = [correspondence.random_boxes(np.random.default_rng(3), 50, (3, 2), (5, 4)) for _ in range(2)]
    assert draw[0] == draw[1]
    boxes = [box for box in draw[0] if box is not None]
    assert {box[:2] for box in boxes} == {(top, left) for top in range(3) for left in range(3)}
    assert {box[2:] for box in boxes} == {(3, 2)}


@pytest.mark.parametrize(("boxes", "sentence"), [
    (((0, 0, 1, 1), None), "'nose' is in fewer than two images"),
    (((0, 0, 3, 1), (0, 0, 1, 1)), "is 3 x 1 pixels at 0, 0; expected a box inside 2 x 2"),
    (((0, 0, 0, 1), (0, 0, 1, 1)), "is 0 x 1 pixels"),
])  # fmt: skip
def test_wrong_usage(boxes: tuple, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        measure(nn.Sequential(nn.Flatten()), torch.ones(2, 1, 2, 2), {"nose": boxes}, ["0"])


def test_parts_of_a_table_and_of_all_images(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = np.random.default_rng(0)
    images = [str(tmp_path / name) for name in ("a.png", "b.png", "c.png")]
    for path in images:
        Image.fromarray(generator.integers(0, 256, (28, 28), dtype=np.uint8)).save(path)
    table = tmp_path / "parts.csv"
    table.write_text("part,image,y,x,height,width\nnose,a.png,0,0,.25,.25\nnose,c.png,.5,.5,.25,.5\n")
    asked = ["--method", "correspondence", "--part", str(table), "--part", "eye=.25,.25,.5,.5"]
    assert main(["explain", str(run_folder), *images, *asked, "--out", str(tmp_path / "out"), "--json"]) == 0
    (panel,) = json.loads(capsys.readouterr().out)["panels"]
    assert panel["boxes"] == {
        "nose": [[0, 0, 7, 7], None, [14, 14, 7, 14]], "eye": [[7, 7, 14, 14]] * 3,
    }  # fmt: skip
    assert panel["layers"] == ["conv2", "relu1"]  # the last with maps, and the last hidden vector behind its rectifier
    assert [(row["part"], row["pairs"]) for row in panel["rows"] if row["layer"] == "conv2"] == [
        ("nose", 1), ("eye", 3), ("random", 30),
    ]  # fmt: skip
    table.write_text("part,image,y,x,height,width\nnose,z.png,0,0,.25,.25\n")
    assert main(["explain", str(run_folder), *images, *asked, "--out", str(tmp_path / "out")]) == 2
    assert "part 'nose' is in z.png, which isn't among a.png, b.png, c.png" in capsys.readouterr().err
