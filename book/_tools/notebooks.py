"""Write, run and clean the chapters.

    notebooks.py text book/03_elbo.ipynb         makes _build/text/03_elbo.md, to be edited
    notebooks.py update _build/text/03_elbo.md   brings its changes into book/03_elbo.ipynb
    notebooks.py run book/03_elbo.ipynb          runs it in a fresh kernel, keeps checked outputs
    notebooks.py strip book/*.ipynb              removes the outputs that are not kept
    notebooks.py verify book/*.ipynb             fails where `strip` would change something

The text is MyST Markdown. `update` starts a chapter that does not exist yet; the cells of one that
does keep their identifiers and outputs. The cell tagged `setup` need not be written out: `update`
and `run` put the text that all chapters share into it.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import jupytext  # type: ignore[import-untyped]
import nbformat
from jupytext.combine import combine_inputs_with_outputs  # type: ignore[import-untyped]
from nbclient import NotebookClient
from setup_cell import TAGS, repository_of, setup_cell
from traitlets.config import Config

BOOK = Path(__file__).resolve().parents[1]
TEXTS = BOOK.parent / "_build" / "text"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def text(path: Path) -> None:
    """Write the text of a chapter."""
    TEXTS.mkdir(parents=True, exist_ok=True)
    target = TEXTS / path.with_suffix(".md").name
    target.write_text(jupytext.writes(jupytext.read(path), fmt="md:myst"), "utf-8")
    print(target)


def update(path: Path) -> None:
    """Bring an edited text into its chapter."""
    target = BOOK / path.with_suffix(".ipynb").name
    notebook = jupytext.reads(path.read_text("utf-8"), fmt="md:myst")
    if target.is_file():
        notebook = combine_inputs_with_outputs(notebook, jupytext.read(target), fmt="md:myst")
    notebook.metadata = METADATA
    share_setup(notebook)
    nbformat.write(nbformat.from_dict(notebook), target)
    print(target)


def share_setup(notebook: nbformat.NotebookNode) -> None:
    """Give the cell tagged ``setup`` the source and the tags that it has in every chapter."""
    for cell in notebook.cells:
        if "setup" in cell.metadata.get("tags", []):
            cell.source = setup_cell(repository_of(BOOK.parent))
            cell.metadata["tags"] = TAGS


def run(path: Path) -> None:
    """Execute a chapter from top to bottom, in place, and strip it."""
    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    share_setup(notebook)
    start = time.perf_counter()
    NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": path.parent}},
        config=Config({"KernelManager": {"transport_encryption": "auto"}}),
    ).execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    nbformat.write(notebook, path)
    strip([path])
    print(f"{path.name}: {time.perf_counter() - start:.0f} s")


def strip(paths: list[Path], *options: str) -> int:
    """Remove all outputs but those of cells tagged ``keep_output``."""
    command = [sys.executable, "-m", "nbstripout", "--keep-count", "--keep-id", *options]
    return subprocess.run([*command, *map(str, paths)], check=False).returncode


def main() -> int:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["text", "update", "run", "strip", "verify"])
    parser.add_argument("paths", nargs="+", type=Path)
    arguments = parser.parse_args()
    if missing := [str(path) for path in arguments.paths if not path.is_file()]:
        parser.error(f"no such file: {', '.join(missing)}")
    match arguments.command:
        case "strip":
            return strip(arguments.paths)
        case "verify":
            return strip(arguments.paths, "--verify")
        case command:
            for path in arguments.paths:
                {"text": text, "update": update, "run": run}[command](path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
