"""Training: one loop for every model and objective, short enough to read in one sitting."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm.auto import tqdm

from companion.objectives import elbo
from companion.validation import require_count, require_data, require_positive

__all__ = ["History", "fit"]


@dataclass
class History:
    """What happened in each epoch of a fit.

    Attributes:
        objective: Mean of the objective over the data, in nats per data point.
        seconds: Time since the start.
    """

    objective: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def fit(
    model: nn.Module,
    x: Float[Tensor, "N D"],
    objective: Callable[..., Float[Tensor, " B"]] = elbo,
    *,
    epochs: int,
    batch_size: int = 128,
    lr: float = 1e-3,
) -> History:
    """Maximise an objective with Adam, in place, and return its history.

    Each epoch visits every row once in a new order, drawn from torch's global generator: seed it
    for the same numbers. Ctrl-C ends the fit early; the model keeps what it has learned and the
    history so far is returned.

    Args:
        model: Updated in place.
        x: Data, (N, D).
        objective: Called as ``objective(model, batch)``; returns nats per data point, (B,), to be
            maximised, such as `companion.objectives.elbo`.
        epochs: Passes over the data; 0 leaves the model as it is.
        batch_size: Rows a step; the last step of an epoch takes what remains.
        lr: Adam's step size.

    Returns:
        The history, one entry for each epoch that was finished.

    Raises:
        ValueError: x is empty or not finite, epochs is negative, batch_size below 1, lr not
            positive, or the objective returns another shape than (B,).
        FloatingPointError: The objective or the weights became NaN or infinite. The message
            names epoch and step; the model goes back to its weights from before that epoch.

    Reference: D. P. Kingma and J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015,
    https://arxiv.org/abs/1412.6980.
    """
    require_data(x)
    require_count(epochs, "epochs", minimum=0)
    require_count(batch_size, "batch_size")
    optimizer = torch.optim.Adam(model.parameters(), lr=require_positive(lr, "lr"))
    history = History()
    start = time.perf_counter()
    with tqdm(total=epochs, desc="fit", unit="epoch", leave=False) as bar:
        try:
            for epoch in range(epochs):
                good = copy.deepcopy(model.state_dict())
                total = torch.zeros((), dtype=x.dtype)
                for step, rows in enumerate(torch.randperm(len(x)).split(batch_size)):
                    try:
                        values = _evaluate(objective, model, x[rows])
                    except FloatingPointError as error:
                        model.load_state_dict(good)
                        raise FloatingPointError(
                            f"{error} in epoch {epoch}, step {step}; the model is back at its "
                            f"weights from before epoch {epoch}: try a smaller lr, now {lr}, or a "
                            f"larger decoder scale"
                        ) from None
                    optimizer.zero_grad()
                    (-values.mean()).backward()
                    optimizer.step()
                    total += values.detach().sum()
                history.objective.append(total.item() / len(x))
                history.seconds.append(time.perf_counter() - start)
                bar.set_postfix(objective=f"{history.objective[-1]:.2f}")
                bar.update()
        except KeyboardInterrupt:
            bar.write(f"Stopped by hand after {len(history.objective)} epochs.")
    return history


def _evaluate(objective: Callable[..., Tensor], model: nn.Module, batch: Tensor) -> Tensor:
    """Return the objective of a batch, one finite number a row."""
    values = objective(model, batch)
    if values.shape != (len(batch),):
        raise ValueError(
            f"objective must return one number for each of the {len(batch)} rows, shape "
            f"({len(batch)},), got {tuple(values.shape)}; sum over pixels and latent units, not "
            f"over the batch"
        )
    total = values.detach().sum().item()
    if not math.isfinite(total):
        raise FloatingPointError(f"the objective became {total}")
    return values
