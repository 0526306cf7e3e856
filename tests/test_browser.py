"""The built site in a browser that reaches no other host: the way a reader meets it."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from conftest import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from claims import toc_pages  # noqa: E402

pytestmark = pytest.mark.browser

PAGES = [f"{page}.html" for page in toc_pages(ROOT)]
# The first page and every chapter; the checklist repeats what others show.
WITH_EXPLORER = [page for page in PAGES if "01" <= page.removeprefix("book/")[:2] <= "11"]
# Theme, width and height.
READERS: "dict[str, tuple[Literal['light', 'dark'], int, int]]" = {
    "laptop": ("light", 1280, 900),
    "phone": ("dark", 390, 800),
    "no script": ("light", 1280, 900),
}
# A slider answers at once; only a broken one is waited for this long.
SLIDERS_TIME = 60_000  # milliseconds

# Resolves when the page is as it stays: the pictures are there, also those that come when a reader
# comes near, so are the fonts that the layout asks for, and nothing moves by itself.
READY = """async patience => {
  let missing;
  const settle = async () => {
    missing = "a picture";
    for (const picture of document.images) picture.loading = "eager";
    await Promise.all([...document.images].filter(e => !e.complete).map(
      e => new Promise(done => e.onload = e.onerror = done)));
    missing = "a font";
    do {
      document.body.getBoundingClientRect();
      await document.fonts.ready;
    } while (document.fonts.status != "loaded");
    missing = "the end of an animation";
    const ends = e => e.playState == "running" && e.effect.getComputedTiming().endTime < Infinity;
    for (let moving; (moving = document.getAnimations().filter(ends)).length;)
      await Promise.allSettled(moving.map(e => e.finished));
  };
  const late = new Promise((_, fail) =>
    setTimeout(() => fail(new Error(`the page still waits for ${missing}`)), patience));
  await Promise.race([settle(), late]);
}"""

# Everything on the page that a reader reads as text, less code, where $ and \ are at home.
TEXT = """() => {
  const copy = document.querySelector("article").cloneNode(true);
  copy.querySelectorAll("script, style, pre, code, dt, mjx-container").forEach(e => e.remove());
  return copy.textContent;
}"""
UNRENDERED = """() => [...document.querySelectorAll(".math")]
  .filter(e => !e.querySelector("mjx-container")).map(e => e.textContent)"""
# A picture that is not there.
BLANK = """() => [...document.images].filter(e => !e.naturalWidth).map(e => e.src.slice(0, 200))"""
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
# What a reader sees of a slider.
LOOK = """control => {
  const explorer = control.closest("figure.explorer");
  const shows = e =>
    e.checkVisibility({visibilityProperty: true}) && e.offsetWidth && e.offsetHeight;
  return {
    position: control.valueAsNumber,
    value: explorer.querySelector(`output[for="${control.id}"]`).innerText,
    spoken: control.getAttribute("aria-valuetext"),
    frames: [...explorer.querySelectorAll(".fig")].filter(shows).map(e => e.outerHTML),
  };
}"""
MOVED = f"""([control, before, position]) => {{
  const now = ({LOOK})(control);
  return now.position == position && now.value != before.value && now.spoken == now.value
    && now.frames.length == 1 && now.frames[0] != before.frames[0];
}}"""
# A result has a description beside it, as a function has, or gets a summary below it.
SUMMARIES = """() => [...document.querySelectorAll("#search-results li:not(:has(> span))")]
  .every(e => e.querySelector("p.context"))"""


class Reader:
    """Someone with a browser: ``with reader as tab`` waits until all of the page is there.

    At its end the page may not have asked for another host, and nothing may have gone wrong.
    """

    def __init__(self, context: "BrowserContext", address: str) -> None:
        self.address, self.page = address, ""
        self.left: list[str] = []
        self.wrong: list[str] = []
        self.tab = tab = context.new_page()
        tab.set_default_timeout(PATIENCE)
        tab.on("request", lambda request: self.asks(request.url))
        tab.on("websocket", lambda socket: self.asks(socket.url))
        tab.on("console", lambda said: self.hears(said.text, said.type in ("error", "warning")))
        tab.on("pageerror", lambda error: self.hears(str(error)))
        tab.on("response", lambda r: self.hears(f"{r.status} {r.url}", r.status >= 400))

    def asks(self, url: str) -> None:
        # A worker's script is made in the page.
        if not url.removeprefix("blob:").startswith(f"{self.address}/"):
            self.left.append(url)

    def hears(self, text: str, is_wrong: bool = True) -> None:
        if is_wrong:
            self.wrong.append(text)

    def go(self, page: str) -> None:
        """Leave the page and all that came of it, and start to load another; do not wait for it."""
        self.tab.unroute_all(behavior="ignoreErrors")
        self.tab.mouse.move(0, 0)
        self.tab.goto("about:blank")
        self.left.clear()
        self.wrong.clear()
        self.page = page
        self.tab.goto(f"{self.address}/{page}", wait_until="commit")

    def __enter__(self) -> "Page":
        self.tab.wait_for_load_state("load")
        self.settle()
        return self.tab

    def settle(self) -> None:
        self.tab.evaluate(READY, PATIENCE)

    def __exit__(self, *failure: object) -> None:
        # The answer comes after all that the page did before.
        self.tab.evaluate("() => 0")
        assert not self.left, f"{self.page} asks other hosts: {self.left}"
        assert not self.wrong, f"{self.page} in the browser's console: {self.wrong}"


@pytest.fixture(scope="session")
def all_readers(browser: "Browser", address: str) -> Iterator[dict[str, Reader]]:
    """A reader of each kind. They go from page to page in one tab: a new window takes long."""
    contexts = {
        kind: browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=theme,
            java_script_enabled=kind != "no script",
        )
        for kind, (theme, width, height) in READERS.items()
    }
    yield {kind: Reader(c, address) for kind, c in contexts.items()}
    for context in contexts.values():
        context.close()


@pytest.fixture(scope="module")
def readers(request: pytest.FixtureRequest, all_readers: dict[str, Reader]) -> dict[str, Reader]:
    """The readers at one page, which loads for all of them at once, and once for all its tests."""
    for reader in all_readers.values():
        reader.go(request.param)
    return all_readers


@pytest.fixture
def newcomer(browser: "Browser", address: str) -> Iterator[Reader]:
    """A reader who has seen no page before."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield Reader(context, address)
    context.close()


