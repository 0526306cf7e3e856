"""The rules that keep a chapter readable in the page, in JupyterLab, on Colab and on GitHub."""

import ast
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from docutils import nodes
from nbformat import NotebookNode

import companion

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
sys.path[:0] = [str(BOOK / "_ext"), str(BOOK / "_tools")]

from claims import headings  # noqa: E402
from set_repository import FILES, checked, set_repository  # noqa: E402
from setup_cell import TAGS, repository_of, setup_cell  # noqa: E402

CHAPTERS = sorted(BOOK.glob("[0-9a][0-9]*_*.ipynb"))  # and the appendices, a1 and on
CHECKED = {"nbval-check-output", "keep_output"}
ANATOMY = [
    "What you will be able to do",
    "Before you start",
    "Exercises",
    "What to remember",
    "Where to go next",
]

each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def number_of(path: Path) -> str:
    """What a chapter's title begins with: 5, or A2 for an appendix."""
    return path.stem.partition("_")[0].lstrip("0").upper()


def is_appendix(path: Path) -> bool:
    return path.stem.startswith("a")


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, nbformat.NO_CONVERT)


def tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def texts(notebook: NotebookNode) -> list[str]:
    """The Markdown cells, less their code blocks."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return [re.sub(r"^```\w*\n.*?^```$", "", text, flags=re.M | re.S) for text in cells]


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


# --- formulas: each function yields what is wrong with the Markdown of one cell ------------------


def misplaced_formulas(text: str) -> Iterator[str]:
    """A `$$` block is a paragraph of its own, and in a quotation one line."""
    lines = [*text.split("\n"), ""]
    inside = False
    for above, line, below in zip(["", *lines], lines, [*lines[1:], ""], strict=False):
        bare = line.lstrip("> ").strip()
        if "$$" not in bare:
            continue
        quoted = line.lstrip().startswith(">")
        blank = [neighbour.strip() in ("", ">") for neighbour in (above, below)]
        if bare.count("$$") == 2 and not inside:
            if not (bare.startswith("$$") and bare.endswith("$$") and all(blank)):
                yield f"give the formula a paragraph of its own: {line}"
        elif bare.count("$$") == 1 and quoted:
            yield f"inside a quotation a formula stands on one line: {line}"
        elif bare.count("$$") == 1:
            at_edge = bare.endswith("$$") if inside else bare.startswith("$$")
            if not (at_edge and blank[1 if inside else 0]):
                yield f"a blank line before and after the formula: {line}"
            inside = not inside
        else:
            yield f"one formula a line: {line}"
    if inside:
        yield "a formula is not closed"


def only_myst_renders(text: str) -> Iterator[str]:
    """What JupyterLab, Colab or GitHub would show raw."""
    forms = {
        "directive": r"^(:::|```\{).*",
        "role": r"\{[a-z:-]+\}`.*?`",
        "target": r"^\([\w-]+\)=$",
        "comment": r"^% .*",
        "bare environment": r"^\\begin\{.*",
        "macro": r"\\(?:newcommand|renewcommand|def|DeclareMathOperator)\b",
        "align": r"\\begin\{align\*?\}|\\begin\{equation\*?\}",
        "label": r"\\(?:label|eqref|ref)\{",
    }
    inside = False
    for line in text.split("\n"):
        for name, form in forms.items():
            if name == "bare environment" and inside:
                continue
            if found := re.search(form, line):
                yield f"{name} that only MyST understands: {found[0]}"
        if line.count("$$") == 1:
            inside = not inside


def headless_columns(text: str) -> Iterator[str]:
    """Tables with a column that no ear is told the name of."""
    for head, rule in itertools.pairwise(text.split("\n")):
        if re.fullmatch(r"\|[ :|-]*-[ :|-]*\|", rule) and re.search(r"\|\s*\|", head):
            yield f"a column without a head: {head}"


def numbers(notebook: NotebookNode) -> list[str]:
    return [tag for text in texts(notebook) for tag in re.findall(r"\\tag\{([^}]*)\}", text)]


def anchors(notebook: NotebookNode) -> list[str]:
    return [a for text in texts(notebook) for a in re.findall(r'<a id="([^"]*)"></a>', text)]


def numbering_problems(notebook: NotebookNode, chapter: int | str) -> Iterator[str]:
    """Numbers count up from 1, and before each stands its anchor, a paragraph of its own."""
    found = numbers(notebook)
    expected = [f"{chapter}.{i}" for i in range(1, len(found) + 1)]
    if found != expected:
        yield f"formulas are numbered {found}, not {expected}"
    names = [f"eq-{number.lower().replace('.', '-')}" for number in found]
    equations = [name for name in anchors(notebook) if name.startswith("eq-")]
    if equations != names:
        yield f"anchors {equations} for formulas {names}"
    for text in texts(notebook):
        for match in re.finditer(r'^(.*)<a id="eq-[^"]*"></a>(.*)\n(.*)', text, re.M):
            if match[1].strip("> ") or match[2].strip() or match[3].strip("> "):
                yield f"an anchor is a paragraph of its own: {match[0]}"


def places(notebook: NotebookNode) -> set[str]:
    """What a link within a chapter can name: anchors, headings and the checks of claims."""
    titles = {heading.anchor for here in headings(texts(notebook)) for heading in here}
    tags = {tag for cell in code(notebook) for tag in cell.metadata.get("tags", ())}
    claims = {tag.partition(":")[2] for tag in tags if tag.startswith("claim:")}
    return {*anchors(notebook), *titles, *(f"check-{nodes.make_id(name)}" for name in claims)}


def reference_problems(notebook: NotebookNode) -> Iterator[str]:
    """Links to formulas name what they link to; files that are linked to exist."""
    for text in texts(notebook):
        for label, file, name in re.findall(r"\[([^\]]*)\]\(([^)#\s]*)#(eq-[\w-]+)\)", text):
            target = read(BOOK / file) if file and (BOOK / file).is_file() else notebook
            if file and not (BOOK / file).is_file():
                yield f"no such chapter: {file}"
            elif name not in anchors(target):
                yield f"no formula {name} in {file or 'this chapter'}"
            if f"({name[3:].replace('-', '.')})" not in label.lower():
                yield f"the link to {name} says {label!r}"
        for name in re.findall(r"\]\(#((?!eq-)[^)\s]+)\)", text):
            if name not in places(notebook):
                yield f"no place {name} in this chapter"
        for file in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text):
            if not (BOOK / file).is_file():
                yield f"no such file: {file}"


# --- code: what a chapter takes from the package --------------------------------------------------


def imported(notebook: NotebookNode) -> dict[str, set[str]]:
    """The names that a chapter imports from the package, by module; all cells but the setup."""
    found: dict[str, set[str]] = {}
    for cell in code(notebook):
        if "setup" in tags(cell):
            continue
        for node in ast.walk(parsed(cell.source)):
            if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("companion."):
                found.setdefault(str(node.module), set()).update(a.name for a in node.names)
    return found


def import_problems(notebook: NotebookNode) -> Iterator[str]:
    """At most six modules; what `companion` itself offers is taken from there."""
    found = imported(notebook)
    if len(found) > 6:
        yield f"imports from more than 6 modules: {sorted(found)}"
    for module, names in found.items():
        if module.count(".") > 1:
            yield f"{module} is an inner module: its package offers the same names"
        if again := names & set(companion.__all__) if module != "companion" else ():
            yield f"import {sorted(again)} from companion, not from {module}"


def source_problems(notebook: NotebookNode) -> Iterator[str]:
    """The package's source is printed whole: a reader sees what runs."""
    for cell in code(notebook):
        tree = parsed(cell.source)
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        whole = [arg for call in calls if ast.unparse(call.func) == "print" for arg in call.args]
        for call in calls:
            if ast.unparse(call.func).split(".")[-1] == "getsource" and call not in whole:
                yield f"cuts or hides source: {ast.unparse(call)}"


