"""Training: one loop for every model and objective, and what surrounds it."""

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.linalg import LinAlgError  # type: ignore[attr-defined]
from torch.utils.data import DataLoader, TensorDataset
from tqdm.auto import tqdm

from companion._checks import (
    check_count,
    check_number,
    check_tensor,
    like,
    sum_of_objective,
)
from companion._context import evaluating, fork_rng
from companion.models import LatentVariableModel
from companion.objectives import elbo

Objective = Callable[..., Float[Tensor, " B"]]


def train_epoch(
    model: nn.Module,
    batches: Iterable[Tensor],
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    *weights: float,
) -> float:
    """Take a step up ``objective(model, x, *weights)`` for each batch; return its mean over x."""
    total, count = 0.0, 0
    for x in batches:
        values = objective(model, x, *weights)
        total += sum_of_objective(values, len(x))
        count += len(x)
        optimizer.zero_grad()
        (-values.mean()).backward()
        optimizer.step()
    return total / count


@dataclass(frozen=True)
class Epoch:
    """What happened in one epoch of a fit.

    Attributes:
        objective: Mean of the objective over the data, in nats per data point.
        seconds: Time since the start of the fit.
        monitored: What the monitor returned, by name.
    """

    objective: float
    seconds: float
    monitored: Mapping[str, float]


@dataclass
class History:
    """What happened in a fit: one entry for each epoch that was finished."""

    epochs: list[Epoch] = field(default_factory=list)

    @property
    def objective(self) -> list[float]:
        """Mean of the objective over the data, epoch by epoch, in nats per data point."""
        return [epoch.objective for epoch in self.epochs]

    @property
    def seconds(self) -> list[float]:
        """Time since the start, epoch by epoch."""
        return [epoch.seconds for epoch in self.epochs]

    @property
    def monitored(self) -> dict[str, list[float]]:
        """What the monitor returned, name by name, epoch by epoch."""
        names = self.epochs[0].monitored if self.epochs else ()
        return {name: [epoch.monitored[name] for epoch in self.epochs] for name in names}


def fit(
    model: nn.Module,
    x: Float[Tensor, "N ..."] | TensorDataset | DataLoader[Any],
    objective: Objective = elbo,
    *,
    epochs: int,
    batch_size: int = 128,
    lr: float = 1e-3,
    flatten: bool = False,
    schedule: Callable[[int], float] | None = None,
    monitor: Callable[[Any], Mapping[str, float]] | None = None,
) -> History:
    """Maximise an objective with Adam, in place: `train_epoch` again and again.

    Each epoch visits every row once in a new order, drawn from torch's global generator: seed it
    for the same numbers. Ctrl-C ends the fit early; the model keeps what it has learned and the
    history so far is returned. Where training diverges the model goes back to its weights from
    before that epoch, and the error names epoch, step and the likeliest cause.

    Args:
        model: Updated in place, in training mode; batches follow it to its device.
        x: Data, (N, D); or a TensorDataset or DataLoader, of whose tuples the first entry counts:
            labels are ignored.
        objective: Called as ``objective(model, batch)``; returns nats per data point, (B,), to be
            maximised, such as `companion.elbo`.
        epochs: Passes over the data; 0 leaves the model as it is.
        batch_size: Rows a step; the last step of an epoch takes what remains. A DataLoader has its
            own.
        lr: Adam's step size.
        flatten: Make each batch (B, D), as a model of vectors takes it, from images (B, C, H, W).
        schedule: Maps the epoch, from 0, to a third argument of the objective, such as the β of
            `companion.beta_elbo`.
        monitor: Called with the model after each epoch, in eval mode, without gradient and with
            random numbers of its own, so that watching changes nothing.

    Returns:
        The history, one entry for each epoch that was finished.

    Reference: D. P. Kingma and J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015,
    https://arxiv.org/abs/1412.6980.
    """
    check_count(epochs, "epochs", minimum=0)
    check_count(batch_size, "batch_size")
    check_number(lr, "lr")
    parameters = [p for p in model.parameters() if p.requires_grad]
    device = like(model).device
    # One kernel for all of a step, where torch has it.
    fused = device.type in ("cpu", "cuda", "mps", "xpu")
    optimizer = torch.optim.Adam(parameters, lr=lr, fused=fused)
    batches = _Batches(x, batch_size, flatten, device)
    history = History()
    start = time.perf_counter()
    # In a notebook tqdm itself overlooks the variable.
    hidden = os.environ.get("TQDM_DISABLE") == "1"
    with (
        tqdm(total=epochs, desc="fit", unit="epoch", leave=False, disable=hidden) as bar,
        suppress(KeyboardInterrupt),
    ):
        for epoch in range(epochs):
            model.train()
            weights = [schedule(epoch)] if schedule else []
            with _back_where_it_diverges(model, batches, epoch, lr):
                mean = train_epoch(model, batches, objective, optimizer, *weights)
            monitored = _watched(model, monitor) if monitor else {}
            # One entry at once, so that an interrupt finds all of an epoch here or nothing.
            history.epochs.append(Epoch(mean, time.perf_counter() - start, monitored))
            bar.set_postfix(objective=f"{mean:.2f}")
            bar.update()
    return history


