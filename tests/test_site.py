"""The built site as files: nothing missing, nothing from elsewhere, and failures that last."""

import gzip
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup, Tag

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from claims import checks_of_chapter, claims_of_tests, read_claims, toc_pages  # noqa: E402

pytestmark = pytest.mark.site

PAGES = toc_pages(ROOT)
PAGE_BYTES = 2_500_000
LOADED = ("src", "srcset", "poster", "data-src")
# Elements whose href a browser fetches by itself; an <a> waits for a click.
FETCHING_LINKS = {"stylesheet", "preload", "icon", "modulepreload", "prefetch", "preconnect"}

each_page = pytest.mark.parametrize("page", PAGES)


@cache
def parsed(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text("utf-8"), "html.parser")


def elements(path: Path, *names: str) -> list[Tag]:
    return [found for found in parsed(path).find_all(names or True) if isinstance(found, Tag)]


@each_page
def test_page_exists_and_is_small(site: Path, page: str) -> None:
    path = site / f"{page}.html"
    assert path.is_file()
    pictures = {unquote(str(img["src"])) for img in elements(path, "img")}
    files = [path.parent / name for name in pictures if not name.startswith("data:")]
    size = path.stat().st_size + sum(file.stat().st_size for file in files)
    assert size <= PAGE_BYTES, f"{size:,} bytes with its pictures"


def test_first_page_is_where_a_browser_looks(site: Path) -> None:
    assert PAGES[0] in (site / "index.html").read_text("utf-8")


def test_no_page_loads_from_another_host(site: Path) -> None:
    outside = re.compile(r"^\s*(https?:)?//", re.I)
    for path in site.rglob("*.html"):
        for element in elements(path):
            for attribute in LOADED:
                assert not outside.match(str(element.get(attribute, ""))), f"{path}: {element}"
            kinds = set(element.get_attribute_list("rel"))
            if element.name == "link" and kinds & FETCHING_LINKS:
                assert not outside.match(str(element["href"])), f"{path}: {element}"
    for path in site.rglob("*.css"):
        found = re.findall(
            r"url\(\s*['\"]?(?:https?:)?//[^)]*|@import[^;]*//", path.read_text("utf-8")
        )
        assert not found, f"{path}: {found}"


@each_page
def test_files_that_the_page_loads_are_there(site: Path, page: str) -> None:
    path = site / f"{page}.html"
    links = [e for e in elements(path, "link") if FETCHING_LINKS & set(e.get_attribute_list("rel"))]
    # A browser asks for the icon at a time of its own, so that no test in one can wait for it.
    assert any("icon" in link.get_attribute_list("rel") for link in links)
    loaded = [e["src"] for e in elements(path, "img", "script") if e.get("src")]
    for file in [*loaded, *(link["href"] for link in links)]:
        address = urlsplit(str(file))
        assert address.scheme or (path.parent / unquote(address.path)).is_file(), file


def test_links_and_anchors_resolve(site: Path) -> None:
    missing = []
    for page in PAGES:
        path = site / f"{page}.html"
        for link in elements(path, "a"):
            address = urlsplit(str(link.get("href", "")))
            if address.scheme or address.netloc:
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            if not target.is_file():
                missing.append(f"{page}: {link.get('href')}")
            elif address.fragment and target.suffix == ".html":
                name = unquote(address.fragment)
                if parsed(target).find(id=name) is None:
                    missing.append(f"{page}: {link.get('href')}")
    assert not missing, "\n".join(missing)


@each_page
def test_pictures_have_alternative_text(site: Path, page: str) -> None:
    for picture in elements(site / f"{page}.html", "img"):
        assert len(str(picture.get("alt", ""))) > 10, str(picture)[:300]
    for picture in parsed(site / f"{page}.html").select("[role=img]"):
        assert len(str(picture.get("aria-label", ""))) > 30, str(picture)[:300]
    names = [str(e["id"]) for e in elements(site / f"{page}.html") if e.get("id")]
    assert len(set(names)) == len(names), {n for n in names if names.count(n) > 1}
    for explorer in elements(site / f"{page}.html", "figure"):
        for control in explorer.find_all("input"):
            named = parsed(site / f"{page}.html").find("label", {"for": control.get("id", "none")})
            assert named or control.find_parent("label"), str(control)


