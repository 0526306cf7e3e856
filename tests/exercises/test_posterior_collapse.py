"""Chapter 7's checks accept right answers written differently, and know what was predicted."""

import math

from companion import exercises
from companion.exercises import posterior_collapse as own

CORRECT = "✓ Correct."


def test_the_predicted_cap():
    assert own.minibatch_cap.verdict(4.16).startswith(CORRECT)
    assert "whole data set" in own.minibatch_cap.verdict(math.log(50_000))
    assert "in bits" in own.minibatch_cap.verdict(6)


def test_the_catalogue_holds_the_books_mistakes():
    # Numbers 7, 11 and 19 of the known bugs: view for transpose, mean for sample, minibatches.
    names = {
        exercise: [mistake.name for mistake in exercises.chapter(7).exercises[exercise].mistakes]
        for exercise in ("information_from_samples", "honest_elbo")
    }
    assert any("transpose" in name for name in names["information_from_samples"])
    assert any("minibatches" in name for name in names["information_from_samples"])
    assert any("posterior mean" in name for name in names["honest_elbo"])