# --- the chapters --------------------------------------------------------------------------------


@each_chapter
def test_formulas(path: Path) -> None:
    notebook = read(path)
    problems = [problem for text in texts(notebook) for problem in misplaced_formulas(text)]
    problems += [problem for text in texts(notebook) for problem in only_myst_renders(text)]
    problems += [problem for text in texts(notebook) for problem in headless_columns(text)]
    problems += numbering_problems(notebook, number_of(path))
    problems += reference_problems(notebook)
    assert not problems, "\n".join(problems)


@each_chapter
def test_anatomy(path: Path) -> None:
    notebook = read(path)
    text = "\n".join(texts(notebook))
    first = notebook.cells[0].source.strip().split("\n")
    assert re.fullmatch(rf"# {number_of(path)} \S.*", first[0]), "the title is '# 3 The …'"
    headings = re.findall(r"^(#{1,2}) (.*)$", text, re.M)
    assert [level for level, _ in headings].count("#") == 1, "one title"
    found = [heading for _, heading in headings if heading in ANATOMY]
    anatomy = ["What to remember"] if is_appendix(path) else ANATOMY
    assert found == anatomy, "the sections that every chapter has, once and in order"
    assert "### Check it" in text


@each_chapter
def test_imports(path: Path) -> None:
    notebook = read(path)
    problems = [*import_problems(notebook), *source_problems(notebook)]
    assert imported(notebook).get("companion"), "`from companion import …`"
    assert not problems, "\n".join(problems)


