"""The built site in a browser that reaches no other host: the way a reader meets it."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Route

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from claims import toc_pages  # noqa: E402

pytestmark = pytest.mark.browser

PAGES = [f"{page}.html" for page in toc_pages(ROOT)]
# The first page and every chapter; the checklist repeats what others show.
WITH_EXPLORER = [
    page for page in PAGES if page == PAGES[0] or ("01" <= page.removeprefix("book/")[:2] <= "11")
]
SCREENS = {"laptop": (1280, 900), "phone": (390, 800)}
VISITS = [
    (page, theme, screen)
    for page in PAGES
    for theme, screen in [("light", "laptop"), ("dark", "phone")]
]

# Everything on the page that a reader reads as text, less code, where $ and \ are at home.
TEXT = """() => {
  const copy = document.querySelector("article").cloneNode(true);
  copy.querySelectorAll("script, style, pre, code, dt, mjx-container").forEach(e => e.remove());
  return copy.textContent;
}"""
UNRENDERED = """() => [...document.querySelectorAll(".math")]
  .filter(e => !e.querySelector("mjx-container")).map(e => e.textContent)"""
# MathJax shows a formula it cannot read as an error, and a macro it does not know as its name.
BROKEN = """() => [
  ...document.querySelectorAll("mjx-merror"),
  ...[...document.querySelectorAll("mjx-assistive-mml")]
    .filter(e => e.textContent.includes("\\\\")),
].map(e => e.textContent)"""
# What makes the page wider than the screen, less what scrolls in a box of its own.
WIDER = """() => {
  const scrolls = e =>
    e && (getComputedStyle(e).overflowX != "visible" || scrolls(e.parentElement));
  return document.documentElement.scrollWidth <= innerWidth ? [] :
    [...document.querySelectorAll("article *")]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
    .filter(e => !scrolls(e.parentElement.closest("article *")))
    .map(e => e.tagName + "." + e.className + ": " + e.textContent.slice(0, 60));
}"""
# The contrast of what is read with what is behind it, as the WCAG define it.
FAINT = """() => {
  const rgba = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const f = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b);
  };
  const behind = e => {
    for (; e; e = e.parentElement) {
      const color = rgba(getComputedStyle(e).backgroundColor);
      if (color.length == 3 || color[3] == 1) return color;
    }
    return [255, 255, 255];
  };
  const read = "article p, article li, article h2, article td, .explorer label, .explorer output";
  return [...document.querySelectorAll(read)].filter(e => e.checkVisibility()).map(e => {
    const [a, b] = [rgba(getComputedStyle(e).color), behind(e)].map(light).sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), e.tagName + ": " + e.textContent.slice(0, 60)];
  }).filter(([contrast]) => contrast < 4.5);
}"""


@pytest.fixture
def visit(browser: "Browser", address: str) -> "Iterator[Callable[..., Page]]":
    """Open a page; at the end, nothing may have left this machine or gone wrong on the way."""
    contexts = []
    left: list[str] = []
    wrong: list[str] = []

    def guard(route: "Route") -> None:
        if route.request.url.startswith((address, "data:")):
            route.continue_()
        else:
            left.append(route.request.url)
            route.abort()

    def open_page(
        page: str, theme: str = "light", screen: str = "laptop", **options: Any
    ) -> "Page":
        width, height = SCREENS[screen]
        context = browser.new_context(
            color_scheme=theme, viewport={"width": width, "height": height}, **options
        )
        contexts.append(context)
        context.route("**/*", guard)
        tab = context.new_page()
        tab.on(
            "console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None
        )
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on(
            "response", lambda r: wrong.append(f"{r.status} {r.url}") if r.status >= 400 else None
        )
        tab.goto(f"{address}/{page}", wait_until="load")
        if options.get("java_script_enabled", True):
            tab.evaluate("() => window.MathJax?.startup?.promise")
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert not left, f"requests to other hosts: {left}"
    assert not wrong, f"the browser's console: {wrong}"


@pytest.mark.parametrize(("page", "theme", "screen"), VISITS)
def test_page_is_whole_and_readable(
    visit: "Callable[..., Page]", page: str, theme: str, screen: str
) -> None:
    tab = visit(page, theme, screen)
    assert tab.evaluate("() => document.documentElement.dataset.theme") == theme
    assert tab.evaluate(UNRENDERED) == []
    assert tab.evaluate(BROKEN) == []
    text = tab.evaluate(TEXT)
    for raw in ("$", "\\tag", "\\begin", "\\frac", "{#", "```", "**"):
        assert raw not in text, f"raw {raw} on the page: …{around(text, raw)}…"
    assert tab.evaluate(WIDER) == []
    assert tab.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert tab.evaluate(FAINT) == []


def around(text: str, part: str) -> str:
    at = text.index(part)
    return text[max(0, at - 60) : at + 60]


class Slider:
    """A range input of an explorer, and what the reader sees of it."""

    def __init__(self, explorer: "Locator", control: "Locator") -> None:
        self.explorer, self.control = explorer, control
        name = control.get_attribute("id")
        self.label = explorer.locator(f"label[for={name}]").inner_text()
        self.value = explorer.locator(f"output[for={name}]")
        self.state = self.look()

    def look(self) -> tuple[str, str]:
        """The frame that is visible, and the value beside the slider."""
        frame = self.explorer.locator("img:visible")
        assert frame.count() == 1
        value = self.value.inner_text()
        assert self.control.get_attribute("aria-valuetext") == value
        return str(frame.get_attribute("src")), value

    def moved(self) -> None:
        before, self.state = self.state, self.look()
        assert self.state[1] != before[1], f"{self.label!r} moved, its value did not"
        assert self.state[0] != before[0], f"{self.label!r} moved, the figure did not"


@pytest.mark.parametrize("page", PAGES)
def test_sliders_move_the_figure_without_a_network(visit: "Callable[..., Page]", page: str) -> None:
    tab = visit(page)
    tab.wait_for_load_state("networkidle")
    tab.context.set_offline(True)
    tab.evaluate("() => document.querySelectorAll('details').forEach(fold => fold.open = true)")
    explorers = tab.locator("figure.explorer").all()
    assert explorers or page not in WITH_EXPLORER
    for explorer in explorers:
        for control in explorer.locator("input[type=range]").all():
            slider = Slider(explorer, control)
            control.scroll_into_view_if_needed()
            box = control.bounding_box()
            assert box is not None
            middle = box["y"] + box["height"] / 2
            tab.mouse.move(box["x"] + 8, middle)
            tab.mouse.down()
            tab.mouse.move(box["x"] + box["width"] - 4, middle, steps=5)
            tab.mouse.up()
            slider.moved()
            control.focus()
            tab.keyboard.press("ArrowLeft")
            slider.moved()


@pytest.mark.parametrize("page", PAGES)
def test_first_frame_shows_without_script(visit: "Callable[..., Page]", page: str) -> None:
    tab = visit(page, java_script_enabled=False)
    for explorer in tab.locator("figure.explorer:not(details figure)").all():
        frame = explorer.locator("img:visible")
        assert frame.count() == 1
        box = frame.bounding_box()
        assert box is not None
        assert box["width"] > 200
        assert box["height"] > 80


def test_search_finds_a_page(visit: "Callable[..., Page]") -> None:
    tab = visit("search.html?q=posterior")
    tab.wait_for_selector("#search-results li a")
    assert tab.locator("#search-results li a").count() >= 2


def test_a_link_to_a_claims_row_lands_on_it(visit: "Callable[..., Page]") -> None:
    tab = visit("book/claims.html#claim-elbo-tight")
    row = tab.locator("#claim-elbo-tight")
    assert row.is_visible()
    box = row.bounding_box()
    assert box is not None
    assert 0 <= box["y"] < 800
