"""The gradient near the collapsed corner, and where paths end, against autograd and the optimum."""

import itertools
import math

import pytest
import torch
from living import computed

from companion import live
from companion.exact import optimal_linear_vae


@pytest.mark.browser
def test_slopes_are_those_of_the_elbo(browser):
    states = [
        {"v": v, "w": w, "a": a}
        for v, w, a in itertools.product([0.5, 1.0, 2.5], [-1.3, 0.4, 1.7], [-0.6, 0.9])
    ]
    found = computed(browser, live.figure("corner", alt=""), states)
    for state, values in zip(states, found, strict=True):
        w, a = (torch.tensor(state[name], dtype=torch.float64, requires_grad=True) for name in "wa")
        s2 = 1 / (1 + w.detach() ** 2)  # the best: its own slope is zero
        missed = state["v"] * (1 - w * a) ** 2 + w**2 * s2
        rate = (state["v"] * a**2 + s2 - 1 - s2.log()) / 2
        slopes = torch.autograd.grad(-missed / 2 - rate, (w, a))
        assert values["slope"] == pytest.approx([slope.item() for slope in slopes], abs=1e-9)


@pytest.mark.browser
def test_paths_end_in_the_corner_up_to_variance_one_and_at_the_optimum_above(browser):
    starts = [(1.4, 0.9), (-1.0, 1.5), (0.3, -0.2)]
    states = [{"v": v, "w": w, "a": a} for v in (0.5, 2.5) for w, a in starts]
    found = computed(browser, live.figure("corner", alt=""), states)
    for state, values in zip(states, found, strict=True):
        if state["v"] < 1:
            assert values["end"] == pytest.approx([0, 0], abs=1e-3)
            assert values["told"] < 1e-5
            continue
        # Variance 2.5, and a dull pixel.
        x = math.sqrt(2.5) * torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
        model, encoder = optimal_linear_vae(x, 1, scale=1.0)
        assert abs(values["end"][0]) == pytest.approx(model.weight.norm().item(), abs=1e-3)
        assert abs(values["end"][1]) == pytest.approx(
            (encoder(x).mean[0, 0] / x[0, 0]).abs().item(), abs=1e-3
        )
        # Its aggregate is the prior, so that information and rate agree.
        assert values["told"] == pytest.approx(0.5 * math.log(2.5), abs=1e-3)
