"""Does a hierarchy model the tree better than a flat VAE of equal weights and steps?

The data are the tree of `tree.py`. All models have about as many weights as its hierarchy of three
levels, and train on the same points in as many steps. A level's conditionals have two hidden
layers; those of the deep flat VAE have six, as many as stand between the top of three levels and x.

Each model is trained plainly, under a warm-up, and with 3 free nats in all, so that no opponent is
one whose code sleeps. Numbers of three levels are those of `tree.json`, for its first three seeds.

    .venv/bin/python benchmarks/experiments/stacks.py        # all runs, about 15 CPU s each
"""

import hashlib
import json
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import CosineAnnealingLR

from companion import (
    HVAE,
    GaussianConditional,
    LatentVariableModel,
    StandardNormal,
    TopDownHVAE,
    data,
    elbo,
    log_marginal,
    mlp,
    train_epoch,
)

sys.path.insert(0, str(Path(__file__).parent))
import tree

WEIGHTS, FREE = 27_928, 3.0
# Units of each level, hidden layers of each conditional, and which way the encoder runs.
KINDS = {
    "flat, 2 units": ((2,), 2, "bottom-up"),
    "flat, 6 units": ((6,), 2, "bottom-up"),
    "flat, 6 units, deep": ((6,), 6, "bottom-up"),
    "two levels, bottom-up": ((3, 3), 2, "bottom-up"),
    "two levels, top-down": ((3, 3), 2, "top-down"),
}
RECIPES, SEEDS = ["plain", "warm-up", "free bits"], [0, 1, 2]
RUNS = [(kind, recipe, seed) for seed in SEEDS for recipe in RECIPES for kind in KINDS]
RESULTS = Path(__file__).with_suffix(".json")


def count(model: LatentVariableModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def of_width(kind: str, width: int) -> LatentVariableModel:
    units, depth, encoder = KINDS[kind]

    def conditional(given: int, out: int) -> GaussianConditional:
        return GaussianConditional(mlp(given, *[width] * depth, 2 * out))

    sizes = [2, *units]
    decoders = [conditional(a, b) for b, a in zip(sizes, units, strict=False)]
    if encoder == "bottom-up":
        encoders = [conditional(a, b) for a, b in zip(sizes, units, strict=False)]
        return HVAE(encoders, decoders, StandardNormal(units[-1]))
    above = [*units[1:], 0]
    encoders = [conditional(2 + a, b) for a, b in zip(above, units, strict=True)]
    return TopDownHVAE(encoders, decoders, StandardNormal(units[-1]))


def untrained(kind: str) -> LatentVariableModel:
    """Return the model whose number of weights is nearest to that of the three levels."""
    with torch.random.fork_rng(devices=[]):
        width = min(range(8, 200), key=lambda w: abs(count(of_width(kind, w)) - WEIGHTS))
    return of_width(kind, width)


def train(model: LatentVariableModel, x: Tensor, recipe: str) -> None:
    levels = len(model.decoders)
    free = torch.full((levels, 1), FREE / levels if recipe == "free bits" else 0.0)
    rise = (tree.WARM_UP if recipe == "warm-up" else tree.AT_ONCE)[:levels]

    def clip(*_: Any) -> None:
        clip_grad_norm_(model.parameters(), tree.CLIP)

    optimizer = torch.optim.Adam(model.parameters(), lr=tree.LR, fused=True)
    optimizer.register_step_pre_hook(clip)
    cosine = CosineAnnealingLR(optimizer, tree.EPOCHS)
    for epoch in range(tree.EPOCHS):
        beta = tree.weights(rise, epoch / tree.EPOCHS)
        charge = partial(tree.objective, beta=beta, free=free, price=1.0)
        batches = x[torch.randperm(len(x))].split(tree.BATCH)
        train_epoch(model, batches, charge, optimizer)
        cosine.step()


@torch.no_grad()
def run(settings: tuple[str, str, int]) -> dict[str, Any]:
    """Train one model, and return its numbers on held-out points."""
    torch.set_num_threads(1)
    kind, recipe, seed = settings
    begin = time.process_time()
    x, _ = data.tree(tree.POINTS, seed=seed)
    torch.manual_seed(seed)
    model = untrained(kind)
    with torch.enable_grad():
        train(model, x, recipe)
    seconds = round(time.process_time() - begin, 1)
    held_out, _ = data.tree(tree.HELD_OUT, seed=1000 + seed)
    torch.manual_seed(seed)
    rates = model.trace(held_out, tree.REDRAWS).rates.mean((1, 2)).tolist()
    return {
        "kind": kind,
        "recipe": recipe,
        "seed": seed,
        "cpu_seconds": seconds,
        "weights": count(model),
        "held_out_elbo": round(elbo(model, held_out, tree.REDRAWS).mean().item(), 3),
        "held_out_log_p": round(log_marginal(model, held_out, tree.SAMPLES).mean().item(), 3),
        "exact_log_p": round(data.tree_log_density(held_out).mean().item(), 3),
        "rates": [round(rate, 3) for rate in rates],
    }


def fingerprint() -> str:
    source = Path(__file__).read_text() + tree.fingerprint()
    return hashlib.sha256(source.encode()).hexdigest()


def main() -> None:
    found: dict[str, Any] = {
        "script_sha256": fingerprint(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "machine": f"{platform.machine()}, one thread of {os.cpu_count()}",
        "runs": [],
    }
    with ProcessPoolExecutor() as pool:
        for one in pool.map(run, RUNS):
            found["runs"].append(one)
            print(json.dumps(one), flush=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
