"""Chapter 11: diffusion as a hierarchy with a fixed encoder.

Identities hold to rounding in float64. Sampled statements are in standard errors. Measured ones are
trained here at a smaller size than in the chapter, on other seeds.
"""

import math
from itertools import pairwise

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence
from toys import normal

from companion import data
from companion.conditionals import (
    GaussianConditional,
    LinearGaussianConditional,
    StandardNormal,
    mlp,
)
from companion.diagnostics import energy_distance, log_aggregate, sharpness
from companion.diffusion import (
    TIME_FEATURES,
    DataDenoiser,
    Diffusion,
    GaussianDenoiser,
    NoiseDenoiser,
    Schedule,
    cosine_schedule,
    diffusion_elbo,
    draw_levels,
    exact_gaussian_diffusion,
    forward_kernel,
    forward_marginal,
    forward_steps,
    linear_schedule,
    log_snr_schedule,
    one_level_elbo,
    posterior_variance,
    reverse_posterior,
    simple_loss,
    three_terms,
)
from companion.models import HVAE, VAE
from companion.objectives import elbo
from companion.train import fit

POINTS, SIZE, SAMPLES, LEVELS = 5, 3, 7, 6
X = normal(POINTS, SIZE, seed=31)
EYE = torch.eye(SIZE, dtype=torch.float64)
ZERO = torch.zeros(SIZE, dtype=torch.float64)
S = torch.tensor([[2.0, 1.2, 0.3], [1.2, 1.0, 0.0], [0.3, 0.0, 0.4]], dtype=torch.float64)
IDEAL = GaussianDenoiser(ZERO, S)
LAW = MultivariateNormal(ZERO, S)


def close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def network(schedule=None):
    torch.manual_seed(7)
    denoiser = NoiseDenoiser(mlp(SIZE + TIME_FEATURES, 9, SIZE).double())
    schedule = schedule or log_snr_schedule(LEVELS, 4.0, -5.0)
    return Diffusion(schedule, denoiser, StandardNormal(SIZE).double(), scale=0.4)


def ideal_chain(schedule, decoders=None):
    """The ideal denoiser's diffusion of Gaussian data, from z_T ~ N(0, I), as a hierarchy."""
    decoders = decoders or IDEAL.decoders(schedule)
    return HVAE(forward_steps(schedule), decoders, StandardNormal(SIZE).double())


def gaussian_kl_matrix(a, b):
    zeros = torch.zeros(a.shape[-1], dtype=a.dtype)
    return kl_divergence(MultivariateNormal(zeros, a), MultivariateNormal(zeros, b))


# --- the same model, the same score ---------------------------------------------------------------


# Would catch a Trace with its levels in another order, or a level too few.
@pytest.mark.claim("diff.fixed-encoder")
@pytest.mark.parametrize("schedule", [linear_schedule(9), cosine_schedule(9)])
def test_the_elbo_of_diffusion_is_that_of_an_hvae(schedule):
    model = network(schedule)
    encoders = [
        LinearGaussianConditional((1 - beta).sqrt() * EYE, ZERO, beta * EYE)
        for beta in schedule.beta
    ]
    hvae = HVAE(encoders, model.decoders, model.prior)
    found = []
    for each in (model, hvae):
        torch.manual_seed(3)
        found.append(elbo(each, X, SAMPLES))
    close(found[0], found[1], 1e-9)
    assert sum(p.numel() for encoder in encoders for p in encoder.parameters()) == 0


@pytest.mark.claim("diff.forward-marginal")
@pytest.mark.parametrize("schedule", [linear_schedule(9), cosine_schedule(9)])
def test_one_jump_is_t_steps_from_any_level(schedule):
    for s in (0, 2, 5):
        mean, variance = X, torch.zeros_like(X)
        for t in range(s + 1, schedule.num_steps + 1):
            beta = schedule.beta[t - 1]
            mean, variance = (1 - beta).sqrt() * mean, (1 - beta) * variance + beta
            jump = forward_kernel(schedule, X, s, t)
            close(jump.mean, mean, 1e-10)
            close(jump.variance, variance, 1e-10)


@pytest.mark.claim("diff.reverse-posterior")
def test_the_reverse_posterior_is_gaussian_conditioning():
    # From the joint covariance of (z_s, z_t) given x, without completing a square.
    schedule = cosine_schedule(9)
    a = schedule.alpha_bar
    for s, t in [(1, 2), (4, 5), (2, 8)]:
        ratio = a[t - 1] / a[s - 1]
        cross = ratio.sqrt() * (1 - a[s - 1])
        gain = cross / (1 - a[t - 1])
        z = normal(POINTS, SIZE, seed=t)
        q = reverse_posterior(schedule, z, X, s, t)
        close(q.mean, a[s - 1].sqrt() * X + gain * (z - a[t - 1].sqrt() * X), 1e-9)
        close(q.variance, (1 - a[s - 1] - gain * cross).expand_as(X), 1e-9)


