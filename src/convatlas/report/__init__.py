"""The report of a run: one self-contained HTML page."""

from convatlas.report.printed import printed_beside
from convatlas.report.published import beside
from convatlas.report.run import Written, rewrite, write
from convatlas.report.tables import class_rows, error_interval, percent

__all__ = [
    "Written",
    "beside",
    "class_rows",
    "error_interval",
    "percent",
    "printed_beside",
    "rewrite",
    "write",
]