def rate_and_distortion(
    x: Float[Tensor, "N D"], num_samples: int = 1
) -> Callable[[LatentVariableModel], dict[str, float]]:
    """Make a monitor for `fit` that measures rate and distortion on x.

    The rate is E_q[log q(z | x) − log p(z)], summed over levels; the distortion is
    −E_q[log p(x | z)]. Both are means over x in nats per data point, and −(rate + distortion) is
    the ELBO.

    Args:
        x: Data, training or held out, (N, D).
        num_samples: Draws of z for each data point.

    Reference: A. A. Alemi et al., "Fixing a Broken ELBO", ICML 2018,
    https://arxiv.org/abs/1711.00464.
    """

    def monitor(model: LatentVariableModel) -> dict[str, float]:
        trace = model.trace(x, num_samples)
        return {
            "rate": trace.rates.sum(0).mean().item(),
            "distortion": -trace.reconstruction.mean().item(),
        }

    return monitor


def linear_warm_up(epochs: int, *, start: float = 0.0, end: float = 1.0) -> Callable[[int], float]:
    """Make a schedule for `fit`: a straight line from `start` to `end`, then level.

    Args:
        epochs: The epoch, counted from 0, that first has the value `end`.
        start: Value in epoch 0.
        end: Value from then on.

    Reference: S. R. Bowman et al., "Generating Sentences from a Continuous Space", CoNLL 2016,
    https://arxiv.org/abs/1511.06349.

    >>> [linear_warm_up(4)(epoch) for epoch in (0, 1, 4, 9)]
    [0.0, 0.25, 1.0, 1.0]
    """
    check_count(epochs, "epochs")
    return lambda epoch: start + (end - start) * min(1.0, epoch / epochs)


def _watched(model: nn.Module, monitor: Callable[[Any], Mapping[str, float]]) -> dict[str, float]:
    """Return what the monitor says of the model, which learns nothing of being watched."""
    with evaluating(model), fork_rng(like(model).device):
        return {name: float(value) for name, value in monitor(model).items()}


class _Batches:
    """The batches of one epoch, on a device and in a new order each time; it knows where it is."""

    def __init__(
        self, x: Tensor | TensorDataset | DataLoader[Any], size: int, flatten: bool, device: Any
    ) -> None:
        self.data = x.tensors[0] if isinstance(x, TensorDataset) else x
        if not isinstance(self.data, DataLoader):
            check_tensor(self.data, "x")
        self.size, self.flatten, self.device = size, flatten, device
        self.step, self.last = 0, torch.empty(0)

    def __iter__(self) -> Iterator[Tensor]:
        for step, batch in enumerate(self._rows()):
            moved = batch.to(self.device)
            self.step, self.last = step, moved.flatten(1) if self.flatten else moved
            yield self.last

    def _rows(self) -> Iterator[Tensor]:
        """Yield the rows of a tensor, or what a DataLoader yields, without its labels."""
        if isinstance(self.data, Tensor):
            order = torch.randperm(len(self.data), device=self.data.device)
            yield from (self.data[rows] for rows in order.split(self.size))
        else:
            yield from (b[0] if isinstance(b, list | tuple) else b for b in self.data)


@contextmanager
def _back_where_it_diverges(
    model: nn.Module, batches: _Batches, epoch: int, lr: float
) -> Iterator[None]:
    """Put the model back to its weights where training diverges, and say why it may have."""
    good = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        yield
        if not _finite(model):
            raise FloatingPointError("the weights became NaN or infinite")
    except Exception as error:
        if not _diverged(model, error):
            raise
        remedy = _remedy(model, batches.last, lr)
        model.load_state_dict(good)
        where = f"in epoch {epoch}, step {batches.step} (the weights from before it are back)"
        what = str(error).partition("\n")[0]
        raise FloatingPointError(f"training diverged {where}: {what}. {remedy}") from error


def _finite(model: nn.Module) -> bool:
    """Tell whether all weights are finite."""
    # One number tells of all: a sum is finite only if each term is. In float16 it may overflow.
    weights = [p.detach() for p in model.parameters()]
    return math.isfinite(
        sum(w.sum(dtype=torch.promote_types(w.dtype, torch.float32)) for w in weights)
    )


def _diverged(model: nn.Module, error: Exception) -> bool:
    """Tell whether an error comes from numbers out of range, and not from a mistake in the call."""
    said = str(error)
    return (
        isinstance(error, FloatingPointError | LinAlgError)
        # torch.distributions, of parameters or a draw that are NaN or out of range
        or (isinstance(error, ValueError) and ("constraint" in said or "the support" in said))
        or not _finite(model)
    )


def _remedy(model: nn.Module, batch: Tensor, lr: float) -> str:
    """Name the likeliest cause of a divergence."""
    largest = batch.abs().max().item() if batch.numel() else 0.0
    scales = [b.min().item() for name, b in model.named_buffers() if name.endswith("scale")]
    if largest > 30:
        return f"The data reach {largest:.4g}: scale them first, e.g. x / {largest:.4g}"
    if batch.dtype == torch.float16:
        return "In float16 sums over pixels overflow: use float32 or bfloat16"
    if min(scales, default=1.0) < 0.02:
        return f"A scale of {min(scales):.4g} makes the density very steep: try a larger one"
    return f"Try an lr below {lr}"
