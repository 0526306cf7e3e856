"""The setup cell, the same in all chapters. `make repository URL=…` fills in the address.

It takes the book's package where it is installed. Where it is missing, or where a stranger's
package has its name, it installs the release that the chapter belongs to, looks whether that
worked (`%pip` raises nothing when it fails), and says what to do if not.
"""

import re
import tomllib
from pathlib import Path
from typing import Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
TAGS = ["setup", "hide-input"]
SETUP_CELL = '''\
import sys
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path

REPOSITORY = ""  # filled in everywhere by `make repository URL=https://github.com/OWNER/NAME`
RELEASE = ""  # the tag that this chapter belongs to


def book_is_installed():
    """Look for the mark of the book's package: a stranger's has the same name."""
    invalidate_caches()
    found = find_spec("companion")
    source = Path((found and found.origin) or "")
    return (
        source.is_file()
        and b'BOOK = "The Lower Bound"' in source.read_bytes()
    )


if not book_is_installed():  # on Colab, say
    if not REPOSITORY:
        raise ModuleNotFoundError(
            "The book's package `companion` is not installed. In a clone of the book run "
            "`pip install -e .`; to open chapters on Colab, run "
            "`make repository URL=https://github.com/OWNER/NAME` once and push the result."
        )
    %pip uninstall -q -y companion the-lower-bound
    %pip install -q "git+{REPOSITORY}@{RELEASE}"
    for module in [
        name for name in sys.modules if name.split(".")[0] == "companion"
    ]:
        del sys.modules[module]  # the stranger's
    if not book_is_installed():
        raise ModuleNotFoundError(
            f"The book's package was not installed; pip says above why. Look whether {REPOSITORY} "
            f"opens and has the tag {RELEASE}, restart the kernel, and run this cell again. It "
            "needs git, a network, and Python 3.11 or newer."
        )

from companion import plots

plots.setup(seed=0)  # random numbers, threads, the style of figures'''


def repository_of(root: Path) -> str:
    """The address in ``_config.yml``, or nothing while the book is not published."""
    config = yaml.safe_load((root / "_config.yml").read_text("utf-8"))
    return str(config.get("repository", {}).get("url", ""))


def release_of(root: Path) -> str:
    """The tag of the version in ``pyproject.toml``, such as ``v0.1.0``."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    return f"v{project['version']}"


def setup_cell(repository: str = "", release: str = "") -> str:
    """The cell's source for a repository at this address, or for one not yet published.

    Without a release it is that of ``pyproject.toml``.
    """
    values = {"REPOSITORY": repository, "RELEASE": release or release_of(ROOT)}
    return re.sub(
        r'^(REPOSITORY|RELEASE) = ""',
        lambda line: f'{line[1]} = "{values[line[1]]}"',
        SETUP_CELL,
        flags=re.MULTILINE,
    )
