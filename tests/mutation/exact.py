"""Mistakes in what everything else is compared with."""

import copy
import math

import torch
from torch.distributions import MultivariateNormal, kl_divergence

from companion.conditionals import LinearGaussianConditional
from companion.distributions import Gaussian
from companion.exact import Blocks, LinearGaussian, latent_grid, quadrature
from companion.exact.linear import _covariance
from mutation.registry import mutant, twice


@mutant("exact.linear.LinearGaussian.elbo", "exact ELBO: 2π dropped", "exact")
def _(right, self, x, q):
    return right(self, x, q) + 0.5 * len(self.bias) * math.log(2 * math.pi)


@mutant(
    "exact.linear.LinearGaussian.elbo",
    "exact ELBO: tr(W S Wᵀ) forgotten, as if z were its mean",
    "exact",
)
def _(right, self, x, q):
    spread = (self.weight @ _covariance(q) @ self.weight.mT).diagonal(dim1=-2, dim2=-1).sum(-1)
    return right(self, x, q) + 0.5 * spread / self.scale**2


@mutant(
    "exact.linear.LinearGaussian.posterior",
    "exact posterior: scale taken for a variance",
    "exact",
)
def _(right, self, x):
    p = right(self, x)
    return MultivariateNormal(p.mean * self.scale, p.covariance_matrix)


@mutant(
    "exact.linear.LinearGaussian.marginal",
    "exact marginal: W Wᵀ without the noise's variance squared",
    "exact",
)
def _(right, self):
    noise = (self.scale - self.scale**2) * torch.eye(len(self.bias)).to(self.bias)
    p = right(self)
    return MultivariateNormal(p.mean, p.covariance_matrix + noise)


@mutant("exact.linear.LinearGaussian.gap", "exact gap: the other KL", "exact")
def _(right, self, x, q):
    return kl_divergence(self.posterior(x), MultivariateNormal(q.mean, _covariance(q)))


@mutant(
    "exact.discrete.DiscreteModel.gap",
    "tables: gap to the prior in place of the posterior",
    "exact",
)
def _(right, self, q):
    return self.rate(q)


@mutant("exact.discrete.DiscreteModel.log_joint", "tables: view in place of a transpose", "exact")
def _(right, self):
    joint = right(self)
    return joint.mT.reshape(joint.shape)


@mutant(
    "exact.discrete.DiscreteModel.iwae_bound",
    "tables: every tuple of draws equally likely",
    "exact objectives",
)
def _(right, self, q, num_samples):
    values = torch.arange(len(self.prior))
    draws = torch.cartesian_prod(*[values] * num_samples).reshape(-1, num_samples)
    log_weight = (self.log_joint() - q.log())[:, draws]
    possible = (q[:, draws] > 0).all(-1)
    bound = log_weight.logsumexp(-1) - math.log(num_samples)
    return torch.where(possible, bound, 0.0).sum(-1) / possible.sum(-1)


@mutant("exact.optimal.optimal_linear_vae", "linear VAE: covariance with divisor N − 1", "exact")
def _(right, x, d, scale, beta):
    wider = math.sqrt(len(x) / (len(x) - 1))
    return right(x.mean(0) + wider * (x - x.mean(0)), d, scale=scale, beta=beta)


@mutant(
    "exact.optimal.optimal_linear_vae",
    "linear VAE: β on the scale and not on the variance",
    "exact",
)
def _(right, x, d, scale, beta):
    return right(x, d, scale=scale, beta=beta**2)


@mutant("exact.optimal.optimal_linear_vae", "linear VAE: the smallest eigenvalues", "exact")
def _(right, x, d, scale, beta):
    values, vectors = torch.linalg.eigh(torch.cov(x.mT, correction=0))
    noise = math.sqrt(beta) * scale
    weight = vectors.flip(1)[:, :d] * (values[:d] - noise**2).clamp(min=0).sqrt()
    encoder = LinearGaussian(weight, x.mean(0), noise).vae().encoder
    return LinearGaussian(weight, x.mean(0), scale), encoder


@mutant("exact.quadrature.latent_grid", "quadrature: N cells in place of N − 1", "exact grid")
def _(right, d, num_points, bound, dtype, device):
    grid, _ = right(d, num_points, bound, dtype, device)
    return grid, d * math.log(2 * bound / num_points)