def gzipped(text: str) -> int:
    return len(gzip.compress(text.encode()))


@each_page
def test_figures_have_numbers_and_captions_and_are_light(site: Path, page: str) -> None:
    """A figure travels in a few kilobytes, an explorer in less than its pictures once took."""
    figures = parsed(site / f"{page}.html").select("figure.figure, figure.explorer")
    for figure in figures:
        if re.search(r"/a?\d", page):  # a chapter, or an appendix
            number = figure.select_one("figcaption .figure-number")
            assert number is not None, str(figure)[:200]
            assert figure["id"] == f"fig-{number.get_text().split()[1].replace('.', '-')}"
        limit = 60_000 if "explorer" in figure.get_attribute_list("class") else 30_000
        assert gzipped(str(figure)) < limit, f"{figure.get('id')}: {gzipped(str(figure)):,} bytes"
    assert sum(gzipped(str(figure)) for figure in figures) < 250_000


@each_page
def test_page_holds_no_widget_and_no_error(site: Path, page: str) -> None:
    text = (site / f"{page}.html").read_text("utf-8")
    for forbidden in ("application/vnd.jupyter.widget", "require.js", "cell_output traceback"):
        assert forbidden not in text


def test_claims_link_to_the_cells_that_show_them(site: Path) -> None:
    page = site / "book" / "claims.html"
    for claim in read_claims(ROOT):
        row = parsed(page).find(id=claim.row_anchor)
        assert isinstance(row, Tag)
        assert claim.id in row.get_text()
        if claim.chapter == "how_figures_work":
            assert row.find("a", string="how it is tested")
        elif f"book/{claim.chapter}" in PAGES:
            link = row.find("a", string="see it checked")
            assert isinstance(link, Tag), f"{claim.id} has no link to a cell"
            cell = parsed(site / f"book/{claim.chapter}.html").find(id=claim.cell_anchor)
            assert isinstance(cell, Tag)
            # A cell that shows several claims carries the later ones' anchors in spans at its top.
            holder = cell.parent if cell.name == "span" else cell
            assert isinstance(holder, Tag)
            assert "cell" in holder.get_attribute_list("class")
            back = holder.select(f'p.check-claim a[href$="#{claim.row_anchor}"]')
            assert back, f"the cell that shows {claim.id} has no link to it"
        else:
            assert "planned" in row.get_text()


def test_ledger_shows_numbers_section_code_and_tests(site: Path) -> None:
    page, tests = parsed(site / "book" / "claims.html"), claims_of_tests(ROOT)
    with_code = 0
    landed = [claim for claim in read_claims(ROOT) if f"book/{claim.chapter}" in PAGES]
    for claim in landed:
        row = page.find(id=claim.row_anchor)
        assert isinstance(row, Tag)
        addresses = [str(a["href"]) for a in row.find_all("a")]
        for test in tests[claim.id]:
            assert test.partition("::")[2] in row.get_text()
        if claim.chapter == "how_figures_work":  # by tests in a browser, without a cell
            continue
        (numbers,) = row.find_all("pre")
        for check in checks_of_chapter(ROOT / "book" / f"{claim.chapter}.ipynb"):
            if claim.id in check.claims:
                assert check.output in numbers.get_text()
                assert f"{claim.chapter}.html#{check.section.anchor}" in addresses
        code = [a for a in addresses if re.match(r"api_\w+\.html#companion\.", a)]
        assert len(code) <= 4
        with_code += bool(code)
    assert with_code > len(landed) / 2


def test_places_of_the_reading_notes_are_on_the_built_pages(site: Path) -> None:
    table = (ROOT / "tests" / "README.md").read_text("utf-8").split("## Mistakes")[0]
    places = re.findall(r"`([\w-]+)#([\w-]+)`", table)
    assert len(places) > 40
    for page, anchor in places:
        assert parsed(site / "book" / f"{page}.html").find(id=anchor), f"{page}#{anchor}"


