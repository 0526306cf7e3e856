"""Mistakes in the objectives and in the estimators of gradients."""

import math

import torch
from torch.distributions import kl_divergence

from mutation.registry import minus, mutant, skipped, twice


def bound(name):
    """A mistake in what is made of the log weights, (K, B)."""

    def enter(of_log_weights):
        def wrong(right, model, x, num_samples):
            return of_log_weights(model.trace(x, num_samples).log_weight)

        mutant("objectives.iwae_bound", f"K-sample bound: {name}", "objectives mutants")(wrong)

    return enter


bound("the surrogate's value, Σ w̃ log w, reported as the bound")(
    lambda w: (w.softmax(0).detach() * w).sum(0)
)
bound("weights from the positive loss, so that the worst count most")(
    lambda w: ((-w).softmax(0) * w).sum(0)
)
bound("log-mean-exp of the loss")(lambda w: math.log(len(w)) - (-w).logsumexp(0))
bound("the ELBO in its place")(lambda w: w.mean(0))
bound("log K forgotten")(lambda w: w.logsumexp(0))
bound("logsumexp over the batch")(
    lambda w: (w.logsumexp(1, keepdim=True).mean(0) - math.log(len(w))).expand(w.shape[1])
)
mutant("objectives.iwae_bound", "K-sample bound: minus the bound", "objectives")(minus)


@mutant(
    "objectives.log_marginal",
    "chunks: K rounded down to whole chunks, log K of the request subtracted",
    "objectives",
)
def _(right, model, x, num_samples, chunk_size):
    size = chunk_size or num_samples
    drawn = num_samples // size * size or num_samples
    return right(model, x, drawn, size) + math.log(drawn) - math.log(num_samples)


@mutant("objectives.log_marginal", "chunks: mean of the chunks' bounds", "objectives")
def _(right, model, x, num_samples, chunk_size):
    size = chunk_size or num_samples
    sizes = [min(size, num_samples - start) for start in range(0, num_samples, size)]
    return torch.stack([right(model, x, each, each) for each in sizes]).mean(0)


@mutant(
    "objectives.log_marginal",
    "chunks: only the first is evaluated, a return inside the loop",
    "objectives",
)
def _(right, model, x, num_samples, chunk_size):
    first = min(chunk_size or num_samples, num_samples)
    return right(model, x, first, first)


mutant("objectives.elbo", "ELBO: minus the ELBO", "objectives")(minus)


@mutant("objectives.elbo", "ELBO: summed over samples", "objectives")
def _(right, model, x, num_samples):
    return num_samples * right(model, x, num_samples)


@mutant("objectives.elbo_analytic", "analytic ELBO: KL the wrong way round", "objectives")
def _(right, model, x, num_samples):
    trace = model.trace(x, num_samples)
    rates = [kl_divergence(p, q) for q, p in zip(trace.q, trace.p[1:], strict=True)]
    return (trace.reconstruction - sum(rates)).mean(0)


@mutant(
    "objectives.elbo_analytic",
    "analytic ELBO: accepted for a bottom-up encoder of several levels",
    "objectives hvae levels",
)
def _(right, model, x, num_samples):
    trace = model.trace(x, num_samples)
    rates = [kl_divergence(q, p) for q, p in zip(trace.q, trace.p[1:], strict=True)]
    return (trace.reconstruction - sum(rates)).mean(0)


@mutant("objectives.elbo_analytic", "analytic ELBO: the rate of one level alone", "top_down levels")
def _(right, model, x, num_samples):
    trace = model.trace(x, num_samples)
    return (trace.reconstruction - kl_divergence(trace.q[0], trace.p[1])).mean(0)


@mutant("objectives.beta_elbo", "β on the reconstruction", "objectives")
def _(right, model, x, beta, num_samples):
    trace = model.trace(x, num_samples)
    return (beta * trace.reconstruction - trace.rates.sum(0)).mean(0)


@mutant("objectives.free_bits_elbo", "free bits: clamped point by point", "objectives")
def _(right, model, x, free_nats, num_samples):
    trace = model.trace(x, num_samples)
    return trace.reconstruction.mean(0) - trace.rates.mean(1).clamp(min=free_nats).sum(0)


@mutant("objectives.free_bits_elbo", "free bits: clamped on the sum of the levels", "hvae")
def _(right, model, x, free_nats, num_samples):
    trace = model.trace(x, num_samples)
    rates = trace.rates.mean(1)
    charged = torch.where(rates.sum(0).mean() > free_nats, rates, free_nats)
    return trace.reconstruction.mean(0) - charged.sum(0)


@mutant("objectives.log_reconstruction", "autoencoder: averaged over pixels", "models objectives")
def _(right, model, x):
    return right(model, x) / x.shape[1]


mutant("_checks.valid", "objectives: NaN passes for a bound", "objectives checks models")(
    lambda right, values: values
)
mutant("_checks.sum_of_objective", "fit: any shape passes for an objective", "train bad_input")(
    lambda right, values, size: right(values.sum().expand(size) / size, size)
)
mutant("_checks.check_support", "data: not compared with the decoder's support", "checks models")(
    skipped
)


@mutant(
    "_checks.check_support",
    "data: grey pixels accepted by a Bernoulli decoder after the first row",
    "checks models bad_input",
)
def _(right, x, likelihood):
    right(x[:1], likelihood)


@mutant("objectives.pathwise", "pathwise gradient: sample() in place of rsample()", "estimators")
def _(right, q, f, num_samples):
    return f(q.sample((num_samples,)))


@mutant(
    "objectives.score_function", "score function: parameters of f get no gradient", "estimators"
)
def _(right, q, f, num_samples):
    z = q.sample((num_samples,))
    score = q.log_prob(z)
    return f(z).detach() * (1 + score - score.detach())


@mutant("objectives.score_function", "score function: value changed by the score", "estimators")
def _(right, q, f, num_samples):
    z = q.sample((num_samples,))
    return f(z).detach() * q.log_prob(z)


mutant("distributions.gaussian_kl", "closed-form KL: ½ missing", "gaussian_kl")(twice)
mutant("distributions.gaussian_kl", "closed-form KL: sign", "gaussian_kl")(minus)


@mutant("distributions.gaussian_kl", "closed-form KL: exp − 1 in place of expm1", "gaussian_kl")
def _(right, mu, logvar):
    return 0.5 * (mu.square() + torch.exp(logvar) - 1 - logvar)


@mutant("distributions.gaussian_kl", "closed-form KL: log σ taken for log σ²", "gaussian_kl")
def _(right, mu, logvar):
    return right(mu, 2 * logvar)
