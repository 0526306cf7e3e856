"""What a wrong answer has in common with the right one, where no catalogue knows the mistake.

Every sentence is a fact about numbers: the result equals the right one halved, or what the
solution gives for a squared input, or an input was changed and the result was not. Facts are tried
from the plain to the contrived; two slips at once come last.
"""

import itertools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from companion.exercises.changes import (
    PLAIN,
    Relations,
    Values,
    changes,
    constant,
    permuted,
    shapes,
    show,
)
from companion.exercises.comparing import apart, close, same, span, wrong
from companion.exercises.inputs import changed, disturbances, other_inputs, times
from companion.exercises.running import Case, Cases, Function, Look, Run, draw, input_names, run
from companion.exercises.variants import variants

PATIENCE: Final = 0.5
"""Seconds; an answer that takes longer is not called again and again."""

SAMPLED: Final = 0.01
"""Tolerance above which results are sampled, and too rough to tell slips by."""


class Subject:
    """What a diagnosis needs of an exercise, and what it has found out about it so far.

    Args:
        solution: The right answer.
        others: Right answers written differently.
        cases: Draws the inputs.
        look: Calls a function on the inputs of a case.
        right: What the solution gives.
        mistakes: What known mistakes give, each with what is said of it.
        results: What the results are called, where they are not what a function returns.
    """

    def __init__(
        self,
        solution: Function,
        others: Sequence[Function],
        cases: Cases,
        look: Look,
        right: Run,
        mistakes: Sequence[tuple[str, Run]],
        results: Sequence[str] = (),
    ) -> None:
        self.solution, self.others, self.cases, self.look = solution, others, cases, look
        self.right, self.mistakes, self.results = right, mistakes, results
        self.count = right.count
        self.drawn = draw(cases)
        self.names = input_names(solution, self.drawn)
        # Where there is no ordinary case at all, the extreme ones are all there is to look at.
        every = [*range(len(self.drawn))]
        self.ordinary = [i for i in every if not self.drawn[i].extreme] or every
        self.relations = Relations([self.drawn[i] for i in self.ordinary], self.names)
        self._found: list[tuple[str, Run]] = []
        self._more = self._slips()

    @property
    def yes_or_no(self) -> bool:
        """Whether all results are 0 or 1."""
        return all(bool(((y == 0) | (y == 1)).all()) for parts in self.right.results for y in parts)

    def _counts(self) -> set[int]:
        """Return the positions of inputs that are whole numbers, such as a number of draws."""
        return {i for i, value in enumerate(self.drawn[0].inputs) if isinstance(value, int)}

    def named(self, part: int) -> str:
        """Return what one of the results is called, at the start of a sentence."""
        if self.results:
            return self.results[part]
        count = len(self.right.results[0])
        return "Your result" if count == 1 else f"Result {part + 1} of {count}"

    def run(self, function: Function, cases: Sequence[Case] | None = None) -> Run:
        """Return what a function gives, on all cases or on those given, if it ends soon."""
        soon = max(2 * PATIENCE, 20 * self.right.seconds)
        return run(function, cases or draw(self.cases), self.look, count=self.count, limit=soon)

    def slips(self) -> Iterator[tuple[str, Run]]:
        """Yield what one slip gives: made when first asked for, then kept."""
        yield from self._found
        try:
            for slip in self._more:
                self._found.append(slip)
                yield slip
        except KeyboardInterrupt:  # it ends a generator
            self._found, self._more = [], self._slips()
            raise

    def _slips(self) -> Iterator[tuple[str, Run]]:
        """Make the solution's results for changed inputs, and those of small changes of it."""
        inputs = (
            (says, self.run(self.solution, cases))
            for says, cases in other_inputs(self.names, self.cases)
            # Yes or no is too little to tell changed inputs by.
            if not self.yes_or_no
        )
        slips = (
            (f"is what comes out where {kind}", self.run(variant))
            for function in (self.solution, *self.others)
            for kind, variant in variants(function, self._counts())
        )
        for says, other in itertools.chain(inputs, slips):
            if other.stopped is None and not same(other.results, self.right.results, 1e-9):
                yield says, other


