"""Rates, distortion and reconstructions under the water line, against the best linear VAE."""

import math

import pytest
import torch
from living import computed, shown
from torch.distributions import Normal, kl_divergence

from companion import data, live
from companion.exact import optimal_linear_vae

NOISE = 0.04


def drawn():
    x = data.digits()[0].double()
    variances, axes = torch.linalg.eigh(torch.cov(x.mT, correction=0))
    figure = live.figure(
        "waterline",
        alt="",
        variances=variances.flip(0).clamp(min=0),
        axes=axes.flip(1).float(),
        mean=x.mean(0),
        digits=(16 * x[:10]).byte(),
        variance=NOISE,
    )
    return x, variances, figure


@pytest.mark.browser
def test_each_level_is_the_best_linear_vae_of_its_beta(browser):
    x, variances, figure = drawn()
    levels = [0.004, 0.012, 0.04, 0.2, 0.6, 1.0]
    found = computed(browser, figure, [{"level": level} for level in levels])
    for level, values in zip(levels, found, strict=True):
        model, encoder = optimal_linear_vae(x, 64, scale=NOISE**0.5, beta=level / NOISE)
        q = encoder(x)
        rates = kl_divergence(Normal(q.mean, q.variance.sqrt()), Normal(0.0, 1.0)).mean(0)
        assert values["rates"] == pytest.approx(rates.tolist(), abs=1e-7)
        assert values["rate"] == pytest.approx(rates.sum().item(), abs=1e-6)
        assert values["alive"] == (rates > 1e-9).sum()
        constant = 32 * math.log(2 * math.pi * NOISE)
        elbo = model.elbo(x, q).mean().item()
        assert -constant - values["distortion"] - values["rate"] == pytest.approx(elbo, abs=1e-6)
        collapsed = -constant - variances.sum().item() / (2 * NOISE)
        assert values["gain"] == pytest.approx(elbo - collapsed, abs=1e-6)
        pictures = q.mean[:10] @ model.weight.mT + model.bias
        assert values["pictures"] == pytest.approx(pictures.flatten().tolist(), abs=1e-5)
        shares = (x[:10] - pictures).square().sum(1) / (x[:10] - x.mean(0)).square().sum(1)
        assert values["left"] == pytest.approx((1 - shares).tolist(), abs=1e-5)
        assert values["gone"] == (shares > 0.5).nonzero().flatten().tolist()
    assert min(value["gain"] for value in found) == pytest.approx(0)
    assert max(found, key=lambda value: value["gain"])["beta"] == pytest.approx(1)


@pytest.mark.browser
def test_the_nine_goes_first_and_then_the_eight(browser):
    _, _, figure = drawn()
    states = [{"level": beta * NOISE} for beta in (1.0, 1.25, 1.3, 1.7, 1.8)]
    gone = [values["gone"] for values in computed(browser, figure, states)]
    assert gone == [[], [], [9], [9], [8, 9]]


@pytest.mark.browser
def test_the_verdict_speaks_of_the_water_and_not_of_its_logarithm(browser):
    _, variances, figure = drawn()
    tab = shown(browser, figure)
    try:
        tab.click("[data-guess]")
        verdict = tab.inner_text(".live-verdict")
    finally:
        tab.close()
    # An untouched sketch says 30 everywhere.
    levels = 0.004 * 250 ** (torch.arange(61).double() / 60)
    rates = (0.5 * (variances[:, None] / levels).log()).clamp(min=0).nan_to_num().sum(0)
    off, worst = (rates - 30).abs().max(0)
    level = levels[worst].item()
    place = f"At water {level:.{3 if level < 0.0995 else 2}f}"
    assert verdict.startswith(f"{place} your sketch was {off:.1f} nats off")
