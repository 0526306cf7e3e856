"""Calls a reader's function on the inputs of a check, and notes what it does beside answering.

All inputs are made before the first call, and each call has its own.
"""

import contextlib
import inspect
import random
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from companion.exercises.comparing import Unreadable, parts, tensor
from companion.exercises.isolating import OutOfTimeError, Start, quiet, time_limit
from companion.exercises.verdicts import short

TIME_LIMIT: Final = 20.0
"""Seconds of computing for all calls of one check; three times as long by the clock."""

SLOW: Final = 2.0
"""Seconds of computing after which a right answer is told that it is slow."""

SINGLE: Final = 1e-5
"""Relative error that results in 32 bits may have, beside inputs in 64."""


class ShortcutError(BaseException):
    """An answer used what its exercise asks it to write."""


def forbidden(what: str) -> Callable[..., Any]:
    """Return a function to put in place of one that an answer must not call."""

    def shortcut(*inputs: Any, **named: Any) -> Any:
        raise ShortcutError(what)

    return shortcut


@dataclass(frozen=True)
class Case:
    """One call that a check makes.

    Attributes:
        inputs: Of the function, in order.
        extreme: What is special about them, as in "weights so small that exp() gives 0"; empty
            for ordinary inputs.
    """

    inputs: tuple[Any, ...]
    extreme: str = ""


def extreme(what: str, *inputs: Any) -> Case:
    """Return a case on which careless arithmetic fails; `what` completes "wrong for …"."""
    return Case(inputs, what)


Function = Callable[..., Any]
Cases = Callable[[], Iterable[Any]]
Look = Callable[..., Sequence[Any]]


@dataclass
class Run:
    """What came of calling a function on all cases.

    Attributes:
        results: For each case that was finished the list of its results, float64 tensors.
        gradients: For each case the gradient in each tensor given, None where there is none.
        notes: What else the function did, as "changes `z` in place".
        returned: What it returned, as it was.
        precision: The relative error that the dtype of the results alone explains.
        stopped: Why it did not come to an end, a sentence; None if it did.
        printed: The start of what it printed.
        seconds: Computing time of all calls.
    """

    results: list[list[Tensor]] = field(default_factory=list)
    gradients: list[list[Tensor | None]] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)  # a set that keeps its order
    returned: list[Any] = field(default_factory=list)
    precision: float = 0.0
    stopped: str | None = None
    printed: str = ""
    seconds: float = 0.0

    @property
    def count(self) -> int:
        """How many results a call returned: those of a tuple, or one."""
        return len(self.returned[0]) if isinstance(self.returned[0], tuple) else 1

    @property
    def blank(self) -> bool:
        """Tell whether nothing but the placeholder of a stub came back."""
        values = [
            v for r in self.returned for v in (r if isinstance(r, tuple | list) and r else [r])
        ]
        return bool(values) and all(v is None or v is ... or v is NotImplemented for v in values)


def draw(cases: Cases) -> list[Case]:
    """Return fresh inputs, the same each time, whatever the state of the generators."""
    with quiet():
        drawn = [
            case if isinstance(case, Case) else Case(case if isinstance(case, tuple) else (case,))
            for case in cases()
        ]
    seen: set[int] = set()
    return [replace(case, inputs=_apart(case.inputs, seen)) for case in drawn]


def _apart(value: Any, seen: set[int]) -> Any:
    """Return inputs whose tensors share no memory with those seen before."""
    if isinstance(value, list | tuple):
        return type(value)([_apart(item, seen) for item in value])
    if isinstance(value, Tensor) and not value.requires_grad:
        place = value.untyped_storage().data_ptr()
        value = value.clone() if place in seen else value
        seen.add(place)
    return value


