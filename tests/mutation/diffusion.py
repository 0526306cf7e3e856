"""Mistakes in the schedule, the denoisers and the diffusion model."""

import torch
from torch.distributions import kl_divergence

from companion.conditionals import LinearGaussianConditional
from companion.diffusion import (
    Schedule,
    alpha_sigma,
    forward_coefficients,
    forward_marginal,
    posterior_variance,
    reverse_coefficients,
    reverse_posterior,
)
from companion.diffusion.bounds import ThreeTerms, _stratified_levels
from companion.diffusion.schedule import _fractions
from companion.distributions import Gaussian
from mutation.registry import mutant


def wrong_in(module):
    """Return the decorator of mistakes in a module: what, and in which function."""
    return lambda target, name: mutant(f"diffusion.{module}.{target}", name, "diffusion")


schedule, denoiser, model, bounds = map(wrong_in, ("schedule", "denoisers", "model", "bounds"))


@schedule("Schedule.beta", "schedule: 1 − ᾱ_t taken for β_t")
def _(right, self):
    return 1 - self.alpha_bar


@schedule("Schedule.beta", "schedule: 1 − exp in place of expm1 in β")
def _(right, self):
    return 1 - self.log_alpha_bar.exp()[1:] / self.log_alpha_bar.exp()[:-1]


@schedule("linear_schedule", "linear schedule: ½ missing")
def _(right, num_steps, start, end):
    return right(num_steps, start, 2 * end - start)


@schedule("cosine_schedule", "cosine schedule: square forgotten")
def _(right, num_steps, offset):
    u = torch.cat([torch.zeros(1, dtype=torch.float64), _fractions(num_steps)])
    log_f = torch.cos(torch.pi / 2 * (u + offset) / (1 + offset)).abs().log()
    kept = (log_f.diff().exp()).clamp(min=0.001).log().cumsum(0)
    return Schedule(kept - torch.log(-torch.expm1(kept)))


@schedule("forward_coefficients", "forward process: root of ᾱ forgotten")
def _(right, schedule, s, t):
    of_z, variance = right(schedule, s, t)
    return of_z.square(), variance


@schedule("forward_coefficients", "forward process: off by one in t")
def _(right, schedule, s, t):
    # The step before; from x the first step is as it should be.
    earlier = (s > 0) * 1
    return right(schedule, s - earlier, t - earlier)


@schedule("forward_kernel", "forward process: variance taken for a scale")
def _(right, schedule, z, s, t):
    p = right(schedule, z, s, t)
    return Gaussian(p.mean, 4 * p.stddev.log())


@model("ForwardStep.forward", "forward steps: variance taken for a scale")
def _(right, self, z):
    return Gaussian(self.of_z * z, z.new_tensor(2 * self.logvar))


@schedule("reverse_posterior", "reverse process: variance taken for a scale")
def _(right, schedule, z, x, s, t):
    p = right(schedule, z, x, s, t)
    return Gaussian(p.mean, 4 * p.stddev.log())


def coefficients(name):
    """A mistake in the factor of z_t, the factor of x, or the variance, of q(z_s | z_t, x).

    The mistake is made from the right three and from tables of log ᾱ, 1 − ᾱ and log SNR.
    """

    def enter(wrong):
        def of_levels(right, schedule, s, t):
            log_snr = torch.cat([torch.full((1,), torch.inf).double(), schedule.log_snr])
            tables = schedule.log_alpha_bar, torch.sigmoid(-log_snr), log_snr
            at_s, at_t = (tuple(table[level] for table in tables) for level in (s, t))
            return wrong(*right(schedule, s, t), at_s, at_t)

        schedule("reverse_coefficients", name)(of_levels)

    return enter


@coefficients("reverse variance: with 1 − ᾱ_t in place of 1 − ᾱ_{t−1}")
def _(of_z, of_x, variance, at_s, at_t):
    return of_z, of_x, -torch.expm1(at_t[2] - at_s[2]) * at_t[1]


@coefficients("reverse mean: ᾱ_t in place of ᾱ_{t−1} before x")
def _(of_z, of_x, variance, at_s, at_t):
    return of_z, of_x * torch.exp(0.5 * (at_t[0] - at_s[0])), variance


