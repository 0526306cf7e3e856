"""An ensemble against its members trained one by one."""

import pytest
import torch
from torch.distributions import Distribution
from toys import PIXELS, bernoulli_vae, bits, gaussian_vae, normal

from companion import Ensemble, beta_elbo, elbo_analytic, fit

X = normal(23, PIXELS, seed=71)
BETAS = [0.5, 1.0, 4.0]


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def members():
    return [gaussian_vae(seed=seed) for seed in range(3)]


def test_each_member_scores_as_it_does_alone():
    # With the same noise, which all members share.
    models = members()
    torch.manual_seed(0)
    together = Ensemble(models).evaluate(beta_elbo, X, BETAS)
    assert together.shape == (3, len(X))
    for model, beta, values in zip(models, BETAS, together, strict=True):
        torch.manual_seed(0)
        torch.testing.assert_close(values, beta_elbo(model, X, beta), rtol=1e-12, atol=1e-12)


def test_each_member_learns_as_it_does_alone():
    # Catches: steps averaged over members, a shared Adam state, a member trained with another's β.
    models = members()
    ensemble = Ensemble(models)
    torch.manual_seed(5)
    fit(ensemble, X, ensemble.objective(beta_elbo, BETAS), epochs=3, batch_size=10, lr=1e-2)
    for model, beta, trained in zip(models, BETAS, ensemble.members(), strict=True):
        torch.manual_seed(5)
        fit(model, X, lambda m, x, b=beta: beta_elbo(m, x, b), epochs=3, batch_size=10, lr=1e-2)
        torch.testing.assert_close(weights(trained), weights(model), rtol=1e-9, atol=1e-10)


def test_the_objective_is_the_sum_over_members():
    ensemble = Ensemble(members())
    torch.manual_seed(0)
    values = ensemble.evaluate(beta_elbo, X, BETAS)
    torch.manual_seed(0)
    total = ensemble.objective(beta_elbo, BETAS)(ensemble, X)
    torch.testing.assert_close(total, values.sum(0), rtol=1e-13, atol=1e-13)


def test_models_are_copied():
    models = members()
    before = [weights(model) for model in models]
    ensemble = Ensemble(models)
    fit(ensemble, X, ensemble.objective(beta_elbo, BETAS), epochs=1)
    assert all(torch.equal(weights(m), b) for m, b in zip(models, before, strict=True))
    assert not torch.equal(weights(ensemble.members()[0]), before[0])


def test_no_parameter_is_counted_twice():
    models = members()
    ensemble = Ensemble(models)
    count = sum(p.numel() for p in ensemble.parameters())
    assert count == sum(weights(model).numel() for model in models)


def test_validation_of_distributions_comes_back():
    # Catches: validation left off for the whole process, also where the objective raises.
    ensemble = Ensemble(members())
    ensemble.evaluate(beta_elbo, X, BETAS)
    assert Distribution._validate_args

    def broken(model, x, value):
        raise RuntimeError("in the objective")

    with pytest.raises(RuntimeError, match="in the objective"):
        ensemble.evaluate(broken, X, BETAS)
    assert Distribution._validate_args


def test_other_objectives_and_decoders():
    models = [bernoulli_vae(seed=seed) for seed in range(2)]
    x = bits(7, PIXELS)
    torch.manual_seed(0)
    together = Ensemble(models).evaluate(lambda m, x, _: elbo_analytic(m, x), x, [0.0, 0.0])
    for model, values in zip(models, together, strict=True):
        torch.manual_seed(0)
        torch.testing.assert_close(values, elbo_analytic(model, x), rtol=1e-12, atol=1e-12)
