# ruff: noqa: E501 (lines of the package stand here whole)
"""Mistakes to make in the package on purpose: an exact piece of its text, and what to put there.

Most are bugs that well-known code has or had; the rest are what is easily got wrong in this one.
`tests` names the files of tests that run against the mistake, ``objectives`` for
``tests/test_objectives.py``: they must contain one that fails.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One mistake: `old`, which must stand exactly once in `file`, becomes `new`."""

    name: str
    file: str
    old: str
    new: str
    tests: str


def bounds() -> list[Mutant]:
    """Mistakes in the objectives."""
    sums = """\
    sums = [
        _trace(model, x, size).log_weight.logsumexp(0) for size in _chunks(num_samples, chunk_size)
    ]
    return torch.stack(sums).logsumexp(0) - math.log(num_samples)
"""
    weights = """\
    log_w = torch.cat(
        [_trace(model, x, size).log_weight for size in _chunks(num_samples, chunk_size)]
    )
"""

    def bound(name: str, result: str) -> Mutant:
        return Mutant(name, "objectives", sums, weights + result, "objectives mutants")

    return [
        bound(
            "K-sample bound: the surrogate's value, Σ w̃ log w, reported as the bound",
            "    return (log_w.softmax(0).detach() * log_w).sum(0)\n",
        ),
        bound(
            "K-sample bound: weights from the positive loss, so that the worst count most",
            "    return (torch.softmax(-log_w, 0) * log_w).sum(0)\n",
        ),
        bound(
            "K-sample bound: log-mean-exp of the loss",
            "    return -((-log_w).logsumexp(0) - math.log(num_samples))\n",
        ),
        bound("K-sample bound: the ELBO in its place", "    return log_w.mean(0)\n"),
        bound("K-sample bound: log K forgotten", "    return log_w.logsumexp(0)\n"),
        bound(
            "K-sample bound: logsumexp over the batch",
            "    over = log_w.logsumexp(1, keepdim=True).mean(0) - math.log(num_samples)\n"
            "    return over.expand(len(x))\n",
        ),
        bound("K-sample bound: minus the bound", "    return -log_w.logsumexp(0)\n"),
        Mutant(
            "chunks: K rounded down to whole chunks, log K of the request subtracted",
            "objectives",
            "    for start in range(0, total, size):\n        yield min(size, total - start)\n",
            "    for _ in range(max(1, total // size)):\n        yield min(size, total)\n",
            "objectives",
        ),
        Mutant(
            "chunks: mean of the chunks' bounds",
            "objectives",
            "_trace(model, x, size).log_weight.logsumexp(0) for size in"
            " _chunks(num_samples, chunk_size)\n    ]\n"
            "    return torch.stack(sums).logsumexp(0) - math.log(num_samples)",
            "_trace(model, x, size).log_weight.logsumexp(0) - math.log(size)\n"
            "        for size in _chunks(num_samples, chunk_size)\n    ]\n"
            "    return torch.stack(sums).mean(0)",
            "objectives",
        ),
        Mutant(
            "chunks: only the first is evaluated, a return inside the loop",
            "objectives",
            "return torch.stack(sums).logsumexp(0) -",
            "return torch.stack(sums[:1]).logsumexp(0) -",
            "objectives",
        ),
        Mutant(
            "ELBO: minus the ELBO",
            "objectives",
            "return _trace(model, x, num_samples).log_weight.mean(0)",
            "return -_trace(model, x, num_samples).log_weight.mean(0)",
            "objectives",
        ),
        Mutant(
            "ELBO: summed over samples",
            "objectives",
            "return _trace(model, x, num_samples).log_weight.mean(0)",
            "return _trace(model, x, num_samples).log_weight.sum(0)",
            "objectives",
        ),
        Mutant(
            "analytic ELBO: KL the wrong way round",
            "objectives",
            "rate = kl_divergence(q, prior)",
            "rate = kl_divergence(prior, q)",
            "objectives",
        ),
        Mutant(
            "analytic ELBO: accepted for several levels",
            "objectives",
            "    if len(trace.z) != 1:\n        raise ValueError(",
            "    if len(trace.z) < 1:\n        raise ValueError(",
            "objectives hvae",
        ),
        Mutant(
            "closed-form KL: ½ missing",
            "objectives",
            "return 0.5 * (mu.square() + torch.expm1(logvar) - logvar)",
            "return mu.square() + torch.expm1(logvar) - logvar",
            "objectives gaussian_kl",
        ),
        Mutant(
            "closed-form KL: sign",
            "objectives",
            "return 0.5 * (mu.square() + torch.expm1(logvar) - logvar)",
            "return -0.5 * (mu.square() + torch.expm1(logvar) - logvar)",
            "objectives gaussian_kl",
        ),
        Mutant(
            "closed-form KL: exp − 1 in place of expm1",
            "objectives",
            "torch.expm1(logvar) - logvar)",
            "torch.exp(logvar) - 1 - logvar)",
            "gaussian_kl objectives",
        ),
        Mutant(
            "closed-form KL: log σ taken for log σ²",
            "objectives",
            "torch.expm1(logvar) - logvar)",
            "torch.expm1(2 * logvar) - 2 * logvar)",
            "gaussian_kl objectives",
        ),
        Mutant(
            "β on the reconstruction",
            "objectives",
            "(trace.reconstruction - beta * trace.rates.sum(0))",
            "(beta * trace.reconstruction - trace.rates.sum(0))",
            "objectives",
        ),
        Mutant(
            "free bits: clamped point by point",
            "objectives",
            "charged = torch.where(rates.mean(1, keepdim=True) > free_nats, rates, free_nats)",
            "charged = torch.where(rates > free_nats, rates, free_nats)",
            "objectives",
        ),
        Mutant(
            "free bits: clamped on the sum of the levels",
            "objectives",
            "charged = torch.where(rates.mean(1, keepdim=True) > free_nats, rates, free_nats)",
            "charged = torch.where(rates.sum(0).mean() > free_nats, rates, free_nats)",
            "hvae",
        ),
    ]


