"""Two diffusion models for the figure of chapter 11: of the pinwheel, and of the 8 × 8 digits.

Both have fifty levels on a straight log SNR from 6 to −6. The pinwheel's network guesses the noise
and is trained on its squared error; log SNR is one of the fifty. The digits' network guesses x; its
squared error is weighted by min(1, SNR), and log SNR is drawn evenly from −6 to 6.

What is measured, always of the weights in half precision:

    pinwheel   energy distance of 4,000 samples to 4,000 held-out points, over DRAWS draws
    digits     mean distance of 1,000 samples to the nearest training digit, and of held-out digits
               to the nearest sample; both times in units of [−1, 1] a pixel
    forks      from z_t of each of several paths, endings with fresh noise: the mean share that ends
               in the most frequent arm (or shows the most frequent kind of digit, that of its
               nearest training digit), and the share of paths with at least 29 of 30 in one arm

Beside the samples stand those of one Gaussian fitted to the training data, and other held-out data.

    .venv/bin/python benchmarks/experiments/diffusion.py          # about 40 CPU s a seed
"""

import copy
import hashlib
import inspect
import json
import math
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal
from torch.optim.lr_scheduler import CosineAnnealingLR

from companion import data
from companion.diagnostics import energy_distance, nearest_distance
from companion.diffusion import Diffusion, alpha_sigma, simple_loss
from companion.live import _diffusion
from companion.weights import save_weights

SEEDS, DRAWS, T = [0, 1, 2], 5, 50
LEVELS = [50, 45, 40, 35, 30, 25, 20, 15, 10, 5]
WHEEL_STEPS, DIGIT_STEPS = 8000, 15_000
RESULTS = Path(__file__).with_suffix(".json")
WHEEL, WHEEL_HELD_OUT, WHEEL_OTHERS = (data.pinwheel(4000, seed=seed) for seed in range(3))
PIXELS, LABEL = data.digits()
(X, KIND), (REST, _) = data.split(2 * PIXELS - 1, LABEL, held_out=0.3)
HELD_OUT, OTHERS = REST[::2], REST[1::2]


def train(model: Diffusion, loss: Callable[[], Tensor], steps: int, lr: float) -> None:
    optimizer = torch.optim.Adam(model.denoiser.parameters(), lr=lr, fused=True)
    cosine = CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        cosine.step()


def digit_loss(model: Diffusion) -> Tensor:
    x = X[torch.randint(len(X), (256,))]
    log_snr = 12 * torch.rand(256) - 6
    alpha, sigma = alpha_sigma(log_snr)
    guess = model.denoiser(alpha * x + sigma * torch.randn_like(x), log_snr)
    return (log_snr.exp().clamp(max=1) * (guess - x).square().sum(-1)).mean()


def trained(seed: int, steps: tuple[int, int] = (WHEEL_STEPS, DIGIT_STEPS)) -> Any:
    """Return both models, with weights that half precision can hold."""
    torch.manual_seed(seed)
    models = _diffusion.untrained()
    wheel, digits = models
    rows = (500,)
    train(
        wheel, lambda: simple_loss(wheel, WHEEL[torch.randint(4000, rows)]).mean(), steps[0], 5e-3
    )
    train(digits, lambda: digit_loss(digits), steps[1], 3e-3)
    for model in models:
        model.denoiser.half().float().requires_grad_(False)
    return models


def endings(model: Diffusion, z: Tensor, t: int) -> Tensor:
    """Go down from z_t to the guess of x at level 1."""
    for level in range(t, 1, -1):
        z = model.reverse(z, level).sample()
    return model.denoise(z, 1)


def arms(points: Tensor) -> Tensor:
    """Return in which of the five arms points lie; an arm bends by 0.25 exp(radius)."""
    bend = 0.25 * torch.exp(0.74 * points.norm(dim=-1))
    angle = torch.atan2(points[..., 1], points[..., 0]) - bend
    return (5 * angle / (2 * math.pi)).round().long() % 5


def kinds(pictures: Tensor) -> Tensor:
    """Return the kinds of digit that the nearest training digits are."""
    return KIND[torch.cdist(pictures.flatten(0, -2), X).argmin(1)].view(pictures.shape[:-1])


def most_frequent(found: Tensor) -> Tensor:
    """Return how many endings share the most frequent label, (paths,); found is (forks, paths)."""
    return torch.stack([(found == label).sum(0) for label in range(10)]).max(0).values


def forks(model: Diffusion, label: Any, size: int, paths: int, count: int) -> dict[str, Any]:
    z, common, decided = torch.randn(paths, size), [], []
    for t in range(T, 0, -1):
        if t in LEVELS:
            most = most_frequent(label(endings(model, z.expand(count, -1, -1), t)))
            common.append(round(most.double().mean().item() / count, 3))
            decided.append(round((most >= count - 1).double().mean().item(), 3))
        if t > 1:
            z = model.reverse(z, t).sample()
    return {"most_frequent": common, "decided": decided}


def digit_scores(pictures: Tensor) -> dict[str, float]:
    return {
        "to_train": round(nearest_distance(pictures, X).mean().item(), 3),
        "from_held_out": round(
            nearest_distance(HELD_OUT, pictures[: len(OTHERS)]).mean().item(), 3
        ),
    }


def fitted(x: Tensor) -> MultivariateNormal:
    return MultivariateNormal(x.mean(0), x.T.cov() + 1e-4 * torch.eye(x.shape[1]))


def far(points: Tensor) -> float:
    return round(energy_distance(points, WHEEL_HELD_OUT).item(), 5)


def references() -> dict[str, Any]:
    """Return the rows that are no network's."""
    torch.manual_seed(200)
    wheel, digits = fitted(WHEEL), fitted(X)
    return {
        "fitted Gaussian": {
            "energy_distance": [far(wheel.sample((4000,))) for _ in range(DRAWS)],
            **digit_scores(digits.sample((1000,))),
        },
        "held-out data": {
            "energy_distance": [far(data.pinwheel(4000, seed=2 + k)) for k in range(DRAWS)],
            **digit_scores(OTHERS),
        },
    }


def measured(models: Any, seed: int) -> dict[str, Any]:
    """Return the numbers of one seed."""
    wheel, digits = models
    torch.manual_seed(100 + seed)
    return {
        "seed": seed,
        "energy_distance": [far(endings(wheel, torch.randn(4000, 2), T)) for _ in range(DRAWS)],
        **digit_scores(endings(digits, torch.randn(1000, 64), T)),
        "wheel_forks": forks(wheel, arms, 2, 400, 30),
        "digit_forks": forks(digits, kinds, 64, 100, 12),
    }


def fingerprint() -> str:
    source = Path(__file__).read_text() + inspect.getsource(_diffusion.untrained)
    return hashlib.sha256(source.encode()).hexdigest()


def main() -> None:
    torch.set_num_threads(1)
    found: dict[str, Any] = {
        "script_sha256": fingerprint(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "machine": f"{platform.machine()}, one thread of {os.cpu_count()}",
        "levels": LEVELS,
        "references": references(),
        "runs": [],
    }
    print(json.dumps(found["references"]), flush=True)
    for seed in SEEDS:
        begin = time.process_time()
        models = trained(seed)
        seconds = round(time.process_time() - begin, 1)
        if seed == 0:
            half = copy.deepcopy(_diffusion.networks(models)).half()
            save_weights(half, str(_diffusion.FILE))
            found["weights_sha256"] = hashlib.sha256(_diffusion.FILE.read_bytes()).hexdigest()
        found["runs"].append({**measured(models, seed), "cpu_seconds": seconds})
        print(json.dumps(found["runs"][-1]), flush=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