# --- the ideal denoiser of a list -----------------------------------------------------------------


@pytest.mark.claim("diff.ideal-denoiser")
@pytest.mark.parametrize("level", [1, 10, 19])
def test_the_ideal_denoiser_is_the_average_of_chapter_6(level):
    # Its decoder is the ratio (6.8) with the encoder N(x, (σ_t/α_t)² I), at the code z_t/α_t.
    schedule, points = log_snr_schedule(20, 6.0, -4.0), data.pinwheel(60).double()
    a = schedule.alpha_bar[level - 1]
    encoder = MultivariateNormal(points, (1 - a) / a * torch.eye(2, dtype=torch.float64))
    z = forward_marginal(schedule, points[:9], level).sample()
    density = encoder.log_prob(z[:, None] / a.sqrt()).exp()
    average = density @ points / density.sum(1, keepdim=True)
    guess = DataDenoiser(points)(z, schedule.log_snr[level - 1].expand(9))
    close(guess, average, 1e-9)
    # The least squared error belongs to it: any shift of it is worse.
    assert (guess - points[:9]).square().mean() < (guess + 1 - points[:9]).square().mean()


@pytest.mark.claim("diff.ideal-denoiser")
def test_one_step_gives_the_mean_and_many_give_copies():
    torch.manual_seed(0)
    points = data.pinwheel(60).double()
    spread = (points - points.mean(0)).norm(dim=1).mean()
    nearest = {}
    for steps in (3, 60):
        schedule = log_snr_schedule(steps, 9.0, -9.0)
        prior = StandardNormal(2).double()
        model = Diffusion(schedule, DataDenoiser(points), prior, scale=0.01)
        z = model.prior().sample((300,))
        first = model.denoise(z, steps)
        assert (first - points.mean(0)).norm(dim=1).max() < 0.1 * spread
        ends = model.denoise(model.descend(z)[1], 1)
        nearest[steps] = torch.cdist(ends, points).min(1)
    assert nearest[60].values.mean() < 0.01 * spread
    # Different ones, and not one alone.
    assert len(nearest[60].indices.unique()) > 40


# --- three terms ----------------------------------------------------------------------------------


@pytest.mark.claim("diff.three-terms")
def test_the_encoder_factorises_downwards():
    # log q(z_1 … z_T | x) step by step up, and as q(z_T | x) Π q(z_{t−1} | z_t, x): for each path.
    model = network()
    trace = model.trace(X, SAMPLES)
    up = sum(q.log_prob(z) for q, z in zip(trace.q, trace.z, strict=True))
    down = forward_marginal(model.schedule, X, LEVELS).log_prob(trace.z[-1])
    for t in range(2, LEVELS + 1):
        down = down + reverse_posterior(model.schedule, trace.z[t - 1], X, t - 1, t).log_prob(
            trace.z[t - 2]
        )
    close(up, down, 1e-9)


@pytest.mark.claim("diff.three-terms")
def test_all_estimates_have_one_mean():
    torch.manual_seed(0)
    model, many = network(), X[:1].expand(30_000, SIZE)
    with torch.no_grad():
        reference = diffusion_elbo(model, X[:1].expand(80_000, SIZE))
        for values in (
            elbo(model, many),
            three_terms(model, many, model.trace(many).z).bound[0],
            one_level_elbo(model, many),
        ):
            error = (values.var() / len(values) + reference.var() / len(reference)).sqrt()
            assert abs(values.mean() - reference.mean()) < 4 * error


# Would catch a closed form that belongs to other conditionals.
@pytest.mark.claim("diff.three-terms")
def test_each_closed_term_is_quieter_than_its_log_ratio():
    torch.manual_seed(0)
    model = network()
    with torch.no_grad():
        trace = model.trace(X, 20_000)
        closed = three_terms(model, X, trace.z).diffusion
        for t in range(2, LEVELS + 1):
            q = reverse_posterior(model.schedule, trace.z[t - 1], X, t - 1, t)
            ratio = q.log_prob(trace.z[t - 2]) - trace.p[t - 1].log_prob(trace.z[t - 2])
            difference = ratio - closed[t - 2]
            # The closed term is the conditional mean, so the rest is uncorrelated with it.
            assert (ratio.var(0) > closed[t - 2].var(0)).all()
            product = (closed[t - 2] - closed[t - 2].mean(0)) * difference
            assert (product.mean(0).abs() < 5 * product.std(0) / math.sqrt(20_000)).all()


