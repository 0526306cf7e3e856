"""Does a hierarchy draw pictures from coarse to fine: first the place, then shape, then texture?

The data are pictures of one textured object (`companion.data.scenes`), 16 × 16 pixels; the model
has three levels of six, four and two units. What is fine cannot reach its top: the encoder of z_1
sees the whole picture, that of z_2 the silhouette at half the size, without texture, and that of
z_3 the mean of each quarter (`companion.live._scenes`).

The hierarchy maximises the reconstruction minus β (r_1 + c_2 + c_3). Level i has the mean rate
r_i, and c = λ + 3 max(0, r − λ): free up to an allowance of λ = 2 nats, a little more than it takes
to name one of four kinds, and three times the price beyond. β rises from 0 to 1 over the first
30 % of the epochs, and for the first half the pictures have no texture.

A flat VAE of about as many weights and twelve units is trained in as many steps with the same β,
without an allowance, and on the pictures as they are from the start.

A level is read by redrawing all that lies below it. A classifier of each factor, trained on real
pictures, reads the redrawn ones (the decoder's means): the share that it sees with the factor of
the picture whose code was kept is the agreement. The bounds are of held-out pictures at β = 1 and
c = r.

    .venv/bin/python benchmarks/experiments/scenes.py        # all runs, about 20 CPU s each
"""

import hashlib
import inspect
import json
import os
import platform
import time
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import CosineAnnealingLR

from companion import (
    VAE,
    GaussianConditional,
    LatentVariableModel,
    StandardNormal,
    data,
    elbo,
    log_marginal,
    mlp,
    train_epoch,
)
from companion.live import _scenes
from companion.weights import save_weights

PICTURES, HELD_OUT, BATCH, EPOCHS, LR, CLIP = 6000, 1000, 200, 100, 2e-3, 50.0
REDRAWS, SAMPLES, WARM_UP, PLAIN, PRICE = 20, 100, 0.3, 0.5, 3.0
FREE = torch.tensor([[0.0], [2.0], [2.0]])
KINDS = [len(data.PLACES), len(data.SHAPES), len(data.TEXTURES)]
SEEDS = [0, 1, 2, 3]
RUNS = [(kind, seed) for kind in ("hierarchy", "flat") for seed in SEEDS]
RESULTS = Path(__file__).with_suffix(".json")


def untrained(kind: str) -> LatentVariableModel:
    if kind == "hierarchy":
        return _scenes.untrained()
    units, size = sum(_scenes.UNITS), _scenes.SIDE**2
    return VAE(
        GaussianConditional(mlp(size, 132, 96, 2 * units)),
        GaussianConditional(mlp(units, 96, 132, size), _scenes.SCALE),
        StandardNormal(units),
    )


def objective(model: LatentVariableModel, x: Tensor, beta: float) -> Tensor:
    """Return the reconstruction minus β times what the rates are charged, for each picture."""
    trace = model.trace(x)
    rates = trace.rates.mean(1)
    free = FREE[: len(rates)]
    over = (rates.mean(1, keepdim=True) > free) | (free == 0)
    charged = torch.where(over, free + torch.where(free > 0, PRICE, 1.0) * (rates - free), free)
    return trace.reconstruction.mean(0) - beta * charged.sum(0)


def trained(kind: str, seed: int, epochs: int = EPOCHS) -> LatentVariableModel:
    x, _ = data.scenes(PICTURES, seed=seed)
    torch.manual_seed(seed)
    model = untrained(kind)
    plain = PLAIN if kind == "hierarchy" else 0.0

    def clip(*_: Any) -> None:
        clip_grad_norm_(model.parameters(), CLIP)

    optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=True)
    optimizer.register_step_pre_hook(clip)
    cosine = CosineAnnealingLR(optimizer, epochs)
    for epoch in range(epochs):
        # Without texture no pixel is stronger than the weak parts of one.
        shown = x if epoch >= plain * epochs else (x / 0.3).clamp(max=1)
        batches = shown[torch.randperm(len(x))].split(BATCH)
        train_epoch(model, batches, objective, optimizer, min(1, epoch / epochs / WARM_UP))
        cosine.step()
    return model.requires_grad_(False)


