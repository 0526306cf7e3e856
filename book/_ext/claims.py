"""The page of claims, made from ``book/claims.yml``, the chapters and the tests.

A claim is a row ``{id, kind, chapter, statement}``. It is *shown* when its chapter stands in
``_toc.yml`` and has a code cell tagged ``claim:<id>``; until then the page says "planned". Its
tests carry the mark ``@pytest.mark.claim("<id>")``. The numbers on the page are the stored outputs
of the tagged cells, and the code is what those cells call.

The directive takes a chapter and lists its claims::

    ```{claims} 03_elbo
    ```

``{claims-filter}``, above them all, is the form by which ``claims.js`` shows a part of the list.
"""

import ast
import json
import re
from dataclasses import dataclass
from html import escape
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml
from called_code import Names, short
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective

KINDS = {"E": "exact", "M": "measured", "C": "care", "E/M": "exact and measured"}
FOLD_AFTER = 4  # lines of numbers
MOST_CODE = 4  # links to the package
FILTER = """\
<noscript><style>.claims-filter {display: none !important}</style></noscript>
<form class="claims-filter" id="claims-filter" aria-label="Filter of the claims" autocomplete="off">
<label>Words <input type="search" name="words"/></label>
<label>Chapter <select name="chapter"><option value="">all</option></select></label>
<label>Kind <select name="kind"><option value="">all</option><option>exact</option>\
<option>measured</option><option>care</option></select></label>
<button type="button">Show all</button>
<output></output>
</form>
"""


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
    with_sections = [
        page for chapter in chapters for page in (chapter, *chapter.get("sections", ()))
    ]
    return [toc["root"], *(page["file"] for page in with_sections)]


def module_pages(root: Path) -> dict[str, str]:
    """For each module of the package, such as "exact.linear", the page that lists its members."""
    listed = re.compile(r"^\.\. automodule:: companion\.(\S+)\n   :members:", re.MULTILINE)
    return {
        module: path.stem
        for path in sorted(root.glob("book/api_*.md"))
        for module in listed.findall(path.read_text("utf-8"))
    }


@dataclass(frozen=True)
class Heading:
    """A heading of a page, and the anchor that the built page gives it ("" for a repeated one)."""

    level: int
    title: str
    anchor: str


@dataclass(frozen=True)
class Check:
    """A code cell that shows claims: where it stands, what it printed, and what it calls."""

    claims: tuple[str, ...]
    section: Heading
    output: str
    code: tuple[str, ...]


