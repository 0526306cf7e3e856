"""The claims of chapter 1: what autoencoders and VAEs reconstruct, and what they generate."""

import copy
import math

import pytest
import torch
from pairs import SEEDS, autoencoder, fitted_pair, generate, variational
from torch.distributions import MultivariateNormal, kl_divergence

from companion.conditionals import GaussianConditional
from companion.diagnostics import nearest_distance
from companion.models import Autoencoder
from companion.objectives import elbo, log_reconstruction
from companion.train import fit


def distances(pictures, train, held_out):
    """Mean distance from samples to training data, and from held-out data to samples."""
    there = nearest_distance(pictures, train).mean()
    return there.item(), nearest_distance(held_out, pictures).mean().item()


# --- big.autoencoder ----------------------------------------------------------------------------


# Would catch noise in the code or in the output, such as dropout or a sampled code.
@pytest.mark.claim("big.autoencoder")
def test_the_same_input_gives_the_same_code_and_output():
    model = autoencoder(7, 3).double()
    x = torch.randn(5, 7, dtype=torch.float64)
    assert torch.equal(model.encode(x), model.encode(x))
    assert torch.equal(model(x), model(x))
    assert not torch.equal(*variational(7, 3).double().trace(x, num_samples=2).z[0])


# Would catch a term in the objective that looks at the code, such as a penalty on its length.
@pytest.mark.claim("big.autoencoder")
def test_the_objective_sees_nothing_but_the_reconstruction():
    scale = 0.25  # a number that float32 holds exactly
    model = autoencoder(7, 3, scale=scale).double()
    x = torch.randn(5, 7, dtype=torch.float64)
    error = (x - model(x)).square().sum(1)
    constant = -3.5 * torch.log(torch.tensor(2 * torch.pi * scale**2, dtype=torch.float64))
    expected = constant - error / (2 * scale**2)
    torch.testing.assert_close(log_reconstruction(model, x), expected, rtol=1e-12, atol=1e-12)

    mix = torch.randn(3, 3, dtype=torch.float64) + 2 * torch.eye(3, dtype=torch.float64)
    rearranged = Autoencoder(
        torch.nn.Sequential(model.encoder, _linear(mix)),
        GaussianConditional(
            torch.nn.Sequential(_linear(torch.linalg.inv(mix)), model.decoder.net), scale=scale
        ),
    ).double()
    assert (rearranged.encode(x) - model.encode(x)).abs().max() > 0.1
    torch.testing.assert_close(
        log_reconstruction(rearranged, x), log_reconstruction(model, x), rtol=1e-12, atol=1e-12
    )


