"""`iwae_bound` with its gradient, K = 50, beside pyro and beside a hand-written function.

All three share the networks of a 784-512-16 VAE and draw the same noise, so bound and gradient
are the same to rounding.

    .venv/bin/python benchmarks/bench_iwae.py [rounds]
"""

import math

import pyro
import pyro.distributions as dist
import torch
from compare import row, start, take_turns
from pyro.infer import RenyiELBO
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from companion import (
    VAE,
    BernoulliConditional,
    GaussianConditional,
    StandardNormal,
    iwae_bound,
    mlp,
)

ROWS, SAMPLES, UNITS, STEPS = 100, 50, 16, 3
Result = tuple[float, Tensor]


def main() -> None:
    start()
    torch.manual_seed(0)
    x = (torch.rand(ROWS, 784) < torch.rand(784).square()).float()
    vae = VAE(
        GaussianConditional(mlp(784, 512, 2 * UNITS)),
        BernoulliConditional(mlp(UNITS, 512, 784)),
        StandardNormal(UNITS),
    )
    encoder, decoder = vae.encoder.net, vae.decoder.net
    loss = RenyiELBO(alpha=0, num_particles=SAMPLES, vectorize_particles=True, max_plate_nesting=1)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(UNITS), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x), dim=-1):
            mu, logvar = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(mu, (0.5 * logvar).exp()).to_event(1))

    def result(total: float) -> Result:
        gradient = torch.cat([p.grad.flatten() for p in vae.parameters()])
        vae.zero_grad()
        return total, gradient

    def ours() -> Result:
        total = 0.0
        for _ in range(STEPS):
            bound = iwae_bound(vae, x, SAMPLES).sum()
            (-bound).backward()
            total += bound.item()
        return result(total)

    def pyros() -> Result:
        return result(sum(-loss.loss_and_grads(model, guide, x) for _ in range(STEPS)))

    def by_hand() -> Result:
        total = 0.0
        for _ in range(STEPS):
            mu, logvar = encoder(x).chunk(2, -1)
            eps = torch.randn(SAMPLES, *mu.shape)
            z = mu + torch.exp(0.5 * logvar) * eps
            logits = decoder(z)
            pixels = x.expand_as(logits)
            log_p = -binary_cross_entropy_with_logits(logits, pixels, reduction="none").sum(-1)
            rate = 0.5 * (z.square() - eps.square() - logvar).sum(-1)
            bound = ((log_p - rate).logsumexp(0) - math.log(SAMPLES)).sum()
            (-bound).backward()
            total += bound.item()
        return result(total)

    def same_bound(results: dict[str, Result]) -> None:
        bound, gradient = results["ours"]
        for name, (other, other_gradient) in results.items():
            assert math.isclose(bound, other, rel_tol=1e-5), f"{name}: bound {other}, not {bound}"
            apart = (gradient - other_gradient).norm() / gradient.norm()
            assert apart < 1e-4, f"{name}: gradient {apart:.1e} apart"

    seconds = take_turns({"ours": ours, "pyro": pyros, "hand": by_hand}, same_bound)
    what = f"`iwae_bound` with gradient, K = {SAMPLES}, {ROWS} rows, {STEPS} times"
    row(f"{what}: / pyro `RenyiELBO`, vectorised", seconds["ours"], seconds["pyro"], 0.95)
    row(f"{what}: / written by hand", seconds["ours"], seconds["hand"])


if __name__ == "__main__":
    main()