def headings(texts: list[str]) -> list[list[Heading]]:
    """The headings of each of a page's Markdown texts; the anchors are those of docutils."""
    taken: set[str] = set()
    found = []
    for text in texts:
        outside = re.sub(r"^(```+|~~~+).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)
        here = []
        for match in re.finditer(r"^(#+) +(.+?) *$", outside, flags=re.MULTILINE):
            title = re.sub(r"[$`*]", "", match[2])
            anchor = nodes.make_id(title)
            here.append(Heading(len(match[1]), title, "" if anchor in taken else anchor))
            taken.add(anchor)
        found.append(here)
    return found


def checks_of_chapter(path: Path) -> list[Check]:
    """The code cells of a notebook that are tagged with claims, in order."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    texts = ["".join(c["source"]) if c["cell_type"] == "markdown" else "" for c in cells]
    above: list[Heading] = []  # the nearest last
    names = Names()
    found = []
    for cell, here in zip(cells, headings(texts), strict=True):
        above += here
        tags = cell["metadata"].get("tags", [])
        if cell["cell_type"] != "code" or "setup" in tags:
            continue
        source = "".join(cell["source"])
        names.read(source)
        claims = [tag.removeprefix("claim:") for tag in tags if tag.startswith("claim:")]
        if claims:
            output = "".join("".join(o.get("text", "")) for o in cell["outputs"])
            code = tuple(names.reached_from(source))
            found.append(Check(tuple(claims), section_of(above), output.rstrip(), code))
    return found


def section_of(above: list[Heading]) -> Heading:
    """The heading that says what a cell is about, of those above it."""
    named = [h for h in above[:-1] if h.anchor and not h.title.startswith(("Check it", "Explore"))]
    return named[-1] if above[-1].title == "Check it" else above[-1]


def claims_of_chapter(path: Path) -> list[str]:
    """The claims that the code cells of a notebook are tagged with, in order."""
    return [claim for check in checks_of_chapter(path) for claim in check.claims]


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


def repository_address(root: Path) -> str:
    """Where the files of the repository can be read, or nothing while ``_config.yml`` is silent."""
    config = yaml.safe_load((root / "_config.yml").read_text("utf-8"))
    repository = config.get("repository") or {}
    url = repository.get("url", "")
    return f"{url}/blob/{repository.get('branch', 'main')}" if url else ""


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
        checks = checks_of_chapter(notebook) if landed and notebook.is_file() else []
        tests = claims_of_tests(root)
        sources = [root / name for name in ("book/claims.yml", "_toc.yml", "_config.yml")]
        sources += [
            *filter(Path.is_file, [notebook]),
            *root.glob("tests/**/test_*.py"),
            *root.glob("companion/**/*.py"),
            *root.glob("book/api_*.md"),
        ]
        for path in sources:
            self.env.note_dependency(str(path))

        body = nodes.tbody()
        for claim in claims:
            shown = [check for check in checks if claim.id in check.claims]
            body += self.row(claim, shown, tests.get(claim.id, []), repository_address(root))
        head = nodes.thead("", nodes.row("", self.cell("Claim"), self.cell("Statement")))
        columns = [nodes.colspec(colwidth=width) for width in (25, 75)]
        group = nodes.tgroup("", *columns, head, body, cols=2)
        return [nodes.table("", group, classes=["claims"])]

    def row(
        self, claim: Claim, checks: list[Check], tests: list[str], repository: str
    ) -> nodes.row:
        """One claim: what it says, what was compared, and where to find all of it."""
        name = nodes.paragraph("", "", nodes.literal("", claim.id))
        kind = nodes.paragraph("", KINDS[claim.kind], classes=["claim-kind"])
        entry = nodes.entry()
        self.state.nested_parse(StringList([claim.statement], "claims.yml"), 0, entry)
        if checks:
            entry += nodes.raw("", numbers_block(checks), format="html")
            entry += line(*self.places(claim, checks))
            if code := self.code(checks):
                entry += line(nodes.Text("code: "), *dotted(code))
        elif tests and (self.env.doc2path(f"book/{claim.chapter}", False)).endswith(".md"):
            entry += line(link(f"{claim.chapter}.html", "how it is tested"))
        else:
            entry += line(nodes.inline("", "planned", classes=["claim-planned"]))
        for file, names in by_file(tests).items():
            where = link(f"{repository}/{file}", file) if repository else nodes.Text(file)
            tested = dotted([nodes.literal("", name) for name in names])
            entry += line(where, nodes.Text(": "), *tested)
        return nodes.row("", nodes.entry("", name, kind), entry, ids=[claim.row_anchor])

    def places(self, claim: Claim, checks: list[Check]) -> list[nodes.Node]:
        """Links to the first cell that shows the claim, and to the sections of all."""
        page = f"{claim.chapter}.html"
        sections = {check.section.anchor: check.section.title for check in checks}
        return [
            link(f"{page}#{claim.cell_anchor}", "see it checked"),
            nodes.Text(" in "),
            *dotted([link(f"{page}#{anchor}", title) for anchor, title in sections.items()]),
        ]

    def code(self, checks: list[Check]) -> list[nodes.Node]:
        """Links to what the cells call, the first calls of each cell first."""
        by_turns = [
            name for turn in zip_longest(*(check.code for check in checks)) for name in turn
        ]
        names = list(dict.fromkeys(name for name in by_turns if name))[:MOST_CODE]
        pages = module_pages(Path(self.env.srcdir))
        return [
            link(
                f"{pages[name.removesuffix(f'.{short(name)}')]}.html#companion.{name}",
                nodes.literal("", short(name)),
            )
            for name in names
        ]

    @staticmethod
    def cell(text: str) -> nodes.entry:
        """A cell of the head."""
        return nodes.entry("", nodes.paragraph("", text))


class FilterDirective(SphinxDirective):
    """The form that filters the claims of a page."""

    def run(self) -> list[nodes.Node]:
        """Return it; without scripts it is not seen."""
        return [nodes.raw("", FILTER, format="html")]


def numbers_block(checks: list[Check]) -> str:
    """The stored outputs of the cells as HTML, folded where they are long."""
    outputs = list(dict.fromkeys(check.output for check in checks if check.output))
    lines = sum(len(output.splitlines()) for output in outputs)
    text = escape("\n\n".join(outputs))
    block = f'<pre tabindex="0">{text}</pre>'
    if lines > FOLD_AFTER:
        block = f"<details><summary>The numbers: {lines} lines</summary>{block}</details>"
    return f'<div class="claim-numbers">{block}</div>'


def by_file(tests: list[str]) -> dict[str, list[str]]:
    """The names of tests by their files."""
    files: dict[str, list[str]] = {}
    for test in tests:
        file, _, name = test.partition("::")
        files.setdefault(file, []).append(name)
    return files


def line(*content: nodes.Node) -> nodes.paragraph:
    """A small line below a statement."""
    return nodes.paragraph("", "", *content, classes=["claim-links"])


def dotted(items: list[nodes.Node]) -> list[nodes.Node]:
    """The items with dots between them."""
    return [node for item in items for node in (nodes.Text(" · "), item)][1:]


def link(address: str, content: str | nodes.Node) -> nodes.reference:
    """A link with a text or a node inside."""
    inside = nodes.Text(content) if isinstance(content, str) else content
    return nodes.reference("", "", inside, refuri=address, internal="://" not in address)


class ClaimLinks(SphinxTransform):
    """Link cells to the claims that they show, and give the first of each an anchor to link to."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        """Change the document in place."""
        seen: set[str] = set()
        for cell in self.document.findall(nodes.container):
            if cell.get("nb_element") != "cell_code":
                continue
            tags = cell["cell_metadata"].get("tags", [])
            named = [tag.removeprefix("claim:") for tag in tags if tag.startswith("claim:")]
            claims = [Claim(name, "E", "", "") for name in named]
            cell["ids"] += [c.cell_anchor for c in claims if c.cell_anchor not in seen]
            seen |= {claim.cell_anchor for claim in claims}
            if claims:
                links = [
                    link(f"claims.html#{claim.row_anchor}", nodes.literal("", claim.id))
                    for claim in claims
                ]
                what = "This checks the claim " if len(links) == 1 else "This checks the claims "
                line_ = nodes.paragraph("", what, *dotted(links), classes=["check-claim"])
                cell.append(line_)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives, the transform and the filter's script."""
    app.add_directive("claims", ClaimsDirective)
    app.add_directive("claims-filter", FilterDirective)
    app.add_transform(ClaimLinks)
    app.add_js_file("claims.js", loading_method="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
