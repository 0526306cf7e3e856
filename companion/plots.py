"""The book's figure style, and the figures that more than one page draws.

Colours are those of Okabe and Ito, told apart by readers with any kind of colour vision. Figures
have a white face of their own, so that they read on light and on dark pages.
"""

from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import torch
from cycler import cycler
from jaxtyping import Float
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from companion.exact import LinearGaussian

__all__ = ["COLORS", "bound_bar", "bound_explorer_frame", "images", "nats", "setup"]

COLORS: Final = {
    "prior": "#999999",
    "posterior": "#0072B2",
    "q": "#E69F00",
    "elbo": "#009E73",
    "gap": "#D55E00",
    "data": "#000000",
    "model": "#CC79A7",
    "other": "#56B4E9",
}
"""One colour for each role, the same in all figures of the book."""

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
    ax.imshow(canvas, vmin=0, vmax=limit, interpolation="nearest")
    ax.set_axis_off()


def bound_bar(
    ax: Axes, elbo: float | Sequence[float], log_marginal: float, *, floor: float
) -> None:
    """Stack ELBO and gap under the line of log p(x), one bar for each ELBO.

    Args:
        ax: Where.
        elbo: Height(s) of the lower part, in nats.
        log_marginal: log p(x), where every stack ends.
        floor: Where the bars start, in nats, below every ELBO.
    """
    low = np.atleast_1d(elbo)
    at = np.arange(len(low))
    ax.bar(at, low - floor, bottom=floor, width=0.6, color=COLORS["elbo"], label="ELBO")
    ax.bar(at, log_marginal - low, bottom=low, width=0.6, color=COLORS["gap"], label="gap")
    ax.axhline(log_marginal, color=COLORS["data"], linestyle="--", linewidth=1.5)
    ax.set_ylim(floor, log_marginal + 0.08 * (log_marginal - floor))
    ax.set_xticks([])
    ax.set_ylabel("nats")


def bound_explorer_frame(mean: float, scale: float) -> Figure:
    """Draw q(z | x) = N(mean, scale²) beside prior and posterior, and its ELBO under log p(x).

    The model is linear and Gaussian with one latent unit and one pixel, so that both parts of the
    stack are computed exactly and apart: the ELBO in closed form, the gap as KL(q ‖ posterior).

    Args:
        mean: Mean of q.
        scale: Standard deviation of q.
    """
    model = LinearGaussian(torch.ones(1, 1), torch.zeros(1), scale=0.8)
    x = torch.tensor([[1.6]])
    q = Normal(torch.tensor([[mean]]), torch.tensor([[scale]]))
    posterior = model.posterior(x)
    exact = Normal(posterior.mean, posterior.variance.sqrt())
    elbo = model.elbo(x, Independent(q, 1)).item()
    gap = kl_divergence(q, exact).item()

    figure, (left, right) = plt.subplots(1, 2, width_ratios=[3, 1.6])
    z = torch.linspace(-3, 3, 301)
    curves: list[tuple[str, Normal, str, str]] = [
        ("prior p(z)", Normal(0.0, 1.0), "prior", "-"),
        ("posterior p(z | x)", exact, "posterior", "-"),
        ("q(z | x)", q, "q", "-"),
    ]
    for label, distribution, role, line in curves:
        density = distribution.log_prob(z).exp().squeeze()
        left.plot(z, density, line, color=COLORS[role], label=label)
        if role == "q":
            left.fill_between(z, density, color=COLORS[role], alpha=0.2)
    left.set(xlabel="z", ylabel="density", ylim=(0, 1.75), xlim=(-3, 3))
    left.legend(loc="upper left")

    bound_bar(right, elbo, elbo + gap, floor=-7.0)
    right.set_xlim(-0.5, 1.9)
    right.text(0.4, elbo + gap, f"log p(x) = {nats(elbo + gap)}", va="bottom")
    # A small gap is named below the line of log p(x), not on it.
    middle = elbo + gap - max(gap / 2, 0.3)
    right.text(0.4, middle, f"gap = {nats(gap)}", va="center", color=COLORS["gap"])
    right.text(0.4, (elbo - 7.0) / 2, f"ELBO = {nats(elbo)}", va="center", color=COLORS["elbo"])
    right.set_title("ELBO + gap = log p(x)")
    return figure
