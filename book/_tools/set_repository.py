"""Tell the whole book where its repository is: ``make repository URL=https://github.com/OWNER/NAME``.

Writes the address into ``_config.yml`` (links and launch buttons), into the setup cell of every
chapter (what Colab installs), into the README (badges) and into ``CITATION.cff``. ``URL=none``
takes it out again.

Colab opens a chapter at the tag of the release, ``v`` and the version in ``pyproject.toml``, and
installs the package at the same tag: so a chapter never meets the code of another.
"""

import argparse
import re
import sys
from pathlib import Path

import nbformat
from setup_cell import release_of, setup_cell

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = re.compile(r"https://github\.com/(?P<name>[A-Za-z0-9][\w-]*/[\w.-]*\w)")
# What stands between these lines, in each of the FILES, is ours to write.
BEGIN, END = "begin: make repository", "end: make repository"

CONFIG = """\
repository:
  url: {url}
  branch: {release}
launch_buttons:
  notebook_interface: jupyterlab
  colab_url: https://colab.research.google.com
"""
README = """\
[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]\
(https://colab.research.google.com/github/{name}/blob/{release}/book/01_big_picture.ipynb)
[![CI]({url}/actions/workflows/ci.yml/badge.svg)]({url}/actions/workflows/ci.yml)
"""
CITATION = """\
repository-code: {url}
"""
FILES = {"_config.yml": CONFIG, "README.md": README, "CITATION.cff": CITATION}


def checked(address: str) -> str:
    """The address without a slash or ``.git`` at its end; nothing for "none".

    Raises:
        ValueError: if it is no address of a repository on GitHub, from where alone Colab opens.
    """
    url = address.strip().removesuffix("/").removesuffix(".git")
    if url == "none":
        return ""
    if not ADDRESS.fullmatch(url):
        raise ValueError(
            f"URL={address!r} is not the address of a repository on GitHub; "
            "write make repository URL=https://github.com/OWNER/NAME"
        )
    return url


def set_repository(root: Path, address: str) -> list[Path]:
    """Write the address everywhere below ``root``; return the files that changed."""
    url = checked(address)
    name = url.removeprefix("https://github.com/")
    release = release_of(ROOT)
    changed = []
    for file, text in FILES.items():
        block = text.format(url=url, name=name, release=release) if url else ""
        path = root / file
        changed += replaced(path, between_marks(path.read_text("utf-8"), block))
    for path in sorted(root.glob("book/*.ipynb")):
        notebook = nbformat.read(path, nbformat.NO_CONVERT)
        for cell in notebook.cells:
            if "setup" in cell.metadata.get("tags", []):
                cell.source = setup_cell(url, release)
        changed += replaced(path, nbformat.writes(notebook) + "\n")
    return changed


def replaced(path: Path, text: str) -> list[Path]:
    """Write a file's new text; return the path if that changed anything."""
    if text == path.read_text("utf-8"):
        return []
    path.write_text(text, "utf-8")
    return [path]


def between_marks(text: str, block: str) -> str:
    """The text with what stands between the two marked lines replaced by the block."""
    marks = re.compile(rf"(^.*{BEGIN}.*\n)(?:.*\n)*?(.*{END})", re.MULTILINE)
    if len(marks.findall(text)) != 1:
        raise ValueError(f"there must be one pair of lines with {BEGIN!r} and {END!r}")
    return marks.sub(lambda match: match[1] + block + match[2], text)


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    try:
        address = parser.parse_args().url
        changed = set_repository(ROOT, address)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(f"changed {path.relative_to(ROOT)}" for path in changed) or "nothing to change")
    if checked(address):
        tag = release_of(ROOT)
        print(f"Commit, then: git tag {tag} && git push origin HEAD {tag}. Colab opens that tag.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
