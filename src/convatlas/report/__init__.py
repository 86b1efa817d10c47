"""The report of a run: one self-contained HTML page."""

from convatlas.report.published import beside, comparable_results, published_results
from convatlas.report.run import Written, rewrite, write
from convatlas.report.tables import class_rows, error_interval, percent

__all__ = [
    "Written",
    "beside",
    "class_rows",
    "comparable_results",
    "error_interval",
    "percent",
    "published_results",
    "rewrite",
    "write",
]
