"""A placed drawing as SVG: text that can be read and searched, colours of the page, light and dark."""

import math
from xml.sax.saxutils import escape, quoteattr

from convatlas.visualise.drawing.graph import Box, Drawing
from convatlas.visualise.drawing.layout import LINE_PX, PAD_Y, Place, Point, Sheet, title_of

MARGIN = 16.0
FAMILIES = {
    "conv": "conv", "sparse_conv": "conv", "deconv": "deconv", "local": "conv", "fc": "fc", "rbf": "fc",
    "maxpool": "pool", "avgpool": "pool", "subsampling": "pool", "adaptive_avgpool": "pool", "unpool": "deconv",
    "lrn": "norm", "batchnorm": "norm", "add": "join", "cat": "join", "mul": "join", "mean": "join",
    "module": "module", "input": "input", "upsample": "deconv", "interpolate": "deconv", "roi_pool": "pool",
}  # fmt: skip
STYLE = """
.drawing{font:11px system-ui,-apple-system,"Segoe UI",sans-serif;--ink:#1c1e21;--line:#5b636d;--paper:#fff;
--conv:#dbe8f8;--fc:#f6e0c4;--pool:#d9efdc;--norm:#ece3f6;--join:#fff;--deconv:#f8d9df;--module:#e4eaf0;--input:#f2f3f5}
@media (prefers-color-scheme:dark){.drawing{--ink:#e8eaed;--line:#9aa4af;--paper:#16181c;--conv:#23384f;--fc:#4a3822;
--pool:#214029;--norm:#3a2f4d;--join:#16181c;--deconv:#4b2a33;--module:#2a333d;--input:#25282d}}
.drawing .paper{fill:var(--paper)} .drawing text{fill:var(--ink);text-anchor:middle}
.drawing .title{font-weight:600} .drawing .edge{fill:none;stroke:var(--line);stroke-width:1.2}
.drawing .box rect,.drawing .box circle{stroke:var(--line);stroke-width:1}
.drawing marker path{fill:var(--line)}
"""


def render(drawing: Drawing, sheet: Sheet, title: str, description: str) -> str:
    """The SVG document. The same drawing gives the same bytes."""
    width, height = sheet.width + 2 * MARGIN, sheet.height + 2 * MARGIN
    colours = " ".join(f".drawing .{family}{{fill:var(--{family})}}" for family in sorted(set(FAMILIES.values())))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="drawing" role="img" aria-labelledby="t d" '
        f'viewBox="0 0 {_n(width)} {_n(height)}" width="{_n(width)}" height="{_n(height)}">',
        f'<title id="t">{escape(title)}</title><desc id="d">{escape(description)}</desc>',
        f"<style>{STYLE.strip()}\n{colours}</style>",
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" '
        'orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>',
        f'<rect class="paper" width="{_n(width)}" height="{_n(height)}"/>',
        f'<g transform="translate({_n(MARGIN)} {_n(MARGIN)})">',
        *(_edge(path) for path in sheet.paths.values()),
        *(_box(drawing.boxes[key], place) for key, place in sheet.places.items()),
        "</g>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _edge(points: tuple[Point, ...]) -> str:
    first, *rest = points
    path = f"M{_n(first[0])} {_n(first[1])}" + "".join(f"L{_n(x)} {_n(y)}" for x, y in rest)
    return f'<path class="edge" d="{path}" marker-end="url(#arrow)"/>'


def _box(box: Box, place: Place) -> str:
    family = FAMILIES.get(box.kind, "module")
    head = f'<g class="box" id={quoteattr(box.key)}><title>{escape(_tooltip(box))}</title>'
    if place.width == place.height and box.kind in ("add", "mul"):
        radius = place.width / 2
        circle = f'<circle class="{family}" cx="{_n(place.x)}" cy="{_n(place.y + radius)}" r="{_n(radius - 2)}"/>'
        return f'{head}{circle}<text x="{_n(place.x)}" y="{_n(place.y + radius + 4)}">{escape(box.title)}</text></g>'
    left = place.x - place.width / 2
    rect = (
        f'<rect class="{family}" x="{_n(left)}" y="{_n(place.y)}" width="{_n(place.width)}" '
        f'height="{_n(place.height)}" rx="4"/>'
    )
    texts = [f'<text class="title" x="{_n(place.x)}" y="{_n(place.y + PAD_Y + 9)}">{escape(title_of(box))}</text>']
    for number, line in enumerate(box.lines, start=1):
        texts.append(f'<text x="{_n(place.x)}" y="{_n(place.y + PAD_Y + 9 + number * LINE_PX)}">{escape(line)}</text>')
    return f"{head}{rect}{''.join(texts)}</g>"


def _tooltip(box: Box) -> str:
    parameters = f"; {box.parameters:,} parameters" if box.parameters else ""
    return f"{title_of(box)}: {', '.join(box.lines)}{parameters}"


def _n(value: float) -> str:
    """Rounded to half pixels, so that drawings differ only where networks do."""
    rounded = math.floor(value * 2 + 0.5) / 2
    return f"{rounded:g}"
