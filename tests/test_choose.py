"""`convatlas choose`, and detection methods side by side: limits hold, scores are printed ones, with protocols."""

import json

import pytest

from convatlas import facts
from convatlas.analysis.diff import diff
from convatlas.cli import main
from convatlas.cli.choose import parse_count
from convatlas.errors import UsageError
from convatlas.facts.methods import beside, method_of, methods
from convatlas.facts.scores import scores
from convatlas.report.choosing import Needs, choose


def test_limits_hold_and_the_best_score_is_first() -> None:
    choice = choose(Needs("classification", max_parameters=30e6, max_multiply_adds=5e9, timed=False))
    assert choice.data == "ILSVRC-2012 validation"
    values = [one.score for one in choice.candidates]
    assert values == sorted(values, reverse=True)
    assert all(one.parameters <= 30e6 and one.multiply_adds <= 5e9 for one in choice.candidates)
    assert choice.candidates[0].network == "resnext50_32x4d"  # 22.2% error by one crop
    assert choice.candidates[0].score == pytest.approx(77.8)
    assert not any("10 crops" in one.protocol or "dense" in one.protocol for one in choice.candidates)
    assert choice.excluded > 0


def test_few_images_want_weights_to_start_from() -> None:
    few = choose(Needs("classification", images=500, timed=False))
    assert all(one.weights for one in few.candidates)
    assert any("500 images are few" in reason for reason in few.reasons)
    many = choose(Needs("classification", images=1_000_000, timed=False))
    assert len(many.candidates) > len(few.candidates)


def test_a_timing_keeps_or_excludes() -> None:
    slow = "no network with a score on MNIST test takes 1e-06 ms here; the fastest of those timed is"
    with pytest.raises(UsageError, match=slow):
        choose(Needs("classification", max_ms=1e-6, data="mnist", max_parameters=100e3))
    choice = choose(Needs("classification", max_ms=1e6, data="mnist", max_parameters=100e3))
    assert choice.candidates[0].network == "lenet5"
    assert choice.candidates[0].latency_ms is not None


def test_what_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--task", "cooking"], "--task is 'cooking'"),
        (["--params", "many"], "--params is 'many'"),
        (["--params", "1k", "--no-time"], "the smallest is"),
        (["--on", "nothing", "--no-time"], "expected one of"),
        (["--ms", "-1"], "--ms is -1"),
    ):
        assert main(["choose", *arguments]) == 2
        assert message in capsys.readouterr().err
    assert (parse_count("5M"), parse_count("500k"), parse_count(None)) == (5e6, 5e5, None)


def test_text_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choose", "--task", "detection", "--no-time"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("ssd512: the highest printed mean AP on VOC 2007 test of those that fit, 79.8%")
    assert "R-CNN's is that of one region" in out
    assert "recalled" in out
    assert main(["choose", "--task", "segmentation", "--on", "camvid", "--no-time", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["candidates"][0]["network"] == "segnet_camvid"


def test_scores_and_methods_are_of_registered_networks() -> None:
    names = facts.network_names()
    assert {score.network for score in scores()} <= set(names)
    assert all(any(method_of(name) is method for name in names) for method in methods())
    steps = [[step.step for step in method.steps] for method in methods()]
    assert all(one == steps[0] for one in steps)


def test_diff_of_methods_blocks_and_one_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "rcnn_alexnet_voc_finetune", "fast_rcnn_caffenet", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    steps = {step["step"]: step for step in values["steps"]}
    assert "SVM" in steps["classifier"]["before"]
    assert "softmax" in steps["classifier"]["after"]
    assert {"before", "after", "explanation", "layers", "in_short"} <= values.keys()
    assert next(step.step for step in beside(methods()[2], methods()[3])) == "proposals"
    assert main(["diff", "resnet34", "resnet50"]) == 0
    out = capsys.readouterr().out
    assert "Added: a 1x1 convolution in each of 16 blocks (conv2_x.conv2_1.conv3 to conv5_x.conv5_3.conv3)." in out
    assert "conv1 of 16 blocks (conv2_x.conv2_1 to conv5_x.conv5_3) have a 1x1 window instead of 3x3." in out
    same = diff("resnet18", "cifar_resnet20", input_shape=(3, 64, 64))
    assert same.before.input_shape == same.after.input_shape == (3, 64, 64)
    assert main(["diff", "alexnet", "vgg_a", "--input", "3,10,10"]) == 2