def test_most_names_come_from_the_package_itself() -> None:
    # The tables of checks are of the book, not of the models.
    chapters = [imported(read(path)) for path in CHAPTERS]
    itself = sum(len(found["companion"]) for found in chapters)
    others = sum(
        len(names)
        for found in chapters
        for module, names in found.items()
        if module not in ("companion", "companion.comparison")
    )
    assert itself > others


@each_chapter
def test_setup_cell(path: Path) -> None:
    cells = code(read(path))
    assert [i for i, cell in enumerate(cells) if "setup" in tags(cell)] == [0]
    assert cells[0].source == setup_cell(repository_of(ROOT)), (
        f"run `make strip run-chapter CHAPTER={path.stem}`: it shares the text of all chapters"
    )
    assert tags(cells[0]) == TAGS


@each_chapter
def test_checked_cells_hold_numbers(path: Path) -> None:
    cells = [cell for cell in code(read(path)) if CHECKED & set(tags(cell))]
    assert cells
    for cell in cells:
        assert set(tags(cell)) >= CHECKED, f"both tags: {cell.source[:80]}"
        assert cell.execution_count, f"never executed: {cell.source[:80]}"
        assert cell.outputs, f"nothing stored to compare with: {cell.source[:80]}"
        for output in cell.outputs:
            assert output.output_type == "stream", output
            assert output.name == "stdout", output
            assert re.search(r"\d", output.text), f"no number: {output.text}"
            assert not re.search(r"(^|\s)/\w+/|0x[0-9a-f]{6}", output.text), "a path or an address"
    for cell in code(read(path)):
        if any(tag.startswith("claim:") for tag in tags(cell)):
            assert set(tags(cell)) >= CHECKED, f"a claim's cell is compared: {cell.source[:80]}"


@each_chapter
def test_nothing_else_is_stored(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert "widgets" not in notebook.metadata
    assert notebook.metadata.kernelspec.name == "python3"
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    for cell in code(notebook):
        if "keep_output" not in tags(cell):
            assert not cell.outputs, f"run `make strip`: {cell.source[:80]}"
    counts = [cell.execution_count for cell in code(notebook) if cell.source.strip()]
    assert counts == list(range(1, len(counts) + 1)), (
        f"run from top to bottom: `make run-chapter CHAPTER={path.stem}`"
    )


@pytest.mark.skipif(not CHAPTERS, reason="no chapter yet")
def test_nbstripout_finds_nothing_to_remove() -> None:
    command = [sys.executable, str(BOOK / "_tools" / "notebooks.py"), "verify"]
    made = subprocess.run([*command, *CHAPTERS], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr + "\nrun `make strip`"


def parsed(source: str) -> ast.Module:
    """The code of a cell, less the lines that only IPython understands."""
    return ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.M))


def calls(source: str, name: str) -> list[ast.Call]:
    """The calls of a function in a cell, in order."""
    found = [n for n in ast.walk(parsed(source)) if isinstance(n, ast.Call)]
    found.sort(key=lambda call: (call.lineno, call.col_offset))
    return [call for call in found if ast.unparse(call.func) == name]


def figures(notebook: NotebookNode) -> Iterator[tuple[NotebookNode, str, str, ast.AST | None]]:
    """Each figure and explorer of a chapter: its cell, number, caption and alternative text."""
    for cell in code(notebook):
        for call in [
            call for name in ("live.figure", "show", "explore") for call in calls(cell.source, name)
        ]:
            given = {keyword.arg: keyword.value for keyword in call.keywords}
            given |= dict(zip(("figure", "number", "caption"), call.args, strict=False))
            if ast.unparse(call.func) == "explore":
                given |= {k.arg: k.value for k in call.keywords if k.arg in ("number", "caption")}
            number, caption = (ast.literal_eval(given.get(k, ast.Constant(""))) for k in FIGURE)
            yield cell, number, caption, given.get("alt")


FIGURE = ("number", "caption")


