"""The figure style, and figures that state numbers."""

import matplotlib as mpl
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from torch.distributions import Independent, Normal, kl_divergence

from companion import plots
from companion.exact import LinearGaussian


@pytest.fixture(autouse=True)
def own_style():
    backend, threads = mpl.get_backend(), torch.get_num_threads()
    with mpl.rc_context():
        mpl.use("Agg")
        yield
    plt.close("all")
    mpl.use(backend)
    torch.set_num_threads(threads)


def luminance(color):
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), channels, strict=True))


def test_setup_seeds_and_sets_the_style():
    torch.set_num_threads(1)
    plots.setup(seed=3)
    first = torch.rand(3)
    assert torch.get_num_threads() == 2
    assert mpl.rcParams["figure.facecolor"] == mpl.rcParams["savefig.facecolor"] == "white"
    torch.rand(1)
    plots.setup(seed=3)
    assert torch.equal(first, torch.rand(3))
    plots.setup(seed=4)
    assert not torch.equal(first, torch.rand(3))


def test_every_color_stands_out_on_white():
    # Contrast against the figures' own face, and no two roles alike.
    for color in plots.COLORS.values():
        assert 1.05 / (luminance(color) + 0.05) > 1.9
    assert len(set(plots.COLORS.values())) == len(plots.COLORS)


@pytest.mark.parametrize(
    ("value", "text"), [(1.234, "1.23"), (-0.5, "−0.50"), (0.0, "0.00"), (-12.0, "−12.00")]
)
def test_nats(value, text):
    assert plots.nats(value) == text


def test_images_are_tiled_row_by_row():
    # Catches: images transposed, placed column by column, or wrapped into one another.
    x = torch.arange(5.0)[:, None].expand(-1, 4) / 10 + torch.tensor([0.0, 0.01, 0.02, 0.03])
    _, ax = plt.subplots()
    plots.images(ax, x, columns=3, gap=1)
    canvas = torch.tensor(ax.images[0].get_array())
    assert canvas.shape == (5, 8)
    for i in range(5):
        top, left = 3 * (i // 3), 3 * (i % 3)
        tile = canvas[top : top + 2, left : left + 2]
        torch.testing.assert_close(tile, x[i].reshape(2, 2).double(), rtol=0, atol=1e-6)
    assert canvas[2].abs().max() == 0
    assert canvas[3:, 6:].abs().max() == 0


def test_images_must_be_square():
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match="square images, got 8"):
        plots.images(ax, torch.zeros(2, 8), columns=2)


def test_bound_bars_end_at_the_marginal():
    _, ax = plt.subplots()
    plots.bound_bar(ax, [-3.0, -2.5], -2.0, floor=-5.0)
    lower, upper = ax.containers
    assert [b.get_height() for b in lower] == pytest.approx([2.0, 2.5])
    assert [b.get_y() + b.get_height() for b in lower] == pytest.approx([-3.0, -2.5])
    assert [b.get_y() + b.get_height() for b in upper] == pytest.approx([-2.0, -2.0])
    assert ax.lines[0].get_ydata()[0] == -2.0
    assert ax.get_ylabel() == "nats"


@pytest.mark.parametrize(("mean", "scale"), [(-1.0, 0.3), (0.9756, 0.6247), (0.5, 2.0)])
def test_the_index_frame_writes_true_numbers(mean, scale):
    # Computed here another way: the marginal from the density, the gap from torch.
    model = LinearGaussian(torch.ones(1, 1), torch.zeros(1), 0.8)
    x = torch.tensor([[1.6]])
    marginal = Normal(0.0, (1 + 0.64) ** 0.5).log_prob(torch.tensor(1.6)).item()
    q = Independent(Normal(torch.tensor([[mean]]), torch.tensor([[scale]])), 1)
    posterior = model.posterior(x)
    exact = Independent(Normal(posterior.mean, posterior.variance.sqrt()), 1)
    gap = kl_divergence(q, exact).item()
    figure = plots.bound_explorer_frame(mean, scale)
    texts = {t.get_text() for t in figure.axes[1].texts}
    assert texts == {
        f"log p(x) = {plots.nats(marginal)}",
        f"gap = {plots.nats(gap)}",
        f"ELBO = {plots.nats(marginal - gap)}",
    }
    labels = {line.get_label() for line in figure.axes[0].lines}
    assert labels == {"prior p(z)", "posterior p(z | x)", "q(z | x)"}
