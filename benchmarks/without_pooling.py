"""What if pooling is taken out? Caffe's LeNet with its pools and three times without, on shifted MNIST digits.

    python benchmarks/without_pooling.py --data-root FOLDER [--steps 300] [--seeds 0 1 2] [--digits 1000] [--threads 1]

FOLDER holds mnist_train.npz and mnist_test.npz. All networks have Caffe's LeNet's layers and widths and get the same
training: SGD with momentum, no shifts among the training digits. They differ in what stands where its two maximum pools
(2 x 2, stride 2) stood. The test digits are shifted by 0 to 4 pixels to the four sides, with zeros behind them; MNIST's
digits have a margin of 4 pixels. The result goes to benchmarks/results/.
"""

import argparse
import json
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.training.run import environment

VARIANTS = {
    "maximum pools": "as published: two maximum pools of 2 x 2, stride 2",
    "strided convolutions": "a learned convolution of 2 x 2, stride 2, with a rectifier, in each pool's place",
    "every second unit": "conv1 and conv2 have a stride of 2 and nothing follows: the maps are as small, unpooled",
    "pools and a mean": "two maximum pools; then the mean over the places goes to ip1 instead of the places themselves",
}
SHIFTS = (0, 1, 2, 3, 4)
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1))
BATCH_SIZE, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 64, 0.03, 0.9, 5e-4


def build(variant: str) -> nn.Sequential:
    """(B, 1, 28, 28) -> (B, 10)"""
    stride = 2 if variant == "every second unit" else 1

    def smaller(channels: int) -> list[nn.Module]:
        if variant == "every second unit":
            return []
        if variant == "strided convolutions":
            return [nn.Conv2d(channels, channels, 2, stride=2), nn.ReLU()]
        return [nn.MaxPool2d(2)]

    mean = variant == "pools and a mean"
    return nn.Sequential(
        nn.Conv2d(1, 20, 5, stride=stride), nn.ReLU(), *smaller(20),  # 20 x 12 x 12
        nn.Conv2d(20, 50, 5, stride=stride), nn.ReLU(), *smaller(50),  # 50 x 4 x 4
        *([nn.AdaptiveAvgPool2d(1)] if mean else []), nn.Flatten(),
        nn.Linear(50 if mean else 800, 500), nn.ReLU(), nn.Linear(500, 10),
    )  # fmt: skip


def load(root: Path, part: str) -> tuple[Tensor, Tensor]:
    """(N, 1, 28, 28) in [0, 1], (N,)"""
    with np.load(root / f"mnist_{part}.npz") as arrays:
        images, labels = arrays["images"], arrays["labels"]
    return torch.from_numpy(images)[:, None].float() / 255, torch.from_numpy(labels).long()


def train(net: nn.Module, x: Tensor, y: Tensor, *, steps: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(net.parameters(), LEARNING_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        chosen = torch.randint(len(x), (BATCH_SIZE,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(net(x[chosen]), y[chosen]).backward()
        optimizer.step()
        schedule.step()


def shifted(x: Tensor, down: int, right: int) -> Tensor:
    """(B, 1, H, W) moved by whole pixels, zeros behind."""
    margin = max(abs(down), abs(right))
    tall = F.pad(x, (margin,) * 4)
    height, width = x.shape[2:]
    return tall[:, :, margin - down : margin - down + height, margin - right : margin - right + width]


def error(net: nn.Module, x: Tensor, y: Tensor, shift: int) -> float:
    """The mean over the four sides."""
    sides = SIDES if shift else SIDES[:1]
    with torch.inference_mode():
        wrong = [net(shifted(x, shift * down, shift * right)).argmax(dim=1) != y for down, right in sides]
    return float(torch.cat(wrong).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--digits", type=int, default=1000, help="of the test set")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    x, y = load(arguments.data_root, "train")
    test_x, test_y = (values[: arguments.digits] for values in load(arguments.data_root, "test"))
    started = time.process_time()
    errors: dict[str, list[list[float]]] = {variant: [] for variant in VARIANTS}
    for seed in arguments.seeds:
        for variant, runs in errors.items():
            torch.manual_seed(seed)
            net = build(variant)
            train(net, x, y, steps=arguments.steps, seed=seed)
            runs.append([error(net, test_x, test_y, shift) for shift in SHIFTS])
            print(seed, variant, [round(value, 4) for value in runs[-1]], flush=True)
    result = {
        "what": f"error on {arguments.digits} MNIST test digits shifted by {SHIFTS} pixels, mean of the four sides",
        "date": datetime.now(UTC).date().isoformat(),
        "training": f"{arguments.steps} batches of {BATCH_SIZE}, SGD {LEARNING_RATE} to 0 by cosine, momentum "
        f"{MOMENTUM}, weight decay {WEIGHT_DECAY}, no augmentation",
        "seeds": arguments.seeds,
        "shifts_px": SHIFTS,
        "variants": {
            variant: {
                "what": what,
                "parameters": sum(parameter.numel() for parameter in build(variant).parameters()),
                "errors": errors[variant],
                "mean": [round(statistics.mean(column), 4) for column in zip(*errors[variant], strict=True)],
                "lowest": [round(min(column), 4) for column in zip(*errors[variant], strict=True)],
                "highest": [round(max(column), 4) for column in zip(*errors[variant], strict=True)],
            }
            for variant, what in VARIANTS.items()
        },
        "cpu_seconds": round(time.process_time() - started, 1),
        "environment": environment("cpu"),
    }
    target = Path(__file__).parent / "results" / "without_pooling.json"
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({variant: values["mean"] for variant, values in result["variants"].items()}, indent=2))


if __name__ == "__main__":
    main()
