"""The machinery of the checks: an answer is compared by its results with the right and the wrong.

An `Exercise` asks for a function. Its *probe* runs a function on random inputs with
pairwise-distinct sizes and returns the results. The same probe runs the solution and each
catalogued mistake; the answer is named after the one whose results it shares. A `Prediction`
asks for a number or a word.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

Probe = Callable[[Callable[..., Any]], Sequence[Any]]

NOT_ATTEMPTED: Final = "○ Not attempted yet."


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that readers give.

    Attributes:
        name: What is wrong, as it is shown to the reader, without a full stop.
        hint: What to look at, one sentence.
        wrong: The wrong answer itself, with the signature of the solution.
    """

    name: str
    hint: str
    wrong: Callable[..., Any]


@dataclass(frozen=True)
class Exercise:
    """An exercise that asks for a function; call it with the reader's function.

    Attributes:
        name: As in ``check.<name>``.
        solution: A right answer.
        probe: Calls a function on inputs of its own and returns all results, tensors or numbers.
            It seeds whatever it draws; it must not change global state.
        mistakes: The catalogue; no two may share their results with one another or the solution.
        tolerance: Relative to the largest entry of each right result.
    """

    name: str
    solution: Callable[..., Any]
    probe: Probe
    mistakes: tuple[Mistake, ...]
    tolerance: float = 1e-6

    def __call__(self, answer: object) -> None:
        """Print one line on the reader's answer; never raise."""
        print(self.verdict(answer))

    def verdict(self, answer: object) -> str:
        """Return the line that `__call__` prints."""
        if answer is None or answer is ...:
            return NOT_ATTEMPTED
        if not callable(answer):
            return f"✗ This check takes a function; it got {type(answer).__name__}."
        returned: list[Any] = []
        inside = False

        def watched(*inputs: Any, **named: Any) -> Any:
            nonlocal inside
            inside = True
            returned.append(answer(*inputs, **named))
            inside = False
            return returned[-1]

        try:
            results = self._run(watched)
        except NotImplementedError:
            return NOT_ATTEMPTED
        except (Exception, SystemExit) as error:
            what = f"{type(error).__name__}: {_short(error)}"
            if inside:
                return f"✗ Your function stopped with {what}"
            if not _blank(returned):
                return f"✗ The check cannot use the {type(returned[-1]).__name__} returned. {what}"
        if _blank(returned):
            return NOT_ATTEMPTED
        expected = self._run(self.solution)
        if self._same(results, expected):
            return "✓ Correct."
        for mistake in self.mistakes:
            if self._shares(results, mistake.wrong):
                return f"✗ This looks like: {mistake.name}. {mistake.hint}"
        return _describe(results, expected, self.tolerance)

    def _run(self, function: Callable[..., Any]) -> list[Any]:
        """Return the probe's results, with the reader's random draws seeded and undone after."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return list(self.probe(function))

    def _shares(self, results: Sequence[Any], wrong: Callable[..., Any]) -> bool:
        """Tell whether a wrong answer gives these results; one that stops gives none."""
        try:
            return self._same(results, self._run(wrong))
        except Exception:
            return False

    def _same(self, results: Sequence[Any], expected: Sequence[Any]) -> bool:
        """Tell whether all results agree in shape and, to the tolerance, in value."""
        return len(results) == len(expected) and all(
            _close(result, right, self.tolerance)
            for result, right in zip(results, expected, strict=True)
        )


@dataclass(frozen=True)
class Prediction:
    """An exercise that asks for a number or a word, to be said before the code is run.

    Attributes:
        name: As in ``check.<name>``.
        answer: The right answer. Words are compared without regard to case.
        because: Why it is right, one sentence.
        mistakes: Wrong answers and what each one overlooks.
        tolerance: How far a number may be from the answer, in its units.
    """

    name: str
    answer: float | str
    because: str
    mistakes: Mapping[float | str, str]
    tolerance: float = 0.0

    def __call__(self, answer: object) -> None:
        """Print one line on the reader's answer; never raise."""
        print(self.verdict(answer))

    def verdict(self, answer: object) -> str:
        """Return the line that `__call__` prints."""
        if answer is None or answer is ... or (isinstance(answer, str) and not answer.strip()):
            return NOT_ATTEMPTED
        if self._matches(answer, self.answer):
            return f"✓ Correct. {self.because}"
        for wrong, hint in self.mistakes.items():
            if self._matches(answer, wrong):
                return f"✗ Not quite: {hint}"
        if isinstance(self.answer, str):
            words = sorted({self.answer, *map(str, self.mistakes)})
            return f"✗ Answer with one of: {', '.join(words)}."
        return f"✗ Not {_short(answer)}. Run the code above and compare, or work it out once more."

    def _matches(self, answer: object, other: float | str) -> bool:
        """Tell whether the reader's answer is `other`."""
        if isinstance(other, str):
            return isinstance(answer, str) and answer.strip().lower() == other.lower()
        try:
            number = float(answer)  # type: ignore[arg-type]
        except Exception:  # whatever the reader passed: it is no number
            return False
        return abs(number - other) <= max(self.tolerance, 1e-9)


