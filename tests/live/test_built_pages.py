"""The figures in the pages as built: what they weigh, and that each answers to whoever moves it."""

import gzip
import json
import re
from pathlib import Path

import pytest

from companion.live import _bundle

ROOT = Path(__file__).parents[2]
KILOBYTE = 1000
ENGINE = 25 * KILOBYTE
FIGURE = 60 * KILOBYTE
# The chapters whose figures hold networks of their own.
HEAVY = {
    "01_big_picture": 150 * KILOBYTE,
    "09_hierarchical_vae": 80 * KILOBYTE,
    "11_diffusion_preview": 100 * KILOBYTE,
    "13_capstone": 80 * KILOBYTE,
}
PLAYGROUND = "playground"
# What is trained has buttons and choices in place of handles; these have tests of their own.
TRAINED = (PLAYGROUND, "race")
# Its time is a slider, and a point is picked with a pen: it has no handle.
SLID = "diffusion"
FOUND = re.compile(r'<figure class="live" id="([^"]+)" data-live="(\w+)">(.*?)</figure>', re.S)


def source(path):
    """The text of a page, or the code of a chapter."""
    text = path.read_text("utf-8")
    if path.suffix == ".md":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])


SOURCES = {
    path.stem: re.findall(r'live\.figure\(\s*"(\w+)"', source(path))
    for path in [*ROOT.glob("book/*.ipynb"), *ROOT.glob("book/*.md")]
    if path.stem != "how_figures_work"
}
PAGES = sorted(page for page, names in SOURCES.items() if names)
EVERY = [(page, name) for page in PAGES for name in SOURCES[page]]
MOVES = 40


def compressed(text):
    return len(gzip.compress(text.encode(), mtime=0))


def figures(site, page):
    """Name, id and inner HTML of a page's figures."""
    html = (site / "book" / f"{page}.html").read_text("utf-8")
    return {name: (uid, inner) for uid, name, inner in FOUND.findall(html)}


def test_every_chapter_opens_with_a_figure_that_computes():
    chapters = [f"{chapter:02}_" for chapter in (*range(1, 12), 13)]
    assert [page[:3] for page in PAGES if page[:2].isdigit()] == chapters
    assert {"index", PLAYGROUND} < set(PAGES)


@pytest.mark.site
@pytest.mark.parametrize(("page", "name"), EVERY)
def test_a_figure_is_light_and_there_without_script(site, page, name):
    uid, inner = figures(site, page)[name]
    assert uid
    limit = HEAVY.get(page, FIGURE)
    assert compressed(inner) + compressed(_bundle.script(name)) <= limit
    stage = inner.split('class="live-stage"')[1].split("<script")[0]
    assert stage.count("<svg") >= 1
    assert "NaN" not in stage
    assert "undefined" not in stage


@pytest.mark.site
@pytest.mark.parametrize("page", PAGES)
def test_a_page_loads_each_script_once_and_no_other(site, page):
    html = (site / "book" / f"{page}.html").read_text("utf-8")
    loaded = re.findall(r'<script[^>]* src="[^"]*_static/live/(\w+)\.js\?v=\w+"', html)
    assert sorted(loaded) == sorted({"engine", *SOURCES[page]})


@pytest.mark.site
def test_a_page_without_figures_loads_no_engine(site):
    assert "live/engine.js" not in (site / "book/glossary.html").read_text("utf-8")


def test_the_engine_is_light():
    assert compressed(_bundle.engine()) <= ENGINE


WATCH = """figure => {
  window.frames_ = [];
  figure.addEventListener("live-frame", ({ detail }) => window.frames_.push([
    figure.querySelector(".live-says").textContent,
    [...figure.querySelectorAll(".live-drawn")].map(e => e.innerHTML).join()].join()));
}"""
# A frame later, everything that was asked for is drawn.
FRAME = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture
def opened(browser, address):
    """Open a page; what went wrong in it fails the test."""
    contexts, errors = [], []

    def open_(page, query="", **options):
        context = browser.new_context(**options)
        contexts.append(context)
        tab = context.new_page()
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        tab.goto(f"{address}/book/{page}.html{query}")
        return tab

    yield open_
    for context in contexts:
        context.close()
    assert errors == []


