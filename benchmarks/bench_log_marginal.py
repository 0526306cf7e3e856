"""`log_marginal`: its time beside pythae and beside the decoder alone, and its memory.

pythae 0.1.2 does not go with the packages of requirements.lock; without it that row is left out.
To have it, in a folder of its own:

    .venv/bin/pip install --target /tmp/pythae --no-deps pythae==0.1.2
    .venv/bin/pip install --target /tmp/pythae pydantic
    PYTHONPATH=/tmp/pythae .venv/bin/python benchmarks/bench_log_marginal.py [rounds]

The memory is measured in processes of their own: the peak of the whole process, and what it rises
above a loaded model that has evaluated the data once.
"""

import json
import resource
import subprocess
import sys
from pathlib import Path

import torch
from compare import header, row, take_turns, verdict
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

try:
    from pythae.models import VAE as PythaeVAE
    from pythae.models import VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    MISSING = ""
except ImportError as error:
    MISSING = str(error)

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


def pythae(vae: VAE) -> "PythaeVAE":
    """Give pythae the same networks."""

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = vae.encoder.net

        def forward(self, x: Tensor) -> "ModelOutput":
            mu, logvar = self.net(x).chunk(2, dim=-1)
            return ModelOutput(embedding=mu, log_covariance=logvar)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = vae.decoder.net

        def forward(self, z: Tensor) -> "ModelOutput":
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
        for start in range(0, SAMPLES, chunk):
            vae.decoder.net(torch.randn(min(chunk, SAMPLES - start) * ROWS, UNITS))

    sides = {"ours": ours, "decoder": decoder_alone}
    if not MISSING:
        other = pythae(vae)

        @torch.no_grad()
        def theirs() -> float:
            return float(other.get_nll(x, n_samples=SAMPLES, batch_size=100))

        sides["pythae"] = theirs

    def same_bound(results: dict[str, float]) -> None:
        # Same estimate from other draws: here its standard error is below 0.1 nats.
        if "pythae" in results:
            apart = abs(results["ours"] - results["pythae"])
            assert apart < 0.5, f"pythae's mean over the data is {apart:.2f} nats away"

    seconds = take_turns(sides, same_bound)
    what = f"`log_marginal`, K = {SAMPLES}, {ROWS} images"
    row(f"{what}: / the decoder's network alone", seconds["ours"], seconds["decoder"], 1.4)
    if MISSING:
        print(f"pythae is not installed ({MISSING}); {__file__} says how to have it.")
    else:
        row(f"{what}: / pythae `get_nll`", seconds["ours"], seconds["pythae"], 0.36)


def measure_memory(num_samples: int) -> None:
    """Print the peak before and after, in MiB: what a process of its own is started for."""

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    vae, x = example()
    log_marginal(vae, x, 1)
    before = peak()
    log_marginal(vae, x, num_samples)
    print(json.dumps([before, peak()]))


def compare_memory() -> None:
    peaks = {}
    for num_samples in (SAMPLES, MANY):
        program = f"from bench_log_marginal import measure_memory; measure_memory({num_samples})"
        command = [sys.executable, "-c", program]
        answer = subprocess.run(
            command, check=True, capture_output=True, text=True, cwd=HERE
        ).stdout
        before, after = json.loads(answer)
        peaks[num_samples] = (after, after - before)
    for what, few, many in zip(
        ("of the process", "above the loaded model"), peaks[SAMPLES], peaks[MANY], strict=True
    ):
        name = f"`log_marginal`, peak memory {what}: K = {MANY:,} / K = {SAMPLES:,}"
        sizes = f"{many:.0f} MiB | {few:.0f} MiB | {many / few:.2f} | one run each"
        print(f"| {name} | {sizes} | {verdict(many / few, 1.2)} |")


if __name__ == "__main__":
    header()
    time_it()
    compare_memory()
