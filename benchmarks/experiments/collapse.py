"""Does a code collapse where the decoder can do without it? Six ways to train, two ways to start.

The data are the stripes of chapter 7, 6 x 6 binary pixels of known entropy. Every step draws new
ones, so that nothing is learned by heart. The decoder is autoregressive, the code has four units.

"scratch": encoder and decoder start from random weights and learn together. "pretrained": the
decoder has learned the pictures alone, with codes drawn from the prior; the encoder is new.

plain           the ELBO
warm-up         the rate's weight grows from 0 to 1 over the first fifth of the steps
aggressive      in the first tenth, five steps of the encoder alone before each step of both
committed rate  the encoder's width is held at 0.6, so that no unit's rate is below 0.19 nats
free bits       the rate is charged above 2 nats
weak decoder    the ELBO, with a decoder that sees the code and the one pixel before

Every run has batches and noise of its own. The posterior's means are estimated for 64 pictures by
weighted draws, half of them from the encoder and half from the prior.

    .venv/bin/python benchmarks/experiments/collapse.py      # all runs, about 20 CPU s each
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

from companion import (
    VAE,
    AutoregressiveConditional,
    GaussianConditional,
    StandardNormal,
    beta_elbo,
    elbo_analytic,
    free_bits_elbo,
    mlp,
    train_epoch,
)
from companion.diagnostics import elbo_surgery

UNITS, PIXELS, WIDTH, HIDDEN, BATCH = 4, 36, 64, 144, 128
STEPS, LR, WARM_UP, AGGRESSIVE, TURNS = 10_240, 3e-3, 2048, 1024, 5
NARROW, FREE = 0.6, 2.0
LOOKS = [0, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10_240]
RUNS = [
    *(("scratch", r) for r in ("plain", "warm-up", "aggressive", "committed rate", "free bits")),
    ("scratch", "weak decoder"),
    *(("pretrained", r) for r in ("plain", "warm-up", "committed rate", "free bits")),
]
SEEDS = [0, 1, 2]
RESULTS = Path(__file__).with_suffix(".json")


def stripes(num: int) -> Tensor:
    """Draw pictures: rows start as the row above with 0.8, pixels follow the left one with 0.95."""
    turns = torch.bernoulli(torch.tensor([0.5] + [0.2] * 5).expand(num, 6))
    flips = torch.bernoulli(torch.full((num, 6, 6), 0.05))
    flips[:, :, 0] = turns.cumsum(1)
    return (flips.cumsum(2) % 2).flatten(1)


def log_p_data(x: Tensor) -> Tensor:
    """Return the log-probability of each picture, (N,)."""
    rows = x.reshape(-1, 6, 6)
    down = torch.where(rows[:, 1:, 0] == rows[:, :-1, 0], math.log(0.8), math.log(0.2))
    across = torch.where(rows[:, :, 1:] == rows[:, :, :-1], math.log(0.95), math.log(0.05))
    return math.log(0.5) + down.sum(1) + across.sum((1, 2))


def held_out() -> Tensor:
    """Return the pictures that all numbers are of."""
    with torch.random.fork_rng([]):
        torch.manual_seed(1000)
        return stripes(1000)


def new_model(recipe: str) -> VAE:
    if recipe == "committed rate":
        encoder = GaussianConditional(mlp(PIXELS, WIDTH, UNITS), scale=NARROW)
    else:
        encoder = GaussianConditional(mlp(PIXELS, WIDTH, 2 * UNITS))
    context = 1 if recipe == "weak decoder" else None
    decoder = AutoregressiveConditional(UNITS, PIXELS, HIDDEN, context)
    return VAE(encoder, decoder, StandardNormal(UNITS))


def alone(model: VAE, x: Tensor) -> Tensor:
    """Score of a decoder whose codes say nothing: it learns to ignore them."""
    return model.decoder(model.prior().sample((len(x),))).log_prob(x)


def charged(model: VAE, x: Tensor, recipe: str, step: int) -> Tensor:
    """Return what a recipe maximises at a step."""
    if recipe == "warm-up":
        return beta_elbo(model, x, min(1.0, step / WARM_UP))
    if recipe == "free bits":
        return free_bits_elbo(model, x, FREE)
    return elbo_analytic(model, x)


def pretrain(model: VAE) -> None:
    for lr, steps in ((1e-2, 1000), (1e-3, 500)):
        optimizer = torch.optim.Adam(model.decoder.parameters(), lr=lr, fused=True)
        train_epoch(model, (stripes(BATCH) for _ in range(steps)), alone, optimizer)


@torch.no_grad()
def means(model: VAE, x: Tensor, draws: int = 1024) -> tuple[Tensor, Tensor]:
    """Return the encoder's and the posterior's means of x, both (N, d)."""
    q, p = model.encoder(x), model.prior()
    z = torch.cat([q.sample((draws,)), p.sample((draws, len(x)))])
    proposal = torch.logaddexp(q.log_prob(z), p.log_prob(z))
    log_weight = model.decoder(z).log_prob(x) + p.log_prob(z) - proposal
    return q.mean, (log_weight.softmax(0)[..., None] * z).sum(0)


def look(model: VAE, test: Tensor) -> dict[str, float]:
    """Return the two sides of the ELBO, the information, and the spread of both sorts of means."""
    with torch.random.fork_rng([]):
        parts = elbo_surgery(model, test, num_samples=4)
        spreads = [(m - m.mean(0)).square().mean().sqrt() for m in means(model, test[:64])]
    information, mismatch = parts.mutual_information.mean, parts.marginal_kl.mean
    found = {
        "distortion": -parts.reconstruction.mean,
        "rate": information + mismatch,
        "information": information,
        "encoder_means": spreads[0].item(),
        "posterior_means": spreads[1].item(),
    }
    return {name: round(value, 4) for name, value in found.items()}


def run(start: str, recipe: str, seed: int, steps: int = STEPS) -> dict[str, Any]:
    """Train one model, and return what was seen on the way."""
    begin = time.process_time()
    test = held_out()
    torch.manual_seed(seed)
    model = new_model(recipe)
    if start == "pretrained":
        pretrain(model)
    both = torch.optim.Adam(model.parameters(), lr=LR, fused=True)
    encoder = torch.optim.Adam(model.encoder.parameters(), lr=LR, fused=True)
    seen = [look(model, test)]
    for step in range(steps):
        objective = partial(charged, recipe=recipe, step=step)
        if recipe == "aggressive" and step < AGGRESSIVE:
            train_epoch(model, stripes(TURNS * BATCH).split(BATCH), objective, encoder)
        train_epoch(model, [stripes(BATCH)], objective, both)
        if step + 1 in LOOKS:
            seen.append(look(model, test))
    return {
        "start": start,
        "recipe": recipe,
        "seed": seed,
        "cpu_seconds": round(time.process_time() - begin, 1),
        **{name: [one[name] for one in seen] for name in seen[0]},
    }


def fingerprint() -> str:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def main() -> None:
    torch.set_num_threads(1)
    found: dict[str, Any] = {
        "script_sha256": fingerprint(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "machine": f"{platform.machine()}, one thread of {os.cpu_count()}",
        "steps": LOOKS,
        "ceiling": round(log_p_data(held_out()).mean().item(), 4),
        "runs": [],
    }
    for start, recipe in RUNS:
        for seed in SEEDS:
            found["runs"].append(run(start, recipe, seed))
            print(json.dumps(found["runs"][-1]), flush=True)
            RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