def test_package_pages_list_every_public_name_once(site: Path) -> None:
    from importlib import import_module

    pages = [parsed(path) for path in sorted(site.glob("book/api_*.html"))]
    files = [f for f in (ROOT / "companion").rglob("*.py") if "exercises" not in f.parts]
    for path in files:
        if path.stem.startswith("_"):
            continue
        module = import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        own = [v for v in vars(module).values() if getattr(v, "__module__", "") == module.__name__]
        for name in (v.__name__ for v in own if inspect.getdoc(v) and v.__name__[0] != "_"):
            anchor = f"{module.__name__}.{name}"
            found = sum(len(page.select(f'[id="{anchor}"]')) for page in pages)
            assert found == 1, f"{anchor} stands {found} times on the pages api_*.md"


# --- a build that fails, fails again --------------------------------------------------------------

INDEX = """\
---
file_format: mystnb
kernelspec: {name: python3, display_name: Python 3}
---

# Book

<a id="eq-1-1"></a>

$$
\\begin{aligned}
a &= b \\\\
&= c
\\end{aligned} \\tag{1.1}
$$

See [(1.1)](#eq-1-1).

"""
CELL = "```{code-cell} ipython3\nfrom companion import VALUE\nprint(VALUE)\n```\n"


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A tiny book with this book's configuration and tools; call it to build."""
    for folder in ("_ext", "_root", "_static", "_tools"):
        shutil.copytree(
            ROOT / "book" / folder,
            tmp_path / "book" / folder,
            ignore=shutil.ignore_patterns("node_modules", "__pycache__"),
        )
    modules = Path("book", "_tools", "node_modules")
    (tmp_path / modules).symlink_to(ROOT / modules)
    shutil.copy(ROOT / "_config.yml", tmp_path)
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nparts:\n- caption: Part\n  chapters:\n"
        "  - file: book/other\n"
    )
    (tmp_path / "book" / "other.md").write_text("# Other\n\nSee [(1.1)](index.md#eq-1-1).\n")
    (tmp_path / "requirements.lock").write_text("")
    (tmp_path / "companion").mkdir()
    (tmp_path / "companion" / "__init__.py").write_text("VALUE = 41\n")

    def run(index: str, value: int = 41) -> subprocess.CompletedProcess[str]:
        (tmp_path / "book" / "index.md").write_text(INDEX + index)
        (tmp_path / "companion" / "__init__.py").write_text(f"VALUE = {value}\n")
        return subprocess.run(
            [sys.executable, "book/_tools/build.py"],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    "broken",
    [
        "[nowhere](nowhere.md)\n",
        "$\\frac{1}{$\n",
        "```{code-cell} ipython3\n1 / 0\n```\n",
        "```{code-cell} ipython3\nimport sys\nprint('oops', file=sys.stderr)\n```\n",
    ],
    ids=["link", "formula", "failing cell", "warning of a cell"],
)
def test_broken_book_fails_twice(
    build: Callable[..., subprocess.CompletedProcess[str]], broken: str
) -> None:
    for _ in range(2):
        made = build(broken)
        assert made.returncode != 0, made.stdout + made.stderr
        assert "The book was not built" in made.stderr


def test_change_in_the_package_runs_the_chapters_again(
    build: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    page = tmp_path / "_build" / "html" / "book" / "index.html"
    first = build(CELL)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "ran index.md" in first.stdout
    assert "Built 2 pages" in first.stdout
    assert ">41" in page.read_text("utf-8")
    again = build(CELL)
    assert again.returncode == 0, again.stderr
    assert not [line for line in again.stdout.splitlines() if line.startswith("ran ")]
    changed = build(CELL, value=42)
    assert changed.returncode == 0, changed.stderr
    assert "ran index.md" in changed.stdout
    assert ">42" in page.read_text("utf-8")


def test_page_that_is_listed_and_missing_fails(
    build: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "book" / "other.md").unlink()
    made = build("")
    assert made.returncode != 0
    assert "The book was not built" in made.stderr