@dataclass(frozen=True)
class Wrong:
    """One result of the reader's that is wrong: of each ordinary case, what is there and wanted."""

    part: int
    got: Values
    want: Values
    tolerance: float

    def equals(self, values: Values) -> bool:
        """Tell whether these are the results, and no right ones."""
        return (
            _agree(self.got, values, self.tolerance)
            and any(bool(torch.isfinite(y).any()) and span(y) > 1e-12 for y in values)
            and not _agree(values, self.want, self.tolerance)
        )


def diagnose(subject: Subject, answer: Function, ours: Run, tolerance: float) -> str:
    """Return a sentence or two on an answer that came to an end and is not right.

    Args:
        subject: The exercise.
        answer: The reader's function, which is called again on changed inputs.
        ours: What it gave.
        tolerance: Relative to the span of a result.
    """
    right, ordinary = subject.right.results, subject.ordinary
    expected, given = len(right[0]), len(ours.results[0])
    if expected != given:
        return f"{expected} results are expected; your function returns {given}."
    parts = [
        part
        for part in range(expected)
        if not all(close(ours.results[i][part], right[i][part], tolerance) for i in ordinary)
    ]
    if not parts:
        return _at_extremes(subject, ours, tolerance)
    for order in itertools.permutations(range(expected)):
        if order != (*range(expected),) and all(
            _agree([ours.results[i][k] for k in order], right[i], tolerance) for i in ordinary
        ):
            return "Your results are the right ones, in another order."
    part = parts[0]
    got, want = [ours.results[i][part] for i in ordinary], [right[i][part] for i in ordinary]
    for says, known in subject.mistakes:
        if len(known.results) > max(ordinary) and all(
            _agree(ours.results[i], known.results[i], tolerance) for i in ordinary
        ):
            return f"This looks like: {says}"
    which = subject.named(part)
    fact = next(_facts(subject, answer, ours, Wrong(part, got, want, tolerance)), None)
    if fact is None:
        return _numbers(got, want, which, tolerance)
    return f"{which} {fact}"


def _facts(subject: Subject, answer: Function, ours: Run, wrong: Wrong) -> Iterator[str]:
    """Yield what explains a wrong result, each a predicate with its full stop."""
    sampled = wrong.tolerance > SAMPLED
    says = subject.relations.between(wrong.got, wrong.want, wrong.tolerance)
    if says and (says in PLAIN or not sampled):
        yield _sentence(says)
    plain = changes(wrong.want)
    for says, change in plain:
        if wrong.equals(change(wrong.want)):
            yield _sentence(says)
    yield from shapes(wrong.got, wrong.want, wrong.tolerance)
    if not sampled:
        yield from permuted(wrong.got, wrong.want, wrong.tolerance)
    yield from _inputs_themselves(subject, wrong)
    if not all(bool(torch.isfinite(y).all()) for y in wrong.got):
        return
    if ours.seconds < PATIENCE:
        yield from _chance(subject, answer, ours, wrong)
        yield from _without_effect(subject, answer, ours, wrong)
    if sampled:
        return
    for said, known in subject.mistakes:
        if _tells(known, wrong.part) and wrong.equals(_part(subject, known, wrong.part)):
            yield f"looks like this: {said}"
    for says, other in subject.slips():
        if wrong.equals(_part(subject, other, wrong.part)):
            yield _sentence(says)
    yield from _one_case(subject, wrong)
    if sum(y.numel() for y in wrong.want) >= 4:  # fewer numbers are explained by too many pairs
        yield from _two_slips(subject, wrong, plain)
    yield from constant(wrong.got, wrong.want)


def _sentence(says: str) -> str:
    return says if says.endswith("?") else f"{says}."


def _tells(run: Run, part: int) -> bool:
    """Tell whether a known mistake comes to an end, and gives a result of this number."""
    return run.stopped is None and len(run.results[0]) > part


def _part(subject: Subject, run: Run, part: int) -> Values:
    return [run.results[i][part] for i in subject.ordinary]


def _agree(some: Values, others: Values, tolerance: float) -> bool:
    return all(
        a.shape == b.shape and close(a, b, tolerance) for a, b in zip(some, others, strict=True)
    )


