"""Chapter 10: where a hierarchy spends its nats, why, and what wakes an idle level.

The identities hold to rounding. What training does is measured on small digits with few epochs, at
thresholds far from what was seen; the same measure tells trained from awake models apart.
"""

import pytest
import torch
from test_chain import chain, poor_encoders
from torch.distributions import MultivariateNormal

from companion import data
from companion.autoregressive import AutoregressiveConditional
from companion.conditionals import GaussianConditional, StandardNormal, mlp
from companion.diagnostics import gradient_norms, level_rates
from companion.ensemble import Ensemble
from companion.exact import Blocks, chain_joint
from companion.models import HVAE, VAE
from companion.objectives import beta_elbo, elbo, free_bits_elbo
from companion.train import fit, linear_warm_up

SEEDS = (0, 1, 2)
RATE = 8e-3
"""Adam's step size: larger than the chapter's, for fewer epochs."""
TRAIN, TEST = (part[0] for part in data.split(data.digits()[0]))


def between():
    return GaussianConditional(mlp(8, 32, 16))


def digit_hvae(seed, lowest=None):
    torch.manual_seed(seed)
    encoders = [GaussianConditional(mlp(64, 64, 16)), between(), between()]
    decoders = [lowest or GaussianConditional(mlp(8, 64, 64), 0.2), between(), between()]
    return HVAE(encoders, decoders, StandardNormal(8))


@torch.no_grad()
def start_awake(model):
    """Upper conditionals begin as N(input, I/e), by silu(u) − silu(−u) = u."""
    pair = torch.cat([torch.eye(8), -torch.eye(8)])
    for conditional in [*model.encoders[1:], *model.decoders[1:]]:
        first, _, last = conditional.net
        for parameter in (first.bias, last.weight, last.bias):
            parameter.zero_()
        first.weight[:16] = pair
        last.weight[:8, :16] = pair.mT
        last.bias[8:] = -1.0
    return model


def train(starts, betas, epochs, x=TRAIN, fixed=None):
    """Fit all starts side by side, each with its schedule of β."""
    ensemble = Ensemble(starts)
    for (name, _), weight in zip(starts[0].named_parameters(), ensemble.stacked, strict=True):
        weight.requires_grad_(fixed is None or not name.startswith(fixed))

    def objective(ensemble, x, epoch):
        return ensemble.evaluate(beta_elbo, x, [beta(epoch) for beta in betas]).sum(0)

    torch.manual_seed(0)
    fit(ensemble, x, objective, epochs=epochs, lr=RATE, schedule=lambda epoch: epoch)
    return ensemble.members()


def rates(models, x=TEST):
    torch.manual_seed(1)
    return torch.tensor([[rate.mean for rate in level_rates(m, x, 8)] for m in models])


def plainly(epoch):
    return 1.0


@pytest.fixture(scope="module")
def trained():
    """Rates after 16 epochs: three seeds plain, three warmed up over 12, three awake at the start.

    And the three plain models.
    """
    starts = [digit_hvae(seed) for seed in SEEDS * 2]
    starts += [start_awake(digit_hvae(seed)) for seed in SEEDS]
    betas = [plainly] * 3 + [linear_warm_up(12)] * 3 + [plainly] * 3
    models = train(starts, betas, epochs=16)
    found = rates(models)
    return {"plain": found[:3], "warm": found[3:6], "awake": found[6:], "models": models[:3]}


# Would catch rates of the wrong level; that the top can carry rate is seen from the awake start.
@pytest.mark.claim("train.upper-levels-idle")
def test_plain_training_leaves_the_top_idle(trained):
    plain = trained["plain"]
    assert (plain[:, 0] > 4).all()
    assert (plain[:, 1] < plain[:, 0] / 2).all()
    assert (plain[:, 2] < 0.2).all()


# Would catch an information of neighbours in place of x, and levels in the wrong order.
@pytest.mark.claim("train.information-falls")
@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_information_about_x_falls_by_what_the_level_above_does_not_know(scale):
    law = MultivariateNormal(torch.zeros(5).double(), scale * torch.eye(5).double())
    for encoders in (chain().posterior(), poor_encoders()):
        joint = chain_joint(law, encoders)
        levels = range(1, len(joint.sizes))
        information = [joint.mutual_information([0], [i]) for i in levels]
        for i in levels[:-1]:
            # I(x; z_i | z_i+1), from conditional covariances alone.
            before = joint.conditional(i, [i + 1]).scale_tril.diagonal().log().sum()
            after = joint.conditional(i, [0, i + 1]).scale_tril.diagonal().log().sum()
            lost = information[i - 1] - information[i]
            torch.testing.assert_close(lost, before - after, rtol=1e-10, atol=1e-10)
            assert lost >= 0


