"""Chapter 6: the best decoder for a fixed encoder, how inputs mix in it, and trained decoders.

Identities hold to rounding in float64, on random encoders of pairwise-distinct sizes; integrals
over z are taken by a rule of the test's own.
"""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch.distributions import Independent, Normal
from toys import normal

from companion import data
from companion.conditionals import GaussianConditional, StandardNormal, mlp
from companion.diagnostics import log_aggregate, sharpness
from companion.diffusion import DataDenoiser
from companion.exact import elbo_quadrature, optimal_decoder
from companion.models import VAE
from companion.objectives import elbo_analytic
from companion.train import fit

POINTS, PIXELS = 5, 7
X = normal(POINTS, PIXELS, seed=61)
CODES = normal(POINTS, 1, seed=62)
SCALES = normal(POINTS, 1, seed=63).mul(0.3).exp()
Q = Independent(Normal(CODES, SCALES), 1)
Z = torch.linspace(-9, 9, 3601, dtype=torch.float64)[:, None]
CELL = 18 / 3600


def network(seed):
    torch.manual_seed(seed)
    return mlp(1, 6, PIXELS).double()


def best(z):
    return optimal_decoder(Q, X, z)


@torch.no_grad()
def squared_error(mu):
    """E‖x − μ(z)‖², summed over a grid of z."""
    density = Q.log_prob(Z[:, None]).exp() * CELL  # (3601, N)
    return (density * (X - mu(Z)[:, None]).square().sum(-1)).sum(0).mean()


def two(apart, scale=1.0):
    codes = torch.tensor([[-apart / 2], [apart / 2]], dtype=torch.float64)
    return Independent(Normal(codes, torch.full_like(codes, scale)), 1)


def weight(q, z):
    """The share of the second of two inputs, read off the picture."""
    return optimal_decoder(q, torch.tensor([[0.0], [1.0]], dtype=torch.float64), z)[:, 0]


# Would catch a mean over pixels, σ in the place of σ², and a KL or constant that depends on μ.
@pytest.mark.claim("blur.least-squares")
@pytest.mark.parametrize("scale", [0.1, 0.7, 3.0])
def test_with_a_fixed_encoder_the_elbo_is_a_squared_error(scale):
    def averaged_elbo(net):
        decoder = GaussianConditional(net, scale=scale)
        vae = VAE(GaussianConditional(mlp(PIXELS, 2).double()), decoder, StandardNormal(1).double())
        with torch.no_grad():
            return elbo_quadrature(vae, X, Q, num_points=401).mean()

    first, second = network(0), network(1)
    change = averaged_elbo(first) - averaged_elbo(second)
    expected = -(squared_error(first) - squared_error(second)) / (2 * scale**2)
    torch.testing.assert_close(change, expected, rtol=1e-9, atol=1e-9)


# Would catch a best mean that holds for squares alone: cross-entropy has the same one.
@pytest.mark.claim("blur.conditional-mean")
def test_cross_entropy_has_the_same_best_mean():
    grey = X.sigmoid()  # levels in (0, 1)
    z = torch.tensor([[-1.2], [0.4]], dtype=torch.float64)
    m = optimal_decoder(Q, grey, z).requires_grad_()
    weights = Q.log_prob(z[:, None]).softmax(1)
    each = torch.nn.functional.binary_cross_entropy(
        m[:, None].expand(2, *grey.shape), grey.expand(2, *grey.shape), reduction="none"
    ).sum(-1)
    (slope,) = torch.autograd.grad((weights * each).sum(), m)
    assert slope.abs().max() < 1e-12


# Would catch a statement for one σ alone: widths of pixels and codes do not move the best mean, and
# the best of them is the variance given z.
@pytest.mark.claim("blur.conditional-mean")
def test_widths_of_pixels_do_not_move_the_best_mean():
    z = torch.tensor([[-1.2], [0.4]], dtype=torch.float64)
    weights = Q.log_prob(z[:, None]).softmax(1)
    m = best(z).requires_grad_()
    scale = normal(2, PIXELS, seed=68).exp()
    assert scale.max() > 3 * scale.min()
    variance = (weights @ X.square() - best(z).square()).requires_grad_()

    def average(sigma):
        return (weights[..., None] * Normal(m[:, None], sigma[:, None]).log_prob(X)).sum()

    (slope,) = torch.autograd.grad(average(scale), m)
    assert slope.abs().max() < 1e-10
    (slope,) = torch.autograd.grad(average(variance.sqrt()), variance)
    assert slope.abs().max() < 1e-10