def models() -> list[Mutant]:
    """Mistakes in the record of a pass, the models and the conditionals."""
    draw = "z.append(q[-1].rsample(() if z else (num_samples,)))"
    log_ratio = "torch.stack([q.log_prob(z) - p.log_prob(z) for z, q, p in levels])"
    learned = "return _independent(Normal, loc=mu, scale=torch.exp(0.5 * logvar))"
    numbers = "from torch.distributions import Bernoulli, Distribution, Independent, MultivariateNormal, Normal"
    return [
        Mutant(
            "draws: sample() in place of rsample()",
            "models",
            draw,
            draw.replace("rsample", "sample"),
            "models objectives",
        ),
        Mutant(
            "draws: the posterior mean instead of a sample in eval mode",
            "models",
            draw,
            "shape = () if z else (num_samples,)\n"
            "        z.append(\n"
            "            q[-1].rsample(shape)\n"
            "            if encoder.training\n"
            "            else q[-1].mean.expand(*shape, *q[-1].mean.shape)\n"
            "        )",
            "models objectives",
        ),
        Mutant(
            "draws: every level with the size of z_1",
            "models",
            draw,
            "noise = torch.randn(num_samples, len(x), q[0].event_shape[0], dtype=x.dtype)\n"
            "        z.append(q[-1].mean + q[-1].stddev * noise)",
            "hvae models",
        ),
        Mutant(
            "draws: one noise for all levels",
            "models",
            draw,
            "torch.manual_seed(0)\n        " + draw,
            "hvae models",
        ),
        Mutant(
            "draws: one noise for all data points",
            "models",
            draw,
            "noise = torch.randn_like(q[-1].rsample(() if z else (num_samples,))[:, :1])\n"
            "        z.append(q[-1].mean + q[-1].stddev * noise)",
            "models",
        ),
        Mutant(
            "draws: from a clamped scale, scored with the unclamped one",
            "models",
            draw,
            "noise = torch.randn(\n"
            "            (num_samples, len(x), *q[-1].event_shape), dtype=x.dtype\n"
            "        )\n"
            "        z.append(q[-1].mean + q[-1].stddev.clamp(min=0.5) * noise)",
            "models objectives oracles",
        ),
        Mutant(
            "inference: every level looks at x and not at the level below",
            "models",
            "q.append(encoder(z[-1] if z else x))",
            "q.append(encoder(x.expand(num_samples, *x.shape) if z else x))",
            "hvae chain",
        ),
        Mutant(
            "log weight: sign of the KL",
            "models",
            "return self.reconstruction - self.rates.sum(0)",
            "return self.reconstruction + self.rates.sum(0)",
            "models objectives",
        ),
        Mutant(
            "log weight: mean over levels",
            "models",
            "return self.reconstruction - self.rates.sum(0)",
            "return self.reconstruction - self.rates.mean(0)",
            "hvae chain",
        ),
        Mutant(
            "rates: the closed-form KL at sampled neighbours in place of the log ratio",
            "models",
            log_ratio,
            "torch.stack(\n"
            "            [\n"
            "                torch.distributions.kl_divergence(q, p) + 0 * q.log_prob(z)\n"
            "                for z, q, p in levels\n"
            "            ]\n"
            "        )",
            "chain models",
        ),
        Mutant(
            "rates: averaged over latent units",
            "models",
            log_ratio,
            log_ratio.replace(
                "q.log_prob(z) - p.log_prob(z)", "(q.log_prob(z) - p.log_prob(z)) / z.shape[-1]"
            ),
            "models objectives",
        ),
        Mutant(
            "rates: from the top down",
            "models",
            log_ratio,
            log_ratio + ".flip(0)",
            "hvae chain levels",
        ),
        Mutant(
            "reconstruction: averaged over pixels, an undeclared weight of the KL",
            "models",
            "return self.p[0].log_prob(self.x)",
            "return self.p[0].log_prob(self.x) / self.x.shape[-1]",
            "models objectives",
        ),
        Mutant(
            "reconstruction: squared error alone, its log-normaliser dropped",
            "models",
            "return self.p[0].log_prob(self.x)",
            "return -0.5 * ((self.x - self.p[0].mean) / self.p[0].stddev).square().sum(-1)",
            "models objectives",
        ),
        Mutant(
            "data: grey pixels accepted by a Bernoulli decoder",
            "models",
            "    if not inside.all():",
            "    if not inside.any():",
            "models bad_input",
        ),
        Mutant(
            "generation: levels drawn from the bottom up",
            "models",
            "for decoder in reversed(self.decoders[:level]):",
            "for decoder in self.decoders[:level]:",
            "hvae chain",
        ),
        Mutant(
            "generation: the levels' means in place of draws",
            "models",
            "z = decoder(z).sample()",
            "z = decoder(z).mean",
            "hvae chain",
        ),
        Mutant(
            "generation of a VAE: the decoder's mean in place of a draw",
            "models",
            "x: Tensor = self.decoder(self.prior().sample((num_samples,))).sample()",
            "x: Tensor = self.decoder(self.prior().sample((num_samples,))).mean",
            "models",
        ),
        Mutant(
            "Gaussian: log σ² taken for log σ",
            "conditionals",
            learned,
            learned.replace("0.5 * logvar", "logvar"),
            "conditionals",
        ),
        Mutant(
            "Gaussian: mean and log-variance exchanged",
            "conditionals",
            "mu, logvar = out.chunk(2, dim=-1)",
            "logvar, mu = out.chunk(2, dim=-1)",
            "conditionals",
        ),
        Mutant(
            "Gaussian: the fixed scale taken for a variance",
            "conditionals",
            'fixed = None if scale is None else like.new_tensor(require_positive(scale, "scale"))',
            "fixed = None if scale is None else like.new_tensor(scale).sqrt()",
            "conditionals",
        ),
        Mutant(
            "Gaussian: 2π dropped in prior and encoder alike, where it cancels",
            "conditionals",
            numbers,
            numbers + "\n\n\nclass Normal(Normal):  # type: ignore[no-redef]\n"
            "    def log_prob(self, value):\n"
            "        return super().log_prob(value) + 0.9189385332046727\n",
            "conditionals models",
        ),
        Mutant(
            "Bernoulli: probabilities in place of logits",
            "conditionals",
            "return _independent(Bernoulli, logits=_apply(self.net, given))",
            "return _independent(Bernoulli, probs=_apply(self.net, given).sigmoid())",
            "conditionals",
        ),
        Mutant(
            "linear Gaussian: view in place of a transpose",
            "conditionals",
            "MultivariateNormal(given @ self.weight.mT + self.bias,",
            "MultivariateNormal(\n            given @ self.weight.reshape(self.weight.shape[::-1]) + self.bias,",
            "conditionals",
        ),
        Mutant(
            "linear Gaussian: covariance taken for its root",
            "conditionals",
            "scale_tril, failed = torch.linalg.cholesky_ex(covariance)",
            "scale_tril, failed = covariance.tril(), torch.linalg.cholesky_ex(covariance)[1]",
            "conditionals",
        ),
        Mutant(
            "prior: scale that is not 1",
            "conditionals",
            "Independent(Normal(self.mean, torch.ones_like(self.mean)), 1)",
            "Independent(Normal(self.mean, torch.ones_like(self.mean) * 2), 1)",
            "conditionals",
        ),
    ]


