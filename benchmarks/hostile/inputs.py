"""Hostile inputs made by hand, by kind; each writes its files into an empty folder and says which commands meet them.

A `Case` is a name, a writer and the commands, whose words are formatted with the folder's own names.
"""

import gzip
import json
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import boxes
import people
from mutate_marked import KINDS as MARKED
from reading import encoded, image
from test_data_bounds import BOMB, DEEP, MERGES, header, png_of

Command = list[str]
Writer = Callable[[Path], Any]
TRAIN = ["--epochs", "1", "--batch-size", "4", "--no-report"]
DIGITS = "9" * 5000


class Case(NamedTuple):
    name: str
    write: Writer
    commands: list[Command]


def check(spec: str, task: str = "classification") -> Command:
    return ["data", "check", spec, "--task", task]


def both(spec: str, task: str = "classification") -> list[Command]:
    """`data check`, and `train` of a small network; of other tasks than classification the reading of `train`."""
    if task == "classification":
        return [check(spec), ["train", "caffe_lenet", "--data", spec, "--out", "run", *TRAIN]]
    return [check(spec, task), ["READ", spec, task]]


def pair(root: Path) -> Path:
    """Two classes of six images, and the folder."""
    for i in range(12):
        place = root / "ab"[i % 2] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encoded(image(i)))
    return root


def put(file: Path, content: bytes | str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))


# ---------- what unfolds


def zeros_npy(shape: tuple[int, ...], dtype: str) -> Iterator[bytes]:
    yield header(shape, dtype)
    left = int(np.prod(shape)) * np.dtype(dtype).itemsize
    while left > 0:
        yield bytes(min(left, 1 << 24))
        left -= 1 << 24


def npz_bomb(file: Path, shape: tuple[int, ...] = (600, 1000, 1000)) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, parts in (("images", zeros_npy(shape, "|u1")), ("labels", zeros_npy(shape[:1], "<i8"))):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as out:
                for part in parts:
                    out.write(part)


def parquet_bomb(file: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    one = np.random.default_rng(0).integers(0, 256, 4_000_000, dtype=np.uint8).tobytes()
    images = pa.DictionaryArray.from_arrays(pa.array([0] * 500, pa.int32()), pa.array([one]))
    table = pa.table({"image": images, "label": [i % 2 for i in range(500)]})
    pq.write_table(table, file, dictionary_pagesize_limit=1 << 30, store_schema=False)


def idx_bomb(folder: Path) -> None:
    for what, axes in (("images", 3), ("labels", 1)):
        with gzip.open(folder / f"train-{what}-idx{axes}-ubyte.gz", "wb", compresslevel=1) as out:
            out.write(bytes((0, 0, 8, axes)) + struct.pack(f">{axes}I", *[1_000_000_000, 1, 1][:axes]))
            for _ in range(64 if axes == 3 else 0):
                out.write(bytes(1 << 24))


def many_entries(file: Path, count: int = 1_000_000) -> None:
    """An archive with so many empty members, of which the directory alone is written out."""
    entry = b"PK\1\2" + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0)
    listing = b"".join(entry + b"%07d" % i for i in range(count))
    start = 0
    end64 = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, len(listing), start)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, len(listing), 1)
    last = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    file.write_bytes(listing + end64 + locator + last)


def tar_of(file: Path, members: list[tuple[str, bytes | int | str]]) -> None:
    """Members of bytes, of a claimed size with nothing behind, or links."""
    with file.open("wb") as out:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
            member.size = content if isinstance(content, int) else 0 if isinstance(content, str) else len(content)
            out.write(member.tobuf(tarfile.GNU_FORMAT))
            if isinstance(content, bytes):
                out.write(content + bytes(-len(content) % 512))
        out.write(bytes(1024))


