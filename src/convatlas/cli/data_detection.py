"""`convatlas data check --task detection`: boxes looked at before they are trusted."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from convatlas.cli.arguments import make_parent
from convatlas.cli.common import console, print_json, progress
from convatlas.cli.data_findings import list_findings, list_some
from convatlas.cli.tables import Column, print_table

if TYPE_CHECKING:
    from convatlas.data.detection.check import CheckedBoxes
    from convatlas.data.detection.split import DetectionSplit

SIZES = ("difficult", "width", "height", "of the image")


def check_detection(path: str, sheet: Path | None, json: bool) -> None:
    """Ends with 1 if a box or an image can't be used, or an image is in two parts; else with 0."""
    from convatlas.data.detection import parts as open_parts
    from convatlas.data.detection.check import HARMFUL, MEANING, check_boxes
    from convatlas.data.detection.drawing import BoxSheet
    from convatlas.data.detection.sources import find_refusal

    parts, classes = open_parts(path)
    contact = BoxSheet.of(parts, classes) if sheet else None
    others = unmarked(path, parts.values())
    with progress("Reading images") as step:
        checked = check_boxes(
            parts,
            classes,
            refusal=find_refusal(parts, tuple(classes), path),
            on_progress=step,
            on_image=contact.take if contact else None,
        )
    if contact and sheet:
        contact.draw().save(make_parent(sheet), "png")
    if json:
        print_json(
            {"data": path, "harmful": checked.harmful, **asdict(checked),
             "sizes": {name: size._asdict() for name, size in zip(classes, checked.sizes, strict=True)},
             "unmarked_files": others, "sheet": str(sheet) if sheet else None}
        )  # fmt: skip
    else:
        describe(checked)
        list_findings(checked.findings, MEANING, HARMFUL)
        list_some("no annotation file", "images that nothing speaks of; training passes over them", others, "yellow")
        if not checked.findings and not others:
            console().print("\nnothing is wrong with it")
        if sheet:
            console().print(f"\ncontact sheet {sheet}", markup=False, soft_wrap=True)
    raise typer.Exit(1 if checked.harmful else 0)


def unmarked(path: str, splits: "Iterable[DetectionSplit]") -> list[str]:
    """Images below the data's folder of which no annotation speaks."""
    from convatlas.data.folder import SUFFIXES, strays

    taken = [file for split in splits for file in (*split.paths, *split.left_out)]
    folder = Path(path).expanduser()
    found = strays(folder, taken) if folder.is_dir() else []
    return [file for file in found if Path(file).suffix.lower() in SUFFIXES]


def describe(checked: "CheckedBoxes") -> None:
    say = console().print
    total, objects = sum(checked.images.values()), sum(map(sum, checked.counts.values()))
    where = " and ".join(f"{count:,} in {part}" for part, count in checked.images.items())
    say(f"[bold]{total:,} images[/] ({where}) with {objects:,} objects of {len(checked.classes):,} classes, read in "
        f"{checked.seconds:.1f} s")  # fmt: skip
    columns = (
        Column("class"),
        *(Column(part, right=True) for part in checked.counts),
        *(Column(name, right=True, left_out=order) for order, name in enumerate(SIZES, 1)),
    )
    rows = []
    for label, name in enumerate(checked.classes):
        size = checked.sizes[label]
        counts = (f"{counts[label]:,}" for counts in checked.counts.values())
        ranges = [told(size.width), told(size.height), told(size.share, 100, " %")]
        rows.append((name, *counts, f"{checked.difficult[label]:,}", *ranges))
    print_table(console(), columns, rows)
    fewest, usual, most = checked.objects_a_image
    say(f"{fewest:g} to {most:g} objects an image, median {usual:g}; width, height and share are smallest, median, "
        f"largest")  # fmt: skip
    (low, middle, high), (least, mean, largest) = checked.short_side, checked.long_side
    say(
        f"short side {low:g} to {high:g} pixels, median {middle:g}; long side {least:g} to {largest:g}, median {mean:g}"
    )


def told(values: tuple[float, float, float] | None, factor: float = 1, unit: str = "") -> str:
    return "" if values is None else " ".join(f"{factor * value:.3g}" for value in values) + unit
