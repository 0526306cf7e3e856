"""Levels kept and redrawn: the draws of the figure and what they share, against the package."""

import copy
import json
from pathlib import Path

import pytest
import torch
from living import computed, shown

from companion import data, live

RUNS = Path(__file__).parents[2] / "benchmarks/experiments/tree.json"
PLACES = [[0.04, 1.5], [-2.0, -1.95], [1.4, -0.75], [0.0, 0.0], [-3.0, 3.0], [2.7, -0.8]]
KEEPS = [1, 2, 3, 4]  # with 4 nothing is kept


def figure():
    return live.figure("tree_levels", alt="", **live.tree_levels())


def halved():
    """The hierarchy with the weights that travel."""
    return copy.deepcopy(live.tree_model()).half()


def redrawn(model, x, keep, noise):
    """Draws (150, 2) that keep a level of x; noise (150, 4, 2) is for x, z_1, z_2 and z_3."""
    x = torch.tensor(x, dtype=torch.float64).expand(len(noise), 2)
    z = noise[:, 3]
    if keep < 4:
        q = model.encoders[2](x)
        z = q.mean + q.stddev * noise[:, 3]
    for level in (2, 1):
        q = model.decoders[level](z) if level < keep else model.encoders[level - 1](x, z)
        z = q.mean + q.stddev * noise[:, level]
    p = model.decoders[0](z)
    return p.mean + p.stddev * noise[:, 0]


@pytest.mark.browser
@pytest.mark.claim("live.forward")
def test_draws_and_shares_are_the_packages(browser):
    states = [
        {"x": x, "keep": str(keep), "seed": i, "drawn": 150 - 10 * i}
        for i, x in enumerate(PLACES)
        for keep in KEEPS
    ]
    model = halved().double()
    for state, values in zip(states, computed(browser, figure(), states), strict=True):
        noise = torch.tensor(values["noise"], dtype=torch.float64).view(150, 4, 2)
        draws = redrawn(model, state["x"], int(state["keep"]), noise)[: state["drawn"]]
        found = torch.tensor(values["draws"], dtype=torch.float64)
        torch.testing.assert_close(found, draws, rtol=0, atol=1e-5)
        label = data.tree_labels(found.float())
        own = data.tree_labels(torch.tensor([state["x"]]))
        same = label == own
        assert values["leaf"] == own[0, 2]
        assert values["shared"] == same.sum(1).tolist()
        assert values["shares"] == pytest.approx(same.double().mean(0).tolist())


@pytest.mark.browser
def test_each_seed_has_noise_of_its_own_and_it_is_normal(browser):
    found = computed(browser, figure(), [{"seed": seed} for seed in range(40)])
    noise = torch.tensor([values["noise"] for values in found], dtype=torch.float64)
    assert noise.shape == (40, 1200)
    assert abs(noise.mean()) < 4 / noise.numel() ** 0.5
    assert abs(noise.var() - 1) < 4 * (2 / noise.numel()) ** 0.5
    assert (noise.corrcoef() - torch.eye(40)).abs().max() < 5 / 1200**0.5


@pytest.mark.claim("live.forward")
def test_rounding_the_weights_moves_no_share():
    # Measured as benchmarks/experiments/tree.py does, whose numbers are those of exact weights.
    model = halved().float()
    x, label = data.tree(2000, seed=1000)
    torch.manual_seed(0)
    runs = json.loads(RUNS.read_text())["runs"]
    [stored] = [
        run["agreement"]
        for run in runs
        if (run["encoder"], run["recipe"], run["seed"]) == ("top-down", "allowance", 0)
    ]
    for level, z in enumerate(model.trace(x).z, start=1):
        drawn = model.descend(z.expand(20, -1, -1), level)[0]
        found = data.tree_labels(drawn.flatten(0, 1)).view(20, *label.shape)
        shares = (found == label).double().mean((0, 1)).tolist()
        assert shares == pytest.approx(stored[level - 1], abs=0.015)