def _inputs_themselves(subject: Subject, wrong: Wrong) -> Iterator[str]:
    """Yield which input comes back as it is."""
    for index, name in enumerate(subject.names):
        values = [subject.drawn[i].inputs[index] for i in subject.ordinary]
        if all(isinstance(value, Tensor) for value in values) and wrong.equals(
            [value.detach().double() for value in values]
        ):
            yield f"is the input `{name}` as it is."


def _chance(subject: Subject, answer: Function, ours: Run, wrong: Wrong) -> Iterator[str]:
    """Yield that random draws change a result that needs none."""
    if not set(ours.notes) - set(subject.right.notes):
        return

    def later(*inputs: Any) -> Any:
        torch.rand(1)
        return answer(*inputs)

    again = subject.run(later)
    if again.stopped is None and not _agree(_part(subject, again, wrong.part), wrong.got, 1e-9):
        yield "changes from one call to the next: it is drawn at random, which is not needed here."


def _two_slips(
    subject: Subject, wrong: Wrong, plain: Sequence[tuple[str, Callable[[Values], Values]]]
) -> Iterator[str]:
    """Yield two slips that explain the result together."""
    known = itertools.chain(
        ((f"looks like this: {said.split('. ')[0]}", other) for said, other in subject.mistakes),
        subject.slips(),
    )
    bases = itertools.chain(
        (
            (says, _part(subject, other, wrong.part))
            for says, other in known
            if _tells(other, wrong.part)
        ),
        ((says, change(wrong.want)) for says, change in plain),
    )
    for says, values in bases:
        then = subject.relations.between(wrong.got, values, wrong.tolerance)
        if then in PLAIN and max(map(span, values)) > 1e-6 * max(map(span, wrong.want)):
            yield f"shows two slips: it {_bare(says)}; and that {_of(then)}."


def _bare(says: str) -> str:
    return says.split(": ")[0] if says.endswith("?") else says


def _of(says: str) -> str:
    """Say of an intermediate result what `says` says of the right one."""
    return "is then " + _bare(says).removeprefix("is ").replace("the right one", "what it is")


def _one_case(subject: Subject, wrong: Wrong) -> Iterator[str]:
    """Yield that an answer is right for some inputs alone."""
    right = [close(a, b, wrong.tolerance) for a, b in zip(wrong.got, wrong.want, strict=True)]
    if any(right):
        at = right.index(False)
        (a, b), _ = _worst(wrong.got[at], wrong.want[at], wrong.tolerance)
        case = subject.drawn[subject.ordinary[at]]
        yield (
            f"is right for another of the check's inputs, but with {_described(case, subject)} it "
            f"is {a} where {b} is expected: is it for the sizes, or for the values?"
        )


def _described(case: Case, subject: Subject) -> str:
    """Describe the inputs of a case by their shapes and numbers."""
    said = [
        f"`{name}` of shape {show(v)}" if isinstance(v, Tensor) and v.dim() else f"`{name}` = {v:g}"
        for name, v in zip(subject.names, case.inputs, strict=True)
        if isinstance(v, Tensor | int | float)
    ]
    return ", ".join(said) or "this one"


def _without_effect(subject: Subject, answer: Function, ours: Run, wrong: Wrong) -> Iterator[str]:
    """Yield an input, or all of an axis but one entry, that the answer does not notice."""
    first = subject.drawn[subject.ordinary[0]]
    tried = [
        (place, index, says, change)
        for index, name in enumerate(subject.names)
        for place, (says, change) in enumerate(disturbances(first.inputs[index], f"`{name}`"))
    ]
    limited = set()
    # Whole inputs come first: an answer that does not notice one notices no entry of it either.
    for place, index, says, change in sorted(tried, key=operator.itemgetter(0)):
        if place > 0 and (subject.yes_or_no or index in limited):
            continue
        runs = []
        for function in (subject.solution, answer):
            cases = draw(subject.cases)
            try:
                other = [changed(cases[i], index, change) for i in subject.ordinary]
            except Exception:  # the change does not suit this input
                break
            runs.append(subject.run(function, other))
        if len(runs) < 2 or any(run.stopped for run in runs):
            continue
        theirs, mine = ([values[wrong.part] for values in run.results] for run in runs)
        noticed = [close(a, b, 1e-4) for a, b in zip(theirs, wrong.want, strict=True)]
        if not any(noticed) and all(map(torch.equal, mine, wrong.got)):
            if place == 0 and _noticed(subject, answer, wrong, index):
                limited.add(index)
            else:
                yield says