def run(
    function: Callable[..., Any],
    cases: Sequence[Case],
    look: Look,
    *,
    count: int | None = None,
    gradients: bool = False,
    limit: float = TIME_LIMIT,
) -> Run:
    """Call a function on all cases, stop at the first that fails, and note what else it does.

    Args:
        function: The reader's answer, or one of the check's own.
        cases: Fresh ones: they may be changed.
        look: Calls the function with the inputs of a case and returns what is compared.
        count: How many results a call should return; None takes them as they come.
        gradients: Whether to look at the gradients in the inputs too.
        limit: Seconds of computing for all cases.
    """
    found, output = Run(), Start()
    names = input_names(function, cases)
    start = time.process_time()
    inside = False

    def watched(*inputs: Any, **named: Any) -> Any:
        nonlocal inside
        before = [_copy(value) for value in inputs]
        state = _generators()
        inside = True
        with (
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
            warnings.catch_warnings(),
        ):
            result = _settled(function(*inputs, **named))
        inside = False
        found.returned.append(result)
        dtype = torch.get_default_dtype()
        if dtype != torch.float64:
            found.notes[f"changes torch's default dtype to {str(dtype)[6:]}"] = None
            torch.set_default_dtype(torch.float64)
        if _generators() != state:
            found.notes["draws random numbers or sets a seed"] = None
        for value, old, name in zip(inputs, before, names, strict=False):
            if not _equal(value, old):
                found.notes[f"changes `{name}` in place"] = None
        # Copies: a function may keep what it returned, and change it later.
        ours = [part.clone() for part in parts(result, count)]
        if any(part.dtype == torch.float32 for part in ours):
            found.precision = SINGLE
        return ours[0] if len(ours) == 1 else tuple(ours)

    case = Case(())
    try:
        with time_limit(limit):
            for case in cases:
                inputs = [_leaf(v) if gradients else v for v in case.inputs]
                with quiet():
                    seen = look(watched, *inputs)
                    several = seen if isinstance(seen, tuple | list) else [seen]
                    results = [tensor(part) for part in several]
                    found.gradients.append(_gradients(results, inputs) if gradients else [])
                found.results.append([r.detach().to(torch.float64) for r in results])
    except OutOfTimeError:
        found.stopped = (
            f"Your function was stopped: it ran for more than {limit:g} seconds on small "
            f"inputs. Does each loop end, and can torch work on all elements at once?"
        )
    except ShortcutError as shortcut:
        found.stopped = f"Your function uses {shortcut}, which this exercise asks you to write."
    except Unreadable as unreadable:
        found.stopped = str(unreadable)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the reader's function raises
        if isinstance(error, NotImplementedError) and not found.results:
            found.returned.append(None)
        found.stopped = (
            _why(error, function, names, case)
            if inside
            else f"The check cannot use what your function returned. {_said(error)}"
        )
    found.printed = output.text()
    found.seconds = time.process_time() - start
    return found


def _settled(result: Any) -> Any:
    """Return what a function returned, with an iterator read to its end and a coroutine closed."""
    if inspect.iscoroutine(result):
        result.close()
    if inspect.isgenerator(result) or isinstance(result, map | zip | filter):
        return list(result)
    return result


def _leaf(value: Any) -> Any:
    """Return a float tensor as one whose gradient can be asked for, anything else as it is."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.detach().requires_grad_()
    return value


def _gradients(results: Sequence[Tensor], inputs: Sequence[Any]) -> list[Tensor | None]:
    """Return the gradient of a weighted sum of all results in each tensor given."""
    leaves = [v for v in inputs if isinstance(v, Tensor) and v.requires_grad]
    total = sum(
        (r * torch.cos(torch.arange(r.numel(), dtype=r.dtype).reshape(r.shape))).sum()
        for r in results
        if r.requires_grad
    )
    if not isinstance(total, Tensor):
        return [None for _ in leaves]
    try:
        found = torch.autograd.grad(total, leaves, allow_unused=True)
    except RuntimeError:  # what the gradient needs was changed in place
        return [None for _ in leaves]
    return [None if gradient is None else gradient.detach() for gradient in found]


def _copy(value: Any) -> Any:
    """Return a copy of what a function could change of an input."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, list | tuple):
        return [_copy(item) for item in value]
    if isinstance(value, Distribution):
        return _copy(_held(value))
    return value


def _held(distribution: Distribution) -> list[Any]:
    """Return the parameters of a distribution."""
    return [v for v in vars(distribution).values() if isinstance(v, Tensor | Distribution)]


def _equal(value: Any, old: Any) -> bool:
    """Tell whether an input is as its copy says."""
    if isinstance(value, Tensor):
        return value.shape == old.shape and torch.equal(value.nan_to_num(), old.nan_to_num())
    if isinstance(value, list | tuple):
        return len(value) == len(old) and all(map(_equal, value, old))
    if isinstance(value, Distribution):
        return _equal(_held(value), old)
    return True


def _generators() -> tuple[bytes, bytes, int]:
    """Return something that differs when a generator has been used or seeded."""
    numpy_state: tuple[Any, ...] = np.random.get_state()  # type: ignore[assignment]  # noqa: NPY002
    return (
        torch.get_rng_state().numpy().tobytes(),
        numpy_state[1].tobytes(),
        hash((numpy_state[2], random.getstate())),
    )


def input_names(function: Callable[..., Any], cases: Sequence[Case]) -> list[str]:
    """Return what a function calls its inputs."""
    number = max((len(case.inputs) for case in cases), default=0)
    try:
        parameters = inspect.signature(function).parameters.values()
        names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    except Exception:
        names = []
    return [names[i] if i < len(names) else f"argument {i + 1}" for i in range(number)]


def _why(
    error: BaseException, function: Callable[..., Any], names: Sequence[str], case: Case
) -> str:
    """Say with what a function stopped."""
    if isinstance(error, TypeError):
        try:
            inspect.signature(function).bind(*case.inputs)
        except TypeError:
            return f"The check calls your function with {len(case.inputs)} inputs. {_said(error)}"
        except Exception:  # a builtin has no signature
            pass
    where = f", for {case.extreme}" if case.extreme else ""
    return f"Your function stopped with {_said(error)}{where}"


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {short(error)}"
