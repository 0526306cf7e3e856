"""What is lost where the decoder learns too: folds in 1 to 8 units, and digits with one unit.

Folds: x_j = |z_j| + 0.15 ε_j for d units, so log p*(x) has a closed form, and with this decoder the
floors add up to d times that of one unit. VAEs whose decoder is a free network are trained on fresh
draws. What p* explains better than their ELBO is their loss in log p and their gap, together.

A rigid decoder, a|z| + bz, has two numbers. Its q is the best Gaussian of each x: no network.

Digits: VAEs with one latent unit, whose log p(x), ELBO and floor are integrals on a grid. The gap
of an x is its floor and what the encoder loses beside it, since one network serves all x. Of those
with one hidden layer the encoder alone is then trained on, with the decoder as it is.

Encoders: chapter 8's own, for its decoder |z − ¼|, with more steps or more weights; and its
auxiliary variable with more steps. Three starts each, side by side as in the chapter.

    .venv/bin/python benchmarks/experiments/depth.py          # about 10 CPU s a run
"""

import copy
import hashlib
import json
import math
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily
from torch.optim.lr_scheduler import CosineAnnealingLR

from companion import (
    VAE,
    Ensemble,
    GaussianConditional,
    StandardNormal,
    data,
    elbo,
    fit,
    mlp,
    train_epoch,
)
from companion.exact import (
    elbo_quadrature,
    gaussian_floor,
    kl_on_grid,
    latent_grid,
    log_marginal_quadrature,
    posterior_on_grid,
)

NOISE, WIDTH, STEPS, BATCH, LR, FRESH = 0.15, 64, 4000, 256, 3e-3, 20_000
FOLDS = [(units, STEPS, seed) for units in (1, 2, 4, 8) for seed in range(3)]
FOLDS += [(8, 4 * STEPS, seed) for seed in range(3)]
PIXEL_SCALE, EPOCHS, MORE, ROWS, POINTS, BOUND = 0.2, 150, 600, 200, 2001, 7.0
DIGITS = [(depth, seed) for depth in (1, 2, 4) for seed in range(3)]
ENCODERS = [([32], 600, -1.5), ([32], 6000, -1.5), ([84, 84], 600, -1.5), ([32] * 8, 600, -1.5)]
ENCODERS += [([32], 600, 0.0)]  # not narrow on the left at the start
AUXILIARIES = [600, 2400]
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


def run_fold(units: int, steps: int, seed: int) -> dict[str, Any]:
    """Train a VAE with a free decoder on fresh draws, and return its numbers."""
    torch.manual_seed(seed)
    begin = time.process_time()
    encoder = GaussianConditional(mlp(units, WIDTH, WIDTH, 2 * units))
    decoder = GaussianConditional(mlp(units, WIDTH, WIDTH, units), scale=NOISE)
    vae = VAE(encoder, decoder, StandardNormal(units))
    optimizer = torch.optim.Adam(vae.parameters(), lr=LR, fused=True)
    cosine = CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        train_epoch(vae, [folded(BATCH, units)], elbo, optimizer)
        cosine.step()
    seconds = time.process_time() - begin
    vae, x = vae.double().requires_grad_(False), folded(FRESH, units).double()
    best = log_p_star(x)
    found: dict[str, Any] = {"units": units, "steps": steps, "seed": seed}
    found["cpu_seconds"] = round(seconds, 1)
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
    train_on_digits(vae, vae, EPOCHS)
    found = {
        "depth": depth,
        "seed": seed,
        "cpu_seconds": round(time.process_time() - begin, 1),
    } | both_parts(vae)
    if depth == 1:
        train_on_digits(vae, vae.encoder, MORE)
        found["encoder alone"] = both_parts(vae)
    return found


def train_on_digits(vae: VAE, part: nn.Module, epochs: int) -> None:
    """Train a VAE, or a part of it, with steps that get smaller."""
    optimizer = torch.optim.Adam(part.parameters(), lr=LR, fused=True)
    cosine = CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        batches = TRAINING[torch.randperm(len(TRAINING))].split(128)
        train_epoch(vae, batches, elbo, optimizer)
        cosine.step()


def both_parts(vae: VAE) -> dict[str, dict[str, float]]:
    """Return the split of the gap on training digits and on held-out ones."""
    vae = copy.deepcopy(vae).double().requires_grad_(False)
    parts = {"training": TRAINING, "held out": HELD_OUT}
    return {name: split_gap(vae, x[:ROWS].double()) for name, x in parts.items()}


class Fold(nn.Module):
    """The mean of chapter 8's decoder."""

    def forward(self, z: Tensor) -> Tensor:
        """Return the distance from a quarter."""
        return (z - 0.25).abs()


def fold_vae(encoder: nn.Module) -> VAE:
    return VAE(encoder, GaussianConditional(Fold(), scale=0.5), StandardNormal(1))


