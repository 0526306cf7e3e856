"""The KL divergence in both directions, of a Gaussian and a density with two peaks."""

import itertools
import math

import pytest
import torch
from living import computed, shown
from torch.distributions import Categorical, MixtureSameFamily, Normal

from companion import live
from companion.exact import latent_grid

WEIGHT, WIDTH = 0.4, 0.5


@pytest.mark.browser
def test_both_directions_are_those_of_a_finer_grid(browser):
    figure = live.figure("directions", alt="", weight=WEIGHT, width=WIDTH)
    grid = itertools.product([-3.0, 0.7, 1.5], [0.4, 0.6, 2.5], [0.0, 3.0, 4.0])
    states = [{"mean": m, "scale": s, "apart": d} for m, s, d in grid]
    z, log_cell = latent_grid(1, 20_001, 25.0)
    z = z[:, 0].double()
    weights = torch.tensor([WEIGHT, 1 - WEIGHT], dtype=torch.float64)
    for state, values in zip(states, computed(browser, figure, states), strict=True):
        peaks = torch.tensor([-0.5, 0.5], dtype=torch.float64) * state["apart"]
        p = MixtureSameFamily(Categorical(weights), Normal(peaks, WIDTH))
        log_p = p.log_prob(z)
        at = torch.tensor([state["mean"], state["scale"]], dtype=torch.float64)
        log_q = Normal(*at).log_prob(z)
        for name, a, b in [("seeking", log_q, log_p), ("covering", log_p, log_q)]:
            exact = ((a + log_cell).exp() * (a - b)).sum().item()
            assert values[name] == pytest.approx(exact, rel=1e-7, abs=1e-8)
        covering = values["best"]["covering"]
        assert covering["mean"] == pytest.approx(p.mean.item())
        assert covering["scale"] == pytest.approx(p.variance.sqrt().item())
        best = values["best"]["seeking"]
        assert values["seeking"] >= best["value"] - 1e-9


def test_the_lowest_of_all_gaussians_is_found(browser):
    figure = live.figure("directions", alt="", weight=WEIGHT, width=WIDTH)
    apart = [0.0, 1.0, 1.8, 2.2, 3.0, 4.0]
    found = computed(browser, figure, [{"apart": d} for d in apart])
    z, log_cell = latent_grid(1, 2001, 20.0)
    z = z[:, 0].double()
    weights = torch.tensor([WEIGHT, 1 - WEIGHT], dtype=torch.float64)
    q = Normal(
        torch.linspace(-3, 3, 61, dtype=torch.float64)[:, None, None],
        torch.linspace(0.3, 2.5, 45, dtype=torch.float64)[:, None],
    )
    for d, values in zip(apart, found, strict=True):
        peaks = torch.tensor([-0.5, 0.5], dtype=torch.float64) * d
        log_p = MixtureSameFamily(Categorical(weights), Normal(peaks, WIDTH)).log_prob(z)
        log_q = q.log_prob(z)
        least = ((log_q + log_cell).exp() * (log_q - log_p)).sum(-1).min().item()
        best = values["best"]["seeking"]
        assert least - 0.01 < best["value"] < least + 1e-6
        at = Normal(best["mean"], best["scale"]).log_prob(z)
        value = ((at + log_cell).exp() * (at - log_p)).sum().item()
        assert best["value"] == pytest.approx(value, abs=1e-6)


DESCENDED = """(start) => {
  const { spec } = live.require("figures/directions.js").default;
  const data = spec.prepare({ weight: 0.4, width: 0.5 });
  let state = { ...spec.start, ...start };
  for (let k = 0; k < 3000; k++) {
    const next = spec.play.step(state, data);
    if (!next) return state;
    state = { ...state, ...next };
  }
  return null;
}"""


@pytest.mark.browser
def test_descent_comes_to_rest_on_one_peak_or_on_the_moments(browser):
    figure = live.figure("directions", alt="", weight=WEIGHT, width=WIDTH)
    tab = shown(browser, figure)
    seeking = tab.evaluate(DESCENDED, {"which": "seeking"})
    covering = tab.evaluate(DESCENDED, {"which": "covering"})
    tab.close()
    assert [seeking["mean"], seeking["scale"]] == pytest.approx([1.5, 0.5], abs=0.03)
    moments = [0.1 * 3, math.sqrt(0.25 + 0.24 * 9)]
    assert [covering["mean"], covering["scale"]] == pytest.approx(moments, abs=0.03)


# Runs the descent, and keeps what the figure says at each step.
SAID = """(start) => {
  const { spec, compute } = live.require("figures/directions.js").default;
  const data = spec.prepare({ weight: 0.4, width: 0.5 });
  let state = { ...spec.start, ...start };
  const said = [];
  for (let k = 0; k < 3000; k++) {
    said.push(spec.says(state, compute(state, data), data, { guessing: false }));
    const next = spec.play.step(state, data);
    if (!next) return said;
    state = { ...state, ...next };
  }
  return null;
}"""


# Would catch a lowest value that is announced on the way, or at the q of the moment.
@pytest.mark.browser
def test_the_lowest_is_named_when_descent_stops_and_not_before(browser):
    tab = shown(browser, live.figure("directions", alt="", weight=WEIGHT, width=WIDTH))
    ends = []
    for start in ({}, {"which": "seeking"}, {"which": "seeking", "mean": -2.0}):
        *way, end = tab.evaluate(SAID, start)
        assert all(words.startswith("q = N(") for words in way)
        ends.append(end.replace("\u00a0", " "))
    tab.close()
    assert ends[0] == (
        "q has reached the lowest KL(p ‖ q) of any Gaussian: 0.46 nats, at N(0.30, 1.55²)"
    )
    assert ends[1].startswith("q has reached the lowest KL(q ‖ p) of any Gaussian: 0.51 nats")
    assert ends[2].startswith("A hollow of KL(q ‖ p), at q = N(−1.49")
