"""What is left as it was: modes of modules, gradients, random generators, the default dtype."""

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
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


@contextmanager
def preserved() -> Iterator[None]:
    """Run code of the reader's, and put back what it changes of the process as a whole.

    That is: the states of torch's generators, of numpy's global one and of Python's `random`,
    whether gradients are recorded, and the default dtype.
    """
    numpy_state = np.random.get_state()  # noqa: NPY002 (the reader's code may use it)
    python_state = random.getstate()
    gradients, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    with _fork_all():
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)
            torch.set_grad_enabled(gradients)
            torch.set_default_dtype(dtype)


def _fork_all() -> AbstractContextManager[None]:
    """Fork the generators of the CPU and of every accelerator that is in use."""
    usable = torch.accelerator.is_available()
    accelerator = torch.accelerator.current_accelerator() if usable else None
    if accelerator is None:
        return torch.random.fork_rng([])
    module = torch.get_device_module(accelerator)
    # To ask an idle accelerator for its state would start it, which takes time and memory.
    started = getattr(module, "is_initialized", lambda: True)()
    devices = range(module.device_count()) if started else []
    return torch.random.fork_rng(devices, device_type=accelerator.type)
