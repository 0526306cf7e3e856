"""Chapter 8's predictions are what integrals say, and its inspection knows what it looks at."""

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal

from companion.exact import gaussian_floor, kl_on_grid
from companion.exercises import depth_is_not_enough as own


# Would catch a prediction whose answer is not what the two divergences say: of many Gaussians,
# the best in either direction.
def test_the_reversed_divergence_lies_across_both_peaks():
    z = torch.linspace(-40, 40, 4001, dtype=torch.float64)
    log_p = torch.logaddexp(Normal(-3.0, 1.0).log_prob(z), Normal(3.0, 1.0).log_prob(z))
    log_p = log_p - math.log(2)
    scales = torch.linspace(0.8, 4.0, 161).tolist()
    found = {}
    for mean in (0.0, 1.0, 2.0, 2.77, 3.0):
        for scale in scales:
            log_q = Normal(mean, scale).log_prob(z)
            pairs = (log_p, log_q), (log_q, log_p)
            found[mean, scale] = [kl_on_grid(*pair, math.log(0.02)).item() for pair in pairs]
    mean, scale = min(found, key=lambda place: found[place][0])
    assert mean == 0
    assert own.reversed_kl.verdict(round(scale, 2)).startswith("✓")
    assert own.reversed_kl.answer == pytest.approx(scale, abs=0.02)
    assert min(found, key=lambda place: found[place][1])[0] > 2  # the gap's best sits on a peak
    across = min(scales, key=lambda s: found[0.0, s][1])
    assert "across both peaks for KL(q ‖ p)" in own.reversed_kl.verdict(round(across, 2))
    for wrong in (1, 3, 4, 10):
        assert own.reversed_kl.verdict(wrong).startswith("✗ Not quite")


# Would catch a total correlation that an integral does not give, and det Σ without a hint.
def test_the_total_correlation_on_paper_is_that_of_an_integral():
    step = 0.05
    line = torch.arange(-9, 9 + step / 2, step, dtype=torch.float64)
    flat = torch.cartesian_prod(line, line)
    cov = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
    log_q = MultivariateNormal(torch.zeros(2).double(), cov).log_prob(flat)
    log_p = Normal(0.0, 1.0).log_prob(flat).sum(1)
    found = kl_on_grid(log_q, log_p, 2 * math.log(step)).item()
    assert own.total_correlation.answer == pytest.approx(found, abs=1e-6)
    assert own.total_correlation.verdict(round(found, 2)).startswith("✓")
    assert "det Σ" in own.total_correlation.verdict(round(torch.det(cov).item(), 2))


# Would catch floors that a Gaussian with a full covariance passes: on one peak, on both of the
# diagonal, or across all.
def test_the_floors_of_four_and_of_two_peaks_are_the_least_of_what_gaussians_pay():
    torch.manual_seed(0)
    eye = torch.eye(2).double()
    corners = 8 * torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]).double()
    across = MultivariateNormal(torch.zeros(2).double(), eye + 64 * torch.ones(2, 2).double())
    for task, number in ((own.floor_of_four_peaks, 4), (own.floor_of_two_peaks, 2)):
        p = MixtureSameFamily(
            Categorical(torch.ones(number).double()), MultivariateNormal(corners[:number], eye)
        )
        paid = []
        for q in (MultivariateNormal(corners[0], eye), across):
            z = q.sample((20_000,))
            paid.append((q.log_prob(z) - p.log_prob(z)).mean().item())
        assert min(paid) == pytest.approx(task.answer, abs=1e-3)
        assert paid[1] > paid[0] + 1
        assert task.verdict(2 * math.log(2) if number == 2 else math.log(2)).startswith(
            "✗ Not quite"
        )


