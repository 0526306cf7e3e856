"""Several models of one architecture, trained side by side as one.

Their parameters are stacked and every layer does its work for all members at once. All members
see the same batches and the same noise, so that a sweep over β compares like with like.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Final, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap


@final
class Ensemble(nn.Module):
    """M models with stacked parameters and constants, for `companion.fit`.

    The objective is the sum of the members' objectives. No parameter is shared and Adam treats
    each number by itself, so every member takes the steps that it would take alone.

    Args:
        models: M models of one architecture. They are copied.

    >>> from companion import VAE, GaussianConditional, StandardNormal, beta_elbo, mlp
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
        parameters, constants = stack_module_state(list(models))
        self.parameter_names: Final = list(parameters)
        self.constant_names: Final = list(constants)
        self.stacked: Final = nn.ParameterList(parameters.values())
        # A registered tensor follows the ensemble to another device or dtype.
        for index, constant in enumerate(constants.values()):
            self.register_buffer(f"constant_{index}", constant)
        # Out of the registered modules: what they hold is only a template.
        self._models: Final = [copy.deepcopy(model) for model in models]

    def objective(
        self, objective: Callable[..., Tensor], values: Sequence[float]
    ) -> Callable[["Ensemble", Tensor], Float[Tensor, " B"]]:
        """Return the summed objective, for `fit`.

        Args:
            objective: Called as ``objective(model, x, value)``, such as `companion.beta_elbo`.
            values: The third argument for each member, M numbers.
        """
        return lambda ensemble, x: ensemble.evaluate(objective, x, values).sum(0)

    def evaluate(
        self, objective: Callable[..., Tensor], x: Float[Tensor, "B D"], values: Sequence[float]
    ) -> Float[Tensor, "M B"]:
        """Return each member's objective for each data point, with common noise."""
        scorer = _Scorer(self._models[0], objective).train(self.training)

        def one(state: dict[str, Tensor], value: Tensor) -> Tensor:
            return functional_call(scorer, state, (x, value))

        state = {f"model.{name}": tensor for name, tensor in self._state().items()}
        return vmap(one, randomness="same")(state, x.new_tensor(values))

    def members(self) -> list[Any]:
        """Return the models with their present weights, on the ensemble's device."""
        for index, model in enumerate(self._models):
            model.to(self.stacked[0].device, self.stacked[0].dtype)
            own = dict([*model.named_parameters(), *model.named_buffers()])
            with torch.no_grad():
                for name, stack in self._state().items():
                    own[name].copy_(stack[index])
        return list(self._models)

    def _state(self) -> dict[str, Tensor]:
        """Return the stacked tensors by the names that they have in a member."""
        constants = [self.get_buffer(f"constant_{i}") for i in range(len(self.constant_names))]
        names = [*self.parameter_names, *self.constant_names]
        return dict(zip(names, [*self.stacked, *constants], strict=True))


class _Scorer(nn.Module):
    """An objective as a module's forward, which is what ``functional_call`` calls."""

    def __init__(self, model: nn.Module, objective: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model = model
        self._objective = objective

    def forward(self, x: Tensor, value: Tensor) -> Tensor:
        return self._objective(self.model, x, value)
