"""Run by test_reading_marked_fuzz.py in a process of its own: reads folders with mutated files, and tells what came.

python tests/mutate_marked.py COUNT FORMAT ... -> one JSON object: format -> [read, refused, list of what else happened]
"""

import json
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.io import savemat

from boxes import coco, image, images, xml, yolo
from convatlas import data
from convatlas.data.annotated import open_masks, open_people
from convatlas.data.detection import parts
from convatlas.data.detection.check import check_boxes
from convatlas.data.pose.check import check_people
from convatlas.errors import ConvatlasError
from mutate import GIGABYTE, attempt, hang, mutate
from people import write_coco
from test_pose_data import image as pose_image
from test_pose_data import mpii_entry, rects, release, somebody

NAMES = "abcd"
LINE = "0 0.4 0.4 0.3 0.5\n"
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
WORDS = (
    b"1e999", b"-1", b"0", b"NaN", b"1e300", b"-1e300", b"1e12", b"9" * 400, b"9" * 5000, b"null", b'"x"', b"[]", b"{}",
    b"true", b"0.5", b"[/red]", b"\x1b[2J", "\u0663".encode(), b"\x00", b"4294967296", b"..", b"/dev/zero", b"",
)  # fmt: skip


class Kind(NamedTuple):
    """A folder's task, how it is written, and which of its files are mutated."""

    task: str
    write: Callable[[Path], None]
    files: str  # pattern below the folder


def write_voc(root: Path) -> None:
    images(root / "JPEGImages", [f"{name}.png" for name in NAMES])
    for name in NAMES:
        xml(root / "Annotations" / f"{name}.xml", called=f"{name}.png")
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\nb\nc\n")
    (root / "ImageSets" / "Main" / "test.txt").write_text("d\n")


def write_coco_boxes(root: Path) -> None:
    images(root, [f"{name}.png" for name in NAMES])
    packed = {"size": [40, 60], "counts": "S6d08T1"}
    segments = ([[10, 5, 30, 5, 30, 25]], packed, {"size": [40, 60], "counts": [100, 20, 2280]}, [[1, 1, 9, 1, 5, 8]])
    entries = {f"{name}.png": [{"segmentation": own}] for name, own in zip(NAMES, segments, strict=True)}
    coco(root / "annotations" / "instances_train.json", entries)


def write_yolo(root: Path) -> None:
    yolo(root, dict.fromkeys(NAMES, LINE + "1 0.1 0.1 0.5 0.1 0.5 0.5\n"))


def write_table(root: Path) -> None:
    images(root, [f"{name}.png" for name in NAMES])
    lines = [
        f"{name}.png,60,40,cat,10,5,30,25,{split}" for name, split in zip(NAMES, ("train", "test") * 2, strict=True)
    ]
    (root / "boxes.csv").write_text("\n".join(["filename,width,height,class,xmin,ymin,xmax,ymax,split", *lines]))


def write_labelme(root: Path) -> None:
    images(root, [f"{name}.png" for name in NAMES])
    shapes = [{"label": "cat", "points": [[30, 25], [10, 5]], "shape_type": "rectangle"}]
    for name in NAMES:
        document = {"shapes": shapes, "imagePath": f"{name}.png", "imageHeight": 40, "imageWidth": 60}
        (root / f"{name}.json").write_text(json.dumps(document))


