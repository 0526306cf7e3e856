"""A finger moves what it holds; beside it, the same finger scrolls the page."""

import pytest
from living import shown

from companion import live


@pytest.mark.browser
@pytest.mark.parametrize("name", ["bar", "latent_map"])
def test_a_finger_on_a_figure_does_not_scroll(browser, name):
    data = {"x": 1.6, "scale": 0.8} if name == "bar" else live.latent_map()
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
    tab = shown(browser, live.figure(name, alt="", **data), **phone)
    try:
        tab.add_style_tag(content="body { padding-bottom: 2000px }")
        tab.evaluate("addEventListener('live-frame', e => { window.state = e.detail.state; })")
        touch = tab.context.new_cdp_session(tab)

        def drag(x, y, by):
            """Return how far the page was scrolled."""
            before = tab.evaluate("scrollY")
            touch.send(
                "Input.dispatchTouchEvent",
                {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]},
            )
            for step in range(1, 9):
                point = {"x": x + by * step / 8, "y": y - abs(by) * step / 8}
                touch.send(
                    "Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]}
                )
                tab.evaluate("new Promise(requestAnimationFrame)")
            touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
            tab.evaluate("new Promise(done => setTimeout(done, 200))")
            return tab.evaluate("scrollY") - before

        def middle(place):
            box = tab.locator(place).first.bounding_box()
            return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

        assert drag(*middle(".live-grip"), -60) == 0
        assert tab.evaluate("state") is not None, "it moved"
        if name == "latent_map":
            tab.evaluate("delete window.state")
            assert drag(*middle("path.live-board"), 40) == 0
            assert tab.evaluate("state.digit") == -1, "it drew"
        assert drag(*middle(".live-says"), -60) > 20
    finally:
        tab.close()
