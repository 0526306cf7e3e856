"""Offer Colab on the chapters alone: it opens notebooks, and no page written as text."""

from typing import Any

from sphinx.application import Sphinx


def chapters_only(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any
) -> None:
    """Take the launch button off a page whose source is no notebook."""
    if page in app.env.found_docs and not str(app.env.doc2path(page)).endswith(".ipynb"):
        buttons = context.get("header_buttons", [])
        context["header_buttons"] = [b for b in buttons if b.get("label") != "launch-buttons"]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the handler, after the theme's."""
    app.connect("html-page-context", chapters_only, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
