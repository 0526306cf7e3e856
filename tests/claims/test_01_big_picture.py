"""The claims of chapter 1: what autoencoders and VAEs reconstruct, and what they generate."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from companion import data
from companion.conditionals import GaussianConditional, StandardNormal, mlp
from companion.diagnostics import energy_distance, nearest_distance
from companion.models import VAE, Autoencoder
from companion.objectives import elbo, log_reconstruction
from companion.train import fit

SEEDS = (0, 1, 2)
SCALE = 0.2


def autoencoder(size, d, hidden=96, scale=SCALE):
    decoder = GaussianConditional(mlp(d, hidden, hidden, size), scale=scale)
    return Autoencoder(mlp(size, hidden, hidden, d), decoder)


def variational(size, d, hidden=96):
    encoder = GaussianConditional(mlp(size, hidden, hidden, 2 * d))
    decoder = GaussianConditional(mlp(d, hidden, hidden, size), scale=SCALE)
    return VAE(encoder, decoder, StandardNormal(d))


def fitted_pair(x, d, seed, **options):
    torch.manual_seed(seed)
    ae, vae = autoencoder(x.shape[1], d), variational(x.shape[1], d)
    fit(ae, x, log_reconstruction, **options)
    fit(vae, x, elbo, **options)
    return ae.requires_grad_(False), vae.requires_grad_(False)


def generate(ae, vae, x):
    """Decoder means, as many as x has rows."""
    codes, z = ae.encode(x), vae.prior().sample((len(x),))
    fitted = MultivariateNormal(codes.mean(0), codes.T.cov()).sample((len(x),))
    return {
        "plain": ae.decode(z),
        "fitted": ae.decode(fitted),
        "vae": vae.decoder(z).mean,
    }


@pytest.fixture(scope="module")
def digits():
    (train,), (held_out,) = data.split(data.digits()[0], held_out=0.3)
    return train, held_out


@pytest.fixture(scope="module")
def digit_pairs(digits):
    return [fitted_pair(digits[0], 8, seed, epochs=40, lr=4e-3) for seed in SEEDS]


@pytest.fixture(scope="module")
def digit_samples(digits, digit_pairs):
    torch.manual_seed(1)
    return [generate(*pair, digits[0]) for pair in digit_pairs]


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
def test_standard_gaussian_codes_of_an_autoencoder_decode_far_from_the_digits(
    digits, digit_samples
):
    train, held_out = digits
    for samples in digit_samples:
        far, near = (energy_distance(samples[name], held_out) for name in ("plain", "vae"))
        assert far > near + 0.2
        far, near = (nearest_distance(samples[name], train).mean() for name in ("plain", "vae"))
        assert far > near + 0.3


# As it came out: the fitted Gaussian loses by both nearest-neighbour distances, and wins by the
# energy distance, which a Gaussian fitted to the pixels wins as well.
@pytest.mark.claim("big.ae-latent-unstructured")
def test_a_gaussian_fitted_to_the_codes_of_digits_loses_by_neighbours_only(digits, digit_samples):
    train, held_out = digits
    clouds = MultivariateNormal(train.mean(0), train.T.cov() + 1e-4 * torch.eye(64)).sample((1258,))
    for samples in digit_samples:
        fitted, vae = samples["fitted"], samples["vae"]
        there = nearest_distance(fitted, train).mean() - nearest_distance(vae, train).mean()
        back = nearest_distance(held_out, fitted).mean() - nearest_distance(held_out, vae).mean()
        assert there > 0.1
        assert back > 0.03
        assert energy_distance(clouds, held_out) < energy_distance(vae, held_out)
        assert nearest_distance(clouds, train).mean() > nearest_distance(vae, train).mean() + 0.3
    energy = {
        name: sum(energy_distance(samples[name], held_out) for samples in digit_samples)
        for name in ("fitted", "vae")
    }
    assert energy["fitted"] < energy["vae"]


# Would catch a VAE whose encoder gives no noise and pays no rate: it would reconstruct as well.
@pytest.mark.claim("big.ae-latent-unstructured")
def test_the_autoencoder_reconstructs_better(digits, digit_pairs):
    _, held_out = digits
    for ae, vae in digit_pairs:
        outputs = ae(held_out), vae.decoder(vae.encoder(held_out).mean).mean
        plain, variational_ = ((held_out - out).square().sum(1).mean() for out in outputs)
        assert plain < variational_ - 0.1


# On half circles both ways of drawing codes lose by the energy distance too.
@pytest.mark.claim("big.ae-latent-unstructured")
def test_on_half_circles_random_codes_of_an_autoencoder_lose_both_ways():
    (train,), (held_out,) = data.split(data.moons(800), held_out=0.3)
    for seed in SEEDS:
        samples = generate(*fitted_pair(train, 2, seed, epochs=60, lr=1e-2), train)
        energy = {name: energy_distance(s, held_out) for name, s in samples.items()}
        nearest = {name: nearest_distance(s, train).mean() for name, s in samples.items()}
        for name in ("plain", "fitted"):
            assert energy["vae"] < energy[name]
            assert nearest["vae"] < nearest[name] - 0.04


# --- big.vae-generates --------------------------------------------------------------------------


# Would catch a VAE that decodes to noise or to one mean picture (the coverage), or that stores
# its training set; the copies are there to show that the last two tests can fail.
@pytest.mark.claim("big.vae-generates")
def test_prior_draws_are_near_the_digits_and_new(digits, digit_samples):
    train, held_out = digits
    low, high = nearest_distance(held_out, train).quantile(torch.tensor([0.01, 0.99]))
    same_number = train[: len(held_out)]

    def shares(x):
        near = nearest_distance(x, train)
        leans = nearest_distance(x, same_number) < nearest_distance(x, held_out)
        return [share.float().mean().item() for share in (near < high, near < low, leans)]

    copies = same_number + 0.02 * torch.randn_like(same_number)
    assert min(shares(copies)) > 0.95
    mean_picture = train.mean(0).expand(len(train), -1)
    for samples in digit_samples:
        within, too_near, leaning = shares(samples["vae"])
        assert within > 0.95
        assert too_near < 0.02
        assert leaning < 0.65
        missed = nearest_distance(held_out, samples["vae"]).mean()
        assert missed < 1.3 * nearest_distance(held_out, train).mean()
        assert missed < 0.8 * nearest_distance(held_out, mean_picture).mean()
