"""Diffusion: schedules, the fixed encoder, denoisers, the model and its objectives.

Identities hold to rounding in float64, on sizes that are pairwise distinct: B = 5, K = 7, D = 3,
T = 6 or 20. Sampled statements are in standard errors.
"""

import math

import pytest
import torch
from scipy import stats
from torch import nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence
from toys import normal

from companion import (
    HVAE,
    GaussianConditional,
    LinearGaussianConditional,
    StandardNormal,
    elbo,
    fit,
    iwae_bound,
    load_weights,
    mlp,
    save_weights,
)
from companion.conditionals import GaussianPrior
from companion.diffusion import (
    TIME_FEATURES,
    DataDenoiser,
    Diffusion,
    GaussianDenoiser,
    NoiseDenoiser,
    Schedule,
    alpha_sigma,
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
    reverse_coefficients,
    reverse_posterior,
    simple_loss,
    three_terms,
    time_features,
)
from companion.diffusion.bounds import _stratified_levels

POINTS, SIZE, SAMPLES, LEVELS = 5, 3, 7, 6
X = normal(POINTS, SIZE, seed=1)
SCHEDULE = log_snr_schedule(LEVELS, 5.0, -4.0)
SCHEDULES = [
    SCHEDULE,
    linear_schedule(20),
    cosine_schedule(20),
    Schedule(torch.tensor([3.0, 2.5, -1.0, -7.0])),
]
ROOT = normal(SIZE, SIZE, seed=2)
COVARIANCE = ROOT @ ROOT.mT + 0.2 * torch.eye(SIZE, dtype=torch.float64)
MEAN = normal(SIZE, seed=3)
IDEAL = GaussianDenoiser(MEAN, COVARIANCE)
DATA_LAW = MultivariateNormal(MEAN, COVARIANCE)


def close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def trained_shape(seed=0, *, scale=0.3, reverse_variance=None):
    """A diffusion model in float64 with a random network."""
    torch.manual_seed(seed)
    denoiser = NoiseDenoiser(mlp(SIZE + TIME_FEATURES, 11, SIZE).double())
    prior = StandardNormal(SIZE).double()
    return Diffusion(SCHEDULE, denoiser, prior, scale=scale, reverse_variance=reverse_variance)


# --- schedules ------------------------------------------------------------------------------------


# Would catch β and 1 − ᾱ confused, a β_1 that is forgotten, an SNR turned over.
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_is_the_running_product_of_one_minus_beta(schedule):
    close((1 - schedule.beta).cumprod(0), schedule.alpha_bar)
    close(schedule.snr, schedule.alpha_bar / (1 - schedule.alpha_bar), 1e-9)
    close(schedule.log_alpha_bar[1:].exp(), schedule.alpha_bar)
    assert schedule.log_alpha_bar[0] == 0
    assert len(schedule.beta) == schedule.num_steps
    assert (schedule.beta > 0).all()


def test_the_linear_schedule_is_that_of_the_paper_for_a_thousand_levels():
    # Ho et al.: β from 1e-4 to 0.02. The integral differs by the width of one step.
    published = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    close(linear_schedule(1000).beta, published, 3e-4)
    close(linear_schedule(1000).log_alpha_bar[1:], torch.log1p(-published).cumsum(0), 0.02)


def test_the_linear_schedule_is_the_same_curve_for_every_number_of_levels():
    close(linear_schedule(10).log_snr, linear_schedule(40).log_snr[3::4], 1e-9)


def test_the_cosine_schedule_is_its_formula():
    schedule = cosine_schedule(50)
    for t in (1, 10, 49):
        f = [math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2 for u in (t / 50, 0.0)]
        assert schedule.alpha_bar[t - 1].item() == pytest.approx(f[0] / f[1], rel=1e-9)
    assert schedule.beta[-1].item() == pytest.approx(0.999, rel=1e-9)