@dataclass(frozen=True)
class Condition:
    """Something that must hold of what the reader has built.

    Attributes:
        name: What is wrong where it does not hold, without a full stop.
        hint: What to look at, one sentence.
        holds: Called with what the inspection was given.
    """

    name: str
    hint: str
    holds: Callable[..., bool]


@dataclass(frozen=True)
class Inspection:
    """An exercise without one right answer: what the reader built is looked at, point by point.

    Attributes:
        name: As in ``check.<name>``.
        conditions: Looked at in this order; the first that does not hold is the verdict.
        finding: What the verdict adds when all hold, from the same things.
    """

    name: str
    conditions: tuple[Condition, ...]
    finding: Callable[..., str]

    def __call__(self, *things: object) -> None:
        """Print one line on what the reader has built; never raise."""
        print(self.verdict(*things))

    def verdict(self, *things: object) -> str:
        """Return the line that `__call__` prints."""
        if not things or any(thing is None or thing is ... for thing in things):
            return NOT_ATTEMPTED
        # The looks draw random numbers; the reader's stay as they were.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                for condition in self.conditions:
                    if not condition.holds(*things):
                        return f"✗ {condition.name}. {condition.hint}"
                return f"✓ {self.finding(*things)}"
            except (Exception, SystemExit) as error:
                return f"✗ This could not be looked at: {type(error).__name__}: {_short(error)}"


def _close(result: Any, expected: Any, tolerance: float) -> bool:
    """Compare one result with one right result, in shape and value."""
    got, right = _tensor(result), _tensor(expected)
    if got is None or right is None or got.shape != right.shape:
        return False
    # Of the finite entries alone: an infinite span would make everything close.
    finite = right[torch.isfinite(right)].abs()
    span = max(finite.max().item(), 1e-12) if finite.numel() else 1.0
    return torch.allclose(got, right, rtol=0.0, atol=tolerance * span, equal_nan=True)


def _tensor(value: Any) -> Tensor | None:
    """Return a real number, tensor or list of them as float64 without gradient, else None."""
    try:
        tensor = torch.as_tensor(value).detach()
        return None if tensor.is_complex() else tensor.to_dense().to(torch.float64)
    except Exception:  # whatever the reader's function returned: it is no tensor
        return None


def _blank(returned: Sequence[Any]) -> bool:
    """Tell whether a function has returned nothing but the placeholder of its stub."""
    return bool(returned) and all(value is None or value is ... for value in returned)


def _describe(results: Sequence[Any], expected: Sequence[Any], tolerance: float) -> str:
    """Say how far a wrong answer that is in no catalogue is from the right one."""
    for result, right in zip(results, expected, strict=False):
        got, want = _tensor(result), _tensor(right)
        if got is None or want is None:
            return (
                f"✗ Your function should return a tensor of real numbers; it returned "
                f"{type(result).__name__}."
            )
        if got.shape != want.shape:
            return (
                f"✗ The result has shape {tuple(got.shape)}; {tuple(want.shape)} is expected for "
                f"the check's input. Over which axes do you sum?"
            )
        if not torch.isfinite(got).all():
            return "✗ The result holds NaN or infinity. Is a logarithm taken of zero?"
        if not _close(got, want, tolerance):
            index = (got - want).abs().argmax()
            return (
                f"✗ Not yet: where {want.flatten()[index].item():.6g} is expected your function "
                f"gives {got.flatten()[index].item():.6g}. No known mistake gives this number."
            )
    return f"✗ The check expects {len(expected)} results, your function gave {len(results)}."


def _short(value: object) -> str:
    """Return the first line of an error's message or an answer, short enough to read."""
    try:
        text = str(value) if isinstance(value, BaseException) else repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    return (text.strip().splitlines() or ["(no message)"])[0][:160]
