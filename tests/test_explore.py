"""Explorers: the block of a page, and the widgets of a live kernel."""

import base64
import io

import ipywidgets
import pytest
from explorers import Block, Live, agg, draw, page
from PIL import Image

from companion import explore as module
from companion.explore import explore

__all__ = ["agg"]


def test_one_frame_for_each_combination_in_order():
    # The script takes the sliders' positions as digits: the last control must turn fastest.
    calls = []

    def spy(**values):
        calls.append(values)
        return draw(**values)

    explorer = explore(spy, a=[1, 2, 3], b=["x", "y"])
    block = Block(explorer.page())
    assert explorer.num_frames == len(block.frames) == 6
    assert calls == [{"a": a, "b": b} for a in (1, 2, 3) for b in ("x", "y")]
    for frame, call in zip(block.frames, calls, strict=True):
        assert f">{call['a']} {call['b']}</text>" in frame


def test_one_frame_is_there_without_script():
    block = page(a=[1, 2, 3], start={"a": 2})
    assert block.first == 1
    assert [frame.startswith('<div class="fig" role="img"') for frame in block.frames] == [True] * 3
    assert len(block.of("svg")) == 1


def test_sliders_are_labelled_and_speak_their_value():
    block = page(labels={"a": "β"}, a=[-0.5, 1e-3, 40.0], b=["x", "y"], alt='a "figure" <of> two')
    first, second = block.of("input")
    labels = {label["for"] for label in block.of("label")}
    assert labels == {first["id"], second["id"]}
    assert first["type"] == "range"
    assert (first["min"], first["max"], first["step"], first["value"]) == ("0", "2", "1", "0")
    assert first["aria-valuetext"] == "−0.5"
    assert second["aria-valuetext"] == "x"
    assert "β" in block.text
    assert "b" in block.text
    assert block.alts[1] == 'β = −0.5, b = y: a "figure" <of> two'
    assert block.shown == [["−0.5", "0.001", "40"], ["x", "y"]]


def test_a_page_asks_nothing_of_any_host():
    block = explore(draw, a=[1, 2], alt="a").page()
    assert "://" not in block
    for word in ("require", "import", "fetch", "http", "widget", "eval"):
        assert word not in block


def test_two_explorers_of_a_page_do_not_share_names(monkeypatch):
    def names():
        monkeypatch.setattr(module, "COPIES", module.Counter())
        pages = [page(a=a, start={"a": a[-1]}) for a in ([1, 2], [1, 3], [1, 2], [2, 1], [1, 2])]
        return [block.of("figure")[0]["id"] for block in pages]

    first = names()
    assert len(set(first)) == 5
    assert names() == first, "the same in every build"
    for block in (page(a=[1, 2]), page(a=[1, 2])):
        (control,), (label,) = block.of("input"), block.of("label")
        assert control["id"] == label["for"] == block.of("output")[0]["for"]
        assert control["id"].startswith(block.of("figure")[0]["id"])
        assert block.of("figure")[0]["id"] in block.text[-1]


def test_text_cannot_close_the_script():
    words = ["</script>", "<!--", "<script>"]
    block = explore(draw, labels={"a": "</script>"}, a=words).page()
    assert block.count("</script>") == block.count("<script") == 2
    assert "<!--" not in block
    assert Block(block).shown == [words]


@pytest.mark.parametrize("argument", ["labels", "start"])
def test_a_name_that_is_no_control_is_refused(argument):
    with pytest.raises(ValueError, match=rf"{argument} names no control: \['c'\]; .*\['a'\]"):
        explore(draw, a=[1], **{argument: {"c": "x"}})


def test_too_much_for_a_page(monkeypatch):
    monkeypatch.setattr(module, "EXPLORER_BYTES", 100)
    with pytest.raises(ValueError, match=r"more than 100; .*fewer values \(2 frames now\)"):
        explore(draw, a=[1, 2]).page()


