"""Chapter 11's predictions, and the underflow that an exercise asks to avoid."""

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal

from companion.diffusion import Schedule, log_snr_schedule
from companion.exercises import diffusion_preview as own


def weights(schedule):
    """What the diffusion terms weigh the error of the noise with, t = 2 … T."""
    return 0.5 * torch.expm1(-schedule.log_snr.diff())


def test_predictions():
    straight = weights(log_snr_schedule(50, 6.0, -6.0))
    assert own.straight_weight.answer == pytest.approx(straight[0].item(), abs=1e-3)
    assert straight.max() - straight.min() < 1e-12
    assert own.straight_weight.verdict(0.1387).startswith("✓ Correct.")
    assert own.straight_weight.verdict(0.2773).startswith("✗ Not quite: that is SNR")
    two, three = weights(Schedule(torch.tensor([0.9, 0.8, 0.5]).logit())).tolist()
    assert own.weight_ratio.answer == pytest.approx(three / two, abs=1e-5)
    assert own.weight_ratio.verdict(12 / 5).startswith("✓ Correct.")
    assert own.weight_ratio.verdict(0.6).startswith("✗ Not quite: those are the weights")
    assert own.enough_steps.verdict(50).startswith("✓ Correct.")
    assert own.enough_steps.verdict(20).startswith("✗ Not quite: at T = 20")


def test_the_underflow_is_real():
    # The far z of the ideal denoiser would otherwise not ask for logarithms at all.
    points = MixtureSameFamily(
        Categorical(torch.ones(2)), Normal(torch.tensor([0.0, 1.0]), 0.1**0.5)
    )
    assert points.log_prob(torch.tensor(20.0)).double().exp() < 1e-300