# Would catch a bound that passes the floor though its r knows nothing: q(z | u) sits on the peak
# that the sign of u chooses, so q(z) itself has both.
def test_the_auxiliary_bound_without_r_is_an_average_over_single_gaussians():
    line = torch.linspace(-12, 12, 961, dtype=torch.float64)
    step = 0.025
    log_p = torch.logaddexp(Normal(-3.0, 1.0).log_prob(line), Normal(3.0, 1.0).log_prob(line))
    log_p = log_p - math.log(2)
    log_u = Normal(0.0, 1.0).log_prob(line)
    log_q = Normal(3 * line.sign(), 1.0).log_prob(line[:, None])  # rows z, columns u
    weight = (log_u + log_q).exp() * step**2
    left = (weight * (log_p[:, None] + log_u - log_u - log_q)).sum().item()  # with log p(x) = 0
    floor = gaussian_floor(line[:, None], log_p[:, None])[0].item()
    assert -left >= floor - 1e-3
    log_marginal = (log_u + log_q).logsumexp(1) + math.log(step)
    assert kl_on_grid(log_marginal, log_p, math.log(step)) < 0.01  # though q(z) is the posterior
    for right in (floor, round(floor, 3), 0.69, math.log(2)):
        assert own.auxiliary_without_r.verdict(right).startswith("✓")
    across = min(
        kl_on_grid(Normal(0.0, 2.5 + 0.02 * i).log_prob(line), log_p, math.log(step)).item()
        for i in range(25)
    )
    for wrong in (0, round(across, 2)):
        assert own.auxiliary_without_r.verdict(wrong).startswith("✗ Not quite")


# Would catch "Correct" for a number that the figure cannot follow.
@pytest.mark.parametrize("cut", [torch.Tensor.item, torch.Tensor.detach])
def test_a_mixture_gap_without_gradients_is_not_right(cut):
    said = own.mixture_gap.verdict(lambda *inputs: cut(own.mixture_gap.solution(*inputs)))
    assert said.startswith("✗ The value is right, but no gradient reaches the inputs")


# Would catch a gradient that stops at the weights alone.
def test_a_mixture_gap_whose_weights_are_constants_is_not_right():
    def answer(z, log_p, cell, weights, means, scales):
        return own.mixture_gap.solution(z, log_p, cell, weights.detach(), means, scales)

    said = own.mixture_gap.verdict(answer)
    assert said.startswith("✗ The value is right, but the gradient in `weights` is not")


GRID = torch.linspace(-16, 16, 1601, dtype=torch.float64)


def twice(log_peak):
    """Two mirror images of a peak."""
    return torch.logaddexp(log_peak(GRID), log_peak(-GRID))


# Would catch an inspection that a floor of exactly log 2 passes, or that asks for one solution.
@pytest.mark.parametrize(
    ("log_p", "said"),
    [
        (-0.5 * GRID**2 - (1 - GRID**2) ** 2 / (2 * 0.4**2), "✓ The floor is 0.752"),
        (twice(lambda z: -1.5 * (1 + (z - 5) ** 2 / 0.08).log()), "✓ The floor is 0.76"),
        (twice(lambda z: -0.5 * (z - 6) ** 2), "✗ The floor is not above log 2"),
        (twice(lambda z: -0.5 * (z - 1.5) ** 2), "✗ The floor is not above log 2"),
        (-0.5 * GRID**2, "✗ There are not exactly two peaks"),
        (-((GRID - 0.1) ** 2 - 9).square() / 8, "✗ The two halves are not mirror images"),
        (-((GRID / 14) ** 2 - 0.9).square(), "✗ The density is not nearly nothing"),
        (-((GRID**2 - 9) / 0.15).square(), "✗ The best Gaussian is as narrow or as wide"),
        (GRID[1:], "✗ The grid is not even"),
        (None, "○"),
    ],
)
def test_floors_above_log_two_are_known(log_p, said):
    assert own.above_log_two.verdict(GRID, log_p).startswith(said)


def test_a_finer_grid_and_32_bits_are_no_mistakes():
    for points, dtype in ((2401, torch.float64), (1801, torch.float32)):
        z = torch.linspace(-12, 12, points, dtype=dtype)
        log_p = -0.5 * z**2 - (1 - z**2) ** 2 / (2 * 0.4**2)
        assert own.above_log_two.verdict(z, log_p).startswith("✓ The floor is 0.752")
