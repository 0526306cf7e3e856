"""Every page, light and dark, on a laptop and on a phone, has no violation that axe-core knows."""

import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from conftest import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from claims import toc_pages  # noqa: E402

pytestmark = pytest.mark.browser

AXE = ROOT / "book" / "_tools" / "node_modules" / "axe-core" / "axe.min.js"
PAGES = [*toc_pages(ROOT), "search", "genindex", "py-modindex", "404"]
# All rules by day; what night changes is colours.
RULES: "dict[Literal['light', 'dark'], dict[str, list[str]]]" = {
    "light": {},
    "dark": {"runOnly": ["color-contrast", "link-in-text-block"]},
}
WIDTHS = (1280, 390)
# Of each element that breaks one, where it is and what is wrong with it.
VIOLATIONS = """async rules =>
  (await axe.run({resultTypes: ["violations"], ...rules})).violations.flatMap(
  rule => rule.nodes.map(node => `${rule.id}: ${node.target.join(" ")}: ${node.html.slice(0, 150)}`)
)"""


@pytest.fixture
def tab(browser: "Browser") -> "Iterator[Page]":
    # A tab for each page: one that has seen fifty pages runs out of memory. And what moves by
    # itself would be measured halfway.
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    yield page
    context.close()


@pytest.mark.parametrize("page", PAGES)
def test_page_is_accessible(tab: "Page", address: str, page: str) -> None:
    found = []
    for (theme, rules), width in product(RULES.items(), WIDTHS):
        tab.set_viewport_size({"width": width, "height": 844})
        tab.emulate_media(color_scheme=theme)
        tab.goto(f"{address}/{page}.html")
        tab.evaluate("() => document.fonts.ready")
        assert tab.evaluate("() => document.documentElement.dataset.theme") == theme
        tab.add_script_tag(path=AXE)
        found += [f"{theme}, {width} px: {one}" for one in tab.evaluate(VIOLATIONS, rules)]
    assert not found, "\n".join(found)
