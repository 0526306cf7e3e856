"""The explorers of the chapters, as written: whose function they show, and what they depend on."""

import ast
import re
import symtable
from pathlib import Path

import nbformat
import pytest

CHAPTERS = sorted((Path(__file__).parents[1] / "book").glob("*.ipynb"))


def code_cells(path):
    cells = nbformat.read(path, nbformat.NO_CONVERT).cells
    code = (cell.source for cell in cells if cell.cell_type == "code")
    return [re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.M) for source in code]


def drawings(source):
    """Names of the functions that a cell gives to `explore`."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return {ast.unparse(c.args[0]) for c in calls if ast.unparse(c.func) == "explore"}


def bound(node):
    """Names that a cell binds when it runs, without those inside its functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            yield child.name
        elif isinstance(child, ast.Name) and not isinstance(child.ctx, ast.Load):
            yield child.id
        elif isinstance(child, ast.alias):
            yield (child.asname or child.name).split(".")[0]
        elif not isinstance(child, ast.Lambda | ast.ListComp | ast.DictComp | ast.GeneratorExp):
            yield from bound(child)


def globals_read(table):
    """Global names that a function, or one inside it, reads."""
    own = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global()}
    return own.union(*map(globals_read, table.get_children()))


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_figure_passes_the_solution_off_as_the_readers(path):
    # `check.<name>.pick` says whose function it returns, and the figure repeats it.
    for source in code_cells(path):
        if drawings(source):
            assert "solution" not in source
            assert "your" not in source
            picked = re.findall(r"(whose\w*) = check\.\w+\.pick", source)
            for label in picked:
                assert len(re.findall(rf"\b{label}\b", source)) >= 3, (
                    "where it is picked, in the figure, and in its alternative text"
                )


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_later_cell_changes_what_an_explorer_draws(path):
    # In a kernel a slider is moved when the whole chapter has run.
    cells = code_cells(path)
    functions = {}
    for at, source in enumerate(cells):
        for table in symtable.symtable(source, path.name, "exec").get_children():
            functions[table.get_name()] = globals_read(table)
        waiting, needed = list(drawings(source)), set()
        while waiting:
            name = waiting.pop()
            if name not in needed:
                needed.add(name)
                waiting += functions.get(name, ())
        later = {name for other in cells[at + 1 :] for name in bound(ast.parse(other))}
        assert not needed & later