def test_the_ends_of_a_log_snr_schedule_do_not_move():
    for levels in (2, 3, 50):
        schedule = log_snr_schedule(levels, 4.0, -9.0)
        assert schedule.log_snr[[0, -1]].tolist() == [4.0, -9.0]
        assert schedule.num_steps == levels


def test_small_steps_keep_their_digits():
    # 1 − ᾱ_t / ᾱ_{t−1} by subtraction has nine digits less here.
    schedule = log_snr_schedule(1000, 20.0, 19.0)
    first, second = (stats.logistic.logcdf(v) for v in schedule.log_snr[:2].tolist())
    assert schedule.beta[1].item() == pytest.approx(-math.expm1(second - first), rel=1e-12, abs=0)
    # And so has 1 − SNR_t / SNR_{t−1}, in the variance of the way back.
    schedule = log_snr_schedule(3, 1.0, 1.0 - 1e-9)
    above, below = schedule.log_snr[:2].tolist()
    expected = -math.expm1(below - above) * stats.logistic.cdf(-above)
    assert posterior_variance(schedule)[0].item() == pytest.approx(expected, rel=1e-12, abs=0)


def test_alpha_and_sigma_make_one():
    alpha, sigma = alpha_sigma(torch.tensor([-30.0, 0.0, 30.0], dtype=torch.float64))
    close(alpha.square() + sigma.square(), torch.ones(3, 1, dtype=torch.float64))
    assert sigma[2].item() == pytest.approx(math.exp(-15), rel=1e-9, abs=0)


# --- forward and back -----------------------------------------------------------------------------


# Would catch a missing root, the scale and the variance confused, an off-by-one in t.
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_one_step_to_t_is_t_small_steps(schedule):
    eye = torch.eye(SIZE, dtype=torch.float64)
    mean, covariance = X, torch.zeros(SIZE, SIZE, dtype=torch.float64)
    for t in range(1, schedule.num_steps + 1):
        # The step's matrix and noise, read off at unit vectors.
        step = forward_kernel(schedule, torch.cat([eye, X]), t - 1, t)
        weight, noise = step.mean[:SIZE], torch.diag_embed(step.variance[0])
        mean, covariance = mean @ weight, weight @ covariance @ weight.mT + noise
        close(forward_marginal(schedule, X, t).mean, mean)
        close(torch.diag_embed(forward_marginal(schedule, X, t).variance[0]), covariance)


def test_one_step_is_the_papers():
    beta = SCHEDULE.beta[3]
    q = forward_kernel(SCHEDULE, X, 3, 4)
    close(q.mean, (1 - beta).sqrt() * X)
    close(q.stddev, beta.sqrt().expand_as(X))


@pytest.mark.parametrize(("s", "t"), [(1, 2), (2, 6), (5, 6)])
def test_the_reverse_posterior_is_bayes_rule(s, t):
    # log q(z_s | z_t, x) = log q(z_t | z_s) + log q(z_s | x) − log q(z_t | x), at any z_s.
    z_t, z_s = normal(SAMPLES, POINTS, SIZE, seed=4), normal(SAMPLES, POINTS, SIZE, seed=5)
    bayes = (
        forward_kernel(SCHEDULE, z_s, s, t).log_prob(z_t)
        + forward_marginal(SCHEDULE, X, s).log_prob(z_s)
        - forward_marginal(SCHEDULE, X, t).log_prob(z_t)
    )
    close(reverse_posterior(SCHEDULE, z_t, X, s, t).log_prob(z_s), bayes, 1e-10)


def test_the_posterior_variance_is_that_of_the_reverse_posterior():
    found = posterior_variance(SCHEDULE)
    assert found.shape == (LEVELS - 1,)
    for t in range(2, LEVELS + 1):
        q = reverse_posterior(SCHEDULE, X, X, t - 1, t)
        close(q.variance, found[t - 2].expand_as(X))
    alpha_bar, beta = SCHEDULE.alpha_bar, SCHEDULE.beta
    close(found, (1 - alpha_bar[:-1]) / (1 - alpha_bar[1:]) * beta[1:])


