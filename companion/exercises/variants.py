"""Small changes of a function's source: what it would give with one slip in one place.

Each change is made in the syntax tree of the function, or of one that it calls in the same file.
A wrong answer that gives the results of such a variant is told which kind of slip it holds.
"""

import ast
import copy
import inspect
import sys
import warnings
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache
from typing import Any, Final

Function = Callable[..., Any]

SIGN: Final = "a sign is turned in one place"
TERM: Final = "one term of a sum or an exponent is left out"
FACTOR: Final = "one factor is left out"
HALF: Final = "a factor ½ or 2 is missing or too many in one place"
SQUARE: Final = "a square is missing or too many in one place"
ROOT: Final = "a square root is missing or too many in one place"
DIVIDED: Final = "a product stands in place of a quotient, or the other way round, in one place"
MEAN: Final = "a mean stands in place of a sum, or the other way round, in one place"
AXIS: Final = "a sum, mean or the like runs along another axis in one place"
ORDER: Final = "the logarithm and the average are taken in the other order in one place"
LOG: Final = "a logarithm or exponential is missing in one place"
ABSOLUTE: Final = "an absolute value or a limit is missing in one place"
ABS_FOR_SQUARE: Final = "an absolute value stands in place of a square in one place"
TRANSPOSED: Final = "a transposition is missing in one place"
OFF_BY_ONE: Final = "an index or a count is off by one"
INPUT: Final = "one input stands where another belongs"
EXCHANGED: Final = "two arguments are exchanged in one place"
COMPARED: Final = "a comparison is turned round, or the exception made the rule"
UNIT: Final = "a 1 is missing inside a logarithm or exponential"
SIZE: Final = "a count is that of another axis"

REDUCE: Final = {"sum", "mean", "logsumexp", "softmax", "log_softmax", "cumsum", "cumprod"}
OTHER_NAME: Final = {"sum": ("mean", MEAN), "mean": ("sum", MEAN), "sqrt": ("square", ROOT)}
ONE_TOO_MANY: Final = {"log1p": "log", "expm1": "exp"}
DROPPED: Final = {
    "square": SQUARE,
    "sqrt": ROOT,
    "log": LOG,
    "exp": LOG,
    "abs": ABSOLUTE,
    "clamp": ABSOLUTE,
    "relu": ABSOLUTE,
}


def changed(function: Function, old: str, new: str) -> Function:
    """Return the function with one piece of its own source replaced by another."""
    source = inspect.getsource(function)
    if source.count(old) != 1:
        raise ValueError(f"old must occur once in {function.__name__}; {old!r} does not")
    return _made(function, [ast.parse(source.replace(old, new)).body[0], *_reached(function)[1:]])


def variants(function: Function, counts: Collection[int] = ()) -> Iterator[tuple[str, Function]]:
    """Yield what kind of slip was made, and the function with it.

    Args:
        function: One with its source at hand; there are no slips of others.
        counts: Positions of inputs that are left alone, such as numbers of draws.
    """
    try:
        reached = _reached(function)
    except (OSError, TypeError, LookupError, SyntaxError):  # no source at hand
        return
    inputs = [a.arg for i, a in enumerate(reached[0].args.args) if i not in counts]
    for definition in reached:
        own = inputs if definition is reached[0] else [a.arg for a in definition.args.args]
        for parent in ast.walk(definition):
            for field, value in ast.iter_fields(parent):
                places = value if isinstance(value, list) else [value]
                for index, node in enumerate(places):
                    if not isinstance(node, ast.expr):
                        continue
                    for kind, other in _changes(node, own):
                        made = ast.copy_location(other, node)
                        _put(parent, field, index, made)
                        try:
                            variant = _made(function, reached)
                        finally:
                            _put(parent, field, index, node)
                        yield kind, variant


def _put(parent: ast.AST, field: str, index: int, node: ast.expr) -> None:
    place = getattr(parent, field)
    if isinstance(place, list):
        place[index] = node
    else:
        setattr(parent, field, node)


