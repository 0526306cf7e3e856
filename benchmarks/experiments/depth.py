"""What is lost where the decoder learns too: folds in 1 to 8 units, and digits with one unit.

Folds: x_j = |z_j| + 0.15 ε_j for d units, so log p*(x) has a closed form, and with this decoder the
floors add up to d times that of one unit. VAEs whose decoder is a free network are trained on fresh
draws. What p* explains better than their ELBO is their loss in log p and their gap, together.

A rigid decoder, a|z| + bz, has two numbers. Its q is the best Gaussian of each x: no network.

Digits: VAEs with one latent unit, whose log p(x), ELBO and floor are integrals on a grid. The gap
of an x is its floor and what the encoder loses beside it, since one network serves all x.

    .venv/bin/python benchmarks/experiments/depth.py          # about 10 CPU s a run
"""

import hashlib
import json
import math
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR

from companion import (
    VAE,
    GaussianConditional,
    StandardNormal,
    data,
    elbo,
    mlp,
    train_epoch,
)
from companion.exact import (
    elbo_quadrature,
    gaussian_floor,
    latent_grid,
    log_marginal_quadrature,
    posterior_on_grid,
)

NOISE, WIDTH, STEPS, BATCH, LR, FRESH = 0.15, 64, 4000, 256, 3e-3, 20_000
FOLDS = [(units, seed) for units in (1, 2, 4, 8) for seed in range(3)]
PIXEL_SCALE, EPOCHS, ROWS, POINTS, BOUND = 0.2, 150, 200, 2001, 7.0
DIGITS = [(depth, seed) for depth in (1, 2, 4) for seed in range(3)]
RESULTS = Path(__file__).with_suffix(".json")
(TRAINING, _), (HELD_OUT, _) = data.split(*data.digits(), held_out=0.3)


def folded(num: int, units: int) -> Tensor:
    """Draw x = |z| + 0.15 ε, each coordinate separately."""
    return torch.randn(num, units).abs() + NOISE * torch.randn(num, units)


def log_p_star(x: Tensor) -> Tensor:
    """Return log p*(x) = Σ_j log [2 N(x_j; 0, v) Φ(x_j / (σ √v))] with v = 1 + σ²."""
    v = 1 + NOISE**2
    normal = -0.5 * (x.square() / v + math.log(2 * math.pi * v))
    side = torch.special.log_ndtr(x / (NOISE * math.sqrt(v)))
    return (math.log(2) + normal + side).sum(-1)


def account(a: float, b: float) -> tuple[float, float]:
    """Return the loss in log p and the average floor of the decoder a|z| + bz, one unit.

    Both are integrals over x under p*, each on a grid. With a = 1 and b = 0 the loss is zero.
    """
    z, log_cell = latent_grid(1, 1001, 8.0)
    x = torch.linspace(-0.6, 4.4, 61, dtype=z.dtype)
    normal = -0.5 * (z.square() + ((x - a * z.abs() - b * z) / NOISE).square())
    log_joint = normal - math.log(2 * math.pi * NOISE)
    log_p = log_joint.logsumexp(0) + log_cell
    floor = gaussian_floor(z, log_joint - log_p)[0]
    best = log_p_star(x[:, None])
    weight = best.exp() / best.exp().sum()
    return float(weight @ (best - log_p)), float(weight @ floor)


def run_rigid(seed: int) -> dict[str, Any]:
    """Find the rigid decoder with the least loss plus floor, by steps in a and b that get finer."""
    torch.manual_seed(seed)
    begin = time.process_time()
    (a, b), step = (0.3 + torch.rand(2)).tolist(), 0.2
    least = sum(account(a, b))
    while step > 0.01:
        around = [(a + step, b), (a - step, b), (a, b + step), (a, b - step)]
        sums = [sum(account(*place)) for place in around]
        if min(sums) < least:
            least, (a, b) = min(zip(sums, around, strict=True))
        else:
            step /= 2
    loss, floor = account(a, b)
    seconds = round(time.process_time() - begin, 1)
    numbers = {"a": a, "b": b, "loss": loss, "gap": floor}
    return {"seed": seed, "cpu_seconds": seconds} | {k: round(v, 4) for k, v in numbers.items()}


