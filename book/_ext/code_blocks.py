"""Let code fit the page: what wraps hangs under its own line, and print-outs shrink before that.

Style sheets can do both, once they know what only the text tells: where a long line starts, and
how wide the widest one is.
"""

import re
from html import unescape
from typing import Any

from sphinx.application import Sphinx

BLOCK = re.compile(r"<pre>(?P<code>(?:(?!</?pre).)*)</pre>", re.DOTALL)
TAG = re.compile(r"<[^>]*>")
# No line of fewer columns wraps on a phone.
SHORT = 38
# Two lines or more with gaps inside are a table, which must not wrap; verdicts are sentences.
GAP = re.compile(r"\S {2,}\S")
VERDICT = ("✓ ", "✗ ")


def fit(html: str) -> str:
    """Mark the long lines of each highlighted block, and say how many columns the block has.

    The tags that highlight a line open and close on it, so a line can be wrapped as it stands.
    """
    return BLOCK.sub(_block, html)


def _block(match: re.Match[str]) -> str:
    lines = match["code"].removeprefix("<span></span>").split("\n")
    texts = [unescape(TAG.sub("", line)) for line in lines]
    columns = max(map(len, texts))
    if columns <= SHORT:
        return match[0]
    marked = ""
    for line, text, end in zip(lines, texts, ["\n"] * (len(lines) - 1) + [""], strict=True):
        if len(text) > SHORT:
            indent = len(text) - len(text.lstrip(" "))
            marked += f'<span class="long" style="--at:{indent}">{line}{end}</span>'
        else:
            marked += line + end
    rows = sum(bool(GAP.search(text)) for text in texts)
    is_table = rows > 1 and not any(text.startswith(VERDICT) for text in texts)
    table = ' class="table-like"' if is_table else ""
    return f'<pre{table} style="--columns:{columns}">{marked}</pre>'


def fit_page(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Change the body of a page."""
    if "body" in context:
        context["body"] = fit(context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the handler."""
    app.connect("html-page-context", fit_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
