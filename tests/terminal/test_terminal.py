"""Every command under a pseudo-terminal, in several widths, with colour and without."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pseudo import COLOUR, ESCAPES, Shown, Terminal

from convatlas.cli import COMMANDS, load

FORBIDDEN = re.compile(r"unexpected|Traceback|Warning|\bnan\b|\[/[a-z]*\]")
QUICK = ("--workers", "0", "--device", "cpu", "--epochs", "1", "--batch-size", "2")
RUN = "runs/digits"
WEIGHTS = f"{RUN}/checkpoints/best/weights.safetensors"
# The command -> how it is called, in the folder that `workspace` makes, after `trained` has made RUN.
CASES: dict[str, list[tuple[str, ...]]] = {
    "list": [("list",), ("list", "vgg*", "--weights"), ("list", "--year", "2015", "--size", "-5M", "--task", "pose")],
    "show": [
        ("show", "ResNet-50"), ("show", "alexnet", "--cost"),
        ("show", "lenet5", "--draw", "new/lenet5.svg", "--fold", "1"),
    ],
    "rf": [("rf", "alexnet"), ("rf", "lenet5", "C3", "--effective", "--draws", "2")],
    "ask": [("ask", "why", "1x1", "convolutions"), ("ask", "pooling")],
    "choose": [("choose", "--params", "3M", "--no-time")],
    "why": [("why", "lenet5")],
    "diff": [("diff", "alexnet", "alexnet_owt")],
    "compare": [("compare", "lenet5", "caffe_lenet", "--batch", "1", "--seconds", "0.1")],
    "verify": [("verify", "lenet5"), ("verify", "--surveys")],
    "facts": [("facts", "lenet5"), ("facts", "resnet", "--surveys", "--disputed")],
    "count": [("count", "--example", "bottleneck"), ("count", "--examples")],
    "convolve": [("convolve", "photos/val/dark/0.png", "sobel_x", "--out", "new/edges.png")],
    "recipe": [("recipe", "alexnet"), ("recipe", "alexnet", "--samples", "1000")],
    "lineage": [("lineage", "resnet50"), ("lineage", "--branch", "depth")],
    "cite": [("cite", "resnet50"), ("cite", RUN)],
    "train": [("train", "lenet5", "--data", "digits", "--out", "~/lenet", "--overwrite", "--no-report", *QUICK[:-2])],
    "data check": [
        ("data", "check", "photos"),
        ("data", "check", "masks", "--task", "segmentation", "--sheet", "new/sheet.png"),
        ("data", "check", "boxes/boxes.csv", "--task", "detection"),
    ],
    "data labels": [("data", "labels", RUN, "--folds", "2", "--csv", "new/labels.csv", "--page", "new/labels.html")],
    "runs": [("runs",), ("runs", "--differences")],
    "eval": [("eval", RUN), ("eval", RUN, "--report", "new/eval.html")],
    "report": [("report", RUN)],
    "predict": [("predict", RUN, "photos/val")],
    "features": [("features", RUN, "photos", "--layer", "conv2", "--probe", "svm", "--out", "new/features.npz")],
    "export": [("export", RUN, "--out", "new/folder/net.pt2", "--format", "torch-export")],
    "weights import": [("weights", "import", WEIGHTS, "--out", "new/w.safetensors")],
    "weights show": [("weights", "show", WEIGHTS)],
    "weights list": [("weights", "list"), ("weights", "list", "ResNet-50")],
    "weights compress": [("weights", "compress", RUN, "--out", "new/w.huff")],
    "explain": [("explain", RUN, "photos/val/dark/0.png", "--method", "saliency", "--out", "new/explain")],
    "new-network": [("new-network", "a_name_of_mine")],
    "doctor": [("doctor",)],
}  # fmt: skip
CODES = {"new-network": 2}  # it writes into the checkout, so it is asked for less than it needs


def all_commands() -> Iterator[str]:
    for name in COMMANDS:
        group = getattr(load(name), "commands", None)
        yield from (f"{name} {member}" for member in group) if group else [name]


def check(shown: Shown, *, columns: int, code: int = 0) -> None:
    """Ended as it should, said nothing unexpected, and kept to the window."""
    assert shown.code == code, shown.text
    plain = ESCAPES.sub("", shown.output)
    assert not FORBIDDEN.search(plain), plain
    assert "…" not in shown.text, shown.text
    assert all(len(line) <= columns for line in shown.screen)


def test_every_command_has_a_case() -> None:
    assert set(all_commands()) == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_every_command_at_80_columns(terminal: Terminal, trained: Path, name: str, tmp_path: Path) -> None:
    for arguments in CASES[name][:1]:
        check(terminal(*arguments), columns=80, code=CODES.get(name, 0))


@pytest.mark.slow
@pytest.mark.parametrize(("columns", "colour"), [(80, True), (80, False), (200, True), (60, False)])
@pytest.mark.parametrize("name", CASES)
def test_every_command_in_every_terminal(
    terminal: Terminal, trained: Path, name: str, columns: int, colour: bool
) -> None:
    for arguments in CASES[name]:
        shown = terminal(*arguments, columns=columns, colour=colour)
        check(shown, columns=columns, code=CODES.get(name, 0))
        assert colour or not COLOUR.search(shown.output)


def test_the_first_thing_that_a_new_user_does_works(terminal: Terminal, trained: Path, workspace: Path) -> None:
    """`trained` is a training in a terminal: bar, epochs, last words, report. It shows where it was written."""
    assert (trained / "report.html").is_file()
    shown = terminal("runs")
    check(shown, columns=80)
    assert re.search(r"^digits\s+caffe_lenet\s.*2/2\s+error\s+[\d.]+%", shown.text, re.M)


@pytest.mark.parametrize(
    ("network", "data", "size"),
    [
        ("fcn8s_squeezenet", "masks", "(33,49)"),
        pytest.param("ssd300_squeezenet", "boxes/boxes.csv", "(300,300)", marks=pytest.mark.slow),
        pytest.param("stacked_hourglass_1", "people", "(64,64)", marks=pytest.mark.slow),
        pytest.param("cifar_resnet20", "photos", "(32,32)", marks=pytest.mark.slow),
    ],
)
def test_each_task_trains_in_a_terminal(terminal: Terminal, network: str, data: str, size: str) -> None:
    out = f"runs/{network}"
    arguments = ("train", network, "--data", data, "--recipe", "modern", "--set", f"preprocessing.size={size}", *QUICK)
    shown = terminal(*arguments, "--out", out, "--overwrite")
    check(shown, columns=80)
    assert re.search(r"^epoch   1/1   train loss", shown.text, re.M), shown.text  # not in the line of the bar
    check(terminal("eval", out, "--report", f"new/{network}.html"), columns=80)
    shown = terminal("runs", columns=200)
    check(shown, columns=200)
    measure = {"masks": "mean IoU", "people": "PCK", "photos": "error"}.get(data, r"mAP \(VOC 2010\)")
    assert re.search(rf"{network} .* {measure} ", shown.text), shown.text


def test_ctrl_c_leaves_a_run_that_goes_on(terminal: Terminal) -> None:
    arguments = ("train", "caffe_lenet", "--data", "digits", "--workers", "0", "--no-report")
    shown = terminal(*arguments, "--epochs", "30", "--out", "runs/stopped", interrupt_after="epoch   1/30")
    check(shown, columns=80, code=130)
    assert "--resume" in shown.text
    assert not re.search(r"^ *[\d,]+ images/s", shown.text, re.M), shown.text  # an epoch takes one line
    shown = terminal("train", "--resume", "runs/stopped", interrupt_after="/30   train")
    check(shown, columns=80, code=130)
    assert re.search(r"stopped\s.*resumable", terminal("runs", columns=200).text)


def test_ctrl_c_anywhere_is_one_word(terminal: Terminal) -> None:
    shown = terminal("verify", "--all", interrupt_after="Verifying")
    check(shown, columns=80, code=130)
    assert shown.screen[-1] == "convatlas: interrupted"
