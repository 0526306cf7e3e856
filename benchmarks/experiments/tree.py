"""Do the levels of a hierarchy come to mean cluster, branch and leaf? With a nat free, they do.

The data are points in clusters within clusters within clusters (`companion.data.tree`), the model
has three levels of two units, and the encoder runs from the bottom up or from the top down. The
objective charges β max(1 nat, rate) for each level, with β raised from 0 to 1 over the first 40 %
of the epochs; the runs called "warm-up alone" charge β rate.

A level is read by redrawing all that lies below it. If z_3 says which cluster a point belongs to,
then points drawn from p(x | z_3) lie in that cluster. The share that does is the agreement.

    .venv/bin/python benchmarks/experiments/tree.py          # all runs, about 35 CPU s each
"""

import hashlib
import json
import math
import os
import platform
import time
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
    linear_warm_up,
    mlp,
    train_epoch,
)

POINTS, HELD_OUT, BATCH, EPOCHS, LR, CLIP, WARM_UP = 6000, 2000, 250, 300, 4e-3, 5.0, 0.4
LEVELS, UNITS, WIDTH, REDRAWS = 3, 2, 64, 20
CHANCE = [3.0**-depth for depth in (1, 2, 3)]
FREE, NOT_FREE = 1.0, -math.inf
CHARGES = {FREE: "warm-up, a nat free", NOT_FREE: "warm-up alone"}
RUNS = [
    *((encoder, FREE, seed) for encoder in ("bottom-up", "top-down") for seed in range(4)),
    *(("top-down", NOT_FREE, seed) for seed in range(3)),
    *(("bottom-up", NOT_FREE, seed) for seed in range(2)),
]
RESULTS = Path(__file__).with_suffix(".json")


def hierarchy(encoder: str) -> LatentVariableModel:
    """Build a model whose networks all have two hidden layers."""

    def conditional(given: int) -> GaussianConditional:
        return GaussianConditional(mlp(given, WIDTH, WIDTH, 2 * UNITS))

    decoders = [conditional(UNITS) for _ in range(LEVELS)]
    if encoder == "bottom-up":
        encoders = [conditional(UNITS) for _ in range(LEVELS)]
        return HVAE(encoders, decoders, StandardNormal(UNITS))
    encoders = [*(conditional(2 + UNITS) for _ in range(LEVELS - 1)), conditional(2)]
    return TopDownHVAE(encoders, decoders, StandardNormal(UNITS))


def warm_free_bits(model: LatentVariableModel, x: Tensor, free_nats: float, beta: float) -> Tensor:
    """Reconstruction less β max(λ, mean rate) for each level: `free_bits_elbo` under warm-up."""
    trace = model.trace(x)
    rates = trace.rates.mean(1)
    charged = torch.where(rates.mean(1, keepdim=True) > free_nats, rates, free_nats)
    return trace.reconstruction.mean(0) - beta * charged.sum(0)


def train(model: LatentVariableModel, x: Tensor, free_nats: float) -> None:
    def clip(*_: Any) -> None:
        clip_grad_norm_(model.parameters(), CLIP)

    optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=True)
    optimizer.register_step_pre_hook(clip)
    cosine = CosineAnnealingLR(optimizer, EPOCHS)
    warm_up = linear_warm_up(int(WARM_UP * EPOCHS))
    for epoch in range(EPOCHS):
        objective = partial(warm_free_bits, free_nats=free_nats, beta=warm_up(epoch))
        train_epoch(model, x[torch.randperm(len(x))].split(BATCH), objective, optimizer)
        cosine.step()


@torch.no_grad()
def agreement(model: LatentVariableModel, x: Tensor, label: Tensor) -> list[list[float]]:
    """Keep z_1, z_2 or z_3 of x and redraw below: the shares in x's cluster, branch and leaf."""
    shares = []
    for level, z in enumerate(model.trace(x).z, start=1):
        drawn = model.descend(z.expand(REDRAWS, -1, -1), level)[0]
        found = data.tree_labels(drawn.flatten(0, 1)).view(REDRAWS, *label.shape)
        shares.append((found == label).double().mean((0, 1)).tolist())
    return shares


def run(encoder: str, free_nats: float, seed: int) -> dict[str, Any]:
    """Train one model, and return its numbers."""
    begin = time.process_time()
    x, _ = data.tree(POINTS, seed=seed)
    held_out, label = data.tree(HELD_OUT, seed=1000 + seed)
    torch.manual_seed(seed)
    model = hierarchy(encoder)
    train(model, x, free_nats)
    seconds = time.process_time() - begin
    with torch.no_grad():
        bound = elbo(model, held_out, REDRAWS).mean().item()
        rates = model.trace(held_out, REDRAWS).rates.mean((1, 2)).tolist()
    return {
        "encoder": encoder,
        "charge": CHARGES[free_nats],
        "seed": seed,
        "cpu_seconds": round(seconds, 1),
        "held_out_elbo": round(bound, 3),
        "rates": [round(rate, 3) for rate in rates],
        "agreement": [
            [round(share, 3) for share in level] for level in agreement(model, held_out, label)
        ],
    }


def awake(found: dict[str, Any]) -> list[bool]:
    """Tell of each level whether it carries half a nat, and finds each label well above chance."""
    return [
        rate >= 0.5
        and all(share > 1.5 * chance for share, chance in zip(level, CHANCE, strict=True))
        for rate, level in zip(found["rates"], found["agreement"], strict=True)
    ]


def fingerprint() -> str:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def main() -> None:
    torch.set_num_threads(1)
    found: dict[str, Any] = {
        "script_sha256": fingerprint(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "machine": f"{platform.machine()}, one thread of {os.cpu_count()}",
        "labels": ["cluster", "branch", "leaf"],
        "chance": [round(chance, 3) for chance in CHANCE],
        "levels": ["keep z_1", "keep z_2", "keep z_3"],
        "runs": [],
    }
    for settings in RUNS:
        found["runs"].append(run(*settings))
        print(json.dumps(found["runs"][-1]), awake(found["runs"][-1]), flush=True)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