def _noticed(subject: Subject, answer: Function, wrong: Wrong, index: int) -> bool:
    """Tell whether a large change of an input changes the result: it may be rounded or limited."""
    for factor in (50, -2):
        cases = draw(subject.cases)
        run = subject.run(answer, [times(cases[i], index, factor) for i in subject.ordinary])
        mine = [values[wrong.part] for values in run.results]
        if run.stopped or not all(map(torch.equal, mine, wrong.got)):
            return True
    return False


# --- numbers -------------------------------------------------------------------------------------


def _at_extremes(subject: Subject, ours: Run, tolerance: float) -> str:
    """Say on what an answer fails that is right on ordinary inputs."""
    for case, got, want in zip(subject.drawn, ours.results, subject.right.results, strict=True):
        for mine, theirs in zip(got, want, strict=True):
            if close(mine, theirs, tolerance):
                continue
            start = f"Right on ordinary inputs, but for {case.extreme} your"
            if mine.shape != theirs.shape:
                return f"{start} result has shape {show(mine)}; {show(theirs)} is expected."
            (a, b), (value, _) = _worst(mine, theirs, tolerance)
            if not math.isfinite(value):
                why = _leaves(value)
            elif value == float(f"{value:.2g}"):  # a limit, or what stands for a NaN
                why = "Is there a clamp, an ε or a replaced NaN?"
            else:
                why = "Is this case left out, or limited by a clamp or an ε?"
            return f"{start} function gives {a} where {b} is expected. {why}"
    raise AssertionError("nothing is wrong")


def _leaves(value: float) -> str:
    """Ask what has left the range of numbers."""
    if math.isnan(value):
        return "Is zero divided by zero, infinity taken from infinity, or a negative number's log?"
    if value < 0:
        return "Is a logarithm taken of zero, perhaps of an exponential that is too small?"
    return "Is an exponential too large, or something divided by zero?"


def _numbers(got: Values, want: Values, which: str, tolerance: float) -> str:
    """Say how far a wrong answer is from the right one, where nothing explains it."""
    ours, theirs = next(
        (a, b) for a, b in zip(got, want, strict=True) if not close(a, b, tolerance)
    )
    bad = wrong(ours, theirs, tolerance)
    (a, b), (value, _) = _worst(ours, theirs, tolerance)
    if not math.isfinite(value):
        places = (
            "" if bad.numel() == ours.numel() else f" at {bad.numel()} of {ours.numel()} places"
        )
        return f"{which} is {a}{places} where {b} is expected. {_leaves(value)}"
    if (ours - theirs).abs().max() < 1e-3 * span(theirs):
        return (
            f"{which} is nearly right: {a} where {b} is expected. Is a small ε added, a value "
            f"clamped, or a number rounded?"
        )
    if bad.numel() <= ours.numel() / 2:
        return (
            f"{which} is right at {ours.numel() - bad.numel()} of {ours.numel()} places; elsewhere "
            f"it is {a}, say, where {b} is expected."
        )
    return (
        f"Not yet: where {b} is expected your function gives {a}. No known mistake gives this "
        f"number."
    )


def _worst(
    ours: Tensor, theirs: Tensor, tolerance: float
) -> tuple[tuple[str, str], tuple[float, float]]:
    """Return two numbers that differ, the first that is not finite or the farthest apart."""
    bad = wrong(ours, theirs, tolerance)
    mine, right = ours.flatten()[bad], theirs.flatten()[bad]
    at = (mine - right).abs().nan_to_num(nan=math.inf).argmax()
    values = mine[at].item(), right[at].item()
    return apart(*values), values
