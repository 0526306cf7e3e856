"""The checks of the exercises: one line for any answer, and the right name for each mistake.

The tests over `EXERCISES` and `PREDICTIONS` run on every exercise of every chapter. What students
do beside answering, they do here to every solution and to every catalogued mistake.
"""

import contextlib
import functools
import io
import math
import random
import signal
import sys
import threading
import time
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from companion import exercises
from companion.exercises import diagnosis, running
from companion.exercises.checking import Exercise, Mistake, extreme, forbidden
from companion.exercises.inspecting import Condition, Inspection
from companion.exercises.predicting import Prediction
from companion.exercises.variants import changed, variants
from companion.exercises.verdicts import CORRECT, NOT_ATTEMPTED, say


def of_all_chapters(kind):
    return [
        pytest.param(exercise, id=f"{number}-{name}")
        for number in exercises.FILES
        for name, exercise in exercises.chapter(number).exercises.items()
        if isinstance(exercise, kind)
    ]


EXERCISES, PREDICTIONS = of_all_chapters(Exercise), of_all_chapters(Prediction)
RIGHT = [
    pytest.param(case.values[0], answer, id=f"{case.id}: {answer.__name__}")
    for case in EXERCISES
    for answer in case.values[0].right
]


def one_line(verdict):
    return isinstance(verdict, str) and verdict.strip() and "\n" not in verdict


def named(mistake):
    return f"✗ This looks like: {mistake.name}. {mistake.hint}"


# --- what students do beside answering -----------------------------------------------------------


def copied(value):
    """Copy what an answer could need of an input before it spoils it."""
    if isinstance(value, Tensor):
        return value.clone()
    return type(value)(map(copied, value)) if isinstance(value, list | tuple) else value


def spoilt(value):
    """Write zeros into every tensor of an input."""
    if isinstance(value, Tensor) and value.is_floating_point():
        with torch.no_grad():
            value.zero_()
    elif isinstance(value, list | tuple):
        for item in value:
            spoilt(item)


def sets_seeds(answer):
    def disguised(*inputs):
        torch.manual_seed(7)
        np.random.seed(7)  # noqa: NPY002
        random.seed(7)
        return answer(*inputs)

    return disguised


def draws_before(answer):
    def disguised(*inputs):
        torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002
        return answer(*inputs)

    return disguised


def draws_after(answer):
    def disguised(*inputs):
        result = answer(*inputs)
        torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002
        return result

    return disguised


def spoils_inputs_before(answer):
    def disguised(*inputs):
        copies = copied(inputs)
        spoilt(inputs)
        return answer(*copies)

    return disguised


def spoils_inputs_after(answer):
    def disguised(*inputs):
        result = copied(answer(*inputs))
        spoilt(inputs)
        return result

    return disguised


def spoils_its_own_results(answer):
    """Keep what was returned, and overwrite it in the next call, as a buffer does."""
    kept = []

    def disguised(*inputs):
        result = answer(*inputs)
        for old in kept:
            spoilt(old)
        kept.append(result)
        return result

    return disguised


def changes_default_dtype(answer):
    def disguised(*inputs):
        torch.set_default_dtype(torch.float32)
        result = answer(*(copied(inputs)))
        torch.set_default_dtype(torch.float16)
        return result

    return disguised


def prints(answer):
    def disguised(*inputs):
        print("one\ntwo", inputs)
        print("to stderr", file=sys.stderr)
        return answer(*inputs)

    return disguised


def warns(answer):
    def disguised(*inputs):
        warnings.warn("watch out", stacklevel=1)
        warnings.simplefilter("error")
        return answer(*inputs)

    return disguised


def as_object(answer):
    class Answer:
        def __call__(self, *inputs):
            return answer(*inputs)

    return Answer()


def as_class(answer):
    return type(as_object(answer))


def as_partial(answer):
    return functools.partial(lambda first, *inputs: answer(*inputs), "first")


def as_module(answer):
    class Answer(nn.Module):
        def forward(self, *inputs):
            return answer(*inputs)

    return Answer()


DISGUISES = [
    sets_seeds,
    draws_before,
    draws_after,
    spoils_inputs_before,
    spoils_inputs_after,
    spoils_its_own_results,
    changes_default_dtype,
    prints,
    warns,
    as_object,
    as_class,
    as_partial,
    as_module,
]


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("exercise", EXERCISES)
def test_no_disguise_hides_what_an_answer_is(exercise, disguise):
    verdict = exercise.verdict(disguise(exercise.solution))
    if exercise.differentiable and disguise is spoils_inputs_after:
        # What backward() needs may be gone; then the reader is told why.
        assert verdict.startswith(CORRECT) or verdict.endswith("in place: is that why?"), verdict
        return
    assert verdict.startswith(CORRECT), verdict
    for mistake, wrong in exercise.wrong:
        assert exercise.verdict(disguise(wrong)).startswith(named(mistake))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_settings_of_the_notebook_do_not_matter(exercise, dtype):
    torch.set_default_dtype(dtype)
    before = np.seterr(all="raise")
    try:
        with torch.no_grad(), torch.inference_mode():
            assert exercise.verdict(exercise.solution) == CORRECT
            for mistake, wrong in exercise.wrong:
                assert exercise.verdict(wrong).startswith(named(mistake))
            assert not torch.is_grad_enabled()
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(torch.float32)
        np.seterr(**before)


