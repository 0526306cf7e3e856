"""The Python face of a figure: what is handed over, and the HTML that shows it."""

import base64
import hashlib
import html
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import numpy as np
import torch
from torch import Tensor, nn

from companion._page import anchor, captioned, in_page
from companion.live import _bundle

KINDS: Final = {
    torch.float64: ("f8", "<f8"),
    torch.float32: ("f4", "<f4"),
    torch.float16: ("f2", "<f2"),
    torch.uint8: ("u1", "u1"),
    torch.int64: ("i4", "<i4"),
}


def figure(
    name: str, *, alt: str, caption: str = "", number: str = "", task: str = "", **data: Any
) -> "Figure":
    """Make a figure that computes what it shows.

    Args:
        name: Of its module in ``companion/live/figures``.
        alt: What it shows, for readers who cannot see it.
        caption: What to see in it, in a sentence or two.
        number: Of chapter and figure, such as "3.1".
        task: One line above it: what to do.
        data: What its module computes with, by name: numbers, texts, tensors, arrays, networks of
            ``nn.Linear`` with SiLU or tanh between (their weights travel in half precision), and
            lists and dictionaries of those.

    Returns:
        An object that shows itself as the last expression of a cell.
    """
    try:
        _bundle.source(f"figures/{name}.js")
    except OSError:
        raise ValueError(f"name must be that of a module in live/figures, got {name!r}") from None
    return Figure(name, alt, caption, number, task, encoded(data))


@final
class Figure:
    """A figure with its data. Make one with `figure`."""

    def __init__(
        self, name: str, alt: str, caption: str, number: str, task: str, data: Any
    ) -> None:
        self.name: Final = name
        self.alt: Final = alt
        self.caption: Final = caption
        self.number: Final = number
        self.task: Final = task
        self.data: Final = data

    def __repr__(self) -> str:
        """Say what is shown where pictures are."""
        return f"Figure {self.number or self.name}: {self.alt}"

    def _repr_html_(self) -> str:
        """Return the figure: in a kernel, with the scripts and the style that it needs."""
        if in_page():
            return self.html()
        scripts = _bundle.engine() + _bundle.script(self.name)
        return f"<style>{_bundle.source('live.css')}</style>{self.html()}<script>{scripts}</script>"

    def html(self) -> str:
        """Return the figure without what its page shares with others."""
        data = json.dumps(self.data, ensure_ascii=False, separators=(",", ":"))
        data = data.replace("<", "\\u003c")
        digest = hashlib.sha256(data.encode()).hexdigest()[:8]
        uid = anchor(self.number) if self.number else f"live-{self.name}-{digest}"
        task = f'<p class="live-task">{html.escape(self.task)}</p>' if self.task else ""
        return (
            f'<figure class="live" id="{uid}" data-live="{self.name}">{task}'
            f'<div class="live-stage" role="group" aria-label="{html.escape(self.alt)}"></div>'
            f"{captioned(self.number, self.caption)}"
            f'<script type="application/json">{data}</script></figure>'
        )


def encoded(value: Any) -> Any:
    """Return what JSON can hold: bytes of tensors in base64, networks as lists of their layers."""
    if isinstance(value, nn.Module):
        return _layers(value)
    if isinstance(value, np.ndarray | np.generic):
        return encoded(torch.as_tensor(value) if value.ndim else value.item())
    if isinstance(value, Tensor):
        if value.dtype not in KINDS:
            raise TypeError(f"data must not hold tensors of {value.dtype}; use .float()")
        if value.dtype == torch.int64 and value.numel() and value.abs().max() >= 2**31:
            raise ValueError("data must not hold integers of 2³¹ or more; use .double()")
        kind, order = KINDS[value.dtype]
        raw = np.ascontiguousarray(value.detach().cpu().numpy().astype(order)).tobytes()
        return {
            "kind": kind,
            "shape": list(value.shape),
            "bytes": base64.b64encode(raw).decode(),
        }
    if isinstance(value, Mapping):
        return {name: encoded(part) for name, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [encoded(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"data must hold finite numbers, got {value}; a tensor may hold others")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"data must be numbers, texts, tensors and networks, got {value!r}")


def _layers(net: nn.Module) -> list[dict[str, Any]]:
    """Return a network's affine maps, each with the name of what follows it."""
    after = {nn.SiLU: "silu", nn.Tanh: "tanh"}
    layers: list[dict[str, Any]] = []
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            weights = {"weight": layer.weight, "bias": layer.bias}
            half = {name: encoded(weight.detach().half()) for name, weight in weights.items()}
            layers.append({**half, "then": ""})
        elif type(layer) in after and layers:
            layers[-1]["then"] = after[type(layer)]
        elif not isinstance(layer, nn.Sequential):
            raise TypeError(f"data holds a network with {layer}; only Linear, SiLU and Tanh travel")
    return layers
