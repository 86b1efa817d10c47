"""Pages on disk that notebooks show in place."""

import html
from dataclasses import dataclass
from pathlib import Path

HEIGHT_PX = 640


@dataclass(frozen=True)
class Page:
    """An HTML page that asks for nothing outside itself: open `path` in a browser, or look at it in a notebook."""

    path: Path

    def _repr_html_(self) -> str:
        content = html.escape(self.path.read_text(encoding="utf-8"), quote=True)
        return f'<iframe srcdoc="{content}" width="100%" height="{HEIGHT_PX}" style="border:0"></iframe>'
