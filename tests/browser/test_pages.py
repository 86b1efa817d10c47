"""Every page in a real browser: narrow and broad, light and dark."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TASKS = ("classification", "segmentation", "detection", "pose")
NAMES = ("comparison", *(f"run {task}" for task in TASKS), *(f"explain {task}" for task in TASKS))
FAST = ("comparison", "run classification", "explain classification")  # without training a network first
BY_COST = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in NAMES]
BROAD, NARROW = 1280, 390
TEXT, LINE = 4.5, 3.0  # least contrast, WCAG 2.2, 1.4.3 and 1.4.11

# What a person has to make out, with the contrast that it has: texts on the page's ground, and lines of charts.
# Text on an image or on a bar has the ground that lies below it, which is not asked about here; grids are not either.
CONTRAST = """
() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * x + .7152 * y + .0722 * z;
  };
  const contrast = (a, b) => {
    const [light, dark] = [luminance(rgba(a)), luminance(rgba(b))].sort((x, y) => y - x);
    return (light + .05) / (dark + .05);
  };
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (rgba(colour)[3] === 255) return colour;
    }
    return "#fff";
  };
  const grid = rgba(getComputedStyle(document.documentElement).getPropertyValue("--line")).join();
  const onSeries = getComputedStyle(document.documentElement).getPropertyValue("--on-series");
  const onCell = new Set(["#ffffff", "#10171d", onSeries].map(colour => rgba(colour).join()));
  const found = {texts: [], lines: []};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.parentElement;
    if (!node.textContent.trim() || element.closest("svg, script, style")) continue;
    const colour = getComputedStyle(element).color;
    found.texts.push([node.textContent.trim().slice(0, 40), contrast(colour, ground(element))]);
  }
  for (const svg of document.querySelectorAll("svg")) {
    const images = svg.querySelector("image") !== null, paper = ground(svg);
    for (const text of svg.querySelectorAll("text")) {
      const {fill} = getComputedStyle(text);
      if (onCell.has(rgba(fill).join())) continue;
      found.texts.push([text.textContent.slice(0, 40), contrast(fill, paper)]);
    }
    for (const path of svg.querySelectorAll("path")) {
      const {stroke, strokeWidth} = getComputedStyle(path);
      if (images || stroke === "none" || rgba(stroke)[3] < 255 || rgba(stroke).join() === grid) continue;
      if (parseFloat(strokeWidth) === 0) continue;
      found.lines.push([path.getAttribute("d")?.slice(0, 40), contrast(stroke, paper)]);
    }
  }
  return found;
}
"""

SMALLEST_TEXT = """
() => Math.min(...[...document.querySelectorAll("svg text")].filter(text => text.textContent.trim()).map(text => {
  const at = text.getScreenCTM();
  return parseFloat(getComputedStyle(text).fontSize) * Math.hypot(at.a, at.b);
}))
"""

CUT = """
() => [...document.querySelectorAll(".scroll, .charts > *")].filter(box => box.querySelector("svg"))
  .filter(box => box.scrollWidth > box.clientWidth + 1).map(box => box.textContent.trim().slice(0, 60))
"""


@contextmanager
def opened(browser: "Browser", path: Path, width: int, scheme: str) -> "Iterator[tuple[Page, list[str]]]":
    """A page, and what it has asked for or complained about."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("request", lambda request: wrong.append(request.url) if not own(request.url, path) else None)
    page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.goto(path.resolve().as_uri())
    try:
        yield page, wrong
    finally:
        context.close()


def own(url: str, path: Path) -> bool:
    return url.startswith("data:") or url == path.resolve().as_uri()


@pytest.mark.parametrize("name", BY_COST)
def test_a_page_can_be_read(browser: "Browser", pages: Callable[[str], Path], name: str, tmp_path: Path) -> None:
    path = pages(name)
    for width in (BROAD, NARROW):
        for scheme in ("light", "dark"):
            with opened(browser, path, width, scheme) as (page, wrong):
                where = f"{name}, {width} px, {scheme}"
                assert page.evaluate("document.documentElement.scrollWidth") <= width, where
                seen = page.evaluate(CONTRAST)
                assert len(seen["texts"]) > 10
                assert [one for one in seen["texts"] if one[1] < TEXT] == [], where
                assert [one for one in seen["lines"] if one[1] < LINE] == [], where
                assert page.evaluate(SMALLEST_TEXT) >= 9, where
                if width == BROAD:
                    assert page.evaluate(CUT) == [], where
                assert wrong == [], where


@pytest.mark.parametrize("name", BY_COST)
def test_a_page_tells_nothing_of_the_machine(pages: Callable[[str], Path], name: str) -> None:
    path = pages(name)
    text = path.read_text(encoding="utf-8")
    assert str(path.parents[1]) not in text
    assert str(Path.home()) + "/" not in text
    assert "/tmp/" not in text
    assert ">nan<" not in text.lower()


def test_ids_are_there_once(browser: "Browser", pages: Callable[[str], Path]) -> None:
    for name in FAST:
        with opened(browser, pages(name), BROAD, "light") as (page, _):
            doubled = page.evaluate(
                "() => { const all = [...document.querySelectorAll('[id]')].map(e => e.id);"
                " return all.filter((id, at) => all.indexOf(id) !== at); }"
            )
            assert doubled == [], name


def test_a_click_on_a_heading_sorts(browser: "Browser", pages: Callable[[str], Path]) -> None:
    with opened(browser, pages("comparison"), BROAD, "light") as (page, wrong):
        page.click("th button >> text=parameters")
        rows = page.eval_on_selector_all(
            "table.sortable tbody tr", "rows => rows.map(row => Number(row.cells[2].dataset.value))"
        )
        assert len(rows) == 4
        assert rows == sorted(rows)
        assert wrong == []
