"""The rate of seven codes, and its two parts, against the package."""

import itertools

import pytest
import torch
from living import computed
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