def exact() -> list[Mutant]:
    """Mistakes in what everything else is compared with."""
    return [
        Mutant(
            "exact ELBO: 2π dropped",
            "exact",
            "log_norm = len(self.bias) * math.log(2 * math.pi * self.scale**2)",
            "log_norm = len(self.bias) * math.log(self.scale**2)",
            "exact",
        ),
        Mutant(
            "exact ELBO: tr(W S Wᵀ) forgotten, as if z were its mean",
            "exact",
            "(residual.square().sum(-1) + spread) / self.scale**2",
            "residual.square().sum(-1) / self.scale**2",
            "exact",
        ),
        Mutant(
            "exact posterior: scale taken for a variance",
            "exact",
            "mean = (x - self.bias) @ self.weight @ covariance / self.scale**2",
            "mean = (x - self.bias) @ self.weight @ covariance / self.scale",
            "exact",
        ),
        Mutant(
            "exact marginal: W Wᵀ without the noise's variance squared",
            "exact",
            "noise = self.scale**2 * torch.eye(len(self.bias), dtype=self.bias.dtype)",
            "noise = self.scale * torch.eye(len(self.bias), dtype=self.bias.dtype)",
            "exact",
        ),
        Mutant(
            "exact gap: the other KL",
            "exact",
            "return kl_divergence(MultivariateNormal(q.mean, _covariance(q)), self.posterior(x))",
            "return kl_divergence(self.posterior(x), MultivariateNormal(q.mean, _covariance(q)))",
            "exact",
        ),
        Mutant(
            "tables: gap to the prior in place of the posterior",
            "exact",
            "return _kl(self._encoder(q), self.posterior())",
            "return _kl(self._encoder(q), self.prior)",
            "exact",
        ),
        Mutant(
            "tables: view in place of a transpose",
            "exact",
            "return (self.prior.log()[:, None] + self.likelihood.log()).mT",
            "joint = self.prior.log()[:, None] + self.likelihood.log()\n"
            "        return joint.reshape(joint.shape[::-1])",
            "exact",
        ),
        Mutant(
            "tables: every tuple of draws equally likely",
            "exact",
            "probability = q[:, draws].prod(-1)",
            "probability = (q[:, draws] > 0).double().prod(-1)\n"
            "        probability = probability / probability.sum(-1, keepdim=True)",
            "exact objectives",
        ),
        Mutant(
            "linear VAE: covariance with divisor N − 1",
            "exact",
            "torch.linalg.eigh(torch.cov(x.mT, correction=0))",
            "torch.linalg.eigh(torch.cov(x.mT))",
            "exact",
        ),
        Mutant(
            "linear VAE: β on the scale and not on the variance",
            "exact",
            'noise = math.sqrt(require_positive(beta, "beta")) * require_positive(scale, "scale")',
            'noise = require_positive(beta, "beta") * require_positive(scale, "scale")',
            "exact",
        ),
        Mutant(
            "linear VAE: the smallest eigenvalues",
            "exact",
            "top = (values.flip(0)[:d] - noise**2).clamp(min=0).sqrt()",
            "top = (values[:d] - noise**2).clamp(min=0).sqrt()",
            "exact",
        ),
        Mutant(
            "quadrature: N cells in place of N − 1",
            "exact",
            "return grid, d * math.log(2 * bound / (num_points - 1))",
            "return grid, d * math.log(2 * bound / num_points)",
            "exact",
        ),
        Mutant(
            "quadrature: only the first piece of the grid",
            "exact",
            "return torch.stack(sums).logsumexp(0) + log_cell",
            "return torch.stack(sums[:1]).logsumexp(0) + log_cell",
            "exact",
        ),
        Mutant(
            "quadrature of the ELBO: q weighs nothing",
            "exact",
            "weight = (noise.log_prob(grid).sum(-1) + log_cell).exp()",
            "weight = torch.full_like(grid[:, 0], 1 / len(grid))",
            "exact",
        ),
        Mutant(
            "optimal decoder: weights normalised over codes and not over data",
            "exact",
            "q.log_prob(chunk[:, None]).softmax(dim=1) @ x",
            "q.log_prob(chunk[:, None]).softmax(dim=0) @ x",
            "exact",
        ),
        Mutant(
            "optimal decoder: densities that underflow",
            "exact",
            "q.log_prob(chunk[:, None]).softmax(dim=1) @ x for chunk in chunks]",
            "(w := q.log_prob(chunk[:, None]).exp()) / w.sum(1, keepdim=True) @ x for chunk in chunks]",
            "exact",
        ),
        Mutant(
            "posterior on a grid: masses in place of a density",
            "grid",
            "return z, log_joint - log_joint.logsumexp(0) - log_cell, log_cell",
            "return z, log_joint - log_joint.logsumexp(0), log_cell",
            "grid",
        ),
        Mutant(
            "KL on a grid: the other KL",
            "grid",
            "torch.where(log_q == -math.inf, 0.0, log_q.exp() * (log_q - log_p))",
            "torch.where(log_p == -math.inf, 0.0, log_p.exp() * (log_p - log_q))",
            "grid",
        ),
        Mutant(
            "KL on a grid: 0 log 0 taken for no number",
            "grid",
            "torch.where(log_q == -math.inf, 0.0, log_q.exp() * (log_q - log_p))",
            "log_q.exp() * (log_q - log_p)",
            "grid",
        ),
        Mutant(
            "floor of a Gaussian: a local search from one start",
            "grid",
            "found = grid[_kl(grid, points, log_p, step).argmin(0)]",
            "found = grid[len(grid) // 2].expand(log_p.shape[1], 2).clone()",
            "grid",
        ),
        Mutant(
            "floor of a Gaussian: entropy without its last ½",
            "grid",
            "* step - log_scale - HALF_LOG_TWO_PI - 0.5",
            "* step - log_scale - HALF_LOG_TWO_PI",
            "grid",
        ),
        Mutant(
            "chain: levels in the order of generation",
            "chain",
            "blocks = list(reversed(range(len(down.sizes))))",
            "blocks = list(range(len(down.sizes)))",
            "chain",
        ),
        Mutant(
            "chain rates: from the top down",
            "chain",
            "                -_entropy(encoder) - self._cross(level, means, joint.covariance, joint)\n"
            "                for level, encoder in enumerate(encoders, start=1)\n            ]\n        )",
            "                -_entropy(encoder) - self._cross(level, means, joint.covariance, joint)\n"
            "                for level, encoder in enumerate(encoders, start=1)\n            ]\n        ).flip(0)",
            "chain",
        ),
        Mutant(
            "chain rates: the closed form, with neighbours that do not know of each other",
            "chain",
            "covariance[here, above], covariance[above, here] = redrawn, redrawn.mT",
            "pass",
            "chain",
        ),
        Mutant(
            "chain: 2π dropped",
            "chain",
            "log_det = 2 * scale_tril.diagonal().log().sum() + len(scale_tril) * math.log(2 * math.pi)",
            "log_det = 2 * scale_tril.diagonal().log().sum()",
            "chain",
        ),
        Mutant(
            "chain: entropy without its ½ for each unit",
            "chain",
            "return 0.5 * len(tril) * math.log(2 * math.pi * math.e) +",
            "return 0.5 * len(tril) * math.log(2 * math.pi) +",
            "chain",
        ),
        Mutant(
            "chain: noise of a step is the root of its covariance",
            "chain",
            "noise = step.scale_tril @ step.scale_tril.mT",
            "noise = step.scale_tril",
            "chain",
        ),
        Mutant(
            "blocks: mutual information without ½",
            "chain",
            "return 0.5 * (parts[0] + parts[1] - parts[2])",
            "return parts[0] + parts[1] - parts[2]",
            "chain",
        ),
        Mutant(
            "blocks: conditional mean without its shift",
            "chain",
            "bias = self.mean[a] - weight @ self.mean[b]",
            "bias = self.mean[a]",
            "chain",
        ),
    ]


