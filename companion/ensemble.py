"""Several models of one architecture, trained side by side as one.

Their parameters are stacked and every layer does its work for all members at once. All members
see the same batches and the same noise, so that a sweep over β compares like with like.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from companion.validation import require_module

__all__ = ["Ensemble"]


@final
class Ensemble(nn.Module):
    """M models with stacked parameters, for `companion.train.fit`.

    The objective is the sum of the members' objectives. No parameter is shared and Adam treats
    each number by itself, so every member takes the steps that it would take alone.

    Args:
        models: M models of one architecture. They are copied.

    Raises:
        ValueError: There is no model, or their parameters differ in name, shape or dtype, or their
            constants (such as a decoder's fixed scale) in value.
        TypeError: One of them is no module.

    >>> from companion.conditionals import GaussianConditional, StandardNormal, mlp
    >>> from companion.models import VAE
    >>> from companion.objectives import beta_elbo
    >>> def vae():
    ...     encoder, decoder = GaussianConditional(mlp(5, 4)), GaussianConditional(mlp(2, 5), 1.0)
    ...     return VAE(encoder, decoder, StandardNormal(2))
    >>> ensemble = Ensemble([vae(), vae(), vae()])
    >>> objective = ensemble.objective(beta_elbo, [0.5, 1.0, 4.0])
    >>> objective(ensemble, torch.zeros(7, 5)).shape
    torch.Size([7])
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        if not models:
            raise ValueError("models is empty; pass at least one")
        for model in models:
            require_module(model, "each of models", "e.g. a VAE")
        shapes = [{name: (p.shape, p.dtype) for name, p in m.named_parameters()} for m in models]
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError("models must have one architecture; their parameters differ in shape")
        constants = [dict(m.named_buffers()) for m in models]
        for name, constant in constants[0].items():
            if any(name not in c or not torch.equal(c[name], constant) for c in constants):
                raise ValueError(
                    f"models must share their constants, but {name} differs; only parameters are "
                    f"stacked: pass what varies to the objective, or fit the models one by one"
                )
        # Kept out of the registered modules: its parameters are only a template.
        self._models: Final = [copy.deepcopy(model) for model in models]
        self._names: Final = list(shapes[0])
        members = [dict(m.named_parameters()) for m in models]
        self.stacked: Final = nn.ParameterList(
            torch.stack([member[name].detach() for member in members]) for name in self._names
        )

    def objective(
        self, objective: Callable[..., Tensor], values: Sequence[float]
    ) -> Callable[["Ensemble", Tensor], Float[Tensor, " B"]]:
        """Return the summed objective, for `fit`.

        Args:
            objective: Called as ``objective(model, x, value)``, such as
                `companion.objectives.beta_elbo`.
            values: The third argument for each member, M numbers.

        Raises:
            ValueError: There are not as many values as members.
        """
        if len(values) != len(self._models):
            raise ValueError(f"values must hold {len(self._models)} numbers, got {len(values)}")

        def summed(ensemble: "Ensemble", x: Tensor) -> Tensor:
            return ensemble.evaluate(objective, x, values).sum(0)

        return summed

    def evaluate(
        self, objective: Callable[..., Tensor], x: Float[Tensor, "B D"], values: Sequence[float]
    ) -> Float[Tensor, "M B"]:
        """Return each member's objective for each data point, with common noise."""
        scorer = _Scorer(self._models[0], objective)

        def one(parameters: dict[str, Tensor], value: Tensor) -> Tensor:
            return torch.func.functional_call(scorer, parameters, (x, value))

        stacked = dict(zip((f"model.{n}" for n in self._names), self.stacked, strict=True))
        with _without_validation():
            batched = torch.func.vmap(one, randomness="same")
            try:
                return batched(stacked, torch.as_tensor(values, dtype=x.dtype))
            except RuntimeError as error:
                if "data-dependent control flow" not in str(error):
                    raise
                raise ValueError(
                    "objective must not branch on values that differ between members, as the "
                    "bounds of a Diffusion do; train that by noise_loss, or fit one by one"
                ) from None

    def members(self) -> list[Any]:
        """Return the models with their present weights."""
        with torch.no_grad():
            for index, model in enumerate(self._models):
                for name, stack in zip(self._names, self.stacked, strict=True):
                    model.get_parameter(name).copy_(stack[index])
        return list(self._models)


class _Scorer(nn.Module):
    """An objective as a module's forward, which is what ``functional_call`` calls."""

    def __init__(self, model: nn.Module, objective: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model = model
        self._objective = objective

    def forward(self, x: Tensor, value: Tensor) -> Tensor:
        return self._objective(self.model, x, value)


@contextmanager
def _without_validation() -> Iterator[None]:
    """Switch off torch's checks of distributions: they branch on values, which vmap cannot."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)
