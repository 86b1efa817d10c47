"""What makes boundaries better: mean IU, boundary F1 and mean IU near borders of several ways to predict CamVid.

    python benchmarks/boundaries.py --data-root FOLDER [--run RUN ...] [--factors 8 16 32] [--crf NAME ...]
        [--images 0] [--search 12] [--slices RUN ...]

FOLDER holds train/ and val/ with images/ and masks/ (SegNet's division: 0 to 10, 11 is void). A way to predict is a
trained run, or, as the best that a network of that stride could know, the truth itself: its classes' shares in squares
of 8, 16 or 32 pixels, up-sampled bilinearly. Each is measured alone, and those that --crf names also refined by the
fully connected CRF, whose weights are searched on training images as DeepLab does, for the highest mean IU. Runs of
--slices are of ISBI's membranes, each measured on its own test part. The result goes to benchmarks/results/, with how
each run was trained. Runs differ in one thing, for example the skips of FCN-8s:

    S="--data FOLDER --weights squeezenet.pth --epochs 10 --set preprocessing.size=(176,240)"
    S="$S --set preprocessing.resize=short_side --set preprocessing.resize_to=180"
    FROZEN='ParameterGroup(match="score_fire5.*",frozen=true),ParameterGroup(match="score_fire9.*",frozen=true)'
    convatlas train fcn8s_squeezenet $S --set "groups=[$FROZEN]" --out runs/skips_none   # their scores stay 0
    convatlas train fcn8s_squeezenet $S --out runs/skips_two
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from convatlas.evaluation.boundary import BoundaryMeter, TrimapMeter
from convatlas.evaluation.segmentation import ConfusionMeter, scores
from convatlas.evaluation.segmenter import Segmenter
from convatlas.inference import open_source
from convatlas.inference.crf import DenseCRF
from convatlas.records import VOID
from convatlas.training.run import environment

CLASSES, CAMVID_VOID = 11, 11
DOUBT = 0.01  # added to the pooled truth before its logarithm: nobody is certain
GRID = {"bilateral_weight": (1.0, 4.0), "position_px": (30.0, 67.0), "colour": (3.0, 6.0)}
Predict = Callable[[Tensor, Tensor], Tensor]  # image (3, H, W) and its mask (H, W) -> logits (K, H, W)


def read(folder: Path, limit: int) -> list[tuple[Tensor, Tensor]]:
    """Images uint8 (3, H, W) with masks (H, W), void 255; `limit` of them, evenly spaced, or all for 0."""
    paths = sorted((folder / "images").iterdir())
    chosen = paths[:: max(1, len(paths) // limit)][:limit] if limit else paths
    found = []
    for path in chosen:
        image = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
        mask = torch.from_numpy(np.array(Image.open(folder / "masks" / f"{path.stem}.png"))).long()
        found.append((image, torch.where(mask == CAMVID_VOID, VOID, mask)))
    return found


def pooled_truth(factor: int) -> Predict:
    """What is left of the truth at a stride; void pixels are of no class."""

    def predict(image: Tensor, mask: Tensor) -> Tensor:
        classes = F.one_hot(torch.where(mask == VOID, CLASSES, mask), CLASSES + 1)[..., :CLASSES]
        shares = F.avg_pool2d(classes.permute(2, 0, 1)[None].float(), factor, ceil_mode=True, count_include_pad=False)
        return (F.interpolate(shares, mask.shape, mode="bilinear")[0] + DOUBT).log()

    return predict


def trained(run: str) -> Predict:
    """A run's network on whole images."""
    source = open_source(run)
    segmenter = Segmenter(source.net, source.preprocessing)
    return lambda image, mask: segmenter.logits(image).clone()  # no inference tensor: the CRF keeps it


