"""The floor under the gap in a page: gaps on one and on K samples, and the floor."""

import itertools
import math

import pytest
import torch
from living import computed, shown
from torch.distributions import Categorical, MixtureSameFamily, Normal

from companion import live
from companion.exact import gaussian_floor, kl_on_grid, latent_grid

WIDE, LOG_CELL = latent_grid(1, 8001, 45.0)
PEAKS = list(itertools.product([0.5, 1.5, 2.4, 3.0, 4.0], [0.05, 0.4, 0.5, 0.9]))
ONE = [(0.0, 1.0), (3.0, 0.3), (-5.5, 4.5), (1.4, 1.7), (0.0, 4.0)]
TWO = [(-2.0, 0.8, 3.0, 0.3, 0.4), (-3.0, 1.0, 3.0, 1.0, 0.5), (1.0, 4.0, -5.0, 0.5, 0.05)]


def mixed(weights, means, scales):
    """A mixture of Gaussians, in double precision."""
    numbers = [torch.tensor(values, dtype=torch.float64) for values in (weights, means, scales)]
    return MixtureSameFamily(Categorical(numbers[0]), Normal(*numbers[1:]))


def two_peaks(a, weight):
    return mixed([1 - weight, weight], [-a, a], [1.0, 1.0])


def found(browser, states):
    return computed(browser, live.figure("floor", alt=""), states)


@pytest.mark.browser
def test_one_gaussian_leaves_the_gap_of_the_package(browser):
    states = [
        {"a": a, "weight": w, "mean": m, "scale": s}
        for (a, w), (m, s) in itertools.product(PEAKS, ONE)
    ]
    for state, values in zip(states, found(browser, states), strict=True):
        log_q = Normal(torch.tensor(state["mean"]).double(), state["scale"]).log_prob(WIDE)
        log_p = two_peaks(state["a"], state["weight"]).log_prob(WIDE)
        gap = kl_on_grid(log_q, log_p, LOG_CELL).item()
        assert values["gap"] == pytest.approx(gap, abs=1e-5)


@pytest.mark.browser
def test_a_mixture_leaves_the_gap_of_the_package(browser):
    names = ("mean", "scale", "mean2", "scale2", "share2")
    states = [
        {"a": a, "weight": w, "family": "two", **dict(zip(names, q, strict=True))}
        for (a, w), q in itertools.product(PEAKS, TWO)
    ]
    for state, values in zip(states, found(browser, states), strict=True):
        m, s, m_2, s_2, share = (state[name] for name in names)
        log_q = mixed([1 - share, share], [m, m_2], [s, s_2]).log_prob(WIDE)
        log_p = two_peaks(state["a"], state["weight"]).log_prob(WIDE)
        gap = kl_on_grid(log_q, log_p, LOG_CELL).item()
        assert values["gap"] == pytest.approx(gap, abs=1e-5)
    [closed] = found(
        browser, [{**states[0], "a": 3.0, "weight": 0.5, **dict(zip(names, TWO[1], strict=True))}]
    )
    assert closed["gap"] == pytest.approx(0, abs=1e-9)


@pytest.mark.browser
def test_the_floor_is_that_of_the_package(browser):
    # Two of the minima are about equally low in the second half: a search must not take the wrong.
    equal = list(itertools.product([2.3, 2.45, 2.55, 2.65, 2.75], [0.3, 0.45, 0.48, 0.5, 0.7]))
    places = PEAKS + equal
    z, _ = latent_grid(1, 2001, 20.0)
    log_p = torch.stack([two_peaks(*place).log_prob(z[:, 0]) for place in places], dim=1)
    floor, _, _ = gaussian_floor(z, log_p)
    states = [{"a": a, "weight": w} for a, w in places]
    for values, least, (a, w) in zip(found(browser, states), floor.tolist(), places, strict=True):
        assert values["floor"] == pytest.approx(least, abs=1e-5), (a, w)
        lowest = values["minima"][0]
        assert values["floor"] == lowest["floor"] == min(one["floor"] for one in values["minima"])
        place = torch.tensor([lowest["mean"], math.log(lowest["scale"])], dtype=torch.float64)
        attained = gap_of(place, a, w)
        assert values["floor"] == pytest.approx(attained.item(), abs=1e-9)
        assert values["floor"] <= values["onePeak"] + 1e-9
        assert values["onePeak"] == pytest.approx(-math.log(max(w, 1 - w)))


