"""The rate of seven codes, and its two parts, against the package."""

import itertools

import pytest
import torch
from living import computed, shown
from torch.distributions import Independent, Normal, kl_divergence

from companion import live
from companion.diagnostics import log_aggregate
from companion.exact import latent_grid


@pytest.mark.browser
def test_information_mismatch_and_rate(browser):
    figure = live.figure("seven_codes", alt="")
    grid = itertools.product([0.0, 0.55, 0.94, 1.6], [0.06, 0.22, 1.0, 1.2])
    states = [{"spread": spread, "width": width} for spread, width in grid]
    z, log_cell = latent_grid(1, 20_001, 15.0)
    z = z.double()
    prior = Normal(torch.zeros(1).double(), 1.0)
    for state, values in zip(states, computed(browser, figure, states), strict=True):
        centres = state["spread"] * torch.linspace(-1.5, 1.5, 7, dtype=torch.float64)[:, None]
        q = Normal(centres, state["width"])
        log_q, log_all = q.log_prob(z[:, None])[..., 0], log_aggregate(Independent(q, 1), z)
        information = ((log_q + log_cell).exp() * (log_q - log_all[:, None])).sum() / 7
        mismatch = ((log_all + log_cell).exp() * (log_all - prior.log_prob(z)[:, 0])).sum()
        rate = kl_divergence(q, prior).mean()
        assert values["information"] == pytest.approx(information.item(), abs=1e-6)
        assert values["mismatch"] == pytest.approx(mismatch.item(), abs=1e-6)
        assert values["rate"] == pytest.approx(rate.item(), abs=1e-9)
        assert values["information"] + values["mismatch"] == pytest.approx(rate.item(), abs=1e-6)


@pytest.mark.browser
def test_the_goal_is_not_met_at_first_and_can_be_met(browser):
    figure = live.figure("seven_codes", alt="")
    start, best = computed(browser, figure, [{}, {"spread": 0.94, "width": 0.22}])
    assert start["mismatch"] > 0.1
    assert start["information"] < 1.3
    assert best["mismatch"] < 0.1
    assert best["information"] > 1.3


@pytest.mark.browser
def test_the_best_is_the_most_information_at_little_mismatch(browser):
    tab = shown(browser, live.figure("seven_codes", alt=""))
    try:
        bests = tab.evaluate("""() => {
          const { spec } = live.require("figures/seven_codes.js").default;
          const [spread, width] = spec.handles.map(({ move }) => move);
          let state = spec.start;
          return [
            () => width(state, [1.5 * state.spread + 2 * 0.2, 0]),  // still too much mismatch
            () => spread(state, [1.5 * 0.94, 0]),
            () => width(state, [1.5 * state.spread + 2 * 0.22, 0]),
            () => width(state, [1.5 * state.spread + 2 * 9, 0]),  // beyond what it may be
          ].map((step) => {
            state = { ...state, ...step() };
            return [state.best, spec.compute(state)];
          });
        }""")
    finally:
        tab.close()
    record = 0.0
    for best, values in bests:
        if values["mismatch"] < 0.1:
            record = max(record, values["information"])
        assert best == pytest.approx(record)
    assert [best > 0 for best, _ in bests] == [False, False, True, True]
