"""A drawing on the latent plane: q(z | x), pictures and ELBO of the figure, against the package."""

import copy
import re

import pytest
import torch
from living import computed, shown
from torch.distributions import Normal, kl_divergence

from companion import data, elbo_analytic, live
from companion.exact import elbo_quadrature

_, (TEST, _) = data.split(*data.digits(), held_out=0.3)
PLACES = [[-3.8, -3.8], [-1.2, 0.4], [0.0, 0.0], [0.9, -2.1], [3.8, 3.8]]


def drawings():
    torch.manual_seed(0)
    noise = (16 * torch.rand(2, 64)).round() / 16
    strokes = (16 * TEST[40:44].view(-1, 8, 8).roll(1, dims=2).flatten(1)).round() / 16
    return torch.cat([torch.zeros(1, 64), torch.ones(1, 64), noise, strokes]).double()


def model(half):
    vae = live.digit_models()[1].double()
    if half:
        vae.encoder.net, vae.decoder.net = (
            copy.deepcopy(net).half().double() for net in (vae.encoder.net, vae.decoder.net)
        )
    return vae


@pytest.mark.browser
@pytest.mark.claim("live.forward")
def test_code_pictures_and_elbo_are_the_packages(browser):
    figure = live.figure("latent_map", alt="", **live.latent_map())
    own = drawings()
    states = [
        *({"digit": i} for i in range(40)),
        *({"digit": -1, "pixels": x.tolist()} for x in own),
    ]
    states = [{**state, "z": PLACES[i % len(PLACES)]} for i, state in enumerate(states)]
    values_of = computed(browser, figure, states)
    found = {
        name: torch.tensor([values[name] for values in values_of], dtype=torch.float64)
        for name in ("mean", "scales", "decoded", "atZ", "reconstruction", "rate", "elbo")
    }
    x, vae = torch.cat([TEST[:40].double(), own]), model(half=True)
    z = torch.tensor([state["z"] for state in states], dtype=torch.float64)
    q = vae.encoder(x)
    prior = Normal(torch.zeros(2, dtype=torch.float64), 1.0)
    rate = kl_divergence(Normal(q.mean, q.stddev), prior).sum(1)
    bound = elbo_quadrature(vae, x, q, num_points=61)
    expected = {
        "mean": q.mean,
        "scales": q.stddev,
        "decoded": vae.decoder(q.mean).mean,
        "atZ": vae.decoder(z).mean,
        "rate": rate,
    }
    for name, exact in expected.items():
        torch.testing.assert_close(found[name], exact, rtol=0, atol=1e-5)
    # Nine points along each unit are enough wherever something is drawn.
    drawn = x.any(1)
    assert drawn.sum() == len(x) - 1
    for name, exact in {"elbo": bound, "reconstruction": bound + rate}.items():
        torch.testing.assert_close(found[name][drawn], exact[drawn], rtol=0, atol=1e-5)
    assert abs(found["elbo"] - bound).max() < 0.2

    # Half precision of the weights moves neither the codes of digits nor what is decoded of them.
    exact = model(half=False)
    assert abs(found["mean"][:40] - exact.encoder(x[:40]).mean).max() < 2e-3
    assert abs(vae.decoder(q.mean).mean - exact.decoder(q.mean).mean).max() < 2e-3


@pytest.mark.browser
def test_the_share_of_training_digits_is_a_quantile(browser):
    given = live.latent_map()
    figure = live.figure("latent_map", alt="", **given)
    for values in computed(browser, figure, [{"digit": i} for i in range(40)]):
        if 0 < values["below"] < 1:
            level = torch.tensor(100 * values["below"])
            low, high = given["bounds"][[int(level), min(int(level) + 1, 100)]]
            assert values["elbo"] == pytest.approx(
                (low + (high - low) * level.frac()).item(), abs=0.01
            )
        else:
            assert (values["elbo"] > given["bounds"][50]) == (values["below"] == 1)


@pytest.mark.browser
def test_a_stroke_on_the_board_is_seen_by_the_encoder(browser):
    tab = shown(browser, live.figure("latent_map", alt="", **live.latent_map()))
    try:
        tab.evaluate("addEventListener('live-frame', e => { window.last = e.detail; })")
        board = tab.locator("path.live-board").bounding_box()
        unit = board["width"] / 8

        def place(column, row):  # of the board's pixels
            return board["x"] + unit * column, board["y"] + unit * row

        tab.mouse.move(*place(4, 1))
        tab.mouse.down()
        tab.mouse.move(*place(4, 7.5), steps=8)
        tab.mouse.up()
        tab.wait_for_function("window.last?.state.digit === -1 && last.state.pen[1] > 7")
        last = tab.evaluate("window.last")
    finally:
        tab.close()
    x = torch.tensor(last["state"]["pixels"]).double()
    picture = x.view(8, 8)
    # A stroke through the middle, and nothing of the test digit that was there.
    assert picture[1:7, 3:5].min() > 0.7
    assert picture[:, [0, 1, 6, 7]].max() == 0
    assert torch.equal(x, (16 * x).round() / 16)
    q = model(half=True).encoder(x[None])
    torch.testing.assert_close(
        torch.tensor([last["values"]["mean"]]).double(), q.mean, rtol=0, atol=1e-5
    )