def write_masks(root: Path) -> None:
    for number, name in enumerate(NAMES):
        image(root / "images" / f"{name}.png", size=(16, 12))
        mask = np.tile(np.arange(16) // 4, (12, 1)).astype(np.uint8)
        (root / "masks").mkdir(exist_ok=True)
        form = Image.fromarray(mask, mode="P" if number % 2 else "L")
        if number % 2:
            form.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
        form.save(root / "masks" / f"{name}.{'tif' if number == 3 else 'png'}")
    (root / "classes.csv").write_text("value,name,colour\n0,a,#000000\n1,b,#ff0000\n2,c,#00ff00\n3,d,#0000ff\n")


def write_bare_masks(root: Path) -> None:
    write_masks(root)
    (root / "classes.csv").unlink()


def write_people(root: Path) -> None:
    write_coco(root, "train", 3)
    write_coco(root, "val", 1)


def write_mpii(root: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        pose_image(root / "images" / name)
    (root / "annot").mkdir()
    (root / "annot" / "train.json").write_text(json.dumps([mpii_entry("a.jpg"), mpii_entry("b.jpg")]))


def write_matlab(root: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        pose_image(root / "images" / name)
    rows = (("a.jpg", 1, rects(somebody())), ("b.jpg", 1, rects(somebody(16))))
    savemat(root / "mpii_human_pose_v1_u12_1.mat", release(*rows), do_compression=True)


def write_plain_matlab(root: Path) -> None:
    write_matlab(root)
    rows = (("a.jpg", 1, rects(somebody())), ("b.jpg", 1, rects(somebody(16))))
    savemat(root / "mpii_human_pose_v1_u12_1.mat", release(*rows))


KINDS = {
    "voc": Kind("detection", write_voc, "Annotations/*"),
    "voc_lists": Kind("detection", write_voc, "ImageSets/Main/*"),
    "coco": Kind("detection", write_coco_boxes, "annotations/*"),
    "yolo": Kind("detection", write_yolo, "labels/train/*"),
    "yolo_yaml": Kind("detection", write_yolo, "data.yaml"),
    "table": Kind("detection", write_table, "*.csv"),
    "labelme": Kind("detection", write_labelme, "*.json"),
    "images": Kind("detection", write_voc, "JPEGImages/*"),
    "masks": Kind("segmentation", write_masks, "masks/*"),
    "bare_masks": Kind("segmentation", write_bare_masks, "masks/*"),
    "mask_table": Kind("segmentation", write_masks, "classes.csv"),
    "people": Kind("pose", write_people, "annotations/*"),
    "mpii": Kind("pose", write_mpii, "annot/*"),
    "matlab": Kind("pose", write_matlab, "*.mat"),
    "plain_matlab": Kind("pose", write_plain_matlab, "*.mat"),
}


def mutate_text(content: bytes, seed: int) -> bytes:
    """A number or two become something else; at times a part is nested deeply."""
    rng = random.Random(seed)
    for _ in range(rng.choice((1, 1, 2, 4))):
        numbers = list(NUMBER.finditer(content))
        if not numbers:
            return mutate(content, seed)
        place = rng.choice(numbers)
        content = content[: place.start()] + rng.choice(WORDS) + content[place.end() :]
    if seed % 50 == 0:
        place = rng.choice(list(re.finditer(rb"[\[{<\n ]", content)) or [re.match(b"", content)])
        content = content[: place.start()] + b"[" * 20_000 + content[place.start() :]
    return content


def look(task: str, folder: str) -> None:
    """What `data check` and training read; errors are those of the first that has one."""
    if task == "detection":
        splits, classes = parts(folder, masks=True)
        check_boxes(splits, classes)
    elif task == "segmentation":
        from convatlas.data.segmentation.check import check_masks

        opened = open_masks(folder)
        check_masks(opened.parts, opened.classes.names)
    else:
        check_people(*open_people(folder))
    loaded = data.load(folder, task=task)
    for split in (loaded.train, loaded.test):
        for index in range(len(split)):
            try:
                split.read(index) if task == "detection" else split.read_pair(index)
            except ConvatlasError:
                continue


def run(kind: Kind, count: int, folder: Path, first: int = 0) -> tuple[int, int, list[str]]:
    read, refused, others = 0, 0, []
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    kind.write(folder)
    files = sorted(folder.glob(kind.files))
    for seed in range(first, first + count):
        file = files[seed % len(files)]
        valid = file.read_bytes()
        is_text = file.suffix not in (".png", ".jpg", ".tif", ".mat")
        file.write_bytes(mutate_text(valid, seed) if is_text and seed % 3 else mutate(valid, seed))
        result = attempt(lambda: look(kind.task, str(folder)))
        file.write_bytes(valid)
        read, refused = read + (result == "read"), refused + (result == "refused")
        if result not in ("read", "refused"):
            others.append(f"seed {seed}: {result}")
    return read, refused, others


def main(count: int, formats: list[str]) -> None:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        for kind in KINDS.values():  # imports what reading imports
            folder = Path(name) / "valid"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            kind.write(folder)
            look(kind.task, str(folder))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + GIGABYTE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        signal.signal(signal.SIGALRM, hang)
        found = {kind: run(KINDS[kind], count, Path(name) / "mutated") for kind in formats or KINDS}
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