@mutant(
    "exact.quadrature.log_marginal_quadrature",
    "quadrature: only the first piece of the grid",
    "exact",
)
@torch.no_grad()
def _(right, model, x, num_points, bound):
    prior = model.prior()
    grid, log_cell = latent_grid(prior.event_shape[0], num_points, bound, x.dtype)
    z = grid[: quadrature.GRID_NUMBERS // x.numel()]
    log_joint = model.decoder(z[:, None]).log_prob(x) + prior.log_prob(z)[:, None]
    return log_joint.logsumexp(0) + log_cell


@mutant("exact.quadrature.elbo_quadrature", "quadrature of the ELBO: q weighs nothing", "exact")
def _(right, model, x, q, num_points, bound):
    d = q.event_shape[0]
    grid, _ = latent_grid(d, num_points, bound, x.dtype)
    z = q.mean + q.stddev * grid.reshape(-1, *[1] * len(q.batch_shape), d)
    return (model.decoder(z).log_prob(x) + model.prior().log_prob(z) - q.log_prob(z)).mean(0)


@mutant(
    "exact.optimal.optimal_decoder",
    "optimal decoder: weights normalised over codes and not over data",
    "exact",
)
@torch.no_grad()
def _(right, q, x, z, chunk_size):
    return q.log_prob(z[:, None]).softmax(dim=0) @ x


@mutant("exact.optimal.optimal_decoder", "optimal decoder: densities that underflow", "exact")
@torch.no_grad()
def _(right, q, x, z, chunk_size):
    weight = q.log_prob(z[:, None]).exp()
    return weight / weight.sum(1, keepdim=True) @ x


@mutant(
    "exact.quadrature.posterior_on_grid",
    "posterior on a grid: masses in place of a density",
    "grid",
)
def _(right, model, x, num_points, bound):
    z, log_p, log_cell = right(model, x, num_points, bound)
    return z, log_p + log_cell, log_cell


@mutant("exact.quadrature.kl_on_grid", "KL on a grid: the other KL", "grid")
def _(right, log_q, log_p, log_cell):
    return right(log_p, log_q, log_cell)


@mutant("exact.quadrature.kl_on_grid", "KL on a grid: 0 log 0 taken for no number", "grid")
def _(right, log_q, log_p, log_cell):
    return (log_q.exp() * (log_q - log_p)).sum(0) * math.exp(log_cell)


@mutant("exact.quadrature._kl", "floor of a Gaussian: a local search from one start", "grid")
def _(right, parameters, z, log_p, step):
    kl = right(parameters, z, log_p, step)
    if len(parameters) <= 25:
        return kl
    # The search over all of the grid finds its middle.
    return (parameters - parameters[len(parameters) // 2]).square().sum(1)[:, None].expand_as(kl)


@mutant("exact.quadrature.max_pool1d", "floor of a Gaussian: only the lowest first point", "grid")
def _(right, *given, **options):
    return given[0].amax(1, keepdim=True).expand_as(given[0])


@mutant("exact.quadrature._kl", "floor of a Gaussian: entropy without its last ½", "grid")
def _(right, parameters, z, log_p, step):
    return right(parameters, z, log_p, step) + 0.5


@mutant(
    "exact.chain.LinearGaussianChain.joint", "chain: levels in the order of generation", "chain"
)
def _(right, self):
    joint = right(self)
    order = range(len(joint.sizes))[::-1]
    down = joint.marginal(*order)
    return Blocks(down.mean, down.covariance_matrix, [joint.sizes[block] for block in order])


@mutant("exact.chain.LinearGaussianChain.rates", "chain rates: from the top down", "chain")
def _(right, self, data, encoders):
    return right(self, data, encoders).flip(0)


@mutant(
    "exact.chain.LinearGaussianChain.closed_form_rates",
    "chain rates: the closed form, with neighbours that know of each other",
    "chain",
)
def _(right, self, data, encoders):
    return self.rates(data, encoders)


@mutant(
    "exact.chain.LinearGaussianChain.top_down_posterior",
    "chain: the top-down posterior takes x for the level above",
    "chain top_down",
)
def _(right, self):
    joint, top = self.joint(), len(self.decoders)
    inner = [joint.conditional(level, [level + 1, 0]) for level in range(1, top)]
    return [*inner, joint.conditional(top, [0])]


@mutant("exact.chain._expected_log_normal", "chain: 2π dropped", "chain")
def _(right, residual, spread, scale_tril):
    return right(residual, spread, scale_tril) + 0.5 * len(scale_tril) * math.log(2 * math.pi)


@mutant("exact.chain._expected_log_normal", "chain: the spread around the mean forgotten", "chain")
def _(right, residual, spread, scale_tril):
    return right(residual, 0 * spread, scale_tril)


@mutant("exact.chain._entropy", "chain: entropy without its ½ for each unit", "chain")
def _(right, conditional):
    return right(conditional) - 0.5 * len(conditional.scale_tril)


@mutant("exact.blocks.join_chain", "chain: noise of a step is the root of its variances", "chain")
def _(right, mean, covariance, conditionals):
    steps = [copy.deepcopy(step) for step in conditionals]
    for step in steps:
        step.scale_tril = step.scale_tril.diagonal().sqrt().diag()
    return right(mean, covariance, steps)


mutant("exact.blocks.Blocks.mutual_information", "blocks: mutual information without ½", "chain")(
    twice
)


@mutant("exact.blocks.Blocks.conditional", "blocks: conditional mean without its shift", "chain")
def _(right, self, of, given):
    p = right(self, of, given)
    root = p.scale_tril
    return LinearGaussianConditional(p.weight, self.mean[self.place(of)], root @ root.mT)


@mutant("exact.linear.LinearGaussian.likelihood", "exact likelihood: scale squared", "exact")
def _(right, self, z):
    return Gaussian(right(self, z).mean, self.weight.new_tensor(4 * math.log(self.scale)))
