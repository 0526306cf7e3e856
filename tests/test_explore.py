"""Explorers: the block of a page, and the widgets of a live kernel."""

import base64
import io
import re
from html.parser import HTMLParser

import ipywidgets
import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from companion import explore as module
from companion.explore import explore


@pytest.fixture(autouse=True)
def agg():
    backend = mpl.get_backend()
    mpl.use("Agg")
    yield
    assert not plt.get_fignums(), "a drawn figure was left open"
    mpl.use(backend)


def draw(a, b="x"):
    figure, ax = plt.subplots(figsize=(2, 1))
    ax.set_title(f"{a} {b}")
    return figure


class Page(HTMLParser):
    """The elements of a block, with their attributes, in order."""

    def __init__(self, block):
        super().__init__()
        self.elements, self.text = [], []
        self.feed(block)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)

    def of(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def page(**kwargs):
    return Page(explore(draw, **kwargs).page())


def test_one_frame_for_each_combination_in_order():
    # The script takes the sliders' positions as digits: the last control must turn fastest.
    calls = []

    def spy(**values):
        calls.append(values)
        return draw(**values)

    explorer = explore(spy, a=[1, 2, 3], b=["x", "y"])
    block = Page(explorer.page())
    assert explorer.num_frames == len(block.of("img")) == 6
    assert calls == [{"a": a, "b": b} for a in (1, 2, 3) for b in ("x", "y")]
    frames = [image["src"] for image in block.of("img")]
    assert len(set(frames)) == 6


def test_only_the_first_frame_shows_without_script():
    hidden = ["hidden" in image for image in page(a=[1, 2, 3]).of("img")]
    assert hidden == [False, True, True]


def test_frames_are_pictures_within_the_budget():
    for image in page(a=[1, 2]).of("img"):
        kind, data = image["src"].split(";base64,")
        frame = base64.b64decode(data)
        assert kind == "data:image/webp"
        assert len(frame) <= module.FRAME_BYTES
        assert Image.open(io.BytesIO(frame)).size == (260, 130)


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
    assert {image["alt"] for image in block.of("img")} == {'a "figure" <of> two'}
    script = block.text[-1]
    assert '["\\u22120.5", "0.001", "40"]' in script or '["−0.5", "0.001", "40"]' in script


def test_a_page_asks_nothing_of_any_host():
    block = explore(draw, a=[1, 2], alt="a").page()
    without_frames = re.sub(r"data:image/webp;base64,[A-Za-z0-9+/=]+", "", block)
    assert "://" not in without_frames
    for word in ("require", "import", "fetch", "http", "widget", "eval"):
        assert word not in without_frames


def test_two_explorers_of_a_page_do_not_share_names():
    first, second = (page(a=values).of("figure")[0]["id"] for values in ([1, 2], [1, 3]))
    assert first != second
    assert first == page(a=[1, 2]).of("figure")[0]["id"], "the same in every build"


def test_text_cannot_close_the_script():
    block = explore(draw, labels={"a": "</script>"}, a=["</script>", "b"]).page()
    assert block.count("</script>") == 1


def test_too_much_for_a_page(monkeypatch):
    monkeypatch.setattr(module, "EXPLORER_BYTES", 1000)
    with pytest.raises(ValueError, match=r"more than 1,000; .*fewer values \(2 frames now\)"):
        explore(draw, a=[1, 2]).page()


def test_too_much_for_a_frame(monkeypatch):
    monkeypatch.setattr(module, "FRAME_BYTES", 100)
    with pytest.raises(ValueError, match="more than 100; draw less"):
        explore(draw, a=[1]).page()


def test_a_photograph_takes_the_lossy_way():
    import numpy as np

    def noise(a):
        figure, ax = plt.subplots(figsize=(2, 1))
        ax.imshow(np.random.default_rng(a).random((40, 80, 3)))
        return figure

    assert len(explore(noise, a=[1, 2]).page()) < 3 * module.FRAME_BYTES


def test_a_live_kernel_gets_sliders_that_redraw():
    calls = []

    def spy(**values):
        calls.append(values)
        return draw(**values)

    box = explore(spy, labels={"a": "β"}, a=[0.5, 2.0], b=["x", "y", "z"]).widget()
    first, second, picture = box.children
    assert isinstance(first, ipywidgets.SelectionSlider)
    assert first.description == "β"
    assert [label for label, _ in first.options] == ["0.5", "2"]
    assert calls == [{"a": 0.5, "b": "x"}], "one figure, not every frame"
    before = bytes(picture.value)
    first.value = 2.0
    second.value = "z"
    assert calls[1:] == [{"a": 2.0, "b": "x"}, {"a": 2.0, "b": "z"}]
    assert bytes(picture.value) != before
    assert bytes(picture.value).startswith(b"\x89PNG")


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
