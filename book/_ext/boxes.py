"""Tell the style sheets which part of a chapter is which: statements, goals, closer looks.

Chapters are plain Markdown, so the parts are known by what every chapter calls them.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

SECTIONS = {
    "What you will be able to do": "goals",
    "Before you start": "before",
    "A closer look": "closer-look",
    "What to remember": "remember",
}


class Boxes(SphinxTransform):
    """Give sections and block quotes the classes that make boxes of them."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        """Change the document in place."""
        for section in self.document.findall(nodes.section):
            if kind := SECTIONS.get(section[0].astext()):
                section["classes"].append(kind)
        for quote in self.document.findall(nodes.block_quote):
            # Theorems, definitions and observations open in bold.
            if isinstance(quote.next_node(nodes.TextElement).children[0], nodes.strong):
                quote["classes"].append("statement")


def fewer_stops(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Take the links beside headings out of the keyboard's way: the contents have them as well."""
    if "body" in context:
        context["body"] = context["body"].replace(
            '<a class="headerlink"', '<a class="headerlink" tabindex="-1"'
        )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform, the handler and the style sheets."""
    app.add_transform(Boxes)
    app.connect("html-page-context", fewer_stops)
    app.add_css_file("boxes.css", priority=810)  # after book.css
    app.add_css_file("print.css", priority=820, media="print")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
