"""The bar of the landing page: a Gaussian q under log p(x), against the package."""

import itertools

import pytest
import torch
from living import computed
from torch.distributions import Normal, kl_divergence

from companion import live
from companion.distributions import Gaussian
from companion.exact import LinearGaussian

X, SCALE = 1.6, 0.8


@pytest.mark.browser
def test_elbo_and_gap_are_those_of_the_linear_model(browser):
    figure = live.figure("bar", alt="", x=X, scale=SCALE)
    places = list(itertools.product([-2.5, -0.4, 0.0, 0.97, 2.5], [0.27, 0.35, 0.625, 1.5]))
    found = computed(browser, figure, [{"mean": m, "scale": s} for m, s in places])

    weight = torch.ones(1, 1, dtype=torch.float64)
    model = LinearGaussian(weight, torch.zeros_like(weight[0]), scale=SCALE)
    x = torch.tensor([[X]], dtype=torch.float64)
    posterior = model.posterior(x)
    exact = Normal(posterior.mean.squeeze(), posterior.variance.sqrt().squeeze())
    for (mean, scale), values in zip(places, found, strict=True):
        m, s = torch.tensor([[[mean]], [[scale]]], dtype=torch.float64)
        assert values["elbo"] == pytest.approx(
            model.elbo(x, Gaussian(m, 2 * s.log())).item(), abs=1e-9
        )
        gap = kl_divergence(Normal(m.squeeze(), s.squeeze()), exact)
        assert values["gap"] == pytest.approx(gap.item(), abs=1e-9)
        assert values["logMarginal"] == pytest.approx(model.log_marginal(x).item(), abs=1e-9)