def alive(tab, name):
    figure = tab.locator(f'figure[data-live="{name}"][data-alive]')
    figure.wait_for()
    return figure


LINKED = [one for one in EVERY if one[1] not in TRAINED]
DRAGGED = [one for one in LINKED if one[1] != SLID]


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize(("page", "name"), DRAGGED)
def test_a_drag_has_a_frame_for_every_move(opened, page, name, width):
    tab = opened(page, viewport={"width": width, "height": 900})
    figure = alive(tab, name)
    handle = figure.locator(".live-handle:not([hidden]) .live-grip").first
    handle.scroll_into_view_if_needed()
    figure.evaluate(WATCH)
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    panel = figure.locator(".live-panel").first.bounding_box()
    way = 1 if x < panel["x"] + panel["width"] / 2 else -1
    down = 1 if y < panel["y"] + panel["height"] / 2 else -1
    tab.mouse.move(x, y)
    tab.mouse.down()
    for move in range(1, MOVES + 1):
        tab.mouse.move(x + way * move, y + down * 0.7 * move)
        tab.evaluate(FRAME)
    tab.mouse.up()
    assert len(set(tab.evaluate("window.frames_"))) >= 30


@pytest.mark.browser
@pytest.mark.parametrize(("page", "name"), DRAGGED)
def test_every_handle_answers_the_keyboard_and_reset_takes_it_back(opened, page, name):
    tab = opened(page, viewport={"width": 1280, "height": 900})
    figure = alive(tab, name)
    says = figure.locator(".live-says")
    first = says.inner_text()
    for handle in figure.locator(".live-handle:not([hidden])").all():
        before = handle.get_attribute("transform"), handle.get_attribute("aria-valuetext")
        for key in ("Shift+ArrowLeft", "Shift+ArrowDown", "Shift+ArrowRight", "Shift+ArrowUp"):
            handle.press(key)
            tab.evaluate(FRAME)
            if handle.get_attribute("transform") != before[0]:
                break
        after = handle.get_attribute("transform"), handle.get_attribute("aria-valuetext")
        assert after[0] != before[0], handle.get_attribute("aria-label")
    figure.locator("[data-reset]").click()
    tab.evaluate(FRAME)
    assert says.inner_text() == first


@pytest.mark.browser
@pytest.mark.parametrize(("page", "name"), LINKED)
def test_a_state_can_be_linked_to(opened, page, name):
    tab = opened(page, viewport={"width": 1280, "height": 900})
    figure = alive(tab, name)
    # The only ring of three of these is that of the guess, which no address holds.
    ring = name not in ("paths", "recipes", "stop", SLID)
    handle = figure.locator(".live-handle:not([hidden])" if ring else "input[type=range]")
    handle = handle.nth(1) if name == SLID else handle.first  # the first slider is the guess
    for key in ("Shift+ArrowLeft", "Shift+ArrowDown"):
        handle.press(key)
    uid = figure.get_attribute("id")
    tab.wait_for_function("id => new URLSearchParams(location.search).has(id)", arg=uid)
    before = figure.locator(".live-says").inner_text()
    again = opened(page, f"?{tab.url.split('?')[1]}", viewport={"width": 1280, "height": 900})
    assert alive(again, name).locator(".live-says").inner_text() == before


@pytest.mark.browser
@pytest.mark.parametrize(("page", "name"), LINKED)
def test_whatever_an_address_says_a_figure_is_shown(opened, page, name):
    uid = alive(opened(page), name).get_attribute("id")
    for state in (
        "x",
        "*",
        "mean*NaN*scale*.",
        "a*b*c",
        "x*.1_2_3*z*.9e99_-9e99",
        "%F0%9F%98%80*1",
    ):
        figure = alive(opened(page, f"?{uid}={state}"), name)
        assert "NaN" not in figure.locator(".live-stage").inner_html()
