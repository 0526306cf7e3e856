"""The page that says how figures work: its example runs, and it leaves no figure out."""

import re
from pathlib import Path

import pytest

from companion.live import _bundle

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "book/how_figures_work.md").read_text("utf-8")
FIGURES = sorted(path.stem for path in (ROOT / "companion/live/figures").glob("*.js"))
BLOCKS = re.findall(r"^```(js|python)\n(.*?)^```$", PAGE, re.M | re.S)


def test_every_figure_is_listed_and_tested():
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.M)
    assert sorted(rows) == FIGURES
    for name in FIGURES:
        # `test_diffusion.py` tests the package's module: the figure's tests have a longer name.
        files = [ROOT / f"tests/live/test_{name}{end}.py" for end in ("", "_figure")]
        assert any(file.is_file() for file in files), name


def test_its_modules_are_there():
    for name in re.findall(r"`([\w/]+\.js)`", PAGE):
        if not name.startswith("companion"):
            assert _bundle.source(name), name


@pytest.mark.browser
def test_its_example_works_as_it_stands(browser, monkeypatch):
    (_, script), (_, cell), (_, test) = BLOCKS
    source = _bundle.source
    monkeypatch.setattr(
        _bundle, "source", lambda name: script if name.endswith("/entropy.js") else source(name)
    )
    _bundle.script.cache_clear()
    space = {}
    exec(cell, space)
    assert "entropy" in space["live"].figure("entropy", unit=1, alt="", task="")._repr_html_()
    exec(test, space)
    space["test_the_entropy_is_torchs"](browser)
