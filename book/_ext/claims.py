"""The page of claims, made from ``book/claims.yml``, the chapters and the tests.

A claim is a row ``{id, kind, chapter, statement}``. It is *shown* when its chapter stands in
``_toc.yml`` and has a code cell tagged ``claim:<id>``; until then the page says "planned". Its
tests carry the mark ``@pytest.mark.claim("<id>")``.

The directive takes a chapter and lists its claims::

    ```{claims} 03_elbo
    ```
"""

import ast
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective

KINDS = {"E": "exact", "M": "measured", "C": "care", "E/M": "exact and measured"}


@dataclass(frozen=True)
class Claim:
    """One row of ``claims.yml``."""

    id: str
    kind: str
    chapter: str
    statement: str

    @property
    def row_anchor(self) -> str:
        """The anchor of the claim's row on the page of claims."""
        return "claim-" + self.id.replace(".", "-")

    @property
    def cell_anchor(self) -> str:
        """The anchor of the first cell that shows the claim in its chapter."""
        return "check-" + self.id.replace(".", "-")


def read_claims(root: Path) -> list[Claim]:
    """All claims, in the order of the file.

    Raises:
        ValueError: if a row has other keys than a claim has, an unknown kind, or an id twice.
    """
    path = root / "book" / "claims.yml"
    claims = []
    for row in yaml.safe_load(path.read_text("utf-8")):
        if set(row) != {"id", "kind", "chapter", "statement"}:
            raise ValueError(
                f"claims.yml: {row} must have exactly the keys id, kind, chapter, statement"
            )
        if row["kind"] not in KINDS:
            raise ValueError(
                f"claims.yml: {row['id']} has kind {row['kind']!r}; use one of {', '.join(KINDS)}"
            )
        claims.append(Claim(**row))
    ids = [claim.id for claim in claims]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise ValueError(f"claims.yml: {', '.join(twice)} stands there more than once; rename one")
    return claims


def toc_pages(root: Path) -> list[str]:
    """The pages of ``_toc.yml``, such as ``book/03_elbo``, in reading order."""
    toc = yaml.safe_load((root / "_toc.yml").read_text("utf-8"))
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    return [toc["root"], *(chapter["file"] for chapter in chapters)]


def claims_of_chapter(path: Path) -> list[str]:
    """The claims that the code cells of a notebook are tagged with, in order."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return [
        tag.removeprefix("claim:")
        for cell in cells
        if cell["cell_type"] == "code"
        for tag in cell["metadata"].get("tags", [])
        if tag.startswith("claim:")
    ]


def claims_of_tests(root: Path) -> dict[str, list[str]]:
    """For each claim the tests marked with it, as ``tests/test_elbo.py::test_tight``."""
    found: dict[str, list[str]] = {}
    for path in sorted(root.glob("tests/**/test_*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.claim":
                    for argument in mark.args:
                        name = str(ast.literal_eval(argument))
                        found.setdefault(name, []).append(
                            f"{path.relative_to(root).as_posix()}::{node.name}"
                        )
    return found


class ClaimsDirective(SphinxDirective):
    """List the claims of one chapter as a table."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Build the table."""
        root = Path(self.env.srcdir)
        chapter = self.arguments[0]
        claims = [claim for claim in read_claims(root) if claim.chapter == chapter]
        if not claims:
            raise self.error(f"no claim in claims.yml has the chapter {chapter!r}")
        notebook = root / "book" / f"{chapter}.ipynb"
        landed = f"book/{chapter}" in toc_pages(root)
        shown = claims_of_chapter(notebook) if landed else []
        tests = claims_of_tests(root)
        dependencies = [root / "book" / "claims.yml", root / "_toc.yml", notebook]
        for path in [*dependencies, *root.glob("tests/**/test_*.py")]:
            self.env.note_dependency(str(path))

        body = nodes.tbody()
        for claim in claims:
            body += self.row(claim, claim.id in shown, tests.get(claim.id, []))
        head = nodes.thead("", nodes.row("", self.cell("Claim"), self.cell("Statement")))
        columns = [nodes.colspec(colwidth=width) for width in (25, 75)]
        group = nodes.tgroup("", *columns, head, body, cols=2)
        return [nodes.table("", group, classes=["claims"])]

    def row(self, claim: Claim, shown: bool, tests: list[str]) -> nodes.row:
        """One claim: what it says, where it is shown, and what tests it."""
        name = nodes.paragraph("", "", nodes.literal("", claim.id))
        kind = nodes.paragraph("", KINDS[claim.kind], classes=["claim-kind"])
        statement = nodes.entry()
        self.state.nested_parse(StringList([claim.statement], "claims.yml"), 0, statement)
        links = nodes.paragraph("", "", classes=["claim-links"])
        if shown:
            address = f"{claim.chapter}.html#{claim.cell_anchor}"
            links += nodes.reference("", "see it checked", refuri=address, internal=True)
        else:
            links += nodes.inline("", "planned", classes=["claim-planned"])
        for test in tests:
            links += [nodes.Text(" · "), nodes.literal("", test.removeprefix("tests/"))]
        statement += links
        return nodes.row("", nodes.entry("", name, kind), statement, ids=[claim.row_anchor])

    @staticmethod
    def cell(text: str) -> nodes.entry:
        """A cell of the head."""
        return nodes.entry("", nodes.paragraph("", text))


class ClaimAnchors(SphinxTransform):
    """Give the first cell that shows a claim an anchor for the page of claims to link to."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        """Change the document in place."""
        seen = set()
        for cell in self.document.findall(nodes.container):
            if cell.get("nb_element") != "cell_code":
                continue
            for tag in cell["cell_metadata"].get("tags", []):
                if tag.startswith("claim:") and tag not in seen:
                    seen.add(tag)
                    claim = Claim(tag.removeprefix("claim:"), "E", "", "")
                    cell["ids"].append(claim.cell_anchor)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive and the transform."""
    app.add_directive("claims", ClaimsDirective)
    app.add_transform(ClaimAnchors)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