def _linear(weight):
    layer = torch.nn.Linear(*weight.shape, bias=False, dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
    return layer


# --- big.ae-latent-unstructured -----------------------------------------------------------------


# Would catch an autoencoder whose codes are pressed towards N(0, I), which would be a VAE.
@pytest.mark.claim("big.ae-latent-unstructured")
@pytest.mark.parametrize(("name", "there", "back"), [("plain", 0.3, 0.2), ("fitted", 0.1, 0.03)])
def test_random_codes_of_an_autoencoder_decode_far_from_the_digits(
    digits, digit_samples, name, there, back
):
    for samples in digit_samples:
        far, near = (distances(samples[kind], *digits) for kind in (name, "vae"))
        assert far[0] > near[0] + there
        assert far[1] > near[1] + back


# Would catch "the VAE generates better" without its condition: in the plane it does not.
@pytest.mark.claim("big.ae-latent-unstructured")
@pytest.mark.parametrize("seed", SEEDS)
def test_the_lead_over_the_fitted_gaussian_grows_with_the_numbers_of_a_code(
    digits, digit_samples, seed
):
    train, held_out = digits

    def lead(samples):
        far, near = (distances(samples[kind], train, held_out) for kind in ("fitted", "vae"))
        return far[0] - near[0], far[1] - near[1]

    def lead_with(d, **fit_options):
        pair = fitted_pair(train, d, seed, **fit_options)
        torch.manual_seed(1)
        return lead(generate(*pair, train))

    eight = lead(digit_samples[SEEDS.index(seed)])
    two = lead_with(2, epochs=100, lr=2e-3)
    sixteen = lead_with(16, epochs=40, lr=4e-3)
    assert two[0] < 0.05
    assert two[1] < -0.02  # the fitted Gaussian is ahead
    assert sixteen[0] > eight[0]
    assert sixteen[1] > eight[1] + 0.05


# Would catch a VAE whose encoder gives no noise and pays no rate: it would reconstruct as well.
@pytest.mark.claim("big.ae-latent-unstructured")
def test_the_autoencoder_reconstructs_better(digits, digit_pairs):
    _, held_out = digits
    for ae, vae in digit_pairs:
        outputs = ae(held_out), vae.decoder(vae.encoder(held_out).mean).mean
        plain, variational_ = ((held_out - out).square().sum(1).mean() for out in outputs)
        assert plain < variational_ - 0.1


# --- big.both-terms -----------------------------------------------------------------------------


# Would catch a VAE that owes its samples to its noise alone, or to its price alone: a KL without
# the mean's square, or an encoder that gives no noise.
@pytest.mark.claim("big.both-terms")
@pytest.mark.parametrize("seed", SEEDS)
def test_neither_noise_nor_price_alone_puts_codes_where_the_prior_draws(digits, seed):
    train, held_out = digits

    def fitted(width, price):
        torch.manual_seed(seed)
        model = autoencoder(64, 2)

        def score(model, x):
            z = model.encode(x)
            noisy = z + width * torch.randn_like(z)
            return model.decoder(noisy).log_prob(x) - price * z.square().sum(1) / 2

        fit(model, train, score, epochs=100, lr=2e-3)
        model.requires_grad_(False)
        spread = model.encode(train).var(0).mean().sqrt()
        torch.manual_seed(9)
        afterwards = MultivariateNormal(model.encode(train).mean(0), model.encode(train).T.cov())
        return (
            spread,
            distances(model.decode(torch.randn(len(train), 2)), train, held_out),
            distances(model.decode(afterwards.sample((len(train),))), train, held_out),
        )

    torch.manual_seed(seed)
    vae = variational(64, 2)
    fit(vae, train, elbo, epochs=100, lr=2e-3)
    vae.requires_grad_(False)
    near = distances(vae.decoder(vae.prior().sample((len(train),))).mean, train, held_out)
    (apart, missed, refitted), (packed, broken, _) = fitted(1.0, 0.0), fitted(0.0, 1.0)
    assert apart > 8
    assert packed < 0.9
    assert 0.9 < vae.encoder(train).mean.var(0).mean().sqrt() < 1.6
    assert missed[1] > near[1] + 0.4
    assert broken[0] > near[0] + 0.2
    assert max(after - of_vae for after, of_vae in zip(refitted, near, strict=True)) < 0.05


# --- big.vae-symmetries -------------------------------------------------------------------------


def kl_to_prior(mean, scale):
    return (0.5 * (mean.square() + scale.square() - 1) - scale.log()).sum(1)


# Would catch a KL or a prior that treats the numbers of a code differently.
@pytest.mark.claim("big.vae-symmetries")
def test_a_flip_and_an_exchange_that_the_decoder_undoes_leave_every_elbo_as_it_was():
    torch.manual_seed(0)
    vae, x = variational(7, 3).double(), torch.randn(5, 7, dtype=torch.float64)
    change = torch.diag(torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64))[[1, 2, 0]]
    twin = copy.deepcopy(vae)
    last, first = twin.encoder.net[-1], twin.decoder.net[0]
    with torch.no_grad():  # the means change their signs and places, the log variances their places
        mean, log_var = last.weight.split(3)
        last.weight.copy_(torch.cat([change @ mean, change.abs() @ log_var]))
        mean, log_var = last.bias.split(3)
        last.bias.copy_(torch.cat([change @ mean, change.abs() @ log_var]))
        first.weight.copy_(first.weight @ change.mT)
    q, q_twin = vae.encoder(x), twin.encoder(x)
    noise = torch.randn(5, 3, dtype=torch.float64)
    z, z_twin = q.mean + q.stddev * noise, q_twin.mean + q_twin.stddev * (noise @ change.mT)
    torch.testing.assert_close(z_twin, z @ change.mT, rtol=1e-12, atol=1e-12)
    log_ratio = [
        m.prior().log_prob(z) - p.log_prob(z) for m, p, z in [(vae, q, z), (twin, q_twin, z_twin)]
    ]
    torch.testing.assert_close(log_ratio[1], log_ratio[0], rtol=1e-12, atol=1e-12)
    same = twin.decoder(z_twin).log_prob(x), vae.decoder(z).log_prob(x)
    torch.testing.assert_close(*same, rtol=1e-12, atol=1e-12)


