"""Changes of the inputs of a check: what an answer would give if it used another number.

An input is squared, halved, exchanged with another; or it is changed a little, to see whether an
answer notices.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor

from companion.exercises.running import Case, Cases, draw

INPUTS: Final[dict[str, Callable[[Any], Any]]] = {
    "with its sign turned": lambda v: -v,
    "doubled": lambda v: 2 * v,
    "halved": lambda v: v / 2,
    "squared": lambda v: v**2,
    "replaced by its square root": lambda v: v**0.5,
    "replaced by its exponential": lambda v: v.exp() if isinstance(v, Tensor) else math.exp(v),
    "replaced by its logarithm": lambda v: v.log() if isinstance(v, Tensor) else math.log(v),
    "replaced by 1 divided by it": lambda v: 1 / v,
    "replaced by 0": lambda v: 0 * v,
    "replaced by 1": lambda v: 0 * v + 1,
    "transposed": lambda v: v.transpose(-1, -2),
    "turned round along its first axis": lambda v: v.flip(0),
    "averaged over its first axis": lambda v: v.mean(0, keepdim=True),
}


def _alike(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first.shape == second.shape
    return type(first) is type(second)


def _put(case: Case, index: int, value: Any) -> Case:
    return replace(case, inputs=(*case.inputs[:index], value, *case.inputs[index + 1 :]))


def changed(case: Case, index: int, change: Callable[[Any], Any]) -> Case:
    """Return a case with one input changed; raise where the change does not suit it."""
    return _put(case, index, _applied(case.inputs[index], change))


def times(case: Case, index: int, factor: float) -> Case:
    """Return a case with one input multiplied, each tensor of a list too."""
    return changed(case, index, lambda v: factor * v)


def _applied(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return an input changed: each tensor of a list, and what a function returns."""
    if isinstance(value, list):
        return [_applied(item, change) for item in value]
    if isinstance(value, tuple):
        return tuple(_applied(item, change) for item in value)
    if isinstance(value, Tensor):
        return change(value) if value.is_floating_point() else _refuse(value)
    if isinstance(value, float | int) and not isinstance(value, bool):
        return change(float(value)) if isinstance(value, float) else _refuse(value)
    if callable(value):
        return lambda *inputs: _applied(value(*inputs), change)
    return _refuse(value)


def _refuse(value: Any) -> Any:
    raise TypeError(type(value))


def other_inputs(names: Sequence[str], cases: Cases) -> Iterator[tuple[str, list[Case]]]:
    """Yield cases with an input changed, or two exchanged, and what is then said."""
    for (i, first), (j, second) in itertools.combinations(enumerate(names), 2):
        drawn = draw(cases)
        if all(_alike(case.inputs[i], case.inputs[j]) for case in drawn):
            swapped = [_put(_put(c, i, c.inputs[j]), j, c.inputs[i]) for c in drawn]
            yield f"is the right one for `{first}` and `{second}` exchanged", swapped
    for index, name in enumerate(names):
        for how, change in INPUTS.items():
            try:
                drawn = [changed(case, index, change) for case in draw(cases)]
            except Exception:  # the change does not suit this input
                continue
            yield f"is the right one for `{name}` {how}", drawn


def disturbances(value: Any, name: str) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Yield ways to change an input, each with what is said of an answer that does not notice."""
    yield f"does not change with {name}: is this input used?", _disturbed
    if not isinstance(value, Tensor):
        return
    for axis, length in enumerate(value.shape):
        for kept, word in ((0, "first"), (-1, "last")) if length > 1 else ():

            def but_one(v: Tensor, axis: int = axis, kept: int = kept) -> Tensor:
                other = _disturbed(v)
                other.select(axis, kept).copy_(v.select(axis, kept))
                return other

            yield (
                f"depends on nothing of {name} but the {word} entry along axis {axis}: are the "
                f"others used?",
                but_one,
            )


def _disturbed(value: Any) -> Any:
    """Return a number or tensor changed everywhere, each entry by another factor."""
    if isinstance(value, Tensor):
        steps = torch.arange(value.numel(), dtype=value.dtype).reshape(value.shape)
        return value.detach() * (1.2 + 0.15 * torch.sin(7 * steps + 1))
    return 1.2 * value
