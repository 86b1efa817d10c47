"""Command lines as people get them wrong: none ends "unexpected", and the exit code says whose fault it was.

2 is the command line's, 1 the data's, the file's or the machine's, 0 means that it was no mistake after all.
"""

import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convatlas.cli import main

FORBIDDEN = re.compile(r"unexpected|Traceback|Warning")
BIG = "99999999999999999999999999"

# {run}: a finished run of a classifier; {segmenter}: a registered name of another task; {photos}: a folder with a class
# folder each for dark and light; {text}: a file that is no image; {dir}: an empty folder; {weights}: of {run}.
ODD: dict[int, str] = {
    2: """
        lst
        --frob
        "" lenet5
        list --task driving
        list --year nan
        list --year 2016-2012
        list --year -
        list --size 1X
        list --size 5M-1M
        list --frob
        list a b
        list ""
        show
        show ""
        show alexnett
        show vgg
        show lenet5 alexnet
        show lenet5 --input 1,2
        show lenet5 --input 0,32,32
        show lenet5 --input a,b,c
        show lenet5 --input -1,32,32
        show lenet5 --input 1,32.5,32
        show lenet5 --input 1,1,1
        show lenet5 --format yaml
        show lenet5 --format
        show 日本
        show "[red]lenet5[/red]"
        rf
        rf nope
        rf lenet5 nope
        rf lenet5 C3 --unit 1
        rf lenet5 C3 --unit 99,99
        rf lenet5 C3 --unit a,b
        rf lenet5 C3 --unit -1,0
        rf lenet5 --unit 1,1
        rf lenet5 --effective
        rf lenet5 --figure x.png
        rf lenet5 C3 --draws 0
        rf lenet5 C3 --figure x.gif
        rf lenet5 C3 --figure {dir}
        rf lenet5 C3 --figure {text}/x.png
        rf {dir}
        diff
        diff lenet5
        diff lenet5 nope
        diff lenet5 lenet5 lenet5
        diff lenet5 alexnet --csv
        verify
        verify --all lenet5
        verify nope
        verify lenet5 nope
        verify --failing
        data frob
        data check
        data check ""
        data check {photos} --task driving
        data check {photos} --sheet {dir}
        data check {photos} --sheet x.jpg
        data check {photos} --sheet {text}/x.png
        data check {photos} {photos}
        data check minst
        runs {dir}/none
        runs {text}
        runs --sort size
        runs ""
        runs {dir} {dir}
        eval
        eval nope
        eval lenet5
        eval {run} --protocol 7-crop
        eval {run} --scales a,b
        eval {run} --scales 0
        eval {run} --scales -5
        eval {run} --scales ""
        eval {run} --protocol coco
        eval {run} --batch-size 0
        eval {run} --batch-size 1.5
        eval {run} --batch-size {big}
        eval {run} --device meta
        eval {run} --device tpu
        eval {run} --device cuda:{big}
        eval {run} --device ""
        eval {run} --crf
        eval {run} --with nope
        eval {run} --data nope
        eval {run} --data ""
        predict
        predict {run}
        predict nope {photos}
        predict lenet5 {photos}
        predict {run} {photos} --csv --json
        predict {run} {photos} --top-k 0
        predict {run} {photos} --top-k -3
        predict {run} {photos} --top-k x
        predict {run} {photos} --batch-size 0
        predict {run} {photos} --engine warp
        predict {run} {photos} --device meta
        predict {run} {photos} --crf
        predict {run} {photos} --out {dir}
        predict {run} {photos} --out {text}
        predict {run} {photos} --least-score nan
        predict {run} {photos} --least-score inf
        predict {run} {photos} --least-score 0.5
        predict {run} --camera -1
        predict {run} --camera x
        predict {run} --camera 0 --json
        predict {run} {photos} --camera 0
        predict {run} {photos} --video {text}
        predict {run} {photos} --every 0
        predict {run} ""
        predict {run} {photos} --weights
        features
        features {run}
        features {run} {photos}
        features {run} {photos} --layer nope --out {dir}/f.npz
        features {run} {photos} --layer conv1
        features {run} {photos} --layer conv1 --out {dir}
        features {run} {photos} --layer conv1 --out {dir}/f.csv
        features {run} {photos} --layer conv1 --out {text}/f.npz
        features {run} {photos} --layer conv1 --pool median --out {dir}/f.npz
        features {run} {photos} --layer conv1 --probe tree
        features {run} {photos} --layer conv1 --sheet {dir}/s.png
        features {run} {photos} --layer conv1 --nearest {image} --count 0
        features {run} {photos} --layer "" --out {dir}/f.npz
        export
        export {run}
        export nope --out {dir}/x.onnx
        export lenet5 --out {dir}/x.onnx
        export {run} --out {dir}
        export {run} --out {dir}/x.onnx --format caffe
        export {run} --out {dir}/x.onnx --int8
        export {run} --out {dir}/x.onnx --calibration {photos}
        export {run} --out {dir}/x.pt --format torchscript --int8 --calibration {photos}
        export {run} --out {text}/x.onnx
        export {run} --out ""
        weights frob
        weights import
        weights import {weights}
        weights import {weights} --out {dir}/w.pth
        weights import {weights} --out {dir}
        weights import {weights} --out {dir}/w.safetensors --to nope
        weights import {weights} --out {dir}/w.safetensors --to lenet5
        weights show
        weights show ""
        weights list nope
        weights list ""
        weights compress {run}
        weights compress {run} --out {dir}/w.zip
        weights compress {run} --out {dir}/w.huff --sparsity nan
        weights compress {run} --out {dir}/w.huff --sparsity 2
        weights compress {run} --out {dir}/w.huff --sparsity -0.1
        weights compress {run} --out {dir}/w.huff --bits 0
        weights compress {run} --out {dir}/w.huff --bits 64
        weights compress {run} --out {dir}/w.huff --retrain 1
        weights compress {run} --out {dir}/w.huff --rate -1
        weights compress {run} --out {dir}/w.huff --rate inf
        explain
        explain nope {photos}
        explain {run} {photos} --method magic
        explain {run} {photos} --layer nope --method gradcam
        explain {run} {photos} --class nope
        explain {run} {photos} --class 99999
        explain {run} {photos} --map -1
        explain {run} {photos} --limit 0
        explain {run} {photos} --device meta
        explain {run} {photos} --part frob
        compare
        compare nope
        compare lenet5 --batch 0
        compare lenet5 --batch x
        compare lenet5 --seconds -1
        compare lenet5 --seconds nan
        compare lenet5 --side 0
        compare lenet5 --csv --json
        train
        train nope
        train lenet5 --data minst
        train lenet5 --data ""
        train lenet5 --epochs 0
        train lenet5 --epochs 1.5
        train lenet5 --epochs {big}
        train lenet5 --batch-size -4
        train lenet5 --lr nan
        train lenet5 --seed {big}
        train lenet5 --seed x
        train lenet5 --recipe nope
        train lenet5 --device meta
        train lenet5 --workers -1
        train lenet5 --save-every nan
        train lenet5 --save-every 0
        train lenet5 --set frob=1
        train lenet5 --set epochs
        train lenet5 --set epochs=x
        train lenet5 --keep-epochs 0
        train --resume {dir}/nope --epochs 3
        train lenet5 --out {text}
        doctor now
        doctor --frob
        data check {text}
        data check {dir} --task detection
        predict lenet5 {photos} --weights {text}
        predict lenet5 {photos} --weights {dir}
        predict lenet5 {photos} --weights {dir}/none
        predict {text} {photos}
        weights import {text} --out {dir}/w.safetensors
        weights import {dir} --out {dir}/w.safetensors
        weights show {text}
        weights show {dir}
        weights show {dir}/none
        """,
    1: """
        data check {dir}
        data check {dir} --task segmentation
        eval {broken}
        predict {broken} {photos}
        predict {run} {dir}/none.png
        predict {run} {text}
        predict {run} {dir}
        predict {run} --video {text}
        features {run} {dir} --layer conv1 --out {dir}/f.npz
        export {broken} --out {dir}/x.onnx
        explain {broken} {photos}
        explain {run} {text} --method saliency --out {dir}/e
        compare {broken}
        train --resume {dir}/nope
        train --resume {dir}
        train lenet5 --recipe {dir}/nope.toml
        train --recipe {text}
        """,
    0: """
        --version
        --help
        list zzz
        list --year 1900
        list "[a"
        list --size -1k --json
        list --weights --task pose
        show "ResNet 50"
        show LENET-5
        rf lenet-5
        rf lenet5 C3 --unit 0,0
        runs {dir}
        runs {run}
        data
        weights
        weights list "VGG 16"
        predict {run} {image} --top-k {large}
        predict {run} {image} {text}
        predict {run} {photos}/dark/*.png
        """,
}  # fmt: skip


