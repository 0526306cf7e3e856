"""Let plain Markdown links reach headings and claims by the anchors that the built page gives them.

A page may write ``[3.5](03_elbo.ipynb#the-gap-is-a-divergence)`` or
``[elbo.tight](claims.md#claim-elbo-tight)``. MyST follows such a link only if it knows the anchor;
this extension tells it the anchors of all sections and table rows.
"""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


class KnownAnchors(SphinxTransform):
    """Tell MyST the anchors of sections and rows."""

    default_priority = 401  # with those of formulas, before MyST resolves links (879)

    def apply(self, **kwargs: object) -> None:
        """Change the document's record of anchors in place."""
        slugs = self.env.metadata[self.env.docname].setdefault("myst_slugs", {})
        self.document.myst_slugs = slugs
        for kind in (nodes.section, nodes.row):
            for node in self.document.findall(kind):
                for name in node["ids"]:
                    slugs.setdefault(name, (node.line or 0, name, name))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    app.add_transform(KnownAnchors)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
