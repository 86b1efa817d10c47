"""Pages of small runs of all four tasks, and a browser to look at them with."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

sys.path.append(str(Path(__file__).resolve().parents[1]))  # drawn people and masks

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
QUICK = ["--epochs", "1", "--device", "cpu", "--workers", "0", "--recipe", "modern", "--json"]
AWKWARD = "$\\frac{<script>alert(1)</script> 漢字"  # a class for which neither HTML nor matplotlib may have a meaning


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Debian's Chromium, or a skip that says what is missing."""
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(CHROMIUM)} is installed")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
    with api.sync_playwright() as engine:
        opened = engine.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def run_of(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A run of a task with its report, made when it is first asked for."""
    from convatlas.cli import main

    folder = tmp_path_factory.mktemp("browser")
    networks: dict[str, tuple[str, Callable[[Path], Path], tuple[str, ...]]] = {
        "segmentation": ("fcn8s_squeezenet", write_masks, ("--set", "preprocessing.size=(33,49)")),
        "detection": ("ssd300_squeezenet", write_boxes, ()),
        "pose": ("stacked_hourglass_1", write_poses, ("--set", "preprocessing.size=(64,64)")),
    }

    def run(task: str) -> Path:
        made = folder / task
        if made.is_dir():
            return made
        if task == "classification":
            shutil.copytree(run_folder, made)
            assert main(["report", str(made)]) == 0
        else:
            network, write, settings = networks[task]
            command = ["train", network, "--data", str(write(folder)), "--out", str(made), "--batch-size", "2"]
            assert main([*command, *QUICK, *settings]) == 0
        return made

    return run


def write_masks(folder: Path) -> Path:
    from masks import write_parts

    data = write_parts(folder / "masks", 4, 2)
    rows = [f"{i},{name},#{colour}" for i, (name, colour) in enumerate(
        (("ground", "0a141e"), (f'"{AWKWARD}"', "c80000"), ("leaf", "00fa00"))
    )]  # fmt: skip
    (data / "classes.csv").write_text("\n".join(["value,name,colour", *rows]), encoding="utf-8")
    return data


def write_poses(folder: Path) -> Path:
    from people import write_coco

    data = folder / "people"
    write_coco(data, "train", 2)
    write_coco(data, "val", 2, seed=1)
    return data


def write_boxes(folder: Path) -> Path:
    """A table of boxes on four images to learn from and two to test on."""
    import numpy as np
    from PIL import Image

    data = folder / "boxes"
    data.mkdir()
    random = np.random.default_rng(0)
    lines = ["image,x1,y1,x2,y2,class,split"]
    for number in range(6):
        image = np.full((120, 160, 3), 90, np.uint8)
        x, y = random.integers(10, 80, 2)
        image[y : y + 30, x : x + 40] = (200, 60, 40)
        Image.fromarray(image).save(data / f"{number}.png")
        lines.append(f'{number}.png,{x},{y},{x + 40},{y + 30},"{AWKWARD}",{"train" if number < 4 else "test"}')
    (data / "boxes.csv").write_text("\n".join(lines), encoding="utf-8")
    return data / "boxes.csv"


@pytest.fixture(scope="session")
def pages(run_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A page by its name: "run classification", "explain pose", "comparison"."""
    from convatlas.cli import main

    folder = tmp_path_factory.mktemp("pages")

    def comparison() -> Path:
        names = [str(run_of("classification")), "lenet5", "caffe_lenet", "resnet18"]
        page = folder / "comparison.html"
        assert main(["compare", *names, "--seconds", "4", "--out", str(page)]) == 0
        return page

    def explain(task: str) -> Path:
        methods = ["filters", "filterstats", "patches", "saliency", "gradcam", "occlusion", "deconvnet", "invariance"]
        asked = [word for method in methods for word in ("--method", method)]
        assert main(["explain", str(run_of(task)), *asked, "--limit", "1", "--out", str(folder / task)]) == 0
        return folder / task / "index.html"

    made: dict[str, Path] = {}

    def page(name: str) -> Path:
        if name not in made:
            kind, _, task = name.partition(" ")
            made[name] = {
                "run": lambda: run_of(task) / "report.html",
                "explain": lambda: explain(task),
                "comparison": comparison,
            }[kind]()
        return made[name]

    return page