each_page = pytest.mark.parametrize("readers", PAGES, indirect=True)


@pytest.mark.parametrize("kind", ["laptop", "phone"])
@each_page
def test_page_is_whole_and_readable(readers: dict[str, Reader], kind: str) -> None:
    with readers[kind] as tab:
        assert tab.evaluate("() => document.documentElement.dataset.theme") == READERS[kind][0]
        assert tab.evaluate(UNRENDERED) == []
        assert tab.evaluate(BLANK) == []
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
        self.control = control
        name = control.get_attribute("id")
        self.label = explorer.locator(f"label[for={name}]").inner_text()
        self.state = self.look()

    def look(self) -> dict[str, Any]:
        """Where the slider stands, the value beside it, and the frame that is visible."""
        state: dict[str, Any] = self.control.evaluate(LOOK)
        assert len(state["frames"]) == 1, f"{self.label!r}: {len(state['frames'])} frames visible"
        shown, spoken = state["value"], state["spoken"]
        assert spoken == shown, f"{self.label!r} shows {shown}, a screen reader says {spoken}"
        return state

    def moved(self, position: int, how: str) -> None:
        """Wait until the slider stands there, beside a new value and a new figure."""
        from playwright.sync_api import TimeoutError as TooLate

        before = self.state
        with contextlib.suppress(TooLate):
            self.control.page.wait_for_function(
                MOVED, arg=[self.control.element_handle(), before, position], timeout=SLIDERS_TIME
            )
        self.state = now = self.look()
        who = f"{self.label!r}, moved by {how},"
        assert now["position"] == position, f"{who} stands at {now['position']}, not {position}"
        assert now["value"] != before["value"], f"{who} still says {now['value']}"
        assert now["frames"] != before["frames"], f"{who} left the figure as it was"


def cut_the_network(tab: "Page") -> list[str]:
    """Refuse all requests from now on; the list that comes back fills with them.

    But for the page's icon: the browser asks for it by itself, some time after the page is there.
    """
    icons = tab.evaluate("() => [...document.querySelectorAll('link[rel~=icon]')].map(e => e.href)")
    refused: list[str] = []

    def refuse(route: "Route") -> None:
        refused.append(route.request.url)
        route.abort("internetdisconnected")

    tab.route(lambda url: url not in icons, refuse)
    return refused


@each_page
def test_sliders_move_the_figure_without_a_network(readers: dict[str, Reader]) -> None:
    page = readers["laptop"].page
    with readers["laptop"] as tab:
        refused = cut_the_network(tab)
        tab.evaluate("() => document.querySelectorAll('details').forEach(fold => fold.open = true)")
        explorers = tab.locator("figure.explorer").all()
        assert explorers or page not in WITH_EXPLORER
        for explorer in explorers:
            for control in explorer.locator("input[type=range]").all():
                slider = Slider(explorer, control)
                box = control.bounding_box()
                assert box is not None
                middle, last = box["height"] / 2, int(control.get_attribute("max") or 0)
                # By the mouse from end to end; Playwright waits until nothing moves or covers it.
                control.drag_to(
                    control,
                    source_position={"x": 8, "y": middle},
                    target_position={"x": box["width"] - 4, "y": middle},
                )
                slider.moved(last, "the mouse")
                control.press("ArrowLeft")
                slider.moved(last - 1, "the keyboard")
        readers["laptop"].settle()
        assert not refused, f"{page} needs a network after it has loaded: {refused}"