# Would catch weights that are not normalised or taken over the wrong axis: any other mean is worse.
@pytest.mark.claim("blur.conditional-mean")
def test_pythagoras():
    aggregate = log_aggregate(Q, Z).exp() * CELL
    for seed in range(3):
        net = network(seed)
        with torch.no_grad():
            distance = (aggregate * (net(Z) - best(Z)).square().sum(-1)).sum()
        torch.testing.assert_close(
            squared_error(net), squared_error(best) + distance, rtol=1e-9, atol=1e-9
        )
        assert distance > 0.01


@pytest.mark.claim("blur.conditional-mean")
def test_the_residual_is_orthogonal_to_functions_of_z():
    density = Q.log_prob(Z[:, None]).exp() * CELL / POINTS
    residual = (density[..., None] * (X - best(Z)[:, None])).sum(1)  # (z, D)
    for function in (torch.ones_like, torch.sin, lambda z: z**3):
        assert (function(Z) * residual).sum(0).abs().max() < 1e-10


@pytest.mark.claim("blur.conditional-mean")
def test_gradient_descent_on_one_vector_ends_there():
    for value in (-1.2, 0.4):
        z = torch.tensor([[value]], dtype=torch.float64)
        m = torch.zeros(PIXELS, dtype=torch.float64, requires_grad=True)
        density = Q.log_prob(z).exp()
        for _ in range(200):
            loss = (density * (X - m).square().sum(-1)).sum() / density.sum()
            m = (m - 0.25 * torch.autograd.grad(loss, m)[0]).detach().requires_grad_()
        torch.testing.assert_close(m.detach(), best(z)[0], rtol=1e-9, atol=1e-9)


# Would catch a softmax over z, a variance in the scale's place, a lost normaliser of each Gaussian.
@pytest.mark.claim("blur.ratio-form")
def test_the_ratio_of_two_averages():
    for value in (-2.0, 0.1, 1.7):
        density = stats.norm.pdf(value, CODES[:, 0].numpy(), SCALES[:, 0].numpy())
        ratio = (density[:, None] * X.numpy()).mean(0) / density.mean()
        found = best(torch.tensor([[value]], dtype=torch.float64))[0].numpy()
        np.testing.assert_allclose(found, ratio, rtol=1e-12, atol=1e-12)


@pytest.mark.claim("blur.ratio-form")
def test_the_mean_of_pairs_whose_code_falls_near_z():
    torch.manual_seed(0)
    n = torch.randint(POINTS, (1_000_000,))
    drawn = CODES[n, 0] + SCALES[n, 0] * torch.randn(len(n), dtype=torch.float64)
    for value in (-1.0, 0.5):
        near = X[n[(drawn - value).abs() < 0.01]]
        error = near.std(0) / math.sqrt(len(near))
        expected = best(torch.tensor([[value]], dtype=torch.float64))[0]
        assert ((near.mean(0) - expected).abs() < 4 * error).all()


# Would catch s for s² in the slope and a midpoint that is elsewhere.
@pytest.mark.claim("blur.overlap")
@pytest.mark.parametrize(("units", "scale"), [(1, 0.6), (3, 1.4)])
def test_two_inputs_mix_by_a_sigmoid(units, scale):
    codes, z = normal(2, units, seed=64), normal(9, units, seed=65)
    q = Independent(Normal(codes, torch.full_like(codes, scale)), 1)
    a, b = codes
    odds = ((z - (a + b) / 2) * (b - a)).sum(-1) / scale**2
    torch.testing.assert_close(weight(q, z), 1 / (1 + torch.exp(-odds)), rtol=1e-12, atol=1e-12)
    direction, step = (b - a) / (b - a).norm(), 1e-5
    ends = torch.stack([(a + b) / 2 - step * direction, (a + b) / 2 + step * direction])
    slope = weight(q, ends).diff() / (2 * step)
    torch.testing.assert_close(slope, (b - a).norm()[None] / (4 * scale**2), rtol=1e-6, atol=0)


def mixing(apart):
    def integrand(z):
        p, r = stats.norm.pdf(z, -apart / 2), stats.norm.pdf(z, apart / 2)
        return p * r / (2 * (p + r)) if p + r > 0 else 0.0

    return integrate.quad(integrand, -20, 20, points=[0.0], epsabs=1e-14, limit=200)[0]


@pytest.mark.claim("blur.overlap")
def test_mixing_vanishes_as_the_encoders_separate():
    values = [mixing(apart) for apart in (0.0, 1.0, 2.0, 4.0, 8.0)]
    assert abs(values[0] - 0.25) < 1e-12
    for apart, value in zip((0.0, 1.0, 2.0, 4.0, 8.0), values, strict=True):
        bound = stats.norm.cdf(-apart / 2)
        assert bound / 2 - 1e-12 <= value <= bound
    assert all(later < earlier / 1.2 for earlier, later in pairwise(values))
    assert values[-1] < 1e-4


