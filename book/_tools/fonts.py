"""Make the fonts of the page from npm's: the letters and weights that the book uses, no more.

The families are Source Serif 4 for text, Source Sans 3 for headings and the interface, and Source
Code Pro. What the packages hold weighs twice as much as the book needs: it goes from weight 200 to
900 and has small capitals, fractions and accents of forty languages. Which files there are, and
which letters each one has, is what ``_static/book.css`` says.
"""

import re
from io import BytesIO
from pathlib import Path

from fontTools import subset  # type: ignore[import-untyped]
from fontTools.ttLib import TTFont  # type: ignore[import-untyped]
from fontTools.varLib import instancer  # type: ignore[import-untyped]

TOOLS = Path(__file__).resolve().parent
SOURCE = TOOLS / "node_modules" / "@fontsource-variable"
STATIC = TOOLS.parent / "_static"

WEIGHTS = (400, 700)
FEATURES = ["ccmp", "kern", "liga", "locl", "mark", "mkmk", "tnum"]
FACE = re.compile(
    r'url\("fonts/(?P<file>(?P<family>[\w-]+)-(?P<script>\w+)-(?P<style>\w+)\.woff2)"\)'
    r"[^}]*unicode-range: (?P<letters>[^;]*);"
)


def make_fonts() -> None:
    """Write the fonts of the page, such as ``source-serif-4-latin-normal.woff2``."""
    target = STATIC / "fonts"
    target.mkdir(parents=True, exist_ok=True)
    for face in FACE.finditer((STATIC / "book.css").read_text("utf-8")):
        family = SOURCE / face["family"]
        source = family / "files" / f"{family.name}-{face['script']}-wght-{face['style']}.woff2"
        (target / face["file"]).write_bytes(smaller(source, subset.parse_unicodes(face["letters"])))
        (target / f"{family.name}-LICENSE.txt").write_bytes((family / "LICENSE").read_bytes())


def smaller(source: Path, letters: list[int]) -> bytes:
    """A variable font with these letters alone, those it has, and with the weights of the book."""
    font = TTFont(source)
    options = subset.Options(layout_features=FEATURES, hinting=False, notdef_outline=True)
    kept = subset.Subsetter(options)
    kept.populate(unicodes=letters)
    kept.subset(font)
    instancer.instantiateVariableFont(font, {"wght": WEIGHTS}, inplace=True)
    font.flavor = "woff2"
    made = BytesIO()
    font.save(made)
    return made.getvalue()


if __name__ == "__main__":
    make_fonts()
