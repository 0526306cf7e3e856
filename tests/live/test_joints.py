"""Both errors of a pair of Gaussians, and the KL of their joints, against the package."""

import itertools

import pytest
import torch
from living import computed, shown
from torch.distributions import MultivariateNormal, kl_divergence

from companion import LinearGaussianConditional, live
from companion.exact import LinearGaussian, gaussian_joint

VARIANCE = 1.25


def matrix(value: float) -> torch.Tensor:
    return torch.tensor([[value]], dtype=torch.float64)


@pytest.mark.browser
def test_errors_and_joint_kl_are_those_of_the_linear_model(browser):
    zero = torch.zeros(1, dtype=torch.float64)
    data = MultivariateNormal(zero, matrix(VARIANCE))
    # Points with the data's mean and variance: the errors are quadratic in x.
    points = torch.cat([matrix(VARIANCE**0.5), -matrix(VARIANCE**0.5)])
    figure = live.figure("joints", alt="", variance=VARIANCE)
    grid = itertools.product([-1.2, 0.15, 0.8], [0.15, 0.4472, 1.6], [-1.8, 0.5, 1.0], [0.15, 0.5])
    states = [{"a": a, "s": s, "w": w, "sigma": sigma} for a, s, w, sigma in grid]
    for state, values in zip(states, computed(browser, figure, states), strict=True):
        model = LinearGaussian(matrix(state["w"]), zero, scale=state["sigma"])
        encoder = LinearGaussianConditional(matrix(state["a"]), zero, matrix(state["s"] ** 2))
        modelling = kl_divergence(data, model.marginal()).item()
        inference = model.gap(points, encoder(points)).mean().item()
        inverse = model.vae().encoder
        joint = kl_divergence(
            gaussian_joint(data, encoder), gaussian_joint(model.marginal(), inverse)
        )
        assert values["modelling"] == pytest.approx(modelling, abs=1e-9)
        assert values["inference"] == pytest.approx(inference, rel=1e-9, abs=1e-9)
        assert values["joint"] == pytest.approx(joint.item(), rel=1e-9, abs=1e-9)
        assert values["joint"] == pytest.approx(modelling + inference, rel=1e-9, abs=1e-9)
        at = inverse(matrix(1.0))
        assert values["posterior"]["slope"] == pytest.approx(at.mean.item())
        assert values["posterior"]["scale"] == pytest.approx(at.variance.sqrt().item())


@pytest.mark.browser
def test_keys_make_both_errors_vanish_one_handle_after_the_other(browser):
    tab = shown(browser, live.figure("joints", alt="", variance=VARIANCE))
    tab.evaluate("""() => addEventListener("live-frame", ({ detail }) => {
      window.values = detail.values;
    })""")
    for name, key, error in [
        ("Decoder: weight", "ArrowLeft", "modelling"),
        ("Encoder: slope", "ArrowUp", "inference"),
        ("Encoder: width", "ArrowDown", "inference"),
    ]:
        tab.get_by_role("slider", name=name).focus()
        least = float("inf")
        for _ in range(400):  # further than from one end to the other
            tab.keyboard.press(key)
            tab.evaluate(
                "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
            )
            now = tab.evaluate("error => window.values[error]", error)
            if now > least:
                break
            least = now
        tab.keyboard.press({"Left": "ArrowRight", "Up": "ArrowDown", "Down": "ArrowUp"}[key[5:]])
    tab.wait_for_function("window.values.joint < 1e-9")
    tab.get_by_text("both errors are gone").first.wait_for()
    tab.close()
