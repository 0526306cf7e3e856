"""Say what a folded cell holds: the setup, or a solution."""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

NAMES = {"setup": "the setup", "hide-cell": "the solution"}


class FoldedCells(SphinxTransform):
    """Name the contents of folded cells on the line that opens them."""

    default_priority = 400  # MyST-NB folds them after all transforms

    def apply(self, **kwargs: Any) -> None:
        """Change the document in place."""
        for cell in self.document.findall(nodes.container):
            if cell.get("nb_element") == "cell_code":
                for tag in cell["cell_metadata"].get("tags", []):
                    if tag in NAMES:
                        cell["prompt_show"] = f"Show {NAMES[tag]}"
                        cell["prompt_hide"] = f"Hide {NAMES[tag]}"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    app.add_transform(FoldedCells)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
