"""`log_marginal`: its time beside pythae and beside the decoder alone, and its memory.

    .venv/bin/python benchmarks/bench_log_marginal.py [rounds]

`make bench` installs pythae 0.1.2, the extra `bench`; without it that row is left out.

The memory is measured in processes of their own, on Linux: the peak of the whole process, and its
rise above a loaded model that has evaluated the data once.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from compare import STEADY, row, start, take_turns, verdict
from torch import Tensor

from companion import (
    VAE,
    BernoulliConditional,
    GaussianConditional,
    StandardNormal,
    log_marginal,
    mlp,
)
from companion.objectives import CHUNK_NUMBERS

HERE = Path(__file__).parent
ROWS, PIXELS, UNITS, SAMPLES, MANY = 32, 784, 16, 1000, 100_000


def example() -> tuple[VAE, Tensor]:
    torch.manual_seed(0)
    x = (torch.rand(ROWS, PIXELS) < torch.rand(PIXELS).square()).float()
    vae = VAE(
        GaussianConditional(mlp(PIXELS, 512, 2 * UNITS)),
        BernoulliConditional(mlp(UNITS, 512, PIXELS)),
        StandardNormal(UNITS),
    )
    return vae, x


def pythae(vae: VAE) -> Any:
    """Give pythae the same networks; raise ImportError where it is not installed."""
    from pythae.models import VAE as PythaeVAE
    from pythae.models import VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = vae.encoder.net

        def forward(self, x: Tensor) -> Any:
            mu, logvar = self.net(x).chunk(2, dim=-1)
            return ModelOutput(embedding=mu, log_covariance=logvar)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = vae.decoder.net

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.net(z).sigmoid())

    config = VAEConfig(input_dim=(PIXELS,), latent_dim=UNITS, reconstruction_loss="bce")
    return PythaeVAE(config, Encoder(), Decoder()).eval()


def time_it() -> None:
    vae, x = example()
    chunk = CHUNK_NUMBERS // x.numel()

    def ours() -> float:
        return log_marginal(vae, x, SAMPLES).mean().item()

    @torch.no_grad()
    def decoder_alone() -> None:
        for done in range(0, SAMPLES, chunk):
            vae.decoder.net(torch.randn(min(chunk, SAMPLES - done) * ROWS, UNITS))

    sides = {"ours": ours, "decoder": decoder_alone}
    missing = ""
    try:
        other = pythae(vae)

        @torch.no_grad()
        def theirs() -> float:
            return float(other.get_nll(x, n_samples=SAMPLES, batch_size=100))

        sides["pythae"] = theirs
    except ImportError as error:
        missing = str(error)

    def same_bound(results: dict[str, float]) -> None:
        # Same estimate from other draws: here its standard error is below 0.1 nats.
        if "pythae" in results:
            apart = abs(results["ours"] - results["pythae"])
            assert apart < 0.5, f"pythae's mean over the data is {apart:.2f} nats away"

    seconds = take_turns(sides, same_bound)
    what = f"`log_marginal`, K = {SAMPLES}, {ROWS} images"
    row(f"{what}: / the decoder's network alone", seconds["ours"], seconds["decoder"], 1.4)
    if missing:
        print(f"{what}: / pythae `get_nll`: left out, pythae 0.1.2 is not installed ({missing})")
    else:
        row(f"{what}: / pythae `get_nll`", seconds["ours"], seconds["pythae"], 0.36)


def measure_memory(num_samples: int) -> None:
    """Print the peak, and its rise above the model at rest, in MiB: for a process of its own."""

    def status(field: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024

    vae, x = example()
    log_marginal(vae, x, 1)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far, that of the imports
    rest = status("VmRSS")
    log_marginal(vae, x, num_samples)
    print(json.dumps([status("VmHWM"), status("VmHWM") - rest]))


def compare_memory() -> None:
    few, many = (
        [statistics.median(sizes) for sizes in zip(*(peaks(K) for _ in range(3)), strict=True)]
        for K in (SAMPLES, MANY)
    )
    for what, low, high in zip(("of the process", "above the model"), few, many, strict=True):
        name = f"`log_marginal`, peak memory {what}: K = {MANY:,} / K = {SAMPLES:,}"
        sizes = f"{high:.0f} MiB | {low:.0f} MiB | {high / low:.2f} | medians of three processes"
        print(f"| {name} | {sizes} | {verdict(high / low, 1.2)} |")


def peaks(num_samples: int) -> list[float]:
    """Start a process, with the environment that a user has, that measures its memory."""
    environment = {name: value for name, value in os.environ.items() if name not in STEADY}
    program = f"from bench_log_marginal import measure_memory; measure_memory({num_samples})"
    return json.loads(
        subprocess.check_output([sys.executable, "-c", program], cwd=HERE, env=environment)
    )


if __name__ == "__main__":
    start()
    time_it()
    compare_memory()
