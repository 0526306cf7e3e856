"""Training: one loop for every model and objective, short enough to read in one sitting."""

import copy
import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from companion.models import LatentVariableModel
from companion.objectives import elbo
from companion.validation import require_count, require_data, require_module, require_positive

__all__ = [
    "History",
    "fit",
    "linear_warm_up",
    "load_weights",
    "rate_and_distortion",
    "save_weights",
]


@dataclass
class History:
    """What happened in each epoch of a fit.

    Attributes:
        objective: Mean of the objective over the data, in nats per data point.
        seconds: Time since the start.
        monitored: What the monitor returned, name by name, one entry an epoch.
    """

    objective: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    monitored: dict[str, list[float]] = field(default_factory=dict)


def fit(
    model: nn.Module,
    x: Float[Tensor, "N D"],
    objective: Callable[..., Float[Tensor, " B"]] = elbo,
    *,
    epochs: int,
    batch_size: int = 128,
    lr: float = 1e-3,
    schedule: Callable[[int], float] | None = None,
    monitor: Callable[[Any], Mapping[str, float]] | None = None,
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
        schedule: Maps the epoch, from 0, to a third argument of the objective, such as the β of
            `companion.objectives.beta_elbo`.
        monitor: Called with the model after each epoch, without gradient and with random numbers
            of its own, so that watching changes nothing; `rate_and_distortion` makes one.

    Returns:
        The history, one entry for each epoch that was finished.

    Raises:
        ValueError: x is empty or not finite, epochs is negative, batch_size below 1, lr not
            positive, or the objective returns another shape than (B,), or no gradient.
        TypeError: model is no module with parameters, or the objective returns no tensor.
        FloatingPointError: The objective or the weights became NaN or infinite. The message
            names epoch and step; the model goes back to its weights from before that epoch.

    Reference: D. P. Kingma and J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015,
    https://arxiv.org/abs/1412.6980.
    """
    require_data(x)
    require_count(epochs, "epochs", minimum=0)
    require_count(batch_size, "batch_size")
    parameters = list(require_module(model, "model", "e.g. a VAE").parameters())
    if not parameters:
        raise ValueError("model must have parameters to fit, got none; all it holds are constants")
    optimizer = torch.optim.Adam(parameters, lr=require_positive(lr, "lr"))
    history = History()
    start = time.perf_counter()
    with (
        # In a notebook tqdm itself overlooks the variable.
        tqdm(
            total=epochs,
            desc="fit",
            unit="epoch",
            leave=False,
            disable=os.environ.get("TQDM_DISABLE") == "1",
        ) as bar,
        suppress(KeyboardInterrupt),
    ):
        for epoch in range(epochs):
            extra = () if schedule is None else (schedule(epoch),)
            good = copy.deepcopy(model.state_dict())
            total = 0.0
            try:
                for step, rows in enumerate(torch.randperm(len(x)).split(batch_size)):  # noqa: B007
                    values = objective(model, x[rows], *extra)
                    total += _total(values, len(rows))
                    optimizer.zero_grad()
                    (-values.mean()).backward()
                    optimizer.step()
                _require_finite_weights(model)
            except FloatingPointError as error:
                model.load_state_dict(good)
                raise FloatingPointError(
                    f"{error} in epoch {epoch}, step {step}; the model is back at its weights from "
                    f"before epoch {epoch}: try an lr below {lr} or a larger decoder scale"
                ) from None
            history.objective.append(total / len(x))
            history.seconds.append(time.perf_counter() - start)
            if monitor is not None:
                with torch.no_grad(), torch.random.fork_rng(devices=[]):
                    for name, value in monitor(model).items():
                        history.monitored.setdefault(name, []).append(float(value))
            bar.set_postfix(objective=f"{history.objective[-1]:.2f}")
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
    require_data(x)
    require_count(num_samples, "num_samples")

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

    Raises:
        ValueError: epochs is below 1.

    Reference: S. R. Bowman et al., "Generating Sentences from a Continuous Space", CoNLL 2016,
    https://arxiv.org/abs/1511.06349.

    >>> [linear_warm_up(4)(epoch) for epoch in (0, 1, 4, 9)]
    [0.0, 0.25, 1.0, 1.0]
    """
    require_count(epochs, "epochs")
    return lambda epoch: start + (end - start) * min(1.0, epoch / epochs)


def save_weights(model: nn.Module, path: str | Path) -> None:
    """Write a model's weights and buffers to a safetensors file, whole or not at all.

    Args:
        model: Any module.
        path: Of the file; an existing one is replaced only once the new one is complete.

    Raises:
        FileNotFoundError: Its folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path {str(path)!r} is in no folder that exists; make it first")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file({k: v.contiguous().clone() for k, v in model.state_dict().items()}, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Read weights that `save_weights` wrote into a model of the same architecture.

    Nothing is unpickled, so a file can hold numbers only.

    Args:
        model: Updated in place; untouched if anything is wrong.
        path: Of the file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no safetensors file, or its tensors differ from the model's in name or
            shape.
    """
    try:
        weights = load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"path {str(path)!r} is no safetensors file ({error})") from None
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if own != found:
        differ = sorted(
            name for name in own.keys() | found.keys() if own.get(name) != found.get(name)
        )
        name = differ[0]
        raise ValueError(
            f"path {str(path)!r} holds weights of another architecture: {name} has shape "
            f"{found.get(name, 'none')} there and {own.get(name, 'none')} in the model; build the "
            f"model with the sizes that it was saved with"
        )
    model.load_state_dict(weights)


def _total(values: Tensor, size: int) -> float:
    """Return the sum of a batch's objective after a check that it is one finite number a row."""
    if not isinstance(values, Tensor):
        raise TypeError(
            f"objective must return a tensor of shape ({size},), got {type(values).__name__}"
        )
    if values.shape != (size,):
        raise ValueError(
            f"objective must return one number for each of the {size} rows, shape ({size},), got "
            f"{tuple(values.shape)}; sum over pixels and latent units, not over the batch"
        )
    if not values.requires_grad:
        raise ValueError(
            "objective must return values with a gradient, got none; log_marginal, for one, is for "
            "evaluation: train with iwae_bound"
        )
    total = values.detach().sum().item()
    if not math.isfinite(total):
        raise FloatingPointError(f"the objective became {total}")
    return total


def _require_finite_weights(model: nn.Module) -> None:
    """Raise if the steps have made a weight NaN or infinite."""
    # One number tells of all: a sum is finite only if each term is.
    if not math.isfinite(sum(p.detach().sum() for p in model.parameters())):
        raise FloatingPointError("the weights became NaN or infinite")
