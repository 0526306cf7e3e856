"""The table in ``tests/README.md`` that says where the book treats each heading of the notes."""

import json
import re
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from claims import headings, toc_pages  # noqa: E402

TABLE = re.search(
    r"^\| heading of the notes .*\n\|[-|]+\n((?:\|.*\n)+)",
    (ROOT / "tests" / "README.md").read_text("utf-8"),
    re.MULTILINE,
)
assert TABLE is not None, "tests/README.md has no table of headings"
ROWS = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in TABLE[1].splitlines()]
TARGETS = [tuple(target.split("#")) for _, where in ROWS for target in re.findall("`(.+?)`", where)]
HEADINGS = 43  # of the notes


@cache
def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, and those that it writes itself."""
    notebook, text = ROOT / "book" / f"{page}.ipynb", ROOT / "book" / f"{page}.md"
    if notebook.is_file():
        cells = json.loads(notebook.read_text("utf-8"))["cells"]
        texts = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
    else:
        texts = [text.read_text("utf-8")]
    written = {name for text in texts for name in re.findall(r'<a id="([\w-]+)">', text)}
    return written | {heading.anchor for part in headings(texts) for heading in part}


def test_every_heading_has_one_row_and_a_place() -> None:
    assert len(ROWS) == HEADINGS
    assert len({heading for heading, _ in ROWS}) == HEADINGS
    for heading, where in ROWS:
        assert re.fullmatch(r"`[\w-]+#[\w-]+`(, `[\w-]+#[\w-]+`)*", where), heading


@pytest.mark.parametrize(("page", "anchor"), TARGETS)
def test_the_place_exists(page: str, anchor: str) -> None:
    assert f"book/{page}" in toc_pages(ROOT), f"{page} is no page of the book"
    assert anchor in anchors(page), f"{page} has the anchors {', '.join(sorted(anchors(page)))}"


def test_anchors_are_those_of_the_built_page() -> None:
    texts = ["# 3 The bound\n\n## 3.1 For every $q$\n", "### Check it\n", "### Check it\n"]
    assert [[h.anchor for h in part] for part in headings(texts)] == [
        ["the-bound", "for-every-q"],
        ["check-it"],
        [""],
    ]