@pytest.mark.browser
def test_the_board_can_be_drawn_on_with_keys(browser):
    tab = shown(browser, live.figure("latent_map", alt="", **live.latent_map()))
    try:
        tab.evaluate("addEventListener('live-frame', e => { window.last = e.detail; })")
        for _ in range(10):
            tab.keyboard.press("Tab")
            if tab.evaluate("document.activeElement.classList.contains('live-board')"):
                break
        # By half a pixel each: up from the middle without ink, then down with it, then a dot.
        for keys, times in (("ArrowUp", 6), ("Shift+ArrowDown", 12), ("ArrowLeft", 6), (" ", 1)):
            for _ in range(times):
                tab.keyboard.press(keys)
        tab.wait_for_function("window.last?.state.pen[0] === 1")
        picture = torch.tensor(tab.evaluate("last.state.pixels")).view(8, 8)
        first = tab.locator(".live-says").inner_text()
        tab.locator(".live-said", has_text=first).wait_for(state="attached")
    finally:
        tab.close()
    assert picture[1:7, 3:5].min() > 0.7
    assert picture[:, [2, 5, 6, 7]].max() == 0
    assert picture[6:, :2].min() > 0.4
    assert picture[:6, :2].max() == 0


@pytest.mark.browser
def test_the_sum_that_is_shown_is_a_sum(browser):
    tab = shown(browser, live.figure("latent_map", alt="", **live.latent_map()))
    try:
        texts = tab.evaluate("""() => {
          const { spec } = live.require("figures/latent_map.js").default;
          const { decoded } = live.require("mount.js");
          const data = spec.prepare(decoded(JSON.parse(
            document.querySelector('figure.live script[type="application/json"]').textContent)));
          return Array.from({ length: 40 }, (_, digit) => {
            const state = { ...spec.start, digit };
            const values = spec.compute(state, data);
            const svg = spec.draw(state, values, data, { guessing: false })[1].svg();
            return [svg, spec.says(state, values, { guessing: false }), values.elbo];
          });
        }""")
    finally:
        tab.close()
    number = r"([−\d.]+)"
    for svg, said, elbo in texts:
        gain, cost, bound = (
            float(re.search(words + number, svg)[1].replace("−", "-"))
            for words in ("reconstruction term ", "− KL ", "= ELBO ")
        )
        assert gain - cost == pytest.approx(bound, abs=1e-6)
        assert bound == pytest.approx(elbo, abs=0.1)
        assert float(re.search("ELBO " + number, said)[1].replace("−", "-")) == bound


def test_a_shift_by_a_pixel_costs_what_the_chapter_says():
    # Of the digits whose last column is empty, so that nothing is lost.
    x = TEST[TEST.view(-1, 8, 8)[:, :, -1].sum(1) == 0]
    shifted = x.view(-1, 8, 8).roll(1, dims=2).flatten(1)
    vae = live.digit_models()[1]
    cost = elbo_analytic(vae, x, 50).mean() - elbo_analytic(vae, shifted, 50).mean()
    assert 60 < cost < 75


@pytest.mark.browser
def test_the_next_test_digit_is_another_after_a_shift(browser):
    tab = shown(browser, live.figure("latent_map", alt="", **live.latent_map()))
    try:
        tab.evaluate("addEventListener('live-frame', e => { window.last = e.detail; })")
        digits = []
        for name in ("Next test digit", "Shift by a pixel", "Next test digit"):
            tab.evaluate("delete window.last")
            tab.get_by_role("button", name=name).click()
            tab.wait_for_function("window.last")
            digits.append(tab.evaluate("last.state.digit"))
    finally:
        tab.close()
    assert digits == [2, -1, 3]


@pytest.mark.browser
def test_it_opens_with_a_digit_from_the_middle(browser):
    (values,) = computed(browser, live.figure("latent_map", alt="", **live.latent_map()), [{}])
    assert 0.4 < values["below"] < 0.6


# Would catch a verdict, or the ring's place, that stays when another digit lies on the board.
@pytest.mark.browser
@pytest.mark.parametrize("name", ["Next test digit", "Clear the board", "Shift by a pixel"])
def test_a_guess_goes_with_its_digit(browser, name):
    tab = shown(browser, live.figure("latent_map", alt="", **live.latent_map()))
    try:
        verdict = tab.locator(".live-verdict")
        mine = tab.locator(".live-drawn text", has_text="your guess")
        tab.get_by_role("button", name="Compare").click()
        mine.wait_for()
        said = verdict.inner_text()
        # A code to decode is another matter.
        tab.get_by_role("slider", name="A code on the map, to decode").press("ArrowLeft")
        tab.get_by_role("button", name="Sample the prior").click()
        assert mine.count() == 1
        assert verdict.inner_text() == said != ""
        tab.get_by_role("button", name=name).click()
        mine.wait_for(state="detached")
        assert verdict.inner_text() == ""
    finally:
        tab.close()
