"""Figures in the page: inline SVG in the page's ink, panels, text, points and pictures."""

import base64
import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle, FancyArrowPatch
from PIL import Image

from companion import _plots, plots

ALT = "What the figure shows."


@pytest.fixture(autouse=True)
def style():
    with mpl.rc_context(plots.STYLE):
        yield
        plt.close("all")


@pytest.fixture
def axes():
    return plt.subplots(figsize=(4, 3))[1]


def svg(ax):
    """The only panel of a figure, as a tree."""
    ax.figure.canvas.draw()
    block = _plots.inline_svg(ax.figure, ALT)
    return ET.fromstring(block)[0]


def paths(tree, needle):
    return [e.attrib["d"] for e in tree.iter("path") if needle in ET.tostring(e, "unicode")]


def points(d):
    """The corners of a path whose steps are relative."""
    start, steps = re.fullmatch(r"M([^lh]*)(?:l(.*?)|h0)?z?", d).groups()
    numbers = [
        [float(n) for n in re.findall(r"-?(?:\d+\.?\d*|\.\d+)", s or "")] for s in (start, steps)
    ]
    return np.cumsum(np.array(numbers[0] + numbers[1]).reshape(-1, 2), axis=0)


def test_colors_are_those_of_the_page(axes):
    for role, color in plots.COLORS.items():
        axes.plot([0, 1], [0, 1], color=color, label=role)
    axes.plot([0, 1], [1, 0], color="#666666")
    axes.plot([0, 1], [1, 0], color="#123456")
    axes.bar([0], [1], color="white")
    text = ET.tostring(svg(axes), "unicode")
    for role, color in plots.COLORS.items():
        if role != "data":
            assert f'stroke="var(--fig-{role},{color.lower()})"' in text
    assert 'stroke="currentColor" stroke-opacity="0.6"' in text
    assert "color-mix(in oklab,#123456 var(--fig-pure,100%),currentColor)" in text
    assert 'fill="var(--fig-ground,#fff)"' in text
    assert "#000000" not in text


def luminance(color):
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), channels, strict=True))


def test_hues_can_be_read_on_both_grounds():
    static = Path(__file__).parents[1] / "book" / "_static"
    css, page = ((static / f"{name}.css").read_text("utf-8") for name in ("figures", "book"))
    grounds = re.search(r"--book-paper: light-dark\((#\w+), (#\w+)\);", page).groups()
    for block, ground in zip(re.findall(r"{([^}]*--fig-q[^}]*)}", css), grounds, strict=True):
        hues = dict(re.findall(r"--fig-(\w+): (#\w+);", block))
        assert set(hues) == set(plots.COLORS) - {"data"}
        for role, hue in hues.items():
            light, dark = sorted((luminance(hue), luminance(ground)))
            # All but one colour words as well as lines.
            assert (dark + 0.05) / (light + 0.05) > (3.4 if role == "other" else 4.5), role


def test_the_ground_is_the_pages(axes):
    assert not [e for e in svg(axes).iter("path") if "fig-ground" in ET.tostring(e, "unicode")]
    assert axes.patch.get_visible(), "afterwards as before"
    assert axes.figure.patch.get_visible()


def test_text_is_text_and_stands_where_the_figure_has_it(axes):
    axes.set_xscale("log")
    axes.set_xlim(1e-4, 10)
    axes.set_xlabel("a < b")
    axes.text(1, 0.5, "right", ha="right", color=plots.COLORS["gap"], weight="bold")
    found = {"".join(e.itertext()): e.attrib for e in svg(axes).iter("text")}
    assert found["a < b"]["text-anchor"] == "middle"
    assert found["10−3"]["text-anchor"] == "middle"
    assert found["right"]["text-anchor"] == "end"
    assert found["right"]["font-weight"] == "bold"
    assert found["right"]["fill"] == "var(--fig-gap,#d55e00)"
    x, y = axes.transData.transform((1, 0.5)) * 72 / axes.figure.dpi
    assert float(found["right"]["x"]) == pytest.approx(x, abs=0.2)
    assert float(found["right"]["y"]) == pytest.approx(
        axes.figure.get_figheight() * 72 - y, abs=1.5
    )


