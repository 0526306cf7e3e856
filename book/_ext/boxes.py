"""Tell the style sheets which part of a chapter is which: statements, goals, closer looks.

Chapters are plain Markdown, so the parts are known by what every chapter calls them.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform

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
            # The paragraph before the goals is the question of the chapter.
            before = section.previous_sibling()
            if kind == "goals" and isinstance(before, nodes.paragraph):
                before["classes"].append("question")
        for quote in self.document.findall(nodes.block_quote):
            # Theorems, definitions and observations open in bold; MyST has an empty text before it.
            text = quote.next_node(nodes.TextElement)
            if isinstance(next((part for part in text if part.astext()), None), nodes.strong):
                quote["classes"].append("statement")


class KeptTogether(SphinxPostTransform):
    """Keep a formula in the text on one line with its full stop, comma or bracket.

    A browser may break a line before and after a formula, whatever stands there.
    """

    default_priority = 500
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Change the document in place."""
        for formula in list(self.document.findall(nodes.math)):
            block, at = formula.parent, formula.parent.index(formula)
            before, after = (
                block[i] if 0 <= i < len(block) and isinstance(block[i], nodes.Text) else None
                for i in (at - 1, at + 1)
            )
            opening = re.search(r"[(“]+$", before or "")
            closing = re.match(r"[.,;:?!)’”]+", after or "")
            if not (opening or closing):
                continue
            kept = nodes.inline("", "", classes=["kept"])
            block[at] = kept
            kept += formula
            if closing and after is not None:
                kept += nodes.Text(closing[0])
                block[at + 1] = nodes.Text(after[closing.end() :])
            if opening and before is not None:
                kept.insert(0, nodes.Text(opening[0]))
                block[at - 1] = nodes.Text(before[: opening.start()])


# Contents name what one looks for; "Check it" comes after each derivation.
CHECKS = re.compile(r'<li><a class="reference internal" href="[^"]*">Check it</a></li>\s*')
EMPTY = re.compile(r"<ul>\s*</ul>\s*")


def fewer_entries(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any
) -> None:
    """Leave the checks out of a page's contents."""
    if "toc" in context:
        context["toc"] = EMPTY.sub("", CHECKS.sub("", context["toc"]))


def fewer_stops(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Take the links beside headings out of the keyboard's way: the contents have them as well."""
    if "body" in context:
        context["body"] = context["body"].replace(
            '<a class="headerlink"', '<a class="headerlink" tabindex="-1"'
        )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transforms, the handlers and the style sheets."""
    app.add_transform(Boxes)
    app.add_post_transform(KeptTogether)
    app.connect("html-page-context", fewer_entries)
    app.connect("html-page-context", fewer_stops)
    app.add_css_file("boxes.css", priority=810)  # after book.css
    app.add_css_file("print.css", priority=820, media="print")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
