"""Chapter 4's checks accept right answers written differently, and know what was predicted."""

import torch
from torch.distributions import Normal

from companion.exact import DiscreteModel, LinearGaussian
from companion.exercises import information_view as own

CORRECT = "✓ Correct."


# Would catch a wrong sign, base or number of coordinates in the answer that the check knows.
def test_the_change_of_units_is_what_the_elbo_does():
    weight = torch.tensor([[0.8, 0.1], [0.3, -0.5], [0.0, 0.7]], dtype=torch.float64)
    x = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    metres = LinearGaussian(weight, torch.zeros(3, dtype=torch.float64), scale=0.4)
    centimetres = LinearGaussian(100 * weight, torch.zeros(3, dtype=torch.float64), scale=40.0)
    q = Normal(torch.zeros(7, 2, dtype=torch.float64), 0.6)
    q = torch.distributions.Independent(q, 1)
    change = (centimetres.elbo(100 * x, q) - metres.elbo(x, q)).mean().item()
    assert own.change_of_units.verdict(change).startswith(CORRECT)
    assert own.change_of_units.verdict(round(change, 2)).startswith(CORRECT)
    assert "three" in own.change_of_units.verdict(change / 3)
    assert "sign" in own.change_of_units.verdict(-change)


# Would catch a model that is only as good as the encoder: the joints must be equal for any of them.
def test_every_encoder_has_a_model_without_error():
    torch.manual_seed(0)
    p_data, q = torch.rand(5, dtype=torch.float64), torch.rand(5, 3, dtype=torch.float64)
    p_data, q = p_data / p_data.sum(), q / q.sum(-1, keepdim=True)
    blind = q[:1].expand(5, -1)
    for encoder in (q, blind):
        model = DiscreteModel(*own.best_model.solution(p_data, encoder))
        torch.testing.assert_close(model.log_marginal().exp(), p_data)
        torch.testing.assert_close(model.posterior(), encoder)
        entropy = -(p_data * p_data.log()).sum()
        torch.testing.assert_close((p_data * model.elbo(encoder)).sum(), -entropy)
    rows = own.best_model.solution(p_data, blind)[1]
    torch.testing.assert_close(rows, p_data.expand(3, -1))