def test_a_line_is_where_it_was_and_has_no_needless_points(axes):
    x = np.linspace(0, 1, 2000)
    axes.plot(x, np.sin(6 * x), color=plots.COLORS["elbo"])
    axes.set(xlim=(0, 1), ylim=(-1.5, 1.5))
    (d,) = paths(svg(axes), "--fig-elbo")
    got = points(d)
    assert len(got) < 80
    drawn = axes.transData.transform(np.stack([x, np.sin(6 * x)], 1)) * 72 / axes.figure.dpi
    drawn[:, 1] = axes.figure.get_figheight() * 72 - drawn[:, 1]
    away = np.abs(np.interp(drawn[:, 0], got[:, 0], got[:, 1]) - drawn[:, 1])
    assert away.max() < 0.5


@pytest.mark.parametrize("filled", [False, True])
def test_what_leaves_the_axes_is_cut(axes, filled):
    x = np.linspace(0, 1, 50)
    if filled:
        axes.fill_between(x, 9 * x - 4, color=plots.COLORS["q"])
    else:
        axes.plot(x, 9 * x - 4, color=plots.COLORS["q"])
    axes.set(xlim=(0, 1), ylim=(0, 1))
    tree = svg(axes)
    box = axes.get_window_extent().get_points() * 72 / axes.figure.dpi
    low, high = axes.figure.get_figheight() * 72 - box[::-1, 1]
    corners = np.concatenate([points(d) for d in paths(tree, "--fig-q")])
    assert corners[:, 1].min() == pytest.approx(low, abs=1.2)
    assert corners[:, 1].max() == pytest.approx(high, abs=1.2)
    assert "clip" not in ET.tostring(tree, "unicode")


@pytest.mark.parametrize("filled", [False, True])
def test_what_lies_outside_the_axes_is_left_out(axes, filled):
    if filled:
        axes.fill_between([0, 1], [5, 6], [6, 7], color=plots.COLORS["q"])
    else:
        axes.plot([0, 1], [5, 6], color=plots.COLORS["q"])
    axes.set(ylim=(0, 1))
    assert not paths(svg(axes), "--fig-q")


def test_points_of_one_look_are_one_path(axes):
    rng = np.random.default_rng(0)
    axes.scatter(*rng.random((2, 500)), s=9, color=plots.COLORS["q"])
    axes.scatter(*rng.random((2, 400)), s=9, color=plots.COLORS["gap"], alpha=0.5)
    axes.plot(*rng.random((2, 30)), "o", color=plots.COLORS["elbo"])
    tree = svg(axes)
    solid, through, line = (paths(tree, f"--fig-{role}") for role in ("q", "gap", "elbo"))
    assert [len(solid), len(line)] == [1, 1]
    assert len(through) == 4, "points that shine through add up"
    assert sum(d.count("M") for d in through) == 400
    assert solid[0].count("M") == 500
    assert line[0].count("M") == 30


@pytest.mark.parametrize("marker", ["x", "+", "s", "X", "^", "o", "|"])
def test_every_marker_is_seen(axes, marker):
    axes.plot([0.5], [0.5], marker, color=plots.COLORS["q"])
    assert paths(svg(axes), "--fig-q")


def test_every_area_of_a_contour_plot_is_there(axes):
    x = np.linspace(-1, 1, 9)
    axes.contourf(x, x, -(x[:, None] ** 2) - x**2, levels=[-2, -1, -0.05, 0], colors=list("rgb"))
    text = ET.tostring(svg(axes), "unicode")
    for color in ("#ff0000", "#008000", "#0000ff"):
        assert color in text, "the innermost has few corners, and its place is the origin"


