"""Chapter 10's pencil exercises follow from the formulas they state."""

import math

import pytest
import torch
from torch.distributions import Normal

from companion.exercises import training_hvaes as own


# Would catch: a closed-form KL in place of the log-ratio, rates of the wrong order.
@pytest.mark.parametrize(("rho", "s"), [(0.9, 0.19**0.5), (0.6, 1.1)])
def test_the_rates_of_copied_noise_are_those_of_draws(rho, s):
    torch.manual_seed(0)
    z1, noise = torch.randn(2, 400_000, dtype=torch.float64)
    above = Normal(rho * z1, math.sqrt(1 - rho**2))
    z2 = above.mean + above.scale * noise
    first = (Normal(0.0, 1.0).log_prob(z1) - Normal(rho * z2, s).log_prob(z1)).mean()
    second = (above.log_prob(z2) - Normal(0.0, 1.0).log_prob(z2)).mean()
    given = (torch.tensor(value, dtype=torch.float64) for value in (rho, s))
    stated = own.rates_of_copied_noise.solution(*given)
    torch.testing.assert_close(stated, torch.stack([first, second]), rtol=0, atol=0.01)


def test_at_the_best_width_the_rates_of_copied_noise_cancel():
    rho = torch.tensor(0.9, dtype=torch.float64)
    first, second = own.rates_of_copied_noise.solution(rho, (1 - rho**2).sqrt())
    assert second == pytest.approx(0.83, abs=0.005)  # the chapter's number
    assert first + second == pytest.approx(0, abs=1e-12)
    for s in (0.3, 0.6):
        assert own.rates_of_copied_noise.solution(rho, torch.tensor(s)).sum() > 0


# Would catch: a division by M in place of M − 1, the variance of one row taken off.
def test_the_squared_signal_has_no_bias():
    torch.manual_seed(0)
    expected = torch.tensor([0.5, -0.2, 0.0], dtype=torch.float64)
    rows = expected + torch.randn(20_000, 4, 3, dtype=torch.float64)
    found = torch.stack([own.squared_signal.solution(one) for one in rows])
    assert abs(found.mean() - expected @ expected) < 4 * found.std() / len(found) ** 0.5
    assert (found < 0).any()
