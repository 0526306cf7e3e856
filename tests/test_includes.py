"""What the pages quote from the package's files is still there."""

import re
from pathlib import Path

import pytest

BOOK = Path(__file__).parents[1] / "book"
INCLUDE = re.compile(r"```\{literalinclude\} (\S+)\n((?::.*\n)*)")
FOUND = [
    (page.name, path, dict(re.findall(r":([a-z-]+): \"?(.*?)\"?\n", options)))
    for page in sorted(BOOK.glob("*.md"))
    for path, options in INCLUDE.findall(page.read_text("utf-8"))
]


def test_some_pages_quote_the_package():
    assert len(FOUND) >= 4


@pytest.mark.parametrize(("page", "path", "options"), FOUND)
def test_quoted_lines_are_there(page, path, options):
    # Catches in seconds what the build of the site finds after minutes.
    text = (BOOK / path).read_text("utf-8")
    if "pyobject" in options:
        assert re.search(rf"^(def|class) {options['pyobject']}\b", text, re.M)
    start, end = options.get("start-at", ""), options.get("end-at", "")
    assert start in text
    assert end in text[text.index(start) :]