@pytest.mark.claim("diff.three-terms")
def test_the_sums_are_not_ordered():
    torch.manual_seed(0)
    schedule = log_snr_schedule(20, 6.0, -6.0)
    exact = exact_gaussian_diffusion(schedule, IDEAL)
    trace = exact.trace(X, 200)
    assert trace.log_weight.std(0).max() < 1e-9
    assert three_terms(exact, X, trace.z, schedule).bound.std(0).min() > 0.5
    # And the other way round: independent levels, a reverse variance far too small.
    narrow = ideal_chain(schedule, IDEAL.decoders(schedule, 0.2 * posterior_variance(schedule)))
    generic = narrow.trace(X, 2000).log_weight.std(0)
    apart = three_terms(narrow, X, draw_levels(schedule, X, 2000), schedule).bound.std(0)
    assert (generic > 1.1 * apart).all()


# --- Gaussian data --------------------------------------------------------------------------------


def distance(num_levels, variance=None):
    """E[log p_data − ELBO] of Gaussian data in closed form, and its floor."""
    schedule = log_snr_schedule(num_levels, 6.0, -3.0)
    exact = IDEAL.reverse_covariance(schedule)
    floor = gaussian_kl_matrix(IDEAL.marginal(schedule, num_levels).covariance_matrix, EYE)
    if variance is None:
        return floor, floor
    used = variance(schedule)[:, None, None] * EYE
    return floor + gaussian_kl_matrix(exact, used).sum(), floor


CHOICES = [posterior_variance, lambda schedule: schedule.beta[1:]]


@pytest.mark.claim("diff.exact-gaussian")
@pytest.mark.parametrize("levels", [3, 20, 50])
def test_with_exact_conditionals_only_the_floor_is_left(levels):
    # log p_data(x) − log w = log q(z_T) − log p(z_T) on every path, so its mean is the floor.
    torch.manual_seed(1)
    schedule = log_snr_schedule(levels, 6.0, -3.0)
    model = ideal_chain(schedule)
    x = LAW.sample((POINTS,))
    trace = model.trace(x, SAMPLES)
    top = IDEAL.marginal(schedule, levels).log_prob(trace.z[-1])
    expected = top - model.prior().log_prob(trace.z[-1])
    close(LAW.log_prob(x) - trace.log_weight, expected, 1e-8)


@pytest.mark.claim("diff.exact-gaussian")
@pytest.mark.parametrize("choice", CHOICES)
def test_a_wrong_variance_costs_one_over_t(choice):
    above = [
        (total - floor).item()
        for total, floor in (distance(levels, choice) for levels in (100, 200, 400, 800))
    ]
    for coarse, fine in pairwise(above):
        assert fine / coarse == pytest.approx(0.5, abs=0.03)
    assert above[0] > 0.01


@pytest.mark.claim("diff.exact-gaussian")
@pytest.mark.parametrize("choice", CHOICES)
def test_the_closed_distance_is_what_the_elbo_gives(choice):
    torch.manual_seed(2)
    schedule = log_snr_schedule(20, 6.0, -3.0)
    model = ideal_chain(schedule, IDEAL.decoders(schedule, choice(schedule)))
    x = LAW.sample((4000,))
    found = LAW.log_prob(x) - elbo(model, x, 4)
    expected = distance(20, choice)[0]
    assert abs(found.mean() - expected) < 4 * found.std() / math.sqrt(len(x))


@pytest.mark.claim("diff.exact-gaussian")
def test_an_inexact_last_step_costs_the_same_at_every_t():
    torch.manual_seed(3)
    x = LAW.sample((6000,))
    for levels in (10, 40):
        schedule = log_snr_schedule(levels, 6.0, -3.0)
        bottom, *above = IDEAL.decoders(schedule)
        narrow = LinearGaussianConditional(bottom.weight, bottom.bias, 0.1**2 * EYE)
        model = ideal_chain(schedule, [narrow, *above])
        left = IDEAL.covariance(schedule.log_snr[0])
        expected = distance(levels)[0] + gaussian_kl_matrix(left, 0.01 * EYE)
        found = LAW.log_prob(x) - elbo(model, x, 4)
        assert abs(found.mean() - expected) < 4 * found.std() / math.sqrt(len(x))
        assert expected > 0.3