FORMS = {
    "numpy": lambda r: r.detach().numpy() if isinstance(r, Tensor) else np.float64(r),
    "lists": lambda r: r.tolist() if isinstance(r, Tensor) else r,
    "tensors in lists": lambda r: list(r) if isinstance(r, Tensor) and r.dim() else r,
    "32 bits": lambda r: r.float() if isinstance(r, Tensor) and r.is_floating_point() else r,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("exercise", EXERCISES)
def test_numbers_may_come_in_any_form(exercise, form):
    look = exercise.look.__name__ if exercise.look else ""
    if form in ("numpy", "lists") and (exercise.differentiable or "gradient" in look):
        pytest.skip("the gradient is asked for")

    def answer(*inputs):
        result = exercise.solution(*inputs)
        change = FORMS[form]
        return [*map(change, result)] if isinstance(result, tuple) else change(result)

    assert exercise.verdict(answer) == CORRECT


# --- every exercise of the book ------------------------------------------------------------------


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_solution_passes(exercise):
    assert exercise.verdict(exercise.solution) == CORRECT


# Would catch a check that wants one way of writing, or one order of random draws.
@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_right_answers_written_differently_pass(exercise, answer):
    assert exercise.verdict(answer).startswith(CORRECT)


@pytest.mark.parametrize("exercise", EXERCISES)
def test_each_mistake_has_its_own_name(exercise):
    # Catches two mistakes that the cases cannot tell apart, one that passes as right, and a
    # general diagnosis said in place of the catalogue's.
    for mistake, wrong in exercise.wrong:
        assert exercise.verdict(wrong).startswith(named(mistake))


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_catalogue_is_fit_to_read(exercise):
    names = [mistake.name for mistake in exercise.mistakes]
    assert len(names) >= 3
    assert len(set(names)) == len(names)
    for mistake in exercise.mistakes:
        assert not mistake.name.endswith("."), "the verdict adds the full stop"
        assert mistake.hint.endswith((".", "?", "!"))
        assert one_line(mistake.name + mistake.hint)


@pytest.mark.parametrize("exercise", EXERCISES)
def test_cases_are_drawn_anew_and_the_same(exercise):
    # Two ordinary ones at least, or a size written into an answer passes; else sampled.
    first, second = (running.draw(exercise.cases) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one.inputs, other.inputs, strict=True):
            if isinstance(a, Tensor):
                assert torch.equal(a, b)
                assert a is not b
    assert sum(not case.extreme for case in first) >= 2 or exercise.tolerance > 1e-3


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_stub_is_not_attempted(exercise):
    def raises(*inputs, **named):
        raise NotImplementedError("your turn")

    for answer in (
        None,
        ...,
        lambda *inputs, **named: None,
        lambda *inputs, **named: ...,
        lambda *inputs, **named: (None, None),
        raises,
    ):
        assert exercise.verdict(answer) == NOT_ATTEMPTED
        assert exercise.pick(answer) == (exercise.solution, "the solution (no answer yet)")
    assert exercise.pick(exercise.wrong[0][1])[1] == "yours"


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no")

    def __eq__(self, other):
        raise RuntimeError("no")

    __hash__ = None


ODD = [
    "a string",
    b"bytes",
    {"a": 1},
    object(),
    Unprintable(),
    [None, 1],
    [[1, 2], [3]],
    1j,
    torch.tensor(1j),
    torch.empty(0),
    torch.empty(3, 2, device="meta"),
    torch.full((2, 3, 5, 7), 1.5),
    np.array(["x"]),
    math.nan,
    torch.tensor(math.nan),
    10**400,
    iter([1]),
    (n for n in [1, 2]),
    torch.distributions.Normal(0.0, 1.0),
    ValueError("returned, not raised"),
]
"""What a function may return that is no answer to anything."""


@pytest.mark.parametrize("exercise", EXERCISES)
def test_any_answer_gets_one_line(exercise):
    def stops(*inputs, **named):
        raise KeyError("first line\nsecond line")

    def leaves(*inputs, **named):
        raise SystemExit

    def recurses(*inputs, **named):
        return recurses(*inputs, **named)

    class Odd(BaseException):
        def __str__(self):
            raise RuntimeError("no")

    def raises_odd(*inputs):
        raise Odd

    for answer in (stops, leaves, recurses, raises_odd):
        verdict = exercise.verdict(answer)
        assert one_line(verdict)
        assert verdict.startswith("✗ Your function stopped with ")
    assert "The check calls your function with" in exercise.verdict(lambda: 1)
    for value in ("a string", [None, 1], torch.empty(0), math.nan, object()):
        verdict = exercise.verdict(lambda *inputs, _value=value, **named: _value)
        assert one_line(verdict), value
        assert verdict.startswith("✗ "), value
    for answer in (3, "text", torch.ones(2), [exercise.solution], Unprintable(), math.nan):
        verdict = exercise.verdict(answer)
        assert one_line(verdict)
        assert "takes the function itself" in verdict


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_anything_returned_gets_one_line(value):
    verdict = DOUBLE.verdict(lambda x: value)
    assert one_line(verdict)
    assert verdict.startswith("✗ ")


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_spoilt_solution_does_not_pass(exercise):
    # Catches a look that reduces results until a wrong shape or value cannot be seen.
    def spoil(change):
        def answer(*inputs):
            result = exercise.solution(*inputs)
            return [*map(change, result)] if isinstance(result, tuple) else change(result)

        return exercise.verdict(answer)

    for change in (
        lambda r: torch.as_tensor(r) * math.nan,
        lambda r: torch.as_tensor(r) * 1.5 + 0.7,
        lambda r: torch.as_tensor(r)[None].expand(2, *torch.as_tensor(r).shape),
    ):
        verdict = spoil(change)
        assert one_line(verdict)
        assert not verdict.startswith(CORRECT)


def settings():
    """All that a check must leave as it was."""
    return (
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        random.getstate(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        np.geterr(),
        warnings.filters[:],
        sys.stdout,
        sys.stderr,
        signal.getsignal(signal.SIGALRM),
        signal.getitimer(signal.ITIMER_REAL),
        threading.active_count(),
    )


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_check_leaves_no_trace(exercise):
    wrong = exercise.wrong[0][1]  # making it draws: the type checker of the tests tries items
    torch.manual_seed(12)
    before = settings()
    exercise.verdict(exercise.solution)
    exercise.verdict(wrong)
    exercise.verdict(lambda *inputs: torch.rand(3))
    for disguise in (sets_seeds, draws_after, changes_default_dtype, prints, warns):
        exercise.verdict(disguise(exercise.solution))
    assert settings() == before


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_check_gives_the_same_verdict_twice(exercise):
    answers = [exercise.wrong[-1][1], lambda *inputs: 1.2345]
    for answer in answers:
        torch.manual_seed(0)
        first = exercise.verdict(answer)
        torch.manual_seed(1)
        assert exercise.verdict(answer) == first


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_predictions(prediction):
    right = prediction.verdict(prediction.answer)
    assert right == f"✓ Correct. {prediction.because}"
    assert one_line(right)
    assert prediction.mistakes
    for wrong, hint in prediction.mistakes.items():
        assert prediction.verdict(wrong) == f"✗ Not quite: {hint}"
        assert one_line(hint)
    for blank in (None, ..., "", "  "):
        assert prediction.verdict(blank) == NOT_ATTEMPTED
    for odd in (
        "no such word",
        -12345.678,
        math.nan,
        math.inf,
        10**400,
        1j,
        True,
        [1, 2],
        np.ones(3),
        torch.ones(3),
        torch.ones(50, 50),
        {},
        object(),
        Unprintable(),
        print,
    ):
        verdict = prediction.verdict(odd)
        assert one_line(verdict)
        assert verdict.startswith("✗ ")


@pytest.mark.parametrize("number", exercises.FILES)
def test_chapters_list_their_exercises_by_the_names_of_their_variables(number):
    check = exercises.chapter(number)
    module = import_module(f"companion.exercises.{exercises.FILES[number]}")
    for name, exercise in check.exercises.items():
        assert getattr(check, name) is exercise
        assert getattr(module, name) is exercise
        assert name in dir(check)
    made = {id(v) for v in vars(module).values() if isinstance(v, exercises.Task)}
    assert len(made) == len(check.exercises), "one of them has two names"


# --- the machinery, on a small exercise ----------------------------------------------------------


def double(x):
    return 2 * x


def pairs():
    yield torch.randn(3, 2)
    yield torch.randn(5, 4)
    yield extreme("a single row", torch.randn(1, 2))


DOUBLE = Exercise(
    solution=double,
    cases=pairs,
    mistakes=(
        Mistake("the square", "What is two times three?", lambda x: x**2),
        Mistake("a sum", "Keep the shape.", lambda x: (2 * x).sum()),
        Mistake("nothing done", "Do something.", ("2 * x", "x")),
    ),
)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (double, CORRECT),
        (lambda x: x + x, CORRECT),
        (lambda x: (2 * x).numpy(), CORRECT),
        (lambda x: (2 * x).tolist(), CORRECT),
        (lambda x: tuple(2 * x), CORRECT),
        (lambda x: (2 * row for row in x), CORRECT),
        (lambda x: map(double, x), CORRECT),
        (lambda x: (2 * x).to_sparse(), CORRECT),
        (lambda x: (2 * x).double().requires_grad_(), CORRECT),
        (lambda x: x * (2 + 1e-8), CORRECT),
        (lambda x: (x * (2 + 6e-6)).float(), CORRECT),
        (lambda x: x * (2 + 6e-6), "✗ Your result is nearly right: "),
        (
            lambda x: torch.where(x.abs() == x.abs().max(), -2 * x, 2 * x),
            "✗ Your result is right at 5 of 6 places; elsewhere it is ",
        ),
        (lambda x: x * x, "✗ This looks like: the square. What is two times three?"),
        (lambda x: 2 * x.sum(), "✗ This looks like: a sum. Keep the shape."),
        (lambda x: x.clone(), "✗ This looks like: nothing done."),
        (lambda x: (2 * x).sum(0), "✗ Your result is the right one summed over its axis 0."),
        (lambda x: (2 * x).mT, "✗ Your result is transposed: it has shape (2, 3); (3, 2) is"),
        (lambda x: 2 * x[None], "✗ Your result holds the right numbers, but has shape (1, 3, 2)"),
        (lambda x: 2 * x[:2], "✗ Your result has shape (2, 2); (3, 2) is expected for the check's"),
        (lambda x: 2 * x / 0, "✗ Your result is "),
        (lambda x: 2 * x + 1e-3, "✗ Your result is the right one plus 0.001, everywhere:"),
        (lambda x: 2 * x + 1e-4 * x**2, "✗ Your result is nearly right: "),
        (lambda x: "2x", "✗ Your function should return a tensor of real numbers; it returned str"),
        (lambda x: x.no_such, "✗ Your function stopped with AttributeError: 'Tensor' object"),
        (lambda x: torch.eye(3) @ x[:2], "✗ Your function stopped with RuntimeError:"),
        (lambda x, y: x, "✗ The check calls your function with 1 inputs. TypeError: "),
        (3, "✗ This check takes the function itself, not what it returns: a int."),
        (lambda x: None, NOT_ATTEMPTED),
        (lambda x: 2 * x if len(x) == 3 else None, "✗ Your function should return a tensor"),
        (lambda x: -2 * x, "✗ Your result is minus the right one: a sign is turned"),
        (lambda x: 2 * x / x.shape[1], "✗ Your result is the right one divided by the length of"),
        (lambda x: 2 * x - math.log(len(x)), "✗ Your result is below the right one by the log"),
        (lambda x: 2 * x / math.log(2), "✗ Your result is the right one divided by log 2: bits"),
        (lambda x: (2 * x).clamp(min=0), "✗ Your result is the right one, but never below 0"),
        (lambda x: 2 * x[:1].expand_as(x), "✗ Your result depends on nothing of `x` but the first"),
        (lambda x: torch.ones_like(x), "✗ Your result does not change with `x`: is this input"),
        (lambda x: 2 * x + torch.rand(1), "✗ Your result changes from one call to the next"),
        (lambda x: 2 * x.flip(0), "✗ Your result is the right one turned round along its axis 0"),
        (lambda x: x * (2 if len(x) == 3 else 3), "✗ Your result is right for another of the"),
        (lambda x: 2 * x if len(x) > 1 else 3 * x, "✗ Right on ordinary inputs, but for a single"),
        (lambda x: 2 * x if len(x) > 1 else (2 * x)[0], "✗ Right on ordinary inputs, but for a"),
    ],
)
def test_verdicts(answer, verdict):
    assert DOUBLE.verdict(answer).startswith(verdict)