def _changes(node: ast.expr, inputs: list[str]) -> Iterator[tuple[str, ast.expr]]:
    """Yield the slips that one expression allows."""
    match node:
        case ast.BinOp(left, ast.Add(), right):
            yield SIGN, ast.BinOp(left, ast.Sub(), right)
            yield (UNIT if _is(left, 1) else TERM), right
            yield (UNIT if _is(right, 1) else TERM), left
        case ast.BinOp(left, ast.Sub(), right):
            yield SIGN, ast.BinOp(left, ast.Add(), right)
            yield (OFF_BY_ONE if _is(right, 1) else TERM), left
            yield TERM, ast.UnaryOp(ast.USub(), right)
            if _is(left, 1):
                yield "something stands where 1 minus it belongs", right
        case ast.BinOp(left, ast.Mult(), right):
            for part, rest in ((left, right), (right, left)):
                yield (HALF if _is(part, 2) or _is(part, 0.5) else FACTOR), rest
            yield DIVIDED, ast.BinOp(left, ast.Div(), right)
        case ast.BinOp(left, ast.Div(), right):
            yield (HALF if _is(right, 2) else FACTOR), left
            yield DIVIDED, ast.BinOp(left, ast.Mult(), right)
        case ast.BinOp(left, ast.Pow(), right):
            yield (ROOT if _is(right, 0.5) else SQUARE), left
            if _is(right, 2):
                yield ABS_FOR_SQUARE, ast.Call(ast.Attribute(left, "abs", ast.Load()), [], [])
        case ast.BinOp(left, ast.MatMult(), right):
            yield TRANSPOSED, ast.BinOp(ast.Attribute(left, "mT", ast.Load()), node.op, right)
            yield TRANSPOSED, ast.BinOp(left, node.op, ast.Attribute(right, "mT", ast.Load()))
        case ast.UnaryOp(ast.USub(), operand) if not isinstance(operand, ast.Constant):
            yield SIGN, operand
        case ast.Attribute(value, "T" | "mT"):
            yield TRANSPOSED, value
        case ast.Subscript(ast.Attribute(value, "shape"), axis):
            for length in (-1, 0, 1):
                if _is(axis, length):
                    continue
                shape = ast.Attribute(value, "shape", ast.Load())
                yield SIZE, ast.Subscript(shape, ast.Constant(length), ast.Load())
        case ast.Constant(float() as value):
            if value in (0.5, 2.0):
                yield HALF, ast.Constant(1.0)
        case ast.Constant(int() as value) if not isinstance(value, bool):
            yield OFF_BY_ONE, ast.Constant(value + 1)
            yield OFF_BY_ONE, ast.Constant(value - 1)
        case ast.Compare(left, [operator], [right]):
            other = {ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE}
            if type(operator) in other:
                yield COMPARED, ast.Compare(left, [other[type(operator)]()], [right])
        case ast.Name(name, ast.Load()) if name in inputs:
            for input_ in inputs:
                if input_ != name:
                    yield INPUT, ast.Name(input_, ast.Load())
            yield SIGN, ast.UnaryOp(ast.USub(), node)
            yield SQUARE, ast.BinOp(node, ast.Pow(), ast.Constant(2))
            yield ROOT, ast.BinOp(node, ast.Pow(), ast.Constant(0.5))
            yield HALF, ast.BinOp(node, ast.Mult(), ast.Constant(2.0))
            yield HALF, ast.BinOp(node, ast.Mult(), ast.Constant(0.5))
        case ast.Call():
            yield from _changes_of_call(node)
        case _:
            pass


def _changes_of_call(call: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    """Yield the slips that a call allows."""
    name, own = _called(call)

    def renamed(to: str, arguments: list[ast.expr] | None = None) -> ast.Call:
        func = copy.copy(call.func)
        if isinstance(func, ast.Attribute):
            func.attr = to
        elif isinstance(func, ast.Name):
            func.id = to
        return ast.Call(func, call.args if arguments is None else arguments, call.keywords)

    if name in OTHER_NAME:
        other, kind = OTHER_NAME[name]
        yield kind, renamed(other)
    if name in ONE_TOO_MANY:
        yield UNIT, renamed(ONE_TOO_MANY[name])
    if name == "square" and own is not None:
        yield ABS_FOR_SQUARE, renamed("abs")
    if name in DROPPED:
        dropped = own or (call.args[0] if call.args else None)
        if dropped is not None:
            yield DROPPED[name], dropped
    if name == "logsumexp":
        yield ORDER, renamed("mean")
        yield ORDER, renamed("sum")
    axes = call.args if own is not None else call.args[1:]
    if name in REDUCE:
        for axis in (0, 1, 2, -1):
            if axes and not _is(axes[0], axis):
                yield AXIS, renamed(name, [*call.args[: -len(axes)], ast.Constant(axis)])
        if axes:
            yield AXIS, renamed(name, call.args[: -len(axes)])
    if name == "len" and call.args:
        for axis in (1, 2):
            shape = ast.Attribute(call.args[0], "shape", ast.Load())
            yield SIZE, ast.Subscript(shape, ast.Constant(axis), ast.Load())
    if len(call.args) >= 2 and name not in REDUCE:
        yield EXCHANGED, renamed(name, [call.args[1], call.args[0], *call.args[2:]])


def _called(call: ast.Call) -> tuple[str, ast.expr | None]:
    """Return the name of what is called, and the object whose method it is, if it is one."""
    func = call.func
    if not isinstance(func, ast.Attribute):
        return (func.id, None) if isinstance(func, ast.Name) else ("", None)
    of_module = isinstance(func.value, ast.Name) and func.value.id in ("torch", "math")
    return func.attr, None if of_module else func.value


def _is(node: ast.expr, value: float) -> bool:
    """Tell whether an expression is this number."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _is(node.operand, -value)
    return (
        isinstance(node, ast.Constant)
        and type(node.value) in (int, float)
        and (node.value == value)
    )


def _made(function: Function, definitions: list[Any]) -> Function:
    """Compile definitions among the names of the function's module, and return the first."""
    module = ast.Module(body=list(definitions), type_ignores=[])
    names = dict(vars(sys.modules[function.__module__]))
    with warnings.catch_warnings(action="ignore"):  # of syntax, at slips such as 2[0]
        exec(compile(ast.fix_missing_locations(module), "<variant>", "exec"), names)
    made: Function = names[definitions[0].name]
    return made


def _reached(function: Function) -> list[ast.FunctionDef]:
    """Return the definition of the function and of those in its file that it calls."""
    function = inspect.unwrap(function)
    found = _definitions(inspect.getsourcefile(function) or "")
    reached = [found[function.__name__]]
    for definition in reached:  # grows as it is walked
        for node in ast.walk(definition):
            if isinstance(node, ast.Name) and node.id in found and found[node.id] not in reached:
                reached.append(found[node.id])
    return reached


@lru_cache
def _definitions(path: str) -> dict[str, ast.FunctionDef]:
    """Return the functions of a file by name, without annotations and decorators."""
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    found = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for definition in found.values():
        definition.decorator_list, definition.returns = [], None
        for argument in ast.walk(definition.args):
            if isinstance(argument, ast.arg):
                argument.annotation = None
    return found
