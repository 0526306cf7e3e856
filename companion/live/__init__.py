"""Figures that compute in the page: what the reader drags is what the package computes.

A figure is a module of plain JavaScript in ``figures/``; its numbers are compared with the
package's. Python hands it tensors and networks, and a cell shows it:

    live.figure("bar", x=1.6, scale=0.8, number="3.1", alt="…", caption="…")

In the published page the scripts are loaded once. In JupyterLab, Colab and VS Code the output of a
cell is an island: it carries what it needs. No kernel, no widget and no other host takes part.
"""

from companion.live._diffusion import diffusion, digit_diffusion, wheel_diffusion
from companion.live._digits import code_planes, digit_models, latent_map
from companion.live._figure import Figure, figure
from companion.live._scenes import scene_model
from companion.live._tree import tree_levels, tree_model

__all__ = [
    "Figure",
    "code_planes",
    "diffusion",
    "digit_diffusion",
    "digit_models",
    "figure",
    "latent_map",
    "scene_model",
    "tree_levels",
    "tree_model",
    "wheel_diffusion",
]
