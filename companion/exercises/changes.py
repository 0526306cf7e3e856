"""Changes that turn the right result into a wrong one: signs, factors, constants, counts, axes.

Each change comes with what is then said of the reader's result. "Divided by the length of axis 0
of `log_w`" can be told from other divisions because the sizes of a case are pairwise distinct.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from companion.exercises.comparing import close, span
from companion.exercises.running import Case

Values = list[Tensor]
"""One result of each case."""

Change = Callable[[Values], Values]

FACTORS: Final = {
    "is minus the right one: a sign is turned": -1.0,
    "is twice the right one: where does a ½ belong?": 2.0,
    "is half the right one: is a ½ too many, or a 2 missing?": 0.5,
    "is minus twice the right one: a sign, and a ½": -2.0,
    "is minus half the right one: a sign, and a ½": -0.5,
    "is four times the right one: which square or ½ is missing?": 4.0,
    "is a quarter of the right one: which square or ½ is too many?": 0.25,
    "is the right one divided by log 2: bits in place of nats?": 1 / math.log(2),
    "is the right one times log 2: is the base of a logarithm 2?": math.log(2),
    "is the right one divided by log 10: is the base of a logarithm 10?": 1 / math.log(10),
    "is the right one times log 10: is the base of a logarithm 10?": math.log(10),
    "is the right one times π": math.pi,
    "is the right one divided by π": 1 / math.pi,
    "is the right one times 2π": 2 * math.pi,
    "is the right one divided by 2π": 1 / (2 * math.pi),
    "is the right one times √(2π)": math.sqrt(2 * math.pi),
    "is the right one divided by √(2π)": 1 / math.sqrt(2 * math.pi),
}

PLAIN: Final = {*itertools.islice(FACTORS, 5)}
"""What is said of signs, ½ and 2: it holds for rough numbers, and beside another slip."""

BY_SIZE: Final[dict[str, Callable[[int], float]]] = {
    "is the right one divided by {}: a mean in place of a sum?": lambda n: 1 / n,
    "is the right one times {}: a sum in place of a mean?": lambda n: n,
    "is as if it were divided by {} less 1, in place of {}": lambda n: n / max(n - 1, 0.1),
    "is as if it were divided by {}, in place of {} less 1": lambda n: (n - 1) / n,
    "is minus the right one, divided by {}": lambda n: -1 / n,
    "is minus the right one, times {}": lambda n: -n,
    "is the right one times the root of {}": math.sqrt,
    "is the right one divided by the root of {}": lambda n: 1 / math.sqrt(n),
    "is the right one times the square of {}": lambda n: n**2,
    "is the right one divided by the square of {}": lambda n: 1 / n**2,
    "is the right one times {}, and doubled": lambda n: 2 * n,
    "is the right one divided by {}, and halved": lambda n: 0.5 / n,
}

CONSTANTS: Final = {
    "½ log 2π": 0.5 * math.log(2 * math.pi),
    "log 2π": math.log(2 * math.pi),
    "½ log 2πe": 0.5 * math.log(2 * math.pi * math.e),
    "½": 0.5,
    "1": 1.0,
    "2": 2.0,
    "log 2": math.log(2),
    "½ log 2": 0.5 * math.log(2),
    "½ log π": 0.5 * math.log(math.pi),
}

FUNCTIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "is the absolute value of the right one": torch.abs,
    "is the right one, but never below 0: is there a clamp?": lambda y: y.clamp(min=0),
    "is the right one, but never above 0: is there a clamp?": lambda y: y.clamp(max=0),
    "is the square of the right one: is a root missing?": torch.square,
    "is the square root of the right one: is a root too many?": torch.sqrt,
    "is the exponential of the right one: is a logarithm missing?": torch.exp,
    "is the logarithm of the right one: is a logarithm too many?": torch.log,
    "is the exponential of minus the right one": lambda y: torch.exp(-y),
    "is 1 divided by the right one: what stands above the line?": torch.reciprocal,
    "is 1 divided by the root of the right one": torch.rsqrt,
    "is 1 minus the right one": lambda y: 1 - y,
}


class Relations:
    """Tells which factor or shift leads from some results to others.

    Args:
        cases: With the inputs whose sizes may have got into a result.
        names: Of the inputs.
    """

    def __init__(self, cases: Sequence[Case], names: Sequence[str]) -> None:
        sizes = _sizes(cases, names)
        factors = {says: [factor] * len(cases) for says, factor in FACTORS.items()}
        shifts = {}
        for size, counts in sizes.items():
            for says, function in BY_SIZE.items():
                factors[says.format(size, "it")] = [function(n) for n in counts]
            for word, sign in (("above", 1), ("below", -1)):
                says = f"is {word} the right one by"
                shifts[f"{says} the logarithm of {size}"] = [sign * math.log(n) for n in counts]
                shifts[f"{says} {size}"] = [float(sign * n) for n in counts]
        once = {"": [1] * len(cases)}
        for (size, counts), (constant, shift) in itertools.product(
            (once | sizes).items(), CONSTANTS.items()
        ):
            much = f"{constant} times {size}" if size else constant
            for word, sign in (("above", 1), ("below", -1)):
                says = f"is {word} the right one by {much}, everywhere: look at the constants"
                shifts[says] = [sign * shift * n for n in counts]
        self._says = [[*factors], [*shifts]]
        self._table = [torch.tensor([*t.values()]).double() for t in (factors, shifts)]

    def between(self, got: Values, base: Values, tolerance: float) -> str | None:
        """Return what is to be said of `got` if `base` were the right result, None if nothing."""
        if any(a.shape != b.shape or not b.numel() for a, b in zip(got, base, strict=True)):
            return None
        for kind in (0, 1):
            measured = []
            for a, b in zip(got, base, strict=True):
                # Where the base is largest the factor is known best.
                at = b.abs().nan_to_num(posinf=0.0).argmax()
                x, y = a.flatten()[at], b.flatten()[at]
                measured.append(x / y if kind == 0 else x - y)
            found = torch.stack(measured)
            table = self._table[kind]
            near = (
                ((table - found).abs() <= max(1e-4, tolerance) * table.abs())
                .all(1)
                .nonzero()
                .flatten()
            )
            for row in near.tolist():
                made = [
                    y * c if kind == 0 else y + c for y, c in zip(base, table[row], strict=True)
                ]
                if all(close(a, m, tolerance) for a, m in zip(got, made, strict=True)):
                    return self._says[kind][row]
        return None


def changes(want: Values) -> list[tuple[str, Change]]:
    """Return changes of a result that are no factors or shifts."""
    functions = ((says, _each(function)) for says, function in FUNCTIONS.items())
    return [*functions, *_along_axes(want)]


def _each(function: Callable[[Tensor], Tensor]) -> Change:
    return lambda values: [function(y) for y in values]


def _along_axes(want: Values) -> Iterator[tuple[str, Change]]:
    """Yield what an axis that is reduced, repeated or turned round does."""

    def on(axis: int, function: Callable[[Tensor, int], Tensor]) -> Change:
        return _each(lambda y: function(y, axis) if y.dim() > axis else y)

    for axis in range(max((y.dim() for y in want), default=0)):
        yield f"is the right one summed over its axis {axis}", on(axis, torch.sum)
        yield f"is the right one averaged over its axis {axis}", on(axis, torch.mean)
        yield (
            f"is the average over axis {axis} of the right one, in every place",
            on(axis, lambda y, a: y.mean(a, keepdim=True).expand_as(y)),
        )
        yield (
            f"is the sum over axis {axis} of the right one, in every place",
            on(axis, lambda y, a: y.sum(a, keepdim=True).expand_as(y)),
        )
        yield (
            f"is the right one turned round along its axis {axis}",
            on(axis, lambda y, a: y.flip(a)),
        )
        yield f"is the right one cumulated along its axis {axis}", on(axis, torch.cumsum)
        yield (
            f"is the right one divided by its sum over axis {axis}",
            on(axis, lambda y, a: y / y.sum(a, keepdim=True)),
        )
    if any(y.dim() for y in want):
        yield "is the sum of all numbers of the right one", _each(torch.sum)
        yield "is the average of all numbers of the right one", _each(torch.mean)


def _sizes(cases: Sequence[Case], names: Sequence[str]) -> dict[str, list[int]]:
    """Return the lengths of all axes of the inputs, and counts among them, by what they are."""
    found: dict[str, list[int]] = {}
    for case in cases:
        for value, name in zip(case.inputs, names, strict=False):
            for size, number in _sizes_of(value, name):
                found.setdefault(size, []).append(number)
    return {size: n for size, n in found.items() if len(n) == len(cases) and max(n) > 1}


def _sizes_of(value: Any, name: str) -> Iterator[tuple[str, int]]:
    if isinstance(value, Tensor):
        for axis, length in enumerate(value.shape):
            yield f"the length of axis {axis} of `{name}`", max(length, 1)
        if value.dim() > 1:
            yield f"the number of entries of `{name}`", max(value.numel(), 1)
    elif isinstance(value, list | tuple):
        yield f"the length of `{name}`", max(len(value), 1)
        if value and isinstance(value[0], Tensor):
            yield from _sizes_of(value[0], f"{name}[0]")
    elif isinstance(value, int) and not isinstance(value, bool) and value > 0:
        yield f"`{name}`", value


def shapes(got: Values, want: Values, tolerance: float) -> Iterator[str]:
    """Yield what is wrong with the shape, or the order of the entries."""
    for ours, theirs in zip(got, want, strict=True):
        found = f"shape {show(ours)}; {show(theirs)} is expected for the check's input"
        if theirs.dim() >= 2 and close(ours, theirs.mT, tolerance):
            if not close(ours, theirs, tolerance):
                yield f"is transposed: it has {found}."
        elif ours.numel() == theirs.numel():
            if ours.shape != theirs.shape and _as_lists(ours, theirs, tolerance):
                yield f"holds the right numbers, but has {found}."
        elif ours.squeeze().shape == theirs.squeeze().shape:
            yield f"has {found}: an axis of length 1 too many or too few?"
        if ours.shape == theirs.shape:
            continue
        yield from _pieces(ours, theirs, tolerance, found)
        if ours.dim() > theirs.dim():
            yield f"has {found}. Which axis is too many: is a sum or a mean missing?"
        if ours.dim() < theirs.dim():
            yield f"has {found}. Which axis is lost: by a sum, a mean, an index?"
        yield f"has {found}. Which axis has another length, and where does it come from?"


def permuted(got: Values, want: Values, tolerance: float) -> Iterator[str]:
    """Yield that the right numbers stand in other places."""
    if all(
        a.shape == b.shape
        and _as_lists(a.flatten().sort().values, b.flatten().sort().values, tolerance)
        for a, b in zip(got, want, strict=True)
    ):
        yield "holds the right numbers in another order."


def _pieces(ours: Tensor, theirs: Tensor, tolerance: float, found: str) -> Iterator[str]:
    """Yield where in a result of another shape the right one stands, or what of it is there."""
    if ours.dim() == theirs.dim() + 1:
        places = ((axis, i) for axis, length in enumerate(ours.shape) for i in range(length))
        for axis, index in places:
            if close(ours.select(axis, index), theirs, tolerance):
                yield f"has {found}: the right numbers stand at index {index} of axis {axis}."
        if ours.dim() == 2 and close(ours.diagonal(), theirs, tolerance):
            yield f"has {found}: the right numbers stand on its diagonal."
    if ours.dim() != theirs.dim():
        return
    for axis, (mine, right) in enumerate(zip(ours.shape, theirs.shape, strict=True)):
        more, less = (ours, theirs) if mine > right else (theirs, ours)
        what = "one more" if mine > right else "one missing"
        for start, where in ((1, "start"), (0, "end")) if abs(mine - right) == 1 else ():
            if close(more.narrow(axis, start, less.shape[axis]), less, tolerance):
                yield f"has {found}: the right numbers, with {what} at the {where} of axis {axis}."
    for order in itertools.permutations(range(ours.dim())):
        if close(ours.permute(order), theirs, tolerance):
            yield f"has {found}: the right numbers, with the axes in another order."


def _as_lists(ours: Tensor, theirs: Tensor, tolerance: float) -> bool:
    return close(ours.flatten(), theirs.flatten(), tolerance)


def constant(got: Values, want: Values) -> Iterator[str]:
    """Yield the one factor or difference between the two, where there is one."""
    if any(a.shape != b.shape for a, b in zip(got, want, strict=True)):
        return
    ours, theirs = (torch.cat([y.flatten() for y in values]) for values in (got, want))
    if ours.numel() < 3 or not torch.isfinite(ours).all() or not torch.isfinite(theirs).all():
        return
    if (ours - ours[0]).abs().max() <= 1e-9 * span(theirs) < span(theirs - theirs[0]):
        yield f"is {ours[0].item():.6g} everywhere, whatever the input."
    if (ours - theirs).abs().max() < 1e-4 * span(theirs):
        return  # nearly right, which says more than 1.00001 times
    for says, numbers in (
        ("is {} times the right one, everywhere: which constant is that?", ours / theirs),
        ("is the right one plus {}, everywhere: which constant is that?", ours - theirs),
    ):
        middle = numbers.median().item()
        if math.isfinite(middle) and (numbers - middle).abs().max() < 1e-6 * abs(middle):
            yield says.format(f"{middle:.6g}")


def show(result: Tensor) -> str:
    """Return the shape of a result as its reader sees it."""
    return str(tuple(result.shape))
