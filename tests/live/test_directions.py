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
    grid = itertools.product([-3.0, 0.7, 1.5], [0.25, 0.6, 2.5], [0.0, 3.0, 4.0])
    states = [{"mean": m, "scale": s, "apart": d} for m, s, d in grid]
    z, log_cell = latent_grid(1, 20_001, 25.0)
    z = z[:, 0].double()
    weights = torch.tensor([WEIGHT, 1 - WEIGHT], dtype=torch.float64)
    for state, values in zip(states, computed(browser, figure, states), strict=True):
        peaks = torch.tensor([-0.5, 0.5], dtype=torch.float64) * state["apart"]
        p = MixtureSameFamily(Categorical(weights), Normal(peaks, WIDTH))
        log_p = p.log_prob(z)
        log_q = Normal(state["mean"], state["scale"]).log_prob(z)
        for name, a, b in [("seeking", log_q, log_p), ("covering", log_p, log_q)]:
            exact = ((a + log_cell).exp() * (a - b)).sum().item()
            assert values[name] == pytest.approx(exact, rel=1e-7, abs=1e-8)
        assert values["moments"]["mean"] == pytest.approx(p.mean.item())
        assert values["moments"]["scale"] == pytest.approx(p.variance.sqrt().item())


DESCENDED = """(start) => {
  const { spec } = live.require("figures/directions.js").default;
  const data = { weight: 0.4, width: 0.5 };
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
