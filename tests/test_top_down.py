"""The hierarchy whose encoder runs down: its parts, its exact case, and all that takes it."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.distributions import kl_divergence
from toys import POINTS, check_descent, normal, seeded

from companion import (
    HVAE,
    VAE,
    BernoulliConditional,
    Ensemble,
    GaussianConditional,
    LinearGaussianConditional,
    StandardNormal,
    TopDownHVAE,
    beta_elbo,
    elbo,
    elbo_analytic,
    fit,
    free_bits_elbo,
    iwae_bound,
    log_marginal,
    mlp,
)
from companion.diagnostics import (
    active_units,
    effective_sample_size,
    gradient_norms,
    level_rates,
    mutual_information,
)
from companion.exact import LinearGaussianChain

SIZES = (5, 4, 3, 2)  # x, z_1, z_2, z_3
SEEN = 6
SAMPLES = 7
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def top_down(seed: int = 0, *, shared: bool = True) -> TopDownHVAE:
    """Three levels in float64; encoders see features of x, or x itself."""
    torch.manual_seed(seed)
    pixels, *units = SIZES
    seen = SEEN if shared else pixels
    above = [*units[1:], 0]
    encoders = [
        GaussianConditional(mlp(seen + a, 8, 2 * d)) for d, a in zip(units, above, strict=True)
    ]
    decoders = [
        GaussianConditional(mlp(units[0], 6, pixels).double(), 0.7),
        GaussianConditional(mlp(units[1], 9, 2 * units[0])),
        GaussianConditional(mlp(units[2], 9, 2 * units[1])),
    ]
    features = mlp(pixels, 7, SEEN) if shared else None
    return TopDownHVAE(encoders, decoders, StandardNormal(units[-1]), features=features).double()


X = normal(POINTS, SIZES[0], seed=91)


@pytest.mark.parametrize("shared", [True, False])
def test_shapes_of_a_trace(shared):
    trace = top_down(shared=shared).trace(X, SAMPLES)
    assert [z.shape for z in trace.z] == [(SAMPLES, POINTS, d) for d in SIZES[1:]]
    assert [tuple(q.batch_shape) for q in trace.q] == [(SAMPLES, POINTS)] * 2 + [(POINTS,)]
    assert [tuple(p.batch_shape) for p in trace.p] == [(SAMPLES, POINTS)] * 3 + [()]
    assert trace.rates.shape == (3, SAMPLES, POINTS)
    assert trace.reconstruction.shape == trace.log_weight.shape == (SAMPLES, POINTS)
    assert trace.top_down


@pytest.mark.parametrize("shared", [True, False])
def test_a_trace_is_log_p_minus_log_q_at_its_own_draws(shared):
    # Catches: an encoder given z_1 in place of what is above it, x in place of its features,
    # the arguments the wrong way round, a level paired with the wrong p.
    model = top_down(shared=shared)
    trace = seeded(model.trace, X, SAMPLES)
    z1, z2, z3 = trace.z
    seen = model.features(X)
    wide = seen.expand(SAMPLES, -1, -1)
    given = [torch.cat([wide, z2], -1), torch.cat([wide, z3], -1), seen]
    rates = []
    for encoder, decoder, inputs, z, above in (
        (model.encoders[0], model.decoders[1], given[0], z1, z2),
        (model.encoders[1], model.decoders[2], given[1], z2, z3),
        (model.encoders[2], None, given[2], z3, None),
    ):
        mean, logvar = encoder.net(inputs).chunk(2, -1)
        q = torch.distributions.Normal(mean, (logvar / 2).exp()).log_prob(z).sum(-1)
        p = decoder(above) if decoder else model.prior()
        rates.append(q - p.log_prob(z))
    reconstruction = model.decoders[0](z1).log_prob(X)
    torch.testing.assert_close(trace.rates, torch.stack(rates), **CLOSE)
    torch.testing.assert_close(trace.reconstruction, reconstruction, **CLOSE)
    torch.testing.assert_close(trace.log_weight, reconstruction - sum(rates), **CLOSE)


def test_every_draw_of_a_level_is_its_own():
    # Catches: one draw of z_3 shared by all K samples of z_2.
    trace = top_down().trace(X[:1].expand(POINTS, -1), SAMPLES)
    for z in trace.z:
        assert len(torch.unique(z)) == z.numel()


def test_the_features_are_computed_once_a_trace_and_learn():
    model, calls = top_down(), []
    model.features.register_forward_hook(lambda *_: calls.append(None))
    value = elbo(model, X, SAMPLES).sum()
    assert len(calls) == 1
    value.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    log_marginal(model, X, 10, chunk_size=3)
    assert len(calls) == 2
    assert {name.split(".")[0] for name in model.state_dict()} == {
        "features",
        "encoders",
        "decoders",
    }


def test_one_level_is_the_vae_number_for_number():
    torch.manual_seed(0)
    encoder = GaussianConditional(mlp(5, 6, 6)).double()
    decoder = GaussianConditional(mlp(3, 6, 5).double(), 0.7)
    prior = StandardNormal(3).double()
    models = TopDownHVAE([encoder], [decoder], prior), VAE(encoder, decoder, prior)
    for objective, extra in (
        (elbo, (SAMPLES,)),
        (elbo_analytic, (SAMPLES,)),
        (iwae_bound, (SAMPLES,)),
        (beta_elbo, (0.3, SAMPLES)),
        (free_bits_elbo, (0.1, SAMPLES)),
    ):
        values = [seeded(objective, model, X, *extra) for model in models]
        assert torch.equal(*values)
        gradients = [torch.autograd.grad(v.sum(), [*models[1].parameters()]) for v in values]
        assert all(map(torch.equal, *gradients))
    assert torch.equal(*(seeded(model.sample, 9) for model in models))
    assert torch.equal(*(seeded(log_marginal, model, X, 9, 4) for model in models))


# On a linear Gaussian chain everything is known.

CHAIN_SIZES = (5, 4, 3)


def chain(seed: int = 0) -> LinearGaussianChain:
    """x, z_1, z_2 of sizes 5, 4 and 3."""
    decoders = []
    for below, above in pairwise(CHAIN_SIZES):
        seed += 10
        root = 0.4 * normal(below, below, seed=seed)
        noise = root @ root.mT + 0.3 * torch.eye(below).double()
        weight = 0.8 * normal(below, above, seed=seed + 1)
        decoders.append(LinearGaussianConditional(weight, normal(below, seed=seed + 2), noise))
    return LinearGaussianChain(decoders)


def closed(trace):
    """The ELBO of each draw with every rate in closed form, (K, B)."""
    pairs = zip(trace.q, trace.p[1:], strict=True)
    return trace.reconstruction - sum(kl_divergence(q, p) for q, p in pairs)


def test_the_exact_encoder_makes_every_weight_the_marginal():
    # Catches: a sign, a level left out, a conditional of the wrong neighbours.
    exact = chain()
    model = exact.top_down_hvae()
    truth = exact.log_marginal(X)
    weights = model.trace(X, SAMPLES).log_weight
    torch.testing.assert_close(weights, truth.expand(SAMPLES, -1), rtol=0, atol=1e-10)
    for value in (elbo(model, X, 3), iwae_bound(model, X, 3), log_marginal(model, X, 30)):
        torch.testing.assert_close(value, truth, rtol=0, atol=1e-10)
    bottom_up = exact.hvae().trace(X, 3).log_weight
    torch.testing.assert_close(weights[:3], bottom_up, rtol=0, atol=1e-10)
    torch.testing.assert_close(
        effective_sample_size(weights), torch.full((POINTS,), float(SAMPLES)).double()
    )


def test_closed_rates_of_the_exact_encoder_average_to_the_marginal():
    exact, count = chain(), 20_000
    model = exact.top_down_hvae()
    values = closed(seeded(model.trace, X, count))
    error = values.std(0) / count**0.5
    assert (error > 0).all()
    assert ((values.mean(0) - exact.log_marginal(X)).abs() < 4 * error).all()
    torch.testing.assert_close(seeded(elbo_analytic, model, X, count), values.mean(0), **CLOSE)


def test_closed_and_sampled_rates_agree_and_the_closed_ones_are_quieter():
    # Catches: a level's KL left out, given another level's z, or taken the other way round.
    # The encoder is far off and the pixels know little of z: the noise is the rates' own. (Beside
    # the posterior it is the sampled ones that are quiet: there log w is log p(x).)
    exact = chain()
    faint = LinearGaussianConditional(0.1 * normal(5, 4, seed=1), X[0], torch.eye(5).double())
    encoders = [
        LinearGaussianConditional(q.weight, q.bias + 0.7, 0.6 * q.scale_tril @ q.scale_tril.mT)
        for q in exact.top_down_posterior()
    ]
    decoders = [faint, *exact.decoders[1:]]
    model = TopDownHVAE(encoders, decoders, StandardNormal(CHAIN_SIZES[-1]).double())
    count = 20_000
    trace = seeded(model.trace, X, count)
    pairs = zip(trace.q, trace.p[1:], strict=True)
    rates = torch.stack([kl_divergence(q, p).expand(count, -1) for q, p in pairs])
    error = (trace.rates - rates).std(1) / count**0.5
    assert ((trace.rates - rates).mean(1).abs() < 4 * error).all()
    assert (rates.mean((1, 2)) > 20 * error.max()).all()
    assert (closed(trace).var(0) < 0.5 * trace.log_weight.var(0)).all()
    torch.testing.assert_close(
        seeded(elbo_analytic, model, X, count), closed(trace).mean(0), **CLOSE
    )
    assert (closed(trace).mean(0) < LinearGaussianChain(decoders).log_marginal(X)).all()


def test_networks_have_closed_rates_too():
    model, count = top_down(), 20_000
    torch.manual_seed(0)
    sampled = model.trace(X, count).log_weight
    torch.manual_seed(1)
    values = elbo_analytic(model, X, count)
    error = sampled.std(0) * (2 / count) ** 0.5
    assert ((values - sampled.mean(0)).abs() < 4 * error).all()
    gradients = torch.autograd.grad(values.sum(), [*model.parameters()])
    assert all(gradient.abs().max() > 0 for gradient in gradients)


def test_a_bottom_up_hierarchy_has_no_closed_rates():
    model = HVAE(
        [GaussianConditional(mlp(5, 8)), GaussianConditional(mlp(4, 6))],
        [GaussianConditional(mlp(4, 5), 0.7), GaussianConditional(mlp(3, 8))],
        StandardNormal(3),
    ).double()
    with pytest.raises(ValueError, match=r"infers from the bottom up.*use elbo"):
        elbo_analytic(model, X)


# Going down.


@pytest.mark.parametrize("level", [1, 2, 3])
def test_going_down_keeps_what_is_above(level):
    model = top_down()
    z = normal(SAMPLES, POINTS, SIZES[level], seed=3)
    check_descent(model, z, level, SIZES)


def test_sample_goes_down_from_the_prior():
    model = top_down()
    torch.manual_seed(1)
    x = model.sample(6)
    torch.manual_seed(1)
    assert torch.equal(x, model.descend(model.prior().sample((6,)))[0])


# What takes any model takes this one.


def test_objectives_count_every_level():
    model = top_down()
    trace = seeded(model.trace, X, SAMPLES)
    rates = trace.rates.mean(1)
    values = seeded(beta_elbo, model, X, 0.3, SAMPLES)
    by_hand = trace.reconstruction.mean(0) - 0.3 * rates.sum(0)
    torch.testing.assert_close(values, by_hand, **CLOSE)
    least = rates.mean(1).argmin()
    free_nats = rates.mean(1).sort().values[:2].mean().item()
    charged = rates.clone()
    charged[least] = free_nats
    torch.testing.assert_close(
        seeded(free_bits_elbo, model, X, free_nats, SAMPLES),
        trace.reconstruction.mean(0) - charged.sum(0),
        **CLOSE,
    )
    bound = trace.log_weight.logsumexp(0) - math.log(SAMPLES)
    torch.testing.assert_close(seeded(iwae_bound, model, X, SAMPLES), bound, **CLOSE)
    torch.testing.assert_close(seeded(log_marginal, model, X, SAMPLES), bound, **CLOSE)


@pytest.mark.parametrize("objective", [elbo, elbo_analytic])
def test_it_learns(objective):
    torch.manual_seed(0)
    x = normal(40, 2, seed=1) @ normal(2, SIZES[0], seed=2)
    history = fit(top_down(), x, objective, epochs=60, batch_size=20, lr=1e-2)
    assert sum(history.objective[-5:]) / 5 > sum(history.objective[:5]) / 5 + 1


def test_binary_data():
    torch.manual_seed(0)
    model = TopDownHVAE(
        [GaussianConditional(mlp(5 + 2, 6)), GaussianConditional(mlp(5, 4))],
        [BernoulliConditional(mlp(3, 5)), GaussianConditional(mlp(2, 6))],
        StandardNormal(2),
    ).double()
    assert elbo_analytic(model, (X > 0).double()).shape == (POINTS,)
    with pytest.raises(ValueError, match=r"Bernoulli.*binarise"):
        elbo(model, X)


def test_an_ensemble_of_them():
    models, betas = [top_down(seed) for seed in range(3)], [0.5, 1.0, 4.0]
    ensemble = Ensemble(models)
    torch.manual_seed(0)
    together = ensemble.evaluate(beta_elbo, X, betas)
    for model, beta, values in zip(models, betas, together, strict=True):
        torch.manual_seed(0)
        torch.testing.assert_close(values, beta_elbo(model, X, beta), **CLOSE)
    fit(ensemble, X, ensemble.objective(beta_elbo, betas), epochs=2)
    assert all(isinstance(model, TopDownHVAE) for model in ensemble.members())


def off(level: int) -> TopDownHVAE:
    """A model in which one level has q = p = N(0, I)."""
    model = top_down()
    parts = [model.encoders[level - 1], *([model.decoders[level]] if level < 3 else [])]
    for part in parts:
        for parameter in part.parameters():
            nn.init.zeros_(parameter)
    return model


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_level_that_is_off_has_rate_zero_and_no_active_unit(level):
    x = 2 * normal(60, SIZES[0], seed=1)
    torch.manual_seed(0)
    rates = level_rates(off(level), x, 50)
    assert len(rates) == 3
    assert abs(rates[level - 1].mean) < 4 * rates[level - 1].standard_error + 1e-12
    assert all(abs(rates[other - 1].mean) > 1e-3 for other in {1, 2, 3} - {level})
    found = active_units(off(level), x, level=level)
    assert found.shape == (SIZES[level],)
    assert not found.any()
    assert active_units(top_down(), x, 1e-4, level=level).any()


def test_active_units_take_off_the_noise_of_the_levels_above():
    # z_2 = x + noise, z_1 = z_2 + noise: Var(E[z_1 | x]) is x's variance, (4, 0.0001). Without the
    # correction the noise of 2 draws of z_2 would pass for activity of z_1.
    eye = torch.eye(2).double()
    top = LinearGaussianConditional(eye, eye[0] * 0, eye)
    inner = LinearGaussianConditional(torch.cat([0 * eye, eye], 1), eye[0] * 0, eye)
    model = TopDownHVAE([inner, top], [top, top], StandardNormal(2).double())
    torch.manual_seed(0)
    x = normal(3_000, 2, seed=1) * torch.tensor([2.0, 0.01]).double()
    assert active_units(model, x, 0.05, level=1, num_samples=2).tolist() == [True, False]
    assert active_units(model, x, 0.05, level=2, num_samples=2).tolist() == [True, False]
    means = model.trace(x, 2).q[0].mean.mean(0).var(0)
    assert (means > 0.05).all()


def test_mutual_information_is_that_of_the_top():
    # z_3 is drawn from x itself; z_1 says nothing by itself, as its level is drawn last.
    model = top_down()
    with torch.no_grad():  # means that lie apart
        model.encoders[2].net[-1].weight[:2] *= 40
    x = 2 * normal(30, SIZES[0], seed=1)
    found = seeded(mutual_information, model, x, 200)
    vae = VAE(
        model.encoders[2],
        GaussianConditional(mlp(2, SEEN).double(), 1.0),
        StandardNormal(2).double(),
    )
    known = mutual_information(vae, model.features(x).detach(), 200)
    assert found.mean > 4 * found.standard_error
    assert abs(found.mean - known.mean) < 0.2 * known.standard_error
    silent = off(3)
    assert abs(mutual_information(silent, x, 20).mean) < 1e-12


def test_gradient_norms_are_those_of_backward():
    model = top_down()
    norms = seeded(gradient_norms, model, X)
    seeded(elbo, model, X).mean().backward()
    for found, levels in ((norms.encoders, model.encoders), (norms.decoders, model.decoders)):
        by_hand = [torch.cat([p.grad.flatten() for p in m.parameters()]).norm() for m in levels]
        torch.testing.assert_close(found, torch.stack(by_hand), rtol=1e-12, atol=1e-14)


# Parts that do not fit.


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"encoders": 2}, r"encoders must be as many as decoders: 2, 3"),
        (
            {"inner": 4},
            r"encoders\[1\] does not accept input of shapes \[?\(?\(2, 6\), \(2, 2, 2\)",
        ),
        ({"top": 3}, r"encoders\[2\] must return batch \(2,\) and event \(2,\)"),
    ],
)
def test_parts_that_do_not_fit_are_named(change, said):
    model = top_down()
    encoders = list(model.encoders)
    if "encoders" in change:
        encoders = encoders[:2]
    if "inner" in change:
        encoders[1] = GaussianConditional(mlp(SEEN + 1, 6).double())
    if "top" in change:
        encoders[2] = GaussianConditional(mlp(SEEN, 2 * 3).double())
    with pytest.raises(ValueError, match=said):
        TopDownHVAE(encoders, list(model.decoders), model.prior, features=model.features)
