"""Chapter 6's checks accept right answers written differently, and name what is wrong."""

import pytest
import torch

from companion.exercises import blurry_samples as own

# --- the prediction -------------------------------------------------------------------------------


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