def test_levels_may_differ_from_row_to_row():
    t = torch.tensor([2, 6, 3, 5, 4])
    s = t - 1
    together = reverse_posterior(SCHEDULE, X, 2 * X, s, t)
    forward = forward_kernel(SCHEDULE, X, s, t)
    for row, (a, b) in enumerate(zip(s.tolist(), t.tolist(), strict=True)):
        alone = reverse_posterior(SCHEDULE, X[row], 2 * X[row], a, b)
        close(together.mean[row], alone.mean)
        close(together.stddev[row], alone.stddev)
        close(forward.mean[row], forward_kernel(SCHEDULE, X[row], a, b).mean)


def test_coefficients_take_the_dtype_of_what_they_multiply():
    q = reverse_posterior(SCHEDULE, X.float(), X.float(), 1, 2)
    assert q.mean.dtype == q.stddev.dtype == torch.float32
    assert trained_shape().float().trace(X.float()).log_weight.dtype == torch.float32


# --- denoisers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [1, 3, 6])
def test_the_gaussian_denoiser_is_conditioning(t):
    alpha = SCHEDULE.alpha_bar[t - 1].sqrt()
    noise = (1 - SCHEDULE.alpha_bar[t - 1]) * torch.eye(SIZE, dtype=torch.float64)
    gain = alpha * COVARIANCE @ torch.linalg.inv(alpha**2 * COVARIANCE + noise)
    z = normal(SAMPLES, POINTS, SIZE, seed=6)
    log_snr = SCHEDULE.log_snr[t - 1].expand(SAMPLES, POINTS)
    close(IDEAL(z, log_snr), MEAN + (z - alpha * MEAN) @ gain.mT, 1e-10)
    left = COVARIANCE - alpha * gain @ COVARIANCE
    close(IDEAL.covariance(SCHEDULE.log_snr[t - 1]), left, 1e-10)
    marginal = IDEAL.marginal(SCHEDULE, t)
    close(marginal.covariance_matrix, alpha**2 * COVARIANCE + noise, 1e-10)
    close(marginal.mean, alpha * MEAN)


def test_the_data_denoiser_is_bayes_rule_over_its_points():
    points = normal(4, SIZE, seed=7)
    denoiser = DataDenoiser(points)
    z = normal(SAMPLES, POINTS, SIZE, seed=8)
    for t in (1, 4, 6):
        log_joint = torch.stack(
            [forward_marginal(SCHEDULE, point, t).log_prob(z) for point in points], dim=-1
        )
        weight = log_joint.softmax(-1)
        log_snr = SCHEDULE.log_snr[t - 1].expand(SAMPLES, POINTS)
        close(denoiser.log_weight(z, log_snr).exp(), weight, 1e-10)
        close(denoiser(z, log_snr), weight @ points, 1e-10)


def test_the_data_denoiser_survives_where_all_densities_underflow():
    denoiser = DataDenoiser(torch.tensor([[-1.0], [1.0]]))
    guess = denoiser(torch.tensor([[50.0], [-50.0]]), torch.tensor([12.0, 12.0]))
    assert guess.tolist() == [[1.0], [-1.0]]


def test_the_noise_denoiser_undoes_the_noise_it_predicts():
    denoiser = NoiseDenoiser(mlp(SIZE + TIME_FEATURES, 8, SIZE).double())
    log_snr = SCHEDULE.log_snr[:POINTS]
    z = normal(POINTS, SIZE, seed=9)
    alpha, sigma = alpha_sigma(log_snr)
    close(alpha * denoiser(z, log_snr) + sigma * denoiser.noise(z, log_snr), z)


def test_time_features_tell_levels_apart():
    features = time_features(torch.linspace(-10, 10, 200, dtype=torch.float64))
    assert features.shape == (200, TIME_FEATURES)
    distance = torch.cdist(features, features) + 9 * torch.eye(200)
    assert distance.min() > 0.005


# --- the model ------------------------------------------------------------------------------------


