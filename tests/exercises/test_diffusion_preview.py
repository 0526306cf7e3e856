"""Chapter 11's checks accept right answers written differently."""

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal

from companion import exercises
from companion.diffusion import DataDenoiser, Schedule, forward_marginal
from companion.diffusion import reverse_posterior as package_posterior
from companion.exercises import diffusion_preview as own


def test_the_chapter_offers_them_all():
    assert set(exercises.chapter(11).exercises) == {
        "noisy",
        "alpha_bar_from_beta",
        "reverse_posterior",
        "guess_from_noise",
        "diffusion_term",
        "one_random_level",
        "ideal_guess",
        "halving",
        "information",
    }


def levels(*alpha_bar):
    """A schedule with these ᾱ."""
    return Schedule(torch.tensor(alpha_bar, dtype=torch.float64).logit())


def noisy_by_the_package(x, eps, alpha_bar):
    rows = []
    for row, noise, a in zip(x, eps, alpha_bar, strict=True):
        q = forward_marginal(levels(a.item(), a.item() / 2), row, 1)
        rows.append(q.mean + q.stddev * noise)
    return torch.stack(rows)


def alpha_bar_by_a_loop(beta):
    left, found = 1.0, []
    for b in beta:
        left = left * (1 - b)
        found.append(left)
    return torch.stack(found)


def alpha_bar_by_logarithms(beta):
    return torch.log1p(-beta).cumsum(0).exp()


def posterior_by_precisions(x, z, alpha_bar_s, alpha_bar_t):
    # Two Gaussians in z_s: q(z_s | x), and the step's likelihood seen from z_t.
    step = alpha_bar_t / alpha_bar_s
    precision = 1 / (1 - alpha_bar_s) + step / (1 - step)
    pull = alpha_bar_s**0.5 * x / (1 - alpha_bar_s) + step**0.5 * z / (1 - step)
    return pull / precision, 1 / precision


def posterior_by_the_package(x, z, alpha_bar_s, alpha_bar_t):
    q = package_posterior(levels(alpha_bar_s, alpha_bar_t), z, x, 1, 2)
    return q.mean, q.variance[0, 0]


def posterior_by_conditioning(x, z, alpha_bar_s, alpha_bar_t):
    # The joint covariance of (z_s, z_t) given x.
    cov = (alpha_bar_t / alpha_bar_s) ** 0.5 * (1 - alpha_bar_s)
    gain = cov / (1 - alpha_bar_t)
    return (
        alpha_bar_s**0.5 * x + gain * (z - alpha_bar_t**0.5 * x),
        torch.tensor(1 - alpha_bar_s - gain * cov),
    )


def guess_by_rescaling(z, eps_hat, alpha_bar):
    snr = alpha_bar / (1 - alpha_bar)
    return z / alpha_bar.sqrt().unsqueeze(1) - eps_hat / snr.sqrt().unsqueeze(1)


def term_as_a_kl(x, x_hat, snr_s, snr_t):
    schedule = levels(snr_s / (1 + snr_s), snr_t / (1 + snr_t))
    q, p = (package_posterior(schedule, 0 * x, value, 1, 2) for value in (x, x_hat))
    return torch.distributions.kl_divergence(q, p)


def term_by_a_norm(x, x_hat, snr_s, snr_t):
    return (snr_s - snr_t) / 2 * torch.linalg.vector_norm(x - x_hat, dim=1) ** 2


def level_by_gather(terms, t):
    return terms.shape[0] * terms.gather(0, (t - 2)[None])[0]


def level_by_a_loop(terms, t):
    return torch.stack([terms[level - 2, i] * terms.shape[0] for i, level in enumerate(t.tolist())])


def guess_by_the_package(z, data, alpha_bar):
    log_snr = torch.tensor(alpha_bar, dtype=z.dtype).logit().expand(len(z))
    return DataDenoiser(data)(z, log_snr)


def guess_by_log_probabilities(z, data, alpha_bar):
    points = MultivariateNormal(
        alpha_bar**0.5 * data, (1 - alpha_bar) * torch.eye(data.shape[1], dtype=data.dtype)
    )
    log_joint = points.log_prob(z[:, None])
    weight = (log_joint - log_joint.logsumexp(1, keepdim=True)).exp()
    return torch.einsum("bn,nd->bd", weight, data)


def information_by_entropies(eigenvalues, snr):
    alpha_bar = (snr / (1 + snr))[:, None]
    marginal = Normal(0.0, (alpha_bar * eigenvalues + 1 - alpha_bar).sqrt()).entropy()
    return (marginal - Normal(0.0, (1 - alpha_bar).sqrt()).entropy()).sum(1)


def information_by_a_determinant(eigenvalues, snr):
    eye = torch.eye(len(eigenvalues), dtype=eigenvalues.dtype)
    return torch.stack([torch.logdet(eye + s * torch.diag(eigenvalues)) / 2 for s in snr])


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        (own.noisy, noisy_by_the_package),
        (own.alpha_bar_from_beta, alpha_bar_by_a_loop),
        (own.alpha_bar_from_beta, alpha_bar_by_logarithms),
        (own.reverse_posterior, posterior_by_precisions),
        (own.reverse_posterior, posterior_by_the_package),
        (own.reverse_posterior, posterior_by_conditioning),
        (own.guess_from_noise, guess_by_rescaling),
        (own.diffusion_term, term_as_a_kl),
        (own.diffusion_term, term_by_a_norm),
        (own.one_random_level, level_by_gather),
        (own.one_random_level, level_by_a_loop),
        (own.ideal_guess, guess_by_the_package),
        (own.ideal_guess, guess_by_log_probabilities),
        (own.information, information_by_entropies),
        (own.information, information_by_a_determinant),
    ],
)
def test_right_answers_pass(exercise, answer):
    assert exercise.verdict(answer) == "✓ Correct."


def test_predictions():
    assert own.halving.verdict(0.5).startswith("✓ Correct.")
    assert own.halving.verdict(0.25).startswith("✗ Not quite: that is what one step's")
    assert own.halving.verdict(0.7).startswith("✗")


def test_the_underflow_is_real():
    # The probe's last case would otherwise not ask for logarithms at all.
    points = MixtureSameFamily(
        Categorical(torch.ones(2)), Normal(torch.tensor([0.0, 1.0]), 0.1**0.5)
    )
    assert points.log_prob(torch.tensor(20.0)).double().exp() < 1e-300