@pytest.mark.claim("blur.overlap")
@pytest.mark.parametrize("apart", [0.5, 2.0, 5.0])
def test_unavoidable_error_is_the_mixing(apart):
    q, pair = two(apart), X[:2]
    density = q.log_prob(Z[:, None]).exp() * CELL
    picture = optimal_decoder(q, pair, Z)[:, None]
    error = (density * (pair - picture).square().sum(-1)).sum(0).mean()
    expected = (pair[0] - pair[1]).square().sum() * mixing(apart)
    torch.testing.assert_close(error, expected, rtol=1e-6, atol=1e-12)


# Would catch an account of overlap by supports: the midpoint mixes alike at every distance.
@pytest.mark.claim("blur.supports")
def test_the_midpoint_always_mixes_and_is_ever_more_rarely_visited():
    visits, mixed = [], []
    for apart in (4.0, 8.0, 12.0):
        q = two(apart)
        places = torch.tensor([[0.0], [-apart / 2], [40.0]], dtype=torch.float64)
        at_midpoint, at_code, _ = weight(q, places).tolist()
        assert abs(at_midpoint - 0.5) < 1e-12
        assert abs(at_code - 1 / (1 + math.exp(apart**2 / 2))) < 1e-12
        assert torch.isfinite(q.log_prob(places[:, None])).all()  # a support without an end
        log_q = log_aggregate(q, places)
        visits.append((log_q[0] - log_q[1]).exp().item())
        mixed.append(mixing(apart))
    assert visits[0] > 100 * visits[1] > 10_000 * visits[2]
    assert mixed[0] > 100 * mixed[1] > 10_000 * mixed[2]


@pytest.mark.claim("blur.trained-decoder")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_trained_decoder_approaches_the_optimum_and_blurs_with_the_width(seed):
    # Would catch a target that is not the optimum, such as one normalised by the prior.
    x, factors = data.sprites(400, size=8, seed=seed)
    codes = factors[:, 1:3] * math.sqrt(12)
    sharp = []
    for width in (0.2, 0.8):
        torch.manual_seed(seed)
        q = Independent(Normal(codes, torch.full_like(codes, width)), 1)
        z = q.sample()
        optimum = optimal_decoder(q, x, z)
        decoder = GaussianConditional(mlp(2, 32, 64), scale=0.1)

        def distance(decoder=decoder, z=z, optimum=optimum):
            with torch.no_grad():
                return (decoder(z).mean - optimum).square().sum(1).mean().item()

        def reconstruction(decoder, rows, width=width):
            noise = width * torch.randn(len(rows), 2)
            return decoder(rows[:, :2] + noise).log_prob(rows[:, 2:])

        before = distance()
        fit(decoder, torch.cat([codes, x], 1), reconstruction, epochs=40, batch_size=50, lr=5e-3)
        assert distance() < before / 4
        with torch.no_grad():
            sharp.append(sharpness(decoder(z).mean).mean().item())
    assert sharp[1] < 0.8 * sharp[0]


@pytest.mark.claim("blur.trained-decoder")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_for_a_narrow_encoder_the_network_is_softer_than_the_optimum(seed):
    # Would catch an optimum that is too soft, as with the scale's root in the place of the scale.
    torch.manual_seed(seed)
    x, _ = data.digits()
    centred = x - x.mean(0)
    axes = torch.linalg.eigh(torch.cov(centred.mT)).eigenvectors[:, -2:]
    codes = centred @ axes / (centred @ axes).std(0)
    q = Independent(Normal(codes, torch.full_like(codes, 0.05)), 1)
    z = q.sample()
    optimum = optimal_decoder(q, x, z)
    decoder = mlp(2, 64, 64, 64)
    adam = torch.optim.Adam(decoder.parameters(), lr=5e-3)
    for _ in range(300):
        rows = torch.randint(len(x), (128,))
        code = codes[rows] + 0.05 * torch.randn(128, 2)
        loss = (x[rows] - decoder(code)).square().sum(1).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        drawn = decoder(z)
    assert (drawn - optimum).square().sum(1).mean() > 0.4
    assert sharpness(drawn).mean() < 0.9 * sharpness(optimum).mean()