# Would catch any wrong coefficient or variance: the weights then vary from draw to draw.
@pytest.mark.parametrize("schedule", [log_snr_schedule(20, 6.0, -6.0), *SCHEDULES])
def test_exact_conditionals_make_every_weight_the_likelihood(schedule):
    model = exact_gaussian_diffusion(schedule, IDEAL)
    expected = DATA_LAW.log_prob(X).expand(SAMPLES, POINTS)
    close(model.trace(X, SAMPLES).log_weight, expected, 1e-9)
    close(iwae_bound(model, X, 3), expected[0], 1e-9)


def hvae_of(model):
    """The same model from the general parts of an HVAE, without the package's kernels."""
    schedule = model.schedule
    beta, alpha_bar = schedule.beta, schedule.alpha_bar

    class Back(nn.Module):
        def __init__(self, t):
            super().__init__()
            self.t, self.denoiser = t, model.denoiser

        def forward(self, z):
            t = self.t - 1  # the place of level t in arrays that begin with level 1
            guess = self.denoiser(z, schedule.log_snr[t].expand(z.shape[:-1]))
            if t == 0:
                return guess
            of_x = alpha_bar[t - 1].sqrt() * beta[t] / (1 - alpha_bar[t])
            of_z = (1 - beta[t]).sqrt() * (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t])
            return of_x * guess + of_z * z

    eye = torch.eye(SIZE, dtype=torch.float64)
    encoders = [
        LinearGaussianConditional((1 - b).sqrt() * eye, eye.new_zeros(SIZE), b * eye) for b in beta
    ]
    scales = [model.scale, *posterior_variance(schedule).sqrt().tolist()]
    decoders = [GaussianConditional(Back(t), scale) for t, scale in enumerate(scales, start=1)]
    return HVAE(encoders, decoders, model.prior)


def test_diffusion_is_an_hvae_with_a_fixed_encoder():
    model = trained_shape()
    same = HVAE(model.encoders, model.decoders, model.prior)
    general = hvae_of(model)
    found = []
    for other in (model, same, general):
        torch.manual_seed(3)
        found.append(elbo(other, X, SAMPLES))
    assert torch.equal(found[0], found[1])
    close(found[2], found[0], 1e-10)
    assert not [p for encoder in forward_steps(SCHEDULE) for p in encoder.parameters()]
    # The decoders are views: what trains is the denoiser alone, once.
    assert [p.shape for p in model.parameters()] == [p.shape for p in model.denoiser.parameters()]


def test_a_trace_has_a_level_for_every_step():
    trace = trained_shape().trace(X, SAMPLES)
    assert [z.shape for z in trace.z] == [(SAMPLES, POINTS, SIZE)] * LEVELS
    assert trace.rates.shape == (LEVELS, SAMPLES, POINTS)
    assert len(trace.q) == LEVELS
    assert len(trace.p) == LEVELS + 1


def test_samples_of_the_exact_model_have_the_law_of_the_data():
    torch.manual_seed(0)
    model = exact_gaussian_diffusion(log_snr_schedule(10, 5.0, -5.0), IDEAL)
    x = model.sample(4000)
    whitened = torch.linalg.solve_triangular(
        torch.linalg.cholesky(COVARIANCE), (x - MEAN).mT, upper=False
    )
    for row in whitened:
        assert stats.kstest(row.numpy(), "norm").pvalue > 1e-6
    close(torch.cov(whitened), torch.eye(SIZE, dtype=torch.float64), 0.08)


def test_every_level_of_a_path_has_the_law_of_the_forward_process():
    # Would catch a path stored upside down, or a step too many.
    torch.manual_seed(0)
    schedule = log_snr_schedule(4, 5.0, -5.0)
    model = exact_gaussian_diffusion(schedule, IDEAL)
    path = model.descend(model.prior().sample((4000,)))
    assert [z.shape for z in path] == [(4000, SIZE)] * 5
    for t in range(1, 5):
        expected = IDEAL.marginal(schedule, t).covariance_matrix
        close(torch.cov(path[t].mT), expected, 0.1 * expected.max().item())


