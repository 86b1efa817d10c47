"""What papers and releases printed, as a page: a table for each question that the numbers answer."""

from collections.abc import Sequence

from convatlas.facts.comparable import grouped
from convatlas.facts.loader import paper
from convatlas.facts.results import PrintedResult
from convatlas.report import html


def render(results: Sequence[PrintedResult]) -> str:
    """The page, in the reports' look.

    Args:
        results: in any order; groups and their rows are sorted.
    """
    groups = grouped(results)
    titles = {result.paper: paper(result.paper).title for result in results}
    body = html.render("printed.html", {"groups": groups, "titles": titles})
    lead = (
        f"{len(results):,} numbers of {len(titles):,} papers and their releases. Only numbers of the same measure, on "
        "the same data, by the same protocol stand in one table; nothing was measured here."
    )
    return html.standalone("Published results", lead, [], body)
