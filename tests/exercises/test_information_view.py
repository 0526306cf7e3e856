"""Chapter 4's checks accept right answers written differently, and know what was predicted."""

import math

import pytest
import torch
from torch.distributions import Categorical, MultivariateNormal, Normal, kl_divergence

from companion import exercises
from companion.conditionals import LinearGaussianConditional
from companion.exact import DiscreteModel, LinearGaussian, gaussian_joint
from companion.exercises import information_view as own

CORRECT = "✓ Correct."


def joint_kl_by_torch(p_data, q, prior, likelihood):
    inference = Categorical((p_data.unsqueeze(1) * q).reshape(-1))
    generative = Categorical(torch.einsum("z,zx->xz", prior, likelihood).reshape(-1))
    return kl_divergence(inference, generative)


def joint_kl_by_loops(p_data, q, prior, likelihood):
    total = 0.0
    for x in range(len(p_data)):
        for z in range(len(prior)):
            ratio = p_data[x] * q[x, z] / (prior[z] * likelihood[z, x])
            total += float(p_data[x] * q[x, z] * math.log(ratio))
    return total


def joint_kl_by_the_chain_rule(p_data, q, prior, likelihood):
    model = DiscreteModel(prior, likelihood)
    return (p_data * (p_data.log() - model.log_marginal() + model.gap(q))).sum()


def inference_error_by_torch(p_data, q, posterior):
    return torch.dot(p_data, kl_divergence(Categorical(q), Categorical(posterior)))


def inference_error_from_the_joints(p_data, q, posterior):
    left, right = p_data[:, None] * q, p_data[:, None] * posterior
    return (left * (left.log() - right.log())).sum()


def average_elbo_by_torch(joint_kl, p_data):
    return float(-(joint_kl + Categorical(p_data).entropy()))


def average_elbo_safe_at_zero(joint_kl, p_data):
    return torch.xlogy(p_data, p_data).sum() - joint_kl


def mismatch_by_subtraction(q_joint, p_joint):
    q_z, p_z = q_joint.sum(0), p_joint.sum(0)
    return (q_joint * (q_joint / p_joint).log()).sum() - (q_z * (q_z / p_z).log()).sum()


def mismatch_by_loops(q_joint, p_joint):
    total = 0.0
    for q_column, p_column in zip(q_joint.mT, p_joint.mT, strict=True):
        weight = q_column.sum()
        inner = kl_divergence(Categorical(q_column / weight), Categorical(p_column))
        total = total + weight * inner
    return total


def gaussian_error_by_quadrature(slope, scale, posterior_slope, posterior_scale, data_variance):
    x = torch.linspace(-9, 9, 2001, dtype=torch.float64)[:, None] * data_variance.sqrt()
    weight = Normal(0.0, data_variance.sqrt()).log_prob(x).exp()
    gap = kl_divergence(Normal(slope * x, scale), Normal(posterior_slope * x, posterior_scale))
    return torch.trapezoid(weight * gap, x, dim=0)


def gaussian_error_by_joints(slope, scale, posterior_slope, posterior_scale, data_variance):
    zero = torch.zeros(1, dtype=torch.float64)
    data = MultivariateNormal(zero, data_variance.reshape(1, 1))

    def joint(gain, spread):
        law = LinearGaussianConditional(gain.reshape(1, 1), zero, spread.reshape(1, 1) ** 2)
        return gaussian_joint(data, law)

    exact = joint(posterior_slope, posterior_scale)
    return torch.stack([kl_divergence(joint(a, scale), exact) for a in slope])


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        (own.joint_kl, joint_kl_by_torch),
        (own.joint_kl, joint_kl_by_loops),
        (own.joint_kl, joint_kl_by_the_chain_rule),
        (own.inference_error, inference_error_by_torch),
        (own.inference_error, inference_error_from_the_joints),
        (own.average_elbo, average_elbo_by_torch),
        (own.average_elbo, average_elbo_safe_at_zero),
        (own.decoder_mismatch, mismatch_by_subtraction),
        (own.decoder_mismatch, mismatch_by_loops),
        (own.gaussian_inference_error, gaussian_error_by_quadrature),
        (own.gaussian_inference_error, gaussian_error_by_joints),
    ],
    ids=lambda value: getattr(value, "__name__", None) or value.name,
)
def test_right_answers_written_differently(exercise, answer):
    assert exercise.verdict(answer) == CORRECT


def test_the_chapter_offers_six():
    names = ["joint_kl", "inference_error", "average_elbo", "change_of_units", "decoder_mismatch"]
    assert list(exercises.chapter(4).exercises) == [*names, "gaussian_inference_error"]


# Would catch a wrong sign, base or number of coordinates in the answer that the check knows.
def test_the_change_of_units_is_what_the_elbo_does():
    weight = torch.tensor([[0.8, 0.1], [0.3, -0.5], [0.0, 0.7]], dtype=torch.float64)
    x = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    metres = LinearGaussian(weight, torch.zeros(3, dtype=torch.float64), scale=0.4)
    centimetres = LinearGaussian(100 * weight, torch.zeros(3, dtype=torch.float64), scale=40.0)
    q = Normal(torch.zeros(7, 2, dtype=torch.float64), 0.6)
    q = torch.distributions.Independent(q, 1)
    change = (centimetres.elbo(100 * x, q) - metres.elbo(x, q)).mean().item()
    assert own.change_of_units.verdict(change).startswith(CORRECT)
    assert own.change_of_units.verdict(round(change, 2)).startswith(CORRECT)
    assert "three" in own.change_of_units.verdict(change / 3)
    assert "sign" in own.change_of_units.verdict(-change)