def test_descending_from_the_bottom_level_draws_from_the_decoder():
    model = trained_shape(scale=1e-3)
    path = model.descend(X, 1)
    assert [z.shape for z in path] == [(POINTS, SIZE)] * 2
    assert torch.equal(path[1], X)
    close(path[0], model.denoise(X, 1).detach(), 0.01)
    # Would catch the decoder's mean in place of a draw.
    spread = trained_shape(scale=0.5).descend(X[:1].expand(4000, SIZE), 1)[0].std(0)
    close(spread, torch.full((SIZE,), 0.5).double(), 0.05)


def test_the_data_denoiser_draws_its_points_alone():
    torch.manual_seed(0)
    points = torch.tensor([[-2.0, 0.0], [1.0, 1.0], [1.0, -1.0]])
    schedule = log_snr_schedule(40, 8.0, -8.0)
    model = Diffusion(schedule, DataDenoiser(points), StandardNormal(2), scale=1e-3)
    distance = torch.cdist(model.sample(300), points)
    assert distance.min(1).values.max() < 0.02
    counts = distance.argmin(1).bincount().tolist()
    assert min(counts) > 60


def test_a_fitted_model_draws_its_data():
    torch.manual_seed(0)
    x = 0.1 * torch.randn(400, 2) + torch.tensor([[1.0, -1.0]])
    denoiser = NoiseDenoiser(mlp(2 + TIME_FEATURES, 32, 2))
    model = Diffusion(log_snr_schedule(20, 5.0, -6.0), denoiser, StandardNormal(2), scale=0.08)
    before = elbo(model, x).mean()
    fit(model, x, lambda m, rows: -simple_loss(m, rows), epochs=60, lr=3e-3)
    assert elbo(model, x).mean() > before + 5
    close(model.sample(500).mean(0), torch.tensor([1.0, -1.0]), 0.15)


# --- objectives -----------------------------------------------------------------------------------


@pytest.mark.parametrize("full", [False, True])
def test_each_closed_term_is_the_kl_of_torch(full):
    # A Diffusion with variances other than β̃, and an HVAE of full covariances.
    if full:
        model = HVAE(
            forward_steps(SCHEDULE), IDEAL.decoders(SCHEDULE), StandardNormal(SIZE).double()
        )
    else:
        model = trained_shape(reverse_variance=SCHEDULE.beta[1:])
    z = model.trace(X, SAMPLES).z
    terms = three_terms(model, X, z, SCHEDULE)
    assert terms.diffusion.shape == (LEVELS - 1, SAMPLES, POINTS)
    for t in range(2, LEVELS + 1):
        q, p = reverse_posterior(SCHEDULE, z[t - 1], X, t - 1, t), model.decoders[t - 1](z[t - 1])
        wide = MultivariateNormal(q.mean, torch.diag_embed(q.variance))
        target = p if full else MultivariateNormal(p.mean, torch.diag_embed(p.variance))
        close(terms.diffusion[t - 2], kl_divergence(wide, target), 1e-9)
    standard = Normal(torch.zeros_like(X), torch.ones_like(X))
    close(
        terms.prior,
        kl_divergence(normal_of(forward_marginal(SCHEDULE, X, LEVELS)), standard).sum(-1),
        1e-10,
    )
    close(terms.reconstruction, model.decoders[0](z[0]).log_prob(X))
    close(terms.bound, terms.reconstruction - terms.diffusion.sum(0) - terms.prior)


def normal_of(distribution):
    """Torch's own Normal of the same moments, unit by unit: its KL is another formula."""
    return Normal(distribution.mean, distribution.stddev)


class Oracle(nn.Module):
    """A denoiser that knows the data point."""

    def __init__(self):
        super().__init__()
        self.register_buffer("x", X[0])

    def forward(self, z, log_snr):
        return self.x.expand(z.shape)