def test_a_call_prints_the_verdict_and_returns_nothing(capsys):
    assert DOUBLE(double) is None
    assert capsys.readouterr().out == CORRECT + "\n"


@pytest.mark.parametrize(
    ("disguise", "remark"),
    [
        (sets_seeds, "draws random numbers or sets a seed"),
        (spoils_inputs_before, "changes `argument 1` in place"),
        (changes_default_dtype, "changes torch's default dtype to float16"),
    ],
)
def test_what_a_right_answer_does_beside_is_said_of_it(disguise, remark):
    assert DOUBLE.verdict(disguise(double)) == f"{CORRECT} (Your function {remark}.)"


def test_a_wrong_answer_is_told_that_it_changes_its_inputs():
    verdict = DOUBLE.verdict(lambda x: x.mul_(2).add_(1))
    assert verdict.endswith("Your function changes `x` in place: is that why?")


def test_printed_lines_come_before_the_verdict_and_few_of_them(capsys):
    DOUBLE(prints(double))
    shown = capsys.readouterr()
    assert shown.out.startswith("Your function prints:\none\ntwo (tensor(")
    assert shown.out.endswith(f"\n{CORRECT}\n")
    assert not shown.err

    def talks(x):
        for number in range(3000):
            print("line", number)
        return 2 * x

    DOUBLE(talks)
    shown = capsys.readouterr().out
    assert len(shown) < 1200
    assert "(9000 lines in all)" in shown


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "utf-8"])
def test_any_console_can_show_a_verdict(encoding, monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding))
    DOUBLE(double)
    say("✗ −½ log 2π")
    sys.stdout.flush()
    assert b"Correct." in raw.getvalue()