@pytest.mark.claim("diff.exact-gaussian")
def test_on_white_data_beta_is_exact():
    # Why the claim asks for S ≠ I.
    schedule = log_snr_schedule(12, 6.0, -3.0)
    white = GaussianDenoiser(ZERO, EYE).reverse_covariance(schedule)
    close(white, schedule.beta[1:, None, None] * EYE, 1e-10)


# --- what cannot collapse -------------------------------------------------------------------------


@pytest.mark.claim("diff.no-collapse")
def test_information_falls_by_design_whatever_the_network():
    schedule = log_snr_schedule(30, 6.0, -8.0)
    values = torch.linalg.eigvalsh(S)
    formula = 0.5 * torch.log1p(schedule.snr[:, None] * values).sum(-1)
    by_entropy = torch.stack(
        [
            IDEAL.marginal(schedule, t).entropy() - forward_marginal(schedule, ZERO, t).entropy()
            for t in range(1, 31)
        ]
    )
    close(formula, by_entropy, 1e-10)
    assert (formula.diff() < 0).all()
    assert formula[0] > 5
    assert formula[-1] < 0.001


@pytest.mark.claim("diff.no-collapse")
def test_information_of_a_list_of_points_falls_too():
    torch.manual_seed(0)
    schedule = Schedule(torch.tensor([6.0, 2.0, 0.0, -2.0, -6.0]))
    x = data.pinwheel(400).double()
    found = []
    for t in range(1, 6):
        q = forward_marginal(schedule, x, t)
        z = q.sample((20,))
        log_aggregated = log_aggregate(q, z.flatten(0, 1)).reshape(20, 400)
        found.append((q.log_prob(z) - log_aggregated).mean().item())
    assert all(high > low + 0.05 for high, low in pairwise(found))
    assert found[0] < math.log(400)
    assert found[-1] < 0.05


@pytest.mark.claim("diff.no-collapse")
@pytest.mark.parametrize("levels", [20, 80])
def test_the_bound_keeps_a_gap(levels):
    # p_φ(x) of the model with variance β̃, going down the chain with full matrices.
    schedule = log_snr_schedule(levels, 6.0, -3.0)
    model = ideal_chain(schedule, IDEAL.decoders(schedule, posterior_variance(schedule)))
    covariance = EYE
    for decoder in reversed(model.decoders):
        noise = decoder.scale_tril @ decoder.scale_tril.mT
        covariance = decoder.weight @ covariance @ decoder.weight.mT + noise
    wrong = gaussian_kl_matrix(S, covariance)
    total = distance(levels, posterior_variance)[0]
    assert wrong >= 0
    assert total - wrong > 0.2  # the average gap log p_φ(x) − ELBO
    torch.manual_seed(4)
    x = LAW.sample((4000,))
    gap = MultivariateNormal(ZERO, covariance).log_prob(x) - elbo(model, x, 4)
    assert abs(gap.mean() - (total - wrong)) < 4 * gap.std() / math.sqrt(len(x))


# --- measured -------------------------------------------------------------------------------------

SCALE = 0.2