# Would catch an encoder that does not answer to σ.
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_smaller_sigma_averages_fewer_pictures(seed):
    x, _ = data.digits()
    x = x[:600]
    worth = []
    for scale in (0.2, 0.4):
        torch.manual_seed(seed)
        vae = VAE(
            GaussianConditional(mlp(64, 64, 16)),
            GaussianConditional(mlp(8, 64, 64), scale=scale),
            StandardNormal(8),
        )
        fit(vae, x, elbo_analytic, epochs=60, lr=4e-3)
        with torch.no_grad():
            q = vae.encoder(x)
            shares = q.log_prob(q.sample()[:, None]).softmax(1)
        worth.append((1 / shares.square().sum(1)).mean())
    assert worth[1] > 4 * worth[0]


def test_a_sampler_with_the_ideal_denoiser_ends_at_training_pictures():
    # Would catch weights that do not narrow down to one picture.
    x, _ = data.digits()
    x = x[:500].double()
    torch.manual_seed(0)
    z, levels = 30 * torch.randn(100, 64).double(), np.geomspace(30, 0.03, 40)
    for s, less in pairwise([*levels, 0.0]):
        q = Independent(Normal(x, torch.full_like(x, float(s))), 1)
        guess = optimal_decoder(q, x, z)
        z = guess + less / s * (z - guess)
    nearest = torch.cdist(z, x, compute_mode="donot_use_mm_for_euclid_dist")
    assert nearest.amin(1).max() < 0.01
    assert len(nearest.argmin(1).unique()) > 50


# Would catch the width σ_t, and a picture that is not divided by α_t.
def test_pictures_as_their_own_codes_give_the_ideal_denoiser():
    x = normal(9, 6, seed=66)
    z = normal(4, 6, seed=67)
    for log_snr in (3.0, 0.0, -2.0):
        alpha = math.sqrt(1 / (1 + math.exp(-log_snr)))
        width = math.exp(-log_snr / 2)  # σ_t / α_t
        q = Independent(Normal(x, torch.full_like(x, width)), 1)
        level = torch.full((4,), log_snr, dtype=torch.float64)
        found = DataDenoiser(x)(z, level)
        torch.testing.assert_close(found, optimal_decoder(q, x, z / alpha), rtol=1e-10, atol=1e-10)


# Would catch a sigmoid claimed for two widths: the wider encoder wins on both sides.
@pytest.mark.claim("blur.overlap")
def test_with_two_widths_the_weight_is_no_sigmoid():
    codes = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    q = Independent(Normal(codes, torch.tensor([[1.0], [2.0]], dtype=torch.float64)), 1)
    far_left, between, far_right = weight(q, torch.tensor([[-9.0], [-1.5], [9.0]]).double())
    assert far_left > 0.99
    assert far_right > 0.99
    assert between < 0.5


# Would catch weights divided by p(z): they sum to one only where q(z) = p(z).
@pytest.mark.claim("blur.normaliser")
def test_the_prior_does_not_normalise():
    q, log_prior = two(3.0, scale=0.7), Normal(0.0, 1.0).log_prob(Z)[:, 0]
    each = (q.log_prob(Z[:, None]) - math.log(2)).exp()  # (z, 2)
    by_prior = (each / log_prior.exp()[:, None]).sum(1)
    ratio = (log_aggregate(q, Z) - log_prior).exp()
    torch.testing.assert_close(by_prior, ratio, rtol=1e-12, atol=0)
    assert (ratio - 1).abs().max() > 0.5
    by_aggregate = (each / log_aggregate(q, Z).exp()[:, None]).sum(1)
    torch.testing.assert_close(by_aggregate, torch.ones_like(ratio), rtol=1e-12, atol=0)
    # The ratio form uses the right one: its picture of a constant is that constant.
    picture = optimal_decoder(q, torch.ones(2, 3, dtype=torch.float64), Z)
    torch.testing.assert_close(picture, torch.ones_like(picture), rtol=1e-12, atol=0)
    # On average over the prior the ratio is one all the same.
    assert abs((ratio * log_prior.exp() * CELL).sum() - 1) < 1e-9


@pytest.mark.claim("blur.normaliser")
def test_the_prior_is_right_where_it_is_the_aggregate():
    x = Normal(0.0, 1.0).icdf((torch.arange(4000, dtype=torch.float64) + 0.5) / 4000)[:, None]
    q = Independent(Normal(0.8 * x, torch.full_like(x, 0.6)), 1)
    z = torch.tensor([[-1.5], [0.0], [1.5]], dtype=torch.float64)
    ratio = (log_aggregate(q, z) - Normal(0.0, 1.0).log_prob(z[:, 0])).exp()
    torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=0, atol=1e-3)
