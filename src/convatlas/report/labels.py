"""The page of images whose label is probably wrong."""

from collections.abc import Mapping
from typing import NamedTuple

from convatlas.data import Split
from convatlas.errors import ConvatlasError
from convatlas.inference.label_issues import LabelIssue, LabelIssues
from convatlas.report import html, tables
from convatlas.report.image_uris import data_uri

MOST_SHOWN = 200  # images with a thumbnail

WAYS = {
    "probe": "a linear classifier on the network's last features, fitted to the other folds",
    "retrain": "networks trained by the run's recipe on the other folds",
}


class Shown(NamedTuple):
    """An issue with its thumbnail."""

    issue: LabelIssue
    uri: str


def page(found: LabelIssues, splits: Mapping[str, Split], title: str) -> str:
    """A whole page: one file that asks for nothing.

    Args:
        found: of `label_issues.find_label_issues`.
        splits: by their names in the issues; the thumbnails come from them.
        title: its heading.
    """
    shown = []
    for issue in found.issues[:MOST_SHOWN]:
        try:
            shown.append(Shown(issue, data_uri(splits[issue.split].read(issue.index))))
        except ConvatlasError:  # gone since
            continue
    tiles = [
        html.Tile(f"{len(found.issues):,}", "labels that are probably wrong", f"of {found.images:,} images"),
        html.Tile(tables.percent(found.accuracy, 1), "of the labels agree", f"out of sample, {found.folds} folds"),
    ]
    values = {"shown": shown, "hidden": len(found.issues) - len(shown)}
    lead = f"The most suspicious first. Probabilities are out of sample: by {WAYS[found.way]}. Look before you change."
    return html.standalone(title, lead, tiles, html.render("labels.html", values))
