"""Diagnostics of a hierarchy, level by level, on chains whose answer is known."""

import pytest
import torch
from test_chain import SIZES, X, chain, poor_encoders
from toys import PIXELS, POINTS, gaussian_vae, normal

from companion import (
    HVAE,
    GaussianConditional,
    LinearGaussianConditional,
    StandardNormal,
    beta_elbo,
    elbo,
    mlp,
)
from companion.diagnostics import active_units, gradient_norms, level_rates
from companion.exact import LinearGaussianChain


def network(level_off: int | None = None) -> HVAE:
    """Three levels of networks in float64; a level that is off has q = p = N(0, I)."""
    torch.manual_seed(0)
    encoders = [GaussianConditional(mlp(4, 6)), GaussianConditional(mlp(3, 6))]
    decoders = [GaussianConditional(mlp(3, 4), 0.5), GaussianConditional(mlp(3, 6))]
    model = HVAE(encoders, decoders, StandardNormal(3)).double()
    if level_off is not None:
        off = model.encoders[level_off - 1], *([model.decoders[1]] if level_off == 1 else [])
        for module in off:
            for parameter in module.parameters():
                torch.nn.init.zeros_(parameter)
    return model


def test_rates_of_a_chain_are_the_exact_ones():
    exact, q = chain(), poor_encoders()
    x = normal(40, SIZES[0], seed=3)
    torch.manual_seed(0)
    found = level_rates(exact.hvae(q), x, 2_000)
    for estimate, known in zip(found, exact.rates(x, q), strict=True):
        # The draws' own noise is far below the spread of the rows.
        assert abs(estimate.mean - known.mean().item()) < 0.1 * estimate.standard_error
        error = known.std().item() / 40**0.5
        assert estimate.standard_error == pytest.approx(error, rel=0.1)


@pytest.mark.parametrize("level", [1, 2])
def test_a_level_that_is_off_has_rate_zero_and_no_active_unit(level):
    model = network(level_off=level)
    x = 2 * normal(60, 4, seed=1)
    torch.manual_seed(0)
    rates = level_rates(model, x, 50)
    assert abs(rates[level - 1].mean) < 4 * rates[level - 1].standard_error + 1e-12
    assert not active_units(model, x, level=level).any()
    assert active_units(network(), x, 1e-4, level=level).any()


def test_active_units_above_the_first_level_follow_the_data():
    # z_2 = first two coordinates of z_1 + noise, z_1 = x + noise: Var(E[z_2 | x]) is x's variance,
    # (4, 0.0001); without the correction the noise of 2 draws would pass for activity.
    eye = torch.eye(2).double()
    noisy = LinearGaussianConditional(eye, eye[0] * 0, eye)
    model = LinearGaussianChain([noisy, noisy]).hvae([noisy, noisy])
    torch.manual_seed(0)
    x = normal(3_000, 2, seed=1) * torch.tensor([2.0, 0.01]).double()
    assert active_units(model, x, 0.05, level=2, num_samples=2).tolist() == [True, False]
    means = model.trace(x, 2).q[1].mean.mean(0).var(0)
    assert (means > 0.05).all()


def test_gradient_norms_are_those_of_backward():
    model = network()
    torch.manual_seed(3)
    norms = gradient_norms(model, normal(POINTS, 4, seed=2))
    torch.manual_seed(3)
    elbo(model, normal(POINTS, 4, seed=2)).mean().backward()
    for found, levels in ((norms.encoders, model.encoders), (norms.decoders, model.decoders)):
        by_hand = [torch.cat([p.grad.flatten() for p in m.parameters()]).norm() for m in levels]
        torch.testing.assert_close(found, torch.stack(by_hand), rtol=1e-12, atol=1e-14)


def test_gradient_norms_take_another_objective_and_leave_no_gradient():
    model = network()
    norms = gradient_norms(model, X[:, :4], lambda m, x: beta_elbo(m, x, 0.0))
    assert norms.decoders[1] == 0  # with weight 0 nothing but p(x | z_1) and q(z_1 | x) learns
    assert norms.encoders[1] == 0
    assert norms.decoders[0] > 0
    assert all(p.grad is None for p in model.parameters())


def test_a_vae_is_a_hierarchy_of_one_level():
    vae, x = gaussian_vae(), normal(POINTS, PIXELS, seed=1)
    torch.manual_seed(3)
    norms = gradient_norms(vae, x)
    torch.manual_seed(3)
    elbo(vae, x).mean().backward()
    for found, module in ((norms.encoders, vae.encoder), (norms.decoders, vae.decoder)):
        by_hand = torch.cat([p.grad.flatten() for p in module.parameters()]).norm()
        torch.testing.assert_close(found, by_hand[None], rtol=1e-12, atol=1e-14)


def test_frozen_weights_count_as_zero():
    model = network()
    model.encoders[1].requires_grad_(False)
    norms = gradient_norms(model, X[:, :4])
    assert norms.encoders[1] == 0
    assert (norms.encoders[0] > 0) & (norms.decoders > 0).all()


@pytest.mark.parametrize("level", [0, 3])
def test_a_level_that_is_not_there_is_refused(level):
    # Catches: level 0 taken as the last of a list.
    with pytest.raises(ValueError, match=rf"level must be a number from 1 to 2, got {level}"):
        active_units(network(), normal(POINTS, 4, seed=1), level=level)
