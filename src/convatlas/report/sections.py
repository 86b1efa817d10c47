"""Sections of a page from their templates, and a page around them that is one file and asks for nothing."""

from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from convatlas.report import tables


def render(template: str, values: dict[str, Any]) -> Markup:
    """Fills one of this package's templates; texts are escaped, `Markup` is not."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = tables.percent
    environment.filters["commas"] = lambda number: f"{number:,}"
    return Markup(environment.from_string(text(template)).render(values))


def standalone(title: str, lead: str, tiles: list[tuple[str, str, str]], body: Markup) -> str:
    """A whole page in the reports' look.

    Args:
        title: its heading.
        lead: a sentence below it.
        tiles: large numbers: (value, what it is, more words).
        body: sections.
    """
    style = text("template.html").partition("<style>")[2].partition("</style>")[0]  # one look for all pages
    return render(
        "standalone.html", {"title": title, "lead": lead, "tiles": tiles, "body": body, "style": Markup(style)}
    )


def text(template: str) -> str:
    return resources.files("convatlas.report").joinpath(template).read_text(encoding="utf-8")