def run_fold(units: int, seed: int) -> dict[str, Any]:
    """Train a VAE with a free decoder on fresh draws, and return its numbers."""
    torch.manual_seed(seed)
    begin = time.process_time()
    encoder = GaussianConditional(mlp(units, WIDTH, WIDTH, 2 * units))
    decoder = GaussianConditional(mlp(units, WIDTH, WIDTH, units), scale=NOISE)
    vae = VAE(encoder, decoder, StandardNormal(units))
    optimizer = torch.optim.Adam(vae.parameters(), lr=LR, fused=True)
    cosine = CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        train_epoch(vae, [folded(BATCH, units)], elbo, optimizer)
        cosine.step()
    seconds = time.process_time() - begin
    vae, x = vae.double().requires_grad_(False), folded(FRESH, units).double()
    best = log_p_star(x)
    found: dict[str, Any] = {"units": units, "seed": seed, "cpu_seconds": round(seconds, 1)}
    found["loss_plus_gap"] = round((best - elbo(vae, x, 20)).mean().item(), 4)
    if units == 1:  # the two apart, by integrals
        x, best = x[:4000], best[:4000]
        log_p = log_marginal_quadrature(vae, x, 2001, 8.0)
        gap = log_p - elbo_quadrature(vae, x, vae.encoder(x))
        found |= {
            "loss": round((best - log_p).mean().item(), 4),
            "gap": round(gap.mean().item(), 4),
        }
    return found


def split_gap(vae: VAE, x: Tensor) -> dict[str, float]:
    """Return averages of log p(x), the gap, and the gap's two parts."""
    z, log_posterior, _ = posterior_on_grid(vae, x, POINTS, BOUND)
    log_p = log_marginal_quadrature(vae, x, POINTS, BOUND)
    gap = log_p - elbo_quadrature(vae, x, vae.encoder(x), 401)
    floor = gaussian_floor(z, log_posterior)[0]
    found = {"log_p": log_p, "gap": gap, "floor": floor, "amortisation": gap - floor}
    return {name: round(values.mean().item(), 4) for name, values in found.items()}


def run_digits(depth: int, seed: int) -> dict[str, Any]:
    """Train a VAE of digits whose encoder has this many hidden layers, and split its gap."""
    torch.manual_seed(seed)
    begin = time.process_time()
    encoder = GaussianConditional(mlp(64, *[WIDTH] * depth, 2))
    decoder = GaussianConditional(mlp(1, WIDTH, WIDTH, 64), scale=PIXEL_SCALE)
    vae = VAE(encoder, decoder, StandardNormal(1))
    optimizer = torch.optim.Adam(vae.parameters(), lr=LR, fused=True)
    cosine = CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        batches = TRAINING[torch.randperm(len(TRAINING))].split(128)
        train_epoch(vae, batches, elbo, optimizer)
        cosine.step()
    seconds = time.process_time() - begin
    vae = vae.double().requires_grad_(False)
    return {
        "depth": depth,
        "seed": seed,
        "cpu_seconds": round(seconds, 1),
        "training": split_gap(vae, TRAINING[:ROWS].double()),
        "held out": split_gap(vae, HELD_OUT[:ROWS].double()),
    }


def fingerprint() -> str:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def main() -> None:
    torch.set_num_threads(1)
    found: dict[str, Any] = {
        "script_sha256": fingerprint(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "machine": f"{platform.machine()}, one thread of {os.cpu_count()}",
        "natural_floor": round(account(1.0, 0.0)[1], 4),
        "rigid": [],
        "folds": [],
        "digits": [],
    }
    for seed in range(3):
        found["rigid"].append(run_rigid(seed))
        print(json.dumps(found["rigid"][-1]), flush=True)
    for units, seed in FOLDS:
        found["folds"].append(run_fold(units, seed))
        print(json.dumps(found["folds"][-1]), flush=True)
    for depth, seed in DIGITS:
        found["digits"].append(run_digits(depth, seed))
        print(json.dumps(found["digits"][-1]), flush=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
