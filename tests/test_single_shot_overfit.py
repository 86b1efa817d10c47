"""Single-shot detectors learn four real pictures by heart."""

from pathlib import Path

import pytest
import torch
from torch import nn

from convatlas import registry, weights
from convatlas.data.detection import open_detection
from convatlas.data.detection.loader import DetectionBatch, DetectionLoader
from convatlas.evaluation.detection import voc_average_precision
from convatlas.structures import Preprocessing

SQUEEZENET = Preprocessing((300, 300), 3, "stretch", 300, (123 / 255, 117 / 255, 104 / 255), (1 / 255,) * 3, "bgr")


def four(root: Path, preprocessing: Preprocessing) -> DetectionBatch:
    split = open_detection(str(root / "bccd")).train
    return next(iter(DetectionLoader(split.select(range(4)), preprocessing, batch_size=4).epoch(0)))


def learn(net: nn.Module, batch: DetectionBatch, *, lr: float, steps: int) -> float:
    """The mean AP50 of the four pictures once it is over 0.95, or after so many steps."""
    optimizer, ap = torch.optim.Adam(net.parameters(), lr=lr), 0.0
    for step in range(1, steps + 1):
        net.train()
        optimizer.zero_grad()
        sum(net.losses(batch.images, batch.labels).values()).backward()  # type: ignore[operator]
        optimizer.step()
        if step % 25 == 0:
            found = net.eval().detect(batch.images)  # type: ignore[operator]
            ap = voc_average_precision(found, batch.labels, 3, "voc10")[0].mean().item()
            if ap > 0.95:
                break
    return ap


@pytest.mark.slow
@pytest.mark.data
def test_ssd_on_squeezenet(data_root: Path) -> None:
    torch.manual_seed(0)
    net = registry.build("ssd300_squeezenet", num_classes=3)
    trained = weights.create("squeezenet_v1_1", weights=data_root / "weights" / "squeezenet1_1_caffe_bgr.pth")
    net.start_from(trained.state_dict())  # type: ignore[operator]
    batch = four(data_root, SQUEEZENET)
    assert learn(net, batch, lr=1e-3, steps=150) > 0.95