def test_an_answer_that_does_not_end_is_stopped(monkeypatch):
    monkeypatch.setattr(running, "TIME_LIMIT", 0.3)

    def loops(x):
        while True:
            x = x + 0

    def swallows(x):
        for _ in range(5):
            with contextlib.suppress(BaseException):
                loops(x)
        return loops(x)

    before = settings()
    for answer in (loops, swallows, lambda x: time.sleep(100), lambda x: input()):
        verdict = DOUBLE.verdict(answer)
        assert one_line(verdict)
        assert "stopped" in verdict
    assert settings() == before


def test_the_alarm_of_somebody_else_stays_set(monkeypatch):
    rung = []
    old = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    signal.setitimer(signal.ITIMER_REAL, 1000.0)
    try:
        DOUBLE.verdict(double)
        assert 900 < signal.getitimer(signal.ITIMER_REAL)[0] <= 1000
        assert signal.getsignal(signal.SIGALRM) is not old
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_a_check_runs_in_any_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(DOUBLE.verdict(double)))
    thread.start()
    thread.join()
    assert found == [CORRECT]


def test_a_slow_right_answer_is_told_so(monkeypatch):
    import companion.exercises.checking as module

    monkeypatch.setattr(module, "SLOW", -1.0)
    assert DOUBLE.verdict(double).startswith(f"{CORRECT} It is slow: ")


