"""Let plain Markdown links reach headings, claims and formulas by their anchors in the built page.

A page may write ``[3.5](03_elbo.ipynb#the-gap-is-a-divergence)``,
``[elbo.tight](claims.md#claim-elbo-tight)``, ``[measured](#check-elbo-trade-off)`` or, where a
paragraph ``<a id="eq-3-4"></a>`` stands before a formula, ``[(3.4)](#eq-3-4)``. MyST follows such a
link only if it knows the anchor; this extension tells it the anchors of all sections, table rows
and cells, and those in raw HTML.
"""

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

ANCHOR = re.compile(r"""<a\s+id=["'](?P<name>[\w.-]+)["']""")


class KnownAnchors(SphinxTransform):
    """Tell MyST the anchors that it does not find by itself."""

    default_priority = 401  # when cells have names (400), before MyST resolves links (879)

    def apply(self, **kwargs: object) -> None:
        """Change the document's record of anchors in place."""
        # MyST fills this dictionary with the slugs of headings: name -> (line, id, title).
        slugs = self.env.metadata[self.env.docname].setdefault("myst_slugs", {})
        self.document.myst_slugs = slugs
        for raw in self.document.findall(nodes.raw):
            for name in ANCHOR.findall(raw.astext()):
                slugs[name] = (0, name, name)
        for kind in (nodes.section, nodes.row, nodes.container):
            for node in self.document.findall(kind):
                for name in node["ids"]:
                    slugs.setdefault(name, (node.line or 0, name, name))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    app.add_transform(KnownAnchors)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
