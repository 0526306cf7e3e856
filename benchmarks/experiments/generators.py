"""A VAE, an HVAE and a diffusion model of digits: the same data, weights and steps, and judges.

Each model has about 50,000 weights and takes 3,000 steps of Adam, or 12,000, on batches of 128
digits. Beside them stand held-out digits, copies of training digits, the mean digit again and
again, and draws of one Gaussian fitted to the training digits.

The pictures of a model are the means of p(x | z_1), without the noise of its pixels. `bound` is the
ELBO of the held-out digits in nats, with the decoder scale that fits the training digits; of the
Gaussian it is its log density.

    nice .venv/bin/python benchmarks/experiments/generators.py          # about 55 CPU s a seed
"""

import hashlib
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import CosineAnnealingLR

from companion import HVAE, VAE, GaussianConditional, StandardNormal, beta_elbo, data, elbo, mlp
from companion.diagnostics import energy_distance, nearest_distance
from companion.diffusion import (
    TIME_FEATURES,
    Diffusion,
    NoiseDenoiser,
    log_snr_schedule,
    simple_loss,
)

SEEDS, BUDGETS, BATCH, SCALE, DRAWS = [0, 1, 2], [3000, 12_000], 128, 0.2, 1000
RATES = {"VAE": 2e-3, "HVAE": 2e-3, "diffusion": 5e-3}
RUNS = [(steps, kind, seed) for steps in BUDGETS for kind in RATES for seed in SEEDS]
RESULTS = Path(__file__).with_suffix(".json")


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return training digits in [−1, 1], their labels, and two halves of the held-out ones."""
    pixels, label = data.digits()
    (train, label), (rest, _) = data.split(2 * pixels - 1, label, held_out=0.3)
    return train, label, rest[::2], rest[1::2]


X, LABEL, HELD_OUT, OTHERS = digits()


def untrained(kind: str) -> nn.Module:
    if kind == "VAE":
        encoder = GaussianConditional(mlp(64, 128, 128, 2 * 8))
        return VAE(encoder, GaussianConditional(mlp(8, 128, 128, 64), SCALE), StandardNormal(8))
    if kind == "HVAE":
        up = [mlp(64, 150, 2 * 16), mlp(16, 96, 2 * 8)]
        lowest = GaussianConditional(mlp(16, 128, 128, 64), SCALE)
        decoders = [lowest, GaussianConditional(mlp(8, 96, 2 * 16))]
        return HVAE([GaussianConditional(net) for net in up], decoders, StandardNormal(8))
    denoiser = NoiseDenoiser(mlp(64 + TIME_FEATURES, 172, 172, 64))
    return Diffusion(log_snr_schedule(50, 4.0, -8.0), denoiser, StandardNormal(64), scale=SCALE)


def trained(kind: str, seed: int, steps: int) -> nn.Module:
    """Train on the loss of the noise, or on the ELBO with its rate warmed up for a third."""
    torch.manual_seed(seed)
    model = untrained(kind)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATES[kind], fused=True)
    cosine = CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        x = X[torch.randint(len(X), (BATCH,))]
        if isinstance(model, Diffusion):
            loss = simple_loss(model, x).mean()
        else:
            loss = -beta_elbo(model, x, min(1.0, 3 * step / steps)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cosine.step()
    return with_fitted_scale(model.requires_grad_(False))


def with_fitted_scale(model: Any) -> nn.Module:
    error = (X - model.trace(X).p[0].mean).square().mean().sqrt().item()
    if isinstance(model, Diffusion):
        return Diffusion(model.schedule, model.denoiser, model.prior, scale=error)
    model.decoders[0].scale.fill_(error)
    return model


def pictures(model: Any, num: int = DRAWS) -> Tensor:
    z_1 = model.descend(model.prior().sample((num,)))[1]
    return model.decoders[0](z_1).mean


def classifier() -> nn.Module:
    torch.manual_seed(100)
    net = mlp(64, 128, 10)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3, weight_decay=1e-3)
    for _ in range(800):
        rows = torch.randint(len(X), (BATCH,))
        noisy = X[rows] + 0.1 * torch.randn(BATCH, 64)
        optimizer.zero_grad()
        cross_entropy(net(noisy), LABEL[rows]).backward()
        optimizer.step()
    return net.requires_grad_(False)


def judged(drawn: Tensor, judge: nn.Module) -> dict[str, float]:
    """Return the energy distance, both nearest neighbours, the confidence, and how many kinds."""
    probability = judge(drawn).softmax(1)
    kinds = probability.mean(0)
    found = {
        "energy_distance": energy_distance(drawn, HELD_OUT),
        "to_train": nearest_distance(drawn, X).mean(),
        "from_held_out": nearest_distance(HELD_OUT, drawn[: len(OTHERS)]).mean(),
        "confidence": probability.max(1).values.mean(),
        "kinds": (-(kinds * kinds.clamp(min=1e-12).log()).sum()).exp(),
    }
    return {name: round(float(value), 3) for name, value in found.items()}


def references(judge: nn.Module) -> dict[str, dict[str, float]]:
    """Return the rows that are no network's."""
    torch.manual_seed(200)
    law = MultivariateNormal(X.mean(0), X.T.cov() + 1e-2 * torch.eye(64))
    copies = X[torch.randperm(len(X))[:DRAWS]]
    rows = {
        "held-out data": judged(OTHERS, judge),
        "training copies": judged(copies, judge),
        "mean picture": judged(X.mean(0).expand(DRAWS, 64), judge),
        "fitted Gaussian": judged(law.sample((DRAWS,)), judge),
    }
    rows["fitted Gaussian"]["bound"] = round(law.log_prob(HELD_OUT).mean().item(), 2)
    return rows


def measured(model: Any, judge: nn.Module, seed: int) -> dict[str, float]:
    torch.manual_seed(300 + seed)
    bound = round(elbo(model, HELD_OUT, 20).mean().item(), 2)
    return {**judged(pictures(model), judge), "bound": bound}


def fingerprint() -> str:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def main() -> None:
    torch.set_num_threads(1)
    judge = classifier()
    found: dict[str, Any] = {
        "script_sha256": fingerprint(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "machine": f"{platform.machine()}, one thread of {os.cpu_count()}",
        "references": references(judge),
        "runs": [],
    }
    print(json.dumps(found["references"], indent=1), flush=True)
    for steps, kind, seed in RUNS:
        begin = time.process_time()
        model = trained(kind, seed, steps)
        seconds = round(time.process_time() - begin, 1)
        weights = sum(p.numel() for p in model.parameters())
        run = {"steps": steps, "model": kind, "seed": seed, "weights": weights}
        found["runs"].append({**run, "cpu_seconds": seconds, **measured(model, judge, seed)})
        print(json.dumps(found["runs"][-1]), flush=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
