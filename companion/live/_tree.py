"""The hierarchy that chapter 9 opens with: trained before its reader has trained any."""

from importlib.resources import as_file, files
from typing import Any

import torch

from companion import data
from companion.conditionals import GaussianConditional, StandardNormal, mlp
from companion.models import HVAE, LatentVariableModel, TopDownHVAE
from companion.weights import load_weights

FILE = files(__package__).joinpath("weights/tree.safetensors")
LEVELS, UNITS, WIDTH = 3, 2, 64


def tree_model() -> TopDownHVAE:
    """Return a hierarchy of `data.tree` whose levels mean cluster, branch and leaf, trained.

    It has three levels of two units, a top-down encoder and networks with two hidden layers of 64.
    ``benchmarks/experiments/tree.py`` made it: it is the run of seed 0 with an allowance.

    >>> [tuple(z.shape) for z in tree_model().trace(torch.zeros(5, 2), num_samples=4).z]
    [(4, 5, 2), (4, 5, 2), (4, 5, 2)]
    """
    with torch.random.fork_rng(devices=[]):
        model = untrained("top-down")
    with as_file(FILE) as path:
        load_weights(model, path)
    assert isinstance(model, TopDownHVAE)
    return model.requires_grad_(False)


def tree_levels() -> dict[str, Any]:
    """Return what the figure ``tree_levels`` computes with: the networks, and the tree."""
    model = tree_model()
    parts = {"encoders": model.encoders, "decoders": model.decoders}
    nets = {name: [part.net for part in own] for name, own in parts.items()}
    points, _ = data.tree(500)
    return {**nets, "centres": data.tree_centres(), "points": points.half()}


def untrained(encoder: str) -> LatentVariableModel:
    """Return the hierarchy with random weights; its encoder runs "bottom-up" or "top-down"."""

    def conditional(given: int) -> GaussianConditional:
        return GaussianConditional(mlp(given, WIDTH, WIDTH, 2 * UNITS))

    decoders = [conditional(UNITS) for _ in range(LEVELS)]
    if encoder == "bottom-up":
        encoders = [conditional(UNITS) for _ in range(LEVELS)]
        return HVAE(encoders, decoders, StandardNormal(UNITS))
    encoders = [*(conditional(2 + UNITS) for _ in range(LEVELS - 1)), conditional(2)]
    return TopDownHVAE(encoders, decoders, StandardNormal(UNITS))