@pytest.mark.browser
def test_over_the_data_levels_mean_cluster_branch_and_leaf(browser):
    x, _ = data.tree(120, seed=2000)
    states = [
        {"x": one, "keep": str(k), "seed": i} for i, one in enumerate(x.tolist()) for k in KEEPS
    ]
    found = computed(browser, figure(), states)
    shares = torch.tensor([values["shares"] for values in found]).view(120, 4, 3).mean(0)
    leaf, branch, cluster, nothing = shares
    assert cluster[0] > 0.75
    assert cluster[1] < 0.65
    assert branch[1] > 0.7
    assert branch[2] < 0.6
    assert leaf[2] > 0.75
    # That a redrawn point is a point of the tree, at chance.
    torch.testing.assert_close(nothing, torch.tensor([1 / 3, 1 / 9, 1 / 27]), rtol=0, atol=0.03)


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
def test_x_is_dragged_and_levels_are_clicked(browser, width):
    tab = shown(browser, figure(), viewport={"width": width, "height": 900})
    try:
        tab.evaluate("addEventListener('live-frame', e => { window.last = e.detail; })")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        ring = tab.get_by_role("slider", name="The data point x")
        box = ring.locator(".live-grip").bounding_box()
        at = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        tab.mouse.move(*at)
        tab.mouse.down()
        tab.mouse.move(at[0] - 60, at[1] + 90, steps=8)
        tab.mouse.up()
        tab.wait_for_function("window.last?.state.x[0] < -0.5 && last.state.x[1] < 0.5")
        dragged = tab.evaluate("last.state.x")
        ring.press("ArrowRight")
        tab.wait_for_function("x => last.state.x[0] > x", arg=dragged[0])

        tab.get_by_role("button", name="Compare").click()
        board = tab.locator("path.live-board")
        for name, keep in (("z₁", "1"), ("z₃", "3"), ("z₂", "2")):
            circle = tab.locator(".live-panel").nth(1).get_by_text(name, exact=True).bounding_box()
            tab.mouse.click(circle["x"] + circle["width"] / 2, circle["y"] + circle["height"] / 2)
            tab.wait_for_function("keep => last.state.keep === keep", arg=keep)
            assert tab.get_by_role("radio", name=name).is_checked()
        board.focus()
        tab.keyboard.press("ArrowUp")
        for _ in range(7):
            tab.keyboard.press("ArrowUp")
        tab.keyboard.press(" ")
        tab.wait_for_function("last.state.keep === '3'")
        tab.get_by_role("radio", name="nothing").check()
        tab.wait_for_function("last.state.keep === '4'")
    finally:
        tab.close()


@pytest.mark.browser
def test_draw_again_rains_with_another_seed(browser):
    tab = shown(browser, figure())
    try:
        tab.evaluate("addEventListener('live-frame', e => { window.last = e.detail; })")
        tab.get_by_role("button", name="Draw again").click()
        tab.wait_for_function("window.last?.state.seed === 1")
        tab.wait_for_function("last.state.drawn === 150")
        assert len(tab.evaluate("last.values.draws")) == 150
    finally:
        tab.close()


@pytest.mark.browser
def test_the_answer_is_hidden_until_the_reader_has_guessed(browser):
    tab = shown(browser, figure())
    try:
        tab.evaluate("addEventListener('live-frame', e => { window.last = e.detail; })")
        says = tab.locator(".live-says")
        assert "%" in says.inner_text()
        tab.get_by_role("radio", name="z₂").check()
        tab.wait_for_function("window.last?.state.keep === '2'")
        assert "%" not in says.inner_text()
        assert "guess first" in tab.locator(".live-panel").nth(1).inner_html()
        tab.get_by_role("button", name="Compare").click()
        tab.wait_for_function("document.querySelector('.live-says').textContent.includes('%')")
        share = tab.evaluate("last.values.shares[1]")
        assert f"it was {100 * share:.0f}" in tab.locator(".live-verdict").inner_text()
    finally:
        tab.close()
