"""The report of a run: one self-contained HTML page."""

from convatlas.report.page import write
from convatlas.report.published import published_results
from convatlas.report.tables import class_rows, error_interval, percent

__all__ = ["class_rows", "error_interval", "percent", "published_results", "write"]
