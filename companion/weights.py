"""A model's numbers in a file: whole or not at all, and nothing in it can run."""

import copy
import os
from pathlib import Path

import safetensors
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


def save_weights(model: nn.Module, path: str | Path) -> None:
    """Write a model's weights and constants to a safetensors file, whole or not at all.

    Args:
        model: Any module, compiled or wrapped or neither.
        path: Of the file; an existing one is replaced only once the new one is complete.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    weights = {name: tensor.contiguous().clone() for name, tensor in _named(model).items()}
    try:
        save_file(weights, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Read weights that `save_weights` wrote into a model of the same architecture.

    Nothing is unpickled, so a file can hold numbers only. What fixes a model's numbers beside its
    weights, such as a decoder's scale, is read too; a schedule of noise must agree.

    Args:
        model: Updated in place; untouched if anything is wrong.
        path: Of the file.
    """
    try:
        found = load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"path {str(path)!r} is no safetensors file ({error})") from None
    own = _named(model)
    for name in sorted(own.keys() | found.keys()):
        shapes = [tuple(w[name].shape) if name in w else None for w in (found, own)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"path {path} fits another architecture: {name} is {shapes[0]} there")
    weights = {name: found[_plain(name)] for name in model.state_dict()}
    # A copy first: what it refuses has then changed no part of the model.
    copy.deepcopy(model).load_state_dict(weights)
    model.load_state_dict(weights)


def _named(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's state by the names that it has when nothing wraps it."""
    return {_plain(name): tensor for name, tensor in model.state_dict().items()}


def _plain(name: str) -> str:
    """Return a name without what torch.compile and data-parallel wrappers put into it."""
    return ".".join(part for part in name.split(".") if part not in ("_orig_mod", "module"))
