"""What a page weighs, what it loads, and that it is there at once. `weight.py` measures."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import pytest
from bs4 import BeautifulSoup, Tag
from sphinx.errors import ExtensionError
from weight import served, visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from claims import toc_pages  # noqa: E402
from light import ICON, Templates, is_used, preload_fonts  # noqa: E402

PAGES = toc_pages(ROOT)
CHAPTERS = {p for p in PAGES if re.match(r"book/(0\d|1[013]|a\d)_", p) or p == PAGES[0]}
# Bytes on the way, text compressed.
OF_TEXT, OF_PLAYGROUND, OF_CHAPTER = 300_000, 350_000, 1_200_000

each_page = pytest.mark.parametrize("page", [*PAGES, "search", "genindex"])


@pytest.mark.parametrize(
    ("tag", "drawn"),
    [
        ('<i class="fa-solid fa-list"></i>', 'class="drawn-icon fa-list" aria-hidden="true"'),
        ('<span class="fas  fa-pencil-alt"></span>', 'class="drawn-icon fa-pencil-alt" '),
        # What the theme shows where a book has a repository and launch buttons.
        ('<i class="fab fa-github fa-lg" aria-hidden="true"></i>', 'viewBox="0 0 496 512"'),
        ('<i class="fas fa-rocket"></i>', 'viewBox="0 0 512 512"'),
        (
            '<i class="theme-switch fa-solid fa-sun   fa-lg" data-mode="light" title="L"></i>',
            'class="drawn-icon theme-switch fa-sun fa-lg" data-mode="light" aria-hidden="true"',
        ),
    ],
)
def test_icons_are_drawn_in_the_page(tag: str, drawn: str) -> None:
    found = ICON.fullmatch(tag)
    assert found
    svg = Templates().icon(found["classes"], found["data"] or "")
    assert drawn in svg
    assert re.search(r'<path fill="currentColor" d="M\S.*z"/></svg>$', svg)


def test_an_unknown_icon_fails_the_build() -> None:
    with pytest.raises(ExtensionError, match="no icon fa-no-such-icon"):
        Templates().icon("fa-solid fa-no-such-icon", "")


def test_what_a_page_has_no_use_for_is_left_out() -> None:
    assert not is_used("../_static/scripts/fontawesome.js", "<pre>")
    assert not is_used("../_static/copybutton.js", "<pre>")
    assert is_used("../_static/copybutton.js", '<div class="highlight"><pre>')
    assert is_used("searchindex.js", '<div id="search-results"></div>')
    assert is_used("../_static/book.css", "")


def test_fonts_are_asked_for_at_once_but_not_from_a_file() -> None:
    app: Any = SimpleNamespace(config=SimpleNamespace(preload_fonts=["fonts/a.woff2"]))
    context = {"metatags": "<meta>", "pathto": lambda file, _: f"../{file}"}
    preload_fonts(app, "book/a", "page.html", context, None)
    assert 'crossorigin href="../_static/fonts/a.woff2"' in context["metatags"]
    assert context["metatags"].startswith('<meta><script>if (location.protocol != "file:")')
    app.config.preload_fonts = []
    context["metatags"] = ""
    preload_fonts(app, "book/a", "page.html", context, None)
    assert context["metatags"] == ""


def elements(path: Path, name: str) -> list[Tag]:
    page = BeautifulSoup(path.read_text("utf-8"), "html.parser")
    return [found for found in page.find_all(name) if isinstance(found, Tag)]


@pytest.mark.site
@each_page
def test_page_waits_for_no_script(site: Path, page: str) -> None:
    path = site / f"{page}.html"
    scripts = [script for script in elements(path, "script") if script.get("src")]
    assert len(scripts) > 3
    assert all(script.has_attr("defer") for script in scripts)
    names = " ".join(str(script["src"]) for script in scripts)
    assert ("searchindex.js" in names) == ("searchtools.js" in names) == (page == "search")
    assert "fontawesome" not in path.read_text("utf-8")
    assert not ICON.search(path.read_text("utf-8"))


@pytest.mark.site
@each_page
def test_pictures_keep_their_place(site: Path, page: str) -> None:
    path = site / f"{page}.html"
    pictures = [p for p in elements(path, "img") if not str(p["src"]).startswith("data:")]
    assert all(int(str(p["width"])) > 0 and int(str(p["height"])) > 0 for p in pictures)
    of_cells = [p for p in pictures if "_images/" in str(p["src"])]
    assert not [p["src"] for p in of_cells if str(p["src"]).endswith(".png")]
    assert all(p.get("loading") == "lazy" for p in of_cells[1:])
    assert [p for p in of_cells[:1] if p.get("loading")] == []


@pytest.mark.site
def test_theme_keeps_only_the_icons_it_shows_as_characters(site: Path) -> None:
    css = (site / "_static/styles/pydata-sphinx-theme.css").read_text("utf-8")
    assert "webfonts" not in css
    assert "fa-github" not in css
    assert len(re.findall(r"--pst-icon-[\w-]+:\"", css)) > 10
    (font,) = re.findall(r"url\(data:font/woff;base64,([^)]*)\)", css)
    assert 1_000 < len(font) < 6_000


@pytest.fixture(scope="module")
def host(site: Path) -> Iterator[str]:
    with served(site) as address:
        yield address


@pytest.mark.browser
@pytest.mark.parametrize("page", [*PAGES, "search"])
def test_page_is_light_and_quiet(host: str, browser: "Browser", page: str) -> None:
    seen = visit(browser, host, f"{page}.html")
    limit = OF_PLAYGROUND if page == "book/playground" else OF_TEXT
    assert seen.bytes <= (OF_CHAPTER if page in CHAPTERS else limit), seen.files
    assert all(name.startswith("/") for name in seen.files), "it asks another host"
    assert seen.said == []
    assert f"/{page}.html" in seen.files


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_page_has_its_theme_at_the_first_paint(
    address: str, browser: "Browser", theme: Literal["light", "dark"]
) -> None:
    context = browser.new_context(color_scheme=theme)
    tab = context.new_page()
    tab.route("**/scripts/*.js*", lambda route: route.abort())  # those that come later
    tab.goto(f"{address}/book/notation.html")
    assert tab.evaluate("() => document.documentElement.dataset.theme") == theme
    other = "light" if theme == "dark" else "dark"
    tab.evaluate("theme => localStorage.setItem('mode', theme)", other)
    tab.reload()
    assert tab.evaluate("() => document.documentElement.dataset.theme") == other
    context.close()
