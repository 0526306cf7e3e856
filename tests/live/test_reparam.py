"""Frozen noise: the figure's gradients, draw by draw, are those of the package's estimators."""

import itertools

import pytest
import torch
from living import computed, shown
from torch.distributions import Independent, Normal

from companion import live, pathwise, score_function
from companion.exact import latent_grid

X, SCALE = 1.0, 1.2


class Frozen(Normal):
    """A Gaussian whose draws are made of given noise."""

    def __init__(self, eps, loc, scale):
        super().__init__(loc, scale)
        self.eps = eps

    def rsample(self, sample_shape=()):
        return (self.loc + self.scale * self.eps).expand(*sample_shape, *self.eps.shape)

    def sample(self, sample_shape=()):
        return self.rsample(sample_shape).detach()


def f(z):
    z = z[..., 0]
    return Normal(z + 0.6 * torch.sin(2 * z), SCALE).log_prob(torch.tensor(X))


@pytest.mark.browser
@pytest.mark.claim("live.forward")
def test_each_draw_has_the_gradients_of_the_estimators(browser):
    noise = torch.randn(20, 12, dtype=torch.float64)
    figure = live.figure("reparam", alt="", x=X, scale=SCALE, noise=noise)
    states = [
        {"mean": m, "spread": s, "noise": n}
        for m, s, n in itertools.product([-1.6, -0.9, 0.3, 1.6], [0.2, 0.6, 1.0], [0, 7, 20])
    ]
    grid, log_cell = latent_grid(1, 4001, 12.0)
    weight = (Normal(0.0, 1.0).log_prob(grid) + log_cell).exp()[:, 0]
    for state, values in zip(states, computed(browser, figure, states), strict=True):
        eps = noise[state["noise"] % 20][:, None]
        leaf = torch.tensor([state["mean"], state["spread"]], dtype=torch.float64)
        for estimator, found in [
            (pathwise, values["pathwise"]),
            (score_function, values["scored"]),
        ]:
            copies = leaf.expand(12, 2).clone().requires_grad_()
            q = Independent(Frozen(eps, copies[:, :1], copies[:, 1:]), 1)
            expected = torch.autograd.grad(estimator(q, f, 1).sum(), copies)[0]
            got = torch.tensor([found["mean"], found["spread"]], dtype=torch.float64).T
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-9)
        leaf.requires_grad_()
        value = (weight * f(leaf[0] + leaf[1] * grid)).sum()
        exact = torch.autograd.grad(value, leaf)[0]
        got = torch.tensor(
            [values["exact"]["mean"], values["exact"]["spread"]], dtype=torch.float64
        )
        torch.testing.assert_close(got, exact, rtol=0, atol=1e-6)


MOVES = """() => {
  const { spec } = live.require("figures/reparam.js").default;
  const { decoded } = live.require("mount.js");
  const data = decoded(JSON.parse(
    document.querySelector('figure.live script[type="application/json"]').textContent));
  let state = spec.start;
  const [peak, flank] = spec.handles.map(({ move }) => move);
  return [
    () => flank(state, [state.mean + 0.8, 0]),
    () => flank(state, [state.mean + 0.9, 0]),
    () => peak(state, [-0.5, 0]),
    () => spec.controls[0].press(state, data),
  ].map((step) => {
    state = { ...state, ...step() };
    const values = spec.compute(state, data);
    return [state, values, spec.says(state, values)];
  });
}"""


@pytest.mark.browser
def test_the_draw_that_goes_farthest_has_the_largest_noise(browser):
    noise = torch.randn(20, 12, dtype=torch.float64)
    tab = shown(browser, live.figure("reparam", alt="", x=X, scale=SCALE, noise=noise))
    try:
        first, second, third, fresh = tab.evaluate(MOVES)
    finally:
        tab.close()
    largest = noise[0][noise[0].abs().argmax()].item()
    # From where the flank was before it moved at all: that is the derivative in σ, times the move.
    for (state, values, said), step in ((first, 0.2), (second, 0.3)):
        assert state["from"] == [-0.9, 0.6]
        assert values["farthest"] == pytest.approx({"eps": largest, "way": step * largest})
        assert "went farthest" in said
    # Another kind of move begins where this one ended, and moves all of them alike.
    state, values, said = third
    assert state["from"] == pytest.approx([-0.9, 0.9])
    way = torch.tensor(values["z"]) - torch.tensor(values["before"])
    torch.testing.assert_close(way, torch.full((12,), 0.4), rtol=0, atol=1e-6)
    assert "every draw went to the right, by 0.40" in said
    # Other noise is no move.
    state, values, said = fresh
    assert values["before"] == values["z"]
    assert "went" not in said
