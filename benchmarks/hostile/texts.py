"""Hostile text on its way to terminals, pages, tables and figures; and what the tests know of runs and weights."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from inputs import Case, both, check, put

import boxes
import people
from mutate_marked import KINDS as MARKED
from reading import encoded, image
from test_fuzz_runs import HOSTILE, RECORDS
from test_weights_bounds import BOMBS

WORDS = (
    "[/tag]",
    "[bold]x",
    "\x1b[2J\x1b[31mred",
    "$\\frac{",
    "$x$",
    "=cmd()|' /C calc'!A0",
    "@SUM(1)",
    "漢字",
    "\u202eevil",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "{{7*7}}",
    "%s%n",
    "a\tb",
    "ã\u0301" * 40,
    "x" * 200,
)


def every(run: Path) -> tuple[Callable[[], Iterator[Case]], ...]:
    return (names, weights_files, lambda: runs(run))


def names() -> Iterator[Case]:
    for word in WORDS:
        shown = ascii(word)[1:24]
        if "/" not in word and len(word.encode()) < 250:

            def folders(f: Path, word: str = word) -> None:
                for name in (word, "plain"):
                    for part, count in (("train", 6), ("test", 3)):
                        for i in range(count):
                            put(
                                f / "set" / part / name / f"{word}{i}.png",
                                encoded(image(len(name) * 100 + count * 10 + i)),
                            )

            yield Case(
                f"class and files {shown}",
                folders,
                [
                    check("set"),
                    ["train", "caffe_lenet", "--data", "set", "--out", "run", "--epochs", "1"],
                    ["eval", "run"],
                    ["predict", "run", "set", "--csv"],
                    ["predict", "run", "set"],
                ],
            )

        def table(f: Path, word: str = word) -> None:
            for i in range(12):
                put(f / f"{i}.png", encoded(image(i)))
            rows = [json.dumps({"path": f"{i}.png", "label": (word, "plain")[i % 2]}) for i in range(12)]
            put(f / "x.jsonl", "\n".join(rows))

        yield Case(f"label {shown}", table, both("x.jsonl"))

        def marked(f: Path, word: str = word) -> None:
            boxes.images(f, [f"{i}.png" for i in range(4)])
            boxes.coco(
                f / "instances_train.json",
                {f"{i}.png": [{}, {"bbox": [0, 0, 0, 0]}] if not i else [{}] for i in range(4)},
                categories=[{"id": 1, "name": word}, {"id": 2, "name": "x"}],
            )

        yield Case(
            f"category {shown}",
            marked,
            [*both(".", "detection"), ["data", "check", ".", "--task", "detection", "--sheet", "out.png"]],
        )

        def masked(f: Path, word: str = word) -> None:
            MARKED["masks"].write(f)
            put(f / "classes.csv", 'value,name\n0,"' + word.replace('"', '""') + '"\n1,b\n2,c\n3,d\n')

        yield Case(
            f"mask class {shown}",
            masked,
            [*both(".", "segmentation"), ["data", "check", ".", "--task", "segmentation", "--sheet", "out.png"]],
        )

        def posed(f: Path, word: str = word) -> None:
            file = people.write_coco(f, "train", 3)
            document: dict[str, Any] = json.loads(file.read_text())
            document["images"][0]["file_name"] = word
            file.write_text(json.dumps(document))

        yield Case(f"image of people {shown}", posed, both(".", "pose"))


def weights_files() -> Iterator[Case]:
    for name, (ending, build, _) in BOMBS.items():
        yield Case(
            f"weights: {name}", lambda f, e=ending, b=build: put(f / f"x{e}", b()), [["weights", "show", f"x{ending}"]]
        )


def runs(run: Path) -> Iterator[Case]:
    for name, (file, content) in (HOSTILE | RECORDS).items():

        def damage(f: Path, file: str = file, content: str | bytes = content) -> None:
            shutil.copytree(run, f / "runs" / "copy")
            put(f / "runs" / "copy" / file, content)

        yield Case(f"run: {name}", damage, [["runs", "runs"], ["predict", "runs/copy", "."], ["eval", "runs/copy"]])
