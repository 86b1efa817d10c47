"""Several processes on the CPU: the curve of one, every sample once, and what happens when one of them dies."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import convatlas
from convatlas.data import DataSet
from convatlas.errors import ConvatlasError
from convatlas.training import SaveEvery, fit, open_run
from convatlas.training import run as runs
from convatlas.training.mechanisms import ClipNorm, Ema
from convatlas.training.recipe import SGD, Recipe
from convatlas.training.session import Session
from convatlas.training.synchronised import synchronise
from test_resume import PLAIN, colours

# 30 samples in batches of 8, the last of 6: the shares of 2 and of 3 processes are uneven. At this learning rate the
# sums of floats in another order stay small differences.
SLOW = replace(PLAIN, optimizer=SGD(lr=0.002, momentum=0.9), epochs=2, averaging=Ema(decay=0.5), clip=ClipNorm(norm=20))


def _process(rank: int, count: int, port: int, target, arguments: tuple) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    target(*arguments)


def together(count: int, target, *arguments) -> list[int]:
    """Runs a function in several processes as torchrun would; their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["convatlas.training"])
    processes = [context.Process(target=_process, args=(rank, count, port, target, arguments)) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


def _train(recipe: Recipe, out: Path, parts: DataSet) -> None:
    trained = fit(recipe, parts, out, device="cpu")
    rank = os.environ.get("RANK", "0")
    (out / f"error{rank}.json").write_text(json.dumps([trained.evaluation.top1_error, len(trained.evaluation.labels)]))


def assert_same_curve(one: Path, several: Path) -> None:
    for row, other in zip(open_run(one).rows(), open_run(several).rows(), strict=True):
        assert row["images"] == other["images"] == 30
        for key in ("train_loss", "test_loss", "train_error", "test_error", "learning_rate"):
            assert other[key] == pytest.approx(row[key], rel=2e-3), key
    weights, others = (load_file(runs.RunFolder(out).weights("last")) for out in (one, several))
    for name, value in weights.items():
        assert torch.allclose(value, others[name], rtol=2e-2, atol=2e-3), name


def test_two_processes_follow_the_curve_of_one(tmp_path):
    _train(SLOW, tmp_path / "one", colours())
    assert together(2, _train, SLOW, tmp_path / "two", colours()) == [0, 0]
    assert_same_curve(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two" / "error0.json").read_text() == (tmp_path / "two" / "error1.json").read_text()
    assert json.loads((tmp_path / "two" / "error0.json").read_text())[1] == 12


@pytest.mark.slow
def test_four_processes_follow_the_curve_of_one(tmp_path):
    _train(SLOW, tmp_path / "one", colours())
    assert together(4, _train, SLOW, tmp_path / "four", colours()) == [0] * 4
    assert_same_curve(tmp_path / "one", tmp_path / "four")


def _normalise(out: Path) -> None:
    from convatlas.training import distributed

    here = distributed.join("cpu")
    torch.manual_seed(0)
    x, weights = torch.randn(5, 3, 4, 4), torch.randn(5, 3, 4, 4)
    layer = synchronise(nn.Sequential(nn.BatchNorm2d(3)), here.device)
    mine = x.tensor_split(2)[here.rank].requires_grad_()
    result = layer(mine)
    (result * weights.tensor_split(2)[here.rank]).sum().backward()
    scale, running = layer[0].weight.grad, layer[0].running_var
    torch.save([t.detach() for t in (result, mine.grad, scale, running)], out / f"{here.rank}.pt")


def test_batch_normalisation_over_processes_is_that_of_the_whole_batch(tmp_path):
    assert together(2, _normalise, tmp_path) == [0, 0]
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    torch.manual_seed(0)
    x, weights = torch.randn(5, 3, 4, 4, requires_grad=True), torch.randn(5, 3, 4, 4)
    layer = nn.BatchNorm2d(3)
    result = layer(x)
    (result * weights).sum().backward()
    assert torch.allclose(torch.cat([found[0][0], found[1][0]]), result, atol=1e-5)
    assert torch.allclose(torch.cat([found[0][1], found[1][1]]), x.grad, atol=1e-5)
    assert torch.allclose(found[0][2] + found[1][2], layer.weight.grad, atol=1e-4)
    assert torch.allclose(found[1][3], layer.running_var, atol=1e-5)


def _die_or_say(out: Path) -> None:
    after_step = Session.after_step

    def dies(self, step, settle):
        if step == 3 and os.environ["RANK"] == "1":
            os._exit(9)
        after_step(self, step, settle)

    Session.after_step = dies
    try:
        fit(SLOW, colours(), out, device="cpu")
    except ConvatlasError as error:
        (out.parent / "said").write_text(str(error))
        os._exit(1)


def test_when_one_process_dies_the_others_say_so_and_end(tmp_path):
    assert together(2, _die_or_say, tmp_path / "run") == [1, 9]
    assert "another process of this run ended, so process 0 of 2 can't go on" in (tmp_path / "said").read_text()


SCRIPT = """
import os, signal, sys
from convatlas.training.session import Session
after_step = Session.after_step
def dies(self, step, settle):
    after_step(self, step, settle)
    if step == 4 and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
Session.after_step = dies
from convatlas.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_torchrun_starts_a_dead_process_again_and_the_run_ends_as_if_nothing_had_happened(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    common = ["train", "caffe_lenet", "--epochs", "3", "--batch-size", "500", "--no-report", "--device", "cpu", "--out"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(convatlas.__file__).parents[1])}
    for name, options in (("whole", ["-m", "convatlas"]), ("died", ["--max-restarts", "1", "script.py"])):
        subprocess.run([*torchrun, *options, *common, name], cwd=tmp_path, env=environment, check=True)
    whole, died = (open_run(tmp_path / name).rows() for name in ("whole", "died"))
    assert [row["epoch"] for row in died] == [1, 2, 3]
    assert [row["test_error"] for row in died] == [row["test_error"] for row in whole]


def _stop_and_go_on(out: Path) -> None:
    recipe = replace(SLOW, averaging=None, shard=True)
    after_step = Session.after_step

    def stops(self, step, settle):
        after_step(self, step, settle)
        if step == 6:
            raise KeyboardInterrupt

    Session.after_step = stops
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, colours(), out / "run", device="cpu", save_every=SaveEvery(steps=1))
    Session.after_step = after_step
    fit(recipe, colours(), out / "run", device="cpu", resume=True)


def test_a_network_spread_over_processes_follows_the_curve_too_and_goes_on(tmp_path):
    _train(replace(SLOW, averaging=None), tmp_path / "one", colours())
    assert together(2, _stop_and_go_on, tmp_path) == [0, 0]
    assert_same_curve(tmp_path / "one", tmp_path / "run")