def test_a_slow_wrong_answer_is_not_called_again_and_again(monkeypatch):
    calls = []

    def ignores(x):
        calls.append(1)
        return torch.ones_like(x)

    assert "does not change with `x`" in DOUBLE.verdict(ignores)
    assert len(calls) > 3
    calls.clear()
    monkeypatch.setattr(diagnosis, "PATIENCE", 0.0)
    assert "does not change with" not in DOUBLE.verdict(ignores)
    assert len(calls) == 3


def test_the_reader_can_interrupt():
    def interrupted(x):
        raise KeyboardInterrupt

    before = settings()
    with pytest.raises(KeyboardInterrupt):
        DOUBLE.verdict(interrupted)
    assert settings() == before


def test_shortcuts_are_seen():
    class Model:
        def __init__(self):
            self.sample = forbidden("model.sample")

    shortcut = Exercise(lambda model, n: torch.zeros(n), lambda: [(Model(), 3), (Model(), 2)])

    def hides(model, n):
        try:
            return model.sample(n)
        except Exception:
            return torch.zeros(n)

    for answer in (lambda model, n: model.sample(n), hides):
        verdict = shortcut.verdict(answer)
        assert verdict == (
            "✗ Your function uses model.sample, which this exercise asks you to write."
        )


def test_a_sampled_sign_is_called_a_sign():
    # Catches "the absolute value", which fits as well within the tolerance.
    rough = Exercise(lambda x: -x.abs() - 1, pairs, tolerance=0.2)
    assert "is minus the right one" in rough.verdict(lambda x: (x.abs() + 1) * 1.05)


def test_drawn_answers_share_the_solutions_noise():
    # An answer that draws as the solution does gets the same draws, so it can be compared.
    noisy = Exercise(lambda x: x + torch.randn(3), lambda: [torch.zeros(3)])
    assert noisy.verdict(lambda x: torch.randn(3) + x) == CORRECT
    assert noisy.verdict(lambda x: torch.randn(3) + x + 1).startswith("✗ Your result is above")


def test_a_look_that_cannot_use_a_result_tells_whose_fault_it_is():
    mean = Exercise(lambda x: x, lambda: [torch.ones(3)], look=lambda f, x: [f(x).mean(0)])
    assert mean.verdict(lambda x: None) == NOT_ATTEMPTED
    assert mean.verdict(lambda x: "a").startswith("✗ Your function should return a tensor")
    assert mean.verdict(lambda x: x.sum().long()).startswith("✗ The check cannot use what your")
    assert mean.verdict(lambda x: x / x.missing).startswith("✗ Your function stopped with")


SQUARES = Exercise(
    lambda x: x.square().sum(1), pairs, differentiable=True, mistakes=DOUBLE.mistakes[1:2]
)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (lambda x: (x * x).sum(1), CORRECT),
        (lambda x: torch.einsum("nd,nd->n", x, x), CORRECT),
        (lambda x: (x * x.detach()).sum(1), "✗ The value is right, but the gradient in `x` is not"),
        (lambda x: x.detach().square().sum(1), "✗ The value is right, but no gradient reaches"),
        (lambda x: np.square(x.detach().numpy()).sum(1), "✗ The value is right, but no gradient"),
        (lambda x: [float(row @ row) for row in x], "✗ The value is right, but no gradient"),
        (lambda x: x.square().sum(1) + 1, "✗ Your result is above the right one by 1,"),
    ],
)
def test_gradients_are_compared_where_they_are_asked_for(answer, verdict):
    assert SQUARES.verdict(answer).startswith(verdict)


def test_no_grad_inside_is_named():
    @torch.no_grad()
    def answer(x):
        return x.square().sum(1)

    def sets(x):
        torch.set_grad_enabled(False)
        return x.square().sum(1)

    for each in (answer, sets):
        assert SQUARES.verdict(each).startswith("✗ The value is right, but no gradient reaches")


def test_several_results():
    def solution(x):
        return x.sum(1), x.mean()

    two = Exercise(solution, pairs)
    assert two.verdict(lambda x: [x.sum(1), x.mean().item()]) == CORRECT
    assert two.verdict(lambda x: x.sum(1)).startswith("✗ 2 results are expected; your function")
    verdict = two.verdict(lambda x: (x.sum(1), -x.mean()))
    assert verdict.startswith("✗ Result 2 of 2 is minus the right one")


def test_sets_and_scalars():
    small = Exercise(lambda x: torch.tensor([1, 3]), lambda: [torch.zeros(2), torch.zeros(3)])
    for answer in ({3, 1}, frozenset([1, 3]), range(1, 4, 2), {1: 0, 3: 0}.keys(), (1, 3), [1, 3]):
        assert small.verdict(lambda x, _answer=answer: _answer) == CORRECT
    number = Exercise(lambda x: x.sum(), lambda: [torch.ones(2), torch.ones(3)])
    for form in (float, torch.as_tensor, np.float32, lambda v: [float(v)], lambda v: v[None]):
        assert number.verdict(lambda x, _form=form: _form(x.sum())) == CORRECT