def test_a_bar_of_colors_is_drawn_beside_its_panel(axes):
    mesh = axes.pcolormesh(np.arange(6).reshape(2, 3), cmap="viridis")
    axes.figure.colorbar(mesh)
    text = ET.tostring(svg(axes), "unicode")
    assert text.count("#440154") == 2, "the least: one of the mesh, and the bar's end"
    assert _plots.inline_svg(axes.figure, ALT).count("<svg") == 1


def test_ticks_are_one_path_with_their_axis(axes):
    axes.set(xticks=range(20), xlim=(0, 20))
    assert len(list(svg(axes).iter("path"))) <= 3


def test_a_shape_that_is_drawn_often_is_written_once(axes):
    rng = np.random.default_rng(0)
    axes.scatter(*rng.random((2, 100)), marker="$8$", color=plots.COLORS["q"])
    axes.scatter(*rng.random((2, 100)), marker="$3$", color=plots.COLORS["q"])
    tree = svg(axes)
    names = [e.attrib["id"] for e in tree.iter("path") if "id" in e.attrib]
    uses = [e.attrib["href"] for e in tree.iter("use")]
    assert len(names) == 2
    assert uses == [f"#{name}" for name in names for _ in range(99)]


def test_grey_pictures_are_ink_and_others_are_as_they_were(axes):
    grey, color = np.linspace(0, 1, 12).reshape(3, 4), np.random.default_rng(0).random((3, 4, 3))
    axes.imshow(grey, cmap="gray_r", interpolation="none", extent=(0, 1, 0, 1))
    axes.imshow(color, interpolation="none", extent=(1, 2, 0, 1))
    axes.set_xlim(0, 2)
    images = list(svg(axes).iter("image"))
    assert [image.get("class") for image in images] == ["fig-ink", None]
    pixels = []
    for image in images:
        data = base64.b64decode(image.attrib["href"].split(",")[1])
        pixels.append(np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")))
    assert pixels[0].shape[:2] == pixels[1].shape[:2] == (3, 4), "their own pixels"
    assert np.abs(pixels[0][..., 3] / 255 - grey).max() < 0.02, "the darker, the more ink"
    assert np.abs(pixels[1][..., :3] / 255 - color).max() < 0.01


def test_columns_are_panels_and_what_spans_them_keeps_them_together():
    figure, _ = plt.subplots(1, 3, figsize=(7.5, 2.5))
    assert _plots.inline_svg(figure, ALT).count("<svg") == 3
    figure.suptitle("over all three of them, from end to end")
    assert _plots.inline_svg(figure, ALT).count("<svg") == 1


def test_panels_lose_nothing():
    figure, axes = plt.subplots(1, 2)
    for ax in axes:
        ax.plot([0, 1], label="line")
        ax.set(xlabel="x", ylabel="y", title="t")
        ax.legend()
    block = ET.fromstring(_plots.inline_svg(figure, ALT))
    for panel in block:
        words = ["".join(e.itertext()) for e in panel.iter("text")]
        assert {"x", "y", "t", "line"} <= set(words)
    widths = [float(panel.attrib["viewBox"].split()[2]) for panel in block]
    assert sum(widths) == pytest.approx(7.5 * 72, abs=0.3)


def test_one_column_is_narrower_and_two_are_not():
    for columns, width in ((1, _plots.NARROW), (2, 7.5)):
        figure, _ = plt.subplots(1, columns, figsize=(7.5, 3))
        assert _plots.narrowed(figure).get_figwidth() == width


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.04, "0"),
        (-0.04, "0"),
        (0.5, ".5"),
        (-0.5, "-.5"),
        (10.0, "10"),
        (-10.26, "-10.3"),
        (100.5, "100.5"),
    ],
)
def test_numbers_are_short(value, text):
    assert _plots._number(value) == text


