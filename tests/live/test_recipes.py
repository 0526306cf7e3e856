"""Six recipes: the bars are what the script has stored, and no end is shown before the guess."""

import json
from pathlib import Path

import pytest
import torch
from living import computed, shown

from companion import live

STORED = json.loads(
    (Path(__file__).parents[2] / "benchmarks/experiments/collapse.json").read_text()
)
RECIPES = ["plain", "warm-up", "aggressive", "committed rate", "free bits", "weak decoder"]


def information(recipe):
    runs = [run for run in STORED["runs"] if (run["start"], run["recipe"]) == ("scratch", recipe)]
    return torch.tensor([run["information"] for run in runs])


def drawn():
    runs = {recipe: information(recipe) for recipe in RECIPES}
    return live.figure("recipes", alt="", steps=STORED["steps"], runs=runs, cap=6.3)


@pytest.mark.browser
def test_bars_are_means_of_the_seeds_in_the_order_of_their_names(browser):
    states = [{"look": look} for look in (0, 5, 8, 12)]
    for state, values in zip(states, computed(browser, drawn(), states), strict=True):
        means = [information(recipe)[:, state["look"]].mean().item() for recipe in RECIPES]
        assert values["step"] == STORED["steps"][state["look"]]
        assert values["told"] == pytest.approx(means, abs=1e-5)


@pytest.mark.browser
def test_the_end_is_not_shown_before_the_guess(browser):
    tab = shown(browser, drawn())
    try:
        at_step_80 = tab.locator(".live-drawn").last.inner_html()
        tab.locator("input[type=range]").fill("12")
        tab.get_by_text("once you have guessed").first.wait_for()
        assert tab.locator(".live-drawn").last.inner_html() == at_step_80
        tab.click("[data-guess]")
        # The sketch lies at three nats, farthest from the least of all ends.
        ends = [information(recipe)[:, -1].mean().item() for recipe in RECIPES]
        assert min(ends) == ends[1]
        tab.get_by_text(f"At “warm-up” your sketch was {3 - ends[1]:.1f} nats off").first.wait_for()
        tab.get_by_text(f"extra steps {ends[2]:.2f}, committed rate {ends[3]:.2f}").first.wait_for()
        assert "10,240" in tab.locator(".live-drawn").first.text_content()
    finally:
        tab.close()
