"""Which recipe makes the levels of a hierarchy mean cluster, branch and leaf?

The data are points in clusters within clusters within clusters (`companion.data.tree`), the model
has three levels of two units, and the encoder runs from the bottom up or from the top down.

A level is read by redrawing all that lies below it. If z_3 says which cluster a point belongs to,
then points drawn from p(x | z_3) lie in that cluster. The share that does is the agreement. A rate
does not say so: q(z_1 | x) = N(0, I) below q(z_2 | z_1) = N(0.9 z_1, 0.19) has a rate and knows
nothing of x.

All recipes maximise the reconstruction minus Σ_i β_i c_i, where level i has the mean rate r_i:

    plain              β = 1, c = r
    warm-up            β rises from 0 to 1 over the first 40 % of the epochs
    free bits          c = max(1 nat, r)
    both               free bits under warm-up
    level by level     β_1 rises over the first 15 %, β_2 over 35 %, β_3 from 10 to 60 %
    allowance          under warm-up, c = λ + 3 max(0, r − λ) with λ = 1, 1, 1.8 nats: free up to
                       the allowance, and three times the price beyond it

The bounds stored are those of held-out points at β = 1 and c = r, whatever the recipe.

    .venv/bin/python benchmarks/experiments/tree.py          # all runs, about 20 CPU s each
"""

import hashlib
import inspect
import json
import os
import platform
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import CosineAnnealingLR

from companion import LatentVariableModel, data, elbo, log_marginal, train_epoch
from companion.live import _tree
from companion.weights import save_weights

POINTS, HELD_OUT, BATCH, EPOCHS, LR, CLIP = 6000, 2000, 250, 300, 4e-3, 5.0
REDRAWS, SAMPLES = 20, 100
CHANCE = [3.0**-depth for depth in (1, 2, 3)]
AT_ONCE, WARM_UP = ((0.0, 0.0),) * 3, ((0.0, 0.4),) * 3
LEVEL_BY_LEVEL = ((0.0, 0.15), (0.0, 0.35), (0.1, 0.6))
NOTHING, A_NAT, BUDGET = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.8)
# When the weight of each level rises, as shares of the epochs; free nats; the price beyond them.
RECIPES = {
    "plain": (AT_ONCE, NOTHING, 1.0),
    "warm-up": (WARM_UP, NOTHING, 1.0),
    "free bits": (AT_ONCE, A_NAT, 1.0),
    "both": (WARM_UP, A_NAT, 1.0),
    "level by level": (LEVEL_BY_LEVEL, NOTHING, 1.0),
    "allowance": (WARM_UP, BUDGET, 3.0),
}
ENCODERS, SEEDS = ["bottom-up", "top-down"], [0, 1, 2, 3, 4]
RUNS = [(encoder, recipe, seed) for recipe in RECIPES for encoder in ENCODERS for seed in SEEDS]
RESULTS = Path(__file__).with_suffix(".json")


def weights(rise: tuple[tuple[float, float], ...], done: float) -> Tensor:
    """Return β of each level, (levels, 1), when a share `done` of the epochs is over."""
    return torch.tensor([[min(max(done - a, 0) / (b - a), 1) if b > a else 1] for a, b in rise])


def objective(
    model: LatentVariableModel, x: Tensor, beta: Tensor, free: Tensor, price: float
) -> Tensor:
    """Return the reconstruction minus Σ β c for each point; `free` is (levels, 1)."""
    trace = model.trace(x)
    rates = trace.rates.mean(1)
    over = rates.mean(1, keepdim=True) > free
    # A level without an allowance is charged its rate, which may be negative.
    charged = torch.where(over | (free == 0), free + price * (rates - free), free)
    return trace.reconstruction.mean(0) - (beta * charged).sum(0)


def train(model: LatentVariableModel, x: Tensor, recipe: str) -> None:
    rise, free, price = RECIPES[recipe]

    def clip(*_: Any) -> None:
        clip_grad_norm_(model.parameters(), CLIP)

    optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=True)
    optimizer.register_step_pre_hook(clip)
    cosine = CosineAnnealingLR(optimizer, EPOCHS)
    for epoch in range(EPOCHS):
        beta = weights(rise, epoch / EPOCHS)
        charge = partial(objective, beta=beta, free=torch.tensor(free)[:, None], price=price)
        train_epoch(model, x[torch.randperm(len(x))].split(BATCH), charge, optimizer)
        cosine.step()


def trained(encoder: str, recipe: str, seed: int) -> LatentVariableModel:
    x, _ = data.tree(POINTS, seed=seed)
    torch.manual_seed(seed)
    model = _tree.untrained(encoder)
    train(model, x, recipe)
    return model.requires_grad_(False)


@torch.no_grad()
def agreement(model: LatentVariableModel, x: Tensor, label: Tensor) -> list[list[float]]:
    """Keep z_1, z_2 or z_3 of x and redraw below: the shares in x's cluster, branch and leaf."""
    shares = []
    for level, z in enumerate(model.trace(x).z, start=1):
        drawn = model.descend(z.expand(REDRAWS, -1, -1), level)[0]
        found = data.tree_labels(drawn.flatten(0, 1)).view(REDRAWS, *label.shape)
        shares.append((found == label).double().mean((0, 1)).tolist())
    return shares


@torch.no_grad()
def measured(model: LatentVariableModel, seed: int) -> dict[str, Any]:
    """Return the numbers of one model on held-out points."""
    held_out, label = data.tree(HELD_OUT, seed=1000 + seed)
    torch.manual_seed(seed)
    shares = agreement(model, held_out, label)
    return {
        "held_out_elbo": round(elbo(model, held_out, REDRAWS).mean().item(), 3),
        "held_out_log_p": round(log_marginal(model, held_out, SAMPLES).mean().item(), 3),
        "rates": [round(r, 3) for r in model.trace(held_out, REDRAWS).rates.mean((1, 2)).tolist()],
        "agreement": [[round(share, 3) for share in level] for level in shares],
    }


def run(settings: tuple[str, str, int]) -> dict[str, Any]:
    """Train one model, and return its numbers."""
    torch.set_num_threads(1)
    encoder, recipe, seed = settings
    begin = time.process_time()
    model = trained(*settings)
    seconds = round(time.process_time() - begin, 1)
    if settings == ("top-down", "allowance", 0):
        save_weights(model, str(_tree.FILE))
    found = {"encoder": encoder, "recipe": recipe, "seed": seed, "cpu_seconds": seconds}
    return {**found, **measured(model, seed)}


def awake(found: dict[str, Any]) -> list[bool]:
    """Tell of each level whether keeping it finds cluster, branch and leaf well above chance."""
    return [
        all(share > 1.5 * chance for share, chance in zip(level, CHANCE, strict=True))
        for level in found["agreement"]
    ]


def fingerprint() -> str:
    source = Path(__file__).read_text() + inspect.getsource(_tree.untrained)
    return hashlib.sha256(source.encode()).hexdigest()


def main() -> None:
    found: dict[str, Any] = {
        "script_sha256": fingerprint(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "machine": f"{platform.machine()}, one thread of {os.cpu_count()}",
        "labels": ["cluster", "branch", "leaf"],
        "chance": [round(chance, 3) for chance in CHANCE],
        "runs": [],
    }
    with ProcessPoolExecutor() as pool:
        for one in pool.map(run, RUNS):
            found["runs"].append(one)
            print(json.dumps(one), awake(one), flush=True)
    found["weights_sha256"] = hashlib.sha256(_tree.FILE.read_bytes()).hexdigest()
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
