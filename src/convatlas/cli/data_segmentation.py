"""`convatlas data check --task segmentation`: masks looked at before they are trusted."""

import itertools
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from convatlas.cli.arguments import make_parent
from convatlas.cli.common import console, print_json, progress
from convatlas.cli.data_findings import list_findings
from convatlas.cli.tables import Column, print_table
from convatlas.errors import UsageError

if TYPE_CHECKING:
    from convatlas.data.segmentation.check import CheckedMasks

SHEET_IMAGES, SHEET_COLUMNS = 24, 6


def check_segmentation(path: str, sheet: Path | None, json: bool) -> None:
    """Ends with 1 if an image or mask can't be used, or an image is in two parts; else with 0."""
    from convatlas.data.annotated import find_refusal, open_masks
    from convatlas.data.findings import Finding
    from convatlas.data.segmentation.check import HARMFUL, MEANING, check_masks

    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise UsageError(f"{path} is not a folder; expected one of images and masks")
    opened = open_masks(path)
    classes, notes = opened.classes, [Finding("assumed", path, note) for note in opened.notes]
    shown: list[Any] = []
    step_of_sheet = max(1, sum(map(len, opened.parts.values())) // SHEET_IMAGES)
    seen = itertools.count()

    def show(image: Any, mask: Any) -> None:
        if next(seen) % step_of_sheet == 0:  # all of them would fill the memory
            shown.append((image, mask))

    with progress("Reading images") as step:
        checked = check_masks(
            opened.parts,
            classes.names,
            refusal=find_refusal(opened.parts, path),
            on_progress=step,
            on_image=show if sheet else None,
            notes=notes,
        )
    if sheet:
        draw_sheet(shown[:SHEET_IMAGES], classes, sheet)
    if json:
        print_json(
            {"data": path, "harmful": checked.harmful, **asdict(checked), "sheet": str(sheet) if sheet else None}
        )
    else:
        describe(checked)
        list_findings(checked.findings, MEANING, HARMFUL)
        if not checked.findings:
            console().print("\nnothing is wrong with it")
        if sheet:
            console().print(f"\ncontact sheet {sheet}", markup=False, soft_wrap=True)
    raise typer.Exit(1 if checked.harmful else 0)


def describe(checked: "CheckedMasks") -> None:
    say = console().print
    total = sum(checked.images.values())
    where = " and ".join(f"{count:,} in {part}" for part, count in checked.images.items())
    say(
        f"[bold]{total:,} images[/] ({where}) with masks of {len(checked.classes):,} classes, read in "
        f"{checked.seconds:.1f} s"
    )
    columns = [Column("class")]
    for part in checked.pixels:
        columns += [Column(f"pixels of {part}", right=True), Column("images", right=True)]
    rows = []
    for label, name in enumerate(checked.classes):
        cells = []
        for part, pixels in checked.pixels.items():
            cells += [f"{100 * pixels[label] / max(sum(pixels), 1):.2f}%", f"{checked.present[part][label]:,}"]
        rows.append((name, *cells))
    print_table(console(), columns, rows)
    say("void: " + ", ".join(f"{100 * share:.2f}% of {part}" for part, share in checked.void.items()))
    sizes = list(checked.sizes.items())
    more = f" and {len(sizes) - 6} more sizes" if len(sizes) > 6 else ""
    say(", ".join(f"{count:,} of {size}" for size, count in sizes[:6]) + more + " pixels")


def draw_sheet(pairs: list[Any], classes: Any, out: Path) -> None:
    """Small overlays of images and masks, side by side, with the colours' names below."""
    import numpy as np
    from PIL import Image

    from convatlas.visualise import overlays

    palette = np.array(classes.colours, dtype=np.uint8)
    tiles = []
    for image, mask in pairs:
        source_image = overlays.as_rgb(image.permute(1, 2, 0).squeeze(-1).numpy())
        tile = Image.fromarray(overlays.overlay(source_image, mask.numpy(), palette))
        tile.thumbnail((200, 200))
        tiles.append(tile)
    rows = -(-len(tiles) // SHEET_COLUMNS)
    page = Image.new("RGB", (SHEET_COLUMNS * 204, max(rows, 1) * 204), "white")
    for place, tile in enumerate(tiles):
        page.paste(tile, (place % SHEET_COLUMNS * 204 + 2, place // SHEET_COLUMNS * 204 + 2))
    named = overlays.with_legend(np.array(page), classes.names, palette, range(len(classes.names)))
    Image.fromarray(named).save(make_parent(out), "png")