@each_chapter
def test_figures_are_numbered_and_say_what_to_see(path: Path) -> None:
    found = list(figures(read(path)))
    numbers = [number for _, number, _, _ in found]
    assert numbers == [f"{number_of(path)}.{i}" for i in range(1, len(found) + 1)]
    for cell, number, caption, alt in found:
        assert 30 < len(caption) < 250, f"figure {number}: {caption}"
        assert caption.endswith((".", "?")), f"figure {number}: {caption}"
        assert not re.search(r"[$\\*`]", caption), f"Unicode in figure {number}: {caption}"
        assert alt is not None, f"figure {number} has no alternative text"
        assert len(ast.unparse(alt)) > 30, f"figure {number} has no alternative text"
        assert {"hide-input", "hide-cell"} & set(tags(cell)), f"the code of figure {number} is open"


@each_chapter
def test_no_figure_goes_around_show(path: Path) -> None:
    for cell in code(read(path)):
        assert not calls(cell.source, "plt.show"), cell.source[:80]
        assert "mystnb" not in cell.metadata, cell.source[:80]
        if makes_figure(cell.source):
            assert calls(cell.source, "show"), cell.source[:80]


def makes_figure(source: str) -> bool:
    """Whether the cell itself, and not a function in it, makes a figure."""
    functions = (ast.FunctionDef, ast.Lambda)
    stack: list[ast.AST] = [n for n in parsed(source).body if not isinstance(n, functions)]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("plt.subplots", "plt.figure"):
            return True
        stack += [n for n in ast.iter_child_nodes(node) if not isinstance(n, functions)]
    return False


@each_chapter
def test_code_in_the_open_fits_the_page(path: Path) -> None:
    for cell in code(read(path)):
        if not {"hide-input", "hide-cell"} & set(tags(cell)):
            assert max(map(len, cell.source.split("\n"))) <= 76, cell.source
            assert cell.source.count("\nfrom ") + cell.source.count("\nimport ") < 3, "fold imports"


@each_chapter
def test_explorers_and_exercises(path: Path) -> None:
    for text in itertools.dropwhile(lambda text: "## Exercises" not in text, texts(read(path))):
        for title in re.findall(r'class="solution"><summary>(.*?)</summary>', text):
            assert title == "Solution", "folded answers of exercises have one name"
    if is_appendix(path) or int(number_of(path)) > 11:
        return
    explorers = []
    checks = set()
    for cell in code(read(path)):
        for node in ast.walk(
            ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", cell.source, flags=re.M))
        ):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name == "explore":
                    explorers.append({keyword.arg for keyword in node.keywords})
                if name.startswith("check."):
                    checks.add(name)
        if "hide-cell" in tags(cell):
            assert cell.metadata.get("jupyter", {}).get("source_hidden") is True
            assert cell.metadata.get("cellView") == "form"
    assert explorers, "at least one explorer in every chapter"
    for keywords in explorers:
        assert "alt" in keywords, "explore(…, alt=…) says what the figure shows"
    assert len(checks) >= 3, "at least three exercises in every chapter"


@each_chapter
def test_chapter_stands_in_the_contents(path: Path) -> None:
    index = (BOOK / "index.md").read_text("utf-8")
    title = read(path).cells[0].source.split("\n")[0].split(" ", 2)[2].replace("`", "")
    link = f"**[{number_of(path)} {title}]({path.name})**"
    assert link in index, f"index.md has no card with {link}"
    assert f"- file: book/{path.stem}\n" in (ROOT / "_toc.yml").read_text("utf-8")


# --- the rules themselves: each catches what it is for --------------------------------------------

GOOD = """\
Text.

<a id="eq-3-1"></a>

$$
\\begin{aligned}
a &= b
\\end{aligned} \\tag{3.1}
$$

> **Theorem.** So
>
> $$a \\ge b$$
>
> holds by [(3.1)](#eq-3-1).
"""


def notebook_of(*cells: str) -> NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(cell) for cell in cells])


def test_rules_accept_good_markdown() -> None:
    assert not list(misplaced_formulas(GOOD))
    assert not list(only_myst_renders(GOOD))
    assert not list(numbering_problems(notebook_of(GOOD), 3))
    assert not list(reference_problems(notebook_of(GOOD)))


@pytest.mark.parametrize(
    "text",
    ["so $$a$$ holds", "text\n$$a$$", "$$a$$\ntext", "$$\na\n$$\ntext", "> $$\n> a\n> $$", "$$\na"],
)
def test_rule_on_paragraphs(text: str) -> None:
    assert list(misplaced_formulas(text))


