"""Panels on disk: a page that asks for nothing, the figures as PNG, the numbers as JSON and the arrays as NPZ."""

import base64
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from convatlas.inference import Source
from convatlas.io import write_file
from convatlas.report import tables
from convatlas.report.seeing.panels import Panel, Subject
from convatlas.structures import ConvatlasError, Problem
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
    def uri(self) -> str:
        return f"data:image/png;base64,{base64.b64encode(self.png).decode('ascii')}"


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
        write_file(folder / "explain.json", json.dumps(as_json(source, found, panels, problems), indent=2))
        write_file(page, render("page.html", source, found, shown, problems))
        report = source.run / "report.html" if source.run is not None else None
        if report is not None and report.is_file():
            section = f"\n{render('section.html', source, found, shown, problems)}\n"
            linked = between(report.read_text("utf-8"), LINK_OPEN, LINK_CLOSE, '<a href="#seeing">Seeing inside</a>')
            write_file(report, between(linked, OPEN, CLOSE, section))
    except OSError as error:
        raise ConvatlasError(f"--out {out} can't be written: {error.strerror or error}") from error
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


def render(
    template: str, source: Source, found: Sequence[Subject], shown: Sequence[_Shown], problems: Sequence[Problem]
) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        loader=jinja2.PackageLoader("convatlas.report.seeing", "."),
    )  # fmt: skip
    environment.filters["probability"] = tables.probability
    groups = [(path, list(items)) for path, items in groupby(shown, key=lambda item: item.panel.path)]
    subjects = {subject.path: subject for subject in found}
    return environment.get_template(template).render(
        source=source, groups=groups, subjects=subjects, problems=problems, style=style()
    )


def style() -> str:
    """The rules of a run's report, so that both pages look alike."""
    template = resources.files("convatlas.report").joinpath("template.html").read_text(encoding="utf-8")
    return template.partition("<style>")[2].partition("</style>")[0]
