"""`convatlas diff`: pairs by name, place and role; sentences that a person would say."""

import json

import pytest

from convatlas.analysis.diff import align, diff
from convatlas.analysis.diff_words import sentences
from convatlas.cli import main
from convatlas.cli.diff import ratio


def words(before: str, after: str) -> tuple[str, ...]:
    return sentences(diff(before, after))


def test_alignment_goes_by_one_key_after_the_other() -> None:
    keys = (lambda word: word, lambda word: word[0])
    couples = align(["ax", "b", "cx", "d"], ["ay", "b", "e", "cy"], keys)
    assert couples == [("ax", "ay"), ("b", "b"), (None, "e"), ("cx", "cy"), ("d", None)]


def test_alexnet_and_torchvisions_read_like_an_explanation() -> None:
    assert words("alexnet", "alexnet_owt") == (
        "The input is 3 x 224 x 224 instead of 3 x 227 x 227.",
        "Left out: norm1 and norm2 (response normalisation, after relu1 and relu2); drop7 (dropout, after relu7).",
        "Added: average (average pooling, after pool5); drop5 (dropout, after flatten).",
        "conv1 is padded by 2 instead of 0.",
        "conv2, conv4 and conv5 have 1 group instead of 2.",
        "conv1 has 64 maps instead of 96; conv2 has 192 maps instead of 256; conv4 has 256 maps instead of 384.",
        "The parameters change most by conv3 (-221,184), conv4 (+221,056), conv5 (+147,456).",
        "The multiply-adds change most by conv3 (-37,380,096), conv4 (+37,380,096), conv1 (-35,138,400).",
    )


def test_moved_layers_and_constants_that_no_shape_shows() -> None:
    assert words("alexnet", "caffenet") == (
        "pool1 stands after relu1 instead of norm1.",
        "pool2 stands after relu2 instead of norm2.",
        "norm1 and norm2 have alpha 0.0001 instead of 0.0005.",
        "norm1 and norm2 have k 1 instead of 2.",
    )


def test_whole_blocks_are_told_by_their_name() -> None:
    added = words("cifar_resnet20", "cifar_resnet32")[0]
    assert added.startswith("Added: stage1.4 (")
    assert "conv" not in added


def test_the_stride_of_the_two_resnets() -> None:
    (stride,) = (line for line in words("resnet50", "resnet50_v1_5") if "stride" in line)
    assert "conv3_x.conv3_1.conv1" in stride
    assert "a stride of 1 instead of 2" in stride
    assert "a stride of 2 instead of 1" in stride


def test_other_names_are_paired_by_what_they_do() -> None:
    pairs = [(pair.before, pair.after) for pair in diff("lenet5", "caffe_lenet").pairs]
    names = [(old.record.name, new.record.name) for old, new in pairs if old and new]
    assert names[:4] == [("C1", "conv1"), ("S2", "pool1"), ("C3", "conv2"), ("S4", "pool2")]
    assert names[-1] == ("output", "ip2")


def test_a_network_and_itself() -> None:
    assert words("lenet5", "lenet5") == ("Nothing: the layers are the same.",)


def test_ratios() -> None:
    assert [ratio(*pair) for pair in ((100, 100), (1000, 1002), (100, 57), (100, 361), (0, 5))] == [
        "", "+0.2%", "-43.0%", "x 3.61", "",
    ]  # fmt: skip


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "alexnet", "alexnet_owt"]) == 0
    out = capsys.readouterr().out
    assert "60,965,224     61,100,840   +0.2%" in out
    assert "724.4 M        714.2 M   -1.4%" in out
    assert "... 5 the same" in out
    assert "fc7" not in out
    assert main(["diff", "alexnet", "alexnet_owt", "--all"]) == 0
    assert "fc7" in capsys.readouterr().out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "alexnet", "caffenet", "--json"]) == 0
    page = json.loads(capsys.readouterr().out)
    assert page["before"]["totals"]["parameters"] == page["after"]["totals"]["parameters"] == 60_965_224
    (norm,) = (row for row in page["layers"] if row["before"]["name"] == "norm1")
    assert {"quantity": "k", "before": "2", "after": "1"} in norm["changes"]
    assert norm["after"]["receptive_field"]["size"] == [19, 19]


def test_unknown_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "alexnet", "alexnot"]) == 2
    assert "alexnot" in capsys.readouterr().err
