"""A figure as the output of a cell: whatever the front end, it brings all that it needs.

Colab and VS Code show outputs in frames of their own, without an origin and without any script of
the page around them. Here such a frame holds two figures of one kind.
"""

import html

import pytest
from living import shown

from companion import live

pytestmark = pytest.mark.browser
BAR = {"x": 1.6, "scale": 0.8}


def bar(number="", **more):
    return live.figure("bar", alt="The bar.", number=number, task="Move q.", **BAR | more)


@pytest.fixture
def frame(browser):
    """A sandboxed frame with two bars, in a page of a phone's width."""
    tab = browser.new_page(viewport={"width": 390, "height": 844})
    errors = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    outputs = bar("0.1")._repr_html_() + bar("0.2")._repr_html_()
    tab.set_content(
        f'<iframe sandbox="allow-scripts" srcdoc="{html.escape(outputs)}" '
        'style="border: 0; width: 100%; height: 1600px"></iframe>'
    )
    inner = tab.frame_locator("iframe")
    inner.locator("#fig-0-2 .live-grip").first.wait_for()
    yield tab, inner
    assert errors == []
    tab.close()


def says(inner, figure="#fig-0-1"):
    return inner.locator(f"{figure} .live-says").inner_text()


def test_a_handle_is_dragged_and_the_other_figure_rests(frame):
    tab, inner = frame
    before = says(inner), says(inner, "#fig-0-2")
    box = inner.locator("#fig-0-1 .live-grip").first.bounding_box()
    at = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(*at)
    tab.mouse.down()
    tab.mouse.move(at[0] + 60, at[1], steps=5)
    tab.mouse.up()
    inner.locator("#fig-0-1 .live-says", has_not_text=before[0]).wait_for()
    assert says(inner, "#fig-0-2") == before[1]
    inner.locator("#fig-0-1 [data-reset]").click()
    inner.locator("#fig-0-1 .live-says", has_text=before[0]).wait_for()


def test_keys_move_a_handle_and_say_so(frame):
    tab, inner = frame
    handle = inner.locator("#fig-0-1 .live-handle").first
    before = handle.get_attribute("aria-valuetext")
    handle.focus()
    tab.keyboard.press("Shift+ArrowRight")
    inner.locator(f'#fig-0-1 .live-handle:not([aria-valuetext="{before}"])').first.wait_for()
    # What moved is told once it rests.
    inner.locator("#fig-0-1 .live-said", has_text="gap").wait_for(state="attached")
    assert handle.get_attribute("aria-valuetext").startswith("mean ")
    assert inner.locator("#fig-0-1 .live-said").text_content() == says(inner)


def test_a_finger_moves_a_handle(browser):
    tab = shown(browser, bar("0.1"), has_touch=True, viewport={"width": 390, "height": 844})
    before = tab.locator(".live-says").inner_text()
    box = tab.locator(".live-grip").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = tab.context.new_cdp_session(tab)
    for kind, move in (("touchStart", 0), ("touchMove", 30), ("touchMove", 60), ("touchEnd", None)):
        points = [] if move is None else [{"x": x + move, "y": y}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    tab.locator(".live-says", has_not_text=before).wait_for()
    tab.close()


def test_a_second_engine_of_the_same_kind_is_not_made(browser):
    tab = shown(browser, bar("0.1"))
    engine = tab.evaluate_handle("live")
    tab.evaluate(
        "text => { const s = document.createElement('script'); s.textContent = text;"
        " document.body.append(s); }",
        bar("0.2")._repr_html_().split("<script>")[-1][:-9],
    )
    assert tab.evaluate("engine => engine === live", engine)
    tab.close()


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_leaves_the_screen(browser, width):
    tab = shown(browser, bar("0.1"), viewport={"width": width, "height": 844})
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.close()


def test_data_cannot_leave_their_script(browser):
    # Catches: a text that closes the element which holds it.
    tab = shown(browser, bar("0.1", note="</script><script>window.broken = 1</script>"))
    assert tab.evaluate("window.broken") is None
    tab.close()


def test_the_same_figure_twice_has_two_names(browser):
    # Catches: labels of the second that move the first, and one address for both.
    tab = shown(browser, bar())
    tab.evaluate(
        """html => {
          document.body.insertAdjacentHTML("beforeend", html);
          live.require("mount.js").mountAll("bar", live.require("figures/bar.js").default);
        }""",
        bar().html(),
    )
    names = tab.eval_on_selector_all("figure.live[data-alive]", "all => all.map(({ id }) => id)")
    assert len(names) == len(set(names)) == 2
    tab.close()
