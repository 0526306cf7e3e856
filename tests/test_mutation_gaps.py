"""Tests that `make mutants` asked for: a mistake in each of these stayed unseen without them."""

import pytest
import torch
from toys import PIXELS, POINTS, SAMPLES, gaussian_vae, normal

from companion.diagnostics import mutual_information, mutual_information_gap


def test_the_gap_sees_the_order_of_a_unit_and_not_its_scale():
    # Bins hold equally many codes, so that a unit stretched by any rising function tells as much.
    factors = normal(400, 2, seed=5)
    codes = torch.cat([factors + 0.3 * normal(400, 2, seed=6), normal(400, 1, seed=7)], 1)
    expected = mutual_information_gap(codes, factors)
    assert (expected > 0.2).all()
    torch.testing.assert_close(mutual_information_gap((3 * codes).exp(), factors), expected)


def test_the_error_of_an_information_comes_from_rows_and_each_draw_meets_its_own_density():
    # A mean over draws and rows is the same in whatever order they stand; its error is not.
    vae, x = gaussian_vae(), normal(POINTS, PIXELS, seed=8)
    torch.manual_seed(3)
    found = mutual_information(vae, x, SAMPLES)
    torch.manual_seed(3)
    with torch.no_grad():
        trace = vae.trace(x, SAMPLES)
    q, z = trace.q[0], trace.z[0]
    rows = [
        torch.stack([q.log_prob(z_kn)[n] - q.log_prob(z_kn).exp().mean().log() for z_kn in z[:, n]])
        for n in range(POINTS)
    ]
    means = torch.stack(rows).mean(1)
    assert found.mean == pytest.approx(means.mean().item(), rel=1e-12)
    assert found.standard_error == pytest.approx(means.std().item() / POINTS**0.5, rel=1e-12)
