"""Chapter 3's checks know what was predicted, and their solutions hold against other truths."""

import torch

from companion.exercises import elbo as own

PREDICTIONS = [own.constant_weights, own.best_width]


# --- predictions ----------------------------------------------------------------------------------


# Would catch a right number that does not belong to the question's model.
def test_constant_weights():
    posterior = torch.tensor([0.25, 0.45, 0.3], dtype=torch.float64)
    q = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    gap = own.kl_tables.solution(q, posterior).item()
    assert own.constant_weights.verdict(round(gap, 2)).startswith("✓")
    assert own.constant_weights.verdict(gap).startswith("✓")
    assert "log p(x) of the part" in own.constant_weights.verdict(0)
    assert "above log p(x)" in own.constant_weights.verdict(-1.39)
    assert "in bits" in own.constant_weights.verdict(2)
    assert "where does the logarithm go" in own.constant_weights.verdict(0.25)
    assert "Not 17" in own.constant_weights.verdict(17)


# The chapter's model: z ~ N(0, 1), x | z ~ N(z + z², 0.8²), at x = 1.6.
def test_the_best_gaussian_is_narrower_than_the_posterior():
    z = torch.linspace(-8, 8, 4001).double()
    log_joint = -0.5 * z.square() - 0.5 * ((1.6 - z - z.square()) / 0.8).square()
    posterior = log_joint.softmax(0)
    mean = (posterior * z).sum()
    deviation = (posterior * (z - mean).square()).sum().sqrt()

    def gap(mean, scale):
        q = (-0.5 * ((z - mean) / scale).square()).softmax(0)
        return own.kl_tables.solution(q, posterior).item()

    gaps = {(m / 20, s / 20): gap(m / 20, s / 20) for m in range(-50, 31) for s in range(3, 31)}
    assert min(gaps, key=gaps.__getitem__)[1] < 0.6 * deviation
    assert own.best_width.verdict("Narrower").startswith("✓")
    assert "nearly zero" in own.best_width.verdict("wider")
    assert "moments" in own.best_width.verdict("equal")