class Auxiliary(nn.Module):
    """q(z | u, x) and r(u | z, x)."""

    def __init__(self) -> None:
        super().__init__()
        self.of_z = GaussianConditional(mlp(2, 16, 16, 2))
        self.of_u = GaussianConditional(mlp(2, 16, 16, 2))


def three_starts(build: Any, objective: Any, x: Tensor, epochs: int) -> list[Any]:
    """Train three networks side by side, as chapter 8 does."""
    torch.manual_seed(0)
    three = Ensemble([build() for _ in range(3)])
    summed = three.objective(lambda network, x, _: objective(network, x), [0.0] * 3)
    for n, lr in [(epochs, 5e-3), (epochs // 3, 1e-3)]:
        fit(three, x, summed, epochs=n, batch_size=200, lr=lr)
    return [network.double() for network in three.members()]


def setting() -> tuple[VAE, Tensor]:
    """Return chapter 8's model and its 200 values of x."""
    torch.manual_seed(0)
    untrained = GaussianConditional(mlp(1, 2))
    return fold_vae(untrained), fold_vae(untrained).sample(200)


def run_encoder(widths: list[int], epochs: int, bias: float) -> dict[str, Any]:
    """Train Gaussian encoders of chapter 8, and return the average gap of each start."""
    model, x = setting()

    def start() -> VAE:
        encoder = GaussianConditional(mlp(1, *widths, 2))
        encoder.net[-1].bias.data = torch.tensor([bias, bias])
        return fold_vae(encoder)

    begin = time.process_time()
    trained = three_starts(start, lambda vae, x: elbo(vae, x, num_samples=8), x, epochs)
    seconds = time.process_time() - begin
    model, x = model.double(), x.double()
    z, log_posterior, _ = posterior_on_grid(model, x)
    log_p = log_marginal_quadrature(model, x, 4001)
    gaps = []
    for vae in trained:
        with torch.no_grad():
            gap = log_p - elbo_quadrature(vae, x, vae.encoder(x), 401)
        gaps.append(round(gap.mean().item(), 4))
    return {
        "widths": widths,
        "epochs": epochs,
        "bias": bias,
        "cpu_seconds": round(seconds, 1),
        "weights": sum(w.numel() for w in trained[0].encoder.parameters()),
        "floor": round(gaussian_floor(z, log_posterior)[0].mean().item(), 4),
        "gaps": gaps,
    }


def run_auxiliary(epochs: int) -> dict[str, Any]:
    """Train chapter 8's auxiliary encoders, and return the average gap of each start."""
    model, x = setting()

    def bound(encoder: Any, x: Tensor) -> Tensor:
        x = x.expand(8, *x.shape)
        u = torch.randn_like(x)
        q = encoder.of_z(torch.cat([x, u], -1))
        z = q.rsample()
        r = encoder.of_u(torch.cat([x, z], -1))
        log_joint = model.decoder(z).log_prob(x) + StandardNormal(1)().log_prob(z)
        log_u = StandardNormal(1)().log_prob(u)
        return (log_joint + r.log_prob(u) - log_u - q.log_prob(z)).mean(0)

    begin = time.process_time()
    trained = three_starts(Auxiliary, bound, x, epochs)
    seconds = time.process_time() - begin
    model, x = model.double(), x.double()
    z, log_posterior, log_cell = posterior_on_grid(model, x)
    u, _ = latent_grid(1, 101, 5.0)
    pairs = torch.cat([x[:, None].expand(-1, 101, -1), u.expand(len(x), -1, -1)], -1)
    weights = Categorical(logits=(-0.5 * u[:, 0].square()).expand(len(x), -1))
    gaps = []
    for encoder in trained:
        with torch.no_grad():
            q = MixtureSameFamily(weights, encoder.of_z(pairs))
            gap = kl_on_grid(q.log_prob(z[:, None]), log_posterior, log_cell)
        gaps.append(round(gap.mean().item(), 4))
    return {"epochs": epochs, "cpu_seconds": round(seconds, 1), "gaps": gaps}


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
        "encoders": [],
        "auxiliaries": [],
    }
    for seed in range(3):
        found["rigid"].append(run_rigid(seed))
        print(json.dumps(found["rigid"][-1]), flush=True)
    for units, steps, seed in FOLDS:
        found["folds"].append(run_fold(units, steps, seed))
        print(json.dumps(found["folds"][-1]), flush=True)
    for depth, seed in DIGITS:
        found["digits"].append(run_digits(depth, seed))
        print(json.dumps(found["digits"][-1]), flush=True)
    for widths, epochs, bias in ENCODERS:
        found["encoders"].append(run_encoder(widths, epochs, bias))
        print(json.dumps(found["encoders"][-1]), flush=True)
    for epochs in AUXILIARIES:
        found["auxiliaries"].append(run_auxiliary(epochs))
        print(json.dumps(found["auxiliaries"][-1]), flush=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
