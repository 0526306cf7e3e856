"""What a mistake is, and how it is put in the place of what is right: by name."""

import functools
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch.distributions import kl

import companion

# The whole package, so that every module that holds a function is known.
for _module in pkgutil.walk_packages(companion.__path__, "companion."):
    import_module(_module.name)


@dataclass(frozen=True)
class Mutant:
    """One mistake: `wrong` is called where the function or method named `target` would be.

    `wrong` takes the right function, and then all its arguments with defaults filled in. For a
    property it takes the right getter and the object, for a constant the constant alone. `tests`
    names the files of tests that run against it, ``objectives`` for ``tests/test_objectives.py``:
    one of them must fail.
    """

    name: str
    target: str
    tests: str
    wrong: Callable[..., Any]


MUTANTS: list[Mutant] = []


def mutant(target: str, name: str, tests: str) -> Callable[[Callable[..., Any]], None]:
    """Enter a function into the list as what is wrong in place of ``companion.<target>``."""
    return lambda wrong: MUTANTS.append(Mutant(name, target, tests, wrong))


def find(target: str) -> tuple[Any, str, Any]:
    """Return the module or class that defines ``companion.<target>``, its name there, and itself.

    Raises LookupError where there is no such thing.
    """
    *path, name = f"companion.{target}".split(".")
    for length in range(len(path), 0, -1):
        holder: Any = sys.modules.get(".".join(path[:length]))
        if holder is not None:
            break
    for part in path[length:]:
        holder = getattr(holder, part, None)
    if holder is None or name not in vars(holder):
        raise LookupError(f"companion.{target} is gone: bring tests/mutation up to date")
    return holder, name, vars(holder)[name]


def function(right: Any) -> Any:
    """Return the function behind a property, or the function itself; None for a constant."""
    right = right.fget if isinstance(right, property) else right
    return right if callable(right) else None


def made_wrong(right: Any, wrong: Callable[..., Any]) -> Any:
    """Return what stands in the place of `right`: of the same kind, and called in the same way."""
    if (inner := function(right)) is None:
        return wrong(right)
    signature = inspect.signature(inner)

    @functools.wraps(inner)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        return wrong(inner, *given.args, **given.kwargs)

    return property(call) if isinstance(right, property) else call


@contextmanager
def patched(mistake: Mutant) -> Iterator[None]:
    """Make a mistake in the package: in the class, or in every module that holds the function.

    Raises LookupError where there is nothing of this name, ValueError where nothing would change.
    """
    holder, name, right = find(mistake.target)
    wrong = made_wrong(right, mistake.wrong)
    if wrong is right or (function(right) is None and wrong == right):
        raise ValueError(f"{mistake.name} changes nothing")
    put: list[Callable[[Any], None]] = [functools.partial(setattr, holder, name)]
    if inspect.ismodule(holder) and function(right) is not None:
        # Whoever imported the function by its name holds it too; so does torch, of a KL.
        modules = [m for key, m in sys.modules.items() if f"{key}.".startswith("companion.")]
        for names in (*map(vars, modules), kl._KL_REGISTRY):
            keys = [key for key, value in names.items() if value is right]
            put += [functools.partial(names.__setitem__, key) for key in keys]
    try:
        for each in put:
            each(wrong)
        kl._KL_MEMOIZE.clear()
        yield
    finally:
        for each in put:
            each(right)
        kl._KL_MEMOIZE.clear()


def minus(right: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A mistake in many places: the sign."""
    return -right(*args, **kwargs)


def twice(right: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A mistake in many places: ½ missing."""
    return 2 * right(*args, **kwargs)


def skipped(_: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """A mistake of every check: it is not made."""
