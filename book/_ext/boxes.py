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


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform and the style sheets."""
    app.add_transform(Boxes)
    app.add_css_file("boxes.css", priority=810)  # after book.css
    app.add_css_file("print.css", priority=820, media="print")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
