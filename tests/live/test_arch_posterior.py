"""The posterior of the arch in a page: quadrature, peaks and draws, against the package."""

import copy
import itertools
import math

import pytest
import torch
from living import computed, shown

from companion import live
from companion.exact import arch, log_marginal_quadrature, posterior_on_grid

STATES = [
    {"x": [x_1, x_2], "scale": scale, "drawn": drawn, "seed": seed}
    for scale, drawn, seed in [(0.1, 300, 0), (0.23, 1, 7), (0.4, 150, 1), (0.8, 0, 2)]
    for x_1, x_2 in [(-0.75, 0.3), (0.0, -1.0), (0.0, 0.52), (2.0, 2.3), (-2.0, -1.7), (0.1, 0.0)]
]


def rounded(scale):
    """The arch as it travels: its weights in half precision."""
    model = arch(scale)
    model.decoder.net = copy.deepcopy(model.decoder.net).half().double()
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def pairs(browser):
    figure = live.figure("arch_posterior", alt="", decoder=arch().decoder.net)
    return list(zip(STATES, computed(browser, figure, STATES), strict=True))


def exact(values):
    return pytest.approx(values, abs=1e-5)


@pytest.mark.browser
def test_posterior_and_evidence_are_those_of_quadrature(pairs):
    for state, values in pairs:
        x = torch.tensor([state["x"]], dtype=torch.float64)
        model = rounded(state["scale"])
        assert values["logMarginal"] == exact(log_marginal_quadrature(model, x).item())
        _, log_density, _ = posterior_on_grid(model, x, 701, 7.0)
        assert values["posterior"] == exact(log_density[:, 0].exp().tolist())


@pytest.mark.browser
def test_peaks_share_the_posterior(pairs):
    numbers = set()
    for state, values in pairs:
        model = rounded(state["scale"])
        x = torch.tensor([state["x"]], dtype=torch.float64)
        z, log_density, log_cell = posterior_on_grid(model, x, 701, 7.0)
        density, peaks = log_density[:, 0].exp(), values["peaks"]
        inner = density[1:-1]
        high = (inner > density[:-2]) & (inner > density[2:]) & (inner > 0.05 * density.max())
        assert [peak["z"] for peak in peaks] == exact(z[1:-1][high][:, 0].tolist())
        # The valley between two peaks is where the density between them is least.
        where = (high.nonzero()[:, 0] + 1).tolist()
        cuts = [a + density[a : b + 1].argmin().item() for a, b in itertools.pairwise(where)]
        masses = [part.sum().item() * math.exp(log_cell) for part in parts(density, cuts)]
        assert [peak["mass"] for peak in peaks] == exact(masses)
        numbers.add(len(peaks))
    assert numbers == {1, 2, 3}


def parts(values, cuts):
    """Cut after each of these places."""
    edges = [0, *(cut + 1 for cut in cuts), len(values)]
    return [values[a:b] for a, b in itertools.pairwise(edges)]


@pytest.mark.browser
def test_draws_estimate_the_evidence(pairs):
    for state, values in pairs:
        z = torch.tensor(values["z"], dtype=torch.float64)
        x = torch.tensor(state["x"], dtype=torch.float64)
        log_w = rounded(state["scale"]).decoder(z[:, None]).log_prob(x)
        counts = torch.arange(1, len(z) + 1)
        estimates = (log_w.logcumsumexp(0) - counts.log())[: state["drawn"]]
        assert values["estimates"] == exact(estimates.tolist())
        for number in [state["drawn"], len(z)]:
            if not number:
                continue
            # The fewest draws that make up 90 % of the sum, the heaviest first.
            w, order = log_w[:number].softmax(0).sort(descending=True)
            needed = int((w.cumsum(0) < 0.9).sum()) + 1
            if number == state["drawn"]:
                assert values["heavy"] == order[:needed].tolist()
            if number == len(z):
                assert values["ofAll"] == needed


@pytest.mark.browser
def test_draws_are_those_of_the_prior(browser):
    figure = live.figure("arch_posterior", alt="", decoder=arch().decoder.net)
    found = computed(browser, figure, [{"seed": seed} for seed in range(100)])
    z = torch.tensor([values["z"] for values in found], dtype=torch.float64)
    error = 1 / math.sqrt(z.numel())
    assert abs(z.mean()) < 4 * error
    assert abs(z.square().mean() - 1) < 4 * math.sqrt(2) * error
    assert abs((z.abs() < 1).double().mean() - math.erf(math.sqrt(0.5))) < 4 * 0.47 * error
    assert len(set(map(tuple, z.tolist()))) == 100


def test_rounding_moves_the_arch_by_less_than_a_pixel():
    z = torch.linspace(-6, 6, 601, dtype=torch.float64)[:, None]
    off = rounded(0.4).decoder.net(z) - arch().decoder.net(z)
    assert off.abs().max() < 2e-3


@pytest.mark.browser
def test_play_begins_a_new_rain_where_the_last_one_ended(browser):
    tab = shown(browser, live.figure("arch_posterior", alt="", decoder=arch().decoder.net))
    try:
        tab.evaluate("""() => {
          window.seen = [];
          addEventListener("live-frame", ({ detail }) => window.seen.push(detail.state));
        }""")
        tab.get_by_role("button", name="Draw from the prior").click()
        tab.wait_for_function("window.seen.at(-1)?.drawn === 300")
        tab.get_by_role("button", name="Draw from the prior").click()
        tab.wait_for_function("window.seen.at(-1)?.seed === 2")
        assert [state["drawn"] for state in tab.evaluate("window.seen")][:2] == [2, 4]
    finally:
        tab.close()


# Would catch a point that the arrow keys carry past the places that exercise 2.1 names.
@pytest.mark.browser
def test_arrows_meet_round_places_and_the_figure_says_where_x_is(browser):
    tab = shown(browser, live.figure("arch_posterior", alt="", decoder=arch().decoder.net))
    try:
        assert tab.locator(".live-says").inner_text().startswith("x = (−0.75, 0.30). One peak")
        tab.get_by_role("slider", name="The data point x").focus()
        for _ in range(15):
            tab.keyboard.press("ArrowRight")
        for _ in range(26):
            tab.keyboard.press("ArrowDown")
        tab.wait_for_function(
            "document.querySelector('.live-says').textContent.startsWith('x = (0.00, −1.00). Two')"
        )
    finally:
        tab.close()


# The answer of exercise 2.1, by the figure's own count of peaks, at its own σ.
@pytest.mark.browser
def test_where_the_peaks_become_one(browser):
    figure = live.figure("arch_posterior", alt="", decoder=arch().decoder.net)
    x_2 = [-1.0, 0.4, 0.45, 0.5, 0.55, 1.0]  # the point stands on multiples of 0.05
    states = [{"x": [0.0, one], "scale": 0.4} for one in x_2]
    found = [len(values["peaks"]) for values in computed(browser, figure, states)]
    assert found == [2, 2, 2, 3, 1, 1]
    larger = [{"x": [0.0, one], "scale": 0.6} for one in (0.3, 0.35, 0.4, 0.45)]
    found = [len(values["peaks"]) for values in computed(browser, figure, larger)]
    assert found == [2, 3, 1, 1]
