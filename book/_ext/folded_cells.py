"""Name a folded cell by what it holds: "Code of this figure", "Imports", "Solution".

The name follows from the cell's tags, its source and its outputs. It is the fold's only text, so
that what is seen and what a screen reader says are the same.
"""

import ast
from html import escape
from typing import Any

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode, HideInputCells  # type: ignore[import-untyped]
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxTranslator

PICTURE = ("<img", "<svg", "<figure", "<canvas")


class FoldedCells(SphinxPostTransform):
    """Give the folds of a page their names and classes."""

    # MyST-NB chooses among a cell's outputs first, and makes the folds at 199.
    default_priority = HideInputCells.default_priority - 1
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Change the document in place."""
        for cell in self.document.findall(nodes.container):
            if cell.get("nb_element") == "cell_code" and cell.get("hide_mode"):
                name = name_of(cell)
                cell["prompt_show"] = cell["prompt_hide"] = name


class CodeBelow(SphinxPostTransform):
    """Show first what a cell shows, and offer below it the folded code."""

    default_priority = HideInputCells.default_priority + 1
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Change the document in place."""
        for cell in self.document.findall(nodes.container):
            if len(cell) > 1 and isinstance(cell[0], HideCodeCellNode):
                cell.children = [*cell.children[1:], cell.children[0]]


def name_of(cell: nodes.Element) -> str:
    """What the fold of a cell holds."""
    tags = cell["cell_metadata"].get("tags", [])
    source = next((block.astext() for block in cell.findall(nodes.literal_block)), "")
    is_check = "nbval-check-output" in tags or any(tag.startswith("claim:") for tag in tags)
    if "setup" in tags:
        return "Setup"
    if source.startswith("# Solution"):
        return "Solution"
    outputs = [part for part in cell.children if _is(part, "cell_code_output")]
    html = "".join(raw.astext() for part in outputs for raw in part.findall(nodes.raw))
    pictures = any(part.next_node(nodes.image) for part in outputs)
    if pictures or any(tag in html for tag in PICTURE):
        return "Code of this figure"
    if is_check:
        return "Code of this check" if "hide-input" in tags else "A further check"
    if "<table" in html:
        return "Code of this table"
    if outputs:
        return "Code of this output"
    return "Imports" if only_imports(source) else "Code that the next cells use"


def only_imports(source: str) -> bool:
    """Tell whether a cell imports, and does nothing else."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:  # a cell for IPython
        return False
    return all(isinstance(s, ast.Import | ast.ImportFrom) for s in statements)


def _is(part: nodes.Node, element: str) -> bool:
    return isinstance(part, nodes.Element) and part.get("nb_element") == element


def open_fold(self: SphinxTranslator, node: nodes.Element) -> None:
    """Write the fold's opening line."""
    name = node["prompt_show"]
    kind = {"Solution": " solution", "Setup": " setup"}.get(name, "")
    self.body.append(f'<details class="fold{kind}">\n<summary>{escape(name)}</summary>\n')


def close_fold(self: SphinxTranslator, node: nodes.Element) -> None:
    """Write the fold's end."""
    self.body.append("</details>\n")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transforms, and write folds in place of MyST-NB."""
    app.add_post_transform(FoldedCells)
    app.add_post_transform(CodeBelow)
    app.add_node(HideCodeCellNode, override=True, html=(open_fold, close_fold))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
