"""The book's figure style, and the figures that more than one page draws.

Colours are those of Okabe and Ito, told apart by readers with any kind of colour vision. In a
kernel figures have a white face of their own; the page draws them in its own ink.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import torch
from cycler import cycler
from jaxtyping import Float
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch
from torch import Tensor

from companion._page import anchor, captioned, in_page
from companion._plots import COLORS, inline_svg, narrowed

__all__ = [
    "COLORS",
    "diagram",
    "images",
    "nats",
    "setup",
    "show",
]

STYLE: Final[dict[Any, Any]] = {
    "figure.figsize": (7.5, 3.2),
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.prop_cycle": cycler(
        color=["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000"]
    ),
    "legend.frameon": False,
    "image.cmap": "gray_r",
    "lines.linewidth": 2,
}


def setup(seed: int = 0) -> None:
    """Prepare a chapter: seed torch, use two threads, set the figure style.

    Args:
        seed: Of torch's global generator.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(2)
    mpl.rcParams.update(STYLE)
    if mpl.get_backend().lower().endswith("inline"):
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("retina")


def show(figure: Figure, number: str, caption: str, *, alt: str) -> None:
    """Show a figure with its number and caption, and close it.

    Args:
        figure: What was drawn.
        number: Of chapter and figure, such as "3.2".
        caption: What to see in it, in a sentence or two.
        alt: What it shows, for readers who cannot see it.
    """
    from IPython.display import HTML, Markdown, display

    if in_page():
        picture = inline_svg(figure, alt) + captioned(number, caption)
        display(HTML(f'<figure class="figure" id="{anchor(number)}">{picture}</figure>'))
    else:
        display(narrowed(figure), metadata={"image/png": {"alt": alt}})
        display(Markdown(f"**Figure {number}.** {caption}"))
    plt.close(figure)


def diagram(
    nodes: Mapping[str, tuple[float, float, str]],
    arrows: Iterable[tuple[str, str, str, str]],
    *,
    bend: float = 0.0,
) -> Figure:
    """Draw nodes and the arrows between them: a graphical model, or how data flow.

    Args:
        nodes: For each name its place, in inches, and its kind: "latent" is a circle, "observed" a
            shaded one, "noise" a dashed one, and "net" a box.
        arrows: From which node to which, what is written beside it, and the role that colours it:
            "model" is solid, "q" is dashed, anything else is ink.
        bend: Of arrows to their left, so that two ways are two lines.
    """
    places = np.array([place[:2] for place in nodes.values()], float)
    margin = np.array([0.46 if np.ptp(places[:, 0]) else 1.2, 0.45])  # words beside one column
    low, high = places.min(0) - margin, places.max(0) + margin
    figure = plt.figure(figsize=tuple(high - low), layout="none")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    ax.set_axis_off()
    shapes: dict[str, Patch] = {}
    for name, (x, y, kind) in nodes.items():
        shape = (
            FancyBboxPatch(
                (x - 0.42, y - 0.2), 0.84, 0.4, boxstyle="round,pad=0,rounding_size=0.08"
            )
            if kind == "net"
            else Circle((x, y), 0.26)
        )
        shape.set(
            facecolor="#dddddd" if kind == "observed" else "none",
            edgecolor=COLORS["data"],
            linewidth=1.3,
            linestyle="--" if kind == "noise" else "-",
        )
        shapes[name] = ax.add_patch(shape)
        ax.text(x, y, name, ha="center", va="center_baseline")
    for start, end, label, role in arrows:
        a, b = np.array(nodes[start][:2], float), np.array(nodes[end][:2], float)
        color = COLORS.get(role, COLORS["data"])
        look: Any = {
            "arrowstyle": "-|>,head_width=0.22,head_length=0.45",
            "connectionstyle": f"arc3,rad={-bend}",
            "mutation_scale": 10,
            "patchA": shapes[start],
            "patchB": shapes[end],
            "shrinkA": 2,
            "shrinkB": 3,
            "color": color,
            "linestyle": "--" if role == "q" else "-",
            "linewidth": 1.5,
        }
        ax.add_patch(FancyArrowPatch(tuple(a), tuple(b), **look))
        left = np.array([a[1] - b[1], b[0] - a[0]]) / np.hypot(*(b - a))
        x, y = (a + b) / 2 + left * (0.16 + bend / 2 * np.hypot(*(b - a)))
        side = "center" if abs(left[0]) < 0.5 else "left" if left[0] > 0 else "right"
        ax.text(x, y, label, ha=side, va="center", color=color, fontsize=10)
    return figure


def nats(value: float) -> str:
    """Return a number of nats as figures write it: two decimals, with a true minus sign."""
    return f"{value:.2f}".replace("-", "−")


def images(
    ax: Axes, x: Float[Tensor, "N D"], *, columns: int, gap: int = 1, limit: float = 1.0
) -> None:
    """Draw square images as one tiled picture, dark on white, in the order of their rows.

    Args:
        ax: Where.
        x: Pixels, (N, D), D a square number; 0 is white and `limit` is black.
        columns: Images in a row.
        gap: White pixels between images.
        limit: The value drawn black.
    """
    side = round(x.shape[1] ** 0.5)
    if side * side != x.shape[1]:
        raise ValueError(f"x must hold square images, got {x.shape[1]} pixels in a row")
    rows = -(-len(x) // columns)
    canvas = np.zeros((rows * (side + gap) - gap, columns * (side + gap) - gap))
    for i, image in enumerate(x.detach().cpu().reshape(-1, side, side).numpy()):
        top, left = (side + gap) * (i // columns), (side + gap) * (i % columns)
        canvas[top : top + side, left : left + side] = image
    ax.imshow(canvas, vmin=0, vmax=limit, interpolation="none")
    ax.set_axis_off()
