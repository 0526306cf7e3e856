"""Checks of a function: it is compared by its results with the solution and with known mistakes.

The *cases* of an exercise are inputs of pairwise-distinct sizes. The reader's function, the
solution and each catalogued mistake are called on fresh copies of them, and the answer is named
after the one whose results it shares.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from companion.exercises.comparing import close, same
from companion.exercises.diagnosis import Subject, diagnose
from companion.exercises.isolating import quiet
from companion.exercises.running import SLOW, Cases, Look, Run, draw, run
from companion.exercises.running import Function as Function
from companion.exercises.running import extreme as extreme
from companion.exercises.running import forbidden as forbidden
from companion.exercises.variants import changed
from companion.exercises.verdicts import CORRECT, NOT_ATTEMPTED, say


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that readers give.

    Attributes:
        name: What is wrong, as it is shown to the reader, without a full stop.
        hint: What to look at, one sentence.
        wrong: The wrong answer itself, with the signature of the solution; or a small change of
            the solution, a piece of its source and what stands in its place.
    """

    name: str
    hint: str
    wrong: Function | tuple[str, str]


@dataclass(frozen=True)
class Exercise:
    """An exercise that asks for a function; call it with the reader's function.

    Attributes:
        solution: A right answer.
        cases: Draws the inputs of a few calls: tuples, one input alone, or `extreme` cases. The
            generators are seeded before it and put back after it.
        mistakes: The catalogue; no two may share their results with one another or the solution.
        right: Right answers written in other ways; the tests try them.
        look: Calls a function with the inputs of a case and returns what is compared, for answers
            that are not compared by what they return alone.
        differentiable: Whether the gradients in the inputs are compared too.
        tolerance: Relative to the largest entry of each right result.
        results: What is compared, as the start of a sentence ("The gradient in σ"), with `look`.
    """

    solution: Function
    cases: Cases
    mistakes: tuple[Mistake, ...] = ()
    right: tuple[Function, ...] = ()
    look: Look | None = None
    differentiable: bool = False
    tolerance: float = 1e-6
    results: tuple[str, ...] = ()

    def __call__(self, answer: object) -> None:
        """Print what the answer prints, shortened, and one line on it; never raise."""
        verdict, printed = self._judged(answer)
        if printed:
            say(f"Your function prints:\n{printed}")
        say(verdict)

    def verdict(self, answer: object) -> str:
        """Return the line that `__call__` prints."""
        return self._judged(answer)[0]

    def pick(self, answer: Any) -> tuple[Function, str]:
        """Return the function that a figure shows, and what it is called there.

        The reader's own once there is one, right or wrong; until then the solution, under its name.
        """
        if self.verdict(answer) == NOT_ATTEMPTED:
            return self.solution, "the solution (no answer yet)"
        return answer, "yours"

    @cached_property
    def wrong(self) -> tuple[tuple[Mistake, Function], ...]:
        """The catalogued mistakes, each with its wrong answer as a function."""
        return tuple(
            (m, changed(self.solution, *m.wrong) if isinstance(m.wrong, tuple) else m.wrong)
            for m in self.mistakes
        )

    def _judged(self, answer: Any) -> tuple[str, str]:
        """Return the verdict on an answer, and what it printed."""
        if answer is None or answer is ...:
            return NOT_ATTEMPTED, ""
        if not callable(answer):
            kind = type(answer).__name__
            return f"✗ This check takes the function itself, not what it returns: a {kind}.", ""
        with quiet():
            if isinstance(answer, type) and any("__call__" in vars(c) for c in answer.__mro__):
                answer = _object_of(answer)
            ours = self._run(answer, self._right.count)
            verdict = NOT_ATTEMPTED if ours.blank else self._compared(answer, ours)
        return verdict, ours.printed

    def _run(self, function: Function, count: int | None) -> Run:
        """Return what a function gives on all cases."""
        look = self.look or _returned
        return run(function, draw(self.cases), look, count=count, gradients=self.differentiable)

    @cached_property
    def _right(self) -> Run:
        """What the solution gives."""
        found = self._run(self.solution, None)
        if found.stopped:
            raise RuntimeError(found.stopped)
        return found

    @cached_property
    def _catalogue(self) -> list[tuple[Mistake, Run]]:
        """What each catalogued mistake gives."""
        return [(mistake, self._run(wrong, self._right.count)) for mistake, wrong in self.wrong]

    @cached_property
    def _subject(self) -> Subject:
        return Subject(
            self.solution,
            self.right,
            self.cases,
            self.look or _returned,
            self._right,
            [(f"{mistake.name}. {mistake.hint}", given) for mistake, given in self._catalogue],
            self.results,
        )

    def _compared(self, answer: Function, ours: Run) -> str:
        """Return the verdict on an answer that was called."""
        tolerance = max(self.tolerance, ours.precision)
        right = self._right
        if ours.stopped is not None:
            for mistake, theirs in self._catalogue:
                if ours.results and self._equal(ours, theirs, tolerance):
                    return _named(mistake)
            ordinary = self._subject.ordinary
            if len(ours.results) > max(ordinary) and not all(
                same([ours.results[i]], [right.results[i]], tolerance) for i in ordinary
            ):
                return f"✗ {diagnose(self._subject, answer, ours, tolerance)}"
            return f"✗ {ours.stopped.rstrip('.')}."
        if same(ours.results, right.results, tolerance):
            lost = self._lost(ours, right, tolerance)
            if not lost:
                return CORRECT + _remarks(ours, right)
            for mistake, theirs in self._catalogue:
                if self._equal(ours, theirs, tolerance):
                    return _named(mistake)
            return f"✗ {lost}{_in_place(ours)}"
        for mistake, theirs in self._catalogue:
            if self._equal(ours, theirs, tolerance):
                return _named(mistake)
        return f"✗ {diagnose(self._subject, answer, ours, tolerance)}{_in_place(ours)}"

    def _lost(self, ours: Run, right: Run, tolerance: float) -> str:
        """Say what is wrong with the gradients, where they are asked for."""
        if not self.differentiable:
            return ""
        inputs = zip(self._subject.names, self._subject.drawn[0].inputs, strict=True)
        names = [n for n, v in inputs if isinstance(v, Tensor) and v.is_floating_point()]
        return _lost_gradient(ours, right, names, tolerance)

    def _equal(self, ours: Run, theirs: Run, tolerance: float) -> bool:
        """Tell whether an answer gives what a catalogued mistake gives."""
        return (
            (ours.stopped is None) == (theirs.stopped is None)
            and same(ours.results, theirs.results, tolerance)
            and not self._lost(ours, theirs, tolerance)
        )


