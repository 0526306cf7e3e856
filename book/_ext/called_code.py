"""Which functions of the package a chapter's cell calls, found in its source.

A cell calls a function by its imported name, as a method of an object made from an imported class,
or through names that were assigned or defined before it. Nothing is run but the package's import.
Whatever name it was imported by, a thing's address is that of the module that defines it:
``from companion import elbo`` reaches "objectives.elbo".
"""

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

PACKAGE = "companion"
# Modules that a check stands on without being about them.
ASIDE = {"comparison", "data", "exercises", "explore", "live", "plots"}
# What models are built and trained with; it comes after what is asked of them.
BUILDING = {"conditionals", "ensemble", "models", "train", "weights"}

Reference = tuple[str, str | None]
"""A name, and the attribute that is asked of it: ``toy.elbo`` is ("toy", "elbo")."""


class Names:
    """What the names of a notebook stand for, statement by statement."""

    def __init__(self) -> None:
        self.imported: dict[str, object] = {}
        self.made_by: dict[str, type] = {}
        self.defined_with: dict[str, list[Reference]] = {}

    def read(self, cell: str) -> None:
        """Take note of a code cell's imports, assignments and definitions."""
        for statement in ast.parse(cell).body:
            if isinstance(statement, ast.ImportFrom):
                self._import(statement)
                continue
            used = list(references(statement))
            for name, whole in stored(statement):
                self.imported.pop(name, None)
                kept = [] if whole else self.defined_with.get(name, [])
                self.defined_with[name] = [*kept, *used]
            self._remember_class(statement)

    def reached_from(self, cell: str) -> list[str]:
        """What of the package a cell reaches, such as "objectives.elbo", the nearest first.

        Call it after `read` of the cell itself.
        """
        found: dict[str, None] = {}
        level, seen = [r for s in ast.parse(cell).body for r in references(s)], set()
        while level:
            deeper: list[Reference] = []
            for reference in level:
                name, attribute = reference
                if reference in seen:
                    continue
                seen.add(reference)
                if address := self._address(name, attribute):
                    found[address] = None
                elif name not in self.imported:
                    deeper += self.defined_with.get(name, [])
            level = deeper
        # A method says more than its class.
        most = [a for a in found if not any(other.startswith(f"{a}.") for other in found)]
        return sorted(most, key=lambda a: a.split(".")[0] in BUILDING)

    def _import(self, statement: ast.ImportFrom) -> None:
        module = statement.module or ""
        if module.split(".")[0] == PACKAGE:
            for alias in statement.names:
                thing = getattr(import_module(module), alias.name, None)
                if thing is None:  # a module of the package
                    thing = import_module(f"{module}.{alias.name}")
                self.imported[alias.asname or alias.name] = thing

    def _remember_class(self, statement: ast.stmt) -> None:
        """Note which class an assigned object, or a defined function's result, is made by."""
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                made = self._class_of(value)
            case ast.FunctionDef(name=name):
                returns = [n.value for n in ast.walk(statement) if isinstance(n, ast.Return)]
                made = self._class_of(returns[0]) if len(returns) == 1 else None
            case _:
                return
        self.made_by.pop(name, None)
        if made:
            self.made_by[name] = made

    def _class_of(self, value: ast.expr | None) -> type | None:
        match value:
            case ast.Call(func=ast.Name(id=name)):
                found = self._thing(name)
                return found if isinstance(found, type) else self.made_by.get(name)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attribute)):
                found = self._thing(name, attribute)
                return found if isinstance(found, type) else None
        return None

    def _thing(self, name: str, attribute: str | None = None) -> object:
        """What an imported name is, or what an imported module has by this name."""
        thing = self.imported.get(name)
        if attribute is None:
            return thing
        return getattr(thing, attribute, None) if isinstance(thing, ModuleType) else None

    def _address(self, name: str, attribute: str | None) -> str | None:
        """Where the page of the package documents what is referred to, if it does."""
        if attribute and (made_by := self.made_by.get(name)):
            # The page has a method where it is defined: what all models share, in their base class.
            for base in made_by.__mro__:
                if base.__module__.startswith(PACKAGE) and documented(vars(base).get(attribute)):
                    return f"{address(base)}.{attribute}"
        thing = self._thing(name, attribute) or self.imported.get(name)
        if isinstance(thing, type) or inspect.isfunction(thing):
            return address(thing) if documented(thing) else None
        return None


def address(thing: type | object) -> str:
    """The anchor of a class or function on the package's page, less the package's name."""
    module, name = getattr(thing, "__module__", ""), getattr(thing, "__qualname__", "")
    return f"{module}.{name}".removeprefix(f"{PACKAGE}.")


def short(address: str) -> str:
    """An address less its modules, as a page shows it: "VAE", or "LinearGaussian.gap"."""
    return re.sub(r"^.*?((?:[A-Z]\w*\.)?\w+)$", r"\1", address)


def documented(thing: object) -> bool:
    """Tell whether the package's page has an entry for a function, method or class of interest."""
    if isinstance(thing, ModuleType) or not inspect.getdoc(thing):
        return False
    aside = address(thing).split(".")[0] in ASIDE
    return not aside and (isinstance(thing, type | property) or inspect.isfunction(thing))


def references(node: ast.AST) -> Iterator[Reference]:
    """The names a statement loads, in the order of the source; not those local to a function."""
    if isinstance(node, ast.FunctionDef | ast.Lambda):
        arguments = node.args
        local = {a.arg for a in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]}
        local |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and _stores(n)}
        yield from (
            r
            for child in ast.iter_child_nodes(node)
            for r in references(child)
            if r[0] not in local
        )
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        yield node.value.id, node.attr
    elif isinstance(node, ast.Name) and not _stores(node):
        yield node.id, None
    else:
        for child in ast.iter_child_nodes(node):
            yield from references(child)


def stored(statement: ast.stmt) -> Iterator[tuple[str, bool]]:
    """The names a statement of a cell gives a value to, and whether as a whole or in part."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name, True
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and _stores(node):
            yield node.id, True
        elif isinstance(node, ast.Subscript | ast.Attribute) and _stores(node):
            root: ast.expr = node
            while isinstance(root, ast.Subscript | ast.Attribute):
                root = root.value
            if isinstance(root, ast.Name):
                yield root.id, False


def _stores(node: ast.Name | ast.Subscript | ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Store)
