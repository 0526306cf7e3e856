"""Chapter 1's checks know what was predicted, and refuse answers that are none."""

import pytest
import torch

from companion.exercises import big_picture as own

PREDICTIONS = [own.stretched_codes, own.squared_radius]


def test_a_stranger_mistake_is_not_called_correct():
    assert own.walk.verdict(lambda start, end, steps: torch.zeros(steps, 3)).startswith("✗")


# --- predictions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [(own.stretched_codes, " The same"), (own.squared_radius, 8), (own.squared_radius, 8.02)],
)
def test_a_right_prediction_passes(prediction, answer):
    assert prediction.verdict(answer).startswith("✓ Correct.")


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_wrong_prediction_gets_its_own_reason(prediction):
    reasons = [prediction.verdict(wrong) for wrong in prediction.mistakes]
    assert all(reason.startswith("✗ Not quite") for reason in reasons)
    assert len(set(reasons)) == len(reasons)


# Would catch an answer that is wrong in itself: the mean square distance, measured.
def test_the_predicted_radius_is_the_measured_one():
    squares = torch.randn(50_000, 8).square().sum(1)
    error = squares.std() / len(squares) ** 0.5
    assert abs(squares.mean() - own.squared_radius.answer) < 4 * error