def test_two_different_numbers_are_shown_as_different():
    for right in (2.28267, 1e-9, 123456.789, 1e12):
        exact = Exercise(lambda x, r=right: r, lambda: [0.0], tolerance=1e-15)
        verdict = exact.verdict(lambda x, r=right: r * (1 + 1e-13))
        shown = [word.rstrip(".:,") for word in verdict.split() if word[0].isdigit()]
        assert shown[0] != shown[1], verdict


def test_infinite_and_nan_results_are_compared():
    odd = Exercise(lambda x: [math.inf, math.nan, 2.0], lambda: [0.0])
    assert odd.verdict(lambda x: [math.inf, math.nan, 2.0]) == CORRECT
    assert odd.verdict(lambda x: [math.inf, 2.0, 2.0]) != CORRECT
    assert odd.verdict(lambda x: [math.inf, math.nan, 3.0]) != CORRECT


def test_tolerance_is_relative_to_the_largest_entry():
    big = Exercise(lambda x: [1e6, 1.0], lambda: [0.0], tolerance=1e-3)
    assert big.verdict(lambda x: [1e6 + 900, 900.0]) == CORRECT
    assert big.verdict(lambda x: [1e6 + 1100, 1.0]) != CORRECT


def test_checks_raise_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in (1j, torch.tensor(1j), np.ones(3)[::-1], np.broadcast_to(1.0, (3, 2))):
            assert one_line(DOUBLE.verdict(lambda x, _value=value: _value))

        async def later(x):
            return 2 * x

        assert "coroutine" in DOUBLE.verdict(later)


# --- small changes of a solution -----------------------------------------------------------------


def log_density(x, scale):
    error = (x / scale).square().sum(-1)
    return -0.5 * error - x.shape[-1] * _log_normaliser(scale)


def _log_normaliser(scale):
    return math.log(scale) + 0.5 * math.log(2 * math.pi)


DENSITY = Exercise(log_density, lambda: [(torch.randn(5, 3), 0.3), (torch.randn(4, 7), 1.7)])


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            lambda x, s: -(x / s).square().sum(-1) - x.shape[-1] * _log_normaliser(s),
            "a factor ½ or 2 is missing or too many in one place",
        ),
        (
            lambda x, s: 0.5 * (x / s).square().sum(-1) - x.shape[-1] * _log_normaliser(s),
            "a sign is turned in one place",
        ),
        (
            lambda x, s: -0.5 * (x / s).sum(-1) - x.shape[-1] * _log_normaliser(s),
            "a square is missing or too many in one place",
        ),
        (
            lambda x, s: -0.5 * (x / s).square().mean(-1) - x.shape[-1] * _log_normaliser(s),
            "a mean stands in place of a sum",
        ),
        (
            lambda x, s: -0.5 * (x / s).square().sum(-1) - _log_normaliser(s),
            "one factor is left out",
        ),
        (
            lambda x, s: torch.full((len(x),), -x.shape[-1] * _log_normaliser(s)),
            "does not change with `x`",
        ),
        (
            lambda x, s: log_density(x, s**2),
            "is the right one for `scale` squared",
        ),
        (
            lambda x, s: -(x / s).square().sum(-1) + x.shape[-1] * _log_normaliser(s),
            "shows two slips",
        ),
        (
            lambda x, s: 2 * (-0.5 * (x / s).square().mean(-1) - x.shape[-1] * _log_normaliser(s)),
            "shows two slips: it is what comes out where a mean stands in place of a sum, or the "
            "other way round, in one place; and that is then twice what it is.",
        ),
    ],
)
def test_slips_in_one_place_are_named(answer, says):
    assert says in DENSITY.verdict(answer)


def test_an_input_without_effect_is_named_before_a_part_of_another():
    """Who looks at `first[0]` alone does not look at `second`, which comes later, at all."""
    exercise = Exercise(
        lambda first, second: first.sum() + second.sum(),
        lambda: [(torch.randn(4), torch.randn(3)), (torch.randn(5), torch.randn(2))],
    )
    assert "does not change with `second`" in exercise.verdict(lambda first, second: first[0])
    part = exercise.verdict(lambda first, second: first[0] * 3 + second.sum())
    assert "depends on nothing of `first` but the first entry along axis 0" in part


def test_yes_or_no_is_too_little_to_tell_entries_by():
    exercise = Exercise(lambda x: x > x.mean(), lambda: [(torch.linspace(1, 1.2, 6),)] * 2)
    assert "depends on" not in exercise.verdict(lambda x: (x > 1.7 * x[0]) | (x[0] > 1.1))


def both(x):
    low = x.clamp(-1, 1)
    return low.exp(), low.square().sum(-1)


def test_a_known_mistake_in_one_of_two_results_is_named():
    exercise = Exercise(
        both,
        lambda: [(4 * torch.randn(5, 3),), (4 * torch.randn(2, 6),)],
        mistakes=(Mistake("no lower limit", "It can run away.", ("clamp(-1, 1)", "clamp(max=1)")),),
    )
    # Its second result is wrong by another slip, so that the whole is no known mistake.
    verdict = exercise.verdict(lambda x: (x.clamp(max=1).exp(), x.clamp(max=1).pow(3).sum(-1)))
    assert "Result 1 of 2 looks like this: no lower limit. It can run away." in verdict