def decoders() -> list[Mutant]:
    """Mistakes in the autoregressive decoder."""
    return [
        Mutant(
            "masks: a pixel sees itself",
            "autoregressive",
            "out = pixel[:, None] > unit",
            "out = pixel[:, None] >= unit",
            "autoregressive",
        ),
        Mutant(
            "masks: a pixel misses the one before it",
            "autoregressive",
            "into = unit[:, None] >= pixel",
            "into = unit[:, None] > pixel",
            "autoregressive",
        ),
        Mutant(
            "masks: no mask on the way in",
            "autoregressive",
            "self.from_pixels.weight * self.into_mask",
            "self.from_pixels.weight",
            "autoregressive",
        ),
        Mutant(
            "masks: a context one too long",
            "autoregressive",
            'into &= unit[:, None] - pixel < require_count(context, "context", minimum=0)',
            'into &= unit[:, None] - pixel <= require_count(context, "context", minimum=0)',
            "autoregressive",
        ),
        Mutant(
            "the code does not reach the first pixel",
            "autoregressive",
            "return out + self.out_from_code(z)",
            "return out + 0 * self.out_from_code(z)",
            "autoregressive",
        ),
        Mutant(
            "pixels drawn in the wrong order",
            "autoregressive",
            "for pixel in range(self.conditional.features):",
            "for pixel in reversed(range(self.conditional.features)):",
            "autoregressive",
        ),
        Mutant(
            "pixels averaged",
            "autoregressive",
            "Bernoulli(logits=logits, validate_args=False).log_prob(value).sum(-1)",
            "Bernoulli(logits=logits, validate_args=False).log_prob(value).mean(-1)",
            "autoregressive",
        ),
    ]