def test_a_number_names_the_figure_and_heads_its_caption():
    (figure,), text = (block := page(number="3.2", caption="a < b", a=[1])).of("figure"), block.text
    assert figure["id"] == "fig-3-2"
    assert block.of("span")[0]["class"] == "figure-number"
    at = text.index("Figure 3.2")
    assert text[at + 1] == " a < b"
    assert not page(a=[1]).of("figcaption")


def test_a_kernel_writes_the_caption_below(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    explore(draw, a=[1], number="3.2", caption="See.")._ipython_display_()
    assert shown[1].data == "**Figure 3.2.** See."


def test_a_live_kernel_gets_sliders_that_redraw():
    calls = []

    def spy(**values):
        calls.append(values)
        return draw(**values)

    live = Live(spy, labels={"a": "β"}, alt='"<x>', a=[0.5, 2.0], b=["x", "y", "z"])
    first, _ = live.sliders
    assert isinstance(first, ipywidgets.SelectionSlider)
    assert first.description == "β"
    assert [label for label, _ in first.options] == ["0.5", "2"]
    assert calls == [{"a": 0.5, "b": "x"}], "one figure, not every frame"
    before = live.look()
    assert before["alt"] == 'β = 0.5, b = x: "<x>'
    after = live.move("2", "z")
    assert calls[1:] == [{"a": 2.0, "b": "x"}, {"a": 2.0, "b": "z"}]
    assert after["alt"] == 'β = 2, b = z: "<x>'
    assert after["src"] != before["src"]
    kind, png = after["src"].split(";base64,")
    assert kind == "data:image/png"
    assert Image.open(io.BytesIO(base64.b64decode(png))).size == (200, 100)


@pytest.mark.parametrize("where", ["page", "", None])
def test_the_build_says_which_of_the_two(where, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    if where is None:
        monkeypatch.delenv("COMPANION_EXPLORE", raising=False)
    else:
        monkeypatch.setenv("COMPANION_EXPLORE", where)
    explore(draw, a=[1, 2])._ipython_display_()
    (item,) = shown
    if where == "page":
        assert item.data.startswith("<figure")
    else:
        assert isinstance(item, ipywidgets.VBox)


def test_draw_is_called_with_the_values_as_they_are():
    # Catches: values turned to text or to positions on the way.
    seen = []

    def spy(a):
        seen.append(a)
        return draw(a)

    value = (1, 2)
    explore(spy, a=[value, None]).page()
    assert seen[0] is value
    assert seen[1] is None


def test_alternative_texts_say_what_their_frame_shows():
    def alt(a, b):
        return f"{a:.2f} & {b}"

    kwargs = {"a": [2.0, 0.5], "b": ["x", "y"], "alt": alt}
    assert page(**kwargs).alts == ["0.50 & x", "0.50 & y", "2.00 & x", "2.00 & y"]
    live = Live(draw, **kwargs)
    assert live.look()["alt"] == "2.00 & x"
    assert live.move("0.5", "y")["alt"] == "0.50 & y"
    assert page(a=[1, 2]).alts == ["a = 1", "a = 2"]
    assert "alt must return a text, got int" in Live(draw, a=[1], alt=lambda a: a).look()
    with pytest.raises(TypeError, match="alt"):
        explore(draw, a=[1], alt=3)


@pytest.mark.parametrize(
    ("start", "position", "frame"),
    [({}, (2, 0), 4), ({"b": "y"}, (2, 1), 5), ({"a": 1, "b": "y"}, (0, 1), 1)],
)
def test_numbers_are_sorted_and_the_start_is_shown_first(start, position, frame):
    kwargs = {"a": [4.0, 1, 2], "b": ["x", "y"], "start": start}
    block = page(**kwargs)
    assert block.first == frame
    controls = block.of("input")
    assert tuple(int(control["value"]) for control in controls) == position
    texts = [["1", "2", "4"][position[0]], ["x", "y"][position[1]]]
    assert [control["aria-valuetext"] for control in controls] == texts
    assert all(text in block.text for text in texts), "beside the sliders"
    live = Live(draw, **kwargs)
    assert [slider.label for slider in live.sliders] == texts
    assert live.look()["alt"] == block.alts[frame]
