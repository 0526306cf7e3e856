"""What the tests of explorers share: a drawing, a reader of the page's HTML, one of the widgets."""

import json
import re
from html.parser import HTMLParser

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt

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


class Block(Page):
    """An explorer in a page: its frames in order, and which of them is there without script."""

    def __init__(self, block):
        super().__init__(block)
        self.first, self.shown, self.frames = json.loads(
            re.search('<script type="application/json">(.*?)</script>', block)[1]
        )
        assert self.frames[self.first] is None
        there = '<div class="explorer-frame">(.*)</div><div class="explorer-controls">'
        self.frames[self.first] = re.search(there, block)[1]

    @property
    def alts(self):
        return [Page(frame).of("div")[0]["aria-label"] for frame in self.frames]


def page(**kwargs):
    return Block(explore(draw, **kwargs).page())


class Live:
    """The widgets of an explorer."""

    def __init__(self, draw, **kwargs):
        *self.sliders, self.picture = explore(draw, **kwargs).widget().children

    def move(self, *texts):
        for slider, text in zip(self.sliders, texts, strict=True):
            slider.label = text
        return self.look()

    def look(self):
        """The picture's attributes, or what is said instead."""
        seen = Page(self.picture.value)
        images = seen.of("img")
        assert bool(images) != bool(seen.of("div")), "either a picture or a message"
        return images[0] if images else "".join(seen.text)
