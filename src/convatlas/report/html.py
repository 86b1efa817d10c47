"""Pages from their templates: one environment, one look. A page is one file and asks for nothing."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

from convatlas import readable
from convatlas.errors import ConvatlasError
from convatlas.io import write_file
from convatlas.report import tables
from convatlas.visualise.style import inline_svg

_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Tile:
    """One of the large numbers at the head of a page."""

    value: str
    name: str  # what it is
    more: str  # of what, by which rule
    kind: str = ""  # "reached" and "printed" have a colour


@cache
def environment() -> jinja2.Environment:
    """The templates of this package. Texts are escaped, `Markup` is not; a name that is absent is an error."""
    found = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.PackageLoader("convatlas.report", "templates"),
    )
    found.filters |= {
        "percent": tables.percent,
        "probability": tables.probability,
        "commas": lambda number: f"{number:,}",
        "number": number,
        "amount": readable.amount,
        "memory": readable.memory,
        "milliseconds": readable.milliseconds,
        "scaled": readable.scaled,
        "signed": lambda value: f"{value:+,}",
    }
    return found


def render(template: str, values: Mapping[str, Any]) -> Markup:
    """Fills one of the templates."""
    return Markup(environment().get_template(template).render(values))


def number(value: float | None, decimals: int) -> str:
    """With so many decimals; "-" for what is not known or not finite."""
    return "-" if value is None or not math.isfinite(value) else f"{value:,.{decimals}f}"


def standalone(title: str, lead: str, tiles: Sequence[Tile], body: Markup) -> Markup:
    """A whole page in the reports' look.

    Args:
        title: its heading.
        lead: a sentence below it.
        tiles: the large numbers.
        body: sections.
    """
    return render(
        "standalone.html", {"title": title, "subtitle": "", "lead": lead, "tiles": tiles, "links": [], "body": body}
    )


def svg(figure: Figure, label: str) -> Markup:
    """A figure for a page; `label` is what a screen reader says."""
    return Markup(inline_svg(figure, label))  # our own drawing: its texts were escaped by matplotlib


def save(target: Path, page: str) -> Path:
    """Writes a page completely or not at all; makes the folder. Control characters, of names, are written out.

    Raises:
        ConvatlasError: it can't be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_file(target, _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), page))
    except OSError as error:
        raise ConvatlasError(f"{target} can't be written: {error.strerror}") from error
    return target
