"""What the world outside sees of a page: its title, a description, a card for social networks.

The description is the page's first paragraph: in a chapter, the question that it answers. Cards
and the page "not found" need the site's full address, ``html_baseurl``; they wait until it is set.
"""

import re
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

TEMPLATES = Path(__file__).parent / "templates"
CARD = "_static/card.png"
LONGEST = 300  # characters of a description
# Pages without a source.
TITLES = {"404": "Not found", "search": "Search", "genindex": "Index", "py-modindex": "Modules"}

# As much TeX as first paragraphs have.
SIGNS = {
    r"\varphi": "φ",
    r"\theta": "θ",
    r"\beta": "β",
    r"\mid": "|",
    r"\log": "log",
    r"\mathcal{N}": "N",
}


def description_of(document: nodes.document) -> str:
    """The first paragraph of a page, as plain text of at most `LONGEST` characters."""
    section = document.next_node(nodes.section)
    first = section and next((p for p in section.children if isinstance(p, nodes.paragraph)), None)
    if first is None:
        return ""
    copy = first.deepcopy()
    for formula in copy.findall(nodes.math):
        formula.children = [nodes.Text(plain(formula.astext()))]
    text = " ".join(copy.astext().split())
    if len(text) <= LONGEST:
        return text
    whole = re.match(rf".{{60,{LONGEST - 1}}}[.?!](?= )", text)
    return whole[0] if whole else text[: LONGEST - 1].rsplit(" ", 1)[0] + "…"


def plain(tex: str) -> str:
    """A short formula in plain letters."""
    for sign, letter in SIGNS.items():
        tex = re.sub(re.escape(sign) + r"(?![a-zA-Z])\s*", f"{letter} ", tex)
    tex = re.sub(r"[\\{}_]", "", tex)
    return re.sub(r" +(?=[()|,])|(?<=[(|]) +", "", tex).strip()


def describe(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any) -> str:
    """Add title and tags to a page; answer which template to use."""
    book = app.config.html_title
    title = TITLES.get(page) or re.sub(r"<[^>]*>", "", context.get("title") or "")
    context["full_title"] = book if title in ("", book) else f"{title} · {book}"
    context["inherited"] = template
    base = app.config.html_baseurl
    text = description_of(tree) if tree else ""
    tags = {
        "description": text,
        "twitter:card": "summary_large_image" if base else "summary",
        "og:title": title or book,
        "og:description": text,
        "og:type": "website" if page == app.config.root_doc else "article",
        "og:site_name": book,
    }
    if base:
        tags |= {
            "og:url": urljoin(base, f"{page}{context['file_suffix']}"),
            "og:image": urljoin(base, CARD),
            "og:image:alt": "A bell curve above a line, the sign of The Lower Bound",
        }
    made = "".join(
        f'\n    <meta {"property" if name.startswith("og:") else "name"}="{name}"'
        f' content="{escape(content)}" />'
        for name, content in tags.items()
        if content
    )
    # Not found is a page for any address, so its links start from the site's.
    start = f'\n    <base href="{escape(base)}" />' if base and page == "404" else ""
    context["metatags"] = start + context.get("metatags", "") + made
    return "whole_page.html"


def configure(app: Sphinx, config: Config) -> None:
    """Make known the templates, the page for what is not found, and what the search counts."""
    config.templates_path = [str(TEMPLATES), *config.templates_path]  # before the theme's
    config.html_additional_pages = {**config.html_additional_pages, "404": "404.html"}
    config.html_search_scorer = str(TEMPLATES.parents[1] / "_static" / "scorer.js")
    if config.html_baseurl and not config.html_baseurl.endswith("/"):
        config.html_baseurl += "/"  # else the last part would be cut off


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the handlers; the first answers before others that name a template."""
    app.connect("config-inited", configure)
    app.connect("html-page-context", describe, priority=950)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
