"""Chapter 11's prediction, and the underflow that an exercise asks to avoid."""

import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal

from companion.exercises import diffusion_preview as own


def test_predictions():
    assert own.halving.verdict(0.5).startswith("✓ Correct.")
    assert own.halving.verdict(0.25).startswith("✗ Not quite: that is what one step's")
    assert own.halving.verdict(0.7).startswith("✗")


def test_the_underflow_is_real():
    # The far z of the ideal denoiser would otherwise not ask for logarithms at all.
    points = MixtureSameFamily(
        Categorical(torch.ones(2)), Normal(torch.tensor([0.0, 1.0]), 0.1**0.5)
    )
    assert points.log_prob(torch.tensor(20.0)).double().exp() < 1e-300