@pytest.mark.claim("train.information-falls")
def test_with_a_top_down_encoder_it_need_not_fall():
    # x, z_1 pure noise, z_2 = x + noise: not a chain from x up through z_1.
    covariance = torch.eye(3).double()
    covariance[2, 2], covariance[0, 2], covariance[2, 0] = 1.5, 1.0, 1.0
    joint = Blocks(torch.zeros(3).double(), covariance, [1, 1, 1])
    assert joint.mutual_information([0], [2]) > 0.5 > joint.mutual_information([0], [1])


# Would catch a decoder of x that sees upper levels, and norms listed from the top.
@pytest.mark.claim("train.weak-gradients")
@pytest.mark.parametrize("seed", SEEDS[:2])
def test_gradients_fall_with_height_on_equal_levels(seed):
    centred = TRAIN - TRAIN.mean(0)
    x = centred @ torch.linalg.eigh(centred.mT @ centred).eigenvectors[:, -8:]
    torch.manual_seed(seed)
    decoders = [GaussianConditional(mlp(8, 32, 8), 0.2), between(), between(), between()]
    model = HVAE([between() for _ in range(4)], decoders, StandardNormal(8))
    alone = gradient_norms(model, x, lambda m, x: beta_elbo(m, x, 0.0)).encoders
    assert alone[0] > 0
    assert (alone[1:] == 0).all()
    fit(model, x, epochs=8, lr=4e-3)
    torch.manual_seed(0)
    norms = gradient_norms(model, x, lambda m, x: elbo(m, x, 10)).encoders
    assert norms[0] > 2 * norms[1]
    assert norms[1] > norms[3]


# Would catch a context that is not passed on: both models would be one.
@pytest.mark.claim("train.capacity")
def test_a_lowest_conditional_that_sees_all_pixels_takes_the_work():
    binary = (TRAIN > 0.5).float()
    totals = []
    for context in (0, 63):
        torch.manual_seed(0)
        lowest = AutoregressiveConditional(8, 64, 64, context)
        model = start_awake(digit_hvae(0, lowest))
        fit(model, binary, epochs=12, lr=5e-3)
        totals.append(rates([model], (TEST > 0.5).float()).sum())
    none, everything = totals
    assert everything < 0.85 * none


# Would catch a decoder that is trained although it should stay: its rates would spread too.
@pytest.mark.claim("train.joint-instability")
def test_rates_spread_over_seeds_when_both_are_trained(trained):
    source = trained["models"][0]
    fresh = [digit_hvae(seed) for seed in (10, 11, 12)]
    for model in fresh:
        model.decoders.load_state_dict(source.decoders.state_dict())
    models = train(fresh, [plainly] * 3, epochs=12, fixed="decoders")
    for model in models:
        kept = zip(model.decoders.parameters(), source.decoders.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in kept)
    spread = rates(models).std(0)
    assert trained["plain"].std(0)[0] > 1.5 * spread[0]
    assert trained["plain"].std(0)[1] > 1.5 * spread[1]


# Would catch a λ that is shared by the levels or compared with their sum.
@pytest.mark.claim("train.warm-up")
def test_free_bits_wake_the_top_and_warm_up_the_second_level(trained):
    ensemble = Ensemble([digit_hvae(seed) for seed in SEEDS])
    torch.manual_seed(0)
    fit(ensemble, TRAIN, ensemble.objective(free_bits_elbo, [1.0] * 3), epochs=10, lr=RATE)
    found = rates(ensemble.members())
    assert (found[:, 1:] > 0.5).all()
    assert (trained["warm"][:, 1] > trained["plain"][:, 1]).all()
    assert (trained["warm"][:, 2] < 0.5).all()


@pytest.mark.claim("train.layerwise")
def test_a_careful_start_keeps_the_top_awake(trained):
    assert (trained["awake"][:, 2] > 1).all()
    assert (trained["plain"][:, 2] < 0.2).all()


# Would catch stages that do not share their weights with the hierarchy.
@pytest.mark.claim("train.layerwise")
def test_layer_wise_training_leaves_the_top_awake():
    model, x = digit_hvae(0), TRAIN
    for level, beta in enumerate([0.3, 0.3, 1.0]):
        one = VAE(model.encoders[level], model.decoders[level], model.prior)
        fit(one, x, lambda m, x, beta=beta: beta_elbo(m, x, beta), epochs=8, lr=5e-3)
        with torch.no_grad():
            x = one.trace(x).z[0][0]
    fit(model, TRAIN, epochs=6, lr=5e-3)
    assert rates([model])[0, 2] > 0.5


@pytest.mark.claim("train.layerwise")
def test_the_careful_start_is_the_identity():
    model, z = start_awake(digit_hvae(0)), torch.randn(6, 8)
    for conditional in [*model.encoders[1:], *model.decoders[1:]]:
        torch.testing.assert_close(conditional(z).mean, z, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(conditional(z).variance.log(), torch.full((6, 8), -1.0))
