"""The look of the page: fonts, folds, boxes; what a browser shows of them; what others see."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from bs4 import BeautifulSoup
from conftest import PATIENCE
from docutils import nodes
from docutils.frontend import get_default_settings
from docutils.parsers.rst import Parser
from docutils.utils import new_document
from myst_nb.sphinx_ import HideCodeCellNode, HideInputCells

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from boxes import Boxes, KeptTogether, fewer_entries, fewer_stops  # noqa: E402
from claims import toc_pages  # noqa: E402
from code_blocks import fit  # noqa: E402
from folded_cells import CodeBelow, FoldedCells, FoldedChecks, name_of  # noqa: E402
from meta import describe, description_of, plain  # noqa: E402

app: Any = None
PAGES = toc_pages(ROOT)
STATIC = ROOT / "book" / "_static"


# --- fonts ----------------------------------------------------------------------------------------


def text_of(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


@pytest.mark.site
def test_fonts_are_small_and_have_the_letters_that_the_style_sheet_promises(site: Path) -> None:
    from fontTools.subset import parse_unicodes
    from fontTools.ttLib import TTFont

    faces = re.findall(
        r'url\("fonts/(.*?)"\).*?unicode-range: (.*?);', text_of("book/_static/book.css"), re.DOTALL
    )
    files = [site / "_static" / "fonts" / file for file, _ in faces]
    assert len(files) == 7
    first_screen = [file for file in files if "latin" in file.name]
    assert sum(file.stat().st_size for file in first_screen) < 110_000
    for file, (_, promised) in zip(files, faces, strict=True):
        font = TTFont(file)
        letters = set("ελβο") if "greek" in file.name else set("The lower bound − 0.5 “é”")
        assert {ord(letter) for letter in letters} <= set(font.getBestCmap())
        assert set(font.getBestCmap()) <= set(parse_unicodes(promised)), "made from another list"
        assert [(axis.minValue, axis.maxValue) for axis in font["fvar"].axes] == [(400, 700)]


# --- folds, boxes and code as the extensions write them -------------------------------------------


def cell(
    source: str, *tags: str, html: str = "", picture: bool = False, says: str = ""
) -> nodes.container:
    made = nodes.container(nb_element="cell_code", cell_metadata={"tags": list(tags)})
    made += nodes.container("", nodes.literal_block("", source), nb_element="cell_code_source")
    if html or picture or says:
        output = nodes.container(nb_element="cell_code_output")
        output += nodes.raw("", html, format="html") if html else nodes.image(uri="a.png")
        if says:
            output.children = [nodes.literal_block("", says)]
        made += output
    return made


@pytest.mark.parametrize(
    ("folded", "name"),
    [
        (cell("%pip install x", "setup", "hide-input"), "Setup"),
        (cell("# Solution\nx = 1", "hide-cell"), "Solution"),
        (cell("# Solution\nx = 1", "hide-cell", picture=True), "Solution"),
        (cell("import torch\nfrom math import pi", "hide-input"), "Imports"),
        (cell("import torch\nx = 1", "hide-input"), "Code that the next cells use"),
        (cell("%matplotlib inline", "hide-input"), "Code that the next cells use"),
        (cell("plot(x)", "hide-input", picture=True), "Code of this figure"),
        (cell("explore(f)", "hide-input", html="<figure class='e'>"), "Code of this figure"),
        (cell("show(f)", "claim:a.b", "hide-input", html="<svg>"), "Code of this figure"),
        (cell("t", "claim:a.b", "hide-input", html="<div><table>"), "Code of this check"),
        (cell("t", "nbval-check-output", "hide-input", says="1 1"), "Code of this check"),
        (cell("t", "hide-input", html="<div><table>"), "Code of this table"),
        (cell("print(1)", "hide-input", says="1"), "Code of this output"),
        (cell("print(1)", "hide-cell", says="1"), "Result and its code"),
    ],
)
def test_a_fold_is_named_by_what_it_holds(folded: nodes.container, name: str) -> None:
    assert name_of(folded) == name


def test_a_figure_comes_before_its_code() -> None:
    page, shown, alone = document(), cell("plot(x)", picture=True), cell("import torch")
    for one in (shown, alone):
        source = one[0]
        fold = HideCodeCellNode(prompt_show="Code of this figure")
        one.replace(source, fold)
        fold += source
        page += one
    CodeBelow(page).run()
    assert [part.get("nb_element") for part in shown.children] == ["cell_code_output", None]
    assert len(alone.children) == 1


def test_folded_checks_share_a_fold_with_those_beside_them() -> None:
    card = "<div><table><caption>{}</caption></table></div>"
    page = document()
    for k, tag in enumerate(["hide-cell", "hide-input", "hide-cell", "hide-cell"]):
        page += cell("compare()", "claim:a.b", tag, html=card.format(f"{k} &lt; 9"))
        page[-1]["hide_mode"] = {"hide-cell": "all", "hide-input": "input"}[tag]
    for transform in (FoldedCells, HideInputCells, CodeBelow, FoldedChecks):
        transform(page).run()
    outer = [HideCodeCellNode, nodes.container, HideCodeCellNode]
    assert [type(part) for part in page.children] == outer
    assert [page[0]["prompt_show"], page[2]["prompt_show"]] == ["Check: 0 < 9", "2 checks"]
    # In the fold each check is as in the open: the card, and the code in a fold of its own.
    for check in [page[0][0], page[1], *page[2].children]:
        assert "<caption>" in check[0].astext()
        assert check[1]["prompt_show"] == "Code of this check"


def test_the_keyboard_passes_over_the_links_beside_headings() -> None:
    context = {"body": '<h2>A<a class="headerlink" href="#a">#</a></h2><a href="b.html">b</a>'}
    fewer_stops(app, "page", "page.html", context, None)
    made = BeautifulSoup(context["body"], "html.parser")
    assert [link.get("tabindex") for link in made("a")] == ["-1", None]


def document() -> nodes.document:
    return new_document("page", get_default_settings(Parser))


def test_parts_of_a_chapter_become_boxes() -> None:
    page = document()
    # MyST writes an empty text before what is bold.
    theorem = nodes.strong("", "Theorem.")
    bold = nodes.paragraph("", "", nodes.Text(""), theorem, nodes.Text(" It holds."))
    statement = nodes.block_quote("", bold)
    quotation = nodes.block_quote("", nodes.paragraph("", "It is said."))
    page += nodes.section("", nodes.title("", "Two terms"), statement, quotation)
    page += nodes.section("", nodes.title("", "A closer look"))
    Boxes(page).apply()
    assert statement["classes"] == ["statement"]
    assert quotation["classes"] == []
    assert [section["classes"] for section in page.findall(nodes.section)] == [[], ["closer-look"]]


def test_the_question_of_a_chapter_stands_before_its_goals() -> None:
    page = document()
    question, other = nodes.paragraph("", "Why?"), nodes.paragraph("", "So.")
    goals = nodes.section("", nodes.title("", "What you will be able to do"))
    page += nodes.section("", nodes.title("", "A chapter"), question, goals)
    page += nodes.section("", nodes.title("", "A page"), other, nodes.section("", nodes.title()))
    Boxes(page).apply()
    assert question["classes"] == ["question"]
    assert other["classes"] == []


def test_a_formula_stays_on_a_line_with_its_comma_and_brackets() -> None:
    page = document()
    page += nodes.paragraph("", "", nodes.Text("It is (see "), nodes.math("", "x"), nodes.Text("."))
    page += nodes.paragraph("", "", nodes.Text("It ("), nodes.math("", "y"), nodes.Text("), and"))
    page += nodes.paragraph("", "", nodes.math("", "z"), nodes.Text(" is"))
    texts = [paragraph.astext() for paragraph in page]
    KeptTogether(page).run()
    assert [paragraph.astext() for paragraph in page] == texts
    kept = [part.astext() for part in page.findall(nodes.inline) if part["classes"] == ["kept"]]
    assert kept == ["x.", "(y),"]


def test_contents_leave_out_the_checks() -> None:
    entry = '<li><a class="reference internal" href="#{0}">{0}</a>'.format
    check = '<li><a class="reference internal" href="#id1">Check it</a></li>'
    context = {"toc": f"<ul>{entry('a')}<ul>\n{check}\n</ul></li>{check}{entry('b')}</li></ul>"}
    fewer_entries(app, "page", "page.html", context, None)
    assert context["toc"] == f"<ul>{entry('a')}</li>{entry('b')}</li></ul>"


def test_print_outs_in_columns_are_marked() -> None:
    row = "ELBO of the model      " + "1.00 ± 0.10   " * 2
    other = "word " * 9
    for text, said in (
        (f"{row}\n{row}", ["table-like"]),
        (f"{row}\n{other}", None),
        (f"{row}\n{row}\n✗ {other}", None),
    ):
        made = BeautifulSoup(fit(f"<pre><span></span>{text}\n</pre>"), "html.parser")
        assert made.pre is not None
        assert made.pre.get("class") == said


def test_long_lines_of_code_are_marked_and_the_text_stays() -> None:
    long = 'print("<a> ' + "x" * 40 + '")'
    html = (
        '<div class="highlight"><pre><span></span><span class="k">if</span> a:\n'
        f"    {long.replace('<', '&lt;')}\n\nb\n</pre></div>"
    )
    made = BeautifulSoup(fit(html), "html.parser")
    assert made.get_text() == f"if a:\n    {long}\n\nb\n"
    (marked,) = made.select(".long")
    assert marked["style"] == "--at:4"
    assert marked.get_text() == f"    {long}\n"
    assert made.pre is not None
    assert made.pre["style"] == f"--columns:{len(long) + 4}"
    short = "<pre><span></span>a = 1\n</pre>"
    assert fit(short) == short


# --- what other sites see -------------------------------------------------------------------------


def page_that_says(*inside: nodes.Node) -> nodes.document:
    page = document()
    page += nodes.section("", nodes.title("", "T"), nodes.paragraph("", "", *inside))
    return page


def test_description_is_the_first_paragraph_in_plain_letters() -> None:
    question = page_that_says(
        nodes.emphasis("", "", nodes.Text("Why is\n"), nodes.math("", r"\log p_\varphi(x)")),
        nodes.Text(" out of reach?"),
    )
    assert description_of(question) == "Why is log pφ(x) out of reach?"
    assert plain(r"q_\theta(z\mid x)") == "qθ(z|x)"
    assert description_of(document()) == ""
    sentence = "This sentence has some seventy characters, which is not so many at all. "
    assert description_of(page_that_says(nodes.Text(sentence * 6))) == (sentence * 4).strip()
    words = description_of(page_that_says(nodes.Text("word " * 100)))
    assert words.endswith("word…")
    assert len(words) <= 300


@pytest.mark.parametrize("base", ["", "https://books.example/elbo/"])
def test_tags_of_a_page_have_addresses_only_where_the_site_has_one(base: str) -> None:
    config = SimpleNamespace(html_title="The Book", html_baseurl=base, root_doc="book/index")
    built: Any = SimpleNamespace(config=config)
    context = {"title": "3 <em>Bounds</em>", "file_suffix": ".html", "metatags": "<meta>"}
    template = describe(
        built, "book/03", "page.html", context, page_that_says(nodes.Text('A "bound".'))
    )
    assert template == "whole_page.html"
    assert context["full_title"] == "3 Bounds · The Book"
    tags = BeautifulSoup(context["metatags"], "html.parser")
    said = {str(tag.get("name") or tag.get("property")): tag.get("content") for tag in tags("meta")}
    assert said["description"] == said["og:description"] == 'A "bound".'
    assert said["og:title"] == "3 Bounds"
    assert said["og:type"] == "article"
    assert said.get("og:url") == (f"{base}book/03.html" if base else None)
    assert said.get("og:image") == (f"{base}_static/card.png" if base else None)
    assert (STATIC / "card.png").is_file()
    assert tags.base is None
    lost = {"file_suffix": ".html"}
    describe(built, "404", "404.html", lost, None)
    assert ("<base" in lost["metatags"]) == bool(base)


@pytest.mark.site
def test_each_page_has_a_title_of_its_own_one_heading_and_a_description(site: Path) -> None:
    titles = []
    for page in [*PAGES, "search", "genindex", "404"]:
        made = BeautifulSoup((site / f"{page}.html").read_text("utf-8"), "html.parser")
        assert made.title is not None
        titles.append(made.title.get_text())
        assert len(made.find_all("h1")) == 1, page
        if page in PAGES:
            (said,) = made.select('meta[name="description"]')
            assert 40 < len(str(said["content"])) <= 300, page
            assert not re.search(r"[\\$]", str(said["content"])), page
    assert len(set(titles)) == len(titles)
    assert titles[0] == "The Lower Bound"
    assert all(title.endswith(" · The Lower Bound") for title in titles[1:])


# --- what a browser shows -------------------------------------------------------------------------

# Blocks of code or print-outs of which something is outside, where nobody sees it. Wide tables
# scroll, and fade where they go on.
CUT = """() => [...document.querySelectorAll("article pre:not(.table-like)")]
  .filter(e => e.checkVisibility() && e.scrollWidth > e.clientWidth)
  .map(e => e.textContent.slice(0, 80))"""
# Characters in the lines of the text's paragraphs that are full.
MEASURE = """() => {
  const counts = [];
  for (const p of document.querySelectorAll("article section > p")) {
    const text = p.firstChild;
    if (p.childNodes.length != 1 || text.nodeType != 3) continue;
    const range = document.createRange();
    let start = 0, top = null;
    for (let i = 0; i < text.length; i++) {
      range.setStart(text, i); range.setEnd(text, i + 1);
      const box = range.getBoundingClientRect();
      if (!box.width) continue;
      if (top !== null && box.top > top + 5) { counts.push(i - start); start = i; }
      top = box.top;
    }
  }
  return counts;
}"""
# What is nearly white, large, and no picture.
WHITE = """() => [...document.querySelectorAll("body *")].filter(e => {
  if (!e.checkVisibility()) return false;
  const [r, g, b, a] = getComputedStyle(e).backgroundColor.match(/[\\d.]+/g).map(Number);
  const box = e.getBoundingClientRect();
  return a !== 0 && Math.min(r, g, b) > 200 && box.width * box.height > 2000 && e.tagName != "IMG";
}).map(e => e.tagName + "." + e.className)"""
# A finger that meets a label chooses what it names.
SMALL = """() => [...document.querySelectorAll(
  ".bd-header-article button, article summary, article input, .start a")]
  .filter(e => e.checkVisibility())
  .filter(e => (e.closest("label") ?? e).getBoundingClientRect().height < 43.5)
  .map(e => e.outerHTML.slice(0, 100))"""


LAPTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
WIDE = {"width": 1920, "height": 1080}


@pytest.fixture(
    scope="module", params=[("light", LAPTOP), ("dark", PHONE)], ids=["laptop", "phone"]
)
def tab(request: pytest.FixtureRequest, browser: "Browser") -> "Iterator[Page]":
    theme, screen = request.param
    context = browser.new_context(viewport=screen, color_scheme=theme, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    yield page
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_cut_white_in_the_dark_or_too_small(
    tab: "Page", address: str, page: str
) -> None:
    tab.goto(f"{address}/{page}.html")
    tab.evaluate("() => document.querySelectorAll('details').forEach(fold => fold.open = true)")
    tab.evaluate("() => document.fonts.ready")
    assert tab.evaluate(CUT) == []
    if tab.viewport_size == PHONE:
        assert tab.evaluate(WHITE) == []
        assert tab.evaluate(SMALL) == []


@pytest.mark.browser
def test_lines_of_text_have_a_readable_length(tab: "Page", address: str) -> None:
    tab.goto(f"{address}/book/07_posterior_collapse.html")
    tab.evaluate("() => document.fonts.ready")
    assert "Source Serif 4" in tab.evaluate(
        "() => [...document.fonts].filter(f => f.status == 'loaded').map(f => f.family).join()"
    )
    seen = tab.viewport_size or {}
    low, high, screens = (62, 78, [LAPTOP, WIDE]) if seen == LAPTOP else (34, 50, [PHONE])
    for screen in screens:
        tab.set_viewport_size(screen)
        lines = sorted(tab.evaluate(MEASURE))
        assert low <= lines[len(lines) // 2] <= high, screen
    tab.set_viewport_size(seen)


@pytest.mark.browser
def test_the_first_page_shows_its_task_in_one_screen(tab: "Page", address: str) -> None:
    tab.goto(f"{address}/{PAGES[0]}.html")
    tab.evaluate("() => document.fonts.ready")
    screen = tab.viewport_size or {}
    # On a phone the panels stand below one another, so that their text can be read.
    whole = ["figure.live .live-panels", ".start a"]
    for wanted in ["figure.live .live-panel"] if screen == PHONE else whole:
        box = tab.locator(wanted).first.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= screen["height"], wanted


@pytest.mark.browser
def test_numbered_formulas_shrink_before_they_scroll(tab: "Page", address: str) -> None:
    tab.goto(f"{address}/book/03_elbo.html")
    tab.evaluate("() => document.fonts.ready")
    formulas = tab.evaluate(
        """() => [...document.querySelectorAll("div.math[style]")].map(e => [
          e.scrollWidth > e.clientWidth + 1,
          ...[e.firstChild, e].map(x => parseFloat(getComputedStyle(x).fontSize)),
        ])"""
    )
    assert len(formulas) > 10
    small = [formula / text for scrolls, formula, text in formulas if not scrolls]
    assert all(0.74 < size < 1.11 for size in small)
    assert (min(small) < 1) == (tab.viewport_size == PHONE)
    # What scrolls all the same is as large as ever.
    large = [formula / text for scrolls, formula, text in formulas if scrolls]
    assert all(size > 1.09 for size in large)
    assert len(large) <= len(formulas) / 3


@pytest.mark.browser
def test_paper_has_solutions_and_nothing_to_press(tab: "Page", address: str) -> None:
    tab.emulate_media(media="print")
    tab.goto(f"{address}/book/03_elbo.html")
    solutions = tab.locator("details.solution pre").all()
    assert len(solutions) >= 5
    for solution in solutions:  # a closed fold's contents have a box, too
        assert solution.is_visible()
    for gone in (
        ".bd-sidebar-primary",
        ".bd-header-article",
        ".prev-next-footer",
        "input",
        "button",
    ):
        for element in tab.locator(gone).all():
            assert not element.is_visible(), gone
    assert not tab.get_by_text("Code of this figure").first.is_visible()
    assert tab.evaluate(CUT) == []
    tab.emulate_media(media="screen")


@pytest.mark.browser
def test_the_boxes_fit_together(tab: "Page", address: str) -> None:
    """The gallery has what no page may have yet, with the style sheets of the built site."""
    html = text_of("tests/gallery/look.html")
    html = re.sub(r"\.\./\.\./(_build/html|book)/_static", f"{address}/_static", html)
    tab.goto(f"{address}/404.html")
    tab.set_content(html)
    tab.evaluate("() => document.fonts.ready")
    assert tab.evaluate(CUT) == []
    assert tab.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    left = {
        round(tab.locator(box).first.bounding_box()["x"])  # type: ignore[index]
        for box in ("h1", "blockquote", "figure", ".check-card", "pre", "section.exercise")
    }
    assert len(left) == 1, "all boxes start at the text's edge"
