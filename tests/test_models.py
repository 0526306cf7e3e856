"""Traces, sampling, the VAE and the plain autoencoder."""

import pytest
import torch
from torch.distributions import Independent, Normal
from toys import (
    PIXELS,
    POINTS,
    SAMPLES,
    UNITS,
    bernoulli_vae,
    bits,
    gaussian_vae,
    linear_gaussian,
    normal,
)

from companion import (
    HVAE,
    VAE,
    Autoencoder,
    GaussianConditional,
    StandardNormal,
    TopDownHVAE,
    Trace,
    mlp,
)
from companion.diffusion import Diffusion


def test_trace_shapes():
    trace = gaussian_vae().trace(normal(POINTS, PIXELS, seed=1), SAMPLES)
    assert [z.shape for z in trace.z] == [(SAMPLES, POINTS, UNITS)]
    assert trace.reconstruction.shape == (SAMPLES, POINTS)
    assert trace.rates.shape == (1, SAMPLES, POINTS)
    assert trace.log_weight.shape == (SAMPLES, POINTS)


def test_trace_is_log_p_minus_log_q_at_its_own_draws():
    # Catches: a sign, a missing term, a density at another z than the one drawn.
    vae = gaussian_vae()
    x = normal(POINTS, PIXELS, seed=1)
    trace = vae.trace(x, SAMPLES)
    (z,) = trace.z
    mu, logvar = vae.encoder.net(x).chunk(2, -1)
    q = Normal(mu, (logvar / 2).exp()).log_prob(z).sum(-1)
    prior = Normal(0, 1).log_prob(z).sum(-1)
    likelihood = Normal(vae.decoder.net(z), 0.7).log_prob(x).sum(-1)
    close = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(trace.reconstruction, likelihood, **close)
    torch.testing.assert_close(trace.rates[0], q - prior, **close)
    torch.testing.assert_close(trace.log_weight, likelihood + prior - q, **close)


def test_a_trace_of_two_levels():
    # Catches: levels paired with the wrong p, or summed over the wrong axis.
    def unit(mean: torch.Tensor) -> Independent:
        return Independent(Normal(mean, 1), 1)

    x, z1, z2 = normal(5, 4, seed=1), normal(7, 5, 3, seed=2), normal(7, 5, 2, seed=3)
    lower, upper = normal(7, 5, 3, seed=4), normal(7, 5, 2, seed=5)
    trace = Trace(
        x=x,
        z=(z1, z2),
        q=(unit(lower), unit(upper)),
        p=(unit(normal(7, 5, 4, seed=6)), unit(lower + 1), unit(torch.zeros(2))),
    )
    rate1 = 0.5 * ((z1 - lower - 1) ** 2 - (z1 - lower) ** 2).sum(-1)
    rate2 = 0.5 * (z2**2 - (z2 - upper) ** 2).sum(-1)
    torch.testing.assert_close(trace.rates, torch.stack([rate1, rate2]).double())
    torch.testing.assert_close(trace.log_weight, trace.reconstruction - rate1 - rate2)


def test_a_trace_with_a_level_missing_is_refused():
    trace = gaussian_vae().trace(normal(POINTS, PIXELS, seed=1))
    with pytest.raises(ValueError, match="shorter"):
        _ = Trace(x=trace.x, z=trace.z, q=trace.q, p=trace.p[:1]).rates


def test_draws_differ_between_samples_and_points():
    # Catches: one ε shared by all points or all samples.
    vae = gaussian_vae()
    x = normal(1, PIXELS, seed=1).expand(POINTS, -1)
    (z,) = vae.trace(x, SAMPLES).z
    assert len(torch.unique(z)) == z.numel()


@pytest.mark.parametrize("training", [True, False])
def test_eval_mode_still_draws(training):
    # Catches: the posterior mean in eval mode, so that the reported number is no ELBO.
    vae = gaussian_vae().train(training)
    x = normal(POINTS, PIXELS, seed=1)
    torch.manual_seed(0)
    (first,) = vae.trace(x).z
    (second,) = vae.trace(x).z
    torch.manual_seed(0)
    (again,) = vae.trace(x).z
    assert not torch.equal(first, second)
    assert torch.equal(first, again)


def test_gradients_reach_encoder_and_decoder():
    # Catches: sample() for rsample(): the reconstruction term must move the encoder.
    vae = gaussian_vae()
    vae.trace(normal(POINTS, PIXELS, seed=1), SAMPLES).reconstruction.mean().backward()
    for parameter in (*vae.encoder.parameters(), *vae.decoder.parameters()):
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0


def test_samples_have_the_marginal_law():
    # Catches: sampling from the encoder, a mean in place of a draw, z of the wrong scale.
    exact = linear_gaussian(2)
    torch.manual_seed(0)
    count = 40_000
    x = exact.vae().sample(count)
    assert x.shape == (count, PIXELS)
    assert not x.requires_grad
    marginal = exact.marginal()
    error = (marginal.variance / count).sqrt()
    assert ((x.mean(0) - marginal.mean).abs() < 5 * error).all()
    # Whitened, the second moments are those of N(0, I): standard errors √(2/n) and √(1/n).
    root = torch.linalg.cholesky(marginal.covariance_matrix)
    white = torch.linalg.solve_triangular(root, (x - marginal.mean).T, upper=False).T
    second = white.T @ white / count
    assert ((second - torch.eye(PIXELS)).abs() < 5 * (2 / count) ** 0.5).all()


