"""Stick figures with COCO's and MPII's annotations, for the tests of pose networks."""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from convatlas.data.pose.people import COCO, limbs


def write_coco(folder: Path, part: str, count: int, *, seed: int = 0, size: tuple[int, int] = (120, 96)) -> Path:
    """Images (W, H) of one figure each below `folder/<part>2017`, with their annotations; gives the file."""
    random = np.random.default_rng(seed)
    (folder / f"{part}2017").mkdir(parents=True)
    images, annotations = [], []
    for number in range(count):
        centre = np.array(size) / 2 + random.uniform(-6, 6, 2)
        joints = centre + random.uniform(-32, 32, (len(COCO), 2))
        image = Image.new("RGB", size, (20, 30, 40))
        draw = ImageDraw.Draw(image)
        for a, b in limbs(COCO):
            draw.line([*joints[a], *joints[b]], fill=(200, 200, 60), width=2)
        for place, (x, y) in enumerate(joints):
            draw.ellipse([x - 2, y - 2, x + 2, y + 2], fill=(255, 10 * place, 80))
        name = f"{part}{number:03}.png"
        image.save(folder / f"{part}2017" / name)
        low, high = joints.min(0), joints.max(0)
        images.append({"id": number, "file_name": name, "width": size[0], "height": size[1]})
        annotations.append({
            "id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "num_keypoints": len(COCO),
            "bbox": [*low.tolist(), *(high - low).tolist()],
            "keypoints": [value for x, y in joints for value in (float(x), float(y), 2)],
        })  # fmt: skip
    file = folder / "annotations" / f"person_keypoints_{part}2017.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1}]}))
    return file
