"""The gap of chapter 3: a Gaussian q and a bent decoder, against the package's quadrature."""

import itertools

import pytest
import torch
from living import computed
from torch import nn

from companion import VAE, GaussianConditional, StandardNormal, live
from companion.distributions import Gaussian
from companion.exact import (
    elbo_quadrature,
    gaussian_floor,
    kl_on_grid,
    log_marginal_quadrature,
    posterior_on_grid,
)

SCALE = 0.8  # in the package a float32, widened: the last digits differ
PLACES = [(-1.9, 0.3), (-0.5, 0.7), (0.4, 0.15), (1.0, 0.62), (2.5, 1.5)]

pytestmark = pytest.mark.browser


class Bent(nn.Module):
    def __init__(self, bend):
        super().__init__()
        self.bend = bend

    def forward(self, z):
        return z + self.bend * z.square()


def bent_vae(bend):
    decoder = GaussianConditional(Bent(bend), scale=SCALE)
    return VAE(GaussianConditional(nn.Linear(1, 2)), decoder, StandardNormal(1)).double()


def column(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)[:, None]


def gaussian(mean, scale):
    return Gaussian(column(mean), 2 * column(scale).log())


@pytest.fixture(scope="module")
def figure():
    return live.figure("gap", alt="", scale=SCALE)


def test_bound_gap_and_the_best_gaussian_are_the_packages(browser, figure):
    models = list(itertools.product([0.0, 0.4, 0.75, 1.0], [-1.5, 0.8, 1.6, 2.6]))
    asked = [
        {"bend": bend, "x": x, "mean": mean, "scale": scale}
        for (bend, x), (mean, scale) in itertools.product(models, PLACES)
    ]
    found = iter(computed(browser, figure, asked))
    for bend, at in models:
        model, x = bent_vae(bend), column(at)
        z, log_posterior, log_cell = posterior_on_grid(model, x, 4001, 20.0)
        floor, best_mean, best_scale = gaussian_floor(z, log_posterior)
        log_p = log_marginal_quadrature(model, x, 4001, 20.0).item()
        for place in PLACES:
            values, q = next(found), gaussian(*place)
            assert values["logMarginal"] == pytest.approx(log_p, abs=1e-7)
            elbo = elbo_quadrature(model, x, q).item()
            assert values["elbo"] == pytest.approx(elbo, abs=1e-6, rel=1e-7)
            gap = kl_on_grid(q.log_prob(z[:, None]), log_posterior, log_cell).item()
            assert values["gap"] == pytest.approx(gap, abs=1e-6, rel=1e-7)
            assert values["elbo"] + values["gap"] == pytest.approx(log_p, abs=1e-6)
        best = values["best"]
        assert log_p - best["elbo"] == pytest.approx(floor.item(), abs=1e-5)
        assert best["mean"] == pytest.approx(best_mean.item(), abs=0.02)
        assert best["scale"] == pytest.approx(best_scale.item(), abs=0.02)
        # No Gaussian closes the gap, unless the decoder is straight.
        assert (floor.item() < 1e-5) == (bend == 0)


def test_a_climb_follows_the_gradient_and_may_end_on_the_lower_peak(browser, figure):
    starts = [(-0.5, 0.7), (1.0, 0.3), (-2.4, 0.2)]
    found = computed(
        browser, figure, [{"bend": 1.0, "x": 2.0, "mean": m, "scale": s} for m, s in starts]
    )
    model, x = bent_vae(1.0), column(2.0)
    ends = []
    for values in found:
        way = torch.tensor(values["ahead"], dtype=torch.float64)
        steps = torch.stack([way[:, 0], way[:, 1].log()], -1).diff(dim=0)
        for at in (0, len(steps) // 2):
            mean, log_scale = way[at, 0].clone(), way[at, 1].log()
            parameters = torch.stack([mean, log_scale]).requires_grad_()
            q = Gaussian(parameters[:1, None], 2 * parameters[1:, None])
            elbo_quadrature(model, x, q).backward()
            direction = nn.functional.cosine_similarity(parameters.grad, steps[at], dim=0)
            assert direction.item() == pytest.approx(1, abs=1e-6)
            size = 0.03 * min(1.0, 3 / parameters.grad.norm().item())
            assert steps[at].norm().item() == pytest.approx(
                size * parameters.grad.norm().item(), rel=1e-6
            )
        q = Gaussian(way[-1:, :1], 2 * way[-1:, 1:].log())
        ends.append((elbo_quadrature(model, x, q) - values["best"]["elbo"]).item())
    assert -1e-3 < ends[0] <= 1e-9
    assert -1e-3 < ends[1] <= 1e-9
    assert ends[2] < -0.2
