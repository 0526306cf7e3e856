"""Mistakes in the diagnostics."""

import math

import torch

from companion.diagnostics.information import Estimate, _evaluated, log_aggregate
from companion.distributions import gaussian_kl
from mutation.registry import mutant


def wrong_in(module):
    """Return the decorator of mistakes in a module: what, in which function, seen by which test."""
    return lambda target, name, tests="diagnostics": mutant(
        f"diagnostics.{module}.{target}", name, tests
    )


information, samples, disentanglement = map(wrong_in, ("information", "samples", "disentanglement"))


@information("mutual_information", "mutual information: from minibatches")
def _(right, model, x, num_samples, chunk_size):
    if len(x) <= 8:
        return right(model, x, num_samples, chunk_size)
    parts = [right(model, part, num_samples, chunk_size) for part in x.split(8)[:-1]]
    return Estimate(*(sum(p) / len(parts) for p in zip(*parts, strict=True)))


@information("mutual_information", "mutual information: of z_1 whatever the encoder", "top_down")
def _(right, model, x, num_samples, chunk_size):
    trace = _evaluated(model, x, num_samples)
    q, z = trace.q[0], trace.z[0]
    inside = q.log_prob(z)
    outside = torch.stack([q.log_prob(z.roll(n, 1)) for n in range(len(x))]).logsumexp(0)
    values = inside - outside + math.log(len(x))
    return Estimate(values.mean().item(), 0.0)


@information("log_aggregate", "aggregated posterior: log N forgotten")
def _(right, q, z, chunk_size):
    return right(q, z, chunk_size) + math.log(q.batch_shape[0])


@information("log_aggregate", "aggregated posterior: only the first chunk")
def _(right, q, z, chunk_size):
    chunks = z.split(chunk_size or len(z))
    return torch.cat([right(q, chunks[0], chunk_size)[: len(chunk)] for chunk in chunks])


@information("log_aggregate", "aggregated posterior: mean of the log-densities")
@torch.no_grad()
def _(right, q, z, chunk_size):
    return q.log_prob(z[:, None]).mean(1)


@information(
    "_log_aggregate_of_draws",
    "mutual information: view in place of the right axes",
    "mutation_gaps",
)
def _(right, q, z, chunk_size):
    return log_aggregate(q, z.flatten(0, 1), chunk_size).reshape(z.shape[1], z.shape[0]).mT


@information("elbo_surgery", "surgery: sign of the marginal KL")
def _(right, model, x, num_samples, chunk_size):
    parts = right(model, x, num_samples, chunk_size)
    mean, error = parts.marginal_kl
    return parts._replace(marginal_kl=Estimate(-mean, error))


@information("_estimate", "standard error: over draws as if they were rows", "levels")
def _(right, values):
    error = values.std() / math.sqrt(values.numel())
    return Estimate(values.mean().item(), error.item())


@information("unit_rates", "unit rates: the other KL")
def _(right, model, x):
    trace = _evaluated(model, x)
    q, prior = trace.q[0], trace.p[1]
    return gaussian_kl((q.loc - prior.loc) / q.scale, prior.logvar - q.logvar).mean(0)


@information("active_units", "active units: the draws' noise counted as activity", "levels")
def _(right, model, x, threshold, *, level, num_samples):
    means = _evaluated(model, x, num_samples).q[level - 1].mean
    return means.reshape(-1, *means.shape[-2:]).mean(0).var(dim=0) > threshold


@information("active_units", "active units: variance over draws and not over data")
def _(right, model, x, threshold, *, level, num_samples):
    q = _evaluated(model, x, num_samples).q[level - 1]
    return q.variance.reshape(-1, q.event_shape[0]).mean(0) > threshold


@information("gradient_norms", "gradient norms: of the sum over data", "levels")
def _(right, model, x, objective):
    return right(model, x, lambda model, x: len(x) * objective(model, x))


@information("gradient_norms", "gradient norms: squared", "levels")
def _(right, model, x, objective):
    return type(norms := right(model, x, objective))(*(norm.square() for norm in norms))


@information("effective_sample_size", "effective sample size: weights not squared")
def _(right, log_weight):
    return torch.exp(2 * log_weight.logsumexp(0) - log_weight.logsumexp(0))


@samples("energy_distance", "energy distance: points paired with themselves")
def _(right, x, y):
    return 2 * torch.cdist(x, y).mean() - sum(torch.cdist(s, s).mean() for s in (x, y))


@samples("energy_distance", "energy distance: once between, and not twice")
def _(right, x, y):
    return right(x, y) - torch.cdist(x, y).mean()


@samples("nearest_distance", "nearest distance: to the mean of the data")
def _(right, x, data):
    return right(x, data.mean(0, keepdim=True))


@samples("sharpness", "sharpness: along the rows of a picture alone")
def _(right, x):
    side = math.isqrt(x.shape[1])
    return x.reshape(len(x), side, side).diff(dim=2).square().flatten(1).mean(1)


@disentanglement("mutual_information_gap", "mutual information gap: the best unit alone")
def _(right, codes, factors, num_bins):
    # With a second unit that tells nothing, the gap is what the best one tells.
    alone = [right(torch.stack([c, 0 * c], 1), factors, num_bins) for c in codes.T]
    return torch.stack(alone).max(0).values


@disentanglement("_bins", "mutual information gap: bins of equal width", "mutation_gaps")
def _(right, values, num_bins):
    if len(values.unique()) <= num_bins:
        return right(values, num_bins)
    edges = torch.linspace(values.min(), values.max(), num_bins + 1)[1:-1]
    return torch.bucketize(values.contiguous(), edges.to(values)).numpy()