@each_page
def test_first_frame_shows_without_script(readers: dict[str, Reader]) -> None:
    with readers["no script"] as tab:
        for explorer in tab.locator("figure.explorer:not(details figure)").all():
            frame = explorer.locator(".fig:visible")
            assert frame.count() == 1
            box = frame.bounding_box()
            assert box is not None
            assert box["width"] > 200
            assert box["height"] > 80


def test_search_finds_a_page(newcomer: Reader) -> None:
    newcomer.go("search.html?q=posterior")
    with newcomer as tab:
        # Sphinx appends the results one by one, and to each, once it has read the page, a summary.
        tab.get_by_text("Search finished, found").wait_for()
        results = tab.locator("#search-results li")
        assert results.count() >= 2
        tab.wait_for_function(SUMMARIES)


def test_search_knows_the_other_names_of_the_glossary(newcomer: Reader) -> None:
    newcomer.go("search.html?q=KL%20annealing")
    with newcomer as tab:
        tab.get_by_text("Search finished, found").wait_for()
        links = tab.locator("#search-results li > a")
        found = [link.get_attribute("href") or "" for link in links.all()]
        assert found[0] == "book/glossary.html#term-warm-up"
        assert found[1].startswith("book/07_posterior_collapse.html#")
        assert len(set(found)) == len(found) > 5
        tab.wait_for_function(SUMMARIES)
        # A summary is of what one reads.
        for summary in tab.locator("#search-results p.context").all_inner_texts():
            assert "import " not in summary


def test_claims_are_filtered(newcomer: Reader) -> None:
    newcomer.go("book/claims.html")
    with newcomer as tab:
        rows = tab.locator("table.claims tbody tr:visible")
        said = tab.locator(".claims-filter output")
        total = rows.count()
        assert said.inner_text() == f"All {total} claims"
        # By the keyboard alone.
        tab.get_by_label("Words").focus()
        tab.keyboard.type("posterior Gap")
        kept = rows.all_inner_texts()
        assert 0 < len(kept) < total / 2
        assert all("posterior" in text.lower() and "gap" in text.lower() for text in kept)
        assert said.inner_text() == f"{len(kept)} of {total} claims"
        tab.keyboard.press("ControlOrMeta+A")
        tab.keyboard.press("Delete")
        tab.keyboard.press("Tab")
        tab.keyboard.type("3")  # a choice by its first letter
        assert (
            rows.count() == tab.locator("#the-evidence-lower-bound table.claims tbody tr").count()
        )
        assert tab.locator("article h2:visible").count() == 1
        tab.keyboard.press("Tab")
        tab.keyboard.type("care")
        assert set(tab.locator(".claim-kind:visible").all_inner_texts()) == {"care"}
        # A link to a row that is not shown shows all; so does the button.
        assert not tab.locator("#claim-big-autoencoder").is_visible()
        tab.evaluate("() => location.hash = 'claim-big-autoencoder'")
        tab.locator("#claim-big-autoencoder").wait_for()
        assert rows.count() == total
        assert said.inner_text() == f"All {total} claims"
        tab.get_by_label("Kind").select_option("exact")
        kinds = set(tab.locator(".claim-kind:visible").all_inner_texts())
        assert kinds == {"exact", "exact and measured"}
        tab.get_by_role("button", name="Show all").click()
        assert said.inner_text() == f"All {total} claims"
        tab.get_by_label("Words").fill("xyzzy")
        assert rows.count() == 0
        assert said.inner_text() == f"0 of {total} claims"


def test_claims_are_all_there_without_script(all_readers: dict[str, Reader]) -> None:
    all_readers["no script"].go("book/claims.html")
    with all_readers["no script"] as tab:
        assert tab.locator("table.claims tbody tr:visible").count() > 100
        assert not tab.locator(".claims-filter").is_visible()


def test_a_link_to_a_claims_row_lands_on_it(newcomer: Reader) -> None:
    newcomer.go("book/claims.html#claim-elbo-tight")
    with newcomer as tab:
        row = tab.locator("#claim-elbo-tight")
        assert row.is_visible()
        box = row.bounding_box()
        assert box is not None
        assert 0 <= box["y"] < 800
