"""What a throw costs when the bits that pick the die come back, against the package's ELBO."""

import math
import re

import pytest
import torch
from living import computed, shown

from companion import live
from companion.exact import DiscreteModel

PRIOR = [0.4, 0.6]
DICE = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], dtype=torch.float64)
FACE = 1


def figure(prior=PRIOR):
    return live.figure("bits_back", alt="", prior=prior, likelihood=DICE[:, FACE].tolist())


# Would catch bits that do not come back, nats for bits, or an average that is not over q.
@pytest.mark.browser
def test_the_average_is_minus_the_elbo(browser):
    model = DiscreteModel(torch.tensor(PRIOR, dtype=torch.float64), DICE)
    best = model.posterior()[FACE, 0].item()
    shares = [0.16, 0.5, best, 0.9]
    found = computed(browser, figure(), [{"q": share} for share in shares])
    for share, values in zip(shares, found, strict=True):
        q = torch.tensor([[share, 1 - share]], dtype=torch.float64).expand(3, -1)
        minus_elbo = -model.elbo(q)[FACE].item() / math.log(2)
        assert values["average"] == pytest.approx(minus_elbo, abs=1e-12)
        minus_log = -model.log_marginal()[FACE].item() / math.log(2)
        assert values["least"] == pytest.approx(minus_log, abs=1e-12)
        assert values["average"] >= values["least"] - 1e-12
        for z, die in enumerate(values["dice"]):
            net = q[0, z] / (PRIOR[z] * DICE[z, FACE])
            assert die["net"] == pytest.approx(math.log2(net), abs=1e-12)
    assert found[2]["average"] == pytest.approx(found[2]["least"], abs=1e-12)


# Would catch a handle that reaches net lengths below zero, which the columns cannot show.
@pytest.mark.browser
def test_no_reachable_q_has_a_negative_length(browser):
    tab = shown(browser, figure([0.5, 0.5]))
    try:
        slider, ends = tab.get_by_role("slider", name="q: how often"), []
        slider.focus()
        for key in ("ArrowLeft", "ArrowRight"):
            for _ in range(100):
                tab.keyboard.press(key)
            tab.evaluate(
                "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
            )
            ends.append(float(slider.get_attribute("aria-valuenow") or "nan"))
    finally:
        tab.close()
    assert ends == [0.16, 0.9]
    for values in computed(browser, figure([0.5, 0.5]), [{"q": share} for share in ends]):
        assert all(die["net"] > -1e-9 for die in values["dice"])


@pytest.mark.browser
def test_steps_send_a_throw(browser):
    tab = shown(browser, figure([0.5, 0.5]))
    try:
        said = tab.locator(".live-says")
        said.get_by_text("1. One waiting bit picks die A: 1.00 bits read").wait_for()
        for words in ("prior's code: 1.00", "code of die A: 1.74", "Net 1.74 bits"):
            tab.get_by_role("button", name="One step").click()
            said.get_by_text(words).wait_for()
        tab.get_by_text("B", exact=True).click()
        said.get_by_text("Net 2.32 bits").wait_for()
        tab.get_by_role("button", name="Compare").click()
        said.get_by_text("on average 2.03 bits, or 1.407 nats").wait_for()
        tab.get_by_role("slider", name="q: how often").focus()
        for _ in range(100):
            if "the least of any q" in said.inner_text():
                break
            tab.keyboard.press("ArrowRight")
            tab.evaluate(
                "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
            )
        said.get_by_text("on average 2.00 bits, or 1.386 nats = −ELBO, the least").wait_for()
    finally:
        tab.close()


# Would catch a column that stops at what is sent so far, under an average of net lengths.
@pytest.mark.browser
def test_once_compared_the_area_is_the_average(browser):
    tab = shown(browser, figure([0.5, 0.5]))
    try:
        columns = tab.locator(".live-panel").nth(1).locator("text")
        slider = tab.get_by_role("slider", name="q: how often")
        for average in ("2.03", "2.04"):
            if average == "2.03":
                tab.get_by_role("button", name="Compare").click()  # nothing is sent yet
            else:
                slider.focus()
                tab.keyboard.press("ArrowLeft")
                tab.get_by_text("4. Your friend knows face 2").first.wait_for()
            columns.filter(has_text=f"average {average}").wait_for()
            words = columns.all_text_contents()
            a, b = (float(words[words.index(f"die {die}") + 1]) for die in "AB")
            share = float(slider.get_attribute("aria-valuenow") or "nan")
            assert share * a + (1 - share) * b == pytest.approx(float(average), abs=0.01)
    finally:
        tab.close()


# Would catch a verdict on the q of the moment: the question is of one bit, so of q = ½.
@pytest.mark.browser
def test_the_verdict_is_of_the_question_wherever_q_is(browser):
    tab = shown(browser, figure([0.5, 0.5]))
    try:
        tab.get_by_role("slider", name="q: how often").focus()
        for _ in range(10):
            tab.keyboard.press("ArrowLeft")
        tab.get_by_role("button", name="Compare").click()
        tab.get_by_text("You said 3.00, it was 2.03 bits.").wait_for()
    finally:
        tab.close()


# Would catch a sum that is cut at the edge where its bar is short.
@pytest.mark.browser
def test_the_net_length_stays_in_the_picture(browser):
    tab = shown(browser, figure([0.5, 0.5]))
    try:
        tab.get_by_role("slider", name="q: how often").focus()
        for _ in range(100):
            tab.keyboard.press("ArrowLeft")
        for _ in range(3):
            tab.get_by_role("button", name="One step").click()
        words = tab.locator("svg text").filter(has_text=re.compile(r"= 0\.09"))
        words.wait_for()
        left = words.evaluate(
            "e => e.getBoundingClientRect().left - e.closest('svg').getBoundingClientRect().left"
        )
    finally:
        tab.close()
    assert left >= 0
