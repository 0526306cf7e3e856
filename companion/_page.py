"""What parts of a published page have in common: numbers, captions, and whether there is a page."""

import html
import os


def in_page() -> bool:
    """Tell whether the book is built: then what a cell shows is a part of the page."""
    return os.environ.get("COMPANION_EXPLORE") == "page"


def captioned(number: str, caption: str) -> str:
    """Return the HTML below a figure; nothing where there is nothing to say."""
    name = f'<span class="figure-number">Figure {number}</span> ' if number else ""
    return f"<figcaption>{name}{html.escape(caption)}</figcaption>" if number or caption else ""


def anchor(number: str) -> str:
    """Return the name that links to a figure: ``fig-3-2``."""
    return f"fig-{number.replace('.', '-')}"