def count_down(x, steps):
    while steps > 0:
        x = x + steps
        steps = steps - 1
    return x


def test_a_slip_that_never_ends_is_soon_left(monkeypatch):
    """`steps + 1` never ends: the check's own slips get a second, not the reader's twenty."""
    limits, time_limit = [], running.time_limit

    def noted(seconds):
        limits.append(seconds)
        return time_limit(seconds)

    monkeypatch.setattr(running, "time_limit", noted)
    exercise = Exercise(count_down, lambda: [(torch.randn(5), 3), (torch.randn(4), 2)])
    assert exercise.verdict(lambda x, steps: x.sin()).startswith("✗ Not yet")
    slips = limits[limits.index(1.0) :]
    assert len(slips) > 10
    assert set(slips) == {2 * diagnosis.PATIENCE}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda x: torch.stack([x.sum(1), x.mean(1)], 1), "stand at index 0 of axis 1."),
        (lambda x: x @ torch.ones(x.shape[1], len(x)), "the right numbers stand at index 0"),
        (lambda x: torch.diag(x.sum(1)) + 5 - 5 * torch.eye(len(x)), "stand on its diagonal."),
        (lambda x: torch.cat([torch.ones(1), x.sum(1)]), "with one more at the start of axis 0."),
        (lambda x: x.sum(1)[:-1], "with one missing at the end of axis 0."),
        (lambda x: x.double(), "Which axis is too many: is a sum or a mean missing?"),
        (lambda x: x.sum(), "is the right one summed over its axis 0."),
        (lambda x: x.sum(1) / 0, "Is an exponential too large, or something divided by zero?"),
        (lambda x: (0 * x.sum(1)).log(), "Is a logarithm taken of zero"),
        (lambda x: x.sum(1) * math.nan, "Is zero divided by zero"),
    ],
)
def test_the_right_numbers_are_found_in_a_result_of_another_shape(answer, says):
    exercise = Exercise(lambda x: x.sum(1), lambda: [(torch.rand(5, 3),), (torch.rand(4, 6),)])
    assert says in exercise.verdict(answer)


def test_axes_and_results_in_another_order_are_named():
    cube = Exercise(lambda x: 2 * x, lambda: [(torch.randn(2, 3, 4),), (torch.randn(5, 2, 3),)])
    assert "with the axes in another order" in cube.verdict(lambda x: 2 * x.permute(2, 0, 1))
    two = Exercise(lambda x: (x.sum(1), x.cumsum(1)), pairs)
    exchanged = two.verdict(lambda x: (x.cumsum(1), x.sum(1)))
    assert exchanged == "✗ Your results are the right ones, in another order."


def test_an_input_that_is_rounded_is_not_called_unused():
    exercise = Exercise(
        lambda x, y: x.sum(1) + y, lambda: [(torch.rand(5, 3), 0.5), (torch.rand(4, 6), 0.7)]
    )
    for part in (lambda x: x.sum(1) / 64, lambda x: (x - 0.6).round().sum(1)):
        verdict = exercise.verdict(lambda x, y, part=part: part(x).clamp(min=0.6) + y)
        assert "is this input used" not in verdict
        assert "are the others used" not in verdict
    assert "does not change with `x`" in exercise.verdict(lambda x, y: torch.ones(len(x)) + y)


def test_no_cause_is_made_of_a_chance_agreement_of_sampled_results():
    def draws(x):
        return torch.stack([x.sum(), 1.3 * x.sum() + 0 * torch.rand(())])

    cases = [(torch.full((5, 3), 1.0),), (torch.full((4, 6), 1.0),)]
    rough = Exercise(draws, lambda: cases, tolerance=0.25, results=("The first", "The second"))
    assert "minus the right one" in rough.verdict(lambda x: -draws(x))
    assert "log 2" not in rough.verdict(lambda x: 0.7 * draws(x))
    assert "another order" not in rough.verdict(lambda x: draws(x).flip(0) * 1.2)


def test_results_have_names_where_they_are_not_what_is_returned():
    exercise = Exercise(
        lambda x: 2 * x,
        pairs,
        look=lambda f, x: [f(x), f(3 * x)],
        results=("The value", "The value for 3 x"),
    )
    assert (
        exercise.verdict(lambda x: -2 * x)
        == "✗ The value is minus the right one: a sign is turned."
    )


def test_two_slips_are_a_known_one_and_a_plain_factor():
    """Pairs with lengths and constants are too many: by chance they would blame what is right."""
    exercise = Exercise(
        lambda x: x.logsumexp(1) - math.log(x.shape[1]),
        lambda: [(torch.randn(6, 3),), (torch.randn(7, 5),)],
        mistakes=(Mistake("no log", "K.", lambda x: x.logsumexp(1)),),
    )
    assert "two slips" in exercise.verdict(lambda x: -x.logsumexp(1))
    assert "two slips" not in exercise.verdict(lambda x: x.logsumexp(1) * len(x))


def test_sampled_results_are_too_rough_for_slips():
    def answer(x, s):
        return -0.5 * (x / s).square().mean(-1) - x.shape[-1] * _log_normaliser(s)

    rough = Exercise(log_density, DENSITY.cases, tolerance=0.011)
    assert "what comes out where" in DENSITY.verdict(answer)
    assert "what comes out where" not in rough.verdict(answer)


