"""Paths of training: the figure shows what the script has stored, and no end before the guess."""

import json
from pathlib import Path

import pytest
import torch
from living import computed, shown

from companion import live

STORED = json.loads(
    (Path(__file__).parents[2] / "benchmarks/experiments/collapse.json").read_text()
)
NAMES = ("rate", "distortion", "information")


def means(start, recipe, name):
    runs = [r for r in STORED["runs"] if (r["start"], r["recipe"]) == (start, recipe)]
    assert len(runs) == 3
    return torch.tensor([run[name] for run in runs])


def drawn():
    pairs = dict.fromkeys((run["start"], run["recipe"]) for run in STORED["runs"])
    runs = {", ".join(pair): {name: means(*pair, name) for name in NAMES} for pair in pairs}
    return pairs, live.figure(
        "paths", alt="", ceiling=STORED["ceiling"], steps=STORED["steps"], runs=runs, cap=6.3
    )


@pytest.mark.browser
def test_every_look_at_every_run_is_the_mean_of_the_seeds(browser):
    pairs, figure = drawn()
    for pair in pairs:
        looks = [0, 5, 12]
        found = computed(browser, figure, [{"run": ", ".join(pair), "look": k} for k in looks])
        for look, values in zip(looks, found, strict=True):
            rate, distortion, information = (means(*pair, name)[:, look].mean() for name in NAMES)
            assert values["step"] == STORED["steps"][look]
            assert values["rate"] == pytest.approx(rate.item(), abs=1e-5)
            assert values["distortion"] == pytest.approx(distortion.item(), abs=1e-5)
            assert values["information"] == pytest.approx(information.item(), abs=1e-5)
            assert values["elbo"] == pytest.approx(-(rate + distortion).item(), abs=1e-5)


@pytest.mark.browser
def test_all_runs_are_on_the_menu_and_the_end_is_not_shown_before_the_guess(browser):
    pairs, figure = drawn()
    tab = shown(browser, figure)
    try:
        options = tab.eval_on_selector_all("option", "all => all.map(one => one.value)")
        assert sorted(options) == sorted(", ".join(pair) for pair in pairs)
        at_step_80 = tab.locator(".live-drawn").last.inner_html()
        tab.locator("input[type=range]").fill("12")
        tab.get_by_text("once you have guessed").first.wait_for()
        assert tab.locator(".live-drawn").last.inner_html() == at_step_80
        tab.click("[data-guess]")
        end = [means("scratch", "plain", name)[:, -1].mean().item() for name in NAMES]
        tab.get_by_text(f"It was at ({end[0]:.1f}, {end[1]:.1f})").first.wait_for()
        tab.get_by_text(f"ELBO −{end[0] + end[1]:.2f}").first.wait_for()
        assert "10,240" in tab.locator(".live-drawn").last.text_content()
    finally:
        tab.close()
