"""What an evaluation leaves as it was: modes of modules, gradients, random generators."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluate without gradient and in eval mode, and put every module back into its mode."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def fork_rng(device: torch.device) -> AbstractContextManager[None]:
    """Fork the random generators of the CPU and of the device in use."""
    if device.type == "cpu":
        return torch.random.fork_rng([])
    return torch.random.fork_rng([device], device_type=device.type)
