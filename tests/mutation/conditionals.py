"""Mistakes in conditionals: Gaussians, Bernoulli and autoregressive pixels, networks, priors."""

import torch
from torch import nn
from torch.distributions import Bernoulli, Independent, MultivariateNormal
from torch.nn.functional import logsigmoid

from companion.conditionals import per_row, side_by_side
from companion.distributions import LOG_TWO_PI, Gaussian, gaussian_kl
from mutation.registry import mutant


def learned(name):
    """A mistake in what is made of a network's output of two halves."""

    def enter(of_halves):
        def forward(right, self, *given):
            if self.scale is not None:
                return right(self, *given)
            return Gaussian(*of_halves(*per_row(self.net, *given).chunk(2, dim=-1)))

        mutant("conditionals.GaussianConditional.forward", f"Gaussian: {name}", "conditionals")(
            forward
        )

    return enter


learned("log σ² taken for log σ")(lambda mu, logvar: (mu, 2 * logvar))
learned("mean and log-variance exchanged")(lambda mu, logvar: (logvar, mu))


@mutant(
    "conditionals.GaussianConditional.forward",
    "Gaussian: the fixed scale taken for a variance",
    "conditionals",
)
def _(right, self, *given):
    p = right(self, *given)
    return p if self.scale is None else Gaussian(p.mean, self.scale.log())


@mutant(
    "distributions.Gaussian.log_prob",
    "Gaussian: 2π dropped in prior and encoder alike, where it cancels",
    "conditionals models",
)
def _(right, self, value):
    return right(self, value) + 0.5 * LOG_TWO_PI * self.event_shape[0]


@mutant("distributions.Gaussian.log_prob", "Gaussian: ½ before the square missing", "conditionals")
def _(right, self, value):
    error = (value - self.loc) / self.scale
    return right(self, value) - 0.5 * error.square().sum(-1)


@mutant(
    "distributions.Gaussian.log_prob",
    "Gaussian: the normaliser takes the log-variance for a log-scale",
    "conditionals",
)
def _(right, self, value):
    return right(self, value) - 0.5 * self.logvar.expand_as(self.loc).sum(-1)


@mutant(
    "distributions.Gaussian.log_prob",
    "Gaussian: the log of a scale that has underflowed",
    "conditionals",
)
def _(right, self, value):
    lost = self.scale.log() - 0.5 * self.logvar
    return right(self, value) - lost.expand_as(self.loc).sum(-1)


@mutant("distributions.Gaussian.rsample", "Gaussian: drawn with the variance", "conditionals")
def _(right, self, sample_shape):
    return self.loc + (right(self, sample_shape) - self.loc) * self.scale


@mutant("distributions.Gaussian.entropy", "Gaussian: entropy of one unit too few", "conditionals")
def _(right, self):
    return right(self) - 0.5 * self.logvar.expand_as(self.loc)[..., 0]


@mutant(
    "distributions._kl_from_standard",
    "registered KL: from N(0, I), without the mean",
    "conditionals",
)
def _(right, q, p):
    return gaussian_kl(0 * q.loc, q.logvar).sum(-1)


@mutant("distributions.Pixels.log_prob", "pixels: those that are 0 cost nothing", "conditionals")
def _(right, self, value):
    return right(self, value) - ((1 - value) * logsigmoid(-self.base_dist.logits)).sum(-1)


@mutant("distributions.Gaussian.expand", "Gaussian: expanded without its scale", "conditionals")
def _(right, self, batch_shape, _instance):
    p = right(self, batch_shape, _instance)
    p.scale = torch.ones_like(p.scale)
    return p


@mutant(
    "distributions._kl_gaussians", "registered KL: the wrong way round", "gaussian_kl conditionals"
)
def _(right, q, p):
    return right(p, q)


@mutant(
    "distributions._kl_gaussians",
    "registered KL: variances the wrong way round",
    "gaussian_kl conditionals diffusion",
)
def _(right, q, p):
    return gaussian_kl((q.loc - p.loc) / p.scale, p.logvar - q.logvar).sum(-1)


@mutant(
    "distributions._kl_gaussians",
    "registered KL: means apart in units of q's scale",
    "gaussian_kl conditionals",
)
def _(right, q, p):
    return gaussian_kl((q.loc - p.loc) / q.scale, q.logvar - p.logvar).sum(-1)