@coefficients("reverse mean: factor of z_t")
def _(of_z, of_x, variance, at_s, at_t):
    return torch.exp(0.5 * (at_t[0] - at_s[0])), of_x, variance


@coefficients("reverse variance: 1 − exp in place of expm1")
def _(of_z, of_x, variance, at_s, at_t):
    share = 1 - torch.exp(at_t[2] - at_s[2])
    return of_z, torch.exp(0.5 * at_s[0]) * share, share * at_s[1]


@schedule("posterior_variance", "reverse variance: β in place of β̃")
def _(right, schedule):
    return schedule.beta[1:]


@denoiser("NoiseDenoiser.forward", "noise denoiser: ᾱ in place of its root")
def _(right, self, z, log_snr):
    return right(self, z, log_snr) / alpha_sigma(log_snr)[0]


@denoiser("time_features", "noise denoiser: told nothing of the noise")
def _(right, log_snr):
    return right(0 * log_snr)


@denoiser("GaussianDenoiser._gain", "Gaussian denoiser: scale of the noise taken for its variance")
def _(right, self, alpha, sigma):
    return alpha * self.values / (alpha.square() * self.values + sigma)


@denoiser("GaussianDenoiser.forward", "Gaussian denoiser: the mean not shrunk with x")
def _(right, self, z, log_snr):
    alpha, _ = alpha_sigma(log_snr)
    return right(self, z + (alpha - 1) * self.mean, log_snr)


@denoiser("GaussianDenoiser.forward", "Gaussian denoiser: a transpose forgotten")
def _(right, self, z, log_snr):
    turned = (right(self, z, log_snr) - self.mean) @ self.vectors
    return self.mean + turned @ self.vectors


@denoiser("GaussianDenoiser.covariance", "Gaussian denoiser: SNR without its square")
def _(right, self, log_snr):
    alpha, sigma = alpha_sigma(log_snr)
    left = self.values / (1 + alpha / sigma * self.values)
    covariance = (self.vectors * left[..., None, :]) @ self.vectors.mT
    return 0.5 * (covariance + covariance.mT)


@denoiser(
    "GaussianDenoiser.decoders",
    "exact reverse covariance: what z_t leaves unknown of x forgotten",
)
def _(right, self, schedule, reverse_variance):
    if reverse_variance is None:
        reverse_variance = posterior_variance(schedule)
    return right(self, schedule, reverse_variance)


@denoiser("GaussianDenoiser.decoders", "exact reverse covariance: off by one in t")
def _(right, self, schedule, reverse_variance):
    decoders = right(self, schedule, reverse_variance)
    unknown = self.covariance(schedule.log_snr.to(self.mean))
    for t, p in enumerate(decoders[1:], start=2):
        of_x = reverse_coefficients(schedule, t - 1, t)[1].to(self.mean)
        own = p.scale_tril @ p.scale_tril.mT
        moved = own + of_x.square() * (unknown[t - 2] - unknown[t - 1])
        eye = 1e-9 * torch.eye(len(own)).to(own)
        decoders[t - 1] = LinearGaussianConditional(p.weight, p.bias, (moved + moved.mT) / 2 + eye)
    return decoders


@denoiser("GaussianDenoiser.decoders", "exact decoder of x: as narrow as that of the level above")
def _(right, self, schedule, reverse_variance):
    first, second, *others = right(self, schedule, reverse_variance)
    root = second.scale_tril
    return [
        LinearGaussianConditional(first.weight, first.bias, root @ root.mT),
        second,
        *others,
    ]


def points(name, half, power):
    """A mistake in the weights of the points of a list."""

    def wrong(right, self, z, log_snr):
        alpha, sigma = alpha_sigma(log_snr)
        product = alpha * (z @ self.data.mT) - half * alpha.square() * self.data.square().sum(-1)
        return (product / sigma**power).log_softmax(-1)

    denoiser("DataDenoiser.log_weight", f"data denoiser: {name}")(wrong)


points("½ missing", half=1.0, power=2)
points("weights by the scale and not the variance", half=0.5, power=1)


@model("Diffusion.denoise", "diffusion: denoiser told the noise of another level")
def _(right, self, z, t):
    return self.denoiser(z, self.log_snr[t - 2].expand(z.shape[:-1]))


@model("Diffusion.reverse", "diffusion: reverse variance of another level")
def _(right, self, z, t):
    return Gaussian(right(self, z, t).mean, 2 * self.reverse_scale[t - 2, None].log())


