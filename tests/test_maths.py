"""Formulas that are set when the book is built: all that shows them, early failures, no script."""

import base64
import io
import json
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import rcssmin  # type: ignore[import-untyped]
from bs4 import BeautifulSoup
from fontTools.ttLib import TTFont
from sphinx.errors import ExtensionError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import maths  # noqa: E402
from claims import toc_pages  # noqa: E402
from maths import Formula, Maths  # noqa: E402

PAGES = toc_pages(ROOT)
Build = Callable[..., tuple[Maths, list[str]]]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Set the formulas of pages as one build does; builds share what they keep."""
    app: Any = SimpleNamespace(doctreedir=tmp_path / ".doctrees", outdir=tmp_path / "html")

    def run(**pages: list[Formula]) -> tuple[Maths, list[str]]:
        env: Any = SimpleNamespace(metadata={p: {"formulas": f} for p, f in pages.items()})
        made = Maths()
        return made, made.prepare(app, env)

    return run


def inline(tex: str) -> Formula:
    return Formula(tex, False)


def displayed(tex: str) -> Formula:
    return Formula(tex, True)


SUM = inline(r"\sum_k w_k \le \mathbb{E}_q[w]")
LINES = displayed(
    r"\begin{aligned} \left(\frac{a}{b}\right)^2 &= c \\ &= d \end{aligned} \tag{3.4}"
)


def lacking(html: str, css: str) -> list[str]:
    """Glyphs of formulas for which the style sheet has no rule, or a font without the glyph."""
    css = rcssmin.cssmin(css)  # as the site has it
    fonts = {
        family: TTFont(io.BytesIO(base64.b64decode(data))).getBestCmap()
        for family, data in re.findall(r"font-family:([\w-]+);src:url\(data:[^,]*,(.*?)\)", css)
    }
    shown = {
        (code, family): text
        for code, family, text in re.findall(
            r'mjx-c\.(mjx-c[0-9A-F]+)(?:\.TEX(-\w+))?::before{[^}]*content:"(.*?)"}', css
        )
    }
    wrong = []
    for code, family in set(re.findall(r'<mjx-c class="(mjx-c[0-9A-F]+)(?: TEX(-\w+))?"', html)):
        text = maths.unescaped(shown.get((code, family), "")) or "?"
        if f"{code}" in ("mjx-c2061", "mjx-c2062"):  # an invisible "applied to", or "times"
            continue
        font = fonts.get(f"MJXTEX{family}", {})
        wrong += [f"{code}{family}: {c}" for c in text if ord(c) not in font]
    return wrong


def test_a_formula_comes_with_the_glyphs_that_show_it(build: Build, tmp_path: Path) -> None:
    made, changed = build(one=[SUM], two=[LINES, SUM])
    assert changed == ["one", "two"]
    css = (tmp_path / "html/_static/maths.css").read_text("utf-8")
    assert css == made.css
    assert len(css) < 40_000
    assert not lacking("".join(made.html.values()), css)
    assert lacking(made.html[SUM].replace("1D464", "1D465"), css)
    assert "<mo>≤</mo>" in made.html[SUM]  # for screen readers
    assert "(3.4)" in BeautifulSoup(made.html[LINES], "html.parser").get_text()
    assert "font-size: 110%" in made.html[SUM]


def test_a_later_build_sets_what_is_new_and_covers_what_was(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = build(one=[SUM], two=[LINES])
    asked: list[list[Formula]] = []

    def node(*args: Any, input: str, **kwargs: Any) -> Any:
        asked.append([Formula(*f) for f in json.loads(input)])
        return real(*args, input=input, **kwargs)

    real = maths.node
    monkeypatch.setattr(maths, "node", node)
    again, changed = build(one=[SUM], two=[LINES])
    assert (again.html, again.css, changed, asked) == (first.html, first.css, [], [])

    new = inline(r"\mathcal{N}(\hat{\mu}, \sigma^2)")
    later, changed = build(one=[new], two=[LINES])
    assert asked == [[new]]
    assert changed == []
    # A page that says SUM may not be written again.
    assert not lacking(later.html[new] + first.html[SUM] + first.html[LINES], later.css)

    # With another MathJax all is set again, and the pages are written again.
    kept = tmp_path / "maths.json"
    kept.write_text(json.dumps(["other", *json.loads(kept.read_text("utf-8"))[1:]]), "utf-8")
    _, changed = build(one=[SUM], two=[LINES])
    assert changed == ["one", "two"]


@pytest.mark.parametrize("tex", [r"\frac{1}{", r"\nosuchmacro x", r"a & b", r"\begin{align} a"])
def test_a_formula_that_cannot_be_read_fails_with_its_page(build: Build, tex: str) -> None:
    for _ in range(2):
        with pytest.raises(ExtensionError, match="MathJax cannot read") as failure:
            build(one=[SUM], two=[inline(tex), inline(r"\right)")])
        message = str(failure.value)
        assert f"two: {message.split('two: ')[1].splitlines()[0]}\n    {tex}" in message
        assert r"\right)" in message, "all that is wrong is said at once"
        assert "one:" not in message


def test_a_formula_in_running_text_breaks_after_its_relations(build: Build) -> None:
    long = r"a = \left(b + c\right) - d(x \mid z) \le e_{f+g}"
    made, _ = build(one=[inline(long), displayed(long), inline("x")])
    text = re.sub(
        r"<mjx-c class=\"mjx-c([0-9A-F]+)[^>]*>",
        lambda c: chr(int(c[1], 16)),
        made.html[inline(long)],
    )
    pieces = [
        re.sub("<[^>]*>", "", piece)[-1] for piece in text.split("<mjx-assistive")[0].split("<wbr>")
    ]
    assert pieces[:-1] == ["=", "−", "≤"]
    assert "<wbr>" not in made.html[displayed(long)] + made.html[inline("x")]


# --- the built site -------------------------------------------------------------------------------


@cache
def page_text(path: Path) -> str:
    return path.read_text("utf-8")


@pytest.mark.site
@pytest.mark.parametrize("page", PAGES)
def test_page_has_its_formulas_and_needs_no_script_for_them(site: Path, page: str) -> None:
    html = page_text(site / f"{page}.html")
    css = page_text(site / "_static" / "maths.css")
    count = len(re.findall(r'class="math notranslate', html))
    assert html.count("<mjx-container") == html.count("<mjx-assistive-mml") == count
    assert ("_static/maths.css" in html) == bool(count)
    assert not lacking(html, css)
    assert not re.search(r"<script[^>]*mathjax", html, re.I)
    text = BeautifulSoup(html, "html.parser")
    for code in text.find_all(["pre", "code", "script"]):
        code.decompose()
    assert not re.search(r"\\[(\[a-z]", text.get_text()), "raw TeX"


@pytest.mark.site
def test_search_index_knows_nothing_of_markup(site: Path) -> None:
    index = (site / "searchindex.js").read_text("utf-8")
    assert not re.search(r"mjx|mathml|texatom", index, re.I)


SCROLLING = """() => [...document.querySelectorAll("div.math")].map(e => [
  e.scrollWidth > e.clientWidth + 1, e.tabIndex == 0 && e.role == "group" && !!e.ariaLabel,
  e.hasAttribute("tabindex") || e.hasAttribute("role")])"""
FIXED = """() => [...document.querySelectorAll("span.math, span.math *")]
  .filter(e => e.localName != "mjx-assistive-mml" && !e.closest("mjx-assistive-mml"))
  .filter(e => ["auto", "scroll"].includes(getComputedStyle(e).overflowX)).length"""
# How far inline formulas reach beyond the right end of the text.
BEYOND = """() => Math.max(...[...document.querySelectorAll("span.math mjx-math")]
  .filter(e => e.checkVisibility())
  .map(e => e.getBoundingClientRect().right
    - e.closest("p, li, td, th, dd, dt").getBoundingClientRect().right))"""


@pytest.mark.browser
@pytest.mark.parametrize("page", ["book/03_elbo", "book/04_information_view", "book/claims"])
def test_wide_formulas_are_within_reach(address: str, browser: "Browser", page: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    tab = context.new_page()
    tab.goto(f"{address}/{page}.html")
    assert tab.evaluate(FIXED) == 0
    assert tab.evaluate(BEYOND) <= 1
    tab.wait_for_function(f"() => ({SCROLLING})().every(([wide, named, any]) => wide == named)")
    if page != "book/claims":
        # Chapter 3 has none that a phone must scroll: a watch.
        tab.set_viewport_size({"width": 240, "height": 844})
        box = tab.locator("div.math[tabindex]").first
        box.focus()
        box.press("ArrowRight")
        tab.wait_for_function("e => e.scrollLeft > 0", arg=box.element_handle())
    # What fits is no stop on the way.
    tab.set_viewport_size({"width": 2200, "height": 844})
    tab.wait_for_function(
        f"() => ({SCROLLING})().every(([wide, named, any]) => wide == named && wide == any)"
    )
    context.close()


MOVING = """async () => {
  const all = [...document.querySelectorAll("div.math")], heights = all.map(() => new Set());
  for (let frame = 0; frame < 6; frame++) {
    await new Promise(requestAnimationFrame);
    all.forEach((e, i) => heights[i].add(e.getBoundingClientRect().height));
  }
  return all.filter((_, i) => heights[i].size > 1).map(e => e.textContent);
}"""


# Would catch a box that scrolls for the pixel by which a formula set to fit is rounded: the room
# for its shade makes it fit, and so it grew and shrank sixty times a second.
@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 375, 390, 412])
def test_formulas_stand_still(address: str, browser: "Browser", width: int) -> None:
    tab = browser.new_page(viewport={"width": width, "height": 844})
    tab.goto(f"{address}/book/01_big_picture.html")
    tab.wait_for_timeout(500)
    assert tab.evaluate(MOVING) == []
    tab.close()


@pytest.mark.browser
def test_formulas_stand_without_script(address: str, browser: "Browser") -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{address}/book/03_elbo.html")
    # Both fonts came with the style sheet; a formula is as wide as its glyphs.
    loaded = tab.evaluate(
        """() => document.fonts.ready.then(fonts =>
          [...fonts].filter(font => font.status == "loaded").map(font => font.family))"""
    )
    assert {"MJXTEX", "MJXTEX-I"} <= set(loaded)
    box = tab.locator("div.math mjx-math").first.bounding_box()
    assert box is not None
    assert box["width"] > 100
    context.close()