def measure(predict: Predict, crf: DenseCRF | None, images: list[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    meter, boundary, trimap = ConfusionMeter(CLASSES), BoundaryMeter(CLASSES), TrimapMeter(CLASSES)
    seconds = []
    for image, mask in images:
        logits = predict(image, mask)
        started = time.perf_counter()
        if crf is not None:
            logits = crf(logits, image)
        seconds.append(time.perf_counter() - started)
        for each in (meter, boundary, trimap):
            each.add(logits.argmax(0)[None], mask[None])
    found = scores(meter.confusion)
    return {
        "pixel accuracy": round(found.pixel_accuracy, 4),
        "mean IU": round(found.mean_iu, 4),
        "boundary F1": round(boundary.mean, 4),
        "mean IU near borders": dict(
            zip(map(str, trimap.widths), (round(x, 4) for x in trimap.mean_iu.tolist()), strict=True)
        ),
        "median seconds of the CRF": round(statistics.median(seconds), 2) if crf is not None else None,
    }


def search(predict: Predict, images: list[tuple[Tensor, Tensor]]) -> DenseCRF:
    """The grid's best by mean IU; the spatial kernel weighs half as much as the bilateral one."""
    known = [(predict(image, mask), image, mask) for image, mask in images]

    def mean_iu(crf: DenseCRF) -> float:
        meter = ConfusionMeter(CLASSES)
        for logits, image, mask in known:
            marginals = crf(logits, image)
            meter.add(marginals.argmax(0)[None], mask[None])
        return scores(meter.confusion).mean_iu

    settings = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
    return max((DenseCRF(**one, smoothness_weight=one["bilateral_weight"] / 2) for one in settings), key=mean_iu)


def trained_how(run: str) -> dict[str, Any]:
    recipe = open_source(run).recipe
    assert recipe is not None
    preprocessing = recipe.preprocessing
    return {
        "network": recipe.network,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "loss": recipe.loss.__class__.__name__,
        "frozen": [group.match for group in recipe.groups if group.frozen],
        "resize_to": preprocessing.resize_to if preprocessing else None,
        "window": preprocessing.size if preprocessing else None,
    }


def membranes(run: str) -> dict[str, Any]:
    """What `eval` says of a run on ISBI's slices."""

    def said(*options: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "convatlas", "eval", run, "--json", *options]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    usual, challenge = said(), said("--protocol", "membranes")
    shared = {name: usual[name] for name in ("mean_iu", "boundary_f1", "trimap")}
    return shared | {name: challenge[name] for name in ("pixel", "foreground_rand", "rand", "warping")}


def table(rows: dict[str, dict[str, Any]]) -> str:
    lines = ["| prediction | mean IU | boundary F1 | mean IU within 3 px | 10 px |", "|---|---|---|---|---|"]
    for name, row in rows.items():
        near = row["mean IU near borders"]
        values = (row["mean IU"], row["boundary F1"], near["3"], near["10"])
        lines.append(f"| {name} | " + " | ".join(f"{100 * value:.1f}" for value in values) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--run", action="append", default=[], help="a run folder, as often as wanted")
    parser.add_argument("--factors", type=int, nargs="*", default=[8, 16, 32])
    parser.add_argument("--crf", nargs="*", help="ways that are refined too; without the option, all")
    parser.add_argument("--slices", action="append", default=[], help="a run folder of ISBI's membranes")
    parser.add_argument("--images", type=int, default=0, help="of the validation part; 0 takes all")
    parser.add_argument("--search", type=int, default=12, help="training images to search the CRF's weights on")
    parser.add_argument("--threads", type=int, default=0, help="0 leaves torch's own choice")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    ways: dict[str, Predict] = {f"truth at 1/{factor}": pooled_truth(factor) for factor in arguments.factors}
    ways |= {Path(run).name: trained(run) for run in arguments.run}
    train, val = (
        read(arguments.data_root / "train", arguments.search),
        read(arguments.data_root / "val", arguments.images),
    )
    rows: dict[str, dict[str, Any]] = {}
    for name, predict in ways.items():
        rows[name] = measure(predict, None, val)
        print(table(rows), flush=True)
        if arguments.crf is not None and name not in arguments.crf:
            continue
        crf = search(predict, train)
        rows[f"{name}, CRF"] = measure(predict, crf, val) | {"crf": asdict(crf)}
        print(table(rows), flush=True)
    result = {
        "what": "CamVid validation, 11 classes, 480 x 360: mean IU, boundary F1 (0.75% of the diagonal), and mean IU "
        "within so many pixels of a border",
        "date": datetime.now(UTC).date().isoformat(),
        "pictures": len(val),
        "searched_on": len(train),
        "grid": GRID,
        "rows": rows,
        "runs": {Path(run).name: trained_how(run) for run in (*arguments.run, *arguments.slices)},
        "membranes": {Path(run).name: membranes(run) for run in arguments.slices},
        "environment": environment("cpu"),
    }
    target = Path(__file__).parent / "results" / "boundaries_camvid.json"
    target.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
