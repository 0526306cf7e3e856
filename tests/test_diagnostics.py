"""Each diagnostic on cases whose answer is known."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence
from toys import PIXELS, POINTS, UNITS, gaussian_vae, normal

from companion import VAE, GaussianConditional, StandardNormal, elbo, elbo_analytic, mlp
from companion.diagnostics import (
    active_units,
    effective_sample_size,
    elbo_surgery,
    energy_distance,
    log_aggregate,
    mutual_information,
    mutual_information_gap,
    nearest_distance,
    sharpness,
    unit_rates,
)
from companion.distributions import Gaussian
from companion.exact import LinearGaussian

X = normal(11, PIXELS, seed=61)


def linear_encoder(weight, scale):
    """An encoder N(W x, scale²) in float64."""
    net = nn.Linear(*weight.T.shape, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(weight)
    return GaussianConditional(net, scale=scale)


def vae_with(encoder, units, pixels):
    return VAE(
        encoder,
        GaussianConditional(mlp(units, pixels).double(), scale=1.0),
        StandardNormal(units).double(),
    )


def test_unit_rates_are_the_closed_form_kl():
    vae = gaussian_vae()
    mu, logvar = vae.encoder.net(X).chunk(2, -1)
    by_hand = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0)).mean(0)
    torch.testing.assert_close(unit_rates(vae, X), by_hand, rtol=1e-12, atol=1e-13)
    difference = elbo_analytic(vae, X, 4000).mean() - elbo(vae, X, 4000).mean()
    assert difference.abs() < 0.05


def test_the_rate_of_a_unit_keeps_its_digits():
    # Catches: a variance that underflows, and a KL lost beside the 1 of its formula.
    net = nn.Linear(3, 4)
    nn.init.zeros_(net.weight)
    decoder, prior = GaussianConditional(mlp(2, 3), 1.0), StandardNormal(2)
    with torch.no_grad():
        net.bias.copy_(torch.tensor([0.0, 1e-4, -120.0, 0.0]))
    rates = unit_rates(VAE(GaussianConditional(net), decoder, prior), torch.zeros(2, 3))
    torch.testing.assert_close(rates, torch.tensor([59.5, 5e-9]), rtol=1e-6, atol=0)


def test_a_collapsed_unit_has_no_rate_and_is_not_active():
    vae = gaussian_vae()
    with torch.no_grad():
        last = vae.encoder.net[-1]
        for row in (1, 1 + UNITS):
            last.weight[row] = 0
            last.bias[row] = 0
    assert unit_rates(vae, X)[1].abs() < 1e-14
    assert active_units(vae, X, threshold=1e-6).tolist() == [True, False, True]


def test_active_units_compare_the_variance_of_means():
    # Means are exactly c·x; with unit variance of x the threshold sits between the squares.
    x = torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None]
    x = x / x.std()
    encoder = linear_encoder(torch.tensor([[0.3], [0.5]], dtype=torch.float64), 1.0)
    vae = vae_with(encoder, 2, 1)
    assert active_units(vae, x, threshold=0.16).tolist() == [False, True]
    assert active_units(vae, x, threshold=0.08).tolist() == [True, True]


@pytest.mark.parametrize("chunk_size", [1, 3, 1000])
def test_log_aggregate_is_the_mixture(chunk_size):
    # Catches: a sum in place of a mean, a mixture over the wrong axis, rows lost between chunks.
    q = gaussian_vae().encoder(X)
    z = normal(7, UNITS, seed=1)
    by_hand = torch.stack(
        [
            torch.stack(
                [Normal(q.mean[n], q.stddev[n]).log_prob(row).sum().exp() for n in range(len(X))]
            ).mean()
            for row in z
        ]
    ).log()
    found = log_aggregate(q, z, chunk_size)
    torch.testing.assert_close(found, by_hand, rtol=1e-12, atol=1e-12)


def test_log_aggregate_of_a_level_is_over_draws_and_data():
    # Catches: log N left out where the batch is (K, N), draws of the level below for each row.
    q = Gaussian(normal(4, len(X), 2, seed=1), normal(4, len(X), 2, seed=2))
    z = normal(7, 2, seed=3)
    flat = Gaussian(q.loc.flatten(0, 1), q.logvar.flatten(0, 1))
    torch.testing.assert_close(log_aggregate(q, z, 3), log_aggregate(flat, z))


def test_log_aggregate_in_float32_at_small_scales():
    # Catches the matrix-product form of the density, off by more than a nat here.
    mean = 3 + normal(50, 2, seed=1)
    exact = Independent(Normal(mean, torch.full_like(mean, 1e-3)), 1)
    short = Independent(Normal(mean.float(), torch.full_like(mean, 1e-3).float()), 1)
    z = short.sample()
    difference = log_aggregate(short, z).double() - log_aggregate(exact, z.double())
    assert difference.abs().max() < 0.01


def information_by_quadrature(means, scale):
    z = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    components = Normal(means[:, None], scale).log_prob(z)
    mixture = components.logsumexp(0) - math.log(len(means))
    return ((components - mixture) * components.exp()).mean(0).sum().item() * (z[1] - z[0]).item()


def test_mutual_information_against_quadrature():
    # One latent unit, five rows. Four standard errors over draws.
    x = torch.tensor([[-2.0], [-1.8], [0.0], [1.0], [3.0]], dtype=torch.float64)
    vae = vae_with(linear_encoder(torch.ones(1, 1), 0.5), 1, 1)
    exact = information_by_quadrature(x[:, 0], 0.5)
    estimates = []
    for seed in range(40):
        torch.manual_seed(seed)
        estimates.append(mutual_information(vae, x, 100).mean)
    values = torch.tensor(estimates, dtype=torch.float64)
    assert abs(values.mean().item() - exact) < 4 * values.std().item() / 40**0.5
    assert exact < math.log(5)


def test_mutual_information_at_its_two_ends():
    # Separate encoders tell the rows apart: log N. A constant encoder tells nothing: 0.
    x = torch.arange(7.0).double()[:, None]
    apart = vae_with(linear_encoder(torch.full((1, 1), 100.0), 0.1), 1, 1)
    blind = vae_with(linear_encoder(torch.zeros(1, 1), 0.1), 1, 1)
    torch.manual_seed(0)
    assert mutual_information(apart, x).mean == pytest.approx(math.log(7), abs=1e-12)
    assert mutual_information(blind, x).mean == pytest.approx(0, abs=1e-12)


def test_mutual_information_of_many_gaussian_rows():
    # z = w x + noise with x ~ N(0, 1): ½ log(1 + w²/s²) for the population; 2,000 rows are near it.
    torch.manual_seed(0)
    x = torch.randn(2000, 1).double()
    vae = vae_with(linear_encoder(torch.full((1, 1), 2.0), 1.0), 1, 1)
    found = mutual_information(vae, x)
    assert abs(found.mean - 0.5 * math.log(5)) < 4 * found.standard_error
    assert 0.005 < found.standard_error < 0.05


def test_minibatches_know_less():
    # Catalogue: mutual information averaged over minibatches is too low, and the more the smaller.
    torch.manual_seed(0)
    x = torch.randn(1024, 1).double()
    vae = vae_with(linear_encoder(torch.full((1, 1), 6.0), 1.0), 1, 1)

    def in_batches(size):
        return sum(mutual_information(vae, b, 4).mean for b in x.split(size)) * size / len(x)

    assert in_batches(8) < in_batches(128) - 0.1 < in_batches(1024) - 0.1


def test_surgery_adds_up_to_the_elbo():
    # With the same draws, so to rounding.
    vae = gaussian_vae()
    torch.manual_seed(3)
    parts = elbo_surgery(vae, X, 5, chunk_size=4)
    torch.manual_seed(3)
    whole = elbo(vae, X, 5).mean().item()
    total = parts.reconstruction.mean - parts.mutual_information.mean - parts.marginal_kl.mean
    assert total == pytest.approx(whole, rel=1e-12)
    torch.manual_seed(3)
    assert mutual_information(vae, X, 5) == parts.mutual_information


def test_marginal_kl_of_an_aggregate_that_is_the_prior():
    # x ~ N(0, I), q = N(w x, 1 − w²): the aggregate of the population is N(0, 1).
    torch.manual_seed(0)
    x = torch.randn(2000, 1).double()
    vae = vae_with(linear_encoder(torch.full((1, 1), 0.6), 0.8), 1, 1)
    parts = elbo_surgery(vae, x)
    assert abs(parts.marginal_kl.mean) < 4 * parts.marginal_kl.standard_error
    far = elbo_surgery(vae_with(linear_encoder(torch.full((1, 1), 0.6), 0.1), 1, 1), x)
    assert far.marginal_kl.mean > 10 * far.marginal_kl.standard_error


def test_effective_sample_size():
    weights = torch.tensor([[1.0, 2, 0.1], [1, 0, 0.2], [1, 0, 0.3], [1, 0, 0.4]]).double()
    found = effective_sample_size(weights.log())
    by_hand = weights.sum(0) ** 2 / (weights**2).sum(0)
    torch.testing.assert_close(found, by_hand, rtol=1e-12, atol=0)
    torch.testing.assert_close(found[:2], torch.tensor([4.0, 1.0]).double())
    # Weights are known up to a factor, and their logarithms may be far from zero.
    torch.testing.assert_close(effective_sample_size(weights.log() - 5000), found)


def test_sharpness_by_hand():
    image = torch.tensor([[0.0, 1, 3], [2, 2, 2], [5, 0, 1]])
    across = [1, 4, 0, 0, 25, 1]
    down = [4, 1, 1, 9, 4, 1]
    expected = sum(across + down) / 12
    assert sharpness(image.reshape(1, 9)).item() == pytest.approx(expected)
    # Turning a picture changes nothing; averaging two lowers it.
    turned = image.rot90().reshape(1, 9)
    assert sharpness(turned).item() == pytest.approx(expected)
    blurred = (image + image.flip(0)).reshape(1, 9) / 2
    assert sharpness(blurred) < expected


def test_energy_distance_by_hand():
    x, y = normal(5, 3, seed=1), normal(4, 3, seed=2) + 0.5

    def mean(a, b, same):
        pairs = [
            (a[i] - b[j]).norm().item()
            for i in range(len(a))
            for j in range(len(b))
            if not (same and i == j)
        ]
        return sum(pairs) / len(pairs)

    by_hand = 2 * mean(x, y, False) - mean(x, x, True) - mean(y, y, True)
    assert energy_distance(x, y).item() == pytest.approx(by_hand, rel=1e-12)


def test_energy_distance_tells_samples_apart_and_is_unbiased():
    # Two samples of one law: zero on average, in standard errors (catches pairs of a point with
    # itself, which make it positive always). Another mean or scale: clearly above.
    values = torch.stack(
        [
            energy_distance(normal(30, 2, seed=2 * s), normal(40, 2, seed=2 * s + 1))
            for s in range(200)
        ]
    )
    error = values.std() / 200**0.5
    assert values.mean().abs() < 3 * error
    assert values.min() < 0
    x = normal(200, 2, seed=1)
    for other in (normal(200, 2, seed=2) + 1, 2 * normal(200, 2, seed=2)):
        assert energy_distance(x, other) > 4 * values.std()


def test_energy_distance_of_gaussians_is_the_known_one():
    # N(0,1) and N(a,1) in one dimension: 2 E|N(a,2)| − 2 E|N(0,2)|, in closed form.
    a, count = 1.5, 1000
    torch.manual_seed(0)
    phi = Normal(0.0, 1.0).cdf(torch.tensor(a / 2**0.5)).item()
    folded = 2 * math.exp(-(a**2) / 4) / math.pi**0.5 + a * (2 * phi - 1)
    expected = 2 * folded - 4 / math.pi**0.5
    found = [energy_distance(torch.randn(count, 1), torch.randn(count, 1) + a) for _ in range(9)]
    # Their mean has a standard deviation of 0.02.
    assert torch.stack(found).mean().item() == pytest.approx(expected, abs=0.1)


def test_nearest_distance():
    x, data = normal(POINTS, 3, seed=1), normal(40, 3, seed=2)
    by_hand = torch.stack([(data - row).norm(dim=1).min() for row in x])
    torch.testing.assert_close(nearest_distance(x, data), by_hand, rtol=1e-12, atol=1e-12)


def test_distances_of_pictures_are_those_of_their_pixels():
    x, y = normal(20, 1, 2, 2, seed=1), normal(30, 1, 2, 2, seed=2)
    flat = x.flatten(1), y.flatten(1)
    assert torch.equal(energy_distance(x, y), energy_distance(*flat))
    assert torch.equal(nearest_distance(x, y), nearest_distance(*flat))


def test_a_copy_is_at_distance_zero():
    # Catches the matrix-product form of the distance, which is off by 1e-3 in float32.
    torch.manual_seed(0)
    data = torch.rand(100, 64)
    assert nearest_distance(data[:30], data).max() == 0


def test_diagnostics_need_no_gradient():
    vae = gaussian_vae()
    for value in (
        unit_rates(vae, X),
        log_aggregate(vae.encoder(X), normal(3, UNITS, seed=1)),
    ):
        assert not value.requires_grad


def test_diagnostics_give_no_number_for_what_they_cannot_measure():
    class Full(nn.Module):
        def forward(self, x):
            return MultivariateNormal(x[:, :UNITS], torch.eye(UNITS, dtype=x.dtype))

    vae = gaussian_vae()
    full = VAE(Full(), vae.decoder, vae.prior)
    for call in (lambda: unit_rates(full, X), lambda: sharpness(torch.zeros(2, 8))):
        with pytest.raises((AttributeError, RuntimeError)):
            call()
    # One row has no spread, and one point no distance from others.
    assert energy_distance(X[:1], X).isnan()
    with pytest.warns(UserWarning, match="degrees of freedom"):
        assert math.isnan(mutual_information(vae, X[:1]).standard_error)


def test_mutual_information_gap_of_known_codes():
    # One unit a factor: 1. Two units that tell equally much, or a code of noise: near 0.
    torch.manual_seed(0)
    factors = torch.stack([torch.randint(5, (6000,)), torch.randint(3, (6000,))], 1).double()
    noise = torch.randn(6000, 1).double()
    apart = torch.cat([factors + 0.01 * torch.randn(6000, 2), noise], 1)
    assert (mutual_information_gap(apart, factors) > 0.9).all()
    twice = torch.cat([apart[:, :2], factors + 0.01 * torch.randn(6000, 2)], 1)
    assert (mutual_information_gap(twice, factors) < 0.05).all()
    assert (mutual_information_gap(torch.randn(6000, 3), factors.float()) < 0.05).all()
    # Half the information: the unit knows the factor's parity alone, and no other knows more.
    factor = torch.randint(4, (6000, 1)).double()
    found = mutual_information_gap(torch.cat([factor % 2, noise], 1), factor)
    assert found.item() == pytest.approx(0.5, abs=0.03)


# --- cases of known verdict -----------------------------------------------------------------------

STRETCH = {"exact": 1.0, "too wide": 1.7, "too narrow": 0.3}


def whitened(rows, columns, seed, dtype=torch.float64):
    """Gaussian rows whose mean is exactly 0 and whose covariance is exactly the identity."""
    x = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    x = x - x.mean(0)
    root = torch.linalg.cholesky(x.mT @ x / rows)
    return torch.linalg.solve_triangular(root, x.mT, upper=False).mT


def judged(case):
    """A model z ~ N(0, I), x | z ~ N(W z, σ²) with W diagonal, its data, and an encoder on trial.

    Returns the model as a VAE, the rows x, and the scale of the exact posterior's units.
    """
    weight, sigma = torch.tensor([2.0, 0.8], dtype=torch.float64), 0.7
    x = whitened(1500, 2, seed=5) * (weight**2 + sigma**2).sqrt()
    exact = LinearGaussian(weight.diag(), torch.zeros(2).double(), sigma)
    gain = weight / (weight**2 + sigma**2)
    scale = sigma / (weight**2 + sigma**2).sqrt()
    if case == "collapsed":
        encoder = _diagonal_encoder(0 * gain, torch.ones(2).double())
    else:
        encoder = _diagonal_encoder(gain, STRETCH[case] * scale)
    return exact.vae(encoder), x, scale


def _diagonal_encoder(gain, scale):
    """N(gain · x, scale²), unit by unit."""
    net = nn.Linear(2, 4).double()
    with torch.no_grad():
        net.weight.copy_(torch.cat([gain.diag(), torch.zeros(2, 2)]))
        net.bias.copy_(torch.cat([torch.zeros(2).double(), 2 * scale.log()]))
    return GaussianConditional(net)


@pytest.mark.parametrize("case", ["exact", "too wide", "too narrow", "collapsed"])
def test_information_and_rates_of_known_verdict(case):
    # All in closed form for the population, whose first two moments the rows have. Catches: the
    # prior in the aggregate's place, a variance for a scale, a mismatch that ignores the width.
    vae, x, scale = judged(case)
    width = torch.ones(2).double() if case == "collapsed" else STRETCH[case] * scale
    spread = (0.0 if case == "collapsed" else 1.0) * (1 - scale**2) + width**2
    rates = 0.5 * (spread - 1) - width.log()
    torch.testing.assert_close(unit_rates(vae, x), rates, rtol=1e-9, atol=1e-12)
    torch.manual_seed(0)
    parts = elbo_surgery(vae, x, 6)
    information = (0.5 * (spread / width**2).log()).sum().item()
    mismatch = (0.5 * (spread - 1 - spread.log())).sum().item()
    assert parts.mutual_information.mean == pytest.approx(information, abs=0.06)
    assert parts.marginal_kl.mean == pytest.approx(mismatch, abs=0.06)
    found = mutual_information(vae, x)
    assert found.mean == pytest.approx(information, abs=0.1)  # one draw a row
    # What each case is known for.
    assert active_units(vae, x).tolist() == [case != "collapsed"] * 2
    assert (mismatch > 0.05) == (case in ("too wide", "too narrow"))
    assert (parts.marginal_kl.mean > 0.03) == (case in ("too wide", "too narrow"))
    assert (parts.mutual_information.mean < 1e-9) == (case == "collapsed")


def test_effective_sample_size_of_known_verdict():
    # Exact: every draw counts. Wide: some are wasted. Narrow and collapsed: few carry the weight.
    found = {}
    for case in ("exact", "too wide", "too narrow", "collapsed"):
        vae, x, _ = judged(case)
        torch.manual_seed(0)
        with torch.no_grad():
            found[case] = effective_sample_size(vae.trace(x[:200], 100).log_weight).mean().item()
    assert found["exact"] == pytest.approx(100, rel=1e-9)
    assert 40 < found["too wide"] < 90
    assert found["too narrow"] < 0.7 * found["too wide"]
    assert found["collapsed"] < found["too wide"]


def test_energy_distance_of_known_verdict():
    data, again = normal(800, 2, seed=1), normal(800, 2, seed=2)
    found = {
        "exact": energy_distance(data, again),
        "too wide": energy_distance(data, 1.7 * again),
        "too narrow": energy_distance(data, 0.5 * again),
        "collapsed": energy_distance(data, 0 * again),
    }
    assert found["exact"].abs() < 0.01
    for case in ("too wide", "too narrow", "collapsed"):
        assert found[case] > 0.05
    assert found["collapsed"] > found["too narrow"]


def test_sharpness_of_known_verdict():
    # Pictures as they are, with noise on them (too wide), averaged in pairs (too narrow), and one
    # mean picture for all (collapsed).
    x = torch.bernoulli(torch.full((200, 16), 0.5, dtype=torch.float64))
    exact = sharpness(x).mean()
    assert exact == pytest.approx(0.5, abs=0.03)
    assert sharpness(x + 0.5 * normal(200, 16, seed=1)).mean() > 1.5 * exact
    assert sharpness((x + x.roll(1, 0)) / 2).mean() < 0.6 * exact
    assert sharpness(x.mean(0, keepdim=True)).item() < 0.02
    assert sharpness(torch.full((1, 16), 0.3)).item() == 0


def test_mutual_information_of_a_whitened_gaussian_population():
    # N = 2,000 rows, 32 draws each, 20 seeds: the mean is within 0.02 nats of ½ log(1 + w²/s²).
    information = 1.5
    weight = math.sqrt(math.expm1(2 * information))
    vae = vae_with(linear_encoder(torch.full((1, 1), weight), 1.0), 1, 1).float()
    found = []
    for seed in range(20):
        torch.manual_seed(seed)
        x = whitened(2000, 1, seed, torch.float32)
        found.append(mutual_information(vae, x, 32, chunk_size=64).mean)
    assert abs(sum(found) / 20 - information) < 0.02


@pytest.mark.parametrize("chunk_size", [1, 8, 50])
def test_memory_of_the_aggregate_is_bounded_by_the_chunk(chunk_size):
    # Catches: all pairs at once, which for 2,000 rows and 32 draws would take a gigabyte.
    sizes = []

    class Recorded(Independent):
        def log_prob(self, value):
            result = super().log_prob(value)
            sizes.append((value.numel(), result.numel()))
            return result

    q = Recorded(Normal(normal(30, UNITS, seed=1), 0.5), 1)
    log_aggregate(q, normal(101, UNITS, seed=2), chunk_size)
    assert max(given for given, _ in sizes) <= chunk_size * UNITS
    assert max(result for _, result in sizes) <= chunk_size * 30
    assert len(sizes) == -(-101 // chunk_size)