def test_a_tiny_diffusion_term_keeps_its_digits():
    # One mean, and variances that differ by a millionth, as they nearly do for large T.
    almost = posterior_variance(SCHEDULE) * (1 + 1e-6)
    prior = StandardNormal(SIZE).double()
    model = Diffusion(SCHEDULE, Oracle(), prior, scale=0.3, reverse_variance=almost)
    r = -math.log1p(1e-6)
    expected = SIZE * 0.5 * (r**2 / 2 + r**3 / 6)
    terms = three_terms(model, X[:1], draw_levels(SCHEDULE, X[:1])).diffusion
    torch.testing.assert_close(terms, torch.full_like(terms, expected), rtol=1e-6, atol=0)


def test_the_conditional_mean_of_the_log_ratios_is_the_closed_term():
    # Given z_t and x, redraw z_{t−1}: the generic rate, its share of level t, averages to the KL.
    torch.manual_seed(1)
    model = trained_shape()
    z = normal(1, POINTS, SIZE, seed=12)
    q, p = reverse_posterior(SCHEDULE, z, X, 3, 4), model.reverse(z, 4)
    below = q.sample((20_000,))
    ratio = (q.log_prob(below) - p.log_prob(below))[:, 0]
    latents = (*[z] * LEVELS,)
    closed = three_terms(model, X, latents).diffusion[2, 0]
    error = ratio.std(0) / math.sqrt(len(ratio))
    assert ((ratio.mean(0) - closed).abs() < 4 * error).all()


# Would catch a level left out or counted twice, and T in place of T − 1.
def test_all_estimators_agree_in_the_mean():
    torch.manual_seed(2)
    model = trained_shape()
    many = X[:1].expand(20_000, SIZE)
    with torch.no_grad():
        estimates = {
            "generic": elbo(model, many),
            "same path": three_terms(model, many, model.trace(many).z).bound[0],
            "each level by itself": diffusion_elbo(model, many),
            "one level": one_level_elbo(model, many),
        }
    reference = diffusion_elbo(model, many, 10).mean()
    for name, values in estimates.items():
        error = values.std() / math.sqrt(len(values))
        assert abs(values.mean() - reference) < 4 * error, name


def test_levels_drawn_by_themselves_are_no_path():
    torch.manual_seed(0)
    z = draw_levels(SCHEDULE, torch.zeros(1, 1, dtype=torch.float64), 20_000)
    assert [level.shape for level in z] == [(20_000, 1, 1)] * LEVELS
    for t, level in enumerate(z, start=1):
        assert level.std().item() == pytest.approx(
            math.sqrt(1 - SCHEDULE.alpha_bar[t - 1].item()), rel=0.03
        )
    correlation = torch.corrcoef(torch.stack([z[4].flatten(), z[5].flatten()]))[0, 1]
    assert abs(correlation) < 0.03


def test_the_simple_loss_is_the_weighted_error_of_the_guess():
    # With variance β̃ the diffusion term is ½ expm1(log SNR_{t−1} − log SNR_t) times the loss.
    model = trained_shape()
    z = draw_levels(SCHEDULE, X, 1)
    terms = three_terms(model, X, z).diffusion[:, 0]
    for t in range(2, LEVELS + 1):
        guess = model.denoise(z[t - 1][0], t)
        loss = SCHEDULE.snr[t - 1] * (X - guess).square().sum(-1)
        weight = 0.5 * math.expm1(SCHEDULE.log_snr[t - 2] - SCHEDULE.log_snr[t - 1])
        close(terms[t - 2], weight * loss, 1e-10)


def test_the_simple_loss_averages_over_all_levels():
    torch.manual_seed(0)
    model = trained_shape()
    many = X[:1].expand(60_000, SIZE)
    with torch.no_grad():
        found = simple_loss(model, many)
        by_level = [
            SCHEDULE.snr[t - 1]
            * (many - model.denoise(forward_marginal(SCHEDULE, many, t).sample(), t))
            .square()
            .sum(-1)
            .mean()
            for t in range(1, LEVELS + 1)
        ]
    assert found.shape == (60_000,)
    expected = torch.stack(by_level).mean().item()
    assert found.mean().item() == pytest.approx(expected, rel=0.02)