def _object_of(answer: type) -> Any:
    """Return an object of a class whose objects are functions, the class itself if it cannot."""
    try:
        return answer()
    except Exception:
        return answer


def _returned(function: Function, *inputs: Any) -> Any:
    """Return what a function returns: the usual thing to look at."""
    return function(*inputs)


def _named(mistake: Mistake) -> str:
    return f"✗ This looks like: {mistake.name}. {mistake.hint}"


def _lost_gradient(ours: Run, right: Run, names: Sequence[str], tolerance: float) -> str:
    """Say what is wrong with the gradients of an answer whose values are right, if anything.

    No gradient at all counts as zeros: the answer may not depend on that input.
    """
    lost: dict[str, None] = {}  # a set that keeps its order
    found = False
    for mine, theirs in zip(ours.gradients, right.gradients, strict=True):
        for name, got, want in zip(names, mine, theirs, strict=True):
            if want is not None and bool(want.any()):
                found = found or (got is not None and bool(got.any()))
                if got is None or not close(got, want, max(tolerance, 1e-5)):
                    lost[name] = None
            elif got is not None and bool(got.any()):
                lost[name] = None
    if not lost:
        return ""
    if not found:
        return (
            "The value is right, but no gradient reaches the inputs. Is there a detach(), an "
            "item(), a no_grad or a numpy call on the way?"
        )
    which = " and ".join(f"`{name}`" for name in lost)
    return (
        f"The value is right, but the gradient in {which} is not. Which part is a constant to "
        f"autograd that should not be?"
    )


def _remarks(ours: Run, right: Run) -> str:
    """Say what else a right answer does, in a sentence with a space before it."""
    notes = [note for note in ours.notes if note not in right.notes]
    said = f" (Your function {', and it '.join(notes)}.)" if notes else ""
    if ours.seconds > SLOW:
        said += (
            f" It is slow: {ours.seconds:.0f} s for small inputs. Let torch work on all elements "
            f"at once in place of a loop over them."
        )
    return said


def _in_place(ours: Run) -> str:
    """Say that a wrong answer changes its inputs, which may be why it is wrong."""
    notes = [note for note in ours.notes if note.endswith("in place")]
    return f" Your function {', and it '.join(notes)}: is that why?" if notes else ""
