r"""Make numbered formulas and links to them work in the built page as they do in JupyterLab.

Chapters write a numbered formula in plain Markdown: a paragraph ``<a id="eq-3-4"></a>``, then
``$$ … \tag{3.4} $$``. Two things in the build stand against it, and this extension mends both.
Sphinx puts a formula of several lines into a ``split`` environment, where ``\tag`` is an error.
And MyST does not know raw HTML anchors, so it warns of each link to one.
"""

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

ANCHOR = re.compile(r"""<a\s+id=["'](?P<name>[\w.-]+)["']""")


class PlainEquations(SphinxTransform):
    """Hand formulas to MathJax as they are written, and tell MyST the names of raw anchors."""

    default_priority = 400  # before MyST resolves links to anchors (879)

    def apply(self, **kwargs: object) -> None:
        """Change the document in place."""
        for formula in self.document.findall(nodes.math_block):
            formula["nowrap"] = True
            text = rf"\[{formula.astext()}\]"
            formula.children = [nodes.Text(text)]

        # MyST fills this dictionary with the slugs of headings: name -> (line, id, title).
        slugs = self.env.metadata[self.env.docname].setdefault("myst_slugs", {})
        self.document.myst_slugs = slugs
        for raw in self.document.findall(nodes.raw):
            for match in ANCHOR.finditer(raw.astext()):
                name = match["name"]
                slugs[name] = (0, name, name)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    app.add_transform(PlainEquations)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
