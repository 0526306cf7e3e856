"""Name a folded cell by what it holds: "Code of this figure", "Imports", "Check: 1 + 1 = 2".

The name follows from the cell's tags, its source and its outputs. It is the fold's only text, so
that what is seen and what a screen reader says are the same.
"""

import ast
import re
from collections.abc import Sequence
from html import escape, unescape
from itertools import takewhile
from typing import Any

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode, HideInputCells  # type: ignore[import-untyped]
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxTranslator

CAPTION = re.compile(r"<caption>(.*?)</caption>", re.S)
PICTURE = ("<img", "<svg", "<figure", "<canvas")


class FoldedCells(SphinxPostTransform):
    """Give the folds of a page their names and classes."""

    # MyST-NB chooses among a cell's outputs first, and makes the folds at 199.
    default_priority = HideInputCells.default_priority - 1
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Change the document in place."""
        for cell in self.document.findall(nodes.container):
            if _is(cell, "cell_code") and cell.get("hide_mode"):
                if is_check(cell) and cell["hide_mode"] == "all":
                    cell["hide_mode"] = "input"
                    cell["classes"].append("folded-check")
                cell["prompt_show"] = cell["prompt_hide"] = name_of(cell)


class CodeBelow(SphinxPostTransform):
    """Show first what a cell shows, and offer below it the folded code."""

    default_priority = HideInputCells.default_priority + 1
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Change the document in place."""
        for cell in self.document.findall(nodes.container):
            if len(cell) > 1 and isinstance(cell[0], HideCodeCellNode):
                cell.children = [*cell.children[1:], cell.children[0]]


class FoldedChecks(SphinxPostTransform):
    """Put checks that are wholly folded in one fold with those that follow at once.

    Each shows in it what it shows elsewhere: its card, its claim, and its code in a fold.
    """

    default_priority = CodeBelow.default_priority + 1
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Change the document in place."""
        for first in list(self.document.findall(nodes.container)):
            if "folded-check" not in first["classes"] or isinstance(first.parent, HideCodeCellNode):
                continue
            siblings = first.parent.children
            place = siblings.index(first)
            checks = list(takewhile(_is_folded_check, siblings[place:]))
            fold = HideCodeCellNode(prompt_show=name_of_checks(checks))
            first.parent[place : place + len(checks)] = [fold]
            fold.extend(checks)


def name_of(cell: nodes.Element) -> str:
    """What the fold of a cell holds."""
    source = next((block.astext() for block in cell.findall(nodes.literal_block)), "")
    if "setup" in tags_of(cell):
        return "Setup"
    if source.startswith("# Solution"):
        return "Solution"
    outputs = [part for part in cell.children if _is(part, "cell_code_output")]
    html = html_of(cell)
    pictures = any(part.next_node(nodes.image) for part in outputs)
    if pictures or any(tag in html for tag in PICTURE):
        return "Code of this figure"
    if is_check(cell):
        return "Code of this check"
    if "<table" in html:
        return "Code of this table"
    if outputs:
        return "Result and its code" if "hide-cell" in tags_of(cell) else "Code of this output"
    return "Imports" if only_imports(source) else "Code that the next cells use"


def name_of_checks(cells: Sequence[nodes.Element]) -> str:
    """What a fold of checks holds."""
    if len(cells) > 1:
        return f"{len(cells)} checks"
    caption = CAPTION.search(html_of(cells[0]))
    return f"Check: {unescape(caption[1])}" if caption else "A further check"


def is_check(cell: nodes.Element) -> bool:
    """Tell whether a cell checks a claim."""
    tags = tags_of(cell)
    return "nbval-check-output" in tags or any(tag.startswith("claim:") for tag in tags)


def tags_of(cell: nodes.Element) -> list[str]:
    """The tags of a cell."""
    tags: list[str] = cell["cell_metadata"].get("tags", [])
    return tags


def html_of(cell: nodes.Element) -> str:
    """What a cell's outputs are in the page, as far as they are written in HTML."""
    outputs = [part for part in cell.children if _is(part, "cell_code_output")]
    return "".join(raw.astext() for part in outputs for raw in part.findall(nodes.raw))


def only_imports(source: str) -> bool:
    """Tell whether a cell imports, and does nothing else."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:  # a cell for IPython
        return False
    return all(isinstance(s, ast.Import | ast.ImportFrom) for s in statements)


def _is(part: nodes.Node, element: str) -> bool:
    return isinstance(part, nodes.Element) and part.get("nb_element") == element


def _is_folded_check(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Element) and "folded-check" in node["classes"]


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
    app.add_post_transform(FoldedChecks)
    app.add_node(HideCodeCellNode, override=True, html=(open_fold, close_fold))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
