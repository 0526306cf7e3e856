"""What an explorer does with its drawing function: errors, figures, and what it leaves behind."""

import random

import matplotlib as mpl
import numpy as np
import pytest
import torch
from explorers import Live, agg, draw
from matplotlib import pyplot as plt

from companion import plots
from companion.exercises.checking import Exercise
from companion.explore import explore

__all__ = ["agg"]


def halves(a, b=1):
    """Stops where b is 0, with half a figure drawn."""
    figure, ax = plt.subplots(figsize=(2, 1))
    ax.set_title(f"{a / b}")
    return figure


def test_an_error_is_shown_in_place_of_the_picture():
    # Catches: the old picture under the new value. The fixture finds a figure left open.
    live = Live(halves, labels={"b": "σ"}, a=[0.5], b=[0, 1], start={"b": 1})
    good = live.look()
    said = live.move("0.5", "0")
    assert said.startswith("ZeroDivisionError: float division by zeroat a = 0.5, σ = 0")
    assert 'ax.set_title(f"{a / b}")' in said, "the line where it happened"
    assert 'role="alert"' in live.picture.value
    assert live.move("0.5", "1") == good


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("<b>one</b>\ntwo"), "ValueError: <b>one</b>at"),
        (AssertionError("\nNot equal"), "AssertionError: Not equalat"),
        (SyntaxError("odd", ("f.py", 1, 1, "x y", 1, 2)), "SyntaxError: oddat"),
        (SystemExit(3), "SystemExit: 3at"),
        (NotImplementedError(), "NotImplementedErrorat"),
    ],
)
def test_the_message_is_the_first_line_of_the_error(error, said):
    def stop(a):
        raise error

    assert Live(stop, a=[1]).look().startswith(f"{said} a = 1")


def test_an_interrupt_is_no_error_of_the_drawing():
    def stop(a):
        plt.figure()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Live(stop, a=[1])


def test_an_error_stops_a_page_and_says_where():
    with pytest.raises(ZeroDivisionError) as caught:
        explore(halves, labels={"b": "σ"}, a=[3], b=[2, 1, 0]).page()
    assert caught.value.__notes__ == ["The explorer stopped at a = 3, σ = 0."]


def test_the_process_is_left_as_it_was():
    def careless(a):
        torch.manual_seed(a)
        np.random.seed(a)  # noqa: NPY002
        random.seed(a)
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        mpl.rcParams["font.size"] = 3
        return draw(a)

    def state():
        drawn = [torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()]  # noqa: NPY002
        return [*drawn, torch.is_grad_enabled(), torch.get_default_dtype(), dict(mpl.rcParams)]

    def careless_alt(a):
        torch.rand(a)
        return "alt"

    def after(code):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        random.seed(0)
        code()
        return state()

    # The annotations' checks, in tests alone, draw numbers too: as many for a careful drawing.
    careful = explore(draw, a=[1, 2], alt=lambda a: "alt")
    explorer = explore(careless, a=[1, 2], alt=careless_alt)
    assert after(explorer.page) == after(careful.page)
    assert after(explorer.widget) == after(careful.widget)


def test_the_readers_settings_do_not_matter():
    with mpl.rc_context(mpl.rcParamsDefault | plots.STYLE | {"backend": "agg"}):
        expected = Live(draw, a=[1]).look()
    with plt.style.context("dark_background"):
        changes = {
            "text.usetex": True,
            "savefig.bbox": "tight",
            "figure.dpi": 30,
            "axes.grid": True,
        }
        with mpl.rc_context({**changes, "font.size": 20, "savefig.transparent": True}):
            before = dict(mpl.rcParams)
            assert Live(draw, a=[1]).look() == expected
            assert dict(mpl.rcParams) == before


def test_the_books_style_holds_while_drawing():
    seen = []
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({**plots.STYLE, "interactive": False})
        expected = dict(mpl.rcParams)
    Live(lambda a: seen.append(dict(mpl.rcParams)) or draw(a), a=[1])
    assert seen == [expected]
    assert expected["lines.linewidth"] == 2, "which no default of matplotlib is"


def test_interactive_mode_is_off_while_drawing():
    # On, the inline backend notes each new figure to show it once more under the cell.
    seen = []
    with plt.ion():
        Live(lambda a: seen.append(plt.isinteractive()) or draw(a), a=[1])
        assert plt.isinteractive()
    assert seen == [False]


def test_the_returned_figure_is_shown_and_others_are_closed():
    mine = plt.figure()

    def two(a):
        shown = draw(a)
        plt.figure(figsize=(7, 7)).suptitle("scratch")
        return shown

    assert Live(two, a=[1]).look() == Live(draw, a=[1]).look()
    assert plt.get_fignums() == [mine.number], "the reader's own stays"
    assert Live(lambda a: mine, a=[1]).look()["src"]
    assert plt.get_fignums() == [mine.number]
    plt.close(mine)


def test_axes_stand_for_their_figure():
    expected = Live(draw, a=[1]).look()
    assert Live(lambda a: draw(a).axes[0], a=[1]).look() == expected

    def nested(a):
        return plt.figure(figsize=(2, 1)).subfigures(1, 2)[0].subplots()

    assert Live(nested, a=[1]).look()["src"]
    said = "TypeError: draw must return a matplotlib Figure, got None; end it in return figure"
    assert Live(lambda a: draw(a) and None, a=[1]).look().startswith(said)


def test_a_figure_shows_the_readers_function_once_there_is_one():
    # The solution is never called the reader's own; an answer is, right or wrong.
    def solution(x):
        return 2 * x

    def wrong(x):
        raise ValueError("not yet")

    def unfinished(x):
        raise NotImplementedError

    exercise = Exercise(solution, lambda: [3.0, 5.0])
    for answer in (None, ..., lambda x: None, unfinished):
        assert exercise.pick(answer) == (solution, "the solution (no answer yet)")
    for answer in (solution, wrong, lambda x: x + 1, lambda x: None if x > 4 else x):
        assert exercise.pick(answer) == (answer, "yours")
