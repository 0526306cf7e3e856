"""One bit that codes one bit: rate, distortion and loss against tables; what counts as walked."""

import itertools
import math

import pytest
import torch
from living import computed, shown

from companion import live
from companion.exact import DiscreteModel


def errs(share):
    return torch.tensor([[1 - share, share], [share, 1 - share]], dtype=torch.float64)


@pytest.mark.browser
def test_rate_distortion_and_loss_are_those_of_the_tables(browser):
    pairs = itertools.product([0.0, 0.03, 0.2, 0.5], [0.001, 0.01, 0.2, 0.5])
    states = [{"encoder": encoder, "decoder": decoder} for encoder, decoder in pairs]
    half = torch.tensor([0.5, 0.5], dtype=torch.float64)
    for state, values in zip(
        states, computed(browser, live.figure("bits", alt=""), states), strict=True
    ):
        model, q = DiscreteModel(half, errs(state["decoder"])), errs(state["encoder"])
        bound, reconstruction = half @ model.elbo(q), half @ model.reconstruction(q)
        assert values["elbo"] == pytest.approx(bound.item(), abs=1e-9)
        assert values["distortion"] == pytest.approx(-reconstruction.item(), abs=1e-9)
        assert values["rate"] == pytest.approx((reconstruction - bound).item(), abs=1e-9)
        assert values["lost"] == pytest.approx((half @ model.gap(q)).item(), abs=1e-9)


@pytest.mark.browser
def test_where_both_err_alike_nothing_is_lost_and_the_start_is_off_the_line(browser):
    alike = [{"encoder": share, "decoder": share} for share in (0.001, 0.1, 0.3, 0.5)]
    start, *found = computed(browser, live.figure("bits", alt=""), [{}, *alike])
    assert start["lost"] > 0.05
    assert [values["lost"] for values in found] == pytest.approx([0] * 4, abs=1e-12)
    rates = [values["rate"] for values in found]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.98 * math.log(2)
    assert rates[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.browser
def test_the_whole_line_can_be_walked_and_only_on_the_line(browser):
    tab = shown(browser, live.figure("bits", alt=""))
    try:
        ways = tab.evaluate("""() => {
          const { spec } = live.require("figures/bits.js").default;
          const walk = (places) => places.reduce(
            (state, to) => ({ ...state, ...spec.handles[0].move(state, to) }), spec.start);
          const diagonal = Array.from({ length: 51 }, (_, k) => [k / 100, k / 100]);
          const ends = [...diagonal, [9, 9]];
          return [ends, ends.map(([x, y]) => [x, (y + 0.25) % 0.5]), [[0.4, 0.4], [0.1, 0.4]]]
            .map((way) => {
              const state = walk(way);
              return [state, spec.says(state, spec.compute(state))];
            });
        }""")
    finally:
        tab.close()
    (walked, says), (aside, _), (left, off) = ways
    assert walked["seen"] == 2**10 - 1
    assert (walked["encoder"], walked["decoder"]) == (0.5, 0.5)
    assert "whole line" in says
    assert aside["seen"] == 0
    assert left["seen"].bit_count() == 1
    assert "under the ceiling" in off