# Would catch a wrong sign of log c, a ½ lost, or c in place of c².
@pytest.mark.claim("big.vae-symmetries")
def test_what_a_stretch_costs_and_which_is_best():
    torch.manual_seed(0)
    mean, scale = torch.randn(50, 3).double() + 0.4, 0.1 + torch.rand(50, 3).double()
    second = mean.square() + scale.square()
    for c in (0.3, 2.0, 10.0):
        rise = kl_to_prior(c * mean, c * scale) - kl_to_prior(mean, scale)
        formula = (0.5 * (c**2 - 1) * second - math.log(c)).sum(1)
        torch.testing.assert_close(rise, formula, rtol=1e-12, atol=1e-10)
    for size, sign in ((0.046, -1), (0.047, 1)):  # a tiny cloud gains by a stretch by ten
        m = s = torch.tensor([[size / 2]]).double().sqrt()
        assert sign * (kl_to_prior(10 * m, 10 * s) - kl_to_prior(m, s)) > 0
    best = second.mean(0).rsqrt()
    least = kl_to_prior(best * mean, best * scale).mean()
    torch.testing.assert_close((best.square() * second).mean(0), torch.ones(3).double())
    for factor in (0.97, 1.03):
        assert kl_to_prior(factor * best * mean, factor * best * scale).mean() > least + 1e-4


# Would catch a KL that depends on the axes: the rotated cloud's covariance is no longer diagonal.
@pytest.mark.claim("big.vae-symmetries")
def test_a_rotation_leaves_the_kl_to_the_prior():
    torch.manual_seed(0)
    mean, scale = torch.randn(3).double(), torch.tensor([0.2, 0.7, 1.5]).double()
    rotation = torch.linalg.qr(torch.randn(3, 3).double())[0]
    covariance = rotation @ torch.diag(scale.square()) @ rotation.mT
    assert covariance[0, 1].abs() > 0.05
    prior = MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double())
    rotated = kl_divergence(MultivariateNormal(rotation @ mean, covariance), prior)
    torch.testing.assert_close(rotated, kl_to_prior(mean[None], scale[None])[0])


# --- big.vae-generates --------------------------------------------------------------------------


# Would catch a VAE that decodes to noise or to one mean picture (the coverage), or that stores
# its training set; the copies are there to show that the test can fail.
@pytest.mark.claim("big.vae-generates")
def test_prior_draws_are_near_the_digits_and_no_near_copies(digits, digit_pairs, digit_samples):
    train, held_out = digits
    low, high = nearest_distance(held_out, train).quantile(torch.tensor([0.01, 0.99]))

    def shares(x):
        near = nearest_distance(x, train)
        return [share.float().mean().item() for share in (near < high, near < low)]

    assert shares(train + 0.02 * torch.randn_like(train))[1] > 0.95
    # The little power that the chapter admits: smooth copies pass. Compared with training digits as
    # smooth as they are, they do not, unless their codes are drawn: exercise 1.4.
    for (_, vae), samples in zip(digit_pairs, digit_samples, strict=True):
        smooth, fresh = (vae.decoder(vae.encoder(x).mean).mean for x in digits)
        assert 0 < shares(smooth)[1] < 0.1
        threshold = nearest_distance(fresh, smooth).quantile(0.01)
        assert (nearest_distance(smooth, smooth) < threshold).all()
        assert (nearest_distance(samples["vae"], smooth) < threshold).float().mean() < 0.02
        drawn = vae.decoder(vae.encoder(train).sample()).mean
        assert (nearest_distance(drawn, smooth) < threshold).float().mean() < 0.03
    mean_picture = train.mean(0).expand(len(train), -1)
    for samples in digit_samples:
        within, too_near = shares(samples["vae"])
        assert within > 0.95
        assert too_near < 0.02
        missed = nearest_distance(held_out, samples["vae"]).mean()
        assert missed < 1.3 * nearest_distance(held_out, train).mean()
        assert missed < 0.8 * nearest_distance(held_out, mean_picture).mean()


# --- big.second-model ---------------------------------------------------------------------------


# Would catch codes that lie off the cloud: without the shape of the noise, or with too much of it.
@pytest.mark.claim("big.second-model")
def test_noisy_training_codes_beat_the_prior_draws_of_a_vae(digits, digit_pairs, digit_samples):
    train, held_out = digits
    torch.manual_seed(2)
    for (ae, _), samples in zip(digit_pairs, digit_samples, strict=True):
        codes = ae.encode(train)
        picked = codes[torch.randint(len(codes), (len(codes),))]
        noise = torch.randn_like(codes) @ torch.linalg.cholesky(codes.T.cov()).T
        ours, far = (distances(ae.decode(picked + k * noise), *digits) for k in (0.35, 1.5))
        theirs = distances(samples["vae"], *digits)
        assert ours[0] < theirs[0]
        assert ours[1] < theirs[1]
        assert far[0] > theirs[0]
        new = ae.encode(held_out)
        threshold = nearest_distance(new, codes).quantile(0.01)
        assert (nearest_distance(picked + 0.35 * noise, codes) < threshold).float().mean() < 0.05
