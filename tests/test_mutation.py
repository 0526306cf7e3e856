"""The list of mistakes for ``make mutants`` fits the package and the table in the README."""

import inspect
from pathlib import Path

import pytest
import torch
from mutation import MUTANTS, Mutant, find, function, patched
from mutation.run_mutants import BEGIN, END, README

import companion
from companion import diffusion, elbo
from companion.exact import LinearGaussian, linear

TESTS = Path(__file__).parent


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_the_subject_exists_and_the_mistake_takes_its_place(mutant: Mutant) -> None:
    holder, name, right = find(mutant.target)
    with patched(mutant):
        assert vars(holder)[name] is not right
    assert vars(holder)[name] is right
    for file in mutant.tests.split():
        assert (TESTS / f"test_{file}.py").is_file()
    # It takes what the right one takes: else each of its calls would crash, and any test see it.
    subject = function(right)
    if subject is None:
        inspect.signature(mutant.wrong).bind(right)
        return
    parameters = inspect.signature(subject).parameters.values()
    named = {p.name: None for p in parameters if p.kind is p.KEYWORD_ONLY}
    placed = [None for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    inspect.signature(mutant.wrong).bind(subject, *placed, **named)


def test_no_two_mistakes_have_one_name() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) > 150


def test_a_mistake_is_made_wherever_a_function_is_held() -> None:
    right = companion.elbo
    exact = LinearGaussian(torch.ones(3, 1), torch.zeros(3), scale=0.5)
    x = torch.ones(2, 3)

    def wrong(inner, model, x, num_samples):
        assert inner is right
        return num_samples + inner(model, x, num_samples)

    with patched(Mutant("one too many", "objectives.elbo", "objectives", wrong)):
        for holder in (companion, companion.objectives, companion.train):
            assert holder.elbo is not right
        # Arguments by name and by place, and the default, arrive as they are.
        for given in ({"num_samples": 4}, {}):
            expected = given.get("num_samples", 1) + exact.log_marginal(x)
            torch.testing.assert_close(companion.elbo(exact.vae(), x=x, **given), expected)
        # A name that was imported before is the right function still: tests are imported later.
        torch.testing.assert_close(elbo(exact.vae(), x), exact.log_marginal(x))
    assert companion.elbo is right


def test_methods_properties_constants_and_registered_divergences_are_replaced() -> None:
    schedule = diffusion.log_snr_schedule(3, 2.0, -2.0)
    beta = schedule.beta
    with patched(Mutant("β", "diffusion.schedule.Schedule.beta", "", lambda r, self: 2 * r(self))):
        torch.testing.assert_close(schedule.beta, 2 * beta)
    constant = Mutant("flag", "models.TopDownHVAE.top_down", "", lambda right: not right)
    with patched(constant):
        assert not companion.TopDownHVAE.top_down
    assert companion.TopDownHVAE.top_down
    exact = LinearGaussian(torch.ones(3, 1), torch.zeros(3), scale=0.5)
    one, other = exact.likelihood(torch.zeros(1)), exact.likelihood(torch.ones(1))
    before = linear.kl_divergence(one, one), linear.kl_divergence(other, other)
    kl = Mutant("KL", "distributions._kl_gaussians", "", lambda right, q, p: 1 + right(q, p))
    with patched(kl):
        assert linear.kl_divergence(one, one) == before[0] + 1
        assert linear.kl_divergence(other, other) == before[1] + 1
    assert linear.kl_divergence(one, one) == before[0] == 0


def test_a_subject_that_is_gone_is_loud() -> None:
    for target in ("objectives.elbow", "objective.elbo", "models.VAE.traces", "models.VAE.x.y"):
        mutant = Mutant("gone", target, "models", lambda right: None)
        with pytest.raises(LookupError, match="is gone"), patched(mutant):
            pass


def test_a_mistake_that_changes_nothing_is_loud() -> None:
    mutant = Mutant("none", "models.TopDownHVAE.top_down", "models", lambda right: True)
    with pytest.raises(ValueError, match="changes nothing"), patched(mutant):
        pass


def test_the_table_names_a_test_for_every_mistake() -> None:
    rows = README.read_text("utf-8").split(BEGIN)[1].split(END)[0].strip().splitlines()[2:]
    cells = [[cell.strip(" `") for cell in row.strip("|").split(" | ")] for row in rows]
    listed = [(name, target) for name, target, _ in cells]
    assert listed == [(m.name, m.target) for m in MUTANTS], "run `make mutants`"
    for _, _, test in cells:
        file, _, function = test.partition("::")
        source = (TESTS / file).read_text("utf-8")
        assert f"def {function.partition('[')[0]}(" in source, f"{test} is gone: run `make mutants`"
