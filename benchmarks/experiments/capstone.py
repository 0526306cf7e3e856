"""Chapter 13's three models of the tree, with three seeds: is the hierarchy worth it?

The flat VAE has as many weights as the hierarchy of three levels, and takes as many steps. Both
maximise the reconstruction minus Σ_i max(λ_i, r_i), where r_i is the mean rate of level i over a
batch: the hierarchy with λ = 1, 1 and 1.8 nats, the flat VAE with the 3.8 nats in one. The plain
hierarchy has λ = −∞: its objective is the ELBO. Data are those of the chapter; seeds are those of
weights, batches and noise.

    .venv/bin/python benchmarks/experiments/capstone.py      # all runs, about 25 CPU s a seed
"""

import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from companion import (
    VAE,
    GaussianConditional,
    LatentVariableModel,
    StandardNormal,
    TopDownHVAE,
    data,
    elbo,
    fit,
    log_marginal,
    mlp,
)

sys.path.insert(0, str(Path(__file__).parent))
import tree

POINTS, HELD_OUT, BATCH = 7000, 1000, 200
STAGES = ((80, 4e-3), (40, 1e-3))  # epochs, step size
FREE, SEEDS = (1.0, 1.0, 1.8), [0, 1, 2]
MODELS = ["flat", "plain", "awake"]
RUNS = [(name, seed) for seed in SEEDS for name in MODELS]
RESULTS = Path(__file__).with_suffix(".json")


def conditional(given: int, out: int, hidden: int = 64) -> GaussianConditional:
    return GaussianConditional(mlp(given, hidden, hidden, 2 * out))


def untrained(name: str) -> LatentVariableModel:
    if name == "flat":
        return VAE(conditional(2, 2, 113), conditional(2, 2, 113), StandardNormal(2))
    encoders = [conditional(4, 2), conditional(4, 2), conditional(2, 2)]
    return TopDownHVAE(encoders, [conditional(2, 2) for _ in range(3)], StandardNormal(2))


def with_free_nats(free: tuple[float, ...]) -> Callable[[LatentVariableModel, Tensor], Tensor]:
    allowance = torch.tensor(free)

    def objective(model: LatentVariableModel, x: Tensor) -> Tensor:
        trace = model.trace(x)
        rates = trace.rates.mean((1, 2))
        return trace.reconstruction.mean(0) - torch.maximum(rates, allowance).sum()

    return objective


def halves() -> tuple[Tensor, Tensor]:
    """Return the points to learn from, and those held out."""
    (train,), (test,) = data.split(data.tree(POINTS)[0], held_out=HELD_OUT / POINTS)
    return train, test


def run(settings: tuple[str, int]) -> dict[str, Any]:
    """Train one model, and return its numbers on held-out points."""
    torch.set_num_threads(1)
    name, seed = settings
    train, test = halves()
    free = {"flat": (sum(FREE),), "awake": FREE}
    objective = with_free_nats(free[name]) if name in free else elbo
    torch.manual_seed(seed)
    model = untrained(name)
    begin = time.process_time()
    for epochs, lr in STAGES:
        fit(model, train, objective, epochs=epochs, batch_size=BATCH, lr=lr)
    seconds = round(time.process_time() - begin, 1)
    model.requires_grad_(False)
    found = {"model": name, "seed": seed, "cpu_seconds": seconds}
    found["weights"] = sum(parameter.numel() for parameter in model.parameters())
    found["held_out_elbo"] = round(elbo(model, test, 50).mean().item(), 3)
    found["held_out_log_p"] = round(log_marginal(model, test, 300).mean().item(), 3)
    found["rates"] = [round(r, 3) for r in model.trace(test, 16).rates.mean((1, 2)).tolist()]
    if name != "flat":
        shares = tree.agreement(model, test, data.tree_labels(test))
        found["agreement"] = [[round(share, 3) for share in level] for level in shares]
    return found


def fingerprint() -> str:
    source = Path(__file__).read_text()
    return hashlib.sha256(source.encode()).hexdigest()


def main() -> None:
    _, test = halves()
    found: dict[str, Any] = {
        "script_sha256": fingerprint(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "machine": f"{platform.machine()}, one thread of {os.cpu_count()}",
        "exact_log_p": round(data.tree_log_density(test).mean().item(), 3),
        "runs": [],
    }
    with ProcessPoolExecutor() as pool:
        for one in pool.map(run, RUNS):
            found["runs"].append(one)
            print(json.dumps(one), flush=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