def test_variants_leave_the_function_as_it_is():
    x = torch.randn(3, 2)
    before = log_density(x, 0.5)
    made = list(variants(log_density))
    assert len(made) > 20
    assert torch.equal(log_density(x, 0.5), before)
    assert [kind for kind, _ in made] == [kind for kind, _ in variants(log_density)]


def test_a_change_must_be_in_the_source():
    assert changed(double, "2 * x", "3 * x")(torch.ones(1)) == 3
    for old in ("4 * x", "x"):
        with pytest.raises(ValueError, match="must occur once in double"):
            changed(double, old, "y")


def test_the_readme_shows_an_exercise_that_works(tmp_path, monkeypatch):
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    (entry,) = (block for block in readme.split("```python\n") if "= Exercise(" in block)
    head = (
        "import math\nimport torch\n"
        "from companion.exercises.checking import Exercise, Mistake, extreme\n"
    )
    (tmp_path / "readme_entry.py").write_text(head + entry.split("```")[0], "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    bound = import_module("readme_entry").bound
    assert bound.verdict(bound.solution) == bound.verdict(bound.right[0]) == CORRECT
    ((mistake, wrong),) = bound.wrong
    assert bound.verdict(wrong) == named(mistake)
    assert "a single sample" in bound.verdict(
        lambda w: w.logsumexp(0).squeeze() - math.log(len(w)) + (len(w) == 1)
    )


# --- chapters and names --------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, -1, 99, 12])
def test_unknown_chapters(number):
    with pytest.raises(ValueError, match=rf"number must be .*got {number}"):
        exercises.chapter(number)


@pytest.mark.parametrize("name", ["no_such", "exercise", "Elbo"])
def test_unknown_names(name):
    check = exercises.Chapter(3, {"double": DOUBLE})
    for error in (ValueError, AttributeError):
        with pytest.raises(error, match=f"name '{name}' is no exercise of chapter 3; it"):
            getattr(check, name)
    assert not hasattr(check, name)


WORD = Prediction("Rises", "It does.", {"falls": "look again.", "stays": "not quite."})
NUMBER = Prediction(2.5, "So it is.", {1: "half of it.", 5.0: "twice."}, tolerance=0.1)
SMALL = Prediction(0.3, "So it is.", {1: "no."}, tolerance=0.004, unit="nats")
PART = Prediction(0.3, "So it is.", {1: "no."}, tolerance=0.004, unit="share")


@pytest.mark.parametrize(
    ("prediction", "answer", "verdict"),
    [
        (WORD, "rises", "✓ Correct. It does."),
        (WORD, ' "RISES". ', "✓ Correct. It does."),
        (WORD, "Falls", "✗ Not quite: look again."),
        (WORD, "jumps", "✗ Answer with one of: Rises, falls, stays."),
        (WORD, 3, "✗ Answer with one of: Rises, falls, stays."),
        (NUMBER, 2.5, "✓ Correct. So it is."),
        (NUMBER, 2.59, "✓ Correct. So it is."),
        (NUMBER, "2.5", "✓ Correct. So it is."),
        (NUMBER, "5/2", "✓ Correct. So it is."),
        (NUMBER, torch.tensor(2.5), "✓ Correct. So it is."),
        (NUMBER, torch.tensor([2.5]), "✓ Correct. So it is."),
        (NUMBER, np.float32(2.5), "✓ Correct. So it is."),
        (NUMBER, 2.61, "✗ 2.61 is close, but not there"),
        (NUMBER, 17, "✗ Not 17. Work it out"),
        (NUMBER, 1.05, "✗ Not quite: half of it."),
        (NUMBER, 5, "✗ Not quite: twice."),
        (NUMBER, "many", "✗ A number is asked for; this is 'many'."),
        (SMALL, -0.3, "✗ Not quite: the sign is turned."),
        (SMALL, 0.6, "✗ Not quite: a factor of 2 too many, or is a ½ missing?"),
        (SMALL, 30, "✗ Not 30. Work it out"),
        (PART, 30, "✗ Not quite: that is in per cent."),
        (PART, 0.433, "✗ Not 0.433. Work it out"),
        (SMALL, "30 %", "✓ Correct."),
        (SMALL, 0.433, "✗ Not quite: that is in bits; the book counts in nats."),
        (SMALL, 0.09, "✗ Not quite: that is the square: is a root missing?"),
    ],
)
def test_prediction_verdicts(prediction, answer, verdict):
    assert prediction.verdict(answer).startswith(verdict)


def test_predictions_print(capsys):
    WORD("rises")
    assert capsys.readouterr().out == "✓ Correct. It does.\n"


def test_an_inspection_draws_nothing_and_never_raises():
    def stops(*things):
        raise RuntimeError("no")

    draws = Inspection((Condition("never", "No.", lambda thing: bool(torch.rand(1) < 2)),), str)
    before = settings()
    assert draws.verdict(1) == "✓ 1"
    assert settings() == before
    broken = Inspection((Condition("never", "No.", stops),), str)
    assert broken.verdict(1) == "✗ This could not be looked at: RuntimeError: no"
    assert broken.verdict() == broken.verdict(None) == broken.verdict(1, ...) == NOT_ATTEMPTED