def measures() -> list[Mutant]:
    """Mistakes in diagnostics, estimators, training, ensembles and data."""
    values = "mean = objective(model, x).mean()\n"
    return [
        Mutant(
            "mutual information: from minibatches",
            "diagnostics",
            "    trace = model.trace(x, num_samples)\n    q, z = trace.q[0], trace.z[0]\n"
            "    log_q = q.log_prob(z)\n",
            "    if len(x) > 8:\n"
            "        parts = [mutual_information(model, part, num_samples) for part in x.split(8)[:-1]]\n"
            "        return Estimate(*(sum(p) / len(parts) for p in zip(*parts, strict=True)))\n"
            "    trace = model.trace(x, num_samples)\n    q, z = trace.q[0], trace.z[0]\n"
            "    log_q = q.log_prob(z)\n",
            "diagnostics",
        ),
        Mutant(
            "aggregated posterior: log N forgotten",
            "diagnostics",
            "return torch.cat(sums) - math.log(q.batch_shape[0])",
            "return torch.cat(sums)",
            "diagnostics",
        ),
        Mutant(
            "aggregated posterior: only the first chunk",
            "diagnostics",
            "sums = [q.log_prob(chunk[:, None]).logsumexp(1) for chunk in chunks]",
            "sums = [q.log_prob(chunks[0][:, None]).logsumexp(1)[: len(c)] for c in chunks]",
            "diagnostics",
        ),
        Mutant(
            "aggregated posterior: mean of the log-densities",
            "diagnostics",
            "sums = [q.log_prob(chunk[:, None]).logsumexp(1) for chunk in chunks]\n"
            "    return torch.cat(sums) - math.log(q.batch_shape[0])",
            "sums = [q.log_prob(chunk[:, None]).mean(1) for chunk in chunks]\n"
            "    return torch.cat(sums)",
            "diagnostics",
        ),
        Mutant(
            "mutual information: view in place of the right axes",
            "diagnostics",
            "    log_aggregated = log_aggregate(q, z.flatten(0, 1), chunk_size).reshape(log_q.shape)",
            "    log_aggregated = log_aggregate(q, z.flatten(0, 1), chunk_size)\n"
            "    log_aggregated = log_aggregated.reshape(log_q.shape[::-1]).mT",
            "diagnostics",
        ),
        Mutant(
            "surgery: sign of the marginal KL",
            "diagnostics",
            "marginal_kl=_estimate(log_aggregated - trace.p[1].log_prob(z))",
            "marginal_kl=_estimate(trace.p[1].log_prob(z) - log_aggregated)",
            "diagnostics",
        ),
        Mutant(
            "standard error: over draws as if they were rows",
            "diagnostics",
            "return Estimate(rows.mean().item(), (rows.std() / math.sqrt(len(rows))).item())",
            "return Estimate(rows.mean().item(), (values.std() / math.sqrt(values.numel())).item())",
            "levels",
        ),
        Mutant(
            "unit rates: the other KL",
            "diagnostics",
            "return kl_divergence(q.base_dist, prior.base_dist).mean(0)",
            "return kl_divergence(prior.base_dist, q.base_dist).mean(0)",
            "diagnostics",
        ),
        Mutant(
            "active units: the draws' noise counted as activity",
            "diagnostics",
            "return means.mean(0).var(dim=0) - means.var(dim=0).mean(0) / num_samples > threshold",
            "return means.mean(0).var(dim=0) > threshold",
            "levels",
        ),
        Mutant(
            "active units: variance over draws and not over data",
            "diagnostics",
            "return means.var(dim=0) > threshold",
            "return q[0].variance.mean(0) > threshold",
            "diagnostics",
        ),
        Mutant(
            "gradient norms: of the sum over data",
            "diagnostics",
            values,
            values.replace("mean()", "sum()"),
            "levels",
        ),
        Mutant(
            "effective sample size: weights not squared",
            "diagnostics",
            "(2 * log_weight).logsumexp(0))",
            "log_weight.logsumexp(0))",
            "diagnostics",
        ),
        Mutant(
            "energy distance: points paired with themselves",
            "diagnostics",
            "_distances(s, s).sum() / (len(s) * (len(s) - 1)) for s in (x, y)",
            "_distances(s, s).sum() / len(s) ** 2 for s in (x, y)",
            "diagnostics",
        ),
        Mutant(
            "pathwise gradient: sample() in place of rsample()",
            "estimators",
            "return f(q.rsample((num_samples,)))",
            "return f(q.sample((num_samples,)))",
            "estimators",
        ),
        Mutant(
            "score function: parameters of f get no gradient",
            "estimators",
            "return values + values.detach() * (score - score.detach())",
            "return values.detach() * (1 + score - score.detach())",
            "estimators",
        ),
        Mutant(
            "score function: value changed by the score",
            "estimators",
            "return values + values.detach() * (score - score.detach())",
            "return values.detach() * score",
            "estimators",
        ),
        Mutant(
            "fit: minimises what is to be maximised",
            "train",
            "(-values.mean()).backward()",
            "values.mean().backward()",
            "train",
        ),
        Mutant(
            "fit: mean of batch means with a short last batch",
            "train",
            "                    total += _total(values, len(rows))",
            "                    batches = -(-len(x) // batch_size)\n"
            "                    total += _total(values, len(rows)) / len(rows) * len(x) / batches",
            "train",
        ),
        Mutant(
            "fit: gradients pile up",
            "train",
            "                    optimizer.zero_grad()\n",
            "",
            "train",
        ),
        Mutant(
            "fit: rows in the same order in every epoch",
            "train",
            "torch.randperm(len(x)).split(batch_size)",
            "torch.arange(len(x)).split(batch_size)",
            "train",
        ),
        Mutant(
            "fit: only the first batch of an epoch",
            "train",
            "                    optimizer.step()\n",
            "                    optimizer.step()\n                    break\n",
            "train",
        ),
        Mutant(
            "monitor: +log p reported as the distortion",
            "train",
            '"distortion": -trace.reconstruction.mean().item(),',
            '"distortion": trace.reconstruction.mean().item(),',
            "train",
        ),
        Mutant(
            "monitor: rates averaged over levels",
            "train",
            '"rate": trace.rates.sum(0).mean().item(),',
            '"rate": trace.rates.mean().item(),',
            "train",
        ),
        Mutant(
            "warm-up: one epoch early",
            "train",
            "min(1.0, epoch / epochs)",
            "min(1.0, (epoch + 1) / epochs)",
            "train",
        ),
        Mutant(
            "ensemble: mean over members, so that each learns more slowly",
            "ensemble",
            "return ensemble.evaluate(objective, x, values).sum(0)",
            "return ensemble.evaluate(objective, x, values).mean(0)",
            "ensemble",
        ),
        Mutant(
            "ensemble: noise of its own for each member",
            "ensemble",
            'randomness="same"',
            'randomness="different"',
            "ensemble",
        ),
        Mutant(
            "binarise: a threshold in place of a draw",
            "data",
            "return torch.bernoulli(x, generator=torch.Generator(x.device).manual_seed(_seed(seed)))",
            "return (x > 0.5).to(x.dtype)",
            "data",
        ),
        Mutant(
            "split: rows of the second part stay in the first",
            "data",
            "test, train = order[:size], order[size:]",
            "test, train = order[:size], order",
            "data",
        ),
        Mutant(
            "split: labels keep their old order",
            "data",
            "return tuple(t[train] for t in (x, *others)),",
            "return (x[train], *(t[: len(train)] for t in others)),",
            "data",
        ),
    ]


