"""`gaussian_kl` against mpmath, near the prior and at the edge of each dtype's range."""

import math

import mpmath
import pytest
import torch

from companion import gaussian_kl

both = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.float64, 1e-9)], ids=["32", "64"]
)
RUNGS = [0.0, 1e-30, 1e-9, 3e-7, 1e-5, 4e-4, 1.5e-3, 0.02, 0.3, 2.0, 11.0, 60.0]
VALUES = [sign * rung for rung in RUNGS for sign in (1, -1)]


def exact_kl(mu, logvar):
    """The KL of the numbers as the dtype holds them, with 60 digits."""
    with mpmath.workdps(60):
        return (mpmath.mpf(mu) ** 2 + mpmath.expm1(mpmath.mpf(logvar)) - mpmath.mpf(logvar)) / 2


# Would catch exp(v) − 1 − v for expm1(v) − v: it has no right digit below v = 1e-4 in float32.
@both
def test_small_and_moderate_arguments(dtype, tolerance):
    mu, logvar = torch.cartesian_prod(torch.tensor(VALUES), torch.tensor(VALUES)).to(dtype).T
    kl = gaussian_kl(mu, logvar)
    assert (kl >= -1e-12).all()
    for m, v, got in zip(mu.tolist(), logvar.tolist(), kl.tolist(), strict=True):
        exact = exact_kl(m, v)
        if exact > 1e-6:
            assert abs(got - exact) <= tolerance * exact, (m, v)
        else:
            assert abs(got - exact) <= 1e-9, (m, v)


# Would catch a detached or missing term. Near the prior autograd's own rounding, one unit in the
# last place of 1, is all that is asked for.
@both
def test_gradients(dtype, tolerance):
    mu, logvar = torch.cartesian_prod(torch.tensor(VALUES), torch.tensor(VALUES)).to(dtype).T
    mu, logvar = mu.clone().requires_grad_(), logvar.clone().requires_grad_()
    gaussian_kl(mu, logvar).sum().backward()
    torch.testing.assert_close(mu.grad, mu.detach())
    for v, got in zip(logvar.tolist(), logvar.grad.tolist(), strict=True):
        exact = mpmath.expm1(mpmath.mpf(v)) / 2
        assert abs(got - exact) <= tolerance * abs(exact) + torch.finfo(dtype).eps, v


# Would catch a square or an exponential that overflows though its half would not.
@both
def test_the_edge_of_the_range(dtype, tolerance):
    limit = torch.finfo(dtype).max / 4
    # Each has a KL just below the limit: from μ alone, from σ² alone, from both, from −log σ².
    roots = [math.sqrt(2 * limit), math.sqrt(limit)]
    logs = [math.log(2 * limit), math.log(limit)]
    cases = [(roots[0], 0.0), (0.0, logs[0]), (roots[1], logs[1]), (0.0, -limit), (-roots[0], 0.0)]
    mu, logvar = (torch.tensor(cases, dtype=torch.float64) * (1 - 1e-5)).to(dtype).T
    mu, logvar = mu.clone().requires_grad_(), logvar.clone().requires_grad_()
    kl = gaussian_kl(mu, logvar)
    assert kl.isfinite().all()
    kl.sum().backward()
    assert mu.grad.isfinite().all()
    assert logvar.grad.isfinite().all()
    for m, v, got in zip(mu.tolist(), logvar.tolist(), kl.tolist(), strict=True):
        exact = exact_kl(m, v)
        assert limit / 1e3 < exact < limit
        assert abs(got - exact) <= tolerance * exact
