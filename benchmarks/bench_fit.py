"""`fit` beside hand-written loops on the digits: 60 epochs of one small VAE.

Three loops train the same network from the same weights with the same noise:

    fit     companion.train.fit with elbo_analytic
    loop    the same objective in a bare loop with a running total
    plain   no distributions at all: network outputs, squared error and the closed-form KL

They take turns, so that whatever else the machine does hits all of them. Times are CPU seconds of
one thread. All three end at the same weights, which is checked.

    .venv/bin/python benchmarks/bench_fit.py [repetitions]
"""

import copy
import os
import statistics
import sys
import time

os.environ["TQDM_DISABLE"] = "1"

import torch

from companion import data
from companion.conditionals import GaussianConditional, StandardNormal, mlp
from companion.models import VAE
from companion.objectives import elbo_analytic
from companion.train import fit

EPOCHS, BATCH, LR, D, SIGMA = 60, 128, 1e-3, 8, 0.25


def with_fit(model: VAE, x: torch.Tensor) -> None:
    fit(model, x, elbo_analytic, epochs=EPOCHS, batch_size=BATCH, lr=LR)


def with_loop(model: VAE, x: torch.Tensor) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    for _ in range(EPOCHS):
        total = 0.0
        for rows in torch.randperm(len(x)).split(BATCH):
            values = elbo_analytic(model, x[rows])
            total += values.detach().sum().item()
            optimizer.zero_grad()
            (-values.mean()).backward()
            optimizer.step()


def with_plain_tensors(model: VAE, x: torch.Tensor) -> None:
    encoder, decoder = model.encoder.net, model.decoder.net
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    for _ in range(EPOCHS):
        total = 0.0
        for rows in torch.randperm(len(x)).split(BATCH):
            batch = x[rows]
            mu, logvar = encoder(batch).chunk(2, dim=-1)
            z = mu + torch.exp(0.5 * logvar) * torch.randn(len(rows), D)
            error = (batch - decoder(z)).square().sum() / (2 * SIGMA**2)
            kl = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum()
            loss = (error + kl) / len(rows)
            total += loss.item() * len(rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, _ = data.digits()
    start = VAE(
        encoder=GaussianConditional(mlp(64, 128, 2 * D)),
        decoder=GaussianConditional(mlp(D, 128, 64), scale=SIGMA),
        prior=StandardNormal(D),
    )
    loops = {"fit": with_fit, "loop": with_loop, "plain": with_plain_tensors}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for repetition in range(repetitions + 1):
        trained = {}
        for name, loop in loops.items():
            trained[name] = copy.deepcopy(start)
            torch.manual_seed(1)
            begin = time.process_time()
            loop(trained[name], x)
            if repetition:  # the first round warms up
                seconds[name].append(time.process_time() - begin)
        weights = [torch.cat([p.flatten() for p in m.parameters()]) for m in trained.values()]
        assert torch.equal(weights[0], weights[1]), "fit and the loop must do the same"
        assert (weights[0] - weights[2]).abs().max() < 0.05, "the plain loop must train the same"
    for name, times in seconds.items():
        print(
            f"{name:5s} median {statistics.median(times):.2f} s   "
            f"from {min(times):.2f} to {max(times):.2f}   of {repetitions}"
        )
    for other, remark in (("loop", "target: at most 1.1"), ("plain", "no target")):
        pairs = zip(seconds["fit"], seconds[other], strict=True)
        ratio = statistics.median(ours / theirs for ours, theirs in pairs)
        print(f"fit / {other:5s} {ratio:.2f}, median over rounds   ({remark})")


if __name__ == "__main__":
    main()