def diffusion() -> list[Mutant]:
    """Mistakes in the schedule, the denoisers and the diffusion model."""

    def schedule(name: str, old: str, new: str) -> Mutant:
        return Mutant(name, "schedule", old, new, "diffusion")

    def denoiser(name: str, old: str, new: str) -> Mutant:
        return Mutant(name, "denoisers", old, new, "diffusion")

    def model(name: str, old: str, new: str) -> Mutant:
        return Mutant(name, "diffusion", old, new, "diffusion")

    each_term = "_kl(reverse_posterior(model.schedule, z, x, t - 1, t), model.reverse(z, t))"
    turned = "_kl(model.reverse(z, t), reverse_posterior(model.schedule, z, x, t - 1, t))"
    by_itself = (
        "return tuple(forward_marginal(schedule, x, t).rsample((num_samples,)) for t in levels)"
    )
    return [
        schedule(
            "schedule: 1 − ᾱ_t taken for β_t",
            "return -torch.expm1(self.log_alpha_bar.diff())",
            "return 1 - self.alpha_bar",
        ),
        schedule(
            "schedule: 1 − exp in place of expm1 in β",
            "return -torch.expm1(self.log_alpha_bar.diff())",
            "return 1 - self.log_alpha_bar.exp()[1:] / self.log_alpha_bar.exp()[:-1]",
        ),
        schedule(
            "linear schedule: ½ missing",
            "log_alpha_bar = -(start * u + 0.5 * (end - start) * u.square())",
            "log_alpha_bar = -(start * u + (end - start) * u.square())",
        ),
        schedule(
            "cosine schedule: square forgotten",
            "log_f = 2 * torch.cos(",
            "log_f = torch.cos(",
        ),
        schedule(
            "forward process: root of ᾱ forgotten",
            "isotropic(_column(torch.exp(0.5 * ratio), z) * z, -torch.expm1(ratio))",
            "isotropic(_column(torch.exp(ratio), z) * z, -torch.expm1(ratio))",
        ),
        schedule(
            "forward process: off by one in t",
            "ratio = schedule.log_alpha_bar[t] - schedule.log_alpha_bar[s]",
            "ratio = schedule.log_alpha_bar[t - 1] - schedule.log_alpha_bar[s] - 1e-3",
        ),
        schedule(
            "Gaussians: variance taken for a scale",
            "scale = _column(variance.sqrt(), mean)",
            "scale = _column(variance, mean)",
        ),
        schedule(
            "reverse variance: with 1 − ᾱ_t in place of 1 − ᾱ_{t−1}",
            "return of_z, of_x, share * torch.sigmoid(-schedule.log_snr[s - 1])",
            "return of_z, of_x, share * torch.sigmoid(-schedule.log_snr[t - 1])",
        ),
        schedule(
            "reverse mean: ᾱ_t in place of ᾱ_{t−1} before x",
            "of_x = torch.exp(0.5 * log_alpha_bar[s]) * share",
            "of_x = torch.exp(0.5 * log_alpha_bar[t]) * share",
        ),
        schedule(
            "reverse mean: factor of z_t",
            "of_z = torch.exp(drop - 0.5 * (log_alpha_bar[t] - log_alpha_bar[s]))",
            "of_z = torch.exp(0.5 * (log_alpha_bar[t] - log_alpha_bar[s]))",
        ),
        schedule(
            "reverse variance: 1 − exp in place of expm1",
            "share = -torch.expm1(drop)",
            "share = 1 - torch.exp(drop)",
        ),
        schedule(
            "reverse variance: β in place of β̃",
            "return reverse_coefficients(schedule, t - 1, t)[2]",
            "return schedule.beta[t - 1]",
        ),
        denoiser(
            "noise denoiser: ᾱ in place of its root",
            "return (z - sigma * self.noise(z, log_snr)) / alpha",
            "return (z - sigma * self.noise(z, log_snr)) / alpha.square()",
        ),
        denoiser(
            "Gaussian denoiser: scale of the noise taken for its variance",
            "gain = alpha * self.values / (alpha.square() * self.values + sigma.square())\n"
            "        centred",
            "gain = alpha * self.values / (alpha.square() * self.values + sigma)\n        centred",
        ),
        denoiser(
            "Gaussian denoiser: the mean not shrunk with x",
            "centred = (z - alpha * self.mean) @ self.vectors",
            "centred = (z - self.mean) @ self.vectors",
        ),
        denoiser(
            "Gaussian denoiser: a transpose forgotten",
            "return self.mean + (gain * centred) @ self.vectors.mT",
            "return self.mean + (gain * centred) @ self.vectors",
        ),
        denoiser(
            "Gaussian denoiser: SNR without its square",
            "left = self.values / (1 + (alpha / sigma).square() * self.values)",
            "left = self.values / (1 + (alpha / sigma) * self.values)",
        ),
        denoiser(
            "exact reverse covariance: what z_t leaves unknown of x forgotten",
            "covariance = known + of_x.square()[:, None, None] * unknown",
            "covariance = known",
        ),
        denoiser(
            "exact reverse covariance: off by one in t",
            "unknown = self.covariance(schedule.log_snr[1:].to(self.mean))",
            "unknown = self.covariance(schedule.log_snr[:-1].to(self.mean))",
        ),
        denoiser(
            "data denoiser: ½ missing",
            "- 0.5 * alpha.square() * self.data.square().sum(-1)",
            "- alpha.square() * self.data.square().sum(-1)",
        ),
        denoiser(
            "data denoiser: weights by the scale and not the variance",
            "return (product / sigma.square()).log_softmax(-1)",
            "return (product / sigma).log_softmax(-1)",
        ),
        model(
            "diffusion: denoiser told the noise of another level",
            "log_snr = self.schedule.log_snr[t - 1].to(z).expand(z.shape[:-1])",
            "log_snr = self.schedule.log_snr[t - 2].to(z).expand(z.shape[:-1])",
        ),
        model(
            "diffusion: reverse variance of another level",
            "covariance = self.reverse_covariance[t - 2]",
            "covariance = self.reverse_covariance[t - 3]",
        ),
        model(
            "diffusion: every level drawn from x and scored as a step",
            "return forward_kernel(self.schedule, z, self.t - 1, self.t)",
            "return forward_kernel(self.schedule, z, 0, self.t)",
        ),
        model(
            "diffusion: decoder's scale taken for a variance",
            "return Independent(Normal(mean, torch.full_like(mean, self.scale)), 1)",
            "return Independent(Normal(mean, torch.full_like(mean, self.scale).sqrt()), 1)",
        ),
        model(
            "sampling: one level skipped",
            "for level in range(t, 1, -1):",
            "for level in range(t, 2, -1):",
        ),
        model(
            "sampling: the decoder's mean in place of a draw",
            "path.append(self.decode(path[-1]).sample())",
            "path.append(self.decode(path[-1]).mean)",
        ),
        model("three terms: KL the wrong way round", each_term, turned),
        model(
            "three terms: prior term forgotten",
            "return self.reconstruction - self.diffusion.sum(0) - self.prior",
            "return self.reconstruction - self.diffusion.sum(0)",
        ),
        model(
            "three terms: mean over levels",
            "return self.reconstruction - self.diffusion.sum(0) - self.prior",
            "return self.reconstruction - self.diffusion.mean(0) - self.prior",
        ),
        model(
            "three terms: one noise for all levels",
            by_itself,
            "noise = torch.randn(num_samples, *x.shape, dtype=x.dtype)\n"
            "    laws = [forward_marginal(schedule, x, t) for t in levels]\n"
            "    return tuple(law.mean + law.stddev * noise for law in laws)",
        ),
        model(
            "one random level: T in place of T − 1",
            "return reconstruction - (schedule.num_levels - 1) * diffusion - prior",
            "return reconstruction - schedule.num_levels * diffusion - prior",
        ),
        model(
            "one random level: the top level is never drawn",
            "return first + (u * (last - first + 1)).long()",
            "return first + (u * (last - first)).long()",
        ),
        model(
            "noise loss: √ of 1 − ᾱ forgotten",
            "z = alpha * x + sigma * noise",
            "z = alpha * x + sigma.square() * noise",
        ),
        model(
            "noise loss: averaged over pixels",
            "return (noise - predicted).square().sum(-1)",
            "return (noise - predicted).square().mean(-1)",
        ),
        model(
            "noise loss: against the noise of another draw",
            "return (noise - predicted).square().sum(-1)",
            "return (torch.randn_like(x) - predicted).square().sum(-1)",
        ),
        model(
            "diffusion terms: exp − 1 in place of expm1",
            "return 0.5 * (shift + torch.expm1(r) - r).sum(-1)",
            "return 0.5 * (shift + torch.exp(r) - 1 - r).sum(-1)",
        ),
        model(
            "diffusion terms: variances the wrong way round",
            "r = 2 * (q.stddev.log() - p.stddev.log())",
            "r = 2 * (p.stddev.log() - q.stddev.log())",
        ),
    ]


MUTANTS = [*bounds(), *models(), *exact(), *decoders(), *measures(), *diffusion()]
