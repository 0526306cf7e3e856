"""The checks of the exercises: one line for any answer, and the right name for each mistake.

The tests over `EXERCISES` and `PREDICTIONS` run on every exercise of every chapter.
"""

import math
import warnings

import numpy as np
import pytest
import torch

from companion import exercises
from companion.exercises.checking import NOT_ATTEMPTED, Exercise, Mistake, Prediction

CORRECT = "✓ Correct."


def of_all_chapters(kind):
    return [
        pytest.param(exercise, id=f"{number}-{name}")
        for number in exercises.FILES
        for name, exercise in exercises.chapter(number).exercises.items()
        if isinstance(exercise, kind)
    ]


EXERCISES, PREDICTIONS = of_all_chapters(Exercise), of_all_chapters(Prediction)
MISTAKES = [
    pytest.param(case.values[0], mistake, id=f"{case.id}: {mistake.name}")
    for case in EXERCISES
    for mistake in case.values[0].mistakes
]


def one_line(verdict):
    return isinstance(verdict, str) and verdict.strip() and "\n" not in verdict


def changed(exercise, change):
    """The solution, with its results changed."""
    return lambda *inputs, **named: change(exercise.solution(*inputs, **named))


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
    torch.full((2, 3, 5, 7), 1.5),
    np.array(["x"]),
    math.nan,
    torch.tensor(math.nan),
    10**400,
    iter([1]),
    torch.distributions.Normal(0.0, 1.0),
    ValueError("returned, not raised"),
]
"""What a function may return that is no answer to anything."""


# --- Every exercise of the book ------------------------------------------------------------------


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_solution_passes(exercise):
    assert exercise.verdict(exercise.solution) == CORRECT


@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES)
def test_each_mistake_has_its_own_name(exercise, mistake):
    # Catches two mistakes that the probe cannot tell apart, and one that passes as right.
    assert exercise.verdict(mistake.wrong) == f"✗ This looks like: {mistake.name}. {mistake.hint}"


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
def test_a_stub_is_not_attempted(exercise):
    def raises(*inputs, **named):
        raise NotImplementedError("your turn")

    for answer in (
        None,
        ...,
        lambda *inputs, **named: None,
        lambda *inputs, **named: ...,
        raises,
    ):
        assert exercise.verdict(answer) == NOT_ATTEMPTED


@pytest.mark.parametrize("exercise", EXERCISES)
def test_any_answer_gets_one_line(exercise):
    def stops(*inputs, **named):
        raise KeyError("first line\nsecond line")

    def leaves(*inputs, **named):
        raise SystemExit

    def recurses(*inputs, **named):
        return recurses(*inputs, **named)

    for answer in (stops, leaves, recurses, lambda: 1):
        verdict = exercise.verdict(answer)
        assert one_line(verdict)
        assert verdict.startswith("✗ Your function stopped with ")
    for value in ("a string", [None, 1], torch.empty(0), math.nan, object()):
        verdict = exercise.verdict(lambda *inputs, _value=value, **named: _value)
        assert one_line(verdict), value
        assert verdict.startswith("✗ "), value
    for answer in (3, "text", torch.ones(2), [exercise.solution], Unprintable(), math.nan):
        verdict = exercise.verdict(answer)
        assert one_line(verdict)
        assert "takes a function" in verdict


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_anything_returned_gets_one_line(value):
    verdict = DOUBLE.verdict(lambda x: value)
    assert one_line(verdict)
    assert verdict.startswith("✗ ")


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_spoilt_solution_does_not_pass(exercise):
    # Catches a probe that reduces results until a wrong shape or value cannot be seen.
    def spoil(change):
        return exercise.verdict(
            changed(exercise, lambda r: change(r) if isinstance(r, torch.Tensor | float) else None)
        )

    for change in (
        lambda r: torch.as_tensor(r) * math.nan,
        lambda r: torch.as_tensor(r) * 1.5 + 0.7,
        lambda r: torch.as_tensor(r)[None].expand(2, *torch.as_tensor(r).shape),
    ):
        verdict = spoil(change)
        assert one_line(verdict)
        assert verdict != CORRECT


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_check_leaves_no_trace(exercise):
    # Catches a probe that moves the reader's random numbers or torch's settings.
    torch.manual_seed(12)
    state = (torch.get_rng_state(), torch.get_default_dtype(), torch.is_grad_enabled())
    numbers = np.random.get_state()[1].tolist()  # noqa: NPY002
    exercise.verdict(exercise.solution)
    exercise.verdict(exercise.mistakes[0].wrong)
    assert torch.equal(state[0], torch.get_rng_state())
    assert state[1:] == (torch.get_default_dtype(), torch.is_grad_enabled())
    assert numbers == np.random.get_state()[1].tolist()  # noqa: NPY002


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_check_gives_the_same_verdict_twice(exercise):
    for seed in (0, 1):
        torch.manual_seed(seed)
        assert exercise.verdict(exercise.solution) == CORRECT
        last = exercise.mistakes[-1]
        assert exercise.verdict(last.wrong).startswith(f"✗ This looks like: {last.name}.")