def gap_of(place, a, weight):
    """The gap of the Gaussian at this mean and logarithm of its scale, as a function to derive."""
    eps = torch.linspace(-8, 8, 801, dtype=torch.float64)
    share = Normal(0.0, 1.0).log_prob(eps).exp() * 0.02
    z = place[0] + place[1].exp() * eps
    entropy = 0.5 * math.log(2 * math.pi * math.e) + place[1]
    return -entropy - (share * two_peaks(a, weight).log_prob(z)).sum()


@pytest.mark.browser
def test_what_is_called_a_hollow_is_a_minimum(browser):
    states = [{"a": a, "weight": w} for a, w in [*PEAKS, (2.5, 0.4), (3.0, 0.3)]]
    counts = []
    for state, values in zip(states, found(browser, states), strict=True):
        counts.append(len(values["minima"]))
        for one in values["minima"]:
            place = torch.tensor([one["mean"], math.log(one["scale"])], dtype=torch.float64)
            place.requires_grad_()

            def gap(at, state=state):
                return gap_of(at, *state.values())

            slope = torch.autograd.functional.jacobian(gap, place)
            # The gap is all but flat there: a search on a coarser grid comes so near.
            assert slope.abs().max() < 1e-2, (state, one)
            bend = torch.autograd.functional.hessian(gap, place)
            assert torch.linalg.eigvalsh(bend).min() > 0, (state, one)
            assert one["floor"] == pytest.approx(gap(place).item(), abs=1e-8)
    assert set(counts) == {1, 2, 3}


@pytest.mark.browser
def test_k_samples_leave_the_gap_of_an_integral(browser):
    # Two and three samples by sums over all pairs and triples of a grid; more by sampling.
    states = [
        {"a": a, "weight": w, "mean": m, "scale": s, "doublings": k}
        for a, w in [(1.5, 0.4), (3.0, 0.5), (4.0, 0.9)]
        for m, s in [(3.0, 1.0), (1.4, 1.7), (0.0, 4.0), (-2.0, 0.7)]
        for k in (1, 2, 4, 6)
    ]
    for state, values in zip(states, found(browser, states), strict=True):
        p = two_peaks(state["a"], state["weight"])
        q = Normal(torch.tensor(state["mean"]).double(), state["scale"])
        number = 2 ** state["doublings"]
        if number == 2:
            z = q.mean + q.stddev * torch.linspace(-8, 8, 1601).double()
            log_weight = q.log_prob(z) + math.log(0.01 * state["scale"])
            log_r = p.log_prob(z) - q.log_prob(z)
            pairs = torch.logaddexp(log_r[:, None], log_r) - math.log(2)
            gap = -((log_weight[:, None] + log_weight).exp() * pairs).sum().item()
            assert values["gap"] == pytest.approx(gap, abs=1e-5), state
        else:
            z = q.sample((20_000, number))
            log_r = p.log_prob(z) - q.log_prob(z)
            each = math.log(number) - log_r.logsumexp(1)
            error = each.std().item() / math.sqrt(len(each))
            assert values["gap"] == pytest.approx(each.mean().item(), abs=4 * error), state


@pytest.mark.browser
def test_the_record_is_the_least_gap_and_never_below_the_floor(browser):
    best = [10, 0.9, 0.2]
    low, start, high = found(browser, [{"best": one} for one in best])
    assert low["record"] == pytest.approx(low["gap"])
    assert start["record"] == 0.9
    assert high["record"] == high["floor"]


