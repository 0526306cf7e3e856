"""Show the package's signatures and docstrings as its source writes them.

A shape such as ``Float[Tensor, "K B"]`` prints without its quotes once Python has made an object of
it, and Sphinx cannot read it back; the source has it as the reader should see it. Formulas that
stand indented in a docstring keep their lines.
"""

import ast
import dataclasses
import inspect
import textwrap
from typing import Any

from sphinx.application import Sphinx


class Unquoted(ast.NodeTransformer):
    """Take the quotes off a class that is named before it is made; a shape keeps its own."""

    def __init__(self, known: dict[str, Any]) -> None:
        self.known = known

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        """Return a name in place of the string that says it."""
        named = self.known.get(node.value) if isinstance(node.value, str) else None
        return ast.Name(str(node.value)) if isinstance(named, type) else node


def source_signature(
    app: Sphinx,
    what: str,
    name: str,
    obj: Any,
    options: Any,
    arguments: str | None,
    returns: str | None,
) -> tuple[str, str | None] | None:
    """The signature in the source of a function, a method or a class; a dataclass's fields."""
    if what == "class" and dataclasses.is_dataclass(obj):
        return f"({', '.join(field.name for field in dataclasses.fields(obj))})", None
    if what == "class" and "__init__" not in vars(obj):
        return None
    function = inspect.unwrap(obj.__init__ if what == "class" else obj)
    if not inspect.isfunction(function):
        return None
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    if not isinstance(definition, ast.FunctionDef):
        return None
    if what in ("class", "method"):
        del definition.args.args[:1]  # self
    definition = Unquoted(function.__globals__).visit(definition)
    result = ast.unparse(definition.returns) if definition.returns and what != "class" else None
    return f"({ast.unparse(definition.args)})", result


def literal_blocks(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Mark indented blocks below plain text as literal; without it they are quotations."""
    marked: list[str] = []
    above = ""
    for line in lines:
        starts_block = line.startswith("    ") and marked and not marked[-1].strip()
        if starts_block and above and above[0] not in " :.-*>":
            marked += ["::", ""]
        marked.append(line)
        above = line if line.strip() else above
    lines[:] = marked


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the handlers."""
    app.connect("autodoc-process-signature", source_signature)
    app.connect("autodoc-process-docstring", literal_blocks, priority=900)  # after napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}
