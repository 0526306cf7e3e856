"""Chapter 4's checks accept right answers written differently, and know what was predicted."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal

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


# Would catch another face, or ratios that are not those of the chapter's two tables.
def test_one_face_of_the_dice_adds_nothing_to_the_inference_error():
    model = DiscreteModel(torch.tensor([0.5, 0.5], dtype=torch.float64), own._DICE)
    silent = (model.gap(own._GUESS) < 1e-12).nonzero().flatten() + 1
    assert silent.tolist() == [4]
    assert own.silent_face.verdict(4).startswith(CORRECT)
    given, guessed = model.log_joint().exp(), own._P_DATA[:, None] * own._GUESS
    cells = [*given[3].tolist(), *guessed[3].tolist()]
    for cell in cells:
        assert f"{cell:.2f}" in own.silent_face.because
    # What is said of the other faces: a to b on the left, c to d on the right.
    said = {1: (5, 1, 9, 1), 2: (3, 2, 1, 1), 3: (1, 3, 3, 7)}
    for face, (a, b, c, d) in said.items():
        hint = own.silent_face.verdict(face)
        assert f"{a} to {b}" in hint
        assert f"{c} to {d}" in hint
        assert (given[face - 1] * torch.tensor([b, -a])).sum().abs() < 1e-12
        assert (guessed[face - 1] * torch.tensor([d, -c])).sum().abs() < 1e-12
        alike = (given[face - 1].sum() - guessed[face - 1].sum()).abs() < 1e-12
        assert ("as many throws" in hint) == bool(alike)


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


# Would catch a row that is not counted, or a comparison of the ELBOs. The four rows are measured on
# a decoder whose log p(x) is known: each is below it, so that their gain is at most the gap.
def test_four_rows_bound_the_inference_error_from_below():
    torch.manual_seed(0)
    weight = torch.tensor([[1.2, 0.5], [0.4, -0.9], [0.3, 0.8]], dtype=torch.float64)
    model = LinearGaussian(weight, torch.zeros(3, dtype=torch.float64), scale=0.5)
    x = model.marginal().sample((50,))
    posterior = model.posterior(x)
    wide = Independent(Normal(torch.zeros_like(posterior.mean), 1.0), 1)
    scales = posterior.precision_matrix.diagonal(dim1=-2, dim2=-1).rsqrt()
    shared = Independent(Normal(0.8 * posterior.mean, scales), 1)
    best = Independent(Normal(posterior.mean, scales), 1)  # the best diagonal q
    z = best.sample((200,))
    log_w = model.likelihood(z).log_prob(x) + model.prior().log_prob(z) - best.log_prob(z)
    rows = [model.elbo(x, q).mean().item() for q in (wide, shared, best)]
    rows.append((log_w.logsumexp(0) - math.log(200)).mean().item())
    log_p = model.log_marginal(x).mean().item()
    assert rows == sorted(rows)
    assert (
        rows[-1] - rows[0]
        <= log_p - rows[0]
        == pytest.approx(model.gap(x, wide).mean().item(), rel=1e-9)
    )
    assert own.least_error.verdict(98.4 - 95.0).startswith(CORRECT)
    assert "training the encoder gains alone" in own.least_error.verdict(1.3)
    assert "K samples" in own.least_error.verdict(3.1)
    assert own.lead.verdict(1.6).startswith(CORRECT)
    assert "ELBO" in own.lead.verdict(-1.2)
    assert "sign" in own.lead.verdict(-1.6)
