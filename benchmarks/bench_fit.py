"""`fit` beside a hand-written loop that knows no distributions.

The loop has the network's outputs, binary cross-entropy or squared error, and the closed-form KL.
Both train the same network from the same weights with the same noise, and end at the same weights.

    .venv/bin/python benchmarks/bench_fit.py [rounds]
"""

import copy
from collections.abc import Callable
from functools import partial

import torch
from compare import row, start, take_turns
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from companion import (
    VAE,
    BernoulliConditional,
    GaussianConditional,
    StandardNormal,
    data,
    elbo_analytic,
    fit,
    mlp,
)

BATCH, LR, SIGMA = 128, 1e-3, 0.25


def with_fit(untrained: VAE, x: Tensor, epochs: int) -> Tensor:
    model = copy.deepcopy(untrained)
    fit(model, x, elbo_analytic, epochs=epochs, batch_size=BATCH, lr=LR)
    return weights(model)


def by_hand(
    untrained: VAE,
    x: Tensor,
    epochs: int,
    distortion: Callable[[Tensor, Tensor], Tensor],
    fused: bool,
) -> Tensor:
    model = copy.deepcopy(untrained)
    encoder, decoder = model.encoder.net, model.decoder.net
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=fused or None)
    for _ in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(x)).split(BATCH):
            batch = x[rows]
            mu, logvar = encoder(batch).chunk(2, dim=-1)
            z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
            kl = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum()
            loss = (distortion(decoder(z), batch) + kl) / len(rows)
            total += loss.item() * len(rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return weights(model)


def cross_entropy(logits: Tensor, x: Tensor) -> Tensor:
    return binary_cross_entropy_with_logits(logits, x, reduction="sum")


def squared_error(mean: Tensor, x: Tensor) -> Tensor:
    return (x - mean).square().sum() / (2 * SIGMA**2)


def weights(model: VAE) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def same_weights(trained: dict[str, Tensor]) -> None:
    # Rounding differs, and Adam makes much of it where a gradient is all but zero.
    for name, other in trained.items():
        apart = (other - trained["fit"]).norm() / trained["fit"].norm()
        assert apart < 1e-3, f"fit and the {name} end {apart:.1e} apart"


def main() -> None:
    start()
    torch.manual_seed(0)
    pictures = (torch.rand(4000, 784) < torch.rand(784).square()).float()
    digits, _ = data.digits()
    cases = (
        (
            "784-512-16, Bernoulli, 4,000 pictures, 5 epochs",
            BernoulliConditional(mlp(16, 512, 784)),
            GaussianConditional(mlp(784, 512, 2 * 16)),
            (pictures, 5, cross_entropy),
            (1.10, 1.00),
        ),
        (
            "64-128-8, Gaussian, 1,797 digits, 40 epochs",
            GaussianConditional(mlp(8, 128, 64), scale=SIGMA),
            GaussianConditional(mlp(64, 128, 2 * 8)),
            (digits, 40, squared_error),
            (1.35, 1.20),
        ),
    )
    for name, decoder, encoder, (x, epochs, distortion), (target_same, target_plain) in cases:
        untrained = VAE(encoder, decoder, StandardNormal(encoder.net[-1].out_features // 2))
        sides = {
            "fit": partial(with_fit, untrained, x, epochs),
            "loop with fused Adam": partial(by_hand, untrained, x, epochs, distortion, fused=True),
            "loop with plain Adam": partial(by_hand, untrained, x, epochs, distortion, fused=False),
        }
        seconds = take_turns(sides, same_weights)
        for loop, target in (
            ("loop with fused Adam", target_same),
            ("loop with plain Adam", target_plain),
        ):
            row(f"{name}: `fit` / {loop}", seconds["fit"], seconds[loop], target)


if __name__ == "__main__":
    main()
