"""The setup cell of the chapters, run where the package is there, missing, or a stranger's.

It runs in a fresh IPython whose `%pip` only writes down what it is asked for, and, where it is
meant to succeed, puts a package with the book's mark in place.
"""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_tools"))

from setup_cell import release_of, setup_cell  # noqa: E402

URL = "https://github.com/someone/lower-bound"
MARKED = 'BOOK = "The Lower Bound"\n'
PLOTS = "def setup(seed):\n    print('ready', seed)\n"
RUN = """
import json, pathlib, sys
from IPython.core.interactiveshell import InteractiveShell

folder, cell, works, imported = json.loads(sys.argv[1])
# The package of this very repository, installed to be edited, must not be found.
sys.meta_path[:] = [f for f in sys.meta_path if "Editable" not in getattr(f, "__name__", "")]
sys.path[:] = [p for p in sys.path if not pathlib.Path(p, "companion").is_dir()]
sys.path.insert(0, folder)
if imported:
    import companion
shell = InteractiveShell.instance()
calls = []

def pip(line):
    calls.append(line)
    if works and line.startswith("install"):
        package = pathlib.Path(folder, "companion")
        package.mkdir(exist_ok=True)
        for file, text in works.items():
            (package / file).write_text(text, "utf-8")

shell.register_magic_function(pip, "line", "pip")
result = shell.run_cell(cell)
error = result.error_before_exec or result.error_in_exec
found = json.dumps([calls, type(error).__name__, str(error)])
pathlib.Path(folder, "found.json").write_text(found, "utf-8")
"""


def run(
    folder: Path,
    cell: str,
    *,
    package: dict[str, str] | None = None,
    works: dict[str, str] | None = None,
    imported: bool = False,
) -> tuple[list[str], str, str, str]:
    """What the cell asked of pip, the error's type and message, and what was printed."""
    if package:
        (folder / "companion").mkdir()
        for file, text in package.items():
            (folder / "companion" / file).write_text(text, "utf-8")
    argument = json.dumps([str(folder), cell, works, imported])
    command = [sys.executable, "-B", "-c", RUN, argument]
    # IPython keeps a history, which several at once would write to.
    env = {**os.environ, "IPYTHONDIR": str(folder / "ipython")}
    made = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    found: list[Any] = json.loads((folder / "found.json").read_text("utf-8"))
    return found[0], found[1], found[2], made.stdout


OURS = {"__init__.py": MARKED, "plots.py": PLOTS}
STRANGER = {"__init__.py": "from companion import plots\n", "plots.py": "setup = None\n"}
PIP = [
    "uninstall -q -y companion the-lower-bound",
    f'install -q "git+{URL}@v9.8.7"',
]


@pytest.mark.parametrize("url", ["", URL])
def test_the_books_package_is_taken_as_it_is(tmp_path: Path, url: str) -> None:
    calls, error, _, said = run(tmp_path, setup_cell(url, "v9.8.7"), package=OURS)
    assert (calls, error) == ([], "NoneType")
    assert "ready 0" in said


@pytest.mark.parametrize("package", [None, STRANGER, {"notes.txt": "a folder, no package"}])
def test_an_unpublished_book_says_how_to_install_it(
    tmp_path: Path, package: dict[str, str] | None
) -> None:
    calls, error, message, _ = run(tmp_path, setup_cell("", "v9.8.7"), package=package)
    assert (calls, error) == ([], "ModuleNotFoundError")
    assert "pip install -e ." in message


@pytest.mark.parametrize("package", [None, STRANGER, {"__init__.py": "1 / 0"}])
def test_a_published_book_is_installed_at_its_tag(
    tmp_path: Path, package: dict[str, str] | None
) -> None:
    # A stranger's package may fail when it is imported: it must not be.
    calls, error, _, said = run(tmp_path, setup_cell(URL, "v9.8.7"), package=package, works=OURS)
    assert (calls, error) == (PIP, "NoneType")
    assert "ready 0" in said


def test_a_strangers_package_that_is_in_use_gives_way(tmp_path: Path) -> None:
    _, error, _, said = run(
        tmp_path, setup_cell(URL, "v9.8.7"), package=STRANGER, works=OURS, imported=True
    )
    assert error == "NoneType"
    assert "ready 0" in said


@pytest.mark.parametrize("package", [None, STRANGER])
def test_a_failure_of_pip_is_noticed(tmp_path: Path, package: dict[str, str] | None) -> None:
    # `%pip` raises nothing when a clone fails.
    calls, error, message, _ = run(tmp_path, setup_cell(URL, "v9.8.7"), package=package)
    assert (calls, error) == (PIP, "ModuleNotFoundError")
    for part in (URL, "v9.8.7", "restart the kernel"):
        assert part in message


def test_the_mark_is_the_packages_own() -> None:
    import companion

    assert companion.BOOK == "The Lower Bound"
    assert MARKED in Path(str(companion.__file__)).read_text("utf-8")
    assert MARKED.strip() in setup_cell()


def test_the_tag_is_that_of_the_version(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n', "utf-8")
    assert release_of(tmp_path) == "v1.2.3"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert f'\nRELEASE = "v{project["version"]}"' in setup_cell()
    assert f'\nREPOSITORY = "{URL}"' in setup_cell(URL)