def test_the_simple_loss_of_the_ideal_denoiser_is_what_the_levels_leave_unknown():
    # SNR_t tr Cov[x | z_t], averaged over t. Would catch noise of the wrong size in z_t.
    torch.manual_seed(0)
    model = Diffusion(SCHEDULE, IDEAL, StandardNormal(SIZE).double(), scale=0.3)
    found = simple_loss(model, DATA_LAW.sample((60_000,)))
    unknown = IDEAL.covariance(SCHEDULE.log_snr).diagonal(dim1=-2, dim2=-1).sum(-1)
    expected = (SCHEDULE.snr * unknown).mean().item()
    assert abs(found.mean().item() - expected) < 4 * found.std().item() / math.sqrt(60_000)


class Zero(nn.Module):
    """A network that predicts no noise; its parameter gives it a dtype."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1).double())

    def forward(self, given):
        return self.weight * given[..., :SIZE]


def test_a_model_that_predicts_nothing_has_the_loss_of_pure_noise():
    prior = StandardNormal(SIZE).double()
    model = Diffusion(SCHEDULE, NoiseDenoiser(Zero()), prior, scale=0.3)
    loss = simple_loss(model, torch.zeros(40_000, SIZE, dtype=torch.float64))
    assert loss.mean().item() == pytest.approx(SIZE, rel=0.02)


def test_the_levels_of_a_batch_are_stratified():
    for first, last, rows in [(1, 6, 12), (2, 6, 35)]:
        counts = _stratified_levels(torch.zeros(rows, 2), first, last).bincount(minlength=last + 1)
        assert counts[:first].sum() == 0
        each = rows / (last - first + 1)
        assert (counts[first:] - each).abs().max() <= 1
    # And a row's level is not its place in the batch.
    first_rows = torch.stack([_stratified_levels(torch.zeros(6, 2), 1, 6)[0] for _ in range(600)])
    assert (first_rows.bincount(minlength=7)[1:] - 100).abs().max() < 45


def test_gradients_reach_the_denoiser():
    model = trained_shape()
    for objective in (elbo, diffusion_elbo, one_level_elbo, simple_loss):
        gradients = torch.autograd.grad(objective(model, X).sum(), list(model.parameters()))
        assert all(g.abs().max() > 0 for g in gradients), objective.__name__


def test_what_fixes_the_numbers_is_saved_and_moves_with_the_model(tmp_path):
    model = trained_shape(reverse_variance=SCHEDULE.beta[1:])
    assert {"log_snr", "reverse_scale"} <= set(model.state_dict())
    assert not any(p.requires_grad for p in model.prior.parameters())
    # There and back: the tables lose no digit in a cast, the weights lose theirs.
    tables = {"log_snr", "of_z", "of_x"}
    before = {name: model.get_buffer(name).clone() for name in tables}
    model.float()
    assert all(model.get_buffer(name).dtype == torch.float32 for name in tables)
    model.double()
    assert all(torch.equal(model.get_buffer(name), before[name]) for name in tables)
    # A file brings scale and reverse variance along, into a model that was built with others.
    save_weights(model, tmp_path / "weights")
    other = trained_shape(1, scale=0.9)
    load_weights(other, tmp_path / "weights")
    torch.manual_seed(4)
    expected = elbo(model, X, SAMPLES)
    torch.manual_seed(4)
    assert torch.equal(elbo(other, X, SAMPLES), expected)


@pytest.mark.parametrize(("steps", "what"), [(LEVELS, "schedule"), (LEVELS - 1, "path")])
def test_weights_of_another_schedule_are_refused(tmp_path, steps, what):
    # Would catch a model that goes on with weights learned at other levels of noise.
    save_weights(trained_shape(), tmp_path / "weights")
    schedule = log_snr_schedule(steps, 5.0, -4.5)
    denoiser = NoiseDenoiser(mlp(SIZE + TIME_FEATURES, 11, SIZE).double())
    other = Diffusion(schedule, denoiser, StandardNormal(SIZE).double(), scale=0.3)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(ValueError, match=what):
        load_weights(other, tmp_path / "weights")
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())


def test_the_gaussian_prior_is_its_density():
    prior = GaussianPrior(MEAN, COVARIANCE)()
    close(prior.log_prob(X), DATA_LAW.log_prob(X), 1e-10)


def test_reverse_coefficients_of_the_textbook():
    of_z, of_x, variance = reverse_coefficients(SCHEDULE, 2, 3)
    beta, alpha_bar = SCHEDULE.beta[2], SCHEDULE.alpha_bar
    close(of_z, (1 - beta).sqrt() * (1 - alpha_bar[1]) / (1 - alpha_bar[2]), 1e-10)
    close(of_x, alpha_bar[1].sqrt() * beta / (1 - alpha_bar[2]), 1e-10)
    close(variance, (1 - alpha_bar[1]) / (1 - alpha_bar[2]) * beta, 1e-10)


def test_the_last_step_draws_around_the_guess():
    model = trained_shape(scale=0.7)
    z = normal(POINTS, SIZE, seed=20)
    for p in (model.decoders[0](z), model.reverse(z, 1)):
        close(p.mean, model.denoise(z, 1))
        close(p.stddev, torch.full_like(z, 0.7))
    assert model.scale == pytest.approx(0.7, rel=1e-15)


def test_reverse_variances_are_those_given():
    z = normal(POINTS, SIZE, seed=20)
    given = SCHEDULE.beta[1:]
    model = trained_shape(reverse_variance=given)
    for t in range(2, LEVELS + 1):
        close(model.reverse(z, t).variance, given[t - 2].expand_as(z))
        close(trained_shape().reverse(z, t).variance, posterior_variance(SCHEDULE)[t - 2] + 0 * z)
    levels = torch.tensor([1, 6, 3, 5, 2])
    together = model.reverse(z, levels)
    for row, t in enumerate(levels.tolist()):
        close(together.mean[row], model.reverse(z[row], t).mean)
        close(together.stddev[row], model.reverse(z[row], t).stddev)


def test_exact_steps_of_gaussian_data_are_conditioning():
    # p(z_{t−1} | z_t) from the joint of both: another way than through q(z_{t−1} | z_t, x).
    exact = IDEAL.decoders(SCHEDULE)
    isotropic = IDEAL.decoders(SCHEDULE, reverse_variance=SCHEDULE.beta[1:])
    alpha_bar = torch.cat([torch.ones(1).double(), SCHEDULE.alpha_bar])
    eye = torch.eye(SIZE, dtype=torch.float64)
    for t, p in enumerate(exact, start=1):
        low, high = (a * COVARIANCE + (1 - a) * eye for a in (alpha_bar[t - 1], alpha_bar[t]))
        step = (alpha_bar[t] / alpha_bar[t - 1]).sqrt()
        gain = step * low @ torch.linalg.inv(high)
        close(p.weight, gain, 1e-9)
        close(p.bias, (alpha_bar[t - 1].sqrt() * eye - alpha_bar[t].sqrt() * gain) @ MEAN, 1e-9)
        covariance = p.scale_tril @ p.scale_tril.mT
        close(covariance, low - step * gain @ low, 1e-9)
        if t > 1:
            close(IDEAL.reverse_covariance(SCHEDULE)[t - 2], covariance, 1e-9)
        # Other variances, the same means; p(x | z_1) stays exact.
        other = isotropic[t - 1]
        close(other.weight, p.weight)
        wanted = SCHEDULE.beta[t - 1] * eye if t > 1 else covariance
        close(other.scale_tril @ other.scale_tril.mT, wanted, 1e-9)