def command_lines() -> list[tuple[int, str]]:
    return [(code, line.strip()) for code, lines in ODD.items() for line in lines.strip().splitlines()]


@pytest.fixture(scope="module")
def places(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("odd")
    for name, value in (("dark", 40), ("light", 200)):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(2):
            noise = np.random.default_rng(number).integers(-30, 30, (28, 28)) + value
            Image.fromarray(noise.astype(np.uint8)).save(folder / "photos" / name / f"{number}.png")
    (folder / "notes.txt").write_text("nothing to see\n")
    (folder / "broken").mkdir()
    (folder / "broken" / "recipe.toml").write_text("x = [")
    return {
        "run": str(run_folder), "photos": str(folder / "photos"), "image": str(folder / "photos" / "dark" / "0.png"),
        "text": str(folder / "notes.txt"), "broken": str(folder / "broken"),
        "weights": str(run_folder / "checkpoints" / "best" / "weights.safetensors"), "big": BIG, "large": "1000000",
    }  # fmt: skip


@pytest.mark.parametrize(("code", "line"), command_lines())
def test_odd_command_lines_end_as_they_should(
    code: int,
    line: str,
    places: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    arguments = [argument.format(**places, dir=folder) for argument in shlex.split(line)]
    got = main(arguments)
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert not FORBIDDEN.search(said), said
    assert got == code, said
    if code and not line.startswith("data check"):  # whose findings are its answer, on standard output
        assert captured.err.startswith("convatlas: "), captured.err
    assert list(folder.iterdir()) == [], "a command that failed has left something"