@pytest.mark.browser
def test_a_handle_moves_what_it_stands_for(browser):
    tab = shown(browser, live.figure("floor", alt=""))
    try:
        moved = tab.evaluate("""() => {
          const { spec } = live.require("figures/floor.js").default;
          const state = { ...spec.start, family: "two", a: 1.2, weight: 0.7 };
          const stay = spec.handles.map(({ at, move }) => move(state, at(state)));
          return [state, ...stay];
        }""")
    finally:
        tab.close()
    state, *changes = moved
    assert len(changes) == 6
    for change in changes:
        change.pop("best", None)
        assert change == pytest.approx({name: state[name] for name in change})


DESCEND = """(starts) => {
  const { spec } = live.require("figures/floor.js").default;
  const data = spec.prepare();
  return starts.map((start) => {
    let [state, steps, highest] = [{ ...spec.start, ...start }, 0, Infinity];
    let rises = 0;
    for (let next; steps < 400 && (next = spec.play.step(state, data)); steps++) {
      state = { ...state, ...next };
      const { gap } = spec.compute(state, data);
      if (gap > highest) rises++;
      highest = gap;
    }
    const values = spec.compute(state, data);
    const [said, guess] = [false, true].map((guessing) => spec.says(state, values, { guessing }));
    return { values, steps, rises, said, guess };
  });
}"""


def descended(browser, starts):
    tab = shown(browser, live.figure("floor", alt=""))
    try:
        return tab.evaluate(DESCEND, starts)
    finally:
        tab.close()


@pytest.mark.browser
@pytest.mark.parametrize(
    ("start", "end"),
    [
        ({"mean": 2.0, "scale": 0.8}, 0.6887),  # on a peak
        ({"mean": 1.4, "scale": 1.7}, 0.8406),  # across both: a minimum, and no floor
        ({"family": "two"}, 0.0),
    ],
)
def test_a_descent_ends_in_the_minimum_next_to_it(browser, start, end):
    [last] = descended(browser, [start])
    assert last["values"]["gap"] == pytest.approx(end, abs=5e-4)


@pytest.mark.browser
@pytest.mark.parametrize(("a", "weight"), [(3.0, 0.5), (2.5, 0.4), (4.0, 0.8), (1.2, 0.5)])
def test_every_descent_ends_and_says_where(browser, a, weight):
    # Catches: a step that is too long for the bend of the gap, and so jumps to and fro for ever.
    places = itertools.product(
        [-5.5, -3.3, -1.4, -0.3, 0.0, 0.8, 1.4, 2.6, 5.5], [0.3, 0.8, 1.7, 2.7, 3.5, 4.5]
    )
    starts = [{"a": a, "weight": weight, "mean": m, "scale": s} for m, s in places]
    for start, last in zip(starts, descended(browser, starts), strict=True):
        values = last["values"]
        assert last["steps"] < 400, start
        assert last["rises"] == 0
        assert min(abs(values["gap"] - one["floor"]) for one in values["minima"]) < 1e-5, start
        if values["gap"] > values["floor"] + 0.005:
            assert "a hollow, but not the lowest" in last["said"]
        else:
            assert "the floor" in last["said"]
            assert "above the floor" not in last["said"]
        assert "a descent ends" in last["guess"]
        assert "floor" not in last["guess"]


@pytest.mark.browser
def test_a_descent_of_more_samples_or_a_mixture_ends_too(browser):
    starts = [{"doublings": k, "mean": m} for k in (2, 6) for m in (0.0, 3.0)]
    starts += [{"family": "two", "mean": m} for m in (-2.0, 0.0, 3.0)]
    for last in descended(browser, starts):
        assert last["steps"] < 400
        assert last["rises"] == 0


@pytest.mark.browser
@pytest.mark.parametrize(("a", "last"), [(3.0, 1), (4.0, 4)])
def test_a_descent_on_one_peak_finds_the_other_from_some_k_on(browser, a, last):
    # With K = 4 for peaks at ±3, with 32 for ±4. Half as many stay.
    starts = [{"a": a, "mean": a, "scale": 1.0, "doublings": k} for k in (last, last + 1)]
    stays, finds = (one["values"]["gap"] for one in descended(browser, starts))
    assert stays == pytest.approx(0.69, abs=0.01)
    assert finds < 0.15