@cache
def classifier() -> nn.Module:
    """Return a network of 4 + 3 + 4 outputs that tells place, shape and texture of a picture."""
    x, factors = data.scenes(PICTURES, seed=2000)
    torch.manual_seed(0)
    net = mlp(x.shape[1], 128, sum(KINDS))
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(20):
        for rows in torch.randperm(PICTURES).split(100):
            out = net(x[rows] + _scenes.SCALE * torch.randn(len(rows), x.shape[1]))
            loss = sum(
                (cross_entropy(own, factors[rows, k].long()) for k, own in split(out)),
                start=torch.zeros(()),
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.requires_grad_(False)


def split(out: Tensor) -> list[tuple[int, Tensor]]:
    return list(enumerate(out.split(KINDS, dim=-1)))


def agreement(net: nn.Module, x: Tensor, factors: Tensor) -> list[float]:
    """Return the shares of pictures in which the classifier sees their place, shape, texture."""
    return [
        round((own.argmax(-1) == factors[:, k]).double().mean().item(), 3)
        for k, own in split(net(x))
    ]


def redrawn(model: LatentVariableModel, z: Tensor, level: int, redraws: int) -> Tensor:
    """Keep z_level and redraw below it: the decoder's means, (redraws, B, pixels)."""
    z_1 = model.descend(z.expand(redraws, -1, -1), level)[1]
    return model.decoders[0](z_1).mean


@torch.no_grad()
def measured(model: LatentVariableModel, seed: int, net: nn.Module) -> dict[str, Any]:
    """Return the numbers of one model on held-out pictures."""
    x, factors = data.scenes(HELD_OUT, seed=1000 + seed)
    torch.manual_seed(seed)
    z = model.trace(x).z
    pictures = [redrawn(model, own, level, REDRAWS) for level, own in enumerate(z, start=1)]
    return {
        "held_out_elbo": round(elbo(model, x, REDRAWS).mean().item(), 2),
        "held_out_log_p": round(log_marginal(model, x, SAMPLES).mean().item(), 2),
        "rates": [round(r, 3) for r in model.trace(x, REDRAWS).rates.mean((1, 2)).tolist()],
        "agreement": [agreement(net, own, factors) for own in pictures],
        # With z_2 kept (the only code of a flat model), the shape of discs, squares, triangles.
        "by_shape": [
            agreement(net, pictures[min(1, len(z) - 1)][:, kept], factors[kept])[1]
            for kept in (factors[:, 1] == shape for shape in range(KINDS[1]))
        ],
    }


def run(settings: tuple[str, int]) -> dict[str, Any]:
    """Train one model, and return its numbers."""
    torch.set_num_threads(1)
    kind, seed = settings
    begin = time.process_time()
    model = trained(kind, seed)
    seconds = round(time.process_time() - begin, 1)
    if settings == ("hierarchy", 0):  # Measured as stored, with numbers of 16 bits.
        save_weights(model.half(), str(_scenes.FILE))
        model.float()
    weights = sum(parameter.numel() for parameter in model.parameters())
    found = {"kind": kind, "seed": seed, "weights": weights, "cpu_seconds": seconds}
    return {**found, **measured(model, seed, classifier())}


def fingerprint() -> str:
    source = Path(__file__).read_text() + inspect.getsource(_scenes.untrained)
    source += inspect.getsource(_scenes.Coarse)
    return hashlib.sha256(source.encode()).hexdigest()


def main() -> None:
    torch.set_num_threads(1)
    x, factors = data.scenes(HELD_OUT, seed=3000)
    found: dict[str, Any] = {
        "script_sha256": fingerprint(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "machine": f"{platform.machine()}, one thread of {os.cpu_count()}",
        "factors": ["place", "shape", "texture"],
        "chance": [round(1 / kinds, 3) for kinds in KINDS],
        "classifier": agreement(classifier(), x, factors),
        "runs": [],
    }
    for settings in RUNS:
        found["runs"].append(run(settings))
        print(json.dumps(found["runs"][-1]), flush=True)
    found["weights_sha256"] = hashlib.sha256(_scenes.FILE.read_bytes()).hexdigest()
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