def trained_on_digits(kind, seed, epochs, rows):
    torch.manual_seed(seed)
    if kind == "VAE":
        model = VAE(
            GaussianConditional(mlp(64, 96, 2 * 8)),
            GaussianConditional(mlp(8, 96, 64), SCALE),
            StandardNormal(8),
        )
        fit(model, rows, elbo, epochs=epochs, lr=2e-3)
        return model
    denoiser = NoiseDenoiser(mlp(64 + TIME_FEATURES, 128, 128, 64))
    model = Diffusion(log_snr_schedule(30, 4.0, -8.0), denoiser, StandardNormal(64), scale=SCALE)
    for part, lr in ((2 * epochs // 3, 5e-3), (epochs // 3, 1e-3)):
        fit(model, rows, lambda m, x: -simple_loss(m, x), epochs=part, lr=lr)
    return model


@pytest.fixture(scope="module")
def digits():
    pixels, _ = data.digits()
    (train,), (test,) = data.split(2 * pixels - 1)
    return train, test


@pytest.fixture(scope="module")
def diffusions(digits):
    return [trained_on_digits("diffusion", seed, 75, digits[0]) for seed in (10, 11, 12)]


def draw(model, num):
    if isinstance(model, Diffusion):
        z_1 = model.descend(model.prior().sample((num,)))[1]
        return model.decoders[0](z_1).mean.detach()
    return model.decoder(model.prior().sample((num,))).mean.detach()


@pytest.mark.claim("diff.quality")
def test_samples_of_diffusion_are_near_the_data_and_sharper_than_a_vaes(digits, diffusions):
    torch.manual_seed(0)
    real = sharpness(digits[1]).mean()
    blurred = draw(trained_on_digits("VAE", 10, 60, digits[0]), 300)
    noise = energy_distance(torch.randn(300, 64), digits[1])
    assert sharpness(blurred).mean() < real
    assert energy_distance(blurred, digits[1]) < noise / 4
    for model in diffusions:
        drawn = draw(model, 300)
        assert sharpness(drawn).mean() > sharpness(blurred).mean()
        assert energy_distance(drawn, digits[1]) < noise / 4


@pytest.mark.claim("diff.stability")
def test_three_seeds_of_diffusion_train_and_agree(digits, diffusions):
    torch.manual_seed(0)
    distances = torch.stack([energy_distance(draw(m, 300), digits[1]) for m in diffusions])
    untrained = energy_distance(torch.randn(300, 64), digits[1])
    assert distances.max() < untrained / 4
    with torch.no_grad():
        bounds = torch.stack([elbo(model, digits[1]).mean() for model in diffusions])
    assert bounds.std() < 0.1 * bounds.mean().abs()


def agreement(log_snr, z):
    """How often two exact endings from each z share the cluster, the branch and the leaf."""
    a = torch.sigmoid(log_snr)
    far = torch.cdist(z, a.sqrt() * data.tree_centres()).square()
    leaf = (-far / (2 * (a * 0.05**2 + 1 - a))).softmax(-1)
    parts = leaf.reshape(-1, 3, 9).sum(-1), leaf.reshape(-1, 9, 3).sum(-1), leaf
    return torch.stack([part.square().sum(-1).mean() for part in parts])


@pytest.mark.claim("diff.progressive")
def test_the_cluster_is_fixed_before_the_branch_and_the_branch_before_the_leaf():
    torch.manual_seed(0)
    x, _ = data.tree(4000, seed=5)
    log_snr = torch.linspace(6.0, -6.0, 61)
    found = []
    for level in log_snr:
        a = level.sigmoid()
        found.append(agreement(level, a.sqrt() * x + (1 - a).sqrt() * torch.randn_like(x)))
    found = torch.stack(found)
    assert (found[0] > 0.99).all()
    torch.testing.assert_close(found[-1], 1 / torch.tensor([3.0, 9.0, 27.0]), atol=0.01, rtol=0.05)
    crossing = [log_snr[int((part < 0.9).nonzero()[0])].item() for part in found.T]
    for coarse, fine in pairwise(crossing):
        assert 1.4 < fine - coarse < 2.1  # 2 log 2.5 = 1.83


@pytest.mark.claim("diff.progressive")
def test_walks_of_a_trained_network_agree_on_the_coarse_part_first():
    torch.manual_seed(0)
    x, _ = data.tree(3000)
    denoiser = NoiseDenoiser(mlp(2 + TIME_FEATURES, 64, 64, 2))
    model = Diffusion(log_snr_schedule(50, 6.0, -6.0), denoiser, StandardNormal(2), scale=0.05)
    for epochs, lr in ((60, 5e-3), (30, 1e-3)):
        fit(model, x, lambda m, y: -simple_loss(m, y), epochs=epochs, lr=lr, batch_size=250)
    with torch.no_grad():
        z = forward_marginal(model.schedule, x[:1000], 20).sample()
        ends = [data.tree_labels(model.denoise(model.descend(z, 20)[1], 1)) for _ in range(2)]
    cluster, branch, leaf = (ends[0] == ends[1]).float().mean(0)
    assert cluster > 0.8
    assert cluster - 0.1 > branch > leaf + 0.1


@pytest.mark.claim("diff.progressive")
def test_in_gaussian_data_the_wide_directions_are_fixed_first():
    # The share fixed at t is SNR s / (1 + SNR s): one half where SNR = 1 / s.
    schedule = log_snr_schedule(40, 6.0, -6.0)
    wide_and_narrow = torch.diag(torch.tensor([4.0, 0.25], dtype=torch.float64))
    ideal = GaussianDenoiser(torch.zeros(2, dtype=torch.float64), wide_and_narrow)
    left = ideal.covariance(schedule.log_snr).diagonal(dim1=1, dim2=2)
    fixed = 1 - left / wide_and_narrow.diagonal()
    expected = schedule.snr[:, None] * wide_and_narrow.diagonal()
    close(fixed, expected / (1 + expected), 1e-10)
    assert (fixed[:, 0] > fixed[:, 1]).all()
