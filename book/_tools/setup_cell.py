"""The setup cell, the same in all chapters. `make repository URL=…` fills in the address."""

import re
from pathlib import Path

import yaml

TAGS = ["setup", "hide-input"]
SETUP_CELL = """\
from importlib.util import find_spec

REPOSITORY = ""  # filled in everywhere by `make repository URL=https://github.com/OWNER/NAME`
if find_spec("companion") is None:  # on Colab, say
    if not REPOSITORY:
        raise ModuleNotFoundError(
            "The package `companion` is not installed. In a clone of the book run "
            "`pip install -e .`; to open chapters on Colab, run "
            "`make repository URL=https://github.com/OWNER/NAME` once and push the result."
        )
    %pip install -q "git+{REPOSITORY}"

from companion import plots

plots.setup(seed=0)  # random numbers, threads, the style of figures"""

ADDRESS = re.compile(r'^REPOSITORY = ".*?"', re.MULTILINE)


def repository_of(root: Path) -> str:
    """The address in ``_config.yml``, or nothing while the book is not published."""
    config = yaml.safe_load((root / "_config.yml").read_text("utf-8"))
    return str(config.get("repository", {}).get("url", ""))


def setup_cell(repository: str = "") -> str:
    """The cell's source for a repository at this address, or for one not yet published."""
    return ADDRESS.sub(f'REPOSITORY = "{repository}"', SETUP_CELL)
