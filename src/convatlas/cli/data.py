"""`convatlas data check`: a data set read once before it is trusted."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convatlas.cli.arguments import make_parent, validate_output
from convatlas.cli.common import console, print_json, progress
from convatlas.cli.data_findings import list_findings, list_some
from convatlas.cli.data_labels import labels
from convatlas.cli.tables import Column, print_table
from convatlas.cli.tasks import TASKS
from convatlas.errors import ConvatlasError, UsageError
from convatlas.records import Task

if TYPE_CHECKING:
    from convatlas.data import Split
    from convatlas.data.check import Checked

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Read every image of a data set and name what is wrong with it.",
)
SHOWN_CLASSES = 20


@app.callback()
def group() -> None:
    """Keeps the commands apart."""


app.command("labels")(labels)


@app.command("check")
def check(
    path: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A folder, a .csv, .tsv or .jsonl list, .npz, .parquet or .tar files, or the name of a data set. "
            "For segmentation a folder of images and masks. For detection VOC's folder, COCO's .json, YOLO's "
            "data.yaml or folder, or a .csv of boxes.",
        ),
    ],
    task: Annotated[
        Task, typer.Option(help="What the images are marked with: classes, masks, boxes or joints.")
    ] = "classification",
    data_root: Annotated[Path | None, typer.Option(help="Where the known data sets lie.")] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Write a contact sheet of every class, or of masks or boxes, to this .png file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False,
) -> None:
    """Read every image in parallel: damaged, misnamed and doubled ones, sizes, classes, mean and std.

    Ends with 1 if an image can't be used, is in both parts, or in two classes; else with 0. With [bold]--task
    segmentation[/] masks are looked at too: unreadable, of another size, void; with [bold]--task detection[/] boxes:
    those that are empty, reversed, outside or doubled, and unknown classes.
    """
    validate_output(sheet, "--sheet", (".png",))
    if (check_task := TASKS[task].check) is not None:
        check_task(path, sheet, json)  # which exits
    from convatlas import data as data_sets
    from convatlas.data.check import HARMFUL, MEANING
    from convatlas.data.check import check as check_parts
    from convatlas.data.contact import ContactSheet

    try:
        source = data_sets.open_source(path, root=data_root)
    except UsageError:
        raise
    except ConvatlasError as error:
        report_refusal(path, str(error), json)
        raise typer.Exit(1) from error
    parts, classes = source.splits(), source.class_names
    others = other_files(path, parts)
    contact = ContactSheet.of(parts, classes) if sheet else None
    with progress("Reading images") as step:
        checked = check_parts(
            parts, classes, refusal=data_sets.find_refusal(source, path), on_progress=step,
            on_image=contact.take if contact else None,
        )  # fmt: skip
    if contact and sheet:
        contact.draw().save(make_parent(sheet), "png")
    if json:
        print_json(
            {"data": path, "harmful": checked.harmful, **asdict(checked), "other_files": others,
             "sheet": str(sheet) if sheet else None}
        )  # fmt: skip
    else:
        describe(path, checked)
        list_findings(checked.findings, MEANING, HARMFUL)
        list_some("no images", "files that training passes over", others, "yellow")
        if not checked.findings:
            console().print("\nnothing is wrong with it")
        if sheet:
            console().print(f"\ncontact sheet {sheet}", markup=False, soft_wrap=True)
    raise typer.Exit(1 if checked.harmful else 0)


def report_refusal(path: str, sentence: str, json: bool) -> None:
    """What `train` would say of data that it can't even open."""
    from convatlas.data.findings import MEANING, Finding

    if json:
        print_json({"data": path, "harmful": 1, "findings": [asdict(Finding("refused", path, sentence))]})
        return
    list_some("refused", MEANING["refused"], [sentence], "red")


def other_files(path: str, parts: "Mapping[str, Split]") -> list[str]:
    """What lies in a folder of images and is none."""
    from convatlas.data.files import list_others

    folder = Path(path).expanduser()
    files = [file for split in parts.values() for file in split.paths or ()]
    if not folder.is_dir() or not files:
        return []
    return list_others(folder, [*files, *(problem.path for split in parts.values() for problem in split.problems)])


def describe(path: str, checked: "Checked") -> None:
    totals = {part: sum(counts) for part, counts in checked.counts.items()}
    where = " and ".join(f"{total:,} in {part}" for part, total in totals.items())
    say = console().print
    say(f"[bold]{sum(totals.values()):,} images[/] of {len(checked.classes):,} classes ({where}), read in "
        f"{checked.seconds:.1f} s, {sum(totals.values()) / checked.seconds:,.0f} images/s")  # fmt: skip
    columns = (Column("class"), *(Column(part, right=True) for part in checked.counts))
    shown = shown_classes(next(iter(checked.counts.values())))
    rows = [(checked.classes[label], *(f"{counts[label]:,}" for counts in checked.counts.values())) for label in shown]
    print_table(console(), columns, rows)
    if len(checked.classes) > SHOWN_CLASSES:
        say(f"the smallest and the largest of {len(checked.classes):,} classes; --json lists all", style="dim")
    (low, middle, high), (least, usual, most) = checked.short_side, checked.long_side
    say(f"short side {low} to {high} pixels, median {middle}; long side {least} to {most}, median {usual}")
    if checked.formats:
        say(", ".join(f"{count:,} {name}" for name, count in checked.formats.items()))
    say(f"mean={checked.mean}, std={checked.std} (training part, every image counted the same)", markup=False)


def shown_classes(counts: Sequence[int]) -> list[int]:
    """All labels, or those with the fewest and the most images."""
    if len(counts) <= SHOWN_CLASSES:
        return list(range(len(counts)))
    ordered = sorted(range(len(counts)), key=lambda label: counts[label])
    return ordered[: SHOWN_CLASSES // 2] + ordered[-SHOWN_CLASSES // 2 :]
