"""Chapter 10's checks accept right answers written differently."""

import numpy as np
import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from companion import exercises
from companion.exercises import training_hvaes as own
from companion.train import linear_warm_up

FUNCTIONS = [
    own.free_bits_charge,
    own.norm_per_level,
    own.two_level_elbo,
    own.warm_up,
    own.information_per_level,
]
PREDICTIONS = [own.elbo_from_rates, own.rate_without_information]


def test_the_chapter_offers_them_all():
    assert set(exercises.chapter(10).exercises) == {e.name for e in [*FUNCTIONS, *PREDICTIONS]}


# --- right answers, written differently ---------------------------------------------------------


def charge_by_loop(rates, free):
    total = 0.0
    for level in rates:
        mean = sum(level.tolist()) / len(level)
        total += mean if mean > free else free
    return total


def charge_by_where(rates, free):
    means = torch.einsum("lb->l", rates) / rates.shape[1]
    return torch.where(means > free, means, free).sum()


def norms_by_dot(gradients):
    vectors = [torch.nn.utils.parameters_to_vector(level) for level in gradients]
    return [torch.dot(v, v).item() ** 0.5 for v in vectors]


def norms_of_norms(gradients):
    return torch.tensor([np.linalg.norm([g.norm().item() for g in level]) for level in gradients])


def elbo_from_joint_densities(x, eps1, eps2, encode1, encode2, decode2, log_likelihood):
    def gaussian(mu, logvar):
        return Independent(Normal(mu, logvar.exp().sqrt()), 1)

    q1 = gaussian(*encode1(x))
    z1 = q1.mean + q1.stddev * eps1
    q2 = gaussian(*encode2(z1))
    z2 = q2.mean + q2.stddev * eps2
    prior = MultivariateNormal(torch.zeros(z2.shape[1]).to(z2), torch.eye(z2.shape[1]).to(z2))
    log_p = log_likelihood(z1) + gaussian(*decode2(z2)).log_prob(z1) + prior.log_prob(z2)
    return log_p - q1.log_prob(z1) - q2.log_prob(z2)


def warm_up_by_branches(epoch, length):
    if epoch >= length:
        return 1
    return epoch * (1 / length)


def warm_up_by_the_package(epoch, length):
    return linear_warm_up(length)(epoch)


def information_by_entropies(covariance, sizes):
    """½ log of the ratio of the covariance of z_i before and after x is known."""
    n = sizes[0]
    inside, found, start = covariance[:n, :n], [], n
    for size in sizes[1:]:
        here = slice(start, start + size)
        cross = covariance[here, :n]
        rest = covariance[here, here] - cross @ torch.linalg.solve(inside, cross.mT)
        found.append(0.5 * (torch.logdet(covariance[here, here]) - torch.logdet(rest)).item())
        start += size
    return found


def information_by_kl(covariance, sizes):
    """KL of the joint from the product of the marginals."""
    n, found, start = sizes[0], [], sizes[0]
    for size in sizes[1:]:
        index = torch.cat([torch.arange(n), torch.arange(start, start + size)])
        joint = covariance[index][:, index]
        apart = torch.block_diag(joint[:n, :n], joint[n:, n:])
        zero = joint.new_zeros(n + size)
        found.append(
            kl_divergence(MultivariateNormal(zero, joint), MultivariateNormal(zero, apart))
        )
        start += size
    return torch.stack(found)


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        (own.free_bits_charge, charge_by_loop),
        (own.free_bits_charge, charge_by_where),
        (own.norm_per_level, norms_by_dot),
        (own.norm_per_level, norms_of_norms),
        (own.two_level_elbo, elbo_from_joint_densities),
        (own.warm_up, warm_up_by_branches),
        (own.warm_up, warm_up_by_the_package),
        (own.information_per_level, information_by_entropies),
        (own.information_per_level, information_by_kl),
    ],
)
def test_a_right_answer_written_differently_passes(exercise, answer):
    assert exercise.verdict(answer) == "✓ Correct."


def test_the_numbers_of_the_table_follow_from_the_formula():
    assert own.elbo_from_rates.answer == pytest.approx(25.8 - sum([8.2, -0.4, 3.0]))
    q = Normal(torch.tensor([2.0, 0.0]), 1.0)
    assert kl_divergence(q, Normal(0.0, 1.0)).sum() == 2.0  # the rate that the exercise states