def claimed(kind: str) -> bytes:
    """An image of a format whose header says 60,000 x 60,000 pixels."""
    content = bytearray(encoded(image(1, 16, 16), kind))
    if kind == "bmp":
        content[18:26] = struct.pack("<ii", 60_000, 60_000)
    elif kind == "gif":
        content[6:10] = struct.pack("<HH", 60_000, 60_000)
    elif kind == "jpeg":
        place = next(i for i in range(len(content)) if content[i : i + 2] in (b"\xff\xc0", b"\xff\xc2"))
        content[place + 5 : place + 9] = struct.pack(">HH", 60_000, 60_000)
    elif kind == "tiff":
        (start,) = struct.unpack("<I", content[4:8])
        for place in range(start + 2, start + 2 + 12 * struct.unpack("<H", content[start : start + 2])[0], 12):
            if struct.unpack("<H", content[place : place + 2])[0] in (256, 257):  # width and length
                content[place + 2 : place + 12] = struct.pack("<HII", 4, 1, 60_000)
    return bytes(content)


def png_bomb() -> bytes:
    return png_of(12_000, 12_000)


def bombs() -> Iterator[Case]:
    kinds: dict[str, Callable[[], bytes]] = {
        "png": png_bomb,
        "png of rows": lambda: png_of(2**31 - 1, 2**31 - 1, rows=0),
        "png of a line": lambda: png_of(2**26 + 1, 1),
        **{kind: partial(claimed, kind) for kind in ("bmp", "gif", "jpeg", "tiff")},
    }
    for kind, build in kinds.items():
        yield Case(
            f"{kind} bomb among images", lambda f, b=build: put(pair(f / "set") / "a" / "x.png", b()), both("set")
        )
    for what, (task, write, file) in {
        "as a mask": ("segmentation", MARKED["masks"].write, "masks/a.png"),
        "with a mask": ("segmentation", MARKED["masks"].write, "images/a.png"),
        "with boxes": ("detection", MARKED["yolo"].write, "images/train/a.png"),
        "with people": ("pose", MARKED["people"].write, "train2017/train000.png"),
    }.items():
        yield Case(f"png bomb {what}", lambda f, w=write, n=file: (w(f), put(f / n, png_bomb())), both(".", task))
    for command in (["predict", "RUN", "x.png"], ["explain", "RUN", "x.png", "--out", "out"]):
        yield Case(f"png bomb to {command[0]}", lambda f: put(f / "x.png", png_bomb()), [command])
    yield Case("npz of 600 MB of zeros", lambda f: npz_bomb(f / "x.npz"), both("x.npz"))
    yield Case(
        "npz of 4 TB said",
        lambda f: zip_of(
            f / "x.npz", {"images.npy": header((4, 10**6, 10**6), "|u1"), "labels.npy": header((4,), "<i8") + bytes(32)}
        ),
        both("x.npz"),
    )
    yield Case(
        "npz of objects",
        lambda f: zip_of(
            f / "x.npz", {"images.npy": header((4,), "|O") + bytes(32), "labels.npy": header((4,), "<i8") + bytes(32)}
        ),
        both("x.npz"),
    )
    yield Case("parquet of 2 GB", lambda f: parquet_bomb(f / "x.parquet"), both("x.parquet"))
    yield Case("idx of 1 GB, gzip", idx_bomb, both("."))
    for name in ("x.npz", "x.pth", "x.keras"):
        commands = both(name) if name == "x.npz" else [["weights", "show", name]]
        yield Case(f"10^6 entries: {name}", lambda f, n=name: many_entries(f / n), commands)
    yield Case("tar of 8 EB said", lambda f: tar_of(f / "x.tar", [("a.png", 1 << 62), ("a.cls", b"1")]), both("x.tar"))
    yield Case(
        "tar of links",
        lambda f: tar_of(f / "x.tar", [("a.png", "/dev/zero"), ("a.cls", b"1"), ("b.png", "a.png"), ("b.cls", b"0")]),
        both("x.tar"),
    )
    yield Case(
        "tar that leads out",
        lambda f: tar_of(
            f / "x.tar",
            [
                (f"../../{i}.{kind}", content)
                for i in range(6)
                for kind, content in (("png", encoded(image(i))), ("cls", b"%d" % (i % 2)))
            ],
        ),
        both("x.tar"),
    )
    yield Case(
        "tar of a label of 100 MB",
        lambda f: tar_of(f / "x.tar", [("a.png", encoded(image(1))), ("a.cls", bytes(100_000_000))]),
        both("x.tar"),
    )
    for suffix in (
        "csv",
        "jsonl",
        "npz",
        "tar",
        "parquet",
        "json",
        "yaml",
        "pth",
        "safetensors",
        "h5",
        "t7",
        "mat",
        "caffemodel",
        "onnx",
        "png",
        "toml",
    ):
        yield Case(f"1 TB of nothing: .{suffix}", lambda f, s=suffix: sparse(f / f"x.{s}"), commands_for(f"x.{suffix}"))