@pytest.mark.parametrize("exercise", EXERCISES)
def test_an_answer_that_spoils_its_inputs_hurts_nobody(exercise):
    def spoils(*inputs, **named):
        for value in (*inputs, *named.values()):
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                with torch.no_grad():
                    value.fill_(math.nan) if value.is_leaf else None
        return torch.tensor(0.0)

    assert one_line(exercise.verdict(spoils))
    assert exercise.verdict(exercise.solution) == CORRECT


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
def test_chapters_list_their_exercises_by_name(number):
    check = exercises.chapter(number)
    for name, exercise in check.exercises.items():
        assert getattr(check, name) is exercise
        assert name in dir(check)
        assert name.isidentifier()


def test_every_exercise_is_found():
    # Catches two of one name in a chapter: the second would hide the first.
    from importlib import import_module

    for number, file in exercises.FILES.items():
        module = import_module(f"companion.exercises.{file}")
        made = [v for v in vars(module).values() if isinstance(v, exercises.Task)]
        assert len({e.name for e in made}) == len(made) == len(exercises.chapter(number).exercises)


# --- The machinery -------------------------------------------------------------------------------


def double(x):
    return 2 * x


def probe(answer):
    x = torch.randn(3, 2)
    return [answer(x), answer(x[:2])]


DOUBLE = Exercise(
    name="double",
    solution=double,
    probe=probe,
    mistakes=(
        Mistake("the square", "What is two times three?", lambda x: x**2),
        Mistake("a sum", "Keep the shape.", lambda x: (2 * x).sum()),
        Mistake("nothing done", "Do something.", lambda x: x),
    ),
)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (double, CORRECT),
        (lambda x: x + x, CORRECT),
        (lambda x: (2 * x).numpy(), CORRECT),
        (lambda x: (2 * x).tolist(), CORRECT),
        (lambda x: (2 * x).double().requires_grad_(), CORRECT),
        (lambda x: x * (2 + 1e-8), CORRECT),
        (lambda x: x * x, "✗ This looks like: the square. What is two times three?"),
        (lambda x: 2 * x.sum(), "✗ This looks like: a sum. Keep the shape."),
        (lambda x: (2 * x).sum(0), "✗ The result has shape (2,); (3, 2) is expected for"),
        (lambda x: 2 * x / 0, "✗ The result holds NaN or infinity."),
        (lambda x: 2 * x + 1e-3, "✗ Not yet: where "),
        (lambda x: "2x", "✗ Your function should return a tensor of real numbers; it returned str"),
        (lambda x: x.no_such, "✗ Your function stopped with AttributeError: 'Tensor' object"),
        (lambda x: torch.eye(3) @ x[:2], "✗ Your function stopped with RuntimeError:"),
        (3, "✗ This check takes a function; it got int."),
        (lambda x: None, NOT_ATTEMPTED),
        (lambda x: 2 * x if len(x) == 3 else None, "✗ Your function should return a tensor"),
    ],
)
def test_verdicts(answer, verdict):
    assert DOUBLE.verdict(answer).startswith(verdict)


