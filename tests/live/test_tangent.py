"""The bound as a function of the decoder, in chapter 3, against the linear Gaussian model."""

import itertools

import pytest
import torch
from living import COMPUTED, computed, shown
from torch.distributions import Independent, Normal, kl_divergence

from companion import live
from companion.exact import LinearGaussian

X = 2.5
PHIS = [-3.5, -1.0, 0.0, 0.2, 1.3, 2.29, 4.0]

pytestmark = pytest.mark.browser


def model(phi):
    weight = torch.full((1, 1), phi, dtype=torch.float64)
    return LinearGaussian(weight, torch.zeros_like(weight[0]), scale=1.0)


@pytest.fixture(scope="module")
def figure():
    return live.figure("tangent", alt="", x=X)


def test_bound_and_gap_are_those_of_the_linear_model(browser, figure):
    states = [{"phi": phi, "old": old} for phi, old in itertools.product(PHIS, PHIS)]
    x = torch.tensor([[X]], dtype=torch.float64)
    grid = torch.linspace(-4, 4, 321, dtype=torch.float64).tolist()
    for state, values in zip(states, computed(browser, figure, states), strict=True):
        now, then = model(state["phi"]), model(state["old"])
        exact = then.posterior(x)
        q = Independent(Normal(exact.mean, exact.variance.sqrt()), 1)
        posterior = now.posterior(x)
        nearest = Independent(Normal(posterior.mean, posterior.variance.sqrt()), 1)
        assert values["logMarginal"] == pytest.approx(now.log_marginal(x).item(), abs=1e-9)
        assert values["touches"] == pytest.approx(then.log_marginal(x).item(), abs=1e-9)
        assert values["elbo"] == pytest.approx(now.elbo(x, q).item(), abs=1e-9)
        assert values["gap"] == pytest.approx(kl_divergence(q, nearest).item(), abs=1e-9)
        # The whole curve: below log p(x), with equality where q is the posterior; highest at `top`.
        best = model(values["top"]).elbo(x, q).item()
        for phi, bound in zip(grid[::16], values["bound"][::16], strict=True):
            assert bound == pytest.approx(model(phi).elbo(x, q).item(), abs=1e-6)
            assert bound <= model(phi).log_marginal(x).item() + 1e-9
            assert bound <= best + 1e-6
        assert then.elbo(x, q).item() == pytest.approx(values["touches"], abs=1e-9)


def test_steps_never_lower_log_p(browser, figure):
    tab = shown(browser, figure)

    def values(phi, old):
        state = {"phi": phi, "old": old, "from": old}
        return tab.evaluate(COMPUTED, [figure.name, [state]])[0]

    ends = {}
    for start in (0.2, -0.1, 0.0):
        phi = start
        for _ in range(6):
            before = values(phi, old=phi)
            assert before["gap"] == pytest.approx(0, abs=1e-12)
            after = values(before["top"], old=phi)
            # The M step raises the ELBO, and may open the gap; log p(x) is above both.
            assert after["elbo"] >= before["elbo"]
            assert after["gap"] >= before["gap"]
            assert after["logMarginal"] >= before["logMarginal"]
            assert after["logMarginal"] - after["elbo"] == pytest.approx(after["gap"], abs=1e-9)
            assert after["way"] == pytest.approx([phi, after["top"]] if phi else [0])
            phi = after["top"]
        ends[start] = phi
    tab.close()
    assert ends[0.2] > 1.8
    assert ends[-0.1] < -1.8
    assert ends[0.0] == 0


def test_keys_reach_the_place_that_em_never_leaves(browser, figure):
    tab = shown(browser, figure)
    q, decoder = (tab.get_by_role("slider").nth(k) for k in (0, 1))
    for handle, key in ((q, "ArrowRight"), (decoder, "ArrowLeft")):
        handle.focus()
        for _ in range(12):
            if handle.get_attribute("aria-valuenow") == "0.00":
                break
            tab.keyboard.press(key)
            tab.evaluate("() => new Promise(requestAnimationFrame)")
    tab.get_by_role("button", name="M step").click()
    tab.get_by_text("decoder φ = 0.00, q of φ = 0.00").first.wait_for()
    # A step shows the bound before any guess.
    tab.get_by_text("ELBO of q").wait_for()
    tab.close()