@mutant(
    "distributions._full",
    "registered KL: of a full covariance, with the scale as the covariance",
    "gaussian_kl conditionals",
)
def _(right, p):
    if not isinstance(p, Independent):
        return right(p)
    return MultivariateNormal(p.mean, p.stddev.diag_embed(), validate_args=False)


@mutant("conditionals.per_row", "networks: batch axes exchanged on the way", "conditionals")
def _(right, net, *given):
    together = side_by_side(*given)
    if together.dim() < 3:
        return right(net, together)
    rows = right(net, together.transpose(0, 1))
    return rows.reshape(*together.shape[:-1], *rows.shape[together.dim() - 1 :])


@mutant("conditionals.per_row", "networks: shown all axes, not rows", "conditionals networks")
def _(right, net, *given):
    return net(side_by_side(*given))


@mutant("conditionals.side_by_side", "several tensors: set side by side in reverse", "conditionals")
def _(right, *given):
    return right(*given[::-1])


@mutant("conditionals.mlp", "mlp: nothing between its layers", "conditionals")
def _(right, *sizes):
    return nn.Sequential(*(layer for layer in right(*sizes) if isinstance(layer, nn.Linear)))


@mutant("conditionals.mlp", "mlp: an activation after the last layer", "conditionals")
def _(right, *sizes):
    return nn.Sequential(*right(*sizes), nn.SiLU())


@mutant(
    "conditionals.BernoulliConditional.forward",
    "Bernoulli: probabilities in place of logits",
    "conditionals",
)
def _(right, self, *given):
    return Independent(Bernoulli(probs=per_row(self.net, *given).sigmoid()), 1)


@mutant(
    "conditionals.LinearGaussianConditional.forward",
    "linear Gaussian: view in place of a transpose",
    "conditionals",
)
def _(right, self, *given):
    mean = side_by_side(*given) @ self.weight.reshape(self.weight.shape[::-1]) + self.bias
    return MultivariateNormal(mean, scale_tril=self.scale_tril)


def full(target, name):
    """The covariance of a full Gaussian taken for its root."""

    def wrong(right, self, *given):
        p = right(self, *given)
        return MultivariateNormal(p.mean, scale_tril=p.covariance_matrix.tril())

    mutant(f"conditionals.{target}.forward", name, "conditionals diffusion")(wrong)


full("LinearGaussianConditional", "linear Gaussian: covariance taken for its root")
full("GaussianPrior", "Gaussian prior: covariance taken for its root")


@mutant("conditionals.StandardNormal.forward", "prior: scale that is not 1", "conditionals")
def _(right, self):
    return Gaussian(self.mean, self.mean + 1.4)


def masks(name):
    """A mistake in the masks of the autoregressive network."""

    def enter(change):
        def wrong(right, self, latent, features, hidden, context):
            right(self, latent, features, hidden, context)
            change(self, torch.arange(features), torch.arange(hidden)[:, None] % features, context)

        target = "autoregressive.AutoregressiveConditional.__init__"
        mutant(target, f"masks: {name}", "autoregressive")(wrong)

    return enter


@masks("a pixel sees itself")
def _(self, pixel, unit, context):
    if context is None:
        self.out_mask.copy_((pixel >= unit).mT)


@masks("a pixel misses the one before it")
def _(self, pixel, unit, context):
    self.into_mask.mul_(unit > pixel)


@masks("no mask on the way in")
def _(self, pixel, unit, context):
    self.into_mask.fill_(1)


@masks("a context one too long")
def _(self, pixel, unit, context):
    if context is not None:
        self.into_mask.copy_((unit >= pixel) & (unit - pixel <= context))


@mutant(
    "autoregressive.AutoregressiveConditional.logits",
    "autoregressive: the code does not reach the first pixel",
    "autoregressive",
)
def _(right, self, x, z):
    return right(self, x, z) - self.out_from_code(z)


@mutant(
    "autoregressive.AutoregressiveBernoulli.sample",
    "autoregressive: pixels drawn in the wrong order",
    "autoregressive",
)
@torch.no_grad()
def _(right, self, sample_shape):
    x = self.z.new_zeros(self._extended_shape(torch.Size(sample_shape)))
    for pixel in reversed(range(self.conditional.features)):
        logits = self.conditional.logits(x, self.z)[..., pixel]
        x[..., pixel] = torch.bernoulli(logits.sigmoid())
    return x


@mutant(
    "autoregressive.AutoregressiveBernoulli.log_prob",
    "autoregressive: averaged over pixels",
    "autoregressive",
)
def _(right, self, value):
    return right(self, value) / self.conditional.features