@model("ForwardStep.__init__", "diffusion: every level drawn from x and scored as a step")
def _(right, self, schedule, t):
    right(self, schedule, t)
    of_z, variance = forward_coefficients(schedule, 0, t)
    self.of_z, self.logvar = of_z.item(), variance.log().item()


@model("Diffusion.__init__", "diffusion: decoder's scale taken for a variance")
def _(right, self, schedule, denoiser, prior, scale, reverse_variance):
    right(self, schedule, denoiser, prior, scale=scale**0.5, reverse_variance=reverse_variance)


@model("Diffusion.__init__", "diffusion: reverse variance taken for a scale")
def _(right, self, schedule, denoiser, prior, scale, reverse_variance):
    if reverse_variance is None:
        reverse_variance = posterior_variance(schedule)
    right(self, schedule, denoiser, prior, scale=scale, reverse_variance=reverse_variance.square())


@model("Diffusion._apply", "diffusion: tables cast down and up again")
def _(right, self, fn, recurse):
    right(self, fn, recurse)
    for name in ("log_snr", "of_z", "of_x"):
        setattr(self, name, getattr(self, name).float().to(self.reverse_scale))
    return self


@bounds("three_terms", "three terms: KL the wrong way round")
def _(right, model, x, latents, schedule):
    terms = right(model, x, latents, schedule)
    schedule = schedule or model.schedule
    turned = [
        kl_divergence(model.decoders[t - 1](z), reverse_posterior(schedule, z, x, t - 1, t))
        for t, z in enumerate(latents[1:], start=2)
    ]
    return ThreeTerms(terms.reconstruction, torch.stack(turned), terms.prior)


@bounds("ThreeTerms.bound", "three terms: prior term forgotten")
def _(right, self):
    return right(self) + self.prior


@bounds("ThreeTerms.bound", "three terms: mean over levels")
def _(right, self):
    return self.reconstruction - self.diffusion.mean(0) - self.prior


@bounds("draw_levels", "three terms: one noise for all levels")
def _(right, schedule, x, num_samples):
    noise = torch.randn(num_samples, *x.shape, dtype=x.dtype)
    laws = [forward_marginal(schedule, x, t) for t in range(1, schedule.num_steps + 1)]
    return tuple(law.mean + law.stddev * noise for law in laws)


@bounds("one_level_elbo", "one random level: T in place of T − 1")
def _(right, model, x):
    schedule = model.schedule
    t = _stratified_levels(x, 2, schedule.num_steps)
    z = forward_marginal(schedule, x, t).rsample()
    diffusion = kl_divergence(reverse_posterior(schedule, z, x, t - 1, t), model.reverse(z, t))
    prior = kl_divergence(forward_marginal(schedule, x, schedule.num_steps), model.prior())
    reconstruction = model.reverse(forward_marginal(schedule, x, 1).rsample(), 1).log_prob(x)
    return reconstruction - schedule.num_steps * diffusion - prior


@bounds("_stratified_levels", "one random level: the top level is never drawn")
def _(right, x, first, last):
    return right(x, first, last - 1)


@bounds("_stratified_levels", "one random level: the same for all rows")
def _(right, x, first, last):
    return right(x, first, last)[:1].expand(len(x))


@bounds("simple_loss", "noise loss: √ of 1 − ᾱ forgotten")
def _(right, model, x):
    t = _stratified_levels(x, 1, model.schedule.num_steps)
    alpha, sigma = alpha_sigma(model.log_snr[t - 1])
    noise = torch.randn_like(x)
    z = alpha * x + sigma.square() * noise
    return (noise - (z - alpha * model.denoise(z, t)) / sigma).square().sum(-1)


@bounds("simple_loss", "noise loss: averaged over pixels")
def _(right, model, x):
    return right(model, x) / x.shape[1]


@bounds("simple_loss", "noise loss: against the noise of another draw")
def _(right, model, x):
    t = _stratified_levels(x, 1, model.schedule.num_steps)
    alpha, sigma = alpha_sigma(model.log_snr[t - 1])
    z = alpha * x + sigma * torch.randn_like(x)
    predicted = (z - alpha * model.denoise(z, t)) / sigma
    return (torch.randn_like(x) - predicted).square().sum(-1)