def test_a_page_gets_one_figure_and_a_kernel_the_picture_and_its_caption(monkeypatch, axes):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: shown.append((*a, k)))
    monkeypatch.setenv("COMPANION_EXPLORE", "")
    plots.show(axes.figure, "3.2", "a < b", alt=ALT)
    assert shown[0] == (axes.figure, {"metadata": {"image/png": {"alt": ALT}}})
    assert shown[1][0].data == "**Figure 3.2.** a < b"
    assert not plt.get_fignums(), "closed: the inline backend would show it again"
    monkeypatch.setenv("COMPANION_EXPLORE", "page")
    figure, _ = plt.subplots()
    plots.show(figure, "3.2", "a < b", alt=ALT)
    tree = ET.fromstring(shown[2][0].data)
    assert tree.attrib == {"class": "figure", "id": "fig-3-2"}
    assert tree[0].attrib["aria-label"] == ALT
    assert "".join(tree.find("figcaption").itertext()) == "Figure 3.2 a < b"
    assert not plt.get_fignums()


# --- diagrams -----------------------------------------------------------------------------------

ROW = {"x": (0, 0, "observed"), "z₁": (1.5, 0, "latent"), "z₂": (3, 0, "latent")}
GALLERY = {
    "graphical model": (
        {"z": (0, 1.3, "latent"), "x": (0, 0, "observed")},
        [("z", "x", "p(x | z)", "model"), ("x", "z", "q(z | x)", "q")],
        0.25,
    ),
    "encoder and decoder": (
        {
            "x": (0, 0, "observed"),
            "encoder": (1.3, 0, "net"),
            "z": (2.6, 0, "latent"),
            "decoder": (3.9, 0, "net"),
        },
        [("x", "encoder", "", ""), ("encoder", "z", "", "q"), ("z", "decoder", "", "")],
        0.0,
    ),
    "the stochastic node moved aside": (
        {
            "μ, σ": (0, 0, "latent"),
            "z": (1.7, 0, "latent"),
            "ε": (1.7, 1, "noise"),
        },
        [("μ, σ", "z", "z = μ + σε", ""), ("ε", "z", "", "")],
        0.0,
    ),
    "hierarchy": (
        ROW,
        [
            ("x", "z₁", "q(z₁ | x)", "q"),
            ("z₁", "z₂", "q(z₂ | z₁)", "q"),
            ("z₂", "z₁", "p(z₁ | z₂)", "model"),
            ("z₁", "x", "p(x | z₁)", "model"),
        ],
        0.3,
    ),
    "forward and reverse chain": (
        ROW,
        [("x", "z₁", "q", "q"), ("z₁", "z₂", "q", "q"), ("z₂", "z₁", "p", "model")],
        0.3,
    ),
}


@pytest.mark.parametrize("name", GALLERY)
def test_diagrams(name):
    nodes, arrows, bend = GALLERY[name]
    figure = plots.diagram(nodes, arrows, bend=bend)
    circles = [p for p in figure.axes[0].patches if isinstance(p, Circle)]
    heads = [p for p in figure.axes[0].patches if isinstance(p, FancyArrowPatch)]
    assert len(circles) == sum(kind != "net" for _, _, kind in nodes.values())
    assert len(heads) == len(arrows)
    block = ET.fromstring(_plots.inline_svg(figure, ALT))
    width, height = (float(n) for n in block[0].attrib["viewBox"].split()[2:])
    words = {"".join(e.itertext()) for e in block.iter("text")}
    assert words >= {*nodes, *(label for _, _, label, _ in arrows if label)}
    # Nothing leaves the picture, the heads of the arrows least of all.
    for d in (e.attrib["d"] for e in block.iter("path")):
        for part in re.findall("M[^M]*", d):
            corners = points(part)
            assert corners.min() > -1
            assert (corners.max(0) < (width + 1, height + 1)).all()


def test_arrows_stop_at_the_nodes_they_join():
    nodes = {"a": (0, 0, "latent"), "b": (2, 0, "latent")}
    figure = plots.diagram(nodes, [("a", "b", "", "q")])
    (arrow,) = [p for p in figure.axes[0].patches if isinstance(p, FancyArrowPatch)]
    figure.canvas.draw()
    ends = figure.axes[0].transData.inverted().transform(arrow.get_tightbbox().get_points())
    assert 0.26 < ends[0, 0] < 0.35
    assert 1.65 < ends[1, 0] < 1.74
