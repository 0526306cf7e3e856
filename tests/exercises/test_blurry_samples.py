"""Chapter 6's checks accept right answers written differently, and name what is wrong."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from companion import VAE, GaussianConditional, StandardNormal, data, elbo_analytic, fit, mlp
from companion.exact import optimal_decoder
from companion.exercises import blurry_samples as own

# --- the predictions ------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [2 / 3, 0.67, torch.tensor(0.6667)])
def test_one_pixel_right(answer):
    assert own.one_pixel.verdict(answer).startswith("✓ Correct. The average has 1/3")


def test_one_pixel_by_hand():
    lines = torch.eye(3, dtype=torch.float64)
    error = (lines - lines.mean(0)).square().sum(1).mean()
    sharp = (lines - lines[1]).square().sum(1).mean()
    assert abs(error - own.one_pixel.answer) < 1e-12
    assert own.one_pixel.verdict(sharp.item()).startswith("✗ Not quite: that is the error of")
    nothing = lines.square().sum(1).mean()
    assert own.one_pixel.verdict(nothing.item()).endswith("What does the average leave?")


def test_the_cheapest_mixture_by_hand():
    # Would catch another winner, and errors that the hints do not have.
    w = 0.3521 / (0.1295 + 0.3521)
    shares = {"the zero": 0.0, "half of each": 0.5, "the share w": w, "the one": 1.0}
    errors = {name: (1 - w) * v**2 + w * (1 - v) ** 2 for name, v in shares.items()}
    assert min(errors, key=errors.get) == own.cheapest_mixture.answer
    assert set(errors) == {own.cheapest_mixture.answer, *own.cheapest_mixture.mistakes}
    assert f"= {errors['the share w']:.3f}" in own.cheapest_mixture.because
    assert f"costs {errors['the one']:.3f}" in own.cheapest_mixture.because
    assert f"{errors['the one']:.3f}" in own.cheapest_mixture.verdict("the one")


def test_a_copy_is_further_from_a_new_digit_than_a_little_noise():
    # Would catch a digit of the figure for which the answer is the other one, and one that is rare.
    (train,), (held_out,) = data.split(data.digits()[0])
    torch.manual_seed(1)
    noises = {
        "in the figure": 0.1 * torch.randn(1, 64),
        "all": 0.1 * torch.randn(len(held_out), 64),
    }
    errors = {}
    for name, noise in noises.items():
        new = held_out[[3]] if name == "in the figure" else held_out
        weights = (-torch.cdist(new + noise, train).square() / (2 * 0.1**2)).softmax(dim=1)
        guess = (weights @ train - new).square().sum(1)
        errors[name] = guess.mean().item(), noise.square().sum(1).mean().item()
        assert (guess > noise.square().sum(1)).float().mean() > 0.8
    assert [f"{error:.1f}" for error in errors["in the figure"]] == ["1.6", "0.7"]
    assert errors["all"][0] > 1.5 * errors["all"][1]
    assert own.nearer_to_a_new_digit.verdict("the noisy picture").startswith("✓")
    assert "at s = 0.1 in figure 6.12" in own.nearer_to_a_new_digit.verdict("the guess")


def mixing(apart):
    """Return E[w(1 − w)] for two codes so many widths apart, by quadrature."""
    z = torch.linspace(-20, 20, 40_001, dtype=torch.float64)
    one, other = (Normal(at, 1.0).log_prob(z).exp() for at in (-apart / 2, apart / 2))
    return torch.trapezoid(one * other / (2 * (one + other)), z).item()


def test_how_many_widths_apart_two_codes_must_be():
    # Would catch a tenth of 1, a half-distance, and hints that have other numbers.
    task = own.widths_apart
    assert abs(mixing(0.0) - 0.25) < 1e-9
    assert abs(mixing(task.answer) - 0.025) < 2e-5
    assert f"{mixing(3.7):.3f}" == "0.024"
    assert "At 3.7 widths the mixing is 0.024" in task.because
    cdf = Normal(0.0, 1.0).cdf
    for place, bound in ((3.29, 0.05), (3.92, 0.025)):
        assert f"{place}" in task.because
        assert abs(cdf(torch.tensor(-place / 2)) - bound) < 1e-4
    said = {1: "0.199", 2: "0.112", 2.5: "0.077", 3: "0.049", 4: "0.017", 5: "0.005", 6: "0.001"}
    for apart, number in said.items():
        assert f"{mixing(apart):.3f}" == number
        assert f"at {apart} the mixing is {number}" in task.verdict(apart)
    assert mixing(8) < 1e-4
    assert mixing(10) < 1e-6
    for right in (3.7, "3.6", 3.67):
        assert task.verdict(right).startswith("✓")
    for near in (3.5, 3.9):
        assert task.verdict(near).startswith("✗")


def test_a_larger_decoder_helps_where_codes_overlap_less():
    # Would catch the two numbers of units exchanged, and shares that are not the chapter's.
    (train,), _ = data.split(data.digits()[0])
    left, best = {}, {}
    for name, d in (("two", 2), ("eight", 8)):
        torch.manual_seed(0)
        vae = VAE(
            GaussianConditional(mlp(64, 64, 2 * d)),
            GaussianConditional(mlp(d, 64, 64), scale=0.2),
            StandardNormal(d),
        )
        fit(vae, train, elbo_analytic, epochs=40, lr=4e-3)
        with torch.no_grad():
            q = vae.encoder(train)
            z = q.sample()
            own_error = (vae.decoder(z).mean - train).square().sum(1).mean()
            least = (optimal_decoder(q, train, z) - train).square().sum(1).mean()
        larger = mlp(d, 128, 128, 64)
        adam = torch.optim.Adam(larger.parameters(), lr=5e-3)
        for _ in range(1000):
            rows = torch.randint(len(train), (128,))
            code = q.mean[rows] + q.stddev[rows] * torch.randn(128, d)
            loss = (train[rows] - larger(code)).square().sum(1).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
        with torch.no_grad():
            error = (larger(z) - train).square().sum(1).mean()
        left[name], best[name] = (error / own_error).item(), (least / own_error).item()
    assert min(left, key=left.get) == own.larger_decoder.answer
    assert set(left) == {own.larger_decoder.answer, *own.larger_decoder.mistakes}
    assert abs(left["eight"] - 0.8) < 0.05  # a fifth
    assert abs(left["two"] - 0.9) < 0.04  # a tenth
    assert abs(best["two"] - 0.85) < 0.03
    assert best["eight"] < 0.5


def test_two_widths_by_hand():
    # Would catch a lost log 2, and the roots exchanged.
    narrow, wide = Normal(-1.0, 1.0), Normal(1.0, 2.0)
    places = [own.crossing_left.answer, own.crossing_right.answer]
    z = torch.tensor(places, dtype=torch.float64)
    torch.testing.assert_close(narrow.log_prob(z), wide.log_prob(z), rtol=0, atol=1e-8)
    between, far = z.mean(), torch.tensor(-30.0)
    assert narrow.log_prob(between) > wide.log_prob(between)
    assert wide.log_prob(far) > narrow.log_prob(far)
    assert own.far_left.answer == "wide"
    alike = own.crossing_right.verdict(-1 / 3)
    assert alike.startswith("✗ Not quite: there the exponents alone are equal")
    assert own.crossing_left.verdict(z[1]).startswith("✗ Not quite: that is the larger one")
    # Variances for widths: 3 z² + 10 z + 3 = 8 log 4.
    for field, root in zip(
        (own.crossing_left, own.crossing_right), roots(math.log(4)), strict=True
    ):
        assert field.verdict(root).startswith("✗ Not quite: that has log 4")
    assert "is close" in own.crossing_left.verdict(-3.6)
    # Roots that were rounded to two decimals, or to one, still find their hints.
    assert own.crossing_right.verdict(-0.33).startswith("✗ Not quite: there the exponents")
    for rounded in (-4.0, -4.01):
        assert own.crossing_left.verdict(rounded).startswith("✗ Not quite: that has log 4")
    for rounded in (0.67, 0.673):
        assert own.crossing_right.verdict(rounded).startswith("✗ Not quite: that has log 4")


def roots(log_factor):
    return np.sort(np.roots([3, 10, 3 - 8 * log_factor]))


def test_other_losses_by_hand():
    # Would catch the mean and the median exchanged.
    weights = torch.tensor([0.2, 0.35, 0.45], dtype=torch.float64)
    levels = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
    m = torch.linspace(0.0005, 0.9995, 1999, dtype=torch.float64)[:, None]
    cross = -(levels * m.log() + (1 - levels) * (1 - m).log()) @ weights
    absolute = (levels - m).abs() @ weights
    assert abs(m[cross.argmin()] - own.best_by_cross_entropy.answer) < 1e-3
    assert abs(m[absolute.argmin()] - own.best_by_absolute_error.answer) < 1e-3
    assert own.best_by_cross_entropy.verdict(0.4).startswith("✗ Not quite: that is the median")
    assert own.best_by_absolute_error.verdict(0.59).startswith("✗ Not quite: that is the mean")


def test_the_best_variance_by_hand():
    # Would catch a root, and a second moment that is not central.
    weights = torch.tensor([0.2, 0.35, 0.45], dtype=torch.float64)
    levels = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
    variance = torch.linspace(0.05, 0.6, 5501, dtype=torch.float64)[:, None]
    mean = weights @ levels
    score = -variance.log() / 2 - (levels - mean).square() / (2 * variance)
    assert abs(variance[(score @ weights).argmax()] - own.best_variance.answer) < 2e-4
    slips = {
        "that is σ": own.best_variance.answer**0.5,
        "that is E[x²": weights @ levels.square(),
        "that is the square": mean.square(),
        "that is m (1 − m)": mean * (1 - mean),
        "that is the variance of three": levels.var(correction=0),
        "that is the spread around the median": weights @ (levels - 0.4).square(),
    }
    for hint, slip in slips.items():
        assert own.best_variance.verdict(slip).startswith(f"✗ Not quite: {hint}")


def test_frequencies_are_weights_where_the_codes_tell_nothing():
    # Would catch frequencies that are ignored or enter without a logarithm.
    p = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64)
    codes, scales = torch.zeros(3, 2).double(), torch.ones(3, 2).double()
    drawn = own.best_decoder.solution(codes, scales, p, torch.eye(3).double(), codes[:1])
    torch.testing.assert_close(drawn[0], p)


def share_of_copies(places, start, scale, *, factor=2):
    torch.manual_seed(0)
    z = start[torch.randint(len(start), (6000,))]
    z = z + scale * torch.randn_like(z)
    weights = (-torch.cdist(z, places).square() / (factor * scale**2)).softmax(1)
    return (weights.amax(1) > 0.9).double().mean().item()


def test_half_of_the_draws_are_copies_at_the_stated_width():
    digits, _ = data.digits()
    answer, reach = own.copying_width.answer, own.copying_width.tolerance
    assert share_of_copies(digits, digits, answer - reach) > 0.52
    assert share_of_copies(digits, digits, answer + reach) < 0.48
    # The mistakes: no 2 in the exponent, other widths, the plane of codes, and new digits.
    hints = own.copying_width.mistakes.items()
    (forgotten,) = (width for width, hint in hints if "forgotten 2" in hint)
    assert abs(share_of_copies(digits, digits, forgotten, factor=1) - 0.5) < 0.03
    assert share_of_copies(digits, digits, 0.1) > 0.99
    assert abs(share_of_copies(digits, digits, 0.5) - 1 / 26) < 0.01
    assert share_of_copies(digits, digits, 1.0) < 0.001
    centred = digits - digits.mean(0)
    axes = torch.linalg.eigh(torch.cov(centred.mT)).eigenvectors[:, -2:]
    codes = centred @ axes / (centred @ axes).std(0)
    assert abs(share_of_copies(codes, codes, 0.015) - 0.5) < 0.05
    (train,), (held_out,) = data.split(digits)
    assert abs(share_of_copies(train, held_out, 0.2) - 0.5) < 0.05


def test_the_score_is_the_gradient_of_the_log_density():
    # Would catch weights of another width, and a sum in the place of an average.
    torch.manual_seed(0)
    codes, z = torch.randn(6, 2).double(), torch.randn(4, 2).double()
    step = 1e-6

    def log_q(z):
        return (
            (-torch.cdist(z, codes).square() / (2 * 0.7**2)).exp().mean(1) / (2 * math.pi * 0.49)
        ).log()

    for unit in range(2):
        move = torch.zeros(2).double()
        move[unit] = step
        slope = (log_q(z + move) - log_q(z - move)) / (2 * step)
        found = own.score.solution(codes, 0.7, z)[:, unit]
        torch.testing.assert_close(found, slope, rtol=1e-6, atol=1e-6)
