"""Loading speed of the four tasks on the same images: images/s, and the processor time of the training process.

    python benchmarks/loading_tasks.py [--images 48] [--epochs 2]

Images of noise, 333 to 500 pixels a side, become augmented batches of 16 inputs of 224 pixels: with labels, masks,
objects or the joints of a person. Each task is read from files in this process and by two workers, and from memory.
One JSON line goes to standard output; `results/loading_tasks.json` holds several, taken in turns with an older commit.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from convatlas.data import FileSplit, HorizontalFlip, LabelAssembly, Loader, RandomResizedCrop
from convatlas.data.assembly import Assembly
from convatlas.data.detection.annotations import Annotated
from convatlas.data.detection.assembly import BoxAssembly
from convatlas.data.detection.augment import SSD_AUGMENTATION
from convatlas.data.detection.split import DetectionSplit
from convatlas.data.pose.assembly import PersonAssembly
from convatlas.data.pose.people import MPII, PeopleSplit, Person
from convatlas.data.pose.transform import TurnAndScale
from convatlas.data.segmentation.assembly import MaskAssembly
from convatlas.data.segmentation.augment import RandomScale
from convatlas.data.segmentation.classes import VOC
from convatlas.data.segmentation.splits import MaskSplit
from convatlas.records import Preprocessing

SIZES = ((375, 500), (500, 375), (333, 500), (400, 400))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WINDOW = Preprocessing((224, 224), mean=MEAN, std=STD)


def write_images(folder: Path, count: int) -> tuple[list[str], list[str]]:
    """Images and their masks."""
    rng = np.random.default_rng(0)
    images, masks = [], []
    for number in range(count):
        height, width = SIZES[number % len(SIZES)]
        coarse = rng.integers(0, 256, (height // 25, width // 25, 3), dtype=np.uint8)
        images.append(str(folder / f"{number:03}.jpg"))
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(images[-1], quality=90)
        classes = Image.fromarray(rng.integers(0, 5, (height // 50, width // 50), dtype=np.uint8))
        mask = classes.resize((width, height), Image.Resampling.NEAREST).convert("P")
        mask.putpalette(np.asarray(VOC.colours, np.uint8).flatten().tolist() if VOC.colours else list(range(256)) * 3)
        masks.append(str(folder / f"{number:03}.png"))
        mask.save(masks[-1])
    return images, masks


def assemblies(images: list[str], masks: list[str]) -> dict[str, Callable[[], Assembly]]:
    rng = np.random.default_rng(1)
    pages, people = [], []
    for path in images:
        width, height = Image.open(path).size
        corner = rng.random((int(rng.integers(0, 9)), 2)) * 0.6
        far = corner + 0.1 + rng.random(corner.shape) * 0.3
        boxes = np.concatenate([corner * [width, height], far * [width, height]], 1)
        labels = torch.from_numpy(rng.integers(0, 5, len(boxes)))
        difficult = torch.zeros(len(boxes), dtype=torch.bool)
        pages.append(Annotated(path, (height, width), torch.tensor(boxes, dtype=torch.float32), labels, difficult))
        joints = torch.tensor(rng.random((len(MPII), 2)) * [width, height], dtype=torch.float32)
        people.append(Person((width / 2, height / 2), 210.0, joints, torch.ones(len(MPII), dtype=torch.bool), 50.0))
    photo = Preprocessing((224, 224), 3, "short_side", 256, MEAN, STD)
    square = Preprocessing((224, 224), 3, "stretch", 224, MEAN, STD)
    crop, flip = RandomResizedCrop((224, 224)), HorizontalFlip()
    return {
        "labels": lambda: LabelAssembly(FileSplit(images, torch.arange(len(images)) % 7), photo, (crop, flip)),
        "masks": lambda: MaskAssembly(MaskSplit(images, masks, VOC), WINDOW, (RandomScale((0.75, 1.5)), flip)),
        "objects": lambda: BoxAssembly(DetectionSplit(pages), square, SSD_AUGMENTATION),
        "joints": lambda: PersonAssembly(PeopleSplit(images, people, MPII, "PCKh@0.5"), WINDOW, (TurnAndScale(), flip)),
    }


def processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        for task, make in assemblies(*write_images(Path(folder), arguments.images)).items():
            for way, workers, limit in (("files", 0, 0), ("files, 2 workers", 2, 0), ("memory", 0, 1 << 30)):
                loader = Loader(
                    make(),
                    batch_size=16, shuffle=True, seed=3, workers=workers, check=limit > 0, memory_limit_bytes=limit,
                )  # fmt: skip
                list(loader.epoch(0))
                started, used = time.perf_counter(), processor_s()
                seen = sum(len(batch.images) for epoch in range(arguments.epochs) for batch in loader.epoch(epoch + 1))
                result[f"{task}: {way}"] = {
                    "images_per_s": round(seen / (time.perf_counter() - started), 1),
                    "processor_ms_per_image": round(1000 * (processor_s() - used) / seen, 2),
                }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
