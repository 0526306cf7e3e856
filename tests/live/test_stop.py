"""When to stop: what is drawn is what the script has stored, and no end shows before the guess."""

import json
import re
from pathlib import Path

import pytest
import torch
from living import computed, shown

from companion import live

STORED = json.loads(
    (Path(__file__).parents[2] / "benchmarks/experiments/collapse.json").read_text()
)
RUNS = [run for run in STORED["runs"] if (run["start"], run["recipe"]) == ("scratch", "plain")]
INFORMATION = torch.tensor([run["information"] for run in RUNS])
ELBO = -torch.tensor([run["rate"] for run in RUNS]) - torch.tensor(
    [run["distortion"] for run in RUNS]
)


def drawn():
    return live.figure(
        "stop",
        alt="",
        steps=STORED["steps"],
        ceiling=STORED["ceiling"],
        elbo=ELBO,
        information=INFORMATION,
    )


def test_the_elbo_rises_at_every_look_while_the_code_comes_and_goes():
    """What the chapter opens with, for every seed."""
    assert (ELBO.diff(dim=1) > 0).all()
    assert (ELBO[:, -1] > STORED["ceiling"] - 0.1).all()
    best = INFORMATION.argmax(1)
    assert {STORED["steps"][k] for k in best} == {320}
    assert (INFORMATION[:, -1] < 0.5).all()


@pytest.mark.browser
def test_elbo_and_information_are_means_of_the_seeds(browser):
    states = [{"look": look} for look in (0, 7, 12)]
    for state, values in zip(states, computed(browser, drawn(), states), strict=True):
        look = state["look"]
        assert values["step"] == STORED["steps"][look]
        assert values["elbo"] == pytest.approx(ELBO[:, look].mean().item(), abs=1e-5)
        assert values["information"] == pytest.approx(INFORMATION[:, look].mean().item(), abs=1e-5)


@pytest.mark.browser
def test_the_end_is_not_shown_before_the_guess(browser):
    tab = shown(browser, drawn())
    try:
        tab.get_by_text("as much as one of 29 kinds").first.wait_for()
        at_step_320 = tab.locator(".live-drawn").last.inner_html()
        tab.get_by_role("button", name="Next look").wait_for()
        for look, step in enumerate(STORED["steps"]):
            tab.get_by_label("step of training").fill(str(look))
            tab.locator("output", has_text=re.compile(f"^{step:,}$")).first.wait_for()
        tab.get_by_text("once you have guessed").first.wait_for()
        assert tab.locator(".live-drawn").last.inner_html() == at_step_320
        tab.click("[data-guess]")
        end = INFORMATION[:, -1].mean().item()
        tab.get_by_text(f"At step 10,240 your sketch was {3.4 - end:.1f} nats off").first.wait_for()
        tab.get_by_text("nats, less than one yes or no").first.wait_for()
    finally:
        tab.close()