@pytest.mark.parametrize(
    "text",
    [
        "```{note}\nx\n```",
        "::: note",
        "see {eq}`a`",
        "(label)=",
        "\\begin{align}\na\n\\end{align}",
        "$$\\begin{align} a \\end{align}$$",
        "$\\newcommand{\\x}{y}$",
        "$$a \\label{x}$$",
    ],
)
def test_rule_on_plain_markdown(text: str) -> None:
    assert list(only_myst_renders(text))


def test_rule_on_heads_of_tables() -> None:
    assert list(headless_columns("| | A |\n|---|---|\n| x | 1 |"))
    assert not list(headless_columns("| model | A |\n|:--|--:|\n| | 1 |"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\\tag{3.1}", "\\tag{3.2}"),
        ("\\tag{3.1}", "\\tag{2.1}"),
        ('<a id="eq-3-1"></a>', ""),
        ('<a id="eq-3-1"></a>', '<a id="eq-3-2"></a>'),
        ('<a id="eq-3-1"></a>\n', '<a id="eq-3-1"></a>'),
        ("Text.", "$$a \\tag{3.1}$$"),
    ],
)
def test_rule_on_numbers(old: str, new: str) -> None:
    assert list(numbering_problems(notebook_of(GOOD.replace(old, new)), 3))


@pytest.mark.parametrize(
    "link",
    [
        "[(3.2)](#eq-3-2)",
        "[(3.2)](#eq-3-1)",
        "[(2.1)](99_none.ipynb#eq-2-1)",
        "[x](nothing.md)",
        "[x](#nowhere)",
    ],
)
def test_rule_on_references(link: str) -> None:
    assert list(reference_problems(notebook_of(GOOD, link)))


def code_of(*cells: str) -> NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])


MODULES = ["", ".comparison", ".data", ".diagnostics", ".diffusion", ".exact", ".explore"]
LINES = [f"from companion{module} import x" for module in MODULES]


def test_imports_are_found() -> None:
    notebook = code_of("%pip list\nimport torch\n" + LINES[0], "def f():\n    " + LINES[1])
    assert imported(notebook) == {"companion": {"x"}, "companion.comparison": {"x"}}


@pytest.mark.parametrize(
    "cells",
    [
        LINES,
        ["\n".join(LINES)],
        ["from companion.models import VAE"],
        ["from companion.exact.linear import x"],
    ],
)
def test_rule_on_imports(cells: list[str]) -> None:
    assert not list(import_problems(code_of(*LINES[:6])))
    assert list(import_problems(code_of(*cells)))


def test_rule_on_source() -> None:
    assert not list(source_problems(code_of("print(inspect.getsource(fit))")))
    assert list(source_problems(code_of("text = getsource(fit)\nprint(text[10:])")))
    assert list(source_problems(code_of("print(inspect.getsource(fit)[10:])")))


def test_rule_on_figures() -> None:
    assert makes_figure("figure, ax = plt.subplots()\nax.plot([1])")
    assert makes_figure("for i in range(2):\n    plt.figure()")
    assert not makes_figure("def draw():\n    return plt.subplots()[0]\n%pip list")


# --- the address of the repository ----------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small copy of what `make repository` writes to."""
    (tmp_path / "book").mkdir()
    for file in FILES:
        (tmp_path / file).write_text((ROOT / file).read_text("utf-8"), "utf-8")
    set_repository(tmp_path, "none")
    cell = nbformat.v4.new_code_cell(setup_cell(), metadata={"tags": TAGS}, id="setup")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "book" / "01_x.ipynb")
    return tmp_path


def test_repository_is_set_everywhere_and_taken_out_again(tree: Path) -> None:
    files = [*FILES, "book/01_x.ipynb"]
    before = [(tree / file).read_text("utf-8") for file in files]
    assert len(set_repository(tree, "https://github.com/someone/lower-bound.git")) == 4
    assert repository_of(tree) == "https://github.com/someone/lower-bound"
    for file in files:
        assert "github.com/someone/lower-bound" in (tree / file).read_text("utf-8")
    source = read(tree / "book" / "01_x.ipynb").cells[0].source
    assert source == setup_cell("https://github.com/someone/lower-bound")
    assert set_repository(tree, "https://github.com/someone/lower-bound/") == []
    set_repository(tree, "none")
    assert [(tree / file).read_text("utf-8") for file in files] == before


@pytest.mark.parametrize(
    "address",
    [
        "",
        "lower-bound",
        "https://github.com/someone",
        "http://github.com/a/b",
        "https://example.org/a/b",
        'https://github.com/a/b"; import os',
        "https://github.com/OWNER NAME/x",
        "https://github.com/a/b/tree/main",
    ],
)
def test_nonsense_addresses_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match="make repository URL="):
        checked(address)
