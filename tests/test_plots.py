"""The figure style, and figures that state numbers."""

import matplotlib as mpl
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb

from companion import plots


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
