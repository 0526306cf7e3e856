"""A pretended device: tensors that compute on the CPU but refuse to meet a tensor from elsewhere.

To PyTorch they are on the device `FAR`. Each holds its numbers in a tensor of the CPU; an operation
runs there once it is seen that all of its tensors are far, as on an accelerator: a CPU tensor may
come along only as a single number or as an index, and a generator not at all.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

FAR = torch.device("meta")
INDEX = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default)
JOINS = (torch.ops.aten.stack.default, torch.ops.aten.cat.default)
MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class Far(torch.Tensor):
    """A tensor that is far away; `near` is where its numbers are."""

    @staticmethod
    def __new__(cls, near):
        made = torch.Tensor._make_wrapper_subclass(
            cls, near.shape, near.stride(), near.storage_offset(), dtype=near.dtype, device=FAR
        )
        made.near = near
        return made

    def __repr__(self, *, tensor_contents=None):
        return f"Far({self.near!r})"

    def new_tensor(self, data, **options):
        return Far(self.near.new_tensor(data, **options))

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return compute(function, args, kwargs or {})


def compute(function, args, kwargs):
    """Run an operation on the CPU, and refuse one that mixes devices."""
    tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
    away = any(isinstance(t, Far) for t in tensors) or kwargs.get("device") == FAR
    if function in MOVES:
        away = (
            isinstance(args[0], Far)
            if function is MOVES[1]
            else (
                kwargs.get("device") == FAR
                or (kwargs.get("device") is None and isinstance(args[0], Far))
            )
        )
    elif away:
        if function in INDEX:
            tensors = [t for t in (args[0], *args[2:]) if isinstance(t, torch.Tensor)]
        near = [t for t in tensors if not isinstance(t, Far) and (t.dim() or function in JOINS)]
        if near or kwargs.get("generator"):
            raise RuntimeError(f"{function} mixes devices: {[tuple(t.shape) for t in near]}")
    if kwargs.get("device") == FAR:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    args, kwargs = tree_map(lambda t: t.near if isinstance(t, Far) else t, (args, kwargs))
    out = function(*args, **kwargs)
    if not away:
        return out
    return tree_map(lambda t: Far(t) if isinstance(t, torch.Tensor) else t, out)


class Pretend(TorchDispatchMode):
    """While it is on, tensors can be made on the pretended device and moved to and from it."""

    def __enter__(self):
        # A backward pass has a thread for each device, where no mode would be on.
        self.threads = torch.autograd.set_multithreading_enabled(False)
        return super().__enter__()

    def __exit__(self, *error):
        self.threads.__exit__(*error)
        return super().__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return compute(function, args, kwargs or {})
