"""Chapter 10's predictions follow from the formulas they state."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from companion.exercises import training_hvaes as own


def test_the_numbers_of_the_table_follow_from_the_formula():
    assert own.elbo_from_rates.answer == pytest.approx(25.8 - sum([8.2, -0.4, 3.0]))
    q = Normal(torch.tensor([2.0, 0.0]), 1.0)
    assert kl_divergence(q, Normal(0.0, 1.0)).sum() == 2.0  # the rate that the exercise states
