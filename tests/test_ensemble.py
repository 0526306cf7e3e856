"""An ensemble against its members trained one by one."""

import pytest
import torch
from torch.distributions import Distribution
from toys import PIXELS, bernoulli_vae, bits, gaussian_vae, normal

from companion import (
    Ensemble,
    StandardNormal,
    beta_elbo,
    elbo,
    elbo_analytic,
    fit,
    mlp,
)
from companion.diffusion import (
    TIME_FEATURES,
    Diffusion,
    NoiseDenoiser,
    diffusion_elbo,
    linear_schedule,
    simple_loss,
)

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


def test_an_objective_that_fails_leaves_the_members_alone():
    ensemble = Ensemble(members())
    before = weights(ensemble)

    def broken(model, x, value):
        raise RuntimeError("in the objective")

    with pytest.raises(RuntimeError, match="in the objective"):
        ensemble.evaluate(broken, X, BETAS)
    assert Distribution._validate_args
    assert torch.equal(weights(ensemble), before)
    ensemble.evaluate(beta_elbo, X, BETAS)


def test_constants_may_differ_between_members():
    # Catches: every member scored with the first one's scale.
    models = [gaussian_vae(seed=seed, scale=scale) for seed, scale in enumerate((0.3, 0.7, 2.0))]
    ensemble = Ensemble(models)
    torch.manual_seed(0)
    together = ensemble.evaluate(beta_elbo, X, BETAS)
    for model, beta, values in zip(models, BETAS, together, strict=True):
        torch.manual_seed(0)
        torch.testing.assert_close(values, beta_elbo(model, X, beta), rtol=1e-12, atol=1e-12)
    scales = [model.decoder.scale.item() for model in ensemble.members()]
    assert scales == pytest.approx([0.3, 0.7, 2.0])


def test_parameters_and_constants_follow_to_another_dtype():
    # Catches: constants left behind where the parameters went.
    ensemble = Ensemble(members()).float()
    values = ensemble.evaluate(beta_elbo, X.float(), BETAS)
    assert values.dtype == torch.float32
    assert {tensor.dtype for tensor in ensemble.state_dict().values()} == {torch.float32}
    trained = ensemble.members()
    assert all(t.dtype == torch.float32 for m in trained for t in m.state_dict().values())
    assert trained[0].trace(X.float()).log_weight.dtype == torch.float32


def test_a_state_dict_restores_all_members():
    first = Ensemble(members())
    second = Ensemble([gaussian_vae(seed=seed, scale=0.2) for seed in (5, 6, 7)])
    second.load_state_dict(first.state_dict())
    for one, other in zip(first.members(), second.members(), strict=True):
        assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


@pytest.mark.parametrize("training", [True, False])
def test_members_are_evaluated_in_the_mode_of_the_ensemble(training):
    modes = []

    def score(model, x, value):
        modes.append({module.training for module in model.modules()})
        return beta_elbo(model, x, value)

    Ensemble(members()).train(training).evaluate(score, X, BETAS)
    assert modes == [{training}]


def diffusion(seed, schedule):
    torch.manual_seed(seed)
    denoiser = NoiseDenoiser(mlp(PIXELS + TIME_FEATURES, 6, PIXELS))
    return Diffusion(schedule(5), denoiser, StandardNormal(PIXELS), scale=0.3).double()


def test_diffusion_models_side_by_side():
    models = [diffusion(seed, linear_schedule) for seed in range(3)]
    objectives = {
        "elbo": lambda m, x, _: elbo(m, x),
        "three terms": lambda m, x, _: diffusion_elbo(m, x),
        "noise": lambda m, x, _: -simple_loss(m, x),
    }
    for objective in objectives.values():
        torch.manual_seed(0)
        together = Ensemble(models).evaluate(objective, X, BETAS)
        for model, values in zip(models, together, strict=True):
            torch.manual_seed(0)
            torch.testing.assert_close(values, objective(model, X, 0.0), rtol=1e-10, atol=1e-10)
    ensemble = Ensemble(models)
    torch.manual_seed(5)
    fit(ensemble, X, ensemble.objective(objectives["noise"], BETAS), epochs=2, batch_size=10)
    torch.manual_seed(5)
    fit(models[1], X, lambda m, x: -simple_loss(m, x), epochs=2, batch_size=10)
    trained = ensemble.members()[1]
    torch.testing.assert_close(weights(trained), weights(models[1]), rtol=1e-9, atol=1e-10)


def test_other_objectives_and_decoders():
    models = [bernoulli_vae(seed=seed) for seed in range(2)]
    x = bits(7, PIXELS)
    torch.manual_seed(0)
    together = Ensemble(models).evaluate(lambda m, x, _: elbo_analytic(m, x), x, [0.0, 0.0])
    for model, values in zip(models, together, strict=True):
        torch.manual_seed(0)
        torch.testing.assert_close(values, elbo_analytic(model, x), rtol=1e-12, atol=1e-12)