def test_samples_of_a_bernoulli_model_are_binary():
    assert set(bernoulli_vae().sample(50).unique().tolist()) == {0.0, 1.0}


def test_sample_is_repeatable_and_needs_no_gradient():
    vae = gaussian_vae()
    torch.manual_seed(3)
    first = vae.sample(4)
    torch.manual_seed(3)
    assert torch.equal(first, vae.sample(4))


def test_batch_of_one_and_one_unit():
    vae = gaussian_vae(pixels=1, units=1)
    trace = vae.trace(normal(1, 1, seed=1), 1)
    assert trace.log_weight.shape == (1, 1)
    assert vae.sample(1).shape == (1, 1)


def test_data_may_require_a_gradient():
    # Catches: a detach on the way from x to the score.
    x = normal(POINTS, PIXELS, seed=1).requires_grad_()
    gaussian_vae().trace(x).log_weight.sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().sum(1) > 0).all()


def test_points_do_not_mix():
    # Catches: a sum over the batch somewhere: the score of a row must not depend on the others.
    x = normal(POINTS, PIXELS, seed=1)
    vae = gaussian_vae()
    trace = vae.trace(x, SAMPLES)
    (z,) = trace.z
    alone = vae.decoder(z[:, 2]).log_prob(x[2])
    torch.testing.assert_close(trace.reconstruction[:, 2], alone, rtol=1e-13, atol=1e-13)


def test_binary_data_pass_and_the_trace_keeps_them():
    x = bits(POINTS, PIXELS)
    assert bernoulli_vae().trace(x).x is x


def test_autoencoder_is_two_deterministic_maps():
    torch.manual_seed(0)
    ae = Autoencoder(mlp(PIXELS, 6, UNITS), GaussianConditional(mlp(UNITS, PIXELS), scale=0.1))
    x = normal(POINTS, PIXELS, seed=1).float()
    assert ae.encode(x).shape == (POINTS, UNITS)
    assert torch.equal(ae(x), ae(x))
    assert torch.equal(ae(x), ae.decoder.net(ae.encoder(x)))
    assert torch.equal(ae.eval()(x), ae.train()(x))


@pytest.mark.parametrize("model", [VAE, HVAE, TopDownHVAE, Diffusion, Autoencoder])
def test_models_are_final(model):
    assert model.__final__


def test_encoder_and_decoder_are_names_for_the_only_level():
    # Catches: a part registered under two names, so that it is saved or counted twice.
    vae = gaussian_vae()
    assert vae.encoder is vae.encoders[0]
    assert vae.decoder is vae.decoders[0]
    heads = {name.partition(".net")[0] for name in vae.state_dict()}
    assert heads == {"encoders.0", "decoders.0", "decoders.0.scale"}
    assert [name for name, _ in vae.named_children()] == ["encoders", "decoders", "prior"]


def test_traces_share_the_encoder_of_x_and_draw_anew():
    # Catches: the encoder run again for every chunk; the same draws in two chunks.
    vae = gaussian_vae()
    x, calls = normal(POINTS, PIXELS, seed=1), []
    vae.encoder.register_forward_hook(lambda *_: calls.append(None))
    traces = list(vae.traces(x, [2, 3, 2]))
    assert len(calls) == 1
    assert [len(trace.z[0]) for trace in traces] == [2, 3, 2]
    draws = torch.cat([trace.z[0] for trace in traces])
    assert len(torch.unique(draws)) == draws.numel()
    torch.manual_seed(2)
    (one,) = vae.traces(x, [4])
    torch.manual_seed(2)
    assert torch.equal(one.log_weight, vae.trace(x, 4).log_weight)


def test_descend_goes_one_step_and_returns_what_it_met():
    vae = gaussian_vae()
    z = normal(SAMPLES, POINTS, UNITS, seed=3)
    torch.manual_seed(1)
    x, same = vae.descend(z)
    torch.manual_seed(1)
    assert torch.equal(x, vae.decoder(z).sample())
    assert same is z
    assert not x.requires_grad
    with pytest.raises(ValueError, match="level must be a number from 1 to 1, got 2"):
        vae.descend(z, 2)
    with pytest.raises(ValueError, match="level must be a number from 1 to 1, got 0"):
        vae.descend(z, 0)


def test_grey_pixels_are_refused_at_the_door():
    x = torch.full((2, PIXELS), 0.3).double()
    with pytest.raises(ValueError, match=r"0\.3 to 0\.3.*binarise"):
        bernoulli_vae().trace(x)


def test_a_state_dict_restores_the_model():
    first, second = gaussian_vae(seed=0), gaussian_vae(seed=1)
    x = normal(POINTS, PIXELS, seed=1)
    second.load_state_dict(first.state_dict())
    values = []
    for vae in (first, second):
        torch.manual_seed(0)
        values.append(vae.trace(x).log_weight)
    assert torch.equal(*values)


def test_building_a_model_draws_nothing_but_its_weights():
    # Catches: the dry run that compares sizes moving the reader's random numbers.
    encoder = GaussianConditional(mlp(PIXELS, 2 * UNITS))
    decoder = GaussianConditional(mlp(UNITS, PIXELS), scale=1.0)
    state = torch.get_rng_state()
    VAE(encoder, decoder, StandardNormal(UNITS))
    assert torch.equal(state, torch.get_rng_state())
