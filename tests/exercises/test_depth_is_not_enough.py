"""Chapter 8's prediction is what the two divergences say."""

import math

import torch
from torch.distributions import Normal

from companion.exact import kl_on_grid
from companion.exercises import depth_is_not_enough as own


# Would catch a prediction whose answer is not what the two divergences say.
def test_the_reversed_divergence_lies_across_both_peaks():
    z = torch.linspace(-30, 30, 6001, dtype=torch.float64)
    log_p = torch.logaddexp(Normal(-3.0, 1.0).log_prob(z), Normal(3.0, 1.0).log_prob(z))
    log_p = log_p - math.log(2)
    reversed_divergence = {
        name: kl_on_grid(log_p, Normal(m, s).log_prob(z), math.log(0.01)).item()
        for name, m, s in (("one", 3.0, 1.0), ("both", 0.0, math.sqrt(10)))
    }
    best = min(reversed_divergence, key=reversed_divergence.__getitem__)
    assert own.reversed_kl.verdict(best).startswith("✓")
    assert own.reversed_kl.verdict("one").startswith("✗ Not quite")
