"""The hierarchical model: one level is the VAE, and levels pair up as the formulas say."""

from itertools import pairwise

import pytest
import torch
from toys import POINTS, bits, check_descent, normal, seeded

from companion import (
    HVAE,
    VAE,
    BernoulliConditional,
    GaussianConditional,
    StandardNormal,
    beta_elbo,
    elbo,
    elbo_analytic,
    free_bits_elbo,
    iwae_bound,
    log_marginal,
    mlp,
)

SIZES = (5, 4, 3, 2)
SAMPLES = 7


def hvae(seed: int = 0, sizes: tuple[int, ...] = SIZES) -> HVAE:
    """A hierarchy in float64 with a Gaussian decoder of x of fixed scale."""
    torch.manual_seed(seed)
    pairs = list(pairwise(sizes))
    decoders = [GaussianConditional(mlp(above, 9, 2 * below)) for below, above in pairs[1:]]
    return HVAE(
        encoders=[GaussianConditional(mlp(below, 8, 2 * above)) for below, above in pairs],
        decoders=[GaussianConditional(mlp(sizes[1], 6, sizes[0]).double(), 0.7), *decoders],
        prior=StandardNormal(sizes[-1]),
    ).double()


X = normal(POINTS, SIZES[0], seed=51)


def test_one_level_is_the_vae_bit_for_bit():
    one = hvae(sizes=(5, 3))
    vae = VAE(one.encoders[0], one.decoders[0], one.prior)
    for objective, extra in (
        (elbo, (SAMPLES,)),
        (elbo_analytic, (SAMPLES,)),
        (iwae_bound, (SAMPLES,)),
        (beta_elbo, (0.3, SAMPLES)),
        (free_bits_elbo, (0.1, SAMPLES)),
    ):
        first, second = (seeded(objective, model, X, *extra) for model in (one, vae))
        assert torch.equal(first, second)
        gradients = [
            torch.autograd.grad(value.sum(), [*vae.parameters()]) for value in (first, second)
        ]
        assert all(map(torch.equal, *gradients))
    assert torch.equal(seeded(one.sample, 9), seeded(vae.sample, 9))
    assert torch.equal(*(seeded(log_marginal, model, X, 9, 4) for model in (one, vae)))


def test_trace_pairs_each_level_with_its_neighbours():
    # Catches: z_2 drawn with z_1's size or from x; p of the wrong level; the prior left out.
    model = hvae()
    trace = seeded(model.trace, X, SAMPLES)
    z1, z2, z3 = trace.z
    assert [z.shape for z in trace.z] == [(SAMPLES, POINTS, d) for d in SIZES[1:]]
    encoders, decoders = model.encoders, model.decoders
    rates = [
        encoders[0](X).log_prob(z1) - decoders[1](z2).log_prob(z1),
        encoders[1](z1).log_prob(z2) - decoders[2](z3).log_prob(z2),
        encoders[2](z2).log_prob(z3) - model.prior().log_prob(z3),
    ]
    close = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(trace.rates, torch.stack(rates), **close)
    torch.testing.assert_close(trace.reconstruction, decoders[0](z1).log_prob(X), **close)
    torch.testing.assert_close(
        trace.log_weight, trace.reconstruction - torch.stack(rates).sum(0), **close
    )


def test_every_draw_of_a_level_is_its_own():
    # Catches: one draw of z_2 shared by all K samples of z_1.
    trace = hvae().trace(X[:1].expand(POINTS, -1), SAMPLES)
    for z in trace.z:
        assert len(torch.unique(z)) == z.numel()


def test_gradients_reach_every_level():
    model = hvae()
    elbo(model, X).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_going_down_from_a_level_keeps_what_is_above():
    model = hvae()
    for decoder in model.decoders[1:]:
        for parameter in decoder.parameters():
            torch.nn.init.zeros_(parameter)
    torch.manual_seed(0)
    draws = model.descend(torch.zeros(20_000, SIZES[-1]).double())[0]
    direct = model.descend(torch.randn(20_000, SIZES[1]).double(), 1)[0]
    # With levels 2 and 3 switched off, z_1 given them is N(0, I).
    error = (draws.var(0) / 20_000 + direct.var(0) / 20_000).sqrt()
    assert ((draws.mean(0) - direct.mean(0)).abs() < 5 * error).all()
    assert draws.std(0).min() > 0
    torch.testing.assert_close(draws.std(0), direct.std(0), rtol=0.05, atol=0.0)


def test_sample_goes_down_from_the_prior():
    model = hvae()
    torch.manual_seed(1)
    x = model.sample(6)
    torch.manual_seed(1)
    assert torch.equal(x, model.descend(model.prior().sample((6,)), level=3)[0])
    assert not x.requires_grad


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_path_down_is_drawn_by_the_decoders_in_order(level):
    # Catches: a decoder of the wrong level, and a path returned in the order it was drawn.
    model = hvae()
    z = normal(SAMPLES, POINTS, SIZES[level], seed=2)
    check_descent(model, z, level, SIZES)


def test_it_scores_binary_data_and_refuses_grey():
    model = HVAE(
        [GaussianConditional(mlp(4, 6)), GaussianConditional(mlp(3, 4))],
        [BernoulliConditional(mlp(3, 4)), GaussianConditional(mlp(2, 6))],
        StandardNormal(2),
    ).double()
    assert elbo(model, bits(POINTS, 4)).shape == (POINTS,)
    with pytest.raises(ValueError, match=r"0\.3 to 0\.3.*binarise"):
        elbo(model, torch.full((2, 4), 0.3).double())


def test_free_bits_count_for_each_level_by_itself():
    # Catches: the threshold compared with the sum, or with the mean, of the levels' rates.
    model = hvae()
    trace = seeded(model.trace, X, 11)
    rates = trace.rates.mean(1)
    means = rates.mean(1)
    order = means.sort().indices
    free_nats = means[order[:2]].mean()  # above the least level alone
    assert means.min() < free_nats < means[order[1]]
    charged = rates.clone()
    charged[order[0]] = free_nats
    torch.testing.assert_close(
        seeded(free_bits_elbo, model, X, free_nats.item(), 11),
        trace.reconstruction.mean(0) - charged.sum(0),
        rtol=1e-12,
        atol=1e-12,
    )


def test_several_levels_have_no_analytic_elbo():
    with pytest.raises(ValueError, match=r"infers from the bottom up.*use elbo"):
        elbo_analytic(hvae(), X)


def test_a_hierarchy_is_final_and_restores():
    assert HVAE.__final__
    first, second = hvae(0), hvae(1)
    second.load_state_dict(first.state_dict())
    assert torch.equal(seeded(elbo, first, X), seeded(elbo, second, X))