def commands_for(name: str) -> list[Command]:
    """Those that read a file of this ending."""
    suffix = name.rpartition(".")[2]
    if suffix in ("json", "yaml"):
        return both(name, "detection")
    if suffix == "toml":
        return [["train", "--recipe", name, "--out", "run"]]
    if suffix == "png":
        return [["predict", "RUN", name]]
    if suffix == "onnx":
        return [["predict", name, name]]
    if suffix in ("csv", "jsonl", "npz", "tar", "parquet"):
        return both(name)
    return [["weights", "show", name]]


def sparse(file: Path) -> None:
    with file.open("wb") as out:
        out.truncate(1 << 40)


def zip_of(file: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members.items():
            out.writestr(name, content)


# ---------- boxes and people of any size


def boxes_without_end() -> Iterator[Case]:
    polygons: dict[str, Any] = {
        "huge": [[0, 0, 1e9, 0, 1e9, 1e9]],
        "infinite": [[0, 0, float("inf"), 0, 5, 5]],
        "NaN": [[float("nan")] * 6],
        "10^400": [[0, 0, 10**400, 0, 5, 5]],
        "a million points": [[1.0, 2.0] * 500_000],
        "nested": [[[[1, 2, 3]]]],
        "run lengths of 2^60": {"size": [40, 60], "counts": [1 << 60, 1]},
        "run lengths of another size": {"size": [10**9, 10**9], "counts": [10**18]},
        "packed nonsense": {"size": [40, 60], "counts": "~" * 100_000},
        "text": "x",
    }
    for name, segments in polygons.items():

        def write(f: Path, segments: Any = segments) -> None:
            boxes.images(f, [f"{i}.png" for i in range(4)])
            entries: dict[str, Any] = {
                f"{i}.png": [{"segmentation": segments if not i else [[1, 1, 9, 1, 5, 8]]}] for i in range(4)
            }
            boxes.coco(f / "instances_train.json", entries)

        yield Case(f"polygon: {name}", write, [check(".", "detection"), ["READ", ".", "detection", "masks"]])
    for name, box in {
        "huge": [0, 0, 1e300, 1e300],
        "infinite": [0, 0, float("inf"), 5],
        "text": ["x"] * 4,
        "null": [None] * 4,
        "10^400": [0, 0, 10**400, 5],
        "negative": [5, 5, -4, -4],
    }.items():

        def write_box(f: Path, box: list[Any] = box) -> None:
            boxes.images(f, [f"{i}.png" for i in range(4)])
            boxes.coco(
                f / "instances_train.json", {f"{i}.png": [{"bbox": box if not i else [1, 1, 9, 9]}] for i in range(4)}
            )

        yield Case(f"box: {name}", write_box, both(".", "detection"))
    for place in (1e300, float("inf"), float("nan"), 10**400, DIGITS):

        def write_joint(f: Path, place: Any = place) -> None:
            file = people.write_coco(f, "train", 3)
            document = json.loads(file.read_text())
            document["annotations"][0]["keypoints"][0] = place
            file.write_text(json.dumps(document))

        yield Case(f"joint at {str(place)[:8]}", write_joint, both(".", "pose"))


# ---------- what never ends


def never_ending() -> Iterator[Case]:
    places: dict[str, tuple[Writer, str, str]] = {
        "list": (lambda f: (pair(f), put(f / "x.csv", "a/0.png,a\n")), "x.csv", "classification"),
        "jsonl": (lambda f: (pair(f), put(f / "x.jsonl", "{}")), "x.jsonl", "classification"),
        "npz": (lambda f: put(f / "x.npz", b"x"), "x.npz", "classification"),
        "tar": (lambda f: put(f / "x.tar", b"x"), "x.tar", "classification"),
        "parquet": (lambda f: put(f / "x.parquet", b"x"), "x.parquet", "classification"),
        "image": (pair, "a/0.png", "classification"),
        "labels.csv": (lambda f: (pair(f), put(f / "labels.csv", "x")), "labels.csv", "classification"),
        "data.yaml": (MARKED["yolo"].write, "data.yaml", "detection"),
        "classes.txt": (
            lambda f: (MARKED["yolo"].write(f), (f / "data.yaml").unlink(), put(f / "classes.txt", "a\nb")),
            "classes.txt",
            "detection",
        ),
        "text of boxes": (MARKED["yolo"].write, "labels/train/a.txt", "detection"),
        "image with boxes": (MARKED["yolo"].write, "images/train/a.png", "detection"),
        "XML": (MARKED["voc"].write, "Annotations/a.xml", "detection"),
        "VOC's list": (MARKED["voc"].write, "ImageSets/Main/train.txt", "detection"),
        "COCO": (MARKED["coco"].write, "annotations/instances_train.json", "detection"),
        "table of boxes": (MARKED["table"].write, "boxes.csv", "detection"),
        "mask": (MARKED["masks"].write, "masks/a.png", "segmentation"),
        "table of masks": (MARKED["masks"].write, "classes.csv", "segmentation"),
        "image with a mask": (MARKED["masks"].write, "images/a.png", "segmentation"),
        "people": (MARKED["people"].write, "annotations/person_keypoints_train2017.json", "pose"),
        "image of people": (MARKED["people"].write, "train2017/train000.png", "pose"),
        "MPII": (MARKED["mpii"].write, "annot/train.json", "pose"),
    }
    for what, (write, name, task) in places.items():
        for kind in ("/dev/zero", "pipe", "itself"):

            def make(f: Path, write: Writer = write, name: str = name, kind: str = kind) -> None:
                write(f)
                replace(f / name, kind)

            spec = (
                name if Path(name).suffix[1:] in ("csv", "jsonl", "npz", "tar", "parquet") and "/" not in name else "."
            )
            spec = "." if name == "classes.csv" or what == "table of boxes" else spec
            yield Case(f"{kind} as {what}", make, both(spec, task))
    for name in ("x.pth", "x.safetensors", "x.h5", "x.t7", "x.mat", "x.caffemodel", "x.weights", "x.onnx", "x.toml"):
        for kind in ("/dev/zero", "pipe", "itself"):
            yield Case(f"{kind} as {name}", lambda f, n=name, k=kind: replace(f / n, k), commands_for(name))
    for line in (
        "train: /dev/zero",
        "train: [/dev/zero, images/train]",
        "path: /dev/zero\ntrain: images",
        "train: /dev",
        "train: pipe",
        "names: /dev/zero\ntrain: images/train",
        "train: list.txt",
        "train: .",
    ):

        def write_yaml(f: Path, line: str = line) -> None:
            MARKED["yolo"].write(f)
            put(f / "list.txt", "/dev/zero\nimages/train/a.png\npipe\n")
            os.mkfifo(f / "pipe")
            names = "" if line.startswith("names") else "names: [a, b]\n"
            put(f / "data.yaml", f"{names}{line}\nval: images/train\n")

        yield Case(f"data.yaml: {line!r}", write_yaml, both("data.yaml", "detection"))
    for line in (
        "/dev/zero",
        "pipe",
        "a",
        "../../../../dev/zero",
        "~/x",
        "\0",
        "x" * 5000,
        "/proc/self/mem",
        "/dev/stdin",
    ):

        def write_list(f: Path, line: str = line) -> None:
            pair(f)
            os.mkfifo(f / "pipe")
            put(
                f / "x.csv",
                "path,label\n" + "".join(f"{'ab'[i % 2]}/{i}.png,{i % 2}\n" for i in range(12)) + f"{line},1\n",
            )

        yield Case(f"list with {line[:20]!r}", write_list, both("x.csv"))
    yield Case(
        "links that lead back",
        lambda f: (
            (pair(f / "set") / "a" / "back").symlink_to(f / "set"),
            (f / "set" / "a" / "self").symlink_to("self"),
            (f / "set" / "b" / "up").symlink_to(".."),
        ),
        both("set"),
    )
    yield Case("a folder that is a link to itself", lambda f: (f / "set").symlink_to("set"), both("set"))


def replace(file: Path, kind: str) -> None:
    """Puts a device, a pipe or a link to itself in a file's place."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to(kind if kind != "itself" else file.name)


# ---------- what nests, counts or repeats without end


def endless_text() -> Iterator[Case]:
    yaml = {
        "deep": "[" * DEEP + "]" * DEEP,
        "bomb": BOMB,
        "merges": MERGES,
        "itself": "&a [*a]",
        "digits": f"a: {DIGITS}",
        "names of digits": f"train: images/train\nnames: [{DIGITS}]",
        "names by digits": f"train: x\nnames: {{{DIGITS}: a}}",
        "a billion names": "train: images/train\nnames: [a]\nnc: 1000000000",
        "executed": "!!python/object/apply:os.system [id]",
        "2,000 names alike": "train: images/train\nnames: [" + "a, " * 2000 + "]",
        "null": "~",
        "list": "- a",
    }
    for name, text in yaml.items():
        yield Case(
            f"yaml: {name}",
            lambda f, t=text: (MARKED["yolo"].write(f), put(f / "data.yaml", t)),
            both(".", "detection"),
        )
    recipes = {
        "deep": "a = " + "[" * DEEP + "]" * DEEP,
        "dotted": ".".join(["a"] * 100_000) + " = 1",
        "digits": f"seed = {DIGITS}",
        "a list of digits": f"format = 1\nseed = [{DIGITS}, 1]",
        "a table of digits": f"format = 1\na = {{b = {DIGITS}}}",
        "hex digits": "format = 1\nseed = 0x" + "f" * 5000,
        "tables": "a = " + "{a=" * DEEP,
        "text": '"' + "a" * 10**6 + '" = 1',
        "float": "format = 1\nseed = 1e999999",
        "date": "format = 9999-99-99",
    }
    for name, text in recipes.items():
        yield Case(f"recipe: {name}", lambda f, t=text: put(f / "x.toml", t), commands_for("x.toml"))
    for setting in (
        f"seed={DIGITS}",
        f"batch_size={DIGITS}",
        "epochs=[1,2]",
        "optimizer.lr=1e999",
        f"augment={'[' * 5000}",
    ):
        yield Case(
            f"--set {setting[:16]}", lambda f: None, [["train", "caffe_lenet", "--data", "digits", "--set", setting]]
        )
    document = {
        "deep": "[" * DEEP,
        "closed": "[" * DEEP + "]" * DEEP,
        "objects": '{"a":' * DEEP,
        "digits": f'{{"images": [{DIGITS}]}}',
        "id of digits": f'{{"images": [{{"id": {DIGITS}, "file_name": "a"}}], "annotations": [], "categories": []}}',
        "surrogates": '{"images": [{"id": 1, "file_name": "\\ud800.png"}], "annotations": [], "categories": []}',
        "null": "null",
        "NaN": "NaN",
        "text": '"x"',
        "empty": "",
        "UTF-16": "\ufeff{}",
    }
    for name, text in document.items():
        yield Case(
            f"json: {name}",
            lambda f, t=text: put(f / "instances_train.json", t),
            [*both("instances_train.json", "detection"), *both(".", "pose")],
        )
    columns = "filename,width,height,class,xmin,ymin,xmax,ymax"
    for name, row in {
        "digits": f"a.png,60,40,cat,{DIGITS},1,9,9",
        "infinite": "a.png,60,40,cat,1e999,1,9,9",
        "size": f"a.png,{DIGITS},40,cat,1,1,9,9",
        "a field of 10 MB": f"a.png,60,40,{'c' * 10**7},1,1,9,9",
    }.items():
        yield Case(
            f"table of boxes: {name}",
            lambda f, r=row: (
                boxes.images(f, ["a.png", "b.png"]),
                put(f / "boxes.csv", f"{columns}\n{r}\nb.png,60,40,cat,1,1,9,9\n"),
            ),
            both(".", "detection"),
        )
    for name, line in {
        "digits": f"{DIGITS} 0.5 0.5 0.1 0.1",
        "infinite": "0 inf 0.5 0.1 0.1",
        "a million": "0 " + "0.5 " * 10**6,
        "class 2^31": "2147483647 0.5 0.5 0.1 0.1",
    }.items():
        yield Case(
            f"text of boxes: {name}",
            lambda f, t=line: (MARKED["yolo"].write(f), put(f / "labels/train/a.txt", t)),
            both(".", "detection"),
        )
    for name, text in {
        "entities": '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "'
        + "&a;" * 1000
        + '"><!ENTITY c "'
        + "&b;" * 1000
        + '">]><annotation>&c;</annotation>',
        "external": '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
        "<annotation><object><name>&a;</name></object></annotation>",
        "deep": "<a>" * DEEP,
        "digits": f"<annotation><size><width>{DIGITS}</width></size></annotation>",
    }.items():
        yield Case(
            f"XML: {name}",
            lambda f, t=text: (MARKED["voc"].write(f), put(f / "Annotations" / "a.xml", t)),
            both(".", "detection"),
        )
    for name, text in {
        "digits": f"value,name\n{DIGITS},a\n1,b\n",
        "a million": "value,name\n" + "".join(f"{i},c{i}\n" for i in range(10**5)),
        "a field of 10 MB": f"value,name\n0,{'a' * 10**7}\n1,b\n",
    }.items():
        yield Case(
            f"table of masks: {name}",
            lambda f, t=text: (MARKED["masks"].write(f), put(f / "classes.csv", t)),
            both(".", "segmentation"),
        )
    pgm = b"P2 " + DIGITS.encode() + b" 2 255 0"
    yield Case("PGM of 5,000 digits", lambda f: put(pair(f / "set") / "a" / "x.pgm", pgm), both("set"))
    yield Case(
        "a list of a million lines",
        lambda f: (pair(f), put(f / "x.csv", "path,label\n" + "a/0.png,a\nb/1.png,b\n" * 250_000)),
        [check("x.csv")],
    )
    yield Case(
        "a list of 10^5 classes",
        lambda f: (pair(f), put(f / "x.csv", "path,label\n" + "".join(f"a/{i}.png,c{i}\n" for i in range(10**5)))),
        [check("x.csv")],
    )
    yield Case(
        "gzip in a zlib bomb",
        lambda f: put(
            f / "x.png", png_of(8, 8)[:33] + struct.pack(">I", 100) + b"iTXt" + zlib.compress(bytes(10**8))[:96]
        ),
        [["predict", "RUN", "x.png"]],
    )


EVERY: tuple[Callable[[], Iterator[Case]], ...] = (bombs, boxes_without_end, never_ending, endless_text)
