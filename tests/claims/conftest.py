"""Pairs of models on digits, for the claims of chapter 1 and of appendix A1."""

import pytest
import torch
from pairs import SEEDS, fitted_pair, generate

from companion import data


@pytest.fixture(scope="module")
def digits():
    (train,), (held_out,) = data.split(data.digits()[0], held_out=0.3)
    return train, held_out


@pytest.fixture(scope="module")
def digit_pairs(digits):
    return [fitted_pair(digits[0], 8, seed, epochs=40, lr=4e-3) for seed in SEEDS]


@pytest.fixture(scope="module")
def digit_samples(digits, digit_pairs):
    torch.manual_seed(1)
    return [generate(*pair, digits[0]) for pair in digit_pairs]
