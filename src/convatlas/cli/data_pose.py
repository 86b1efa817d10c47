"""`convatlas data check --task pose`: people and their joints looked at before they are trusted."""

from dataclasses import asdict
from pathlib import Path

import typer

from convatlas.cli.common import console, print_json, progress
from convatlas.cli.data_findings import list_findings
from convatlas.cli.tables import Column, print_table
from convatlas.errors import UsageError


def check_pose(path: str, sheet: Path | None, json: bool) -> None:
    """Ends with 1 if an image or a person can't be used, or an image is in two splits; else with 0."""
    from convatlas.data.annotated import find_refusal, open_people
    from convatlas.data.pose.check import HARMFUL, MEANING, check_people

    if sheet is not None:
        raise UsageError(f"--sheet {sheet}: people are not drawn; expected no sheet for --task pose")
    parts, joints = open_people(path)
    with progress("Reading images") as step:
        checked = check_people(parts, joints, refusal=find_refusal(parts, path), on_progress=step)
    if json:
        print_json({"data": path, "harmful": checked.harmful, **asdict(checked)})
        raise typer.Exit(1 if checked.harmful else 0)
    where = " and ".join(f"{count:,} in {part}" for part, count in checked.people.items())
    people, images = sum(checked.people.values()), sum(checked.images.values())
    console().print(f"[bold]{people:,} people[/] ({where}) on {images:,} images, read in {checked.seconds:.1f} s")
    columns = [Column("joint"), *(Column(part, right=True) for part in checked.marked)]
    rows = [
        [name, *(f"{counts[place]:,}" for counts in checked.marked.values())]
        for place, name in enumerate(checked.joints)
    ]
    print_table(console(), columns, rows)
    list_findings(checked.findings, MEANING, HARMFUL)
    if not checked.findings:
        console().print("\nnothing is wrong with it")
    raise typer.Exit(1 if checked.harmful else 0)
