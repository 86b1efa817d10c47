"""Panels on disk: a page that asks for nothing, the figures as PNG, the numbers as JSON and the arrays as NPZ."""

import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from convatlas.errors import ConvatlasError
from convatlas.inference import Source
from convatlas.records import Problem
from convatlas.report import html, tables
from convatlas.report.paths import without_paths
from convatlas.report.seeing.panels import Panel, Subject
from convatlas.visualise.style import house_style

OPEN, CLOSE = "<!-- seeing inside -->", "<!-- /seeing inside -->"  # where a run's report takes the panels in
LINK_OPEN, LINK_CLOSE = "<!-- seeing link -->", "<!-- /seeing link -->"  # and the link to them
DPI = 110


@dataclass(frozen=True)
class _Shown:
    panel: Panel
    name: str  # of its files, without ending
    png: bytes

    @property
    def svg(self) -> Markup:
        on = f" on {self.panel.path.name}" if self.panel.path else ""
        return html.svg(self.panel.figure, f"{self.panel.title}{on}")


def write(
    out: Path, source: Source, found: Sequence[Subject], panels: Sequence[Panel], problems: Sequence[Problem]
) -> Path:
    """Writes the page and gives its path: `out` itself if it ends in .html, else `out`/index.html.

    Beside the page lie one PNG a panel, `explain.json` and `explain.npz`. The report of the run that the network came
    from takes the panels in.

    Raises:
        ConvatlasError: it can't be written.
    """
    folder, page = (out.parent, out) if out.suffix.lower() in (".html", ".htm") else (out, out / "index.html")
    shown = [_Shown(panel, file_name(index, panel), png(panel)) for index, panel in enumerate(panels, start=1)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for item in shown:
            (folder / f"{item.name}.png").write_bytes(item.png)
        arrays = {f"{item.name}/{key}": value for item in shown for key, value in item.panel.arrays.items()}
        np.savez_compressed(folder / "explain.npz", allow_pickle=False, **arrays)
        (folder / "explain.json").write_text(json.dumps(as_json(source, found, panels, problems), indent=2))
        values = context(source, found, shown, problems)
        html.save(page, html.render("explain.html", values))
        report = source.run / "report.html" if source.run is not None else None
        if report is not None and report.is_file():
            section = f"\n{html.render('explain_section.html', values)}\n"
            linked = between(report.read_text("utf-8"), LINK_OPEN, LINK_CLOSE, '<a href="#seeing">Seeing inside</a>')
            html.save(report, between(linked, OPEN, CLOSE, section))
    except OSError as error:
        raise ConvatlasError(f"out {out} can't be written: {error.strerror or error}") from error
    return page


def between(report: str, opening: str, closing: str, text: str) -> str:
    """A run's report with the text between two marks, instead of an earlier one; without the marks, as it was."""
    before, opened, rest = report.partition(opening)
    _, closed, after = rest.partition(closing)
    return f"{before}{opening}{text}{closing}{after}" if opened and closed else report


def as_json(
    source: Source, found: Sequence[Subject], panels: Sequence[Panel], problems: Sequence[Problem]
) -> dict[str, Any]:
    """The numbers of all panels; what is too large for JSON is in explain.npz under the panel's file name."""
    return {
        "network": source.name,
        "run": str(source.run) if source.run else None,
        "pictures": [
            {"path": str(subject.path), "class": source.classes[subject.target], "probability": subject.probability}
            for subject in found
        ],
        "panels": [
            {"method": panel.method, "picture": str(panel.path) if panel.path else None,
             "file": file_name(index, panel), "arrays": sorted(panel.arrays), **panel.numbers}
            for index, panel in enumerate(panels, start=1)
        ],
        "problems": [{"what": problem.path, "reason": problem.reason} for problem in problems],
    }  # fmt: skip


def file_name(index: int, panel: Panel) -> str:
    """ "03-gradcam-tiger_shark" """
    parts = [f"{index:02}", panel.method, *([panel.path.stem] if panel.path else [])]
    return re.sub(r"[^A-Za-z0-9_-]+", "_", "-".join(parts))[:80]


def png(panel: Panel) -> bytes:
    buffer = io.BytesIO()
    with house_style():
        panel.figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def context(
    source: Source, found: Sequence[Subject], shown: Sequence[_Shown], problems: Sequence[Problem]
) -> dict[str, Any]:
    """Everything that the templates name."""
    subjects = {subject.path: subject for subject in found}
    groups = []
    for number, (path, items) in enumerate(groupby(shown, key=lambda item: item.panel.path)):
        subject = subjects[path] if path else None
        groups.append({
            "anchor": f"image-{number}" if path else "seeing",
            "name": path.stem if path else "The network",
            "title": heading(source, subject) if subject else "",
            "panels": [
                {"title": item.panel.title, "svg": item.svg, "caption": item.panel.caption, "table": item.panel.table}
                for item in items
            ],
        })  # fmt: skip
    images = f" in {tables.plural(len(found), 'image', 'images')}" if found else ""
    return {
        "title": f"Inside {source.name}",
        "subtitle": "",
        "lead": f"What the network looks at, and what it sees{images}.",
        "links": [(group["anchor"], group["name"]) for group in groups] if len(groups) > 1 else [],
        "groups": groups,
        "problems": [(without_paths(problem.path), without_paths(problem.reason)) for problem in problems],
    }


def heading(source: Source, subject: Subject) -> str:
    """The image, the class that is asked about, and how sure the network is of it."""
    return f"{subject.path.name}: {source.classes[subject.target]}, {tables.probability(subject.probability)}"