def test_a_call_prints_the_verdict_and_returns_nothing(capsys):
    assert DOUBLE(double) is None
    assert capsys.readouterr().out == CORRECT + "\n"


def test_drawn_answers_share_the_solutions_noise():
    # An answer that draws as the solution does gets the same draws, so it can be compared.
    noisy = Exercise("noisy", lambda x: x + torch.randn(3), lambda f: [f(torch.zeros(3))], ())
    assert noisy.verdict(lambda x: torch.randn(3) + x) == CORRECT
    assert noisy.verdict(lambda x: torch.randn(3) + x + 1).startswith("✗ Not yet")


def test_a_probe_that_uses_the_result_tells_whose_fault_it_is():
    # The error comes from the check's own line, since the stub returned no tensor.
    mean = Exercise("mean", lambda x: x, lambda f: [f(torch.ones(3)).mean()], ())
    assert mean.verdict(lambda x: None) == NOT_ATTEMPTED
    assert mean.verdict(lambda x: "a").startswith("✗ The check cannot use the str returned.")
    assert mean.verdict(lambda x: x / x.missing).startswith("✗ Your function stopped with")


def test_a_probe_that_catches_what_the_answer_raises():
    # Some answers must raise; the check then compares what was caught.
    def guarded(f):
        results = [f(torch.ones(2))]
        try:
            f(None)
        except (TypeError, AttributeError):
            results.append(1)
        else:
            results.append(0)
        return results

    exercise = Exercise("guard", lambda x: x.double(), guarded, ())
    assert exercise.verdict(lambda x: x.double()) == CORRECT


def test_infinite_and_nan_results_are_compared():
    odd = Exercise("odd", lambda: [math.inf, math.nan, 2.0], lambda f: [f()], ())
    assert odd.verdict(lambda: [math.inf, math.nan, 2.0]) == CORRECT
    assert odd.verdict(lambda: [math.inf, 2.0, 2.0]) != CORRECT
    assert odd.verdict(lambda: [math.inf, math.nan, 3.0]) != CORRECT


def test_tolerance_is_relative_to_the_largest_entry():
    big = Exercise("big", lambda: [1e6, 1.0], lambda f: [f()], (), tolerance=1e-3)
    assert big.verdict(lambda: [1e6 + 900, 900.0]) == CORRECT
    assert big.verdict(lambda: [1e6 + 1100, 1.0]) != CORRECT


def test_checks_raise_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in (1j, torch.tensor(1j), np.ones(3)[::-1], np.broadcast_to(1.0, (3, 2))):
            assert one_line(DOUBLE.verdict(lambda x, _value=value: _value))


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


WORD = Prediction("word", "Rises", "It does.", {"falls": "look again.", "stays": "not quite."})
NUMBER = Prediction("number", 2.5, "So it is.", {1: "half of it.", 5.0: "twice."}, tolerance=0.1)


@pytest.mark.parametrize(
    ("prediction", "answer", "verdict"),
    [
        (WORD, "rises", "✓ Correct. It does."),
        (WORD, " RISES ", "✓ Correct. It does."),
        (WORD, "Falls", "✗ Not quite: look again."),
        (WORD, "jumps", "✗ Answer with one of: Rises, falls, stays."),
        (WORD, 3, "✗ Answer with one of: Rises, falls, stays."),
        (NUMBER, 2.5, "✓ Correct. So it is."),
        (NUMBER, 2.59, "✓ Correct. So it is."),
        (NUMBER, torch.tensor(2.5), "✓ Correct. So it is."),
        (NUMBER, np.float32(2.5), "✓ Correct. So it is."),
        (NUMBER, 2.61, "✗ Not 2.61. Run the code"),
        (NUMBER, 1.05, "✗ Not quite: half of it."),
        (NUMBER, 5, "✗ Not quite: twice."),
    ],
)
def test_prediction_verdicts(prediction, answer, verdict):
    assert prediction.verdict(answer).startswith(verdict)


def test_predictions_print(capsys):
    WORD("rises")
    assert capsys.readouterr().out == "✓ Correct. It does.\n"
