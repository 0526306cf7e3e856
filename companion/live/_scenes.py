"""A hierarchy of pictures: trained before the reader of chapter 9 has trained any."""

from importlib.resources import as_file, files

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from companion.conditionals import GaussianConditional, StandardNormal, mlp
from companion.models import TopDownHVAE
from companion.weights import load_weights

FILE = files(__package__).joinpath("weights/scenes.safetensors")
SIDE, UNITS, SCALE = 16, (6, 4, 2), 0.1


class Coarse(nn.Module):
    """A network that sees a picture through a coarse eye: `look` makes it small first.

    What is given beside the picture, the level above, passes as it is.
    """

    def __init__(self, net: nn.Module, look: str) -> None:
        super().__init__()
        self.net, self.look = net, look

    def forward(self, given: Tensor) -> Tensor:
        pixels, above = given.split([SIDE**2, given.shape[-1] - SIDE**2], dim=-1)
        picture = pixels.unflatten(-1, (1, SIDE, SIDE))
        if self.look == "quarters":
            # 2 × 2: how bright each quarter of the picture is.
            picture = avg_pool2d(picture, SIDE // 2)
        elif self.look == "silhouette":
            # 8 × 8: object or not. The weak parts of a texture, 0.3, count as the strong ones, 1.
            picture = avg_pool2d((picture / 0.3).clamp(max=1), 2)
        return self.net(torch.cat([picture.flatten(1), above], dim=-1))


def scene_model() -> TopDownHVAE:
    """Return a hierarchy of `data.scenes`, trained, whose levels mean place, shape and texture.

    Its levels z_1, z_2, z_3 have six, four and two units. The encoder of z_3 sees the mean of each
    quarter of a picture, that of z_2 its silhouette at half the size, that of z_1 every pixel.
    ``benchmarks/experiments/scenes.py`` made it: it is the run of seed 0.

    >>> [tuple(z.shape) for z in scene_model().trace(torch.zeros(5, 256), num_samples=4).z]
    [(4, 5, 6), (4, 5, 4), (4, 5, 2)]
    """
    with torch.random.fork_rng(devices=[]):
        model = untrained()
    with as_file(FILE) as path:
        load_weights(model, path)
    return model.requires_grad_(False)


def untrained() -> TopDownHVAE:
    """Return the hierarchy with random weights."""
    one, two, three = UNITS
    encoders = [
        GaussianConditional(Coarse(mlp(SIDE**2 + two, 104, 64, 2 * one), "pixels")),
        GaussianConditional(Coarse(mlp(SIDE**2 // 4 + three, 96, 64, 2 * two), "silhouette")),
        GaussianConditional(Coarse(mlp(4, 32, 2 * three), "quarters")),
    ]
    decoders = [
        GaussianConditional(mlp(one, 64, 112, SIDE**2), SCALE),
        GaussianConditional(mlp(two, 64, 64, 2 * one)),
        GaussianConditional(mlp(three, 64, 64, 2 * two)),
    ]
    return TopDownHVAE(encoders, decoders, StandardNormal(three))
