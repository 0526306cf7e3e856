"""An autoencoder and a VAE of digits with two numbers a code, and what their random codes show.

The figures that open chapters 1 and 5 stand before the training: they show the models of seed 0,
whose weights this script writes into the package. The other seeds tell what of it is luck.

A decoded code shows the kind of digit that its nearest training digit is. Codes are drawn from
N(0, I); for the autoencoder also from the Gaussian with the mean and covariance of its codes.

    .venv/bin/python benchmarks/experiments/digits.py          # about 10 CPU s a seed
"""

import hashlib
import inspect
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal
from torch.optim.lr_scheduler import CosineAnnealingLR

from companion import data, elbo_analytic, log_reconstruction, train_epoch
from companion.diagnostics import nearest_distance
from companion.live import _digits
from companion.weights import save_weights

SEEDS, EPOCHS, BATCH, LR, DRAWS = [0, 1, 2, 3], 400, 128, 4e-3, 4000
RESULTS = Path(__file__).with_suffix(".json")
(X, LABEL), (HELD_OUT, _) = data.split(*data.digits(), held_out=0.3)


def train(model: nn.Module, objective: Any) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=True)
    cosine = CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        train_epoch(model, X[torch.randperm(len(X))].split(BATCH), objective, optimizer)
        cosine.step()


def trained(seed: int) -> nn.ModuleList:
    torch.manual_seed(seed)
    models = _digits.untrained()
    for model, objective in zip(models, [log_reconstruction, elbo_analytic], strict=True):
        train(model, objective)
    return models.requires_grad_(False)


def shown(pictures: Tensor) -> dict[str, Any]:
    """Return in how many of 100 pictures each kind is seen, and how far digits are from them."""
    kind = LABEL[torch.cdist(pictures, X).argmin(1)]
    counts = torch.bincount(kind, minlength=10) * 100 / len(pictures)
    far = nearest_distance(HELD_OUT, X).quantile(0.99)
    return {
        "kinds": [round(count, 1) for count in counts.tolist()],
        "nothing": round((nearest_distance(pictures, X) > far).float().mean().item(), 4),
        "sample_to_train": round(nearest_distance(pictures, X).mean().item(), 3),
        "held_out_to_sample": round(nearest_distance(HELD_OUT, pictures[:1258]).mean().item(), 3),
    }


def measured(models: nn.ModuleList, seed: int) -> dict[str, Any]:
    """Return the numbers of one seed."""
    autoencoder, vae = models
    torch.manual_seed(seed)
    z = torch.randn(DRAWS, 2)
    codes = autoencoder.encode(X)
    fitted = MultivariateNormal(codes.mean(0), codes.T.cov()).sample((DRAWS,))
    error = (HELD_OUT - autoencoder(HELD_OUT)).square().sum(1).mean().item()
    return {
        "seed": seed,
        "held_out_error": round(error, 3),
        "held_out_elbo": round(elbo_analytic(vae, HELD_OUT, 50).mean().item(), 2),
        "spread_of_codes": [round(spread, 2) for spread in codes.std(0).tolist()],
        "autoencoder, N(0, I)": shown(autoencoder.decode(z)),
        "autoencoder, fitted Gaussian": shown(autoencoder.decode(fitted)),
        "VAE, prior": shown(vae.decoder(z).mean),
    }


def fingerprint() -> str:
    source = Path(__file__).read_text() + inspect.getsource(_digits.untrained)
    return hashlib.sha256(source.encode()).hexdigest()


def main() -> None:
    torch.set_num_threads(1)
    found: dict[str, Any] = {
        "script_sha256": fingerprint(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "machine": f"{platform.machine()}, one thread of {os.cpu_count()}",
        "runs": [],
    }
    for seed in SEEDS:
        begin = time.process_time()
        models = trained(seed)
        seconds = round(time.process_time() - begin, 1)
        if seed == 0:
            save_weights(models, str(_digits.FILE))
            found["weights_sha256"] = hashlib.sha256(_digits.FILE.read_bytes()).hexdigest()
        found["runs"].append({**measured(models, seed), "cpu_seconds": seconds})
        print(json.dumps(found["runs"][-1]), flush=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
